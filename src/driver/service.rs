//! What systemd is told of this process, where it runs as a unit of `Type=notify` (sd_notify(3)).

use sd_notify::NotifyState;

/// Without systemd, nothing of this does anything.
#[derive(Debug, Default)]
pub struct Service {
    viewers: Option<usize>,
}

impl Service {
    /// Sockets are bound, and signals are handled.
    pub fn tell_ready(&self) {
        notify(&NotifyState::Ready);
    }

    pub fn tell_stopping(&self) {
        notify(&NotifyState::Stopping);
    }

    /// How many viewers watch, where it has changed: a line of `systemctl status`.
    pub fn tell_viewers(&mut self, viewers: usize) {
        if self.viewers.replace(viewers) != Some(viewers) {
            notify(&NotifyState::Status(&status(viewers)));
        }
    }
}

fn status(viewers: usize) -> String {
    match viewers {
        0 => "nobody watches".to_owned(),
        1 => "1 viewer".to_owned(),
        more => format!("{more} viewers"),
    }
}

fn notify(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        log::debug!("systemd cannot be told {state}: {error}");
    }
}
