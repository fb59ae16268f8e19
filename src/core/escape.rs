//! Bytes as words of a line: for configurations, command lines, and what processes say to each other.

/// Bytes as one word: graphic characters as they are, everything else as `\xNN`.
pub fn escape(bytes: &[u8]) -> String {
    let mut word = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\\' => word.push_str("\\\\"),
            b'!'..=b'~' => word.push(char::from(byte)),
            _ => {
                word.push_str("\\x");
                for digit in [byte >> 4, byte & 15] {
                    word.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
                }
            }
        }
    }
    word
}

/// A text for a terminal: what could move its cursor, change its colours or turn the direction of writing is escaped.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() || is_format(letter) {
            let mut bytes = [0; 4];
            shown.push_str(&escape(letter.encode_utf8(&mut bytes).as_bytes()));
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Characters that are not seen and change how others are: zero width, direction (UAX #9), line and paragraph separators.
const fn is_format(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// What was escaped: `\r \n \t \0 \e \\ \xNN`; other characters mean themselves.
///
/// # Errors
/// When a backslash is followed by something else; says what.
pub fn unescape(word: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let [byte, behind @ ..] = rest {
        rest = behind;
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        let [code, behind @ ..] = rest else { return Err("a backslash with nothing behind it".into()) };
        rest = behind;
        bytes.push(match code {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'e' => 0x1b,
            b'0' => 0,
            b'\\' => b'\\',
            b'x' => {
                let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                rest = rest.get(2..).unwrap_or_default();
                byte.ok_or("\\x is followed by two hexadecimal digits")?
            }
            other => {
                return Err(format!(
                    "\\{} is not an escape: \\r \\n \\t \\e \\0 \\\\ \\xNN",
                    char::from(*other)
                ));
            }
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_is_one_word_and_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        let word = escape(&all);
        assert!(!word.contains(char::is_whitespace), "{word}");
        assert_eq!(unescape(&word).unwrap(), all);
    }

    #[test]
    fn what_moves_the_cursor_is_not_printed() {
        assert_eq!(printable("a\x1b[2Jb\r\n\u{9b}1m"), r"a\x1b[2Jb\x0d\x0a\xc2\x9b1m");
        assert_eq!(printable("\u{202e}dev\u{200b}"), r"\xe2\x80\xaedev\xe2\x80\x8b");
        assert_eq!(printable("设备 dev-1 é"), "设备 dev-1 é");
    }

    #[test]
    fn people_write_the_usual_escapes() {
        assert_eq!(unescape(r"GET / HTTP/1.1\r\n\r\n").unwrap(), b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(unescape(r"\x10\0\\\t\n\e").unwrap(), b"\x10\0\\\t\n\x1b");
        for mistake in [r"\", r"\q", r"\x1", r"\xzz"] {
            assert!(unescape(mistake).is_err(), "{mistake}");
        }
    }
}
