//! What the package says about the program agrees with the program.

use std::collections::BTreeSet;

use ballcast::cli::{Flags, HELP};

fn file(name: &str) -> String {
    std::fs::read_to_string(format!("{}/packaging/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The lines of the help that begin with a flag.
fn lines_of_the_help() -> impl Iterator<Item = &'static str> {
    HELP.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| line.starts_with("--"))
}

/// `--port N`, `--help, -h` and so on: what the manual page has as `.It Fl -port Ar N`.
fn flags_of_the_manual() -> Vec<String> {
    file("ballcast.1")
        .lines()
        .filter_map(|line| line.strip_prefix(".It Fl -"))
        .map(|line| format!("--{}", line.replace(" Ar ", " ").replace(" , Fl ", ", -")))
        .collect()
}

fn name(line: &str) -> &str {
    line.split([' ', ',']).next().unwrap()
}

#[test]
fn the_manual_page_has_the_flags_of_the_help_and_no_others() {
    let manual = flags_of_the_manual();
    let names: BTreeSet<&str> = manual.iter().map(|usage| name(usage)).collect();
    assert!(names.contains("--port") && names.contains("--help"), "{names:?}");
    assert_eq!(names, lines_of_the_help().map(name).collect());
}

#[test]
fn the_flags_of_the_manual_page_take_what_the_help_says() {
    for usage in flags_of_the_manual() {
        let is_this = |line: &str| {
            line.strip_prefix(&*usage).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        };
        assert!(lines_of_the_help().any(is_this), "{usage}");
    }
}

#[test]
fn the_manual_page_has_the_variables_of_the_help() {
    let manual = file("ballcast.1");
    for variable in ["BALLCAST_TOKEN", "BALLCAST_PUBLISH_TOKEN", "RUST_LOG"] {
        assert!(HELP.contains(variable));
        assert!(manual.contains(&format!(".It Ev {variable}\n")), "{variable}");
    }
}

#[test]
fn the_service_takes_the_secrets_that_the_manual_page_names() {
    let (manual, service) = (file("ballcast.1"), file("ballcast.service"));
    let credentials: Vec<&str> =
        service.lines().filter_map(|line| line.strip_prefix("LoadCredential=")).collect();
    assert_eq!(credentials, ["ballcast.token", "ballcast.publish-token"]);
    for name in credentials {
        assert!(manual.contains(&format!(".It Pa /etc/credstore/{name}\n")), "{name}");
        assert!(manual.contains(&format!(".Pa {name}\n")), "{name}");
    }
}

#[test]
fn avahi_announces_the_port_that_the_service_takes() {
    let port = Flags::default().port;
    assert!(file("avahi.xml").contains(&format!("<port>{port}</port>")));
}

#[test]
fn the_newest_entry_of_the_changelog_is_this_version() {
    let first = format!("ballcast ({}-1) ", env!("CARGO_PKG_VERSION"));
    assert!(file("debian/changelog").starts_with(&first));
}
