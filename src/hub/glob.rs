//! Glob patterns over byte strings, by the rules of Redis (`src/util.c: stringmatchlen`), quirks included,
//! so that a client library finds the channels it expects.
//!
//! | pattern | matches |
//! | --- | --- |
//! | `*` | any bytes, also none (but see below) |
//! | `?` | one byte |
//! | `[abc]` `[a-c]` `[^a]` | one byte of, in the range of, or other than those; a reversed range is turned around |
//! | `\x` | the byte `x` itself, also inside brackets |
//! | any other byte | itself |
//!
//! The quirks: an empty text is matched by the empty pattern only, not by `*`; a `[` that is never closed
//! lasts to the end of the pattern; `]` closes a class even as its first byte, so `[]` matches nothing and
//! `[^]` any byte; `[a-]` is the range from `a` to `]`, and so is never closed; a `\` at the very end is
//! itself. One difference: ranges compare bytes as unsigned, which in Redis depends on the processor.
//!
//! Peers choose both pattern and text, so time is bounded by pattern length times text length.

/// Whether the whole of `text` is matched by `pattern`.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut rest, mut unread) = (pattern, text);
    // Every element but `*` takes exactly one byte. So only the last `*` ever needs to take more: whatever an
    // earlier one could give up to help, the last one can take itself. This is what bounds the time.
    let mut last_star: Option<(&[u8], &[u8])> = None;
    while let Some((&byte, after_byte)) = unread.split_first() {
        if let [b'*', after_star @ ..] = rest {
            if after_star.is_empty() {
                return true;
            }
            rest = after_star;
            last_star = Some((after_star, unread));
        } else if let Some(after_element) = accept(rest, byte) {
            rest = after_element;
            unread = after_byte;
        } else if let Some((after_star, [_, shorter @ ..])) = last_star {
            rest = after_star;
            unread = shorter;
            last_star = Some((after_star, shorter));
        } else {
            return false;
        }
    }
    rest.iter().all(|&byte| byte == b'*')
}

/// What is left of `pattern` behind its first element, which is not `*`, if that element accepts `byte`.
fn accept(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (accepted, rest) = match pattern {
        [] => return None,
        [b'?', rest @ ..] => (true, rest),
        [b'[', b'^', class @ ..] => {
            let (member, rest) = look_up(class, byte);
            (!member, rest)
        }
        [b'[', class @ ..] => look_up(class, byte),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (*literal == byte, rest),
    };
    accepted.then_some(rest)
}

