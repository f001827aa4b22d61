//! The addresses that a media server is offered.

use std::net::SocketAddr;

use super::*;

#[test]
fn a_media_server_elsewhere_is_offered_no_loopback_address() {
    let own = ["10.8.0.1", "192.168.1.20", "127.0.0.1", "::1"];
    for (url, expected) in [
        (URL, &["10.8.0.1", "192.168.1.20"][..]),
        ("http://192.168.1.9:8889/whip", &["192.168.1.20", "10.8.0.1"]),
        ("http://localhost:8889/whip", &["127.0.0.1", "10.8.0.1", "192.168.1.20", "::1"]),
        ("http://[::1]:8889/whip", &["::1", "10.8.0.1", "192.168.1.20", "127.0.0.1"]),
    ] {
        let mut world = World::configured(|config| {
            config.targets = vec![target(url)];
            let addresses = own.map(|ip| SocketAddr::new(ip.parse().unwrap(), 8080));
            config.addresses = addresses.to_vec();
        });
        world.run(Duration::ZERO);
        let request = connect(&mut world);
        let lines = body(&request).lines().filter(|line| line.starts_with("a=candidate:"));
        let offered: Vec<&str> = lines.map(|line| line.split(' ').nth(4).unwrap()).collect();
        assert_eq!(offered, expected, "{url}");
    }
}
