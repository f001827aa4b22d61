//! Options that do not exist, and the one that is probably meant.

use super::UsageError;
use super::flags::FLAGS;
use super::values::shown;

/// A word with more typing errors than this is another word.
const SLIPS_MAX: usize = 2;

/// The error for `--name`.
pub(super) fn long(name: &str) -> UsageError {
    error(&format!("--{name}"), name)
}

/// The error for `-l` and what follows the letter: `-port` is the letter p with the value ort.
pub(super) fn short(letter: char, rest: &str) -> UsageError {
    let name = format!("{letter}{rest}");
    error(&format!("-{name}"), &name)
}

fn error(typed: &str, name: &str) -> UsageError {
    let question =
        nearest(name).map_or_else(String::new, |name| format!(" Did you mean --{name}?"));
    UsageError(format!("unknown option {}.{question} See ballcast --help.", shown(typed)))
}

/// The option with the fewest typing errors, or else the shortest one that starts with this.
fn nearest(name: &str) -> Option<&'static str> {
    let length = name.chars().count();
    let allowed = SLIPS_MAX.min(length / 3);
    // Bounds the work for a name longer than all options.
    let longest = options().map(str::len).max().unwrap_or_default();
    let near = |option: &&str| length <= longest + SLIPS_MAX && slips(name, option) <= allowed;
    options().filter(near).min_by_key(|option| slips(name, option)).or_else(|| {
        let begins = |option: &&str| length >= 3 && option.starts_with(name);
        options().filter(begins).min_by_key(|option| option.len())
    })
}

fn options() -> impl Iterator<Item = &'static str> {
    FLAGS.iter().map(|flag| flag.name)
}

/// How many letters are missing, too many, wrong, or changed with their neighbour (the optimal string
/// alignment distance).
fn slips(typed: &str, meant: &str) -> usize {
    let (typed, meant): (Vec<char>, Vec<char>) = (typed.chars().collect(), meant.chars().collect());
    // Rows of the table, from the one before the last.
    let mut older = vec![0; meant.len() + 1];
    let mut row: Vec<usize> = (0..=meant.len()).collect();
    for i in 0..typed.len() {
        let mut next = vec![i + 1; meant.len() + 1];
        for j in 0..meant.len() {
            let wrong = row[j] + usize::from(typed[i] != meant[j]);
            next[j + 1] = wrong.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && typed[i] == meant[j - 1] && typed[i - 1] == meant[j] {
                next[j + 1] = next[j + 1].min(older[j - 1] + 1);
            }
        }
        older = std::mem::replace(&mut row, next);
    }
    row[meant.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_that_is_probably_meant_is_named() {
        for (typed, meant) in [
            ("prot", Some("port")),
            ("fsp", Some("fps")),
            ("max_viewers", Some("max-viewers")),
            ("max-viewer", Some("max-viewers")),
            ("tokenfile", Some("token-file")),
            ("max-view", Some("max-viewers")),
            ("trusted", Some("trusted-proxy")),
            ("Exec", Some("exec")),
            ("frobnicate", None),
            ("rq", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed), meant, "{typed}");
        }
        let long_name = "port".repeat(100_000);
        assert_eq!(nearest(&long_name), None);
        for option in options() {
            assert_eq!(nearest(option), Some(option));
        }
    }

    #[test]
    fn the_sentence_repeats_what_was_typed() {
        let sentence = "unknown option -port. Did you mean --port? See ballcast --help.";
        assert_eq!(short('p', "ort").to_string(), sentence);
        let sentence = "unknown option --nonsense. See ballcast --help.";
        assert_eq!(long("nonsense").to_string(), sentence);
    }
}
