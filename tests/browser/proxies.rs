//! Real proxies in front of the real server: nginx, Caddy and HAProxy, with TLS and without, at the root
//! and below a path. Chromium plays through each, and limits hold for each client.
//!
//! Their configurations have the blocks of `packaging/proxies.md`.

use std::fs::{File, create_dir_all, remove_dir_all, write};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::chromium::Chromium;
use crate::support::process::{Server, WAIT_LIMIT, connect_from, raw};
use crate::support::scripts::LIVE;
use rustix::process::{Pid, Signal, kill_process};

/// The blocks that operators copy.
const PAGE: &str = include_str!("../../packaging/proxies.md");
/// The address of Ballcast in those blocks.
const UPSTREAM: &str = "127.0.0.1:8080";

const NGINX: &str = "
daemon off;
pid DIR/nginx.pid;
error_log DIR/error.log;
events {}
http {
    access_log off;
    client_body_temp_path DIR/body;
    proxy_temp_path DIR/proxy;
    fastcgi_temp_path DIR/fastcgi;
    uwsgi_temp_path DIR/uwsgi;
    scgi_temp_path DIR/scgi;
    upstream mjpgstreamer1 {
        ip_hash;
        server 127.0.0.1:8080;
    }
    server {
        listen 127.0.0.1:HTTP;
        listen 127.0.0.1:TLS ssl;
        ssl_certificate DIR/certificate.pem;
        ssl_certificate_key DIR/key.pem;
        BLOCKS
        # The client's own X-Forwarded-Host and Forwarded are passed on.
        location /passed-on/ {
            proxy_pass http://127.0.0.1:8080/;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }
        # Without anything about headers.
        location /bare/ {
            proxy_pass http://127.0.0.1:8080/;
        }
        # As MainsailOS has it.
        location /webcam/ {
            postpone_output 0;
            proxy_buffering off;
            proxy_ignore_headers X-Accel-Buffering;
            access_log off;
            error_log off;
            proxy_pass http://mjpgstreamer1/;
        }
    }
}
";

const CADDY: &str = "
{
    admin off
    auto_https off
    skip_install_trust
}
http://:HTTP {
    bind 127.0.0.1
    BLOCKS
}
https://:TLS {
    bind 127.0.0.1
    tls DIR/certificate.pem DIR/key.pem
    BLOCKS
}
";

const HAPROXY: &str = "
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
BLOCKS
";

