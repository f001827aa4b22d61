//! A site beside the server's, on a port of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// Serves one page for as long as the test runs.
pub fn serve(address: &str, page: &str) -> SocketAddr {
    let page = page.to_owned();
    serve_files(address, move |_| ("text/html", page.clone().into_bytes()))
}

/// Serves what `file` gives for a path, with its type, for as long as the test runs.
pub fn serve_files(
    address: &str,
    file: impl Fn(&str) -> (&'static str, Vec<u8>) + Clone + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, file) = (stream.unwrap(), file.clone());
            // Chromium opens connections ahead of need, which may send nothing for minutes.
            std::thread::spawn(move || answer(stream, file));
        }
    });
    address
}

/// A request has no body, and ends with an empty line.
fn answer(mut stream: TcpStream, file: impl Fn(&str) -> (&'static str, Vec<u8>)) {
    let lines = BufReader::new(&stream).lines().map_while(Result::ok);
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let Some(path) = head.first().and_then(|request| request.split(' ').nth(1)) else { return };
    let (content_type, content) = file(path);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        content.len()
    );
    let _ = stream.write_all(&[head.into_bytes(), content].concat());
}
