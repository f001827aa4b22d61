//! The committed corpus on the stable toolchain: no input violates a property, and every outcome
//! that the corpus covers still occurs.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ballcast_fuzz::{Outcomes, answer, client, datagram, http, http_diff, offer, parse, server};
use flate2::read::GzDecoder;
use tar::Archive;

/// The outcomes of all inputs of a target. Panics with the name of an input that violates a
/// property.
fn replay(target: &str, run: fn(&[u8]) -> Outcomes) -> Outcomes {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let packed = File::open(corpus.join(format!("{target}.tar.gz"))).unwrap();
    let mut outcomes = Outcomes::new();
    let mut inputs = 0;
    for entry in Archive::new(GzDecoder::new(packed)).entries().unwrap() {
        let mut entry = entry.unwrap();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let mut data = Vec::new();
        entry.read_to_end(&mut data).unwrap();
        match std::panic::catch_unwind(|| run(&data)) {
            Ok(of_input) => outcomes.extend(of_input),
            Err(_) => {
                panic!("{target} violates a property with {}", entry.path().unwrap().display())
            }
        }
        inputs += 1;
    }
    assert!(inputs > 0, "there is a corpus for {target}");
    outcomes
}

fn check_occur(outcomes: &Outcomes, wanted: &[&str]) {
    let missing: Vec<&&str> = wanted.iter().filter(|name| !outcomes.contains(**name)).collect();
    assert!(missing.is_empty(), "the corpus lacks {missing:?}; it has {outcomes:?}");
}

#[test]
fn every_input_of_http() {
    let wanted = [
        "close",
        "continue",
        "finish",
        "kept",
        "pipelined",
        "refused answer-late",
        "refused bare-cr",
        "refused bare-lf",
        "refused body-late",
        "refused body-too-large",
        "refused chunked",
        "refused coding-unknown",
        "refused content-type",
        "refused control-character",
        "refused expectation",
        "refused foreign-origin",
        "refused head-late",
        "refused header-malformed",
        "refused headers-too-large",
        "refused headers-too-many",
        "refused host-malformed",
        "refused host-missing",
        "refused host-unknown",
        "refused incomplete",
        "refused length-and-coding",
        "refused length-malformed",
        "refused length-missing",
        "refused line-folded",
        "refused method-not-allowed",
        "refused method-unknown",
        "refused not-found",
        "refused request-line",
        "refused target",
        "refused target-too-long",
        "refused version",
        "request GET",
        "request HEAD",
        "request OPTIONS",
        "request POST",
        "status 200",
        "status 204",
        "status 304",
    ];
    check_occur(&replay("http", http::run), &wanted);
}

#[test]
fn every_input_of_http_diff() {
    let wanted = [
        "closed",
        "consumed",
        "continue",
        "pipelined",
        "refused bare-cr 400",
        "refused bare-lf 400",
        "refused body-too-large 413",
        "refused chunked 411",
        "refused coding-unknown 400",
        "refused control-character 400",
        "refused expectation 417",
        "refused header-malformed 400",
        "refused headers-too-large 431",
        "refused headers-too-many 431",
        "refused host-malformed 400",
        "refused host-missing 400",
        "refused incomplete 400",
        "refused length-and-coding 400",
        "refused length-malformed 400",
        "refused length-missing 411",
        "refused line-folded 400",
        "refused method-unknown 501",
        "refused request-line 400",
        "refused target 400",
        "refused target-too-long 414",
        "refused version 505",
        "request DELETE",
        "request GET",
        "request HEAD",
        "request OPTIONS",
        "request PATCH",
        "request POST",
        "request PUT",
        "unwanted",
    ];
    check_occur(&replay("http_diff", http_diff::run), &wanted);
}

