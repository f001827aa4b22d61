//! Sessions at media servers: each is deleted.

use super::*;

#[test]
fn the_session_is_deleted_at_the_end_and_before_the_next_one() {
    let mut world = publishing(URL);
    let server = accept(&mut world);
    world.run(seconds(20));
    commands(&mut world);
    world.clients[server].powered_off = true;
    world.run(seconds(5));
    let request = connect(&mut world);
    assert!(request.starts_with("DELETE /cam/session/1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("Authorization: Bearer opensesame\r\n"), "{request}");
    respond(&mut world, "404 Not Found", "");
    accept(&mut world);
    world.run(seconds(1));
    assert_eq!(stats(&mut world)["state"], "live");
    assert_eq!(stats(&mut world)["sessions"], 2);
    world.input(Input::Shutdown);
    assert!(world.server.is_unpublishing());
    let request = connect(&mut world);
    assert!(request.starts_with("DELETE /cam/session/1"), "{request}");
    let last = world.clients.len() - 1;
    assert!(!world.clients[last].bye, "the media server is told why first");
    respond(&mut world, "200 OK", "");
    assert!(world.clients[last].bye);
    assert!(!world.server.is_unpublishing());
    assert_eq!(commands(&mut world), [PublishCommand::Close]);
    world.run(seconds(60));
    assert_eq!(commands(&mut world), []);
}

#[test]
fn a_session_that_a_killed_process_has_left_is_deleted_first() {
    let mut killed = publishing(URL);
    accept(&mut killed);
    let session = Url::parse("http://media.example:8889/cam/session/1").unwrap();
    let kept = BTreeMap::from([(TARGET, session)]);
    assert_eq!(killed.kept_sessions, kept);
    let mut world = World::configured(|config| {
        config.targets = vec![target(URL)];
        config.stale_sessions = kept.clone();
    });
    world.run(Duration::ZERO);
    let request = connect(&mut world);
    assert!(request.starts_with("DELETE /cam/session/1 "), "{request}");
    assert!(request.contains("Authorization: Bearer opensesame"), "{request}");
    world.kept_sessions = kept;
    respond(&mut world, "404 Not Found", "");
    assert_eq!(world.kept_sessions, BTreeMap::new(), "a server that was restarted, too");
    accept(&mut world);
    world.run(seconds(1));
    assert_eq!(stats(&mut world)["state"], "live");
    assert_eq!(world.kept_sessions.len(), 1);
    world.input(Input::Shutdown);
    connect(&mut world);
    respond(&mut world, "200 OK", "");
    assert_eq!(world.kept_sessions, BTreeMap::new());
}

#[test]
fn a_session_that_is_being_made_at_the_end_is_deleted() {
    let mut world = publishing(URL);
    let request = connect(&mut world);
    world.input(Input::Shutdown);
    assert!(world.server.is_unpublishing());
    let (_, answer) = world.invite(body(&request));
    respond(&mut world, "201 Created\r\nLocation: session/1", &answer);
    assert!(connect(&mut world).starts_with("DELETE /cam/session/1 "));
    respond(&mut world, "200 OK", "");
    assert!(!world.server.is_unpublishing());
}

#[test]
fn the_end_waits_for_a_media_server_a_second_at_most() {
    let mut world = publishing(URL);
    let server = accept(&mut world);
    world.run(seconds(1));
    world.input(Input::Shutdown);
    world.run(Duration::from_millis(999));
    assert!(world.server.is_unpublishing());
    world.run(Duration::from_millis(1));
    assert!(!world.server.is_unpublishing());
    assert!(world.clients[server].bye);
    assert_eq!(world.deadline(), None);
}

#[test]
fn a_session_is_deleted_whose_answer_was_lost_with_the_connection() {
    let mut world = publishing(URL);
    connect(&mut world);
    let head = "HTTP/1.1 201 Created\r\nLocation: /session/2\r\nContent-Length: 900\r\n\r\nv=0";
    tell(&mut world, PublishEvent::Received(head.as_bytes()));
    fail(&mut world, PublishCause::ConnectionReset);
    commands(&mut world);
    world.run(seconds(3));
    let request = connect(&mut world);
    assert!(request.starts_with("DELETE /session/2 HTTP/1.1\r\n"), "{request}");
}
