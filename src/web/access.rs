//! Which requests are for this server, by their host, and which pages may use it, by their origin.

use std::net::IpAddr;

use super::proxies::{Proxied, TrustedProxies, Visitor};
use super::reason::Reason;
use super::refusal::Refusal;
use crate::http::{Authority, Head};

/// The digits of the number that multicast DNS appends to a name that is taken.
const MAX_NUMBER_DIGITS: usize = 4;

/// The names of this server, and the origins whose pages may use it.
#[derive(Debug, Clone, Default)]
pub struct AccessPolicy {
    /// The names that the operator allowed, in lower case.
    pub names: Vec<String>,
    /// The names of the host, in lower case. They change when it is renamed and when it changes networks.
    pub host_names: Vec<String>,
    /// Its own addresses, and the announced ones.
    pub addresses: Vec<IpAddr>,
    /// The origins of other sites whose pages may use it, as browsers write them.
    pub origins: Vec<String>,
    pub proxies: TrustedProxies,
}

impl AccessPolicy {
    /// See [`TrustedProxies::visitor`].
    pub fn visitor(&self, peer: IpAddr, head: &Head) -> Visitor {
        self.proxies.visitor(peer, head)
    }

    /// Rejects a request for another host. A page of another site can point its own name at our address
    /// (DNS rebinding); its requests carry that name in Host.
    ///
    /// Such a page can also write every header that a proxy passes on. So each host in a request of a
    /// trusted proxy has to be ours: in Host, and in the forwarded headers. A loopback name in Host may be
    /// the proxy's own name for us, but never the host that the client asked for: the proxy may be on
    /// another machine, and a proxy that replaces Host by a loopback name hides the client's.
    pub(super) fn admit_host(&self, visitor: &Visitor) -> Result<(), Refusal> {
        let Some(Proxied { host, forwarded_hosts }) = &visitor.proxied else {
            return self.admit_local_host(&visitor.host);
        };
        self.admit_local_host(host)?;
        let Some(forwarded_hosts) = forwarded_hosts else {
            let sentence = "The proxy forwards a host that is not a host name. Open the server by one of \
                            its addresses or names.";
            return Err(Refusal::new(421, Reason::HostUnknown, sentence));
        };
        let mut asked = forwarded_hosts.iter().flatten().chain([&visitor.host]);
        match asked.find(|host| !self.is_own_name(&host.name)) {
            None => Ok(()),
            Some(host) if is_loopback(&host.name) => {
                let sentence = format!(
                    "The proxy uses the name {host}, which is not a name of this server. It has to \
                     forward the Host that the browser sent: an address or a name of the server."
                );
                Err(Refusal::new(421, Reason::HostUnknown, sentence))
            }
            Some(host) => Err(host_unknown(host)),
        }
    }

    /// Rejects a host that is neither a name of this server nor a loopback name.
    pub(super) fn admit_local_host(&self, host: &Authority) -> Result<(), Refusal> {
        if self.is_own_name(&host.name) || is_loopback(&host.name) {
            return Ok(());
        }
        Err(host_unknown(host))
    }

    /// Rejects requests of pages that are neither of this host, on any port, nor of an allowed origin.
    pub(super) fn admit_origin(&self, head: &Head, host: &Authority) -> Result<(), Refusal> {
        let is_welcome = match head.header("origin") {
            Some(origin) => self.allows_origin(origin, host),
            None => head.header("sec-fetch-site") != Some("cross-site"),
        };
        if is_welcome {
            return Ok(());
        }
        let sentence = "Pages of other sites may not connect here. Open this server's own page, or \
                        ask its operator to allow that site.";
        Err(Refusal::new(403, Reason::ForeignOrigin, sentence))
    }

    /// Rejects requests for pictures of pages that may not show them, as far as the request tells. Over plain
    /// `http` a browser sends no Sec-Fetch-Site; there the answer's Cross-Origin-Resource-Policy keeps
    /// other sites' pages from showing it.
    pub(super) fn admit_picture_origin(
        &self,
        head: &Head,
        host: &Authority,
    ) -> Result<(), Refusal> {
        // An `<img>` of an `https` page sends neither Origin nor Referer. No page shows the picture of a
        // navigation.
        let is_untold = head.header("origin").is_none();
        let is_opened = head.header("sec-fetch-mode") == Some("navigate");
        let is_shown = is_opened || !self.origins.is_empty() || self.names_own_page(head, host);
        if is_untold && is_shown {
            return Ok(());
        }
        self.admit_origin(head, host)
    }

    /// Whether a request names a page that may use this server: by Origin, or else by Referer, as an `<img>`
    /// sends no Origin. A page can omit its Referer, but cannot forge another site's (Fetch, section 5.3:
    /// `referrer`).
    pub(super) fn names_own_page(&self, head: &Head, host: &Authority) -> bool {
        let page = head.header("origin").or_else(|| origin_of(head.header("referer")?));
        page.is_some_and(|origin| self.allows_origin(origin, host))
    }

    /// Whether pages of an origin may use this server: an allowed origin, or the host itself on any port. The
    /// web interface of a printer is on one port, and its camera on another.
    pub(super) fn allows_origin(&self, origin: &str, host: &Authority) -> bool {
        let is_own = |name: &str| complete(name) == complete(&host.name) || self.is_own_name(name);
        let authority = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
        authority.and_then(Authority::parse).is_some_and(|authority| is_own(&authority.name))
            || self.origins.iter().any(|known| known == origin)
    }

    /// Whether a name or an address leads here from other machines, as `localhost` does not.
    fn is_own_name(&self, name: &str) -> bool {
        let is_address = |address: IpAddr| {
            !address.is_loopback() && self.addresses.contains(&address.to_canonical())
        };
        let name = complete(name);
        self.all_names().any(|own| own == name)
            || self.host_names.iter().any(|own| is_renamed(name, own))
            || name.parse().is_ok_and(is_address)
    }

    /// The known names of this server.
    pub(super) fn all_names(&self) -> impl Iterator<Item = &String> {
        self.names.iter().chain(&self.host_names)
    }
}

/// The origin of an absolute URL: everything before its path.
fn origin_of(url: &str) -> Option<&str> {
    let authority_at = url.find("://")? + "://".len();
    let length = url[authority_at..].find(['/', '?', '#']);
    Some(length.map_or(url, |length| &url[..authority_at + length]))
}

fn host_unknown(Authority { name, .. }: &Authority) -> Refusal {
    let sentence = format!(
        "This server does not answer to the name {name}. Open it by one of its addresses, or ask \
         its operator to allow the name."
    );
    Refusal::new(421, Reason::HostUnknown, sentence)
}

/// Whether `name` is `own` with the number that multicast DNS appends if another host has that name:
/// `camera-2.local` of avahi, `camera2.local` of systemd-resolved (RFC 6762, section 9). Unicast DNS does not
/// resolve names in `.local` (section 3), so no other site can have one.
fn is_renamed(name: &str, own: &str) -> bool {
    let [name, own] = [name, own].map(|name| name.strip_suffix(".local"));
    let Some(number) = own.and_then(|own| name?.strip_prefix(own)) else { return false };
    let number = number.strip_prefix('-').unwrap_or(number);
    (1..=MAX_NUMBER_DIGITS).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a name or an address leads to the client's own machine.
fn is_loopback(name: &str) -> bool {
    let is_address = || name.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    complete(name) == "localhost" || is_address()
}

/// A name without the final dot of a complete name (RFC 1034, section 3.1).
fn complete(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}
