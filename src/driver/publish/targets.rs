//! All media servers that are published to: their clients, and their sessions.

use std::io;
use std::path::Path;

use mio::{Registry, Token};
use rustix::process::Pid;

use super::TargetClient;
use super::sessions::Sessions;
use crate::driver::children::{self, PROGRAM};
use crate::driver::tokens::TARGETS;
use crate::http::Url;
use crate::publish::{MAX_TARGETS, PublishCommand, TargetId};
use crate::server::Input;

/// Each target has a token for its connection, and the next one for its lookups.
const TOKENS_EACH: usize = 2;
const _: () = assert!(TARGETS.start + MAX_TARGETS * TOKENS_EACH <= TARGETS.end);

/// The clients of all possible targets. One that is not used has nothing open.
pub struct Targets {
    clients: [TargetClient; MAX_TARGETS],
    sessions: Sessions,
}

impl Targets {
    pub fn new() -> Targets {
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

    /// Handles a writable descriptor.
    pub fn write(&mut self, token: Token) -> Option<Input<'static>> {
        let (id, Purpose::Connection) = purpose(token)? else { return None };
        let event = self.clients[id.0].write()?;
        Some(Input::Publish(id, event))
    }

    /// Reads once from a readable descriptor. `None` if there is nothing more for now.
    pub fn read<'a>(&mut self, token: Token, buffer: &'a mut [u8]) -> Option<Input<'a>> {
        let (id, purpose) = purpose(token)?;
        let client = &mut self.clients[id.0];
        let event = match purpose {
            Purpose::Connection => client.read(buffer)?,
            Purpose::Lookup => client.read_lookup()?,
        };
        Some(Input::Publish(id, event))
    }

    /// Reaps the lookups that have ended, and no other child.
    pub fn reap(&mut self) {
        let lookups: Vec<Pid> = self.clients.iter().flat_map(TargetClient::children).collect();
        for pid in lookups {
            if children::reap_one(pid) {
                self.note_reaped(pid);
            }
        }
    }

    /// A child of this process was reaped.
    pub fn note_reaped(&mut self, pid: Pid) {
        self.clients.iter_mut().for_each(|client| client.note_reaped(pid));
    }

    /// Closes all connections, and ends and reaps all lookups.
    pub fn close(&mut self) {
        self.clients = std::array::from_fn(client);
    }
}

fn client(number: usize) -> TargetClient {
    let connection = TARGETS.start + number * TOKENS_EACH;
    TargetClient::new(Path::new(PROGRAM), Token(connection), Token(connection + 1))
}

/// What the token of a target identifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Connection,
    Lookup,
}

/// The target of a token, and what the token identifies.
fn purpose(token: Token) -> Option<(TargetId, Purpose)> {
    let number = token.0.checked_sub(TARGETS.start)?;
    let id = TargetId(number / TOKENS_EACH);
    let is_lookup = number % TOKENS_EACH == 1;
    let purpose = if is_lookup { Purpose::Lookup } else { Purpose::Connection };
    (id.0 < MAX_TARGETS).then_some((id, purpose))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use mio::{Events, Poll};

    use super::*;

    #[test]
    fn every_target_has_two_tokens_of_its_own() {
        let purposes: Vec<_> = (0..20).filter_map(|token| purpose(Token(token))).collect();
        let each =
            |number| [(TargetId(number), Purpose::Connection), (TargetId(number), Purpose::Lookup)];
        assert_eq!(purposes, (0..MAX_TARGETS).flat_map(each).collect::<Vec<_>>());
        assert_eq!(purpose(Token(TARGETS.start - 1)), None);
    }

    #[test]
    fn events_are_reported_for_the_target_whose_token_is_ready() {
        let mut poll = Poll::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = PublishCommand::Connect(listener.local_addr().unwrap());
        let mut targets = Targets::new();
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
        targets.close();
        assert!(targets.write(token).is_none());
    }
}
