//! Notifications to systemd, for a unit of `Type=notify` (sd_notify(3)).

use sd_notify::NotifyState;

/// The service manager. Without systemd, all notifications are no-ops.
#[derive(Debug, Default)]
pub struct Service {
    /// The number of viewers and of media servers that the last status named.
    told: Option<(usize, usize)>,
}

impl Service {
    /// Reports that sockets are bound and signals are handled.
    pub fn tell_ready(&self) {
        notify(&NotifyState::Ready);
    }

    pub fn tell_stopping(&self) {
        notify(&NotifyState::Stopping);
    }

    /// Reports the number of viewers and of media servers that receive the stream, if they have changed: a
    /// line of `systemctl status`.
    pub fn tell_status(&mut self, viewers: usize, published: usize) {
        if self.told.replace((viewers, published)) != Some((viewers, published)) {
            notify(&NotifyState::Status(&status(viewers, published)));
        }
    }
}

fn status(viewers: usize, published: usize) -> String {
    let viewers = match viewers {
        0 => "no viewers".to_owned(),
        1 => "1 viewer".to_owned(),
        more => format!("{more} viewers"),
    };
    match published {
        0 => viewers,
        1 => format!("{viewers}, published to 1 media server"),
        more => format!("{viewers}, published to {more} media servers"),
    }
}

fn notify(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        log::debug!("cannot notify systemd of {state}: {error}");
    }
}
