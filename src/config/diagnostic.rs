//! What is wrong with a configuration, and where: the words in which an operator is told.
//!
//! Nothing here decides; see [`value`](super::value) and [`rules`](super::rules) for that.

use std::fmt;
use std::rc::Rc;

/// A place in the sources of the configuration. They order as they are reported: the file from its top,
/// then the flags.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// The file as a whole.
    Whole {
        /// Its path as it was given.
        path: Rc<str>,
    },
    /// A place in the file.
    File {
        /// Its path as it was given.
        path: Rc<str>,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// A flag of the command line, as it was given.
    Flag(String),
    /// The defaults of the program.
    Defaults,
}

impl Place {
    /// The place of the byte `offset` of `text`.
    pub(super) fn at(path: &Rc<str>, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        let column = before.get(line_start..).map_or(0, |line| line.chars().count()) + 1;
        Self::File { path: Rc::clone(path), line, column }
    }

    /// The place without its column, for a reader who looks for a line.
    pub(super) fn short(&self) -> String {
        match self {
            Self::File { path, line, .. } => format!("{path}:{line}"),
            Self::Whole { .. } | Self::Flag(_) | Self::Defaults => self.to_string(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole { path } => f.write_str(path),
            Self::File { path, line, column } => write!(f, "{path}:{line}:{column}"),
            Self::Flag(flag) => f.write_str(flag),
            Self::Defaults => f.write_str("default"),
        }
    }
}

/// Something wrong, or for a hint something doubtful, in the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Where it stands.
    pub place: Place,
    /// Which key it is about; empty if it is about none.
    pub key: String,
    /// What is wrong.
    pub wrong: String,
    /// What would be right; empty if `wrong` says it all.
    pub right: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.wrong)?;
        if self.right.is_empty() { Ok(()) } else { write!(f, "; {}", self.right) }
    }
}

impl std::error::Error for Diagnostic {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let path: Rc<str> = "f".into();
        let text = "a = 1\nü = 2\n";
        assert_eq!(Place::at(&path, text, 0).to_string(), "f:1:1");
        assert_eq!(Place::at(&path, text, text.find('2').unwrap()).to_string(), "f:2:5");
        assert_eq!(Place::at(&path, text, text.len()).to_string(), "f:3:1");
    }
}
