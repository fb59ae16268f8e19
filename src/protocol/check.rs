//! A check of an upstream server, as its settings say it: what it is sent, and what it is to answer.

use crate::core::time::Duration;

/// Bytes of an answer that are looked at. What has not come by then does not come.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How servers are checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// Time from one check of a server to the next.
    pub interval: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// So many must pass in a row for a server that is down.
    pub rise: u32,
    /// So many must fail in a row for one that is up.
    pub fall: u32,
    /// What the server is sent once it is connected. Empty: nothing.
    pub send: Box<[u8]>,
    /// What it must answer, somewhere in what it says. `None`: that it can be connected to is enough.
    pub expect: Option<Pattern>,
}

/// Bytes that are looked for in a stream of which nothing is kept (Knuth, Morris, Pratt).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    bytes: Box<[u8]>,
    /// Of so many bytes that were found and are not followed by the next one: how many of the last of them are the first of
    /// the pattern again.
    fallback: Box<[usize]>,
}

impl Pattern {
    /// One of at least one byte.
    pub fn new(bytes: &[u8]) -> Self {
        let mut pattern = Self { bytes: bytes.into(), fallback: vec![0; bytes.len()].into() };
        let mut found = 0;
        for (at, byte) in bytes.iter().enumerate().skip(1) {
            found = pattern.next(found, *byte);
            pattern.fallback[at] = found;
        }
        pattern
    }

    /// How many of its bytes are found at the end of a stream that goes on with `bytes`, where `found` were before; all of
    /// them, as soon as they were found anywhere.
    pub fn advance(&self, mut found: usize, bytes: &[u8]) -> usize {
        for byte in bytes {
            if self.is_found(found) {
                break;
            }
            found = self.next(found, *byte);
        }
        found
    }

    /// Whether that is all of it.
    pub fn is_found(&self, found: usize) -> bool {
        found == self.bytes.len()
    }

    fn next(&self, mut found: usize, byte: u8) -> usize {
        while found > 0 && self.bytes[found] != byte {
            found = self.fallback[found - 1];
        }
        found + usize::from(self.bytes[found] == byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_in(pattern: &[u8], pieces: &[&[u8]]) -> bool {
        let pattern = Pattern::new(pattern);
        let found = pieces.iter().fold(0, |found, piece| pattern.advance(found, piece));
        pattern.is_found(found)
    }

    #[test]
    fn an_answer_is_found_wherever_it_stands_and_however_it_comes() {
        assert!(is_in(b"+PONG", &[b"+PONG\r\n"]));
        assert!(is_in(b"role:master", &[b"# Replication\r\nro", b"le:mas", b"ter\r\n"]));
        assert!(is_in(b"aab", &[b"aaaab"]), "what was found twice counts once");
        assert!(!is_in(b"+PONG", &[b"-LOADING"]) && !is_in(b"a", &[]));
    }

    proptest! {
        #[test]
        fn it_finds_what_a_search_of_the_whole_finds(
            pattern in prop::collection::vec(0_u8..3, 1..6),
            pieces in prop::collection::vec(prop::collection::vec(0_u8..3, 0..20), 0..5),
        ) {
            let whole = pieces.concat();
            let pieces: Vec<_> = pieces.iter().map(Vec::as_slice).collect();
            let expected = whole.windows(pattern.len()).any(|window| window == pattern);
            prop_assert_eq!(is_in(&pattern, &pieces), expected);
        }
    }
}
