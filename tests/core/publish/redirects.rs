//! Redirects: where they lead, and what goes along.

use super::*;

/// Answers the next request with a redirect, and returns the request.
fn redirect(world: &mut World, status: &str, to: &str) -> String {
    let request = connect(world);
    assert!(body(&request).starts_with("v=0"), "{request}");
    respond(world, &format!("{status} X\r\nLocation: {to}"), "see elsewhere");
    request
}

fn has_token(request: &str) -> bool {
    request.contains("opensesame")
}

#[test]
fn redirects_are_followed_and_not_in_a_circle() {
    let mut world = publishing(URL);
    redirect(&mut world, "307", "http://edge.example/elsewhere/whip");
    let next = redirect(&mut world, "308", "/again");
    assert!(next.starts_with("POST /elsewhere/whip HTTP/1.1\r\nHost: edge.example\r\n"), "{next}");
    let server = accept(&mut world);
    world.run(seconds(1));
    assert!(world.clients[server].client.connected);
    commands(&mut world);
    world.input(Input::Shutdown);
    let request = connect(&mut world);
    assert!(
        request.starts_with("DELETE /session/1 HTTP/1.1\r\nHost: edge.example\r\n"),
        "{request}"
    );

    // The host that it leads to is another one, and its addresses, too.
    let mut world = publishing(URL);
    let two = ["10.9.9.8", "10.9.9.9"].map(|it| it.parse::<IpAddr>().unwrap());
    tell(&mut world, PublishEvent::Resolved(two.to_vec()));
    redirect(&mut world, "307", "http://edge.example/whip");
    let resolve = PublishCommand::Resolve("edge.example".into());
    assert_eq!(commands(&mut world), [PublishCommand::Close, resolve]);

    let mut world = publishing(URL);
    for _ in 0..6 {
        redirect(&mut world, "307", URL);
    }
    let sentence = stats(&mut world)["sentence"].to_string();
    assert!(sentence.contains("redirects more than 5 times"), "{sentence}");
    for (to, expected) in [("https://media.example/", "https"), ("mailto:x", "not a URL")] {
        let mut world = publishing(URL);
        redirect(&mut world, "308", to);
        let sentence = stats(&mut world)["sentence"].to_string();
        assert!(sentence.contains(expected), "{sentence}");
    }
}

#[test]
fn the_token_stays_at_the_origin_that_the_command_line_names() {
    for (to, expected) in [
        ("/other", true),
        ("http://MEDIA.example:8889/other", true),
        ("http://media.example:8890/other", false),
        ("http://media.example/other", false),
        ("http://edge.example:8889/other", false),
    ] {
        let mut world = publishing(URL);
        assert!(has_token(&redirect(&mut world, "307", to)), "{to}");
        let request = connect(&mut world);
        assert_eq!(has_token(&request), expected, "{to}: {request}");
        // Nor does the DELETE of a session have it that was made there.
        let (_, answer) = world.invite(body(&request));
        respond(&mut world, "201 Created\r\nLocation: session/1", &answer);
        world.input(Input::Shutdown);
        let request = connect(&mut world);
        assert!(request.starts_with("DELETE /session/1 "), "{request}");
        assert_eq!(has_token(&request), expected, "{to}: {request}");
        // A DELETE that is redirected does not take it along, either.
        respond(&mut world, "307 X\r\nLocation: http://third.example/session/1", "");
        let request = connect(&mut world);
        assert!(request.contains("Host: third.example") && !has_token(&request), "{request}");
    }

    // A server elsewhere sends us back, and has no say over what the token is for.
    let mut world = publishing(URL);
    redirect(&mut world, "307", "http://edge.example/whip");
    redirect(&mut world, "307", "http://media.example:8889/other");
    let request = connect(&mut world);
    assert!(request.contains("Host: media.example:8889") && !has_token(&request), "{request}");
    let (_, answer) = world.invite(body(&request));
    respond(&mut world, "201 Created\r\nLocation: /anything", &answer);
    world.input(Input::Shutdown);
    assert_eq!(commands(&mut world), [PublishCommand::Close], "it names nothing to delete there");

    // A session that the target itself names elsewhere.
    let mut world = publishing(URL);
    let request = connect(&mut world);
    let (_, answer) = world.invite(body(&request));
    respond(&mut world, "201 Created\r\nLocation: http://edge.example/session", &answer);
    world.input(Input::Shutdown);
    let request = connect(&mut world);
    assert!(request.starts_with("DELETE /session HTTP/1.1\r\nHost: edge.example"), "{request}");
    assert!(!has_token(&request), "{request}");
}

