//! Raw UDP datagrams to a server with live viewers: no viewer is harmed, and no address is answered
//! that has not sent an authenticated check.
//!
//! There are three viewers: a bystander; a target, whose datagrams are copied and whose keys are
//! used; and one that never connects. A datagram is random, or copied from the target with changes,
//! or a connectivity check with the right or a wrong password, or sealed with the target's keys.
//! Checks with the right password and sealed packets need the target's secrets: they may end the
//! target's session, but must harm no other viewer.

use std::net::SocketAddr;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use ballcast::testing::server::Input;
use ballcast::testing::server::limits::admission::Limits;

use crate::Outcomes;
use crate::support::crypto::{self, MASTER_TAG_BYTES};
use crate::support::world::World;

const SERVER: ([u8; 4], u16) = ([10, 0, 0, 254], 8080);
const BYSTANDER: usize = 0;
const TARGET: usize = 1;
/// More than this add time, not coverage.
const MAX_DATAGRAMS: usize = 24;
/// How many of the target's own datagrams are kept for copying.
const COPIES: usize = 32;
const CONNECT_TIME: Duration = Duration::from_millis(150);
const OBSERVATION_TIME: Duration = Duration::from_millis(400);
/// Of the 12 frames in that time, less one at the boundary.
const MIN_FRAMES: usize = 11;
/// Long enough that viewers whose close_notify was lost are freed too.
const ALL_FREED_AFTER: Duration = Duration::from_secs(12);

#[derive(Arbitrary, Debug)]
struct Datagram<'a> {
    source: Source,
    contents: Contents<'a>,
    /// Milliseconds until the next one.
    pause_ms: u8,
}

#[derive(Arbitrary, Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Stranger(u8),
    Target,
    /// The address that the half-open viewer's offer came from.
    HalfOpen,
    Bystander,
}

#[derive(Arbitrary, Debug)]
enum Contents<'a> {
    Raw(&'a [u8]),
    /// A datagram of the target, with bytes changed and the end cut off.
    Copy {
        index: u8,
        changes: Vec<(u8, u8)>,
        keep: Option<u8>,
    },
    Check {
        key: Key,
        class: Class,
        attributes: &'a [u8],
    },
    /// RTP or RTCP that passes the target's authentication.
    Sealed {
        head: [u8; 12],
        body: &'a [u8],
        rtcp: bool,
    },
}

#[derive(Arbitrary, Debug, PartialEq, Eq)]
enum Key {
    Target,
    Guessed,
    Missing,
}

#[derive(Arbitrary, Debug)]
enum Class {
    Request,
    Indication,
    Success,
    Error,
}

/// Whether a datagram can be made only with a secret of the target.
fn uses_target_keys(datagram: &Datagram) -> bool {
    matches!(datagram.contents, Contents::Sealed { .. } | Contents::Check { key: Key::Target, .. })
}

pub fn run(data: &[u8]) -> Outcomes {
    let mut outcomes = Outcomes::new();
    let mut input = Unstructured::new(data);
    let mut datagrams = Vec::new();
    while !input.is_empty() && datagrams.len() < MAX_DATAGRAMS {
        let Ok(datagram) = Datagram::arbitrary(&mut input) else {
            break;
        };
        datagrams.push(datagram);
    }
    crypto::accept_master_tag(true);
    fastrand::seed(1);
    let mut attack = Attack::new();
    for datagram in &datagrams {
        let copied = attack.send(datagram);
        outcomes.insert(name(&datagram.contents, copied).into());
    }
    let has_keys = datagrams.iter().any(uses_target_keys);
    attack.check(has_keys, &mut outcomes);
    outcomes
}

fn name(contents: &Contents, authentic: bool) -> &'static str {
    match contents {
        Contents::Raw(_) => "raw",
        Contents::Copy { .. } if authentic => "replayed",
        Contents::Copy { .. } => "changed copy",
        Contents::Check { key: Key::Target, .. } => "true check",
        Contents::Check { .. } => "forged check",
        Contents::Sealed { rtcp: true, .. } => "sealed RTCP",
        Contents::Sealed { .. } => "sealed RTP",
    }
}

struct Attack {
    world: World,
    /// The target's own datagrams.
    sent: Vec<Vec<u8>>,
    /// Addresses that have sent a check with the right password, copied or not.
    verified: Vec<SocketAddr>,
    half_open: SocketAddr,
}

impl Attack {
    fn new() -> Attack {
        let mut world = World::with_crypto(Limits::default(), crypto::provider());
        world.join();
        world.join();
        let (client, sdp) = world.offer();
        let body = serde_json::json!({"type": "offer", "sdp": sdp}).to_string();
        assert_eq!(world.post_offer(client.address, &body).0, 200);
        world.clients[TARGET].sent_limit = COPIES;
        world.run(CONNECT_TIME);
        assert!(world.clients.iter().all(|member| member.client.connected));
        let sent = std::mem::take(&mut world.clients[TARGET].sent);
        Attack { world, sent, verified: Vec::new(), half_open: client.address }
    }

    /// Returns whether the datagram was an unchanged copy.
    fn send(&mut self, datagram: &Datagram) -> bool {
        let source = match datagram.source {
            Source::Stranger(port) => SocketAddr::from(([10, 9, 9, 9], 1_000 + u16::from(port))),
            Source::Target => self.world.clients[TARGET].client.address,
            Source::HalfOpen => self.half_open,
            Source::Bystander => self.world.clients[BYSTANDER].client.address,
        };
        let (contents, authentic) = self.contents(&datagram.contents);
        let key = matches!(datagram.contents, Contents::Check { key: Key::Target, .. });
        if key || authentic && contents.first().is_some_and(|byte| *byte < 4) {
            self.verified.push(source);
        }
        self.world.input(Input::Datagram {
            source,
            destination: SocketAddr::from(SERVER),
            contents: &contents,
        });
        self.world.run(Duration::from_millis(datagram.pause_ms.into()));
        authentic
    }

