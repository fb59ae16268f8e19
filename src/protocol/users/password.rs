//! Passwords as a file has them: their SHA-256, as in the ACL files of Redis. Such a hash has no salt and is quick to
//! make, so that a password has to be long and drawn at random.
//!
//! A comparison takes as long for a wrong password as for the right one, and as long for a user that there is not.

use constant_time_eq::constant_time_eq_n;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Longest password, in bytes. A longer one is wrong without being hashed: a client chooses how much that costs.
pub const PASSWORD_BYTES_MAX: usize = 512;

/// The SHA-256 of a password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; 32]);

impl Hash {
    /// That of no password.
    pub(super) const NONE: Self = Self([0; 32]);

    /// That of `password`.
    pub fn of(password: &[u8]) -> Self {
        Self(Sha256::digest(password).into())
    }

    /// Reads 64 hexadecimal digits in small letters, as Redis writes them.
    pub fn read(hex: &str) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut hash = [0; 32];
        if hex.len() != 2 * hash.len() {
            return None;
        }
        for (byte, digits) in hash.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = digit(digits[0])? << 4 | digit(digits[1])?;
        }
        Some(Self(hash))
    }

    /// Whether both are the same, in a time that does not tell where they differ.
    pub(super) fn is(&self, other: &Self) -> bool {
        constant_time_eq_n(&self.0, &other.0)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A hash of a weak password is as good as the password: it stays out of what is printed in passing.
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_redis_and_reads_back() {
        // `printf secret | sha256sum`
        let hex = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        assert_eq!(Hash::of(b"secret").to_string(), hex);
        assert_eq!(Hash::read(hex), Some(Hash::of(b"secret")));
        assert!(
            Hash::of(b"secret").is(&Hash::read(hex).unwrap())
                && !Hash::of(b"Secret").is(&Hash::of(b"secret"))
        );
        for wrong in
            ["", "2bb8", &hex.to_uppercase(), &format!("{hex}0"), &hex.replace('2', "g"), &"é".repeat(32)]
        {
            assert_eq!(Hash::read(wrong), None, "{wrong}");
        }
    }
}
