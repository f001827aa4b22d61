//! The sockets that are bound: which there are, as the host's addresses come and go.

use std::io;
use std::net::SocketAddr;

use mio::{Interest, Token};

use super::addresses::AddressWatch;
use super::endpoints::{self, Endpoint};
use super::{Driver, WATCH};
use crate::server::Input;
use crate::source::Source;

impl<S: Source> Driver<S> {
    pub(super) fn add_endpoint(&mut self, mut endpoint: Endpoint) -> io::Result<()> {
        let token = Token(self.next_endpoint);
        let registry = self.poll.registry();
        registry.register(&mut endpoint.listener, token, Interest::READABLE)?;
        registry.register(endpoint.udp.socket(), Token(token.0 + 1), Interest::READABLE)?;
        self.endpoints.insert(token, endpoint);
        self.next_endpoint += 2;
        Ok(())
    }

    pub(super) fn watch_addresses(&mut self) {
        let watched = AddressWatch::new().and_then(|mut watch| {
            self.poll.registry().register(&mut watch, WATCH, Interest::READABLE)?;
            Ok(watch)
        });
        match watched {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => log::warn!("new addresses will need a restart: {error}"),
        }
    }

    /// Binds addresses that have come, lets go of those that are gone, and tells the core.
    pub(super) fn follow_addresses(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.clear();
        }
        let Ok(wanted) = endpoints::expand(&self.bind) else { return };
        let before = self.endpoints.len();
        self.endpoints.retain(|_, endpoint| {
            let stays = wanted.contains(&endpoint.address.ip());
            if !stays {
                log::info!("{} is gone", endpoint.address.ip());
            }
            stays
        });
        let mut changed = before != self.endpoints.len();
        for ip in wanted {
            if self.endpoints.values().any(|endpoint| endpoint.address.ip() == ip) {
                continue;
            }
            let address = SocketAddr::new(ip, self.port);
            match Endpoint::bind(address).and_then(|endpoint| self.add_endpoint(endpoint)) {
                Ok(()) => {
                    log::info!("serving on http://{address}/ too");
                    changed = true;
                }
                Err(error) => log::warn!("{ip} is left out, it cannot be bound: {error}"),
            }
        }
        if changed {
            let addresses: Vec<SocketAddr> = self.endpoints.values().map(|e| e.address).collect();
            self.input(Input::Addresses(&addresses));
        }
    }
}
