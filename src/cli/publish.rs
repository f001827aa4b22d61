//! The media servers that the stream is published to, and their tokens.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::UsageError;
use super::values::{FlagValue, secret, secret_file};
use crate::http::{Url, UrlError};
use crate::publish::{BearerToken, MAX_TARGETS, Target};

/// The token among the secrets of a systemd unit, used if no other is given.
const CREDENTIAL: &str = "ballcast.publish-token";

/// What the arguments say about media servers.
#[derive(Debug, Default)]
pub(super) struct MediaServers {
    urls: Vec<Url>,
    tokens: Vec<BearerToken>,
}

impl MediaServers {
    /// The sentence about an invalid URL does not repeat it: it may contain a secret.
    pub fn add_url(&mut self, value: &FlagValue) -> Result<(), UsageError> {
        let url = Url::parse(&value.text()).map_err(|error| {
            UsageError(match error {
                UrlError::Https => {
                    "--publish does not support https:// URLs: Ballcast publishes over plain \
                                    http only."
                        .to_owned()
                }
                error => format!(
                    "invalid URL for --publish: expected one such as \
                     http://media.example:8889/camera/whip, but this one {error}."
                ),
            })
        })?;
        self.urls.push(url);
        if self.urls.len() > MAX_TARGETS {
            let sentence = format!("--publish can be given at most {MAX_TARGETS} times.");
            return Err(UsageError(sentence));
        }
        Ok(())
    }

    pub fn add_token_file(&mut self, value: &FlagValue) -> Result<(), UsageError> {
        self.tokens.push(token_file(&value.as_file(), value.path())?);
        Ok(())
    }

    /// The media servers, with the tokens of the options, or else of the environment variable, or else of
    /// the systemd unit.
    pub fn choose(
        mut self,
        variable: Option<OsString>,
        credentials: Option<PathBuf>,
    ) -> Result<Vec<Target>, UsageError> {
        if let Some(variable) = variable {
            if !self.tokens.is_empty() {
                let sentence = "give the token for media servers only once: with --publish-token-file or \
                                BALLCAST_PUBLISH_TOKEN.";
                return Err(UsageError(sentence.into()));
            }
            self.tokens.push(token("BALLCAST_PUBLISH_TOKEN", &variable.to_string_lossy())?);
        }
        if self.urls.is_empty() && !self.tokens.is_empty() {
            let sentence = "--publish-token-file and BALLCAST_PUBLISH_TOKEN need a media server: add \
                            --publish.";
            return Err(UsageError(sentence.into()));
        }
        let file = credentials.map(|folder| folder.join(CREDENTIAL));
        let unit_matters = !self.urls.is_empty() && self.tokens.is_empty();
        if let Some(file) = file.filter(|file| unit_matters && file.exists()) {
            self.tokens.push(token_file(&format!("the credential {CREDENTIAL}"), &file)?);
        }
        let tokens: Vec<Option<BearerToken>> = match (self.tokens.len(), self.urls.len()) {
            (0 | 1, servers) => vec![self.tokens.pop(); servers],
            (tokens, servers) if tokens == servers => self.tokens.into_iter().map(Some).collect(),
            (tokens, servers) => {
                return Err(UsageError(format!(
                    "--publish-token-file is given {tokens} times, but --publish {servers} times: give \
                     one token for all media servers, or one for each, in the same order."
                )));
            }
        };
        let targets = self.urls.into_iter().zip(tokens);
        Ok(targets.map(|(url, token)| Target { url, token }).collect())
    }
}

fn token_file(source: &str, file: &Path) -> Result<BearerToken, UsageError> {
    secret_file(source, file, BearerToken::parse, BearerToken::ALLOWED)
}

