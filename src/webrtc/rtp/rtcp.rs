//! RTCP: what viewers ask for, and what we report (RFC 3550, section 6; RFC 4585, section 6).

const SENDER_REPORT: u8 = 200;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
/// The kinds of transport and payload feedback that we know.
const NACK: u8 = 1;
const PLI: u8 = 1;
const FIR: u8 = 4;
const VERSION: u8 = 2 << 6;
const CNAME: u8 = 1;
/// The header and the SSRCs of the sender and of the stream that feedback is about.
const FEEDBACK_HEADER_BYTES: usize = 12;

/// What a viewer asks for in one datagram.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// PLI and FIR.
    pub keyframes: u64,
    /// Sequence numbers that did not arrive.
    pub lost: Vec<u16>,
}

/// Reads a compound packet. What is about another stream than `ssrc`, is of an unknown kind, or is
/// no RTCP, asks for nothing.
pub fn read_requests(compound: &[u8], ssrc: u32) -> Requests {
    let mut requests = Requests::default();
    let mut rest = compound;
    while let [first, kind, high, low, ..] = rest {
        let bytes = 4 * (usize::from(u16::from_be_bytes([*high, *low])) + 1);
        let Some((packet, after)) = rest.split_at_checked(bytes) else { break };
        rest = after;
        let Some((header, details)) = packet.split_at_checked(FEEDBACK_HEADER_BYTES) else {
            continue;
        };
        let about_us = word(&header[8..]) == Some(ssrc);
        match (*kind, first & 0x1f) {
            (TRANSPORT_FEEDBACK, NACK) if about_us => read_nacks(details, &mut requests.lost),
            (PAYLOAD_FEEDBACK, PLI) if about_us => requests.keyframes += 1,
            // FIR names its stream in each entry (RFC 5104, section 4.3.1).
            (PAYLOAD_FEEDBACK, FIR) => {
                let ours = details.chunks_exact(8).filter(|entry| word(entry) == Some(ssrc));
                requests.keyframes += ours.count() as u64;
            }
            _ => {}
        }
    }
    requests
}

/// A number, and a mask of the 16 that follow it (RFC 4585, section 6.2.1).
fn read_nacks(details: &[u8], lost: &mut Vec<u16>) {
    for entry in details.chunks_exact(4) {
        let first = u16::from_be_bytes([entry[0], entry[1]]);
        let mask = u16::from_be_bytes([entry[2], entry[3]]);
        lost.push(first);
        let following = (0..16).filter(|bit| mask >> bit & 1 == 1);
        lost.extend(following.map(|bit| first.wrapping_add(bit + 1)));
    }
}

/// What was sent until now, and which time a timestamp is.
pub struct Sent<'a> {
    pub ssrc: u32,
    pub cname: &'a str,
    pub ntp: u64,
    pub timestamp: u32,
    pub packets: u32,
    pub payload_bytes: u32,
}

/// A sender report and the source's name.
pub fn report(sent: &Sent) -> Vec<u8> {
    let mut compound = Vec::with_capacity(64);
    packet(&mut compound, 0, SENDER_REPORT, |body| {
        body.extend(sent.ssrc.to_be_bytes());
        body.extend(sent.ntp.to_be_bytes());
        for field in [sent.timestamp, sent.packets, sent.payload_bytes] {
            body.extend(field.to_be_bytes());
        }
    });
    packet(&mut compound, 1, SOURCE_DESCRIPTION, |body| {
        body.extend(sent.ssrc.to_be_bytes());
        body.extend([CNAME, sent.cname.len() as u8]);
        body.extend(sent.cname.as_bytes());
        // The list of items ends with a zero, and is filled with zeros to a whole word.
        body.push(0);
    });
    compound
}

/// The last report, with a goodbye for both streams.
pub fn goodbye(sent: &Sent, rtx_ssrc: u32) -> Vec<u8> {
    let mut compound = report(sent);
    packet(&mut compound, 2, GOODBYE, |body| {
        body.extend(sent.ssrc.to_be_bytes());
        body.extend(rtx_ssrc.to_be_bytes());
    });
    compound
}

fn packet(compound: &mut Vec<u8>, count: u8, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
    let start = compound.len();
    compound.extend([VERSION | count, kind, 0, 0]);
    write(compound);
    compound.resize(start + (compound.len() - start).next_multiple_of(4), 0);
    let words = (compound.len() - start) / 4 - 1;
    compound[start + 2..start + 4].copy_from_slice(&(words as u16).to_be_bytes());
}

fn word(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|word| u32::from_be_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: Sent = Sent {
        ssrc: 0x0102_0304,
        cname: "camera",
        ntp: 5,
        timestamp: 6,
        packets: 7,
        payload_bytes: 8,
    };

    fn feedback(kind: u8, count: u8, about: u32, details: &[u8]) -> Vec<u8> {
        let mut compound = Vec::new();
        packet(&mut compound, count, kind, |body| {
            body.extend([0, 0, 0, 1]);
            body.extend(about.to_be_bytes());
            body.extend(details);
        });
        compound
    }

    #[test]
    fn requests_are_read_wherever_they_are_in_the_datagram() {
        let ssrc = 9;
        let mut datagram = report(&SENT);
        datagram.extend(feedback(PAYLOAD_FEEDBACK, PLI, ssrc, &[]));
        datagram.extend(feedback(PAYLOAD_FEEDBACK, FIR, 0, &[0, 0, 0, 9, 1, 0, 0, 0]));
        // 65,535 is lost, and the second after it.
        datagram.extend(feedback(TRANSPORT_FEEDBACK, NACK, ssrc, &[0xff, 0xff, 0, 0b10]));
        let requests = read_requests(&datagram, ssrc);
        assert_eq!(requests, Requests { keyframes: 2, lost: vec![0xffff, 1] });
        assert_eq!(read_requests(&datagram, 10), Requests::default(), "another stream's");
    }

    #[test]
    fn what_is_cut_off_asks_for_nothing() {
        let pli = feedback(PAYLOAD_FEEDBACK, PLI, 9, &[]);
        for length in 0..pli.len() {
            assert_eq!(read_requests(&pli[..length], 9), Requests::default());
        }
        assert_eq!(read_requests(&[VERSION | 1, PAYLOAD_FEEDBACK, 0, 0], 9), Requests::default());
    }

    #[test]
    fn a_report_has_the_fields_in_the_places_of_the_rfc() {
        let report = report(&SENT);
        assert_eq!(report.len() % 4, 0);
        let words: Vec<u32> = report.chunks(4).map(|w| word(w).unwrap()).collect();
        assert_eq!(words[..7], [0x80c8_0006, 0x0102_0304, 0, 5, 6, 7, 8]);
        assert_eq!(words[7..9], [0x81ca_0004, 0x0102_0304]);
        assert_eq!(&report[36..], b"\x01\x06camera\0\0\0\0");
        let goodbye = goodbye(&SENT, 0x0a0b_0c0d);
        assert_eq!(goodbye[report.len()..], [0x82, 203, 0, 2, 1, 2, 3, 4, 10, 11, 12, 13]);
    }
}
