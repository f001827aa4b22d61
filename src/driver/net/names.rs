//! The names of this host, which a `Host` header may carry.

use std::fs;
use std::time::{Duration, Instant};

/// The resolver's configuration (resolv.conf(5)).
const RESOLVER: &str = "/etc/resolv.conf";
/// How long the names are valid before they are read again.
const INTERVAL: Duration = Duration::from_secs(1);

/// The host's names as they were read last.
///
/// They matter to requests only, so they are read when a request comes: neither the host name nor the
/// resolver's configuration has to be watched.
#[derive(Debug)]
pub struct HostNames {
    names: Vec<String>,
    due_at: Instant,
}

impl HostNames {
    /// No names. They are due at `now`.
    pub fn new(now: Instant) -> HostNames {
        HostNames { names: Vec::new(), due_at: now }
    }

    /// Reads the names again if they are due. Returns them, in lower case, if they have changed.
    pub fn update(&mut self, now: Instant) -> Option<&[String]> {
        if now < self.due_at {
            return None;
        }
        self.due_at = now + INTERVAL;
        self.replace(read())
    }

    fn replace(&mut self, names: Vec<String>) -> Option<&[String]> {
        if names == self.names {
            return None;
        }
        for name in names.iter().filter(|name| !self.names.contains(name)) {
            log::debug!("new host name: {name}");
        }
        self.names = names;
        Some(&self.names)
    }
}

/// The host's own name, that name in mDNS, and that name in the search domains of the network, as home
/// routers give them (`camera.lan`, `camera.fritz.box`).
fn read() -> Vec<String> {
    let name = gethostname::gethostname().to_string_lossy().to_lowercase();
    names_of(&name, &fs::read_to_string(RESOLVER).unwrap_or_default())
}

fn names_of(name: &str, resolver: &str) -> Vec<String> {
    let short = name.split('.').next().unwrap_or_default();
    // A machine without a name of its own may be called `localhost`, which means any machine.
    if short.is_empty() || short == "localhost" {
        return Vec::new();
    }
    let mut names = vec![name.to_owned(), short.to_owned(), format!("{short}.local")];
    names.extend(search_domains(resolver).map(|domain| format!("{short}.{domain}")));
    names.sort();
    names.dedup();
    names
}

/// The domains that the resolver appends to short names.
fn search_domains(resolver: &str) -> impl Iterator<Item = String> {
    let lines = resolver.lines().map(str::split_ascii_whitespace);
    let lists = lines
        .filter_map(|mut words| matches!(words.next(), Some("search" | "domain")).then_some(words));
    lists.flatten().filter_map(|domain| {
        let domain = domain.trim_matches('.').to_lowercase();
        (!domain.is_empty()).then_some(domain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_its_own_names_and_those_in_the_search_domains() {
        let resolver = "# comment\nnameserver 192.168.1.1\nsearch fritz.box. Lan\ndomain home\n";
        let names = names_of("camera", resolver);
        for name in ["camera", "camera.local", "camera.fritz.box", "camera.lan", "camera.home"] {
            assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
        }
        assert!(!names.iter().any(|known| known == "camera."), "{names:?}");
        let names = names_of("camera.example.org", "");
        assert_eq!(names, ["camera", "camera.example.org", "camera.local"]);
        for nameless in ["", "localhost", "localhost.localdomain"] {
            assert!(names_of(nameless, "search lan").is_empty());
        }
    }

    #[test]
    fn names_are_reported_when_they_change_and_read_once_a_second() {
        let start = Instant::now();
        let mut names = HostNames::new(start);
        let one = vec!["camera".to_owned()];
        assert_eq!(names.replace(one.clone()), Some(&one[..]));
        assert_eq!(names.replace(one.clone()), None);
        let two = vec!["camera".to_owned(), "camera.lan".to_owned()];
        assert_eq!(names.replace(two.clone()), Some(&two[..]));
        names.update(start);
        assert!(names.replace(two).is_some() || read() == names.names, "they were read");
        names.replace(vec!["stale".to_owned()]);
        assert_eq!(names.update(start + INTERVAL - Duration::from_millis(1)), None);
        let _ = names.update(start + INTERVAL);
        assert_eq!(names.names, read());
    }
}