fn token(source: &str, text: &str) -> Result<BearerToken, UsageError> {
    secret(source, text, BearerToken::parse, BearerToken::ALLOWED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{CliCommand, Environment, parse};
    use crate::driver::test_folder::TestFolder;

    fn targets_in(line: &str, environment: Environment) -> Result<Vec<Target>, UsageError> {
        let arguments = line.split_whitespace().map(OsString::from);
        match parse(arguments, environment)? {
            CliCommand::Serve(flags) => Ok(flags.targets),
            other => panic!("{other:?}"),
        }
    }

    fn targets(line: &str) -> Result<Vec<Target>, UsageError> {
        targets_in(line, Environment::default())
    }

    fn targets_with(line: &str, variable: &str) -> Result<Vec<Target>, UsageError> {
        let publish_token = Some(variable.into());
        targets_in(line, Environment { publish_token, ..Environment::default() })
    }

    fn target(url: &str, token: Option<&str>) -> Target {
        let token = token.map(|token| BearerToken::parse(token).unwrap());
        Target { url: Url::parse(url).unwrap(), token }
    }

    /// The flag with a file that has this text.
    fn flag(folder: &TestFolder, name: &str, text: &str) -> String {
        let path = folder.0.join(name);
        std::fs::write(&path, text).unwrap();
        format!("--publish-token-file {}", path.display())
    }

    #[test]
    fn up_to_four_media_servers_are_published_to() {
        assert_eq!(targets(""), Ok(vec![]));
        let one = target("http://media.example:8889/camera/whip?a=b", None);
        let line = "--publish http://Media.Example:8889/camera/whip?a=b";
        assert_eq!(targets(line), Ok(vec![one.clone()]));
        let two = target("http://[2001:db8::1]/", None);
        let line = format!("{line} --publish=http://[2001:db8::1]");
        assert_eq!(targets(&line), Ok(vec![one, two]));
        let many = "--publish http://media.example/whip ".repeat(4);
        assert_eq!(targets(&many).unwrap().len(), 4, "a token may name the stream");
        let sentence = targets(&format!("{many} --publish http://a/")).unwrap_err().to_string();
        assert_eq!(sentence, "--publish can be given at most 4 times.");
    }

    #[test]
    fn a_wrong_url_is_not_repeated_and_the_sentence_says_what_is_allowed() {
        let https = targets("--publish https://media.example/whip?key=secret").unwrap_err();
        let expected =
            "--publish does not support https:// URLs: Ballcast publishes over plain http only.";
        assert_eq!(https.to_string(), expected);
        let long = format!("http://media.example/secret?{}", "x".repeat(10_000));
        for (url, words) in [
            ("media.example/whip?key=secret", "does not begin with http://"),
            ("rtmp://media.example/live/secret", "does not begin with http://"),
            ("http://user:secret@media.example/whip", "host name"),
            ("http://:80/?secret", "host name"),
            ("http://media.example:port/?secret", "port"),
            ("http://media.example/sécret?secret", "visible ASCII"),
            (&long, "longer than"),
        ] {
            let sentence = targets(&format!("--publish {url}")).unwrap_err().to_string();
            assert!(
                sentence.starts_with("invalid URL for --publish: expected one such as http://"),
                "{sentence}"
            );
            assert!(sentence.contains(words) && !sentence.contains("secret"), "{url}: {sentence}");
        }
    }

    #[test]
    fn a_token_is_for_all_media_servers_or_each_has_its_own() {
        let folder = TestFolder::new("publish-order");
        let (first, second) = (flag(&folder, "first", "one\n"), flag(&folder, "second", " two= "));
        let line = "--publish http://a/ --publish http://b/";
        let of = |a, b| Ok(vec![target("http://a/", Some(a)), target("http://b/", Some(b))]);
        assert_eq!(targets(&format!("{line} {first}")), of("one", "one"));
        assert_eq!(targets(&format!("{first} {line} {second}")), of("one", "two="));
        assert_eq!(targets(&format!("{second} {first} {line}")), of("two=", "one"));
        assert_eq!(targets_with(line, "three"), of("three", "three"));
        let line = format!("{line} --publish http://c/ {first} {second}");
        let sentence = targets(&line).unwrap_err().to_string();
        for part in ["2 times", "--publish 3 times", "for all", "for each"] {
            assert!(sentence.contains(part), "{sentence}");
        }
    }

    #[test]
    fn a_token_that_cannot_be_used_is_refused_and_not_repeated() {
        let folder = TestFolder::new("publish-wrong");
        let url = "--publish http://a/";
        let file = |name: &str, text: &str| format!("{url} {}", flag(&folder, name, text));
        let missing = format!("{url} --publish-token-file {}/missing", folder.0.display());
        let wrong = [
            (missing, None, ["cannot read --publish-token-file", "missing: No such file"]),
            (
                file("empty", "\n"),
                None,
                ["no token in --publish-token-file", "empty: expected 1 to 4096"],
            ),
            (
                file("lines", "secret\nsecret"),
                None,
                ["invalid token in --publish-token-file", "lines: expected"],
            ),
            (url.to_owned(), Some(""), ["no token in BALLCAST_PUBLISH_TOKEN", "1 to 4096"]),
            (
                url.to_owned(),
                Some("a secret"),
                ["invalid token in BALLCAST_PUBLISH_TOKEN", "letters"],
            ),
            (file("both", "secret"), Some("secret"), ["once", "BALLCAST_PUBLISH_TOKEN"]),
            (String::new(), Some("secret"), ["BALLCAST_PUBLISH_TOKEN", "add --publish."]),
            (flag(&folder, "alone", "secret"), None, ["--publish-token-file", "add --publish."]),
        ];
        for (line, variable, expected) in wrong {
            let refused = match variable {
                Some(variable) => targets_with(&line, variable),
                None => targets(&line),
            };
            let sentence = refused.unwrap_err().to_string();
            assert!(expected.iter().all(|part| sentence.contains(part)), "{line}: {sentence}");
            assert!(!sentence.contains("secret"), "{sentence}");
        }
    }

    #[test]
    fn the_token_of_a_systemd_unit_counts_where_no_other_is_given() {
        let folder = TestFolder::new("publish-unit");
        let token = |line: &str| {
            let credentials = Some(folder.0.clone());
            let targets = targets_in(line, Environment { credentials, ..Environment::default() });
            targets.map(|mut targets| targets.pop().and_then(|target| target.token))
        };
        let url = "--publish http://a/";
        assert_eq!(token(url), Ok(None), "a unit may have none");
        let other = flag(&folder, "other", "other");
        std::fs::write(folder.0.join(CREDENTIAL), "opensesame\n").unwrap();
        assert_eq!(token(url), Ok(BearerToken::parse("opensesame")));
        assert_eq!(token(&format!("{url} {other}")), Ok(BearerToken::parse("other")));
        assert_eq!(token(""), Ok(None), "it may wait for a media server");
        std::fs::write(folder.0.join(CREDENTIAL), "a secret").unwrap();
        let sentence = token(url).unwrap_err().to_string();
        let expected = "invalid token in the credential ballcast.publish-token";
        assert!(sentence.starts_with(expected), "{sentence}");
    }
}
