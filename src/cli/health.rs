//! `--check-health`: asks a running server whether it has a picture, for containers that have no other
//! program.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::foreign::Foreign;
use crate::http::Authority;
use crate::web::health::ENDPOINT;

/// The default, with the default port of the server.
pub const USUAL: &str = "http://127.0.0.1:8080";
/// Applies to the connection, and to each read.
const LIMIT: Duration = Duration::from_secs(5);
/// A longer response is not from Ballcast.
const MOST_BYTES: u64 = 8 * 1024;
const REASON_MAX_CHARS: usize = 500;

/// # Errors
/// A sentence: there is no picture, or no response.
pub fn check(server: &Authority) -> Result<(), String> {
    let answer = ask(server).map_err(|error| format!("{server} does not answer: {error}."))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(()),
        // The words may be another program's.
        Some("503") => Err(Foreign::new(body, REASON_MAX_CHARS)
            .map_or_else(|| "There is no picture.".to_owned(), |reason| reason.to_string())),
        _ => Err(format!("{server} is not a Ballcast server.")),
    }
}

fn ask(server: &Authority) -> std::io::Result<String> {
    let port = server.port.unwrap_or(80);
    let address = (server.name.as_str(), port).to_socket_addrs()?.next();
    let address = address.ok_or(std::io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET {ENDPOINT} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
