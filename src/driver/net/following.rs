//! The sockets that are bound, as the host's addresses come and go, and its names, as they change.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Interest, Token};

use super::addresses::{self, AddressWatch};
use super::endpoints::{self, Endpoint};
use crate::driver::Driver;
use crate::driver::encode::EncodePictures;
use crate::driver::tokens::{WATCH, datagrams_of};
use crate::server::Input;

/// How long the host's names are taken for what they were.
const NAMES_INTERVAL: Duration = Duration::from_secs(1);

impl<S: EncodePictures> Driver<S> {
    pub(crate) fn add_endpoint(&mut self, mut endpoint: Endpoint) -> io::Result<()> {
        let token = self.endpoint_tokens.take().ok_or(ErrorKind::OutOfMemory)?;
        let registry = self.poll.registry();
        let registered =
            registry.register(&mut endpoint.listener, token, Interest::READABLE).and_then(|()| {
                let datagrams = datagrams_of(token);
                registry.register(endpoint.udp.socket(), datagrams, Interest::READABLE)
            });
        match registered {
            Ok(()) => drop(self.endpoints.insert(token, endpoint)),
            Err(_) => self.endpoint_tokens.put_back(token),
        }
        registered
    }

    fn remove_endpoint(&mut self, token: Token) {
        self.endpoints.remove(&token);
        for token in [token, datagrams_of(token)] {
            // Its next owner is not ready.
            self.ready.remove(token);
            self.troubled.remove(&token);
        }
        self.endpoint_tokens.put_back(token);
    }

    pub(crate) fn watch_addresses(&mut self) {
        let watched = AddressWatch::new().and_then(|mut watch| {
            self.poll.registry().register(&mut watch, WATCH, Interest::READABLE)?;
            Ok(watch)
        });
        match watched {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => {
                log::warn!("cannot follow address changes; new addresses need a restart: {error}")
            }
        }
    }

    /// Binds addresses that have come, lets go of those that are gone, and tells the core.
    pub(crate) fn follow_addresses(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.clear();
        }
        let Ok(wanted) = endpoints::expand(&self.bind) else { return };
        let ip_of = |(token, endpoint): (&Token, &Endpoint)| (*token, endpoint.address.ip());
        let bound = self.endpoints.iter().map(ip_of);
        let gone: Vec<_> = bound.filter(|(_, ip)| !wanted.contains(ip)).collect();
        let mut changed = !gone.is_empty();
        for (token, ip) in gone {
            log::info!("no longer serving on {ip}: the address was removed");
            self.remove_endpoint(token);
        }
        for ip in wanted {
            if self.endpoints.values().any(|endpoint| endpoint.address.ip() == ip) {
                continue;
            }
            let address = SocketAddr::new(ip, self.port);
            match Endpoint::bind(address).and_then(|endpoint| self.add_endpoint(endpoint)) {
                Ok(()) => {
                    log::info!("now also serving on http://{address}/");
                    changed = true;
                }
                Err(error) => log::warn!("skipping {ip}: bind failed: {error}"),
            }
        }
        if changed {
            let addresses: Vec<SocketAddr> = self.endpoints.values().map(|e| e.address).collect();
            self.input(Input::Addresses(&addresses));
        }
    }

    /// Reads the host's names again, if the last time is long enough ago, and tells the core. They are
    /// for who asks, and are read when somebody does: neither the host name nor a resolver that a
    /// network configures needs to be watched.
    pub(crate) fn follow_names(&mut self) {
        let now = Instant::now();
        if now < self.names_due_at {
            return;
        }
        self.names_due_at = now + NAMES_INTERVAL;
        let names = addresses::names();
        if names == self.names {
            return;
        }
        for name in names.iter().filter(|name| !self.names.contains(name)) {
            log::debug!("a name of this host is {name}");
        }
        self.input(Input::Names(&names));
        self.names = names;
    }
}
