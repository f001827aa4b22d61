//! Three network namespaces in a row, and what can be done to the way between them.

use std::ffi::OsStr;
use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub const SERVER: &str = "server";
pub const BROWSER: &str = "browser";
const ROUTER: &str = "router";

pub const SERVER_IPV4: &str = "10.77.1.1";
/// Where the server is after [`Network::move_server`].
pub const MOVED_SERVER_IPV4: &str = "10.77.1.2";
pub const SERVER_IPV6: &str = "fd77:1::1";
pub const BROWSER_IPV4: &str = "10.77.2.1";
/// Of nobody, until the browser moves there or has it too.
pub const OTHER_BROWSER_IPV4: &str = "10.77.2.2";
/// On an interface of the server's whose name is that of a virtual one.
pub const VIRTUAL_IPV4: &str = "10.78.1.1";

/// The namespaces of this test, which are removed with it.
pub struct Network {
    name: String,
    created: bool,
}

impl Network {
    /// Needs root.
    pub fn create() -> Network {
        let network = Network { name: format!("ballcast-{}", std::process::id()), created: true };
        for place in [SERVER, ROUTER, BROWSER] {
            run("ip", &["netns", "add", &network.namespace(place)]);
            network.ip(place, "link set lo up");
        }
        for (place, number) in [(SERVER, 1), (BROWSER, 2)] {
            let (inner, outer) = (network.namespace(place), network.namespace(ROUTER));
            let link = format!("link add lan0 type veth peer name lan{number} netns {outer}");
            run("ip", &[&["-n", &inner][..], &words(&link)].concat());
            network.ip(place, &format!("addr add 10.77.{number}.1/24 dev lan0"));
            network.ip(place, &format!("addr add fd77:{number}::1/64 dev lan0 nodad"));
            network.ip(place, "link set lan0 up");
            network.ip(ROUTER, &format!("addr add 10.77.{number}.254/24 dev lan{number}"));
            network.ip(ROUTER, &format!("addr add fd77:{number}::ff/64 dev lan{number} nodad"));
            network.ip(ROUTER, &format!("link set lan{number} up"));
            network.ip(place, &format!("route add default via 10.77.{number}.254"));
            network.ip(place, &format!("-6 route add default via fd77:{number}::ff"));
        }
        let forward = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"];
        network.run_in(ROUTER, "sysctl", &[&["-q"], &forward[..]].concat());
        network.ip(SERVER, "link add veth9 type veth peer name veth8");
        network.ip(SERVER, &format!("addr add {VIRTUAL_IPV4}/24 dev veth9"));
        network.ip(SERVER, "link set veth9 up");
        network
    }