#[test]
fn every_input_of_client() {
    let wanted = [
        "at close",
        "chunked",
        "interim",
        "length",
        "location",
        "location Authority",
        "location Characters",
        "location Https",
        "location Scheme",
        "location TooLong",
        "no body",
        "refused BodyLate",
        "refused BodyTooLarge",
        "refused Chunks",
        "refused Closed",
        "refused CodingUnknown",
        "refused HeadLate",
        "refused HeadTooLarge",
        "refused HeadersTooMany",
        "refused InterimTooMany",
        "refused LengthAndCoding",
        "refused LengthMalformed",
        "refused NotHttp",
        "refused SwitchesProtocols",
    ];
    check_occur(&replay("client", client::run), &wanted);
}

#[test]
fn every_input_of_offer() {
    let wanted = [
        "answered",
        "answered active",
        "answered another kind refused",
        "answered VP8",
        "answered application refused",
        "answered audio inactive",
        "answered audio refused",
        "answered extension playout-delay",
        "answered passive",
        "answered profile 4200",
        "answered profile 42e0",
        "answered recvonly",
        "answered second video",
        "answered sendrecv",
        "answered with rtx",
        "noise",
        "raw",
        "recorded",
        "refused ice-lite 422",
        "refused no-codec 422",
        "refused no-video 422",
        "refused offer-malformed 400",
        "refused video-not-receiving 422",
        "structured",
    ];
    check_occur(&replay("offer", offer::run), &wanted);
}

#[test]
fn every_input_of_answer() {
    let wanted = [
        "active",
        "asked",
        "changed",
        "ice-lite",
        "own profile",
        "passive",
        "playout-delay",
        "raw",
        "refused malformed",
        "refused no format",
        "refused no video",
        "refused too large",
        "shape",
        "taken H264",
        "taken VP8",
        "true",
        "with rtx",
        "without rtx",
    ];
    check_occur(&replay("answer", answer::run), &wanted);
}

#[test]
fn every_input_of_parse() {
    let wanted = [
        "JPEG",
        "damaged",
        "early flush",
        "flushed",
        "format H264",
        "format Mjpeg",
        "format Raw",
        "format Y4m",
        "frame",
        "key frame",
        "lacks IntactKeyFrame",
        "lacks KeyFrame",
        "lacks ParameterSets",
        "lacks Picture",
        "picture",
        "refused BFrames",
        "refused Container",
        "refused Empty",
        "refused Header",
        "refused Interlaced",
        "refused Multipart",
        "refused OddSize",
        "refused PixelFormat",
        "refused Profile",
        "refused Size",
        "refused Text",
        "refused UnknownFormat",
        "skipped",
        "stray bytes",
    ];
    check_occur(&replay("parse", parse::run), &wanted);
}

#[cfg(feature = "codecs")]
#[test]
fn every_input_of_encode() {
    let wanted = [
        "JPEG",
        "captured",
        "encoded H264",
        "encoded Vp8",
        "file",
        "file of the camera",
        "file too wide",
        "key frame",
        "no file of a damaged picture",
        "no picture",
        "not decoded",
        "picture",
    ];
    check_occur(&replay("encode", ballcast_fuzz::encode::run), &wanted);
}

#[test]
fn every_input_of_datagram() {
    let wanted = [
        "changed copy",
        "forged check",
        "half-open",
        "live",
        "raw",
        "replayed",
        "sealed RTCP",
        "sealed RTP",
        "true check",
        "unharmed",
    ];
    check_occur(&replay("datagram", datagram::run), &wanted);
}

#[test]
fn every_input_of_server() {
    let wanted = [
        "Addresses",
        "Connect",
        "Datagram",
        "Disconnect",
        "Flush",
        "Frame",
        "HalfClose",
        "HalfOpen",
        "Join",
        "Leave",
        "Move",
        "PowerOff",
        "PowerOn",
        "Rejoin",
        "RequestKeyframe",
        "Send",
        "SendsFail",
        "Shutdown",
        "Sleep",
        "Snapshot",
        "Snapshots",
        "SourceFails",
        "SourceIsDeaf",
        "Tamper",
        "Wait",
        "WallClock",
        "half-open",
        "live",
        "silent",
        "refused answer-late",
        "refused connections",
        "refused not-ready",
        "refused body-late",
        "refused shutting-down",
        "refused viewers",
    ];
    check_occur(&replay("server", server::run), &wanted);
}