/// The documented block for a proxy.
fn block(language: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

/// The block below `/camera/`, and the same at the root.
fn nginx_configuration() -> String {
    let block = block("nginx");
    let at_root = block.replace("location /camera/", "location /");
    assert_ne!(at_root, block);
    NGINX.replace("BLOCKS", &format!("{block}{at_root}"))
}

fn caddy_configuration() -> String {
    let site = block("caddyfile").trim();
    let inside = site.strip_prefix("printer.example {").unwrap().strip_suffix('}').unwrap();
    let at_root = inside.replace("handle_path /camera/*", "handle");
    assert_ne!(at_root, inside);
    CADDY.replace("BLOCKS", &format!("{inside}{at_root}"))
}

fn haproxy_configuration() -> String {
    let (frontend, backend) = block("haproxy").split_once("backend ballcast\n").unwrap();
    let binds =
        "bind 127.0.0.1:HTTP\nbind 127.0.0.1:TLS ssl crt DIR/both.pem\ndefault_backend root\n";
    let at_root = backend.lines().filter(|line| !line.contains("replace-path"));
    let at_root: Vec<&str> = at_root.collect();
    let blocks = format!(
        "{frontend}{binds}backend ballcast\n{backend}backend root\n{}\n",
        at_root.join("\n")
    );
    HAPROXY.replace("BLOCKS", &blocks)
}

struct Proxy {
    child: Child,
    directory: PathBuf,
    http: u16,
    tls: u16,
}

impl Proxy {
    fn start(name: &str, configuration: &str, command: &[&str], ballcast: &Server) -> Proxy {
        let directory = directory(name);
        let [http, tls] = [free_port(), free_port()];
        let text = configuration
            .replace("DIR", directory.to_str().unwrap())
            .replace(UPSTREAM, &ballcast.address.to_string())
            .replace("HTTP", &http.to_string())
            .replace("TLS", &tls.to_string());
        let file = directory.join("configuration");
        write(&file, text).unwrap();
        let child = Command::new(command[0])
            .args(&command[1..])
            .arg(&file)
            .env("HOME", &directory)
            .stdout(Stdio::null())
            .stderr(File::create(directory.join("log")).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} is missing, install it: {error}"));
        let proxy = Proxy { child, directory, http, tls };
        let end = Instant::now() + WAIT_LIMIT;
        while [http, tls].iter().any(|port| TcpStream::connect(("127.0.0.1", *port)).is_err()) {
            assert!(
                Instant::now() < end,
                "{name} does not listen: see {}",
                proxy.directory.display()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        proxy
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.http))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
        let _ = remove_dir_all(&self.directory);
    }
}

fn nginx(ballcast: &Server) -> Proxy {
    Proxy::start("nginx", &nginx_configuration(), &["nginx", "-e", "stderr", "-c"], ballcast)
}

fn caddy(ballcast: &Server) -> Proxy {
    let command = ["caddy", "run", "--adapter", "caddyfile", "--config"];
    Proxy::start("caddy", &caddy_configuration(), &command, ballcast)
}

fn haproxy(ballcast: &Server) -> Proxy {
    Proxy::start("haproxy", &haproxy_configuration(), &["haproxy", "-db", "-f"], ballcast)
}

/// Of a proxy: a self-signed certificate is in it.
fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "proxies-{}-{name}-{}",
        std::process::id(),
        free_port()
    ));
    create_dir_all(&directory).unwrap();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-keyout", "key.pem", "-out", "certificate.pem"])
        .current_dir(&directory)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    let read = |name: &str| std::fs::read(directory.join(name)).unwrap();
    write(directory.join("both.pem"), [read("certificate.pem"), read("key.pem")].concat()).unwrap();
    directory
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

const TOKEN: &str = "open-sesame";
/// A name of the server that browsers look for on their own machine.
const NAME: &str = "printer.localhost";

fn start() -> Server {
    Server::start(&["--trusted-proxy", "127.0.0.1", "--allow-host", NAME])
}

#[test]
fn chromium_plays_through_each_proxy_at_the_root_and_below_a_path_with_tls_and_without() {
    let mut chromium = Chromium::start();
    for proxy in [nginx, caddy, haproxy] {
        let server = start();
        let proxy = proxy(&server);
        for (scheme, port) in [("http", proxy.http), ("https", proxy.tls)] {
            for path in ["/", "/camera/"] {
                let url = format!("{scheme}://{NAME}:{port}{path}");
                println!("{url}");
                let tab = chromium.open_blank();
                chromium.ignore_certificate_errors(&tab);
                chromium.navigate(&tab, &url);
                chromium.wait_for(&tab, LIVE);
                chromium.wait_for(&tab, "ballcast.frames > 30");
                // A player, whose session is where its Location says.
                assert_eq!(chromium.evaluate(&tab, WHEP), "201 204 200", "{url}");
                chromium.close(&tab);
            }
        }
    }
}

/// A player as Fluidd has it: what the offer, a candidate and the end of the session are answered with.
const WHEP: &str = "(async () => {
    const endpoint = new URL('whep', document.baseURI);
    const pc = new RTCPeerConnection();
    pc.addTransceiver('video', { direction: 'recvonly' });
    await pc.setLocalDescription(await pc.createOffer());
    const offered = await fetch(endpoint, {
        method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body: pc.localDescription.sdp,
    });
    await pc.setRemoteDescription({ type: 'answer', sdp: await offered.text() });
    const session = new URL(offered.headers.get('Location'), endpoint);
    const changed = await fetch(session, {
        method: 'PATCH',
        headers: { 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': '*' },
        body: 'a=end-of-candidates\\r\\n',
    });
    const deleted = await fetch(session, { method: 'DELETE' });
    pc.close();
    return [offered, changed, deleted].map(({ status }) => status).join(' ');
})()";

