//! Real proxies in front of the real server: nginx, Caddy and HAProxy, with TLS and without, at the root
//! and below a path. Chromium plays through each, and limits hold for each client.
//!
//! Their configurations are those of `packaging/README.md`.

mod support;

use std::fs::{File, create_dir_all, remove_dir_all, write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::chromium::Chromium;
use support::process::{Server, WAIT_LIMIT, request_from};
use support::scripts::LIVE;

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
        server BALLCAST;
    }
    server {
        listen 127.0.0.1:HTTP;
        listen 127.0.0.1:TLS ssl;
        ssl_certificate DIR/certificate.pem;
        ssl_certificate_key DIR/key.pem;
        proxy_http_version 1.1;
        location / {
            proxy_pass http://BALLCAST/;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }
        location /camera/ {
            proxy_pass http://BALLCAST/;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
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
    handle_path /camera/* {
        reverse_proxy BALLCAST
    }
    reverse_proxy BALLCAST
}
https://:TLS {
    bind 127.0.0.1
    tls DIR/certificate.pem DIR/key.pem
    handle_path /camera/* {
        reverse_proxy BALLCAST
    }
    reverse_proxy BALLCAST
}
";

const HAPROXY: &str = "
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option forwardfor
frontend web
    bind 127.0.0.1:HTTP
    bind 127.0.0.1:TLS ssl crt DIR/both.pem
    use_backend below if { path_beg /camera/ }
    default_backend root
backend root
    server ballcast BALLCAST
backend below
    http-request replace-path /camera/(.*) /\\1
    server ballcast BALLCAST
";

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
            .replace("BALLCAST", &ballcast.address.to_string())
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
    Proxy::start("nginx", NGINX, &["nginx", "-e", "stderr", "-c"], ballcast)
}

fn caddy(ballcast: &Server) -> Proxy {
    Proxy::start("caddy", CADDY, &["caddy", "run", "--adapter", "caddyfile", "--config"], ballcast)
}

fn haproxy(ballcast: &Server) -> Proxy {
    Proxy::start("haproxy", HAPROXY, &["haproxy", "-db", "-f"], ballcast)
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

fn start() -> Server {
    Server::start(&["--trusted-proxy", "127.0.0.1"])
}

#[test]
fn chromium_plays_through_each_proxy_at_the_root_and_below_a_path_with_tls_and_without() {
    let mut chromium = Chromium::start();
    for proxy in [nginx, caddy, haproxy] {
        let server = start();
        let proxy = proxy(&server);
        for (scheme, port) in [("http", proxy.http), ("https", proxy.tls)] {
            for path in ["/", "/camera/"] {
                let url = format!("{scheme}://127.0.0.1:{port}{path}");
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
    let server = Server::start(&[&flags[..], &["--allow-host", "printer.localhost"]].concat());
    let proxy = nginx(&server);
    let mut chromium = Chromium::start();
    // Browsers look for names below localhost on their own machine.
    let tab = chromium.open(&format!("http://printer.localhost:{}/webcam/", proxy.http));
    chromium.wait_for(&tab, LIVE);
}

#[test]
fn guesses_of_one_client_lock_out_nobody_else_behind_a_proxy() {
    for proxy in [nginx, caddy, haproxy] {
        let server = Server::start(&["--trusted-proxy", "127.0.0.1", "--token", TOKEN]);
        let proxy = proxy(&server);
        let ask = |client: u8, token: &str, forged: &str| {
            let from = Ipv4Addr::new(127, 0, 0, client);
            let bearer = format!("Bearer {token}");
            let headers = [("Authorization", bearer.as_str()), ("X-Forwarded-For", forged)];
            request_from(from.into(), proxy.address(), "GET", "/stats", &headers, b"").status
        };
        let guesses: Vec<u16> = (0..6).map(|_| ask(9, "some-other", "127.0.0.8")).collect();
        assert_eq!(guesses, [401, 401, 401, 401, 401, 429]);
        assert_eq!(ask(9, TOKEN, "127.0.0.8"), 429, "whatever it says of itself");
        assert_eq!(ask(8, TOKEN, "127.0.0.9"), 200);
    }
}
