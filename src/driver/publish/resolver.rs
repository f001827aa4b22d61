//! Host names to addresses, without stopping the loop: the system's resolver, `getaddrinfo`, blocks for as
//! long as it likes, so a child of this program asks it.
//!
//! This is the only way that finds what the rest of the host finds: `/etc/hosts`, mDNS and whatever else
//! the libc reads. (A static binary has musl's, which knows `/etc/hosts` and DNS and no mDNS.) The child
//! is this program with [`FLAG`] and the name. It writes to one pipe: an address on each line, in the order
//! of `getaddrinfo`, or else the reason why there is none. The end of the pipe is the end of the lookup.
//!
//! The child is killed when nobody waits for it any more. If this program is killed itself, the kernel
//! kills the child, too; where that cannot be asked for, the resolver's own time-outs end it.

use std::io::{self, ErrorKind, PipeReader, Read};
use std::net::{IpAddr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::process::{
    Pid, Signal, WaitOptions, kill_process_group, set_parent_process_death_signal, waitpid,
};

use crate::driver::children::remove_private_variables;
use crate::foreign::Foreign;
use crate::publish::{MAX_ADDRESSES, PublishCause, PublishFailure};

/// The flag that makes this program look up the name that follows, `--resolve NAME`. It is for the program
/// itself, and so not in its help.
pub const FLAG: &str = "resolve";

/// More than eight addresses take, and than a reason.
const MOST_BYTES: usize = 4 * 1_024;
const REASON_MAX_CHARS: usize = 200;

/// The lookups of one target, of which one at a time is waited for.
pub struct Resolver {
    program: PathBuf,
    token: Token,
    lookup: Option<Lookup>,
    /// Children that were killed, or have said all they had to, and were not reaped yet.
    ending: Vec<Pid>,
}

struct Lookup {
    /// The child, and its process group, until it is reaped.
    child: Option<Pid>,
    pipe: PipeReader,
    text: Vec<u8>,
}

impl Resolver {
    /// What a child writes is announced to the poll with this token.
    pub fn new(program: &Path, token: Token) -> Resolver {
        Resolver { program: program.into(), token, lookup: None, ending: Vec::new() }
    }

    /// Begins to look up a name. One that is being looked up is given up.
    ///
    /// # Errors
    /// The lookup cannot be started.
    pub fn start(&mut self, name: String, registry: &Registry) -> Result<(), PublishFailure> {
        self.give_up();
        match Lookup::start(&self.program, name) {
            Ok(lookup) => {
                let descriptor = lookup.pipe.as_raw_fd();
                self.lookup = Some(lookup);
                registry
                    .register(&mut SourceFd(&descriptor), self.token, Interest::READABLE)
                    .map_err(|error| {
                        self.give_up();
                        unresolved(&error.to_string())
                    })
            }
            Err(error) => {
                let program = self.program.display();
                Err(unresolved(&format!("{program} cannot be started: {error}")))
            }
        }
    }

    /// What the lookup has found: addresses, at least one, or why there is none. `None` while it goes on.
    pub fn read(&mut self) -> Option<Result<Vec<IpAddr>, PublishFailure>> {
        let lookup = self.lookup.as_mut()?;
        let mut buffer = [0; 512];
        while lookup.text.len() < MOST_BYTES {
            match lookup.pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(bytes) => lookup.text.extend(&buffer[..bytes]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => {
                    lookup.text = error.to_string().into_bytes();
                    break;
                }
            }
        }
        let found = found(&String::from_utf8_lossy(&lookup.text));
        self.give_up();
        Some(found)
    }

    /// Ends the lookup, if there is one.
    pub fn give_up(&mut self) {
        // Its pipe is closed, and with that out of the poll.
        let Some(child) = self.lookup.take().and_then(|lookup| lookup.child) else { return };
        if let Err(error) = kill_process_group(child, Signal::KILL) {
            log::debug!("the lookup of a name cannot be ended: {error}");
        }
        self.ending.push(child);
    }

    /// Those that were not reaped yet.
    pub fn children(&self) -> impl Iterator<Item = Pid> {
        let running = self.lookup.as_ref().and_then(|lookup| lookup.child);
        self.ending.iter().copied().chain(running)
    }

    /// A child of this process was reaped, and its number may be another's.
    pub fn note_reaped(&mut self, pid: Pid) {
        self.ending.retain(|child| *child != pid);
        if let Some(lookup) = &mut self.lookup {
            lookup.child.take_if(|child| *child == pid);
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.give_up();
        for child in &self.ending {
            // There is no more to do about an error.
            let _ = waitpid(Some(*child), WaitOptions::empty());
        }
    }
}

impl Lookup {
    fn start(program: &Path, name: String) -> io::Result<Lookup> {
        let (pipe, pipe_of_child) = io::pipe()?;
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let mut command = Command::new(program);
        // In a process group of its own, Ctrl-C in a terminal does not reach it.
        let process = remove_private_variables(&mut command)
            .arg0("ballcast")
            .arg(format!("--{FLAG}"))
            .arg(&name)
            .stdin(Stdio::null())
            .stderr(pipe_of_child.try_clone()?)
            .stdout(pipe_of_child)
            .process_group(0)
            .spawn()?;
        let child = Some(Pid::from_child(&process));
        Ok(Lookup { child, pipe, text: Vec::new() })
    }
}

fn unresolved(reason: &str) -> PublishFailure {
    PublishFailure {
        cause: PublishCause::NameUnknown,
        words: Foreign::new(reason, REASON_MAX_CHARS),
    }
}

/// What a child has written: addresses, or else the reason on its last line.
fn found(text: &str) -> Result<Vec<IpAddr>, PublishFailure> {
    let addresses: Vec<IpAddr> =
        text.lines().filter_map(|line| line.parse().ok()).take(MAX_ADDRESSES).collect();
    if !addresses.is_empty() {
        return Ok(addresses);
    }
    let reason = text.lines().rfind(|line| !line.trim().is_empty());
    let reason = reason.unwrap_or("the resolver has ended without an answer");
    let reason = reason.strip_prefix("ballcast: ").unwrap_or(reason).trim_end_matches('.');
    Err(unresolved(reason))
}

/// The child's side: looks up a name, however long it takes. One address a line, the best first.
///
/// # Errors
/// Why there is none: a clause without a full stop.
pub fn resolve(name: &str) -> Result<String, String> {
    // Nobody waits for the answer when the parent is gone.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let found = (name, 0).to_socket_addrs().map_err(|error| {
        let reason = error.to_string();
        let prefix = "failed to lookup address information: ";
        reason.strip_prefix(prefix).unwrap_or(&reason).to_owned()
    })?;
    let addresses = usable(found.map(|address| address.ip()));
    if addresses.is_empty() {
        return Err("it has no address but link-local ones".to_owned());
    }
    Ok(addresses.iter().map(|address| format!("{address}\n")).collect())
}

