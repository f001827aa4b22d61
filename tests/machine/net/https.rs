//! Pages over https, with a certificate that nobody has signed, that show a server over http.

use std::fs::{File, create_dir_all, remove_dir_all, write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::namespaces::{BROWSER_IPV4, Network, SERVER_IPV4};
use super::start_server;
use crate::support::chromium::Chromium;
use crate::support::process::wait_until;
use crate::support::scripts::width_of_img;

/// In the browser's own namespace, which is that of the test.
const PORT: u16 = 8443;

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
    server {
        listen ADDRESS ssl;
        ssl_certificate DIR/certificate.pem;
        ssl_certificate_key DIR/key.pem;
        location / {
            default_type text/html;
            return 200 '<!doctype html><p>A page over https</p>';
        }
    }
}
";

/// A site over https.
struct Site {
    nginx: Child,
    directory: PathBuf,
}

impl Site {
    fn start(address: &str) -> Site {
        let name = format!("https-{}", std::process::id());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        create_dir_all(&directory).unwrap();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-nodes", "-days", "2", "-subj", "/CN=site"])
            .args(["-keyout", "key.pem", "-out", "certificate.pem"])
            .current_dir(&directory)
            .stderr(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        let text = NGINX.replace("DIR", directory.to_str().unwrap()).replace("ADDRESS", address);
        let file = directory.join("configuration");
        write(&file, text).unwrap();
        let nginx = Command::new("nginx")
            .args(["-e", "stderr", "-c"])
            .arg(&file)
            .stderr(File::create(directory.join("log")).unwrap())
            .spawn()
            .unwrap();
        wait_until("nginx listens", || TcpStream::connect(address).is_ok());
        Site { nginx, directory }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.nginx), Signal::TERM);
        let _ = self.nginx.wait();
        let _ = remove_dir_all(&self.directory);
    }
}

/// Posts an offer for WHEP: the status of the answer, or 0 where the browser does not let it through.
fn post(url: &str, options: &str) -> String {
    format!(
        "(async () => {{
            const pc = new RTCPeerConnection();
            pc.addTransceiver('video', {{ direction: 'recvonly' }});
            const {{ sdp }} = await pc.createOffer();
            const headers = {{ 'Content-Type': 'application/sdp' }};
            const posted = fetch('{url}', {{ method: 'POST', headers, body: sdp, {options} }});
            const status = await posted.then((response) => response.status, () => 0);
            pc.close();
            return status;
        }})()"
    )
}

/// What packaging/players.md says of Chromium. It takes an address of a private network, and a name
/// with `.local`, for what is local, and other names for what is mixed content.
pub fn pages(network: &Network) {
    let origin = format!("{BROWSER_IPV4}:{PORT}");
    let _site = Site::start(&origin);
    let origin = format!("https://{origin}");
    let rules = format!("--host-resolver-rules=MAP cam {SERVER_IPV4}, MAP cam.local {SERVER_IPV4}");
    let mut chromium = Chromium::start_with(&[&rules]);
    for (host, is_shown) in [(SERVER_IPV4, true), ("cam.local", true), ("cam", false)] {
        let flags = ["--allow-origin", &origin, "--allow-host", "cam", "--allow-host", "cam.local"];
        let server = start_server(network, SERVER_IPV4, &flags);
        let url = format!("http://{host}:{}/", server.address.port());
        let tab = chromium.open_blank();
        chromium.ignore_certificate_errors(&tab);
        chromium.navigate(&tab, &format!("{origin}/"));
        chromium.wait_for(&tab, "document.body?.innerText === 'A page over https'");
        let whep = format!("{url}whep");
        let posted = chromium.evaluate(&tab, &post(&whep, ""));
        let as_local = "targetAddressSpace: 'local'";
        let posted_as_local = chromium.evaluate(&tab, &post(&whep, as_local));
        let width = chromium.evaluate(&tab, &width_of_img(&format!("{url}snapshot.jpg")));
        let served = server.stats()["viewers_served"].as_u64().unwrap();
        let frame = format!(
            "const frame = document.createElement('iframe');
            frame.src = '{url}';
            frame.style.width = '640px';
            document.body.append(frame);"
        );
        chromium.evaluate(&tab, &frame);
        println!("{host}: POST {posted}, as local {posted_as_local}, <img> {width}");
        assert_eq!(posted, if is_shown { 201 } else { 0 }, "{host}");
        assert_eq!(posted_as_local, 201, "{host}");
        assert_eq!(width, if is_shown { 640 } else { 0 }, "{host}");
        if is_shown {
            server.wait_for("the frame plays", |stats| {
                let viewers = stats["viewers"].as_array().unwrap();
                viewers.iter().any(|viewer| viewer["frames_sent"].as_u64() > Some(30))
            });
        } else {
            std::thread::sleep(std::time::Duration::from_secs(2));
            assert_eq!(server.stats()["viewers_served"], served, "{host}: the frame is blocked");
        }
        chromium.close(&tab);
    }
}
