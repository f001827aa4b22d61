//! Requests to answers: which request is welcome, and what a page or a player is told.

pub mod assets;
pub mod auth;
pub mod cors;
pub mod offer_api;
mod query;
pub mod routes;
pub mod snapshot;
pub mod whep;
