//! A site beside the server's: one page, on a port of its own.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

/// Serves a page at this address for as long as the test runs; the port.
pub fn serve(address: &str, page: &str) -> u16 {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{page}",
        page.len()
    );
    let answer: Arc<[u8]> = answer.into_bytes().into();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            // Chromium opens connections ahead of need, which may send nothing for minutes.
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4_096]);
                let _ = stream.write_all(&answer);
            });
        }
    });
    port
}