    /// One that exists already.
    pub fn named(name: &str) -> Network {
        Network { name: name.to_owned(), created: false }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A program that will run in one of the namespaces.
    pub fn command(&self, place: &str, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(place)]).arg(program);
        command
    }

    /// Drops packets of UDP at random, in both directions.
    pub fn lose(&self, percent: u32) {
        self.filter(&format!("meta l4proto udp numgen random mod 100 < {percent} drop"));
    }

    pub fn block_udp(&self) {
        self.filter("meta l4proto udp drop");
    }

    /// Also what tells of packets that are too big. TCP is spared, as routers do.
    pub fn block_icmp(&self) {
        let clamp = "tcp flags syn tcp option maxseg size set rt mtu";
        self.filter(&format!("meta l4proto {{ icmp, icmpv6 }} drop\n{clamp}"));
        let rules = "table inet quiet {\nchain out {\ntype filter hook output priority 0\n\
                     meta l4proto icmp drop\n}\n}";
        self.run_in(ROUTER, "nft", &[rules]);
    }

    /// Nothing passes the router, in either direction.
    pub fn cut_off(&self) {
        self.filter("drop");
    }

    /// Of the link between router and browser.
    pub fn set_mtu(&self, bytes: u32) {
        for (place, link) in [(ROUTER, "lan2"), (BROWSER, "lan0")] {
            self.ip(place, &format!("link set {link} mtu {bytes}"));
        }
    }

    /// Of the link from the router to the browser, whose queue then holds 300 ms.
    pub fn set_rate(&self, kilobits: u32) {
        let filter =
            format!("qdisc replace dev lan2 root tbf rate {kilobits}kbit burst 3kb latency 300ms");
        self.run_in(ROUTER, "tc", &words(&filter));
    }

    /// A socket of one of the namespaces.
    pub fn udp_socket(&self, place: &str) -> UdpSocket {
        let namespace = File::open(format!("/run/netns/{}", self.namespace(place))).unwrap();
        let bind = move || {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), network).unwrap();
            UdpSocket::bind("0.0.0.0:0").unwrap()
        };
        // Only this thread moves there.
        std::thread::spawn(bind).join().unwrap()
    }

    /// The browser is at another address, and no longer at the one that it had.
    pub fn move_browser(&self) {
        self.ip(BROWSER, &format!("addr del {BROWSER_IPV4}/24 dev lan0"));
        self.add_browser_address(OTHER_BROWSER_IPV4);
        self.ip(BROWSER, "route replace default via 10.77.2.254");
    }

    /// The server's host is at another address, and no longer at the one that it had.
    pub fn move_server(&self) {
        self.remove_server_address(SERVER_IPV4);
        self.add_server_address(MOVED_SERVER_IPV4);
        self.ip(SERVER, "route replace default via 10.77.1.254");
    }

    pub fn add_browser_address(&self, address: &str) {
        self.ip(BROWSER, &format!("addr add {address}/24 dev lan0"));
    }

    pub fn add_server_address(&self, address: &str) {
        self.ip(SERVER, &format!("addr add {address}/24 dev lan0"));
    }

    pub fn remove_server_address(&self, address: &str) {
        self.ip(SERVER, &format!("addr del {address}/24 dev lan0"));
    }

    /// The addresses on which the server's namespace accepts TCP on a port.
    pub fn listeners(&self, port: u16) -> String {
        let filter = format!("sport = :{port}");
        let mut command = self.command(SERVER, "ss");
        let output = command.args(["-H", "-l", "-t", "-n", &filter]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn remove_filters(&self) {
        self.run_in(ROUTER, "nft", &["flush ruleset"]);
    }

    /// Everything as it was in the beginning.
    pub fn restore(&self) {
        self.remove_filters();
        self.run_in(ROUTER, "tc", &words("qdisc replace dev lan2 root noqueue"));
        self.set_mtu(1_500);
        // A link with less than 1,280 bytes has no IPv6.
        self.ip(ROUTER, "addr replace fd77:2::ff/64 dev lan2 nodad");
        self.ip(BROWSER, "addr replace fd77:2::1/64 dev lan0 nodad");
        self.ip(BROWSER, "-6 route replace default via fd77:2::ff");
        self.ip(SERVER, "-4 addr flush dev lan0");
        self.add_server_address(SERVER_IPV4);
        self.ip(SERVER, "route replace default via 10.77.1.254");
        self.ip(BROWSER, "-4 addr flush dev lan0");
        self.add_browser_address(BROWSER_IPV4);
        self.ip(BROWSER, "route replace default via 10.77.2.254");
    }

    fn filter(&self, rule: &str) {
        let rules = format!(
            "table inet path {{\nchain forward {{\ntype filter hook forward priority 0\n{rule}\n}}\n}}"
        );
        self.run_in(ROUTER, "nft", &[&rules]);
    }

    fn namespace(&self, place: &str) -> String {
        format!("{}-{place}", self.name)
    }

    fn ip(&self, place: &str, arguments: &str) {
        let namespace = self.namespace(place);
        run("ip", &[&["-n", &namespace][..], &words(arguments)].concat());
    }

    fn run_in(&self, place: &str, program: &str, arguments: &[&str]) {
        let status = self.command(place, program).args(arguments).status().unwrap();
        assert!(status.success(), "{program} {arguments:?}: {status}");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if self.created {
            for place in [SERVER, ROUTER, BROWSER] {
                let _ = Command::new("ip").args(["netns", "del", &self.namespace(place)]).status();
            }
        }
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    let status = status.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(status.success(), "{program} {arguments:?} (as root?): {status}");
}