/// Whether `byte` is in the class, and what is behind the class.
fn look_up(mut class: &[u8], byte: u8) -> (bool, &[u8]) {
    let mut member = false;
    loop {
        match class {
            [] => return (member, class),
            // An escape comes before `]`, and before `-`: `[\a-c]` is the three bytes `a`, `-`, `c`.
            [b'\\', literal, rest @ ..] => {
                member |= *literal == byte;
                class = rest;
            }
            [b']', rest @ ..] => return (member, rest),
            [from, b'-', to, rest @ ..] => {
                member |= (*from.min(to)..=*from.max(to)).contains(&byte);
                class = rest;
            }
            [literal, rest @ ..] => {
                member |= *literal == byte;
                class = rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pattern, texts it matches, texts it does not. Each line was seen on redis-server 7.0: by `KEYS`, and as
    /// that has a short cut for `*`, the first `*` by `PSUBSCRIBE` and a `PUBLISH` on the empty channel.
    const CASES: &[(&str, &[&str], &[&str])] = &[
        ("", &[""], &["a"]),
        ("*", &["a", "abc", "*"], &[""]),
        ("**", &["a", "abc"], &[""]),
        ("?", &["a", "?"], &["", "ab"]),
        ("??*", &["ab", "abc"], &["a", ""]),
        ("h?llo", &["hello", "hallo", "h?llo"], &["hllo", "heello"]),
        ("h*llo", &["hllo", "heeello", "hllollo"], &["hell", "hllox"]),
        ("*a", &["a", "ba", "aa"], &["ab", ""]),
        ("a*", &["a", "ab"], &["ba", ""]),
        ("a**", &["a", "ab"], &["ba"]),
        ("*ab*cd*", &["abcd", "xabxcdx", "aabbccdd abcd"], &["acbd", "cdab"]),
        ("*aab", &["aaab", "aabaab"], &["aaba", "ab"]),
        ("h[ae]llo", &["hello", "hallo"], &["hillo", "hllo"]),
        ("h[^e]llo", &["hallo", "h^llo"], &["hello", "hllo"]),
        ("h[a-c]llo", &["hallo", "hcllo"], &["hdllo", "h-llo"]),
        ("h[c-a]llo", &["hallo", "hbllo", "hcllo"], &["hdllo", "h-llo"]),
        ("[^a-c]", &["d", "-"], &["a", "b", "c"]),
        ("[a^]", &["a", "^"], &["b"]),
        ("[]", &[], &["", "]", "[]", "a"]),
        ("[]a]", &[], &["]", "a", "]a]", "aa]"]),
        ("[^]", &["a", "]"], &["", "ab"]),
        ("[^]a", &["xa", "]a"], &["a", "xb"]),
        ("[a-]", &["a", "]", "_"], &["-", "b", "a]"]),
        ("[a-]x", &["a", "]", "x"], &["-", "ax"]),
        ("[-a]", &["-", "a"], &["b"]),
        ("[ab", &["a", "b"], &["c", "ab", "[ab"]),
        ("[", &[], &["[", ""]),
        ("[^", &["a", "["], &[""]),
        ("[a-", &["a", "-"], &["b"]),
        ("[\\]]", &["]"], &["\\", "a"]),
        ("[\\a-c]", &["a", "-", "c"], &["b", "\\"]),
        ("[a-\\]]", &["a]", "\\]", "]]"], &["a", "b]", "["]),
        ("[\\", &["\\"], &["["]),
        ("[*?]", &["*", "?"], &["a"]),
        ("\\*", &["*"], &["a", "\\*", ""]),
        ("\\a", &["a"], &["\\a"]),
        ("\\[a]", &["[a]"], &["a"]),
        ("a\\", &["a\\"], &["a"]),
        ("\\", &["\\"], &["", "a"]),
        ("\\\\", &["\\"], &["\\\\"]),
        ("$presence:*", &["$presence:x", "$presence:"], &["presence:x", "$presence"]),
    ];

    #[test]
    fn patterns_match_what_they_match_in_redis() {
        for (pattern, yes, no) in CASES {
            for text in *yes {
                assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern:?} must match {text:?}");
            }
            for text in *no {
                assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern:?} must not match {text:?}");
            }
        }
    }

    #[test]
    fn ranges_are_of_unsigned_bytes() {
        assert!(matches(b"[a-\xff]", b"\x80"));
        assert!(!matches(b"[a-\xff]", b"A"));
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_exponential_time() {
        // Would be about 2^100 steps, or 10^11 for a cubic walk, if an earlier star were ever tried again.
        let pattern = [b"a*".repeat(100), b"b".to_vec()].concat();
        let text = b"a".repeat(20_000);
        assert!(!matches(&pattern, &text));
        assert!(matches(&pattern, &[&text[..], b"b"].concat()));
    }

    /// The rules once more, by trying everything.
    fn slowly(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|taken| slowly(rest, &text[taken..])),
            (_, []) => false,
            (_, [byte, unread @ ..]) => accept(pattern, *byte).is_some_and(|rest| slowly(rest, unread)),
        }
    }

    fn bytes_of(alphabet: &'static [u8], len_max: usize) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(alphabet), 0..=len_max)
    }

    proptest! {
        #[test]
        fn one_star_to_come_back_to_is_enough(
            pattern in bytes_of(b"ab**??[]^-\\", 10),
            text in bytes_of(b"aabb]-\\", 10),
        ) {
            prop_assert_eq!(matches(&pattern, &text), !text.is_empty() && slowly(&pattern, &text)
                || text.is_empty() && pattern.is_empty());
        }
    }
}
