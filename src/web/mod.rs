//! From requests to answers: which request is served, and what pages and players are told.
//!
//! A request finds its [endpoint](endpoints), passes its [guards], and is answered by the server with
//! what the other modules here make of it. A [`refusal`] says why one is not served.

pub mod access;
pub mod assets;
pub mod auth;
pub mod cors;
pub mod endpoints;
pub mod guards;
pub mod headers;
pub mod health;
pub mod malformed;
pub(crate) mod offer_api;
pub mod proxies;
mod query;
pub mod reason;
pub mod refusal;
pub mod snapshot;
pub mod whep;