#[test]
fn a_redirect_or_a_session_never_leads_to_this_device_or_its_link() {
    let inside = [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.7",
        "::1",
        "::",
        "fe80::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:192.0.2.7",
    ];
    for address in inside {
        let ip: IpAddr = address.parse().unwrap();
        let literal = std::net::SocketAddr::new(ip, 631);
        // By its address, and by a name that has it.
        for to in [format!("http://{literal}/printers"), "http://inside.example/x".to_owned()] {
            let mut world = publishing_announced();
            redirect(&mut world, "307", &to);
            let mut made = commands(&mut world);
            if made.contains(&PublishCommand::Resolve("inside.example".into())) {
                tell(&mut world, PublishEvent::Resolved(vec![ip]));
                made = commands(&mut world);
            }
            assert!(made.iter().all(|command| *command == PublishCommand::Close), "{to}: {made:?}");
            let sentence = stats(&mut world)["sentence"].to_string();
            assert!(sentence.contains("names a URL at an address of this device"), "{sentence}");

            // Its DELETE is never sent, and keeps nobody from publishing.
            let mut world = publishing_announced();
            let request = connect(&mut world);
            let (server, answer) = world.invite(body(&request));
            respond(&mut world, &format!("201 Created\r\nLocation: {to}"), &answer);
            world.run(seconds(1));
            commands(&mut world);
            world.clients[server].powered_off = true;
            world.run(seconds(6));
            loop {
                match commands(&mut world).into_iter().rfind(|it| *it != PublishCommand::Close) {
                    Some(PublishCommand::Resolve(name)) if name == "inside.example" => {
                        tell(&mut world, PublishEvent::Resolved(vec![ip]));
                    }
                    Some(PublishCommand::Resolve(name)) => break assert_eq!(name, "media.example"),
                    other => panic!("{to}: {other:?}"),
                }
            }
        }
    }

    // Other addresses of the same name are tried.
    let mut world = publishing(URL);
    redirect(&mut world, "307", "http://edge.example/whip");
    commands(&mut world);
    let both = ["127.0.0.1", "10.9.9.7"].map(|it| it.parse::<IpAddr>().unwrap());
    tell(&mut world, PublishEvent::Resolved(both.to_vec()));
    let elsewhere = PublishCommand::ConnectElsewhere("10.9.9.7:80".parse().unwrap());
    assert_eq!(commands(&mut world), [elsewhere]);

    // What the command line names may be anywhere.
    let mut world = publishing("http://127.0.0.1:8889/whip");
    assert_eq!(commands(&mut world), [PublishCommand::Connect("127.0.0.1:8889".parse().unwrap())]);
}

fn publishing_announced() -> World {
    let mut world = World::configured(|config| {
        config.targets = vec![target(URL)];
        config.announced = vec![IpAddr::from([192, 0, 2, 7])];
    });
    world.run(Duration::ZERO);
    world
}

#[test]
fn the_words_of_a_server_that_a_redirect_leads_to_are_shown_to_nobody() {
    for (to, is_shown) in [("/other", true), ("http://edge.example/whip", false)] {
        let mut world = publishing_with_token(URL);
        redirect(&mut world, "307", to);
        connect(&mut world);
        respond(&mut world, "404 Not Found", "root:x:0:0");
        let stats = stats_with_token(&mut world);
        assert_eq!(stats.to_string().contains("root:x"), is_shown, "{to}: {stats}");
        assert!(stats["detail"].to_string().contains("status 404"), "{stats}");
    }
}
