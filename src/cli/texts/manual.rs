//! The manual page.

use super::{
    ABOUT, EXAMPLES, SOURCE, USAGE, VARIABLES, VERSION, WHAT, operands, paragraph, wrapped,
};
use crate::cli::flags::FlagSection;

/// That of the newest entry of `packaging/debian/changelog`.
const DATE: &str = "2026-11-28";

const FILES: [(&str, &str); 7] = [
    ("/etc/default/ballcast", "The options of the service, in the variable BALLCAST_FLAGS."),
    ("/etc/credstore/ballcast.token", "The token of the service, if this file exists."),
    (
        "/etc/credstore/ballcast.publish-token",
        "The token of the service for the media servers of --publish, if this file exists.",
    ),
    (
        "/var/lib/ballcast/sessions",
        "The sessions of the service at media servers, while there are any.",
    ),
    (
        "/etc/default/ballcast@NAME",
        "The options of the service ballcast@NAME, for another camera. They need a --port of their own.",
    ),
    (
        "/etc/credstore/ballcast@NAME.token",
        "The token of the service ballcast@NAME, if this file exists; likewise ballcast@NAME.publish-token.",
    ),
    (
        "/etc/avahi/services/ballcast.service",
        "Announces the page on the local network, if avahi-daemon is installed.",
    ),
];

const EXIT_STATUS: [(&str, &str); 3] = [
    ("0", "After SIGTERM or SIGINT, or if --check-health finds a picture."),
    (
        "1",
        "The port is taken, there is no usable address, standard input has ended, or --check-health finds no \
         picture.",
    ),
    ("2", "An option is unknown or its value is invalid."),
];

const SERVICE_EXAMPLE: (&str, &str) = (
    "Let the service require a token:",
    r"echo open-sesame | sudo install -D -m 600 /dev/stdin \
  /etc/credstore/ballcast.token
sudo systemctl restart ballcast",
);

pub fn manual() -> String {
    let mut page = Roff(String::new());
    page.0 += &format!(".TH BALLCAST 1 {DATE} \"Ballcast {VERSION}\"\n");
    page.section("NAME");
    page.text(&format!("ballcast - {WHAT}"));
    page.section("SYNOPSIS");
    page.text(USAGE[0]);
    page.0 += ".br\n";
    page.text(USAGE[1]);
    page.section("DESCRIPTION");
    page.paragraphs(&ABOUT);
    page.section("OPTIONS");
    for section in FlagSection::ALL {
        page.0 += &format!(".SS {}\n", section.title());
        if section == FlagSection::Source {
            page.text(SOURCE);
        }
        for (usage, line) in operands(section) {
            page.item(usage, &format!("{line}."));
        }
        for flag in section.flags() {
            page.item(&flag.usage(), &paragraph(flag));
        }
    }
    for (title, items) in
        [("ENVIRONMENT", &VARIABLES[..]), ("FILES", &FILES), ("EXIT STATUS", &EXIT_STATUS)]
    {
        page.section(title);
        for (name, paragraph) in items {
            page.item(name, paragraph);
        }
    }
    page.section("EXAMPLES");
    for (number, (title, lines)) in EXAMPLES.iter().chain([&SERVICE_EXAMPLE]).enumerate() {
        if number > 0 {
            page.0 += ".PP\n";
        }
        page.example(title, lines);
    }
    page.section("SEE ALSO");
    page.text("systemctl(1), systemd.exec(5)");
    page.0
}

/// A page in the making, in the macros of man(7).
struct Roff(String);

impl Roff {
    fn section(&mut self, title: &str) {
        self.0 += &format!(".SH {title}\n");
    }

    /// Filled by the formatter.
    fn text(&mut self, text: &str) {
        self.0 += &escaped(&wrapped(text, 0));
    }

    fn paragraphs(&mut self, texts: &[&str]) {
        for (number, text) in texts.iter().enumerate() {
            if number > 0 {
                self.0 += ".PP\n";
            }
            self.text(text);
        }
    }

    fn item(&mut self, name: &str, text: &str) {
        self.0 += &format!(".TP\n.B {}", escaped(&format!("{name}\n")));
        self.text(text);
    }

    fn example(&mut self, title: &str, lines: &str) {
        self.text(title);
        self.0 += &format!(".PP\n.RS 4\n.nf\n{}.fi\n.RE\n", escaped(&format!("{lines}\n")));
    }
}

/// Lines of text in which the formatter sees no requests, and that can be copied as they are.
fn escaped(lines: &str) -> String {
    let mut text = String::new();
    for line in lines.lines() {
        if line.starts_with(['.', '\'']) {
            text += "\\&";
        }
        for c in line.chars() {
            match c {
                '\\' => text += "\\e",
                '-' => text += "\\-",
                '\'' => text += "\\(aq",
                '~' => text += "\\(ti",
                c => text.push(c),
            }
        }
        text += "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::flags::FLAGS;

    #[test]
    fn no_line_of_text_is_a_request_and_commands_can_be_copied() {
        assert_eq!(
            escaped(".mp4\n'x' -g \\\n~/a\n"),
            "\\&.mp4\n\\&\\(aqx\\(aq \\-g \\e\n\\(ti/a\n"
        );
        let requests = [".TH", ".SH", ".SS", ".TP", ".B", ".PP", ".br", ".RS", ".RE", ".nf", ".fi"];
        for line in manual().lines().filter(|line| line.starts_with(['.', '\''])) {
            let request = line.split(' ').next().unwrap();
            assert!(requests.contains(&request), "{line}");
        }
    }

    #[test]
    fn every_option_is_an_item() {
        for flag in FLAGS {
            let item = format!(".TP\n.B {}", escaped(&format!("{}\n", flag.usage())));
            assert_eq!(manual().matches(&item).count(), 1, "{item}");
        }
    }
}
