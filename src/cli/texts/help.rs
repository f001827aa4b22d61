//! Both lengths of help.

use super::{
    ABOUT, EXAMPLES, SOURCE, USAGE, VARIABLES, VERSION, WHAT, WIDTH, indented, operands, paragraph,
    wrapped,
};
use crate::cli::flags::FlagSection;

/// Where the lines of the short help start.
const LINE_COLUMN: usize = 31;

/// One line for each option.
pub fn summary() -> String {
    let mut text = format!("Ballcast {VERSION}: {WHAT}\n\nUsage: {}\n", USAGE[0]);
    for section in FlagSection::ALL {
        text += &format!("\n{}:\n", section.title());
        for (usage, line) in operands(section) {
            text += &row(usage, line, None);
        }
        for flag in section.flags() {
            text += &row(&flag.usage(), flag.line, flag.default);
        }
    }
    text + "\nSee ballcast --help for more, with command lines for cameras.\n"
}

/// One line. The default is on it if there is room.
fn row(usage: &str, line: &str, default: Option<&str>) -> String {
    let row = format!("  {usage:width$}{line}", width = LINE_COLUMN - 2);
    let with_default = default.map(|default| format!("{row} [{default}]"));
    with_default.filter(|row| row.len() <= WIDTH).unwrap_or(row) + "\n"
}

pub fn help() -> String {
    let mut text = ABOUT.map(|paragraph| wrapped(paragraph, 0)).join("\n");
    text += &format!("\nUsage: {}\n       {}\n", USAGE[0], USAGE[1]);
    for section in FlagSection::ALL {
        text += &format!("\n{}:\n", section.title());
        if section == FlagSection::Source {
            text += &format!("{}\n", wrapped(SOURCE, 2));
        }
        for (usage, line) in operands(section) {
            text += &item(usage, &format!("{line}."));
        }
        for flag in section.flags() {
            text += &item(&flag.usage(), &paragraph(flag));
        }
    }
    text += "\nEnvironment:\n";
    for (name, paragraph) in VARIABLES {
        text += &item(name, paragraph);
    }
    text += "\nExamples:\n";
    for (title, lines) in EXAMPLES {
        text += &format!("{}{}", wrapped(title, 2), indented(lines, 4));
    }
    text + "\nCtrl-C disconnects all viewers and exits.\n"
}

fn item(usage: &str, paragraph: &str) -> String {
    format!("  {usage}\n{}", wrapped(paragraph, 6))
}
