//! Who may use a listener: what a protocol makes of its own settings for those who open and serve one.

use constant_time_eq::constant_time_eq;
use std::fmt;

/// Who may use a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Access {
    /// Names in a request's Host header that are answered.
    pub hosts: Hosts,
    /// Permissions of the file of a unix socket.
    pub socket_mode: u32,
    /// The file of its users. None: everybody may come in.
    pub users: Option<String>,
    /// Where everybody may come in, from other hosts, what acts on other connections is refused.
    pub protects_others: bool,
    /// The file of the token that a request has to bring. None: it need not.
    pub token_file: Option<String>,
}

impl Default for Access {
    /// Of a protocol without names, which is not served on unix sockets.
    fn default() -> Self {
        Self {
            hosts: Hosts::Named(Vec::new()),
            socket_mode: 0o660,
            users: None,
            protects_others: false,
            token_file: None,
        }
    }
}

/// Names that a listener answers to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hosts {
    /// Every name.
    Any,
    /// These, in small letters, and localhost and IP addresses.
    Named(Vec<String>),
}

/// Takes the path of a file.
pub(super) fn read_path(given: &str) -> Result<String, String> {
    if given.is_empty() || given.contains('\0') {
        Err("it is no path".to_owned())
    } else {
        Ok(given.to_owned())
    }
}

/// What a request has to bring, so that it is answered (RFC 6750).
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

/// Most bytes of the file of a token.
pub const TOKEN_FILE_BYTES_MAX: usize = 4096;
/// Fewest and most bytes of a token. A short one could be guessed.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=1024;

impl Token {
    /// Reads the text of a file: one line.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence about "the token".
    pub fn read(text: &str) -> Result<Self, String> {
        let token = text.trim();
        if !TOKEN_BYTES.contains(&token.len()) {
            return Err(format!(
                "the token has {} bytes, not {} to {}",
                token.len(),
                TOKEN_BYTES.start(),
                TOKEN_BYTES.end()
            ));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the token is not one word of visible ASCII characters".to_owned());
        }
        Ok(Self(token.into()))
    }

    /// Whether a header `Authorization` brings it. How long that takes does not tell where it differs.
    pub fn is_in(&self, authorization: Option<&str>) -> bool {
        let Some((scheme, token)) = authorization.and_then(|header| header.split_once(' ')) else {
            return false;
        };
        scheme.eq_ignore_ascii_case("Bearer") && constant_time_eq(token.trim().as_bytes(), self.0.as_bytes())
    }

    /// The token itself, for who brings it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A secret stays out of what is printed in passing.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_and_comes_as_that_of_a_bearer() {
        let token = Token::read("0123456789abcdef\n").unwrap();
        for good in ["Bearer 0123456789abcdef", "bearer  0123456789abcdef"] {
            assert!(token.is_in(Some(good)), "{good}");
        }
        for bad in [
            "",
            "0123456789abcdef",
            "Basic 0123456789abcdef",
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcde",
            "Bearer",
        ] {
            assert!(!token.is_in(Some(bad)), "{bad}");
        }
        assert!(!token.is_in(None));
        assert!(!format!("{token:?}").contains("0123"));
        for wrong in ["", "short", "0123456789abcdef 0123456789abcdef", "0123456789abcd\u{e9}f"] {
            assert!(Token::read(wrong).is_err(), "{wrong:?}");
        }
    }
}
