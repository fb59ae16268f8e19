//! Inline commands: a line that a person can type, split into arguments by the quoting rules of Redis
//! (`sds.c: sdssplitargs`).
//!
//! Blanks separate. `"..."` takes the escapes `\n \r \t \b \a`, `\xHH` for any byte and `\` before
//! anything else for itself; `'...'` takes `\'` only. A closing quote ends its argument.

use super::decode::{ARGUMENTS_MAX, Mistake, Scratch, Span};

/// Splits `line`, which has no LF, into `scratch.spans`. True if they lie in `scratch.text`, because there
/// were quotes; false if they lie in the line itself.
///
/// # Errors
/// Quotes that do not close, more arguments than are taken, or the opening of an HTTP request.
pub(super) fn split(line: &[u8], scratch: &mut Scratch) -> Result<bool, Mistake> {
    scratch.spans.clear();
    scratch.text.clear();
    let mut at = 0;
    while let Some(start) = next_argument(line, at) {
        let rest = &line[start..];
        let length = rest.iter().position(|&byte| ends(byte) || is_quote(byte)).unwrap_or(rest.len());
        at = start + length;
        if line.get(at).copied().is_some_and(is_quote) {
            unescape(line, scratch)?;
            break;
        }
        push(scratch, Span::new(start, at))?;
    }
    let unescaped = !scratch.text.is_empty();
    let bytes = if unescaped { &scratch.text } else { line };
    let verb = scratch.spans.first().map(|span| &bytes[span.start as usize..span.end as usize]);
    if verb.is_some_and(|verb| verb.eq_ignore_ascii_case(b"post") || verb.eq_ignore_ascii_case(b"host:")) {
        // A web page can make a browser on this host POST to us, and its body would be read as commands
        // (Redis, `networking.c: securityWarningCommand`). The request's head comes first: stop there.
        return Err(Mistake::Http);
    }
    Ok(unescaped)
}

/// Splits all of a line that has quotes, into `scratch.text`.
#[cold]
fn unescape(line: &[u8], scratch: &mut Scratch) -> Result<(), Mistake> {
    scratch.spans.clear();
    let mut at = 0;
    while let Some(start) = next_argument(line, at) {
        let text_start = scratch.text.len();
        at = start;
        while let Some(&byte) = line.get(at).filter(|&&byte| !ends(byte)) {
            at += 1;
            if is_quote(byte) {
                at = quoted(line, at, byte, &mut scratch.text)?;
                if line.get(at).is_some_and(|&byte| !is_blank(byte)) {
                    return Err(Mistake::QuotesUnbalanced);
                }
                break;
            }
            scratch.text.push(byte);
        }
        push(scratch, Span::new(text_start, scratch.text.len()))?;
    }
    Ok(())
}

/// Unescapes from `at`, just after the opening quote, into `text`; gives the place after the closing one.
fn quoted(line: &[u8], mut at: usize, quote: u8, text: &mut Vec<u8>) -> Result<usize, Mistake> {
    loop {
        let rest = line.get(at..).unwrap_or_default();
        let (byte, taken) = match (quote, rest) {
            (_, []) => return Err(Mistake::QuotesUnbalanced),
            (b'"', &[b'\\', b'x', high, low, ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex(high) << 4 | hex(low), 4)
            }
            (b'"', &[b'\\', escaped, ..]) => (unescaped(escaped), 2),
            (b'\'', &[b'\\', b'\'', ..]) => (b'\'', 2),
            (_, &[byte, ..]) if byte == quote => return Ok(at + 1),
            (_, &[byte, ..]) => (byte, 1),
        };
        text.push(byte);
        at += taken;
    }
}

const fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Where the next argument starts at or after `at`.
fn next_argument(line: &[u8], at: usize) -> Option<usize> {
    line[at..].iter().position(|&byte| !is_blank(byte)).map(|skipped| at + skipped)
}

/// C's `isspace`, which `sdssplitargs` skips between arguments.
const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c)
}

/// What ends an argument outside of quotes; vertical tab and form feed do not, once it has begun.
const fn ends(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

const fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'')
}

fn push(scratch: &mut Scratch, span: Span) -> Result<(), Mistake> {
    if scratch.spans.len() == ARGUMENTS_MAX {
        return Err(Mistake::LineOversized);
    }
    scratch.spans.push(span);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Result<Vec<Vec<u8>>, Mistake> {
        let mut scratch = Scratch::default();
        let unescaped = split(line.as_bytes(), &mut scratch)?;
        let bytes = if unescaped { &scratch.text } else { line.as_bytes() };
        Ok(scratch.spans.iter().map(|s| bytes[s.start as usize..s.end as usize].to_vec()).collect())
    }

    /// Each row as a Redis 7.0.15 answers it.
    #[test]
    fn quotes_and_blanks_are_taken_as_redis_takes_them() {
        let rows: &[(&str, &[&[u8]])] = &[
            ("PING", &[b"PING"]),
            (" \t PING \r", &[b"PING"]),
            ("PING\r\r", &[b"PING"]),
            ("", &[]),
            (" \t\r", &[]),
            ("ECHO a\x0bb", &[b"ECHO", b"a\x0bb"]),
            ("ECHO \"\"", &[b"ECHO", b""]),
            ("\"\"", &[b""]),
            ("ECHO '' x", &[b"ECHO", b"", b"x"]),
            ("ECHO 'a\\'b'", &[b"ECHO", b"a'b"]),
            ("ECHO 'a\\nb'", &[b"ECHO", b"a\\nb"]),
            (r#"ECHO "\x41\n\r\t\b\a\q\"""#, &[b"ECHO", b"A\n\r\t\x08\x07q\""]),
            (r#"ECHO "\xFf\xa0""#, &[b"ECHO", b"\xff\xa0"]),
            (r#"ECHO "\xzz\x4""#, &[b"ECHO", b"xzzx4"]),
            (r#"ECHO a"b c" d"#, &[b"ECHO", b"ab c", b"d"]),
            ("ECHO \"it's\"", &[b"ECHO", b"it's"]),
        ];
        for (line, expected) in rows {
            assert_eq!(arguments(line).ok().unwrap(), *expected, "{line:?}");
        }
    }

    #[test]
    fn quotes_must_close_and_end_their_argument() {
        for line in ["PING \"a", "PING 'a", "PING \"a\"b", "PING 'a'b", "PING \"a\\", "\"", "'\\'"] {
            assert!(matches!(arguments(line), Err(Mistake::QuotesUnbalanced)), "{line:?}");
        }
    }

    #[test]
    fn an_http_request_is_stopped_at_its_head() {
        for line in ["POST / HTTP/1.1\r", "Host: localhost:7000\r", "\"post\""] {
            assert!(matches!(arguments(line), Err(Mistake::Http)), "{line:?}");
        }
    }
}