#[test]
fn behind_the_block_that_mainsail_os_has_the_page_plays() {
    let flags = ["--trusted-proxy", "127.0.0.1", "--allow-host", "mjpgstreamer1"];
    let server = Server::start(&[&flags[..], &["--allow-host", NAME]].concat());
    let proxy = nginx(&server);
    let mut chromium = Chromium::start();
    let tab = chromium.open(&format!("http://{NAME}:{}/webcam/", proxy.http));
    chromium.wait_for(&tab, LIVE);
}

#[test]
fn guesses_of_one_client_lock_out_nobody_else_behind_a_proxy() {
    for proxy in [nginx, caddy, haproxy] {
        let flags = ["--trusted-proxy", "127.0.0.1", "--allow-host", NAME, "--token", TOKEN];
        let server = Server::start(&flags);
        let proxy = proxy(&server);
        let ask = |client: u8, token: &str, forged: u8| {
            let headers = format!(
                "Authorization: Bearer {token}\r\nX-Forwarded-For: 127.0.0.{forged}\r\n\
                 Forwarded: for=127.0.0.{forged};host={NAME}\r\n"
            );
            status(&proxy, client, "GET /stats", NAME, &headers)
        };
        let guesses: Vec<u16> = (0..6).map(|_| ask(9, "some-other", 8)).collect();
        assert_eq!(guesses, [401, 401, 401, 401, 401, 429]);
        assert_eq!(ask(9, TOKEN, 8), 429, "whatever it says of itself");
        assert_eq!(ask(8, TOKEN, 9), 200);
    }
}

/// Whatever a page of another site can make a proxy pass on.
const FORGED: [&str; 12] = [
    "",
    "X-Forwarded-Host: localhost\r\n",
    "X-Forwarded-Host: localhost:8080\r\n",
    "X-Forwarded-Host: 127.0.0.1\r\n",
    "X-Forwarded-Host: [::1]\r\n",
    "X-Forwarded-Host: printer.localhost\r\n",
    "X-Forwarded-Host: printer.localhost\r\nX-Forwarded-Host: localhost\r\n",
    "X-Forwarded-For: 127.0.0.1\r\n",
    "Forwarded: host=localhost;for=127.0.0.1\r\n",
    "Forwarded: for=127.0.0.1;host=printer.localhost\r\n",
    "X-Forwarded-Host: \"\"\r\nForwarded: host=printer.localhost\r\n",
    "X-Forwarded-Host: localhost\r\nX-Forwarded-For: 127.0.0.1\r\n\
     Forwarded: host=localhost;for=127.0.0.1\r\n",
];

const WHAT: [&str; 7] = [
    "GET /",
    "GET /snapshot.jpg",
    "GET /stream.mjpg",
    "GET /stats",
    "GET /metrics",
    "POST /offer",
    "POST /whep",
];

/// DNS rebinding: the page of another site reaches the proxy under its own name, and is of one origin
/// with it for the browser, so that it may add headers to what it asks.
#[test]
fn a_page_after_dns_rebinding_reads_nothing_whatever_it_forges() {
    for proxy in [nginx, caddy, haproxy] {
        let server = start();
        let proxy = proxy(&server);
        for what in WHAT.into_iter().chain(["GET /health"]) {
            let below = what.replace(" /", " /camera/");
            for headers in FORGED {
                for what in [what, &below] {
                    for host in ["evil.example", "evil.example.", "printer.localhost.evil.example"]
                    {
                        let refused = status(&proxy, 1, what, host, headers);
                        assert_eq!(refused, 421, "{what} for {host} with {headers}");
                    }
                }
            }
        }
        let asks = |what: &str, headers: &str| {
            assert_eq!(status(&proxy, 1, what, NAME, headers), 200, "{what} with {headers}");
        };
        for headers in FORGED.into_iter().chain(["X-Forwarded-Host: evil.example\r\n"]) {
            asks("GET /stats", headers);
            asks("GET /camera/stats", headers);
        }
        asks("GET /camera/snapshot.jpg", FORGED[1]);
        asks("GET /camera/stream.mjpg", FORGED[1]);
    }
}

