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
//! Peers choose both pattern and text, so the time is linear in the text: the plain walk gives up when it has gone back
//! too often, and an automaton takes over, which reads every byte of the text once.

/// Steps of the plain walk for each byte of pattern and text, before the automaton takes over. Making that costs about
/// as much; patterns that people write need one or two.
const STEPS_PER_BYTE: usize = 4;

/// Whether the whole of `text` is matched by `pattern`.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    compare(pattern, text).0
}

/// Whether the whole of `text` is matched by `pattern`, and what it cost to find out, in steps of about a nanosecond.
pub fn compare(pattern: &[u8], text: &[u8]) -> (bool, usize) {
    if text.is_empty() {
        return (pattern.is_empty(), 1);
    }
    let steps_max = STEPS_PER_BYTE * (pattern.len() + text.len());
    let mut steps = 0;
    let matched = walk(pattern, text, &mut steps, steps_max).unwrap_or_else(|| {
        let automaton = Automaton::new(pattern);
        steps += automaton.cost(text);
        automaton.accepts(text)
    });
    (matched, steps)
}

/// Tries the pattern from the left, and counts its steps. None: they are more than `steps_max`.
fn walk(pattern: &[u8], text: &[u8], steps: &mut usize, steps_max: usize) -> Option<bool> {
    let (mut rest, mut unread) = (pattern, text);
    // Every element but `*` takes exactly one byte. So only the last `*` ever needs to take more: whatever an
    // earlier one could give up to help, the last one can take itself.
    let mut last_star: Option<(&[u8], &[u8])> = None;
    while let Some((&byte, after_byte)) = unread.split_first() {
        if let [b'*', after_star @ ..] = rest {
            if after_star.is_empty() {
                return Some(true);
            }
            rest = after_star;
            last_star = Some((after_star, unread));
            continue;
        }
        let (accepted, after_element) = accept(rest, byte);
        // A class is read to its end for every byte that it is tried on.
        *steps += 1 + rest.len() - after_element.len();
        if accepted {
            rest = after_element;
            unread = after_byte;
        } else if let Some((after_star, [_, shorter @ ..])) = last_star {
            rest = after_star;
            unread = shorter;
            last_star = Some((after_star, shorter));
        } else {
            return Some(false);
        }
        if *steps > steps_max {
            return None;
        }
    }
    Some(rest.iter().all(|&byte| byte == b'*'))
}

/// Whether the first element of `pattern`, which is not `*`, accepts `byte`, and what is behind the element. The end of
/// the pattern accepts nothing.
fn accept(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    match pattern {
        [] => (false, pattern),
        [b'?', rest @ ..] => (true, rest),
        [b'[', b'^', class @ ..] => {
            let mut member = false;
            let rest = read_class(class, |from, to| member |= (from..=to).contains(&byte));
            (!member, rest)
        }
        [b'[', class @ ..] => {
            let mut member = false;
            let rest = read_class(class, |from, to| member |= (from..=to).contains(&byte));
            (member, rest)
        }
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (*literal == byte, rest),
    }
}

/// Names the ranges of a class, each from its first to its last byte; returns what is behind the class.
fn read_class(mut class: &[u8], mut range: impl FnMut(u8, u8)) -> &[u8] {
    loop {
        match class {
            [] => return class,
            // An escape comes before `]`, and before `-`: `[\a-c]` is the three bytes `a`, `-`, `c`.
            [b'\\', literal, rest @ ..] => {
                range(*literal, *literal);
                class = rest;
            }
            [b']', rest @ ..] => return rest,
            [from, b'-', to, rest @ ..] => {
                range(*from.min(to), *from.max(to));
                class = rest;
            }
            [literal, rest @ ..] => {
                range(*literal, *literal);
                class = rest;
            }
        }
    }
}

/// The pattern as a nondeterministic automaton whose states are the bits of one long number: bit `i` is set while the
/// first `i` elements can have taken what was read. A byte of the text moves all of them in a few instructions for
/// each 64 elements (R. Baeza-Yates and G. Gonnet, "A new approach to text searching", 1992: Shift-And).
struct Automaton {
    /// Length of each row of bits below, in words.
    words: usize,
    /// The states whose element accepts most bytes.
    most: Vec<u64>,
    /// A row for each byte: the states whose element treats it otherwise.
    exceptions: Vec<u64>,
    /// The states before a `*`: they stay.
    stays: Vec<u64>,
    /// The number of elements, which is the state that accepts.
    last: usize,
}

