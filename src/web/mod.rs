//! Requests to answers: which request is welcome, and what a page or a player is told.

pub mod auth;
pub mod routes;
pub mod whep;
