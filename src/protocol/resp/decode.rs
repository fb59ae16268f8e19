//! Bytes into the arguments of a command: arrays of bulk strings, and inline lines (`inline`).
//!
//! A [`Decoder`] is eight bytes and owns nothing. It remembers how much of a partial frame it has already
//! understood, so that a frame that trickles in byte by byte costs no more than one that comes whole; the
//! places of its arguments are found once more, by a walk over the lengths, when the last byte is there.
//! A frame that is whole at the first look, nearly every one, is walked once.
//!
//! Every decision depends on a prefix of the frame and on the bound alone, never on where a receive ended:
//! this is what makes errors the same under any chunking.

use super::inline;
use crate::protocol::ProtocolError;
use crate::protocol::session::Progress;
use std::borrow::Cow;

/// Most arguments of one command: it bounds [`Scratch`], 8 bytes each, whatever the frame bound is.
pub const ARGUMENTS_MAX: usize = 16_384;

/// Longest inline line in bytes, newline included; `PROTO_INLINE_MAX_SIZE` of Redis' `server.h`.
pub const INLINE_BYTES_MAX: usize = 64 * 1024;

/// The shortest argument: `$0\r\n\r\n`.
const ARGUMENT_BYTES_MIN: usize = 6;

/// `*1\r\n$4\r\nPING\r\n`.
const FOUR_LETTERS_BYTES: usize = 14;

/// Longest number in a header: what a signed 64-bit integer takes.
const DIGITS_MAX: usize = 20;

/// The place of one argument in the bytes of its frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    #[expect(clippy::cast_possible_truncation, reason = "a frame is cut at u32::MAX before it is looked at")]
    pub(super) const fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }
}

/// Where arguments are noted down while a frame is decoded. One serves all connections: nothing in it
/// outlives the frame. It grows with what has arrived, never with what is announced.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) spans: Vec<Span>,
    /// The arguments of an inline line with quotes, unescaped.
    pub(super) text: Vec<u8>,
}

/// The arguments of one command, the verb first, borrowed from the input.
#[derive(Clone, Copy, Debug)]
pub struct Arguments<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Arguments<'a> {
    /// How many there are.
    pub const fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The argument at `index`, 0 being the verb.
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.spans.get(index).map(|&span| slice(self.bytes, span))
    }

    /// All of them in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        self.spans.iter().map(move |&span| slice(bytes, span))
    }

    /// All but the first `count`.
    #[must_use]
    pub fn skip(&self, count: usize) -> Self {
        Self { bytes: self.bytes, spans: self.spans.get(count..).unwrap_or_default() }
    }
}

/// Exact comparison of the arguments, wherever they lie.
impl PartialEq for Arguments<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Arguments<'_> {}

fn slice(bytes: &[u8], span: Span) -> &[u8] {
    &bytes[span.start as usize..span.end as usize]
}

/// What one connection remembers of a frame that is not whole yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Decoder {
    /// Bytes of the frame that need not be looked at again; for an array, whole arguments.
    scanned: u32,
    /// Arguments of an array still to come after `scanned`.
    missing: u16,
}

impl From<Progress> for Decoder {
    fn from(Progress { done: scanned, missing }: Progress) -> Self {
        Self { scanned, missing }
    }
}

impl From<Decoder> for Progress {
    fn from(Decoder { scanned: done, missing }: Decoder) -> Self {
        Self { done, missing }
    }
}

/// A whole frame.
struct Whole {
    length: usize,
    /// Its arguments lie in [`Scratch::text`], not in the input.
    unescaped: bool,
}

impl Decoder {
    /// Takes the next frame off the front of `input` and gives its arguments, at least one. Blank lines
    /// and empty arrays are passed over, as Redis does.
    ///
    /// `None`: what is left in `input` is the beginning of a frame, fewer than `frame_bytes_max` bytes. It
    /// must be kept, and stand at the front of the next `input`.
    ///
    /// # Errors
    /// The frame is malformed or over a bound. The decoder is of no further use.
    #[inline]
    pub fn next_frame<'a, 'i>(
        &mut self,
        input: &mut &'i [u8],
        frame_bytes_max: usize,
        scratch: &'a mut Scratch,
    ) -> Result<Option<Arguments<'a>>, ProtocolError>
    where
        'i: 'a,
    {
        // `PING` and `BEAT` are nearly all that a quiet fleet sends: told by two comparisons.
        if let Some((b"*1\r\n$4\r\n", rest)) = input.split_first_chunk::<8>()
            && let Some(b"\r\n") = rest.get(4..6)
            && frame_bytes_max >= FOUR_LETTERS_BYTES
        {
            let bytes = *input;
            *self = Self::default();
            *input = &rest[6..];
            scratch.spans.clear();
            scratch.spans.push(Span::new(8, 12));
            return Ok(Some(Arguments { bytes, spans: &scratch.spans }));
        }
        self.next_frame_of_any_kind(input, frame_bytes_max, scratch)
    }

