//! Decides on the head of a request alone whether the request is served, before its body is read.
//!
//! The server's owner of the [token](super::auth) decides between the two steps:
//!
//! 1. [`check`] rejects what no token would admit, and returns the token that the request shows.
//! 2. The server compares the token, or makes the request wait, and gets a [`TokenVerdict`].
//! 3. [`admit`] rejects by that verdict, and what the endpoint cannot take.

use super::access::AccessPolicy;
use super::auth::{Credential, TokenVerdict};
use super::endpoints::{self, Endpoint, Guard, Route};
use super::proxies::Visitor;
use super::refusal::Refusal;
use super::snapshot;
use crate::http::Head;

/// Checks host, path, method and origin, in this order. The origin comes before the token: another
/// site's page could use up the tries of the address that opened it.
///
/// # Errors
/// The refusal, if the request is rejected whatever token it shows.
pub fn check<'a>(
    head: &'a Head,
    endpoint: Option<&'static Endpoint>,
    visitor: &Visitor,
    access: &AccessPolicy,
) -> Result<(&'static Endpoint, Credential<'a>), Refusal> {
    match endpoint.map(|endpoint| endpoint.guard) {
        Some(Guard::LocalHost) => access.admit_local_host(&head.host)?,
        _ => access.admit_host(visitor)?,
    }
    let endpoint = endpoint.ok_or_else(endpoints::not_found)?;
    endpoint.check_method(head.method)?;
    let credential = match endpoint.guard {
        Guard::Host | Guard::LocalHost => Credential::NotNeeded,
        Guard::Change if head.method.is_safe() => Credential::NotNeeded,
        Guard::Change => {
            access.admit_origin(head, &visitor.host)?;
            Credential::in_header(head)
        }
        Guard::Token => Credential::in_header(head),
        Guard::Picture => {
            access.admit_picture_origin(head, &visitor.host)?;
            Credential::in_header_or_query(head)
        }
    };
    Ok((endpoint, credential))
}

/// Checks the verdict on the token, then the media type and the parameters.
pub fn admit(head: &Head, endpoint: &Endpoint, token: TokenVerdict) -> Result<(), Refusal> {
    token.admit(head, endpoint.guard == Guard::Picture)?;
    endpoint.check_body(head)?;
    match endpoint.route {
        Route::Snapshot => snapshot::width(head).map(drop),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::{Instant, SystemTime};

    use super::*;
    use crate::http::{Context, HttpConnection, HttpEvent};
    use crate::web::auth::TokenPlace;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn head(line: &str, headers: &str) -> Head {
        let now = Instant::now();
        let context = Context { now, date: SystemTime::UNIX_EPOCH, common_headers: &[] };
        let mut connection = HttpConnection::new(now);
        let request =
            format!("{line} HTTP/1.1\r\nHost: camera\r\nContent-Length: 0\r\n{headers}\r\n");
        connection.receive(request.as_bytes());
        match connection.poll(&context) {
            Some(HttpEvent::Head(head)) => head,
            event => panic!("{line}: {event:?}"),
        }
    }

    /// What a request needs and shows, or the status of its refusal.
    fn checked(line: &str, headers: &str) -> Result<Option<Option<TokenPlace>>, u16> {
        let access = AccessPolicy { names: vec!["camera".to_owned()], ..AccessPolicy::default() };
        let head = head(line, headers);
        let visitor = access.visitor(ADDRESS, &head);
        match check(&head, endpoints::find(&head), &visitor, &access) {
            Ok((_, Credential::NotNeeded)) => Ok(None),
            Ok((_, Credential::Missing)) => Ok(Some(None)),
            Ok((_, Credential::Shown { place, .. })) => Ok(Some(Some(place))),
            Err(refusal) => Err(refusal.status),
        }
    }

    #[test]
    fn a_request_needs_a_token_where_it_reads_or_changes_state() {
        for line in
            ["GET /", "GET /health", "OPTIONS *", "OPTIONS /offer", "GET /whep", "HEAD /whep/x"]
        {
            assert_eq!(checked(line, ""), Ok(None), "{line}");
        }
        for line in ["POST /offer", "POST /whep", "PATCH /whep/x", "DELETE /whep/x", "GET /stats"] {
            assert_eq!(checked(line, ""), Ok(Some(None)), "{line}");
        }
        let bearer = "Authorization: Bearer open-sesame\r\n";
        assert_eq!(checked("GET /metrics", bearer), Ok(Some(Some(TokenPlace::Bearer))));
    }

    #[test]
    fn a_token_in_the_query_counts_for_pictures_and_where_no_header_has_one() {
        let query = Ok(Some(Some(TokenPlace::Query)));
        assert_eq!(checked("GET /snapshot.jpg?token=a", ""), query);
        assert_eq!(checked("GET /?action=stream&token=a", ""), query);
        assert_eq!(checked("GET /stats?token=a", ""), Ok(Some(None)));
        // a:b
        let basic = "Authorization: Basic YTpi\r\n";
        assert_eq!(checked("GET /stream?token=a", basic), Ok(Some(Some(TokenPlace::Basic))));
    }

    #[test]
    fn path_method_and_origin_are_checked_before_the_token() {
        assert_eq!(checked("GET /nowhere", ""), Err(404));
        assert_eq!(checked("DELETE /offer", ""), Err(405));
        assert_eq!(checked("POST /offer", "Origin: http://elsewhere\r\n"), Err(403));
        assert_eq!(checked("GET /snapshot", "Origin: http://elsewhere\r\n"), Err(403));
    }
}