/// Each address once. A link-local one of IPv6 leads nowhere without the interface, which a name does not
/// tell (RFC 4007).
fn usable(found: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for address in found {
        let needs_scope = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if !needs_scope && !addresses.contains(&address) && addresses.len() < MAX_ADDRESSES {
            addresses.push(address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_addresses_count_and_without_one_the_last_line_is_the_reason() {
        let addresses = vec![IpAddr::from([192, 0, 2, 1]), "2001:db8::1".parse().unwrap()];
        assert_eq!(found("192.0.2.1\n2001:db8::1\n"), Ok(addresses.clone()));
        assert_eq!(found("a warning of libc\n192.0.2.1\n2001:db8::1\n"), Ok(addresses));
        let many: String = (0..20).map(|n| format!("192.0.2.{n}\n")).collect();
        assert_eq!(found(&many).unwrap().len(), MAX_ADDRESSES);
        let reason = |text: &str| found(text).unwrap_err().words.unwrap().to_string();
        assert_eq!(reason("a warning\nballcast: Name or service not known.\n"), {
            "Name or service not known"
        });
        assert_eq!(reason("\x1b[31m"), "\\u{1b}[31m");
        assert_eq!(reason(&"x".repeat(4_096)).len(), REASON_MAX_CHARS);
        for nothing in ["", "\n \n"] {
            assert_eq!(reason(nothing), "the resolver has ended without an answer");
        }
    }

    #[test]
    fn addresses_come_once_in_their_order_and_without_those_that_need_an_interface() {
        let found = ["::1", "fe80::1", "127.0.0.1", "::1", "169.254.1.1"];
        let expected = ["::1", "127.0.0.1", "169.254.1.1"];
        let parsed = |text: &[&str]| -> Vec<IpAddr> {
            text.iter().map(|address| address.parse().unwrap()).collect()
        };
        assert_eq!(usable(parsed(&found).into_iter()), parsed(&expected));
        let many = (0..20).map(|n| IpAddr::from([192, 0, 2, n]));
        assert_eq!(usable(many).len(), MAX_ADDRESSES);
    }

    #[test]
    fn addresses_are_resolved_to_themselves() {
        assert_eq!(resolve("192.0.2.7").unwrap(), "192.0.2.7\n");
        assert_eq!(resolve("fe80::1").unwrap_err(), "it has no address but link-local ones");
    }
}