    fn next_frame_of_any_kind<'a, 'i>(
        &mut self,
        input: &mut &'i [u8],
        frame_bytes_max: usize,
        scratch: &'a mut Scratch,
    ) -> Result<Option<Arguments<'a>>, ProtocolError>
    where
        'i: 'a,
    {
        // Spans are 32 bits wide, and the first byte decides what a frame is.
        let frame_bytes_max = frame_bytes_max.clamp(1, u32::MAX as usize);
        loop {
            let bytes = *input;
            let Some(&first) = bytes.first() else { return Ok(None) };
            let whole = if first == b'*' {
                self.array(bytes, frame_bytes_max, scratch)
            } else {
                self.line(bytes, frame_bytes_max.min(INLINE_BYTES_MAX), scratch)
            };
            let Some(Whole { length, unescaped }) = whole.map_err(Mistake::told)? else { return Ok(None) };
            *self = Self::default();
            *input = &bytes[length..];
            if !scratch.spans.is_empty() {
                let bytes = if unescaped { &scratch.text } else { bytes };
                return Ok(Some(Arguments { bytes, spans: &scratch.spans }));
            }
        }
    }

    /// An array of bulk strings: `*N\r\n` and N times `$length\r\n...\r\n`.
    fn array(
        &mut self,
        bytes: &[u8],
        bytes_max: usize,
        scratch: &mut Scratch,
    ) -> Result<Option<Whole>, Mistake> {
        // Nothing past the bound is looked at, or a verdict would depend on how much had arrived.
        let window = &bytes[..bytes.len().min(bytes_max)];
        if self.scanned > 0 && !self.resume(window, bytes_max)? {
            return Ok(None);
        }
        scratch.spans.clear();
        let Some((count, mut at)) = argument_count(window, bytes_max)? else { return Ok(None) };
        for done in 0..count {
            let Some((span, end)) = argument(window, at, bytes_max)? else {
                self.scanned = Span::new(0, at).end;
                self.missing = u16::try_from(count - done).expect("ARGUMENTS_MAX fits");
                return Ok(None);
            };
            scratch.spans.push(span);
            at = end;
        }
        Ok(Some(Whole { length: at, unescaped: false }))
    }

    /// Goes on where a partial array ended. True once all of it is here: it is then walked from the start,
    /// for the spans, which other connections' frames have overwritten since.
    #[inline(never)]
    fn resume(&mut self, window: &[u8], bytes_max: usize) -> Result<bool, Mistake> {
        while self.missing > 0 {
            let Some((_, end)) = argument(window, self.scanned as usize, bytes_max)? else {
                return Ok(false);
            };
            self.scanned = Span::new(0, end).end;
            self.missing -= 1;
        }
        Ok(true)
    }

    /// An inline line: arguments between blanks, up to LF.
    fn line(
        &mut self,
        bytes: &[u8],
        bytes_max: usize,
        scratch: &mut Scratch,
    ) -> Result<Option<Whole>, Mistake> {
        let window = &bytes[..bytes.len().min(bytes_max)];
        let seen = self.scanned as usize;
        let newline = window[seen..].iter().position(|&byte| byte == b'\n');
        tally(newline.unwrap_or(window.len() - seen));
        let Some(newline) = newline else {
            if window.len() == bytes_max {
                return Err(Mistake::LineOversized);
            }
            self.scanned = Span::new(0, window.len()).end;
            return Ok(None);
        };
        let unescaped = inline::split(&window[..seen + newline], scratch)?;
        Ok(Some(Whole { length: seen + newline + 1, unescaped }))
    }
}

/// What is wrong with a frame: a few bytes, so that the path on which nothing is wrong carries no text.
#[derive(Clone, Copy)]
pub(super) enum Mistake {
    CountInvalid,
    CountTooLong,
    CountOversized,
    NotAnArgument(u8),
    LengthInvalid,
    LengthTooLong,
    LengthOversized,
    NoCrlf,
    LineOversized,
    QuotesUnbalanced,
    Http,
}

