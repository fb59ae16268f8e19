//! [`Name`]: the bytes that peers give to identities, channels and patterns, in 24 bytes of their own.
//!
//! Most names are short (a serial number, a MAC address, half a UUID) and there is one per connection, so the
//! short ones live inside the value and cost no allocation. Compare [`directory`](super::directory).

use std::fmt;
use std::ops::Deref;

/// The longest name kept inside the value: what is left of 24 bytes, the size of the pointer and length of
/// a longer name rounded up, after the tag and this name's own length.
const INLINE_BYTES_MAX: usize = 22;

/// An owned, immutable byte string. Binary safe; no encoding is assumed.
#[derive(Clone)]
pub struct Name(Repr);

#[derive(Clone)]
enum Repr {
    /// Only the first `len` bytes are the name.
    Inline { len: u8, bytes: [u8; INLINE_BYTES_MAX] },
    /// Longer than fits inside.
    Boxed(Box<[u8]>),
}

const _: () = assert!(size_of::<Name>() == 24);

impl Name {
    /// A copy of `name`.
    pub fn new(name: &[u8]) -> Self {
        let mut bytes = [0; INLINE_BYTES_MAX];
        match (bytes.get_mut(..name.len()), u8::try_from(name.len())) {
            (Some(inside), Ok(len)) => {
                inside.copy_from_slice(name);
                Self(Repr::Inline { len, bytes })
            }
            _ => Self(Repr::Boxed(name.into())),
        }
    }
}

impl Deref for Name {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Boxed(bytes) => bytes,
        }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Name {}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Printable as ASCII, whatever the bytes are: a name from a peer must not be able to forge a log line.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.escape_ascii().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_length_come_back_as_they_went_in() {
        let bytes: Vec<u8> = (0..=255).cycle().take(600).collect();
        for len in 0..bytes.len() {
            assert_eq!(*Name::new(&bytes[..len]), bytes[..len], "{len}");
        }
    }

    #[test]
    fn names_are_equal_if_their_bytes_are() {
        let long = [b'x'; 23];
        assert_eq!(Name::new(&long), Name::new(&long));
        assert_ne!(Name::new(&long), Name::new(&long[1..]));
        assert_ne!(Name::new(b"a"), Name::new(b"b"));
    }

    #[test]
    fn only_names_longer_than_the_value_are_boxed() {
        assert!(matches!(Name::new(&[b'x'; 22]).0, Repr::Inline { len: 22, .. }));
        assert!(matches!(Name::new(&[b'x'; 23]).0, Repr::Boxed(_)));
    }

    #[test]
    fn a_name_cannot_forge_a_log_line() {
        assert_eq!(Name::new(b"a\nend=fake\x1b[2J").to_string(), "a\\nend=fake\\x1b[2J");
    }
}