impl Automaton {
    fn new(pattern: &[u8]) -> Self {
        let words = pattern.len() / 64 + 1;
        let mut automaton = Self {
            words,
            most: vec![0; words],
            exceptions: vec![0; 256 * words],
            stays: vec![0; words],
            last: 0,
        };
        let mut rest = pattern;
        while !rest.is_empty() {
            rest = automaton.add_element(rest);
        }
        automaton
    }

    /// Adds the first element of `pattern`; returns what is behind it.
    fn add_element<'p>(&mut self, pattern: &'p [u8]) -> &'p [u8] {
        let (word, bit) = (self.last / 64, 1 << (self.last % 64));
        let (class, negated) = match pattern {
            [b'*', rest @ ..] => {
                self.stays[word] |= bit;
                return rest;
            }
            [b'[', b'^', class @ ..] => (class, true),
            [b'[', class @ ..] => (class, false),
            [b'?', rest @ ..] => {
                self.most[word] |= bit;
                self.last += 1;
                return rest;
            }
            [b'\\', literal, rest @ ..] | [literal, rest @ ..] => {
                self.exceptions[usize::from(*literal) * self.words + word] |= bit;
                self.last += 1;
                return rest;
            }
            [] => return pattern,
        };
        let mut members = [negated; 256];
        let rest = read_class(class, |from, to| {
            members[usize::from(from)..=usize::from(to)].fill(!negated);
        });
        let most = members.iter().filter(|&&member| member).count() > 128;
        if most {
            self.most[word] |= bit;
        }
        for (byte, _) in members.iter().enumerate().filter(|&(_, &member)| member != most) {
            self.exceptions[byte * self.words + word] |= bit;
        }
        self.last += 1;
        rest
    }

    /// What it costs to make it and to run it over `text`, in steps of about a nanosecond.
    const fn cost(&self, text: &[u8]) -> usize {
        64 * self.words + 64 * self.last + 2 * self.words * text.len()
    }

    fn accepts(&self, text: &[u8]) -> bool {
        let mut states = vec![0_u64; self.words];
        states[0] = 1;
        for &byte in text {
            let exceptions = &self.exceptions[usize::from(byte) * self.words..][..self.words];
            let mut carry = 0;
            for (word, state) in states.iter_mut().enumerate() {
                let accepted = *state & (self.most[word] ^ exceptions[word]);
                *state = (*state & self.stays[word]) | (accepted << 1) | carry;
                carry = accepted >> 63;
            }
        }
        states[self.last / 64] & (1 << (self.last % 64)) != 0
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

    #[test]
    fn the_time_is_linear_in_the_text_whatever_the_pattern() {
        // Each would take the plain walk a multiple of the pattern's length for each byte.
        let worst: [Vec<u8>; 4] = [
            [b"*".to_vec(), b"a".repeat(500), b"b".to_vec()].concat(),
            [b"*".to_vec(), b"?".repeat(500), b"b".to_vec()].concat(),
            [b"*[".to_vec(), b"b-c".repeat(160), b"]b".to_vec()].concat(),
            b"*[^b]a".repeat(80),
        ];
        let text = b"a".repeat(100_000);
        for pattern in worst {
            let (matched, cost) = compare(&pattern, &text);
            assert_eq!(matched, pattern.ends_with(b"a"), "{}", pattern.escape_ascii());
            assert!(cost < 30 * text.len(), "{} takes {cost} steps", pattern.escape_ascii());
        }
    }

    #[test]
    fn an_automaton_of_several_words_carries_from_one_to_the_next() {
        let pattern = [b"*".to_vec(), b"ab".repeat(40), b"[^x]*c".to_vec()].concat();
        let text = [b"ba".to_vec(), b"ab".repeat(41), b"c".to_vec()].concat();
        let automaton = Automaton::new(&pattern);
        assert!(automaton.words > 1);
        assert!(automaton.accepts(&text));
        assert!(!automaton.accepts(&text[..text.len() - 1]));
        assert!(!automaton.accepts(&[b"ab".repeat(40), b"xc".to_vec()].concat()));
    }

    /// The rules once more, by trying everything.
    fn slowly(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|taken| slowly(rest, &text[taken..])),
            (_, []) => false,
            (_, [byte, unread @ ..]) => {
                let (accepted, rest) = accept(pattern, *byte);
                accepted && slowly(rest, unread)
            }
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
            let expected = if text.is_empty() { pattern.is_empty() } else { slowly(&pattern, &text) };
            prop_assert_eq!(matches(&pattern, &text), expected);
            if !text.is_empty() {
                prop_assert_eq!(Automaton::new(&pattern).accepts(&text), expected);
            }
        }
    }
}
