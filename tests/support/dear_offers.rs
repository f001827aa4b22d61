//! Offers that are dear to a reader that looks at everything again and again.

const CHROMIUM: &str = include_str!("../offers/chromium-156.sdp");
/// The largest body that is read.
pub const BODY_BYTES: usize = 64 * 1_024;

/// An offer of Chromium with more and more of something, up to `bytes`: with lines of the session,
/// then with lines at the end.
fn grown(bytes: usize, session: &dyn Fn(usize) -> String, end: &dyn Fn(usize) -> String) -> String {
    let (head, rest) = CHROMIUM.split_once("m=").unwrap();
    let (mut head, mut tail) = (head.to_owned(), format!("m={rest}"));
    for index in 0.. {
        let more = (session(index), end(index));
        let grows = !more.0.is_empty() || !more.1.is_empty();
        if !grows || head.len() + tail.len() + more.0.len() + more.1.len() > bytes {
            break;
        }
        head += &more.0;
        tail += &more.1;
    }
    head + &tail
}

/// Offers that are dear to a reader that looks at everything again and again.
pub fn dear_offers(bytes: usize) -> Vec<(&'static str, String)> {
    let nothing = |_: usize| String::new();
    let section = |n: usize| {
        format!("m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:x{n}\r\na=bundle-only\r\na=recvonly\r\n")
    };
    let types: String = (0..128).map(|n| format!(" {n}")).collect();
    let full_section = |n: usize| format!("m=video 9 UDP/TLS/RTP/SAVPF{types}\r\na=mid:y{n}\r\n");
    vec![
        ("rtpmap", grown(bytes, &nothing, &|n| format!("a=rtpmap:{} x{n}/1\r\n", n % 128))),
        ("fmtp", grown(bytes, &nothing, &|n| format!("a=fmtp:{} apt={n}\r\n", n % 128))),
        ("short fmtp", grown(bytes, &nothing, &|_| format!("a=fmtp:96 {}\r\n", ";".repeat(1_000)))),
        ("feedback", grown(bytes, &nothing, &|_| "a=rtcp-fb:* x\r\n".into())),
        ("short lines", grown(bytes, &nothing, &|_| "a=\r\n".into())),
        ("sections", grown(bytes, &nothing, &section)),
        ("sections with all types", grown(bytes, &nothing, &full_section)),
        ("groups", grown(bytes, &|n| format!("a=group:BUNDLE g{n}\r\n"), &section)),
        (
            "long groups",
            grown(bytes, &|_| format!("a=group:BUNDLE {}\r\n", "g ".repeat(900)), &section),
        ),
        ("one long line", grown(bytes, &nothing, &|_| "x".repeat(60_000))),
        (
            "duplicates",
            CHROMIUM.replacen("SAVPF ", &format!("SAVPF {}", "96 ".repeat(bytes / 4)), 1),
        ),
    ]
}