impl Mistake {
    /// In the words of Redis (`networking.c: processMultibulkBuffer`, `processInlineBuffer`).
    #[cold]
    fn told(self) -> ProtocolError {
        let (error, text): (fn(Cow<'static, str>) -> ProtocolError, &str) = match self {
            Self::CountInvalid => (ProtocolError::malformed, "invalid multibulk length"),
            Self::CountTooLong => (ProtocolError::oversized, "too big mbulk count string"),
            Self::CountOversized => (ProtocolError::oversized, "invalid multibulk length"),
            Self::NotAnArgument(byte) => {
                let got = if byte.is_ascii_graphic() { char::from(byte) } else { ' ' };
                return ProtocolError::malformed(format!("Protocol error: expected '$', got '{got}'"));
            }
            Self::LengthInvalid => (ProtocolError::malformed, "invalid bulk length"),
            Self::LengthTooLong => (ProtocolError::oversized, "too big bulk count string"),
            Self::LengthOversized => (ProtocolError::oversized, "invalid bulk length"),
            // Redis skips whatever two bytes are there; a client that counts wrongly would go on as another.
            Self::NoCrlf => (ProtocolError::malformed, "bulk string not followed by CRLF"),
            Self::LineOversized => (ProtocolError::oversized, "too big inline request"),
            Self::QuotesUnbalanced => (ProtocolError::malformed, "unbalanced quotes in request"),
            Self::Http => (ProtocolError::unsupported, "HTTP is not spoken here"),
        };
        error(format!("Protocol error: {text}").into())
    }
}

/// How many arguments an array announces, and where the first one starts. An array that cannot fit into a
/// frame is refused here.
#[inline]
fn argument_count(window: &[u8], bytes_max: usize) -> Result<Option<(usize, usize)>, Mistake> {
    let (value, at) = match Header::read(&window[1..]) {
        Header::Number { value, length } => (value, 1 + length),
        // `*-1` is a null array: no command, as in Redis.
        Header::Negative { length } => (0, 1 + length),
        Header::Invalid => return Err(Mistake::CountInvalid),
        Header::TooLong => return Err(Mistake::CountTooLong),
        Header::Partial if window.len() == bytes_max => return Err(Mistake::CountOversized),
        Header::Partial => return Ok(None),
    };
    match usize::try_from(value) {
        Ok(count) if count <= ARGUMENTS_MAX && at + count * ARGUMENT_BYTES_MIN <= bytes_max => {
            Ok(Some((count, at)))
        }
        _ => Err(Mistake::CountOversized),
    }
}

/// The argument that starts at `at`, and where it ends with its CRLF.
#[expect(
    clippy::inline_always,
    reason = "called in two places: left alone, it costs a quarter more instructions"
)]
#[inline(always)]
fn argument(window: &[u8], at: usize, bytes_max: usize) -> Result<Option<(Span, usize)>, Mistake> {
    let partial = || {
        let full = window.len() == bytes_max;
        if full { Err(Mistake::LengthOversized) } else { Ok(None) }
    };
    let Some((&sigil, rest)) = window[at..].split_first() else { return partial() };
    if sigil != b'$' {
        return Err(Mistake::NotAnArgument(sigil));
    }
    let (value, length) = match Header::read(rest) {
        Header::Number { value, length } => (value, length),
        Header::Negative { .. } | Header::Invalid => return Err(Mistake::LengthInvalid),
        Header::TooLong => return Err(Mistake::LengthTooLong),
        Header::Partial => return partial(),
    };
    let start = at + 1 + length;
    // Judged by what is announced, so that not a byte of it need be kept.
    let Some(end) = usize::try_from(value)
        .ok()
        .and_then(|value| start.checked_add(value))
        .filter(|&end| end.saturating_add(2) <= bytes_max)
    else {
        return Err(Mistake::LengthOversized);
    };
    match window.get(end..end + 2) {
        Some(b"\r\n") => Ok(Some((Span::new(start, end), end + 2))),
        Some(_) => Err(Mistake::NoCrlf),
        None => Ok(None),
    }
}

/// What follows `*` or `$`: a decimal number as Redis' `string2ll` takes it (no sign `+`, no leading zero)
/// and CRLF.
enum Header {
    Number { value: u64, length: usize },
    Negative { length: usize },
    Invalid,
    TooLong,
    Partial,
}

impl Header {
    #[inline]
    fn read(bytes: &[u8]) -> Self {
        // One digit is what nearly every count and most lengths are.
        if let [digit @ b'0'..=b'9', b'\r', b'\n', ..] = *bytes {
            tally(3);
            return Self::Number { value: u64::from(digit - b'0'), length: 3 };
        }
        Self::read_long(bytes)
    }

    #[inline(never)]
    fn read_long(bytes: &[u8]) -> Self {
        let negative = bytes.first() == Some(&b'-');
        let digits_start = usize::from(negative);
        let mut value: u64 = 0;
        for (index, &byte) in bytes.iter().enumerate().skip(digits_start) {
            tally(1);
            let digits = index - digits_start;
            match byte {
                // A zero stands alone, and is not negative.
                b'0' if digits == 0 && negative => return Self::Invalid,
                b'0'..=b'9' if digits > 0 && value == 0 => return Self::Invalid,
                b'0'..=b'9' if digits == DIGITS_MAX => return Self::TooLong,
                b'0'..=b'9' => value = value.saturating_mul(10).saturating_add(u64::from(byte - b'0')),
                b'\r' if digits > 0 => {
                    return match bytes.get(index + 1) {
                        None => Self::Partial,
                        Some(b'\n') if negative => Self::Negative { length: index + 2 },
                        Some(b'\n') => Self::Number { value, length: index + 2 },
                        Some(_) => Self::Invalid,
                    };
                }
                _ => return Self::Invalid,
            }
        }
        Self::Partial
    }
}

/// Whether the first bytes of a connection are an array: `*`, a number, CR. None: they are too few to tell.
pub(super) fn begins_array(bytes: &[u8]) -> Option<bool> {
    match bytes.split_first() {
        None => None,
        Some((b'*', rest)) => {
            let digits = rest.iter().take(5).take_while(|byte| byte.is_ascii_digit()).count();
            rest.get(digits).map(|&next| next == b'\r' && digits > 0)
        }
        Some(_) => Some(false),
    }
}

#[cfg(not(test))]
const fn tally(_bytes: usize) {}

#[cfg(test)]
use tests::tally;

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
