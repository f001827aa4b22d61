//! Tokens: how they are configured, and that they are in no log.

use super::*;

/// Starts a server with a token, given by a flag, a file or an environment variable. The file name is
/// unique to this process.
fn start_with_token(option: &str, token: &str) -> Server {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ballcast"));
    command.env("RUST_LOG", "trace");
    let file = format!("{}/token-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let start = |command, flags: &[&str]| Server::start_command(command, "127.0.0.1", 0, flags);
    match option {
        "--token" => start(command, &["--token", token]),
        "--token-file" => {
            std::fs::write(&file, format!("{token}\n")).unwrap();
            let server = start(command, &["--token-file", &file]);
            std::fs::remove_file(&file).unwrap();
            server
        }
        variable => {
            command.env(variable, token);
            start(command, &[])
        }
    }
}

#[test]
fn a_token_protects_the_video_however_it_is_configured() {
    let token = "open-sesame";
    for option in ["--token", "--token-file", "BALLCAST_TOKEN"] {
        let server = start_with_token(option, token);
        let ask = |method: &str, path: &str, given: Option<&str>| {
            let value = given.map(|token| format!("Bearer {token}"));
            let mut headers = vec![("Content-Type", "application/sdp")];
            headers.extend(value.as_deref().map(|value| ("Authorization", value)));
            request(server.address, method, path, &headers, b"hello")
        };
        for (method, path, status) in
            [("POST", "/offer", 415), ("POST", "/whep", 400), ("GET", "/stats", 200)]
        {
            let reason = |given| ask(method, path, given).json()["reason"].clone();
            assert_eq!(reason(None), "token-missing", "{option} {path}");
            assert_eq!(reason(Some("another-one")), "token-wrong", "{option} {path}");
            assert_eq!(ask(method, path, Some(token)).status, status, "{option} {path}");
        }
        assert_eq!(ask("GET", "/", None).status, 200, "{option}: the page needs no token");
        let snapshot = |token: &str| format!("/snapshot.jpg?token={token}");
        assert_eq!(ask("GET", &snapshot(token), None).status, 200, "{option}");
        let wrong = ask("GET", &snapshot("another-one"), None);
        assert_eq!(wrong.json()["reason"], "token-wrong", "{option}");
        let refused = ask("POST", "/whep", Some("another-one"));
        let challenge =
            "\r\nWWW-Authenticate: Bearer realm=\"ballcast\", error=\"invalid_token\"\r\n";
        assert!(refused.head.contains(challenge), "{}", refused.head);
        let mut answers = (0..50).map(|_| {
            ask("POST", "/whep", Some("another-one"));
            ask("POST", "/whep", Some(token))
        });
        let slowed = answers.find(|answer| answer.status == 429);
        let slowed = slowed.unwrap_or_else(|| panic!("{option}: wrong tokens are rate limited"));
        assert!(slowed.head.contains("\r\nRetry-After: "), "{}", slowed.head);
        let log = server.log().join("\n");
        assert!(log.contains("need the token") && !log.contains(token), "{option}: {log}");
        assert!(
            !log.contains("another-one"),
            "{option}: a mistyped token may be close to the secret: {log}"
        );
    }
}

#[test]
fn a_token_that_can_be_guessed_is_warned_of() {
    for (token, warned) in [("fifteen-letters", true), ("sixteen-letters-", false)] {
        let log = start_with_token("BALLCAST_TOKEN", token).log().join("\n");
        assert_eq!(log.contains("openssl rand -hex 16"), warned, "{token}: {log}");
        assert!(log.contains("need the token"), "{log}");
    }
}

#[test]
fn a_token_that_cannot_be_used_is_one_sentence_and_exit_code_2() {
    let missing = format!("{}/no-such-token", env!("CARGO_TARGET_TMPDIR"));
    for (arguments, variable, words) in [
        (vec!["--token", "hunter2"], None, ["--token", "8 to 256"]),
        (vec!["--token-file", &missing], None, ["no-such-token", "cannot read"]),
        (vec![], Some(""), ["BALLCAST_TOKEN", "no token"]),
        (vec!["--token", "hunter222"], Some("hunter222"), ["once", "BALLCAST_TOKEN"]),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ballcast"));
        command.args(&arguments).envs(variable.map(|value| ("BALLCAST_TOKEN", value)));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let sentence = String::from_utf8(output.stderr).unwrap();
        assert_eq!(sentence.lines().count(), 1);
        assert!(words.iter().all(|word| sentence.contains(word)), "{sentence}");
        assert!(!sentence.contains("hunter2"), "{sentence}");
    }
}

#[test]
fn no_secret_is_in_the_log_at_any_level() {
    // The log of a whole session at the level `trace`.
    let mut child = Command::new(env!("CARGO_BIN_EXE_ballcast"));
    child.env("RUST_LOG", "trace");
    let server = Server::start_command(child, "127.0.0.1", 0, &[]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let now = std::time::Instant::now();
    let (_, sdp) =
        crate::support::client::Client::new(socket.local_addr().unwrap(), Codec::H264, now);
    let response = server.post_offer(&sdp);
    let answer = response.json()["sdp"].as_str().unwrap().to_owned();
    server.stats();
    let log = server.log().join("\n");
    assert!(log.contains("offer from"), "{log}");
    for secret in ["a=ice-pwd:", "a=ice-ufrag:"] {
        for sdp in [&sdp, &answer] {
            let value = sdp.lines().find_map(|line| line.strip_prefix(secret)).unwrap().trim();
            assert!(value.len() >= 4 && !log.contains(value), "{secret}");
        }
    }
    let password = answer.lines().find_map(|line| line.strip_prefix("a=ice-pwd:")).unwrap();
    assert!(password.trim().len() >= 22, "128 bits need 22 characters of 6");
}