    fn contents(&self, contents: &Contents) -> (Vec<u8>, bool) {
        match contents {
            Contents::Raw(bytes) => (bytes.to_vec(), false),
            Contents::Copy { index, changes, keep } => {
                let original = &self.sent[usize::from(*index) % self.sent.len()];
                let mut bytes = original.clone();
                for (at, xor) in changes {
                    let at = usize::from(*at) % bytes.len();
                    bytes[at] ^= xor;
                }
                bytes.truncate(keep.map_or(bytes.len(), usize::from));
                let authentic = is_authentic(original, &bytes);
                (bytes, authentic)
            }
            Contents::Check { key, class, attributes } => {
                let target = &self.world.clients[TARGET];
                let password = match key {
                    Key::Target => Some(target.password.as_str()),
                    Key::Guessed => Some("a guess"),
                    Key::Missing => None,
                };
                (binding_message(class, &target.username, attributes, password), false)
            }
            Contents::Sealed { head, body, rtcp } => (sealed(head, body, *rtcp), false),
        }
    }

    fn check(mut self, has_keys: bool, outcomes: &mut Outcomes) {
        for stray in &self.world.undeliverable {
            assert!(self.verified.contains(stray), "{stray} is answered and is not verified");
        }
        let before: Vec<usize> = self.frames();
        self.world.run(OBSERVATION_TIME);
        let after = self.frames();
        let (bystander, target) =
            (after[BYSTANDER] - before[BYSTANDER], after[TARGET] - before[TARGET]);
        assert!(bystander >= MIN_FRAMES, "the bystander got {bystander} frames");
        if !has_keys {
            assert!(target >= MIN_FRAMES, "the target got {target} frames");
        }
        for (_, state) in self.world.server.viewer_states() {
            outcomes.insert(state.into());
        }
        let harmed = target < MIN_FRAMES;
        outcomes.insert(if harmed { "the insider harmed itself" } else { "unharmed" }.into());
        let now = self.world.now;
        for member in &mut self.world.clients {
            member.client.close(now);
        }
        self.world.run(ALL_FREED_AFTER);
        assert_eq!(self.world.server.viewers(), 0, "viewers are left");
        assert_eq!(self.world.deadline(), None, "a timer is left");
    }

    fn frames(&self) -> Vec<usize> {
        self.world.clients.iter().map(|member| member.client.frames.len()).collect()
    }
}

/// Whether a copy is as authentic as the original. MESSAGE-INTEGRITY does not cover the FINGERPRINT
/// of a STUN message, which is its last attribute (RFC 8489, section 14.7).
fn is_authentic(original: &[u8], copy: &[u8]) -> bool {
    const FINGERPRINT_BYTES: usize = 8;
    let is_stun = original.first().is_some_and(|first| *first < 4);
    let covered = original.len() - if is_stun { FINGERPRINT_BYTES } else { 0 };
    copy.len() == original.len() && copy[..covered] == original[..covered]
}

/// A STUN binding message (RFC 8489) with these attributes after USERNAME and, if there is a
/// password, MESSAGE-INTEGRITY at the end.
fn binding_message(
    class: &Class,
    username: &str,
    attributes: &[u8],
    password: Option<&str>,
) -> Vec<u8> {
    const USERNAME: u16 = 0x0006;
    const MESSAGE_INTEGRITY: u16 = 0x0008;
    const INTEGRITY_BYTES: usize = 20;
    let kind: u16 = match class {
        Class::Request => 0x0001,
        Class::Indication => 0x0011,
        Class::Success => 0x0101,
        Class::Error => 0x0111,
    };
    let mut message = kind.to_be_bytes().to_vec();
    message.extend_from_slice(&[0, 0, 0x21, 0x12, 0xa4, 0x42]);
    message.extend_from_slice(b"transaction!");
    append(&mut message, USERNAME, username.as_bytes());
    message.extend_from_slice(&attributes[..attributes.len().min(1_000) / 4 * 4]);
    let integrity = password.map_or(0, |_| 4 + INTEGRITY_BYTES);
    let length = (message.len() - 20 + integrity) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    if let Some(password) = password {
        let hmac = str0m::crypto::from_feature_flags().sha1_hmac_provider;
        let integrity = hmac.sha1_hmac(password.as_bytes(), &[&message]);
        append(&mut message, MESSAGE_INTEGRITY, &integrity);
    }
    message
}

fn append(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&(value.len() as u16).to_be_bytes());
    message.extend_from_slice(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

/// SRTP or SRTCP with AEAD (RFC 7714), with the tag that the null cipher always accepts.
fn sealed(head: &[u8; 12], body: &[u8], rtcp: bool) -> Vec<u8> {
    const RTP_VERSION_2: u8 = 0x80;
    const ENCRYPTED: u32 = 0x8000_0000;
    let mut packet = vec![RTP_VERSION_2 | head[0] & 0x3f];
    if rtcp {
        // Sender reports to payload-specific feedback (RFC 3550, RFC 4585).
        packet.push(200 + head[1] % 8);
        packet.extend_from_slice(&head[2..8]);
        packet.extend_from_slice(body);
        packet.extend_from_slice(&MASTER_TAG_BYTES);
        let index = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        packet.extend_from_slice(&(index | ENCRYPTED).to_be_bytes());
    } else {
        packet.extend_from_slice(&head[1..]);
        packet.extend_from_slice(body);
        packet.extend_from_slice(&MASTER_TAG_BYTES);
    }
    packet
}