#[test]
fn a_host_that_a_proxy_passes_on_does_not_replace_the_host_of_the_page() {
    let server = start();
    let proxy = nginx(&server);
    for what in WHAT {
        let what = what.replace(" /", " /passed-on/");
        for headers in FORGED {
            let refused = status(&proxy, 1, &what, "evil.example", headers);
            assert_eq!(refused, 421, "{what} with {headers}");
        }
    }
    assert_eq!(status(&proxy, 1, "GET /passed-on/stats", NAME, ""), 200);
}

/// Such a proxy hides the name of the page. It has to forward a name of ours, which it does not by
/// itself; the rest is in `tests/security.md`.
#[test]
fn a_proxy_that_replaces_the_host_has_to_forward_it() {
    let server = start();
    let proxy = nginx(&server);
    for what in WHAT {
        let what = what.replace(" /", " /bare/");
        for headers in FORGED.into_iter().filter(|forged| !forged.contains(NAME)) {
            for host in ["evil.example", "localhost", NAME] {
                let refused = status(&proxy, 1, &what, host, headers);
                assert_eq!(refused, 421, "{what} for {host} with {headers}");
            }
        }
    }
}

/// The status of the answer to a request from 127.0.0.`client`, on a connection of its own.
fn status(proxy: &Proxy, client: u8, what: &str, host: &str, headers: &str) -> u16 {
    let port = proxy.http;
    let body = if what.starts_with("POST") { "Content-Length: 2\r\n\r\n{}" } else { "\r\n" };
    let request = format!("{what} HTTP/1.1\r\nHost: {host}:{port}\r\n{headers}{body}");
    let from = Ipv4Addr::new(127, 0, 0, client);
    let mut stream = connect_from(from.into(), proxy.address());
    stream.set_read_timeout(Some(WAIT_LIMIT)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("{what} {headers}: '{line}'"))
}

/// Without X-Accel-Buffering, nginx keeps back the end of each picture until the next one comes.
#[test]
fn a_picture_of_a_stream_is_through_nginx_before_the_next_one_is_made() {
    let flags = ["--trusted-proxy", "127.0.0.1", "--allow-host", NAME, "--fps", "1"];
    let server = Server::start(&flags);
    let proxy = nginx(&server);
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(WAIT_LIMIT)).unwrap();
    // HTTP/1.0 has no chunks, whose lengths would be between the bytes.
    let request = format!("GET /camera/stream.mjpg HTTP/1.0\r\nHost: {NAME}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let stats = format!("GET /camera/stats HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    let boundary = b"--ballcast-picture\r\n";
    let (mut bytes, mut piece) = (Vec::new(), [0; 65_536]);
    // A machine that is busy may be late for one of them.
    let in_time = (1..=6).any(|pictures| {
        // One is before the first picture, too.
        while bytes.windows(boundary.len()).filter(|word| word == boundary).count() <= pictures {
            let read = stream.read(&mut piece).unwrap();
            assert!(read > 0, "the stream has ended");
            bytes.extend_from_slice(&piece[..read]);
        }
        let stats = raw(proxy.address(), stats.as_bytes()).json();
        let sent = stats["mjpeg_parts_sent"].as_u64().unwrap();
        println!("{pictures} of {sent} pictures are here");
        sent == pictures as u64
    });
    assert!(in_time, "each picture waits for the next one");
}
