//! Errors of the operating system, without file names.

use std::fmt;
use std::io::{self, ErrorKind};

/// An error of the operating system, by its number. Displays the message of the C library, which never
/// contains a path or other foreign text, so that everybody may read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OsError {
    /// As in errno(3).
    Number(i32),
    /// An error of the standard library.
    Kind(ErrorKind),
}

impl From<&io::Error> for OsError {
    fn from(error: &io::Error) -> OsError {
        error.raw_os_error().map_or(OsError::Kind(error.kind()), OsError::Number)
    }
}

impl fmt::Display for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OsError::Number(number) => io::Error::from_raw_os_error(*number).fmt(f),
            OsError::Kind(kind) => kind.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kind_of_an_error_is_displayed() {
        let shown = |error: io::Error| OsError::from(&error).to_string();
        let named = io::Error::new(ErrorKind::NotFound, "/home/secret is not there");
        assert_eq!(shown(named), "entity not found");
        assert!(shown(io::Error::from_raw_os_error(2)).starts_with("No such file or directory"));
    }
}
