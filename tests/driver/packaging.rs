//! What the package and the pages for readers say agrees with the program.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use ballcast::testing::cli::Flags;
use ballcast::testing::cli::texts::CliText;

fn file(name: &str) -> String {
    std::fs::read_to_string(format!("{}/packaging/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Options of other programs that the READMEs name by themselves.
const OF_OTHERS: [&str; 4] = ["--device", "--device-cgroup-rule", "--flush", "--intra"];

/// The option at the start of a text, without its value.
fn option(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(text.len());
    text.starts_with("--").then_some(&text[..end])
}

/// The options of Ballcast in a text in Markdown: those that stand alone, and those of its command lines.
fn options(markdown: &str) -> BTreeSet<&str> {
    let alone = markdown.split('`').filter_map(option).filter(|name| !OF_OTHERS.contains(name));
    let commands = markdown.split("ballcast ").skip(1).flat_map(|rest| {
        let line = rest.split(['`', '\n', '|', '"']).next().unwrap_or_default();
        // Outside of quotes, where options of other commands are.
        line.split('\'').step_by(2).flat_map(|part| part.split(' ').filter_map(option))
    });
    alone.chain(commands).filter(|name| name.len() > 2).collect()
}

#[test]
fn every_option_that_a_readme_names_exists() {
    let summary = CliText::Summary.render();
    let exist: BTreeSet<&str> = summary.split([' ', '\n']).filter_map(option).collect();
    assert!(exist.contains("--port") && OF_OTHERS.iter().all(|name| !exist.contains(name)));
    let root = env!("CARGO_MANIFEST_DIR");
    let others =
        std::fs::read_dir(format!("{root}/packaging")).unwrap().map(|entry| entry.unwrap().path());
    let pages = others.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut named = BTreeSet::new();
    for page in pages.chain([format!("{root}/README.md").into()]) {
        let text = std::fs::read_to_string(&page).unwrap();
        let options = options(&text);
        let unknown: Vec<_> = options.difference(&exist).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", page.display());
        named.extend(options.into_iter().map(str::to_owned));
    }
    assert!(named.contains("--publish") && named.contains("--token-file"), "{named:?}");
    let text = "`--nonsense X`, or `ballcast --exec 'camera --flush' --wrong | cat --not`\n";
    assert_eq!(options(text), BTreeSet::from(["--nonsense", "--exec", "--wrong"]));
}

#[test]
fn the_program_prints_its_manual_page() {
    let output = Command::new(env!("CARGO_BIN_EXE_ballcast")).arg("--man").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), CliText::Manual.render());
}

#[test]
fn the_service_takes_the_secrets_that_the_manual_page_names() {
    let (manual, service) = (CliText::Manual.render(), file("ballcast.service"));
    let credentials: Vec<&str> =
        service.lines().filter_map(|line| line.strip_prefix("LoadCredential=")).collect();
    assert_eq!(credentials, ["ballcast.token", "ballcast.publish-token"]);
    for name in credentials {
        let name = name.replace('-', "\\-");
        assert!(manual.contains(&format!("\n.B /etc/credstore/{name}\n")), "{name}");
        let variable = manual.split("\n.B CREDENTIALS_DIRECTORY\n").nth(1).unwrap();
        assert!(variable.split("\n.TP").next().unwrap().contains(&name), "{name}");
    }
}

/// The settings of a unit.
fn settings(unit: &str) -> Vec<String> {
    let lines = unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

#[test]
fn the_service_of_a_further_camera_is_the_same_under_its_name() {
    let first = settings(&file("ballcast.service"));
    let further = settings(&file("ballcast@.service"));
    assert_eq!(first.len(), further.len());
    let other = first.iter().zip(&further).filter(|(first, further)| first != further);
    let other: Vec<&str> = other.map(|(_, further)| further.as_str()).collect();
    let expected = [
        "Description=Live video of the camera %i to any browser on the local network",
        "EnvironmentFile=/etc/default/ballcast@%i",
        "LoadCredential=ballcast.token:ballcast@%i.token",
        "LoadCredential=ballcast.publish-token:ballcast@%i.publish-token",
        "StateDirectory=ballcast@%i",
    ];
    assert_eq!(other, expected);
    let manual = CliText::Manual.render();
    for name in ["default/ballcast@NAME\n", "credstore/ballcast@NAME."] {
        assert!(manual.contains(&format!("\n.B /etc/{name}")), "{name}");
    }
}

#[test]
fn systemd_finds_no_fault_in_the_services() {
    let folder = format!("{}/units-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    std::fs::create_dir_all(&folder).unwrap();
    // The program where it is, as it is not installed.
    let program = format!("ExecStart={} ", env!("CARGO_BIN_EXE_ballcast"));
    let verify = |name: &str, change: &dyn Fn(String) -> String| {
        let path = format!("{folder}/{name}");
        let unit = file(name).replace("ExecStart=/usr/bin/ballcast ", &program);
        std::fs::write(&path, change(unit)).unwrap();
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no", "--recursive-errors=no", &path]);
        let output = command.output().expect("systemd-analyze is there");
        let said = String::from_utf8(output.stderr).unwrap();
        // Of its own units it may find some.
        said.lines().filter(|line| line.contains("ballcast")).map(str::to_owned).collect::<Vec<_>>()
    };
    for name in ["ballcast.service", "ballcast@.service"] {
        assert_eq!(verify(name, &|unit| unit), [""; 0], "{name}");
        let broken = verify(name, &|unit| unit.replace("ProtectClock=", "ProtectClocks="));
        assert!(broken.iter().any(|line| line.contains("ProtectClocks")), "{broken:?}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn avahi_announces_the_port_that_the_service_takes() {
    let port = Flags::default().port;
    assert!(file("avahi.xml").contains(&format!("<port>{port}</port>")));
}

#[test]
fn the_newest_entry_of_the_changelog_is_this_version() {
    let first = format!("ballcast ({}-1) ", env!("CARGO_PKG_VERSION"));
    let changelog = file("debian/changelog");
    assert!(changelog.starts_with(&first));
    let manual = CliText::Manual.render();
    let date = manual.split(' ').nth(3).unwrap();
    let mut parsed = Command::new("date");
    let entry = changelog.lines().find_map(|line| line.strip_prefix(" -- ")).unwrap();
    parsed.args(["--utc", "+%F", "--date", entry.split("  ").nth(1).unwrap()]);
    let expected = String::from_utf8(parsed.output().unwrap().stdout).unwrap();
    assert_eq!(date, expected.trim_end(), "the date of the manual page");
}

/// Every page for readers, with its path.
fn pages() -> Vec<(PathBuf, String)> {
    let folders = ["", "packaging", "tests", "fuzz", "benches"];
    let nested = [
        "tests/machine",
        "tests/offers",
        "tests/players",
        "tests/players/media_servers",
        "tests/sim",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = Vec::new();
    for folder in folders.into_iter().chain(nested) {
        for entry in root.join(folder).read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let text = std::fs::read_to_string(&path).unwrap();
                pages.push((path, text));
            }
        }
    }
    pages
}

/// The headings of a page, in the form in which a link names them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|heading| heading.replace(' ', "-"))
        .map(|heading| heading.replace(|c: char| !c.is_alphanumeric() && c != '-', ""))
        .collect()
}

#[test]
fn every_link_of_the_pages_leads_to_a_file_and_a_heading() {
    let pages = pages();
    let mut links = 0;
    for (path, page) in &pages {
        let targets = page.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        for (target, _) in targets.filter(|(target, _)| !target.contains("://")) {
            links += 1;
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let linked = match file {
                "" => path.clone(),
                _ => path.parent().unwrap().join(file),
            };
            assert!(linked.exists(), "{}: {target}", path.display());
            if !heading.is_empty() {
                let linked = if linked.is_dir() { linked.join("README.md") } else { linked };
                let text = std::fs::read_to_string(&linked).unwrap();
                assert!(anchors(&text).contains(heading), "{}: {target}", path.display());
            }
        }
    }
    assert!(pages.len() > 10 && links > 40, "{} pages, {links} links", pages.len());
}

#[test]
fn the_options_in_the_readme_take_what_the_help_says() {
    let readme = include_str!("../../README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `--"));
    let options: Vec<String> =
        rows.filter_map(|row| row.split_once('`')).map(|(usage, _)| format!("--{usage}")).collect();
    assert_eq!(options.len(), 7, "{options:?}");
    let summary = CliText::Summary.render();
    for usage in &options {
        assert!(summary.contains(&format!("\n  {usage}  ")), "{usage}");
    }
}
