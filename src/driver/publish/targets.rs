//! All media servers that are published to: their clients, and their sessions.

use std::io;
use std::sync::Arc;

use mio::{Registry, Token, Waker};

use super::TargetClient;
use super::sessions::Sessions;
use crate::driver::tokens::TARGETS;
use crate::http::Url;
use crate::publish::{MAX_TARGETS, PublishCommand, TargetId};
use crate::server::Input;

const _: () = assert!(TARGETS.start + MAX_TARGETS <= TARGETS.end);

/// The clients of all possible targets. One that is not used has nothing open.
pub struct Targets {
    clients: [TargetClient; MAX_TARGETS],
    sessions: Sessions,
}

impl Targets {
    /// No client has anything open, and no session is kept. A lookup that has returned wakes the poll with this
    /// waker.
    pub fn new(waker: &Arc<Waker>) -> Targets {
        let client = |number| TargetClient::new(Token(TARGETS.start + number), waker.clone());
        Targets { clients: std::array::from_fn(client), sessions: Sessions::default() }
    }

    /// Keeps sessions here.
    pub fn set_sessions(&mut self, sessions: Sessions) {
        self.sessions = sessions;
    }

    /// Carries out a command of the core for a target.
    pub fn execute(
        &mut self,
        id: TargetId,
        command: PublishCommand,
        registry: &Registry,
    ) -> Option<Input<'static>> {
        let event = self.clients.get_mut(id.0)?.execute(command, registry)?;
        Some(Input::Publish(id, event))
    }

    /// Keeps the session at a target for the next process, or forgets it.
    ///
    /// # Errors
    /// The file of sessions cannot be written.
    pub fn keep_session(&mut self, id: TargetId, session: Option<Url>) -> io::Result<()> {
        self.sessions.keep(id, session)
    }

    /// Handles a writable connection.
    pub fn write(&mut self, token: Token) -> Option<Input<'static>> {
        let id = target_of(token)?;
        Some(Input::Publish(id, self.clients[id.0].write()?))
    }

    /// Reads once from a readable connection. `None` if there is nothing more for now.
    pub fn read<'a>(&mut self, token: Token, buffer: &'a mut [u8]) -> Option<Input<'a>> {
        let id = target_of(token)?;
        Some(Input::Publish(id, self.clients[id.0].read(buffer)?))
    }

    /// Takes the result of a lookup that has returned. `None` if there is none.
    pub fn take_lookup(&mut self) -> Option<Input<'static>> {
        let mut clients = self.clients.iter_mut().enumerate();
        clients.find_map(|(number, client)| {
            Some(Input::Publish(TargetId(number), client.take_lookup()?))
        })
    }
}

/// The target whose connection has this token.
fn target_of(token: Token) -> Option<TargetId> {
    let number = token.0.checked_sub(TARGETS.start)?;
    (number < MAX_TARGETS).then_some(TargetId(number))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use mio::{Events, Poll};

    use super::*;

    #[test]
    fn every_target_has_a_token_of_its_own() {
        let targets: Vec<_> = (0..20).filter_map(|token| target_of(Token(token))).collect();
        assert_eq!(targets, (0..MAX_TARGETS).map(TargetId).collect::<Vec<_>>());
        assert_eq!(target_of(Token(TARGETS.start - 1)), None);
    }

    #[test]
    fn events_are_reported_for_the_target_whose_token_is_ready() {
        let mut poll = Poll::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = PublishCommand::Connect(listener.local_addr().unwrap());
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let mut targets = Targets::new(&waker);
        let last = TargetId(MAX_TARGETS - 1);
        assert!(targets.execute(last, connect.clone(), poll.registry()).is_none());
        let unknown = TargetId(MAX_TARGETS);
        assert!(targets.execute(unknown, connect, poll.registry()).is_none());
        let mut events = Events::with_capacity(8);
        while events.is_empty() {
            poll.poll(&mut events, None).unwrap();
        }
        let token = events.iter().next().unwrap().token();
        let fact = format!("{:?}", targets.write(token));
        assert_eq!(fact, format!("Some(Publish({last:?}, Connected))"));
        assert!(targets.read(token, &mut [0; 8]).is_none());
        let unresolved = PublishCommand::Resolve("127.0.0.1".into());
        assert!(targets.execute(TargetId(0), unresolved, poll.registry()).is_none());
        poll.poll(&mut events, None).unwrap();
        let fact = loop {
            match targets.take_lookup() {
                Some(fact) => break format!("{fact:?}"),
                None => std::thread::yield_now(),
            }
        };
        assert_eq!(fact, "Publish(TargetId(0), Resolved([127.0.0.1]))");
        assert!(targets.take_lookup().is_none());
    }
}
