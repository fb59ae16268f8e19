//! The identity of a client, as all protocols take it.

/// Longest identity, in bytes.
pub const IDENTITY_BYTES_MAX: usize = 128;

/// The name of a client that comes back under it: 1 to 128 bytes of UTF-8 without blanks and control
/// characters, so that it can stand in a log line and in the name of a channel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Identity<'a>(&'a str);

impl<'a> Identity<'a> {
    /// Checks `bytes`.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        if bytes.is_empty() || bytes.len() > IDENTITY_BYTES_MAX {
            return None;
        }
        let text = str::from_utf8(bytes).ok()?;
        (!text.contains(|c: char| c.is_whitespace() || c.is_control())).then_some(Self(text))
    }

    /// The identity as text.
    pub const fn as_str(&self) -> &'a str {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_can_stand_in_a_log_line() {
        let longest = "x".repeat(IDENTITY_BYTES_MAX);
        for good in ["a", "sensor-7", "gerät/9", &longest] {
            assert_eq!(Identity::new(good.as_bytes()).map(|id| id.0), Some(good));
        }
        let too_long = "x".repeat(IDENTITY_BYTES_MAX + 1);
        for bad in ["", "a b", "a\n", "a\u{a0}b", "\u{7f}", "\u{85}", &too_long] {
            assert_eq!(Identity::new(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(Identity::new(b"\xff"), None);
    }
}
