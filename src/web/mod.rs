//! Requests to answers: which request is welcome, and what a page or a player is told.

pub mod access;
pub mod assets;
pub mod auth;
pub mod cors;
pub mod health;
pub mod offer_api;
pub mod proxies;
mod query;
pub mod routes;
pub mod snapshot;
pub mod whep;
