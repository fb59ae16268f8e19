//! Replies of RESP2 and RESP3: where one ends, and what it says, as far as a load generator needs to know.

/// How deep replies may be nested before they are taken for nonsense.
const DEPTH_MAX: u32 = 16;

/// What the beginning of some bytes is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// A whole reply of that length.
    Whole(usize),
    /// The beginning of one.
    Partial,
    /// None.
    Broken,
}

/// A command as libraries send it.
pub fn command(words: &[impl AsRef<str>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words.iter().map(AsRef::as_ref) {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

/// The length of the reply that `bytes` begin with.
pub fn reply(bytes: &[u8]) -> Parsed {
    match end_of(bytes, 0, 0) {
        Ok(Some(end)) => Parsed::Whole(end),
        Ok(None) => Parsed::Partial,
        Err(Broken) => Parsed::Broken,
    }
}

/// The bulk strings directly in an array or push, such as the parts of a message.
pub fn bulks(reply: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = line(reply, 0).map_or(reply.len(), |(_, next)| next);
    std::iter::from_fn(move || {
        let (head, body) = line(reply, at)?;
        let length: usize = number(head.strip_prefix(b"$")?)?.try_into().ok()?;
        at = body + length + 2;
        reply.get(body..body + length)
    })
}

struct Broken;

/// Where the reply that begins at `at` ends, if it is all there.
fn end_of(bytes: &[u8], at: usize, depth: u32) -> Result<Option<usize>, Broken> {
    if depth > DEPTH_MAX {
        return Err(Broken);
    }
    let Some((head, next)) = line(bytes, at) else {
        // A line that never ends is no line.
        return if bytes.len() - at > 64 * 1024 { Err(Broken) } else { Ok(None) };
    };
    let (&kind, text) = head.split_first().ok_or(Broken)?;
    match kind {
        b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => Ok(Some(next)),
        b'$' | b'=' | b'!' => match number(text).ok_or(Broken)? {
            -1 => Ok(Some(next)),
            length => {
                let length =
                    usize::try_from(length).ok().filter(|&length| length <= 1 << 30).ok_or(Broken)?;
                let end = next + length + 2;
                Ok((bytes.len() >= end).then_some(end))
            }
        },
        b'*' | b'~' | b'>' | b'%' | b'|' => {
            let pairs = if matches!(kind, b'%' | b'|') { 2 } else { 1 };
            let count = number(text).filter(|count| (-1..=1 << 24).contains(count)).ok_or(Broken)?;
            let mut end = next;
            for _ in 0..count.max(0) * pairs {
                match end_of(bytes, end, depth + 1)? {
                    Some(next) => end = next,
                    None => return Ok(None),
                }
            }
            Ok(Some(end))
        }
        _ => Err(Broken),
    }
}

/// The line that begins at `at`, and where the next one does.
fn line(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&rest[..end], at + end + 2))
}

fn number(text: &[u8]) -> Option<i64> {
    str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_reply_ends_where_it_ends_and_not_before() {
        for whole in [
            "+PONG\r\n",
            "-ERR no\r\n",
            ":12\r\n",
            "$3\r\na\r\n\r\n",
            "$-1\r\n",
            "*-1\r\n",
            "*2\r\n$1\r\na\r\n:1\r\n",
            ">1\r\n$9\r\nheartbeat\r\n",
            "%1\r\n+a\r\n*1\r\n_\r\n",
        ] {
            let bytes = [whole.as_bytes(), b"+next\r\n"].concat();
            assert_eq!(reply(&bytes), Parsed::Whole(whole.len()), "{whole:?}");
            for end in 0..whole.len() {
                assert_eq!(reply(&bytes[..end]), Parsed::Partial, "{:?}", &whole[..end]);
            }
        }
    }

    #[test]
    fn nonsense_is_broken() {
        for bytes in ["HTTP/1.1 400 Bad Request\r\n", "\r\n", "$x\r\n", "$-7\r\n", "*99999999999\r\n"] {
            assert_eq!(reply(bytes.as_bytes()), Parsed::Broken, "{bytes:?}");
        }
        assert_eq!(reply("*1\r\n".repeat(100).as_bytes()), Parsed::Broken);
    }

    #[test]
    fn the_parts_of_a_message_are_its_bulk_strings() {
        let message = b"*4\r\n$8\r\npmessage\r\n$1\r\np\r\n$2\r\nch\r\n$4\r\na\r\nb\r\n";
        assert_eq!(bulks(message).collect::<Vec<_>>(), [&b"pmessage"[..], b"p", b"ch", b"a\r\nb"]);
        assert_eq!(bulks(b"+OK\r\n").count(), 0);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(prop::sample::select(
            b"+-:$*%>0129\r\nax".to_vec()), 0..200)) {
            if let Parsed::Whole(end) = reply(&bytes) {
                prop_assert!(end <= bytes.len());
                prop_assert!(bulks(&bytes[..end]).count() <= bytes.len());
            }
        }
    }
}
