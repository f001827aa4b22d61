//! The addresses and the names of the host, as they are offered and admitted.

use super::*;

/// The addresses of the candidates in an answer or an offer.
fn candidates(sdp: &str) -> Vec<&str> {
    let lines = sdp.lines().filter(|line| line.starts_with("a=candidate:"));
    lines.map(|line| line.split(' ').nth(4).unwrap()).collect()
}

#[test]
fn loopback_is_offered_to_this_host_alone_and_the_nearest_address_first() {
    let addresses = ["10.8.0.1", "10.0.8.254", "fd00::254", "127.0.0.1", "::1"];
    let sockets = addresses.map(|ip| SocketAddr::new(ip.parse().unwrap(), 8080));
    let mut world = World::configured(|config| {
        config.addresses = sockets.to_vec();
        config.access.proxies = TrustedProxies(vec!["127.0.0.1/32".parse().unwrap()]);
    });
    let elsewhere = ["10.0.8.254", "10.8.0.1", "fd00::254"];
    let here = ["127.0.0.1", "10.8.0.1", "10.0.8.254", "fd00::254", "::1"];
    for (from, forwarded, expected) in [
        (CLIENT, "", &elsewhere[..]),
        ("[fd00::1]:999", "", &["fd00::254", "10.8.0.1", "10.0.8.254"]),
        ("127.0.0.1:999", "", &here),
        // Through a proxy on this host, of which the client's address is told.
        ("127.0.0.1:999", "X-Forwarded-For: 10.0.8.1\r\n", &elsewhere),
    ] {
        let headers = format!("Host: 10.0.8.254:8080\r\n{forwarded}{SDP}");
        let answer = ask(&mut world, from, "POST /whep", &headers, CHROMIUM);
        assert_eq!(candidates(&answer.body), expected, "{from} {forwarded}");
    }
    // As they change.
    let headers = format!("Host: 10.0.8.254:8080\r\n{SDP}");
    let answer = ask(&mut world, CLIENT, "POST /whep", &headers, CHROMIUM);
    world.input(Input::Addresses(&sockets[1..]));
    let restart = format!("PATCH /{}", answer.header("Location").unwrap());
    let headers = "Host: 10.0.8.254:8080\r\nContent-Type: application/trickle-ice-sdpfrag\r\n\
                   If-Match: *\r\n";
    let fragment = "a=ice-ufrag:anew\r\na=ice-pwd:0123456789abcdef01234567\r\n";
    let answer = ask(&mut world, CLIENT, &restart, headers, fragment);
    assert_eq!(candidates(&answer.body), ["10.0.8.254", "fd00::254"], "{}", answer.body);
}

#[test]
fn the_names_of_the_host_come_and_go() {
    let mut world = World::new();
    let status = |world: &mut World, name: &str| {
        ask(world, CLIENT, "GET /", &format!("Host: {name}\r\n"), "").status
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(status(&mut world, "porch.lan"), 421);
    world.input(Input::Names(&names(&["porch", "porch.local", "porch.lan"])));
    for known in
        ["porch", "porch.lan", "Porch.LAN.", "porch.local", "porch-2.local", "porch12.local"]
    {
        assert_eq!(status(&mut world, known), 200, "{known}");
    }
    assert_eq!(status(&mut world, "camera"), 200, "what the operator allowed stays");
    for foreign in [
        "porch-2.lan",
        "porch-2",
        "porch-.local",
        "porch-x.local",
        "porch--2.local",
        "porch-12345.local",
        "porch-2.local.evil.example",
        "evil-2.local",
        "-2.local",
        "camera-2.local",
        "porch.evil.example",
    ] {
        assert_eq!(status(&mut world, foreign), 421, "{foreign}");
    }
    let page = ask(&mut world, CLIENT, "GET /", "Host: porch-2.local\r\n", "");
    let policy = page.header("Content-Security-Policy").unwrap();
    for name in ["porch-2.local", "porch.lan", "camera"] {
        assert!(policy.contains(&format!(" http://{name}:* ")), "{policy}");
    }
    world.input(Input::Names(&names(&["shed", "shed.local"])));
    for (name, expected) in [("porch", 421), ("porch-2.local", 421), ("shed.local", 200)] {
        assert_eq!(status(&mut world, name), expected, "{name}");
    }
}
