//! Which request is welcome, and what it is for.

use super::access::AccessPolicy;
use super::assets::{ASSETS, Asset};
use super::auth::{TokenCheck, TokenVerdict};
use super::cors::add_cors_headers;
use super::proxies::Visitor;
use super::snapshot::Wanted;
use super::{health, offer_api, snapshot, whep};
use crate::http::{Head, Method, Response};
use crate::refusal::Reason;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    Asset(&'static Asset),
    Offer,
    Whep,
    /// One viewer of WHEP, by its secret name.
    WhepSession(&'a str),
    Stats,
    /// The statistics for Prometheus.
    Metrics,
    /// Whether there is a picture.
    Health,
    /// One picture.
    Snapshot,
    /// One picture after the other.
    MotionJpeg,
    /// `OPTIONS *`: the server as a whole.
    Server,
}

/// Decides on the head alone whether the rest of a request is wanted, and tells what has become of its
/// token.
pub fn admit(
    head: &Head,
    visitor: &Visitor,
    access: &AccessPolicy,
    mut token: Option<TokenCheck>,
) -> (TokenVerdict, Result<(), Response>) {
    let mut verdict = TokenVerdict::NotNeeded;
    let check_token = |accepts_query| {
        let Some(token) = &mut token else { return Ok(()) };
        verdict = token.judge(head, accepts_query);
        verdict.admit(head, accepts_query)
    };
    let admitted = admit_request(head, visitor, access, check_token)
        .map_err(|refusal| add_cors_headers(head, visitor, access, refusal));
    (verdict, admitted)
}

/// `check_token` is told whether the token may be in the query.
fn admit_request(
    head: &Head,
    visitor: &Visitor,
    access: &AccessPolicy,
    check_token: impl FnOnce(bool) -> Result<(), Response>,
) -> Result<(), Response> {
    let wanted = route(head);
    match wanted {
        // A watcher on the machine of a trusted proxy asks for itself.
        Ok(Route::Health) => access.admit_local_host(&head.host)?,
        _ => access.admit_host(visitor)?,
    }
    // The origin first: another site's page could use up the tries of the address that opened it.
    let wanted = wanted?;
    match wanted {
        Route::Offer => {
            // A browser sends no token with a preflight.
            if head.method != Method::Options {
                access.admit_origin(head, &visitor.host)?;
                check_token(false)?;
            }
            offer_api::admit(head)
        }
        Route::Whep | Route::WhepSession(_) => {
            // What changes nothing says nothing either.
            if !matches!(head.method, Method::Get | Method::Head | Method::Options) {
                access.admit_origin(head, &visitor.host)?;
                check_token(false)?;
            }
            whep::admit(head)
        }
        // They tell who watches, and how many.
        Route::Stats | Route::Metrics => check_token(false),
        Route::Snapshot | Route::MotionJpeg => {
            access.admit_picture_origin(head, &visitor.host)?;
            check_token(true)?;
            match wanted {
                Route::Snapshot => snapshot::width(head).map(|_| ()),
                _ => Ok(()),
            }
        }
        Route::Asset(_) | Route::Health | Route::Server => Ok(()),
    }
}

/// The route of a request, or the answer that there is none.
pub fn route(head: &Head) -> Result<Route<'_>, Response> {
    let (route, allowed) = if let Some(picture) = snapshot::wanted(head) {
        let route = match picture {
            Wanted::Snapshot => Route::Snapshot,
            Wanted::Stream => Route::MotionJpeg,
        };
        (route, "GET, HEAD")
    } else if let Some(asset) = ASSETS.iter().find(|a| a.path == head.path) {
        (Route::Asset(asset), "GET, HEAD")
    } else {
        match head.path.as_str() {
            offer_api::ENDPOINT => (Route::Offer, offer_api::METHODS),
            "/stats" => (Route::Stats, "GET, HEAD"),
            "/metrics" => (Route::Metrics, "GET, HEAD"),
            health::ENDPOINT => (Route::Health, "GET, HEAD"),
            "*" => (Route::Server, "OPTIONS"),
            whep::ENDPOINT => (Route::Whep, whep::ENDPOINT_METHODS),
            path => match path.strip_prefix(whep::ENDPOINT).and_then(|p| p.strip_prefix('/')) {
                Some(session) => (Route::WhepSession(session), whep::SESSION_METHODS),
                None => {
                    let sentence = "There is nothing here. The picture is at /.";
                    return Err(Response::problem(404, Reason::NotFound, sentence));
                }
            },
        }
    };
    if allowed.split(", ").any(|method| method == head.method.as_str()) {
        return Ok(route);
    }
    let sentence = format!("This path accepts only {allowed}.");
    Err(Response::problem(405, Reason::MethodNotAllowed, &sentence).with_header("Allow", allowed))
}

/// `OPTIONS *`: what the server as a whole can do.
pub fn server_options() -> Response {
    Response::new(200).with_header("Allow", Method::ALL_NAMES)
}
