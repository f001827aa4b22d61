//! Who may use this server: by the name that it is reached under, and by the site whose page asks.

use std::net::IpAddr;

use super::proxies::{Proxied, TrustedProxies, Visitor};
use crate::http::{Authority, Head, Response};
use crate::refusal::Reason;

/// The digits of the number that a name gets that is taken.
const MAX_NUMBER_DIGITS: usize = 4;

/// The names under which this server may be reached, and whose pages may use it.
#[derive(Debug, Clone, Default)]
pub struct AccessPolicy {
    /// In lower case: what the operator allowed.
    pub names: Vec<String>,
    /// In lower case: the names of the host, which come and go as it is renamed and changes networks.
    pub host_names: Vec<String>,
    /// Its own addresses, and those that lead to it.
    pub addresses: Vec<IpAddr>,
    /// The origins of other sites' pages that may use it, as browsers write them.
    pub origins: Vec<String>,
    pub proxies: TrustedProxies,
}

impl AccessPolicy {
    pub fn visitor(&self, peer: IpAddr, head: &Head) -> Visitor {
        self.proxies.visitor(peer, head)
    }

    /// Whether the request is for this server. A page of another site can point its own name at our
    /// address (DNS rebinding); its requests carry that name in Host.
    ///
    /// Such a page can also write whatever a proxy passes on, so that of a trusted proxy each host has
    /// to be ours, in Host and in what it forwards. A loopback name may be the proxy's own name for us
    /// in Host, and is never the host that is asked for: the proxy may be on another machine, and one
    /// that replaces Host by it tells nothing about the client.
    pub(super) fn admit_host(&self, visitor: &Visitor) -> Result<(), Response> {
        let Some(Proxied { host, forwarded_hosts }) = &visitor.proxied else {
            return self.admit_local_host(&visitor.host);
        };
        self.admit_local_host(host)?;
        let Some(forwarded_hosts) = forwarded_hosts else {
            let sentence = "The proxy forwards a host that is not a host name. Open the server by one of \
                            its addresses or names.";
            return Err(Response::problem(421, Reason::HostUnknown, sentence));
        };
        let mut asked = forwarded_hosts.iter().flatten().chain([&visitor.host]);
        match asked.find(|host| !self.is_own_name(&host.name)) {
            None => Ok(()),
            Some(host) if is_loopback(&host.name) => {
                let sentence = format!(
                    "The proxy uses the name {host}, which is not a name of this server. It has to \
                     forward the Host that the browser sent: an address or a name of the server."
                );
                Err(Response::problem(421, Reason::HostUnknown, &sentence))
            }
            Some(host) => Err(host_unknown(host)),
        }
    }

    /// Whether a name in Host leads here from anywhere, or from this machine.
    pub(super) fn admit_local_host(&self, host: &Authority) -> Result<(), Response> {
        if self.is_own_name(&host.name) || is_loopback(&host.name) {
            return Ok(());
        }
        Err(host_unknown(host))
    }

    /// Whether the page that asks is one of this host, whatever its port, or of an allowed origin.
    pub(super) fn admit_origin(&self, head: &Head, host: &Authority) -> Result<(), Response> {
        let is_welcome = match head.header("origin") {
            Some(origin) => self.allows_origin(origin, host),
            None => head.header("sec-fetch-site") != Some("cross-site"),
        };
        if is_welcome {
            return Ok(());
        }
        let sentence = "Pages of other sites may not connect here. Open this server's own page, or \
                        ask its operator to allow that site.";
        Err(Response::problem(403, Reason::ForeignOrigin, sentence))
    }

    /// Whether the page that shows a picture may, as far as its request tells. Over plain `http` a
    /// browser sends no Sec-Fetch-Site; there the answer's Cross-Origin-Resource-Policy keeps other
    /// sites' pages from showing it.
    pub(super) fn admit_picture_origin(
        &self,
        head: &Head,
        host: &Authority,
    ) -> Result<(), Response> {
        // An `<img>` of an `https` page sends neither Origin nor Referer. An address that is opened is
        // shown by no page.
        let is_untold = head.header("origin").is_none();
        let is_opened = head.header("sec-fetch-mode") == Some("navigate");
        let is_shown = is_opened || !self.origins.is_empty() || self.names_own_page(head, host);
        if is_untold && is_shown {
            return Ok(());
        }
        self.admit_origin(head, host)
    }

    /// Whether a request says that it is of a page that may use this server: by Origin, or else by
    /// Referer, as an `<img>` sends no Origin. A page can leave its Referer out, and cannot name another
    /// site's there (Fetch, section 5.3: `referrer`).
    pub(super) fn names_own_page(&self, head: &Head, host: &Authority) -> bool {
        let page = head.header("origin").or_else(|| origin_of(head.header("referer")?));
        page.is_some_and(|origin| self.allows_origin(origin, host))
    }

    /// Whether the pages of an origin may use this server: those in the list, and those of the host
    /// itself. The web interface of a printer is on one port, and its camera on another.
    pub(super) fn allows_origin(&self, origin: &str, host: &Authority) -> bool {
        let is_own = |name: &str| complete(name) == complete(&host.name) || self.is_own_name(name);
        let authority = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
        authority.and_then(Authority::parse).is_some_and(|authority| is_own(&authority.name))
            || self.origins.iter().any(|known| known == origin)
    }

    /// Whether a name or an address leads here from everywhere, which `localhost` does not.
    fn is_own_name(&self, name: &str) -> bool {
        let is_address = |address: IpAddr| {
            !address.is_loopback() && self.addresses.contains(&address.to_canonical())
        };
        let name = complete(name);
        self.all_names().any(|own| own == name)
            || self.host_names.iter().any(|own| is_renamed(name, own))
            || name.parse().is_ok_and(is_address)
    }

    /// The names under which this server is known to be reached.
    pub(super) fn all_names(&self) -> impl Iterator<Item = &String> {
        self.names.iter().chain(&self.host_names)
    }
}

/// The origin of an absolute URL: what is before its path.
fn origin_of(url: &str) -> Option<&str> {
    let authority_at = url.find("://")? + "://".len();
    let length = url[authority_at..].find(['/', '?', '#']);
    Some(length.map_or(url, |length| &url[..authority_at + length]))
}

fn host_unknown(Authority { name, .. }: &Authority) -> Response {
    let sentence = format!(
        "This server does not answer to the name {name}. Open it by one of its addresses, or ask \
         its operator to allow the name."
    );
    Response::problem(421, Reason::HostUnknown, &sentence)
}

/// Whether multicast DNS has made this name of that one, as another host has it: `camera-2.local` of
/// avahi, `camera2.local` of systemd-resolved (RFC 6762, section 9). No other DNS resolves a name in
/// `.local` (section 3), so no site elsewhere can have it.
fn is_renamed(name: &str, own: &str) -> bool {
    let [name, own] = [name, own].map(|name| name.strip_suffix(".local"));
    let Some(number) = own.and_then(|own| name?.strip_prefix(own)) else { return false };
    let number = number.strip_prefix('-').unwrap_or(number);
    (1..=MAX_NUMBER_DIGITS).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a name or an address leads to the machine that uses it.
fn is_loopback(name: &str) -> bool {
    let is_address = || name.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    complete(name) == "localhost" || is_address()
}

/// A name with a dot at its end is the same name, and complete (RFC 1034, section 3.1).
fn complete(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}
