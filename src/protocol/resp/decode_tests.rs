//! Tests of the decoder: what it takes, what it refuses, and that chunking changes neither.

use super::*;
use crate::core::end::Reason;
use proptest::prelude::*;
use std::cell::Cell;

thread_local! {
    static EXAMINED: Cell<usize> = const { Cell::new(0) };
}

/// Counts bytes that the decoder looks at.
pub(super) fn tally(bytes: usize) {
    EXAMINED.set(EXAMINED.get() + bytes);
}

const BOUND: usize = 4096;
const COUNT_INVALID: &str = "Protocol error: invalid multibulk length";
const COUNT_TOO_LONG: &str = "Protocol error: too big mbulk count string";
const LENGTH_INVALID: &str = "Protocol error: invalid bulk length";
const LENGTH_TOO_LONG: &str = "Protocol error: too big bulk count string";

/// All that a stream comes to: its frames, and the error that ended it.
#[derive(PartialEq, Debug)]
struct Outcome {
    frames: Vec<Vec<Vec<u8>>>,
    error: Option<ProtocolError>,
}

/// Feeds `stream` in receives of the given sizes (the last one repeated), as the reactor does; also the most
/// bytes kept between them.
fn feed(stream: &[u8], sizes: &[usize], bound: usize) -> (Outcome, usize) {
    let mut decoder = Decoder::default();
    let mut scratch = Scratch::default();
    let mut kept: Vec<u8> = Vec::new();
    let mut kept_max = 0;
    let mut outcome = Outcome { frames: Vec::new(), error: None };
    let mut rest = stream;
    let mut sizes = sizes.iter().copied().chain(std::iter::repeat(sizes.last().copied().unwrap_or(1)));
    while !rest.is_empty() {
        let size = sizes.next().expect("endless").clamp(1, rest.len());
        kept.extend_from_slice(&rest[..size]);
        rest = &rest[size..];
        let mut input = kept.as_slice();
        loop {
            match decoder.next_frame(&mut input, bound, &mut scratch) {
                Ok(Some(arguments)) => outcome.frames.push(arguments.iter().map(<[u8]>::to_vec).collect()),
                Ok(None) => break,
                Err(error) => {
                    outcome.error = Some(error);
                    return (outcome, kept_max);
                }
            }
        }
        kept = input.to_vec();
        kept_max = kept_max.max(kept.len());
    }
    (outcome, kept_max)
}

fn whole(stream: &[u8]) -> Outcome {
    feed(stream, &[stream.len()], BOUND).0
}

fn error_of(stream: &[u8]) -> ProtocolError {
    let outcome = whole(stream);
    outcome.error.unwrap_or_else(|| panic!("{:?} gave {:?}", stream.escape_ascii(), outcome.frames))
}

#[test]
fn a_connection_pays_eight_bytes() {
    assert_eq!(size_of::<Decoder>(), 8);
}

#[test]
fn frames_of_both_kinds_mix_in_one_pipeline() {
    let outcome = whole(b"*1\r\n$4\r\nPING\r\nPING\r\n\r\n\n*0\r\n*-1\r\n*2\r\n$4\r\nECHO\r\n$4\r\na\r\nb\r\nECHO \"\\n\" x\n");
    let expected: &[&[&[u8]]] = &[&[b"PING"], &[b"PING"], &[b"ECHO", b"a\r\nb"], &[b"ECHO", b"\n", b"x"]];
    assert_eq!(outcome.frames, expected);
    assert_eq!(outcome.error, None);
}

/// Each text as a Redis 7.0.15 gives it, but for the two that it does not notice.
#[test]
fn mistakes_are_named_in_the_words_of_redis() {
    let malformed: &[(&str, &str)] = &[
        ("*x\r\n", COUNT_INVALID),
        ("*+1\r\n", COUNT_INVALID),
        ("*01\r\n", COUNT_INVALID),
        ("*-0\r\n", COUNT_INVALID),
        ("*\r\n", COUNT_INVALID),
        ("*-\r\n", COUNT_INVALID),
        ("*1\n$4\r\nPING\r\n", COUNT_INVALID),
        ("*1\rx", COUNT_INVALID),
        ("*1\r\nxPING\r\n", "Protocol error: expected '$', got 'x'"),
        ("*1\r\n\r\n", "Protocol error: expected '$', got ' '"),
        ("*1\r\n$-1\r\n", LENGTH_INVALID),
        ("*1\r\n$x\r\n", LENGTH_INVALID),
        ("*1\r\n$4\r\nPINGxx", "Protocol error: bulk string not followed by CRLF"),
        ("*1\r\n$4\r\nPING\nX", "Protocol error: bulk string not followed by CRLF"),
        ("PING \"a\n", "Protocol error: unbalanced quotes in request"),
    ];
    for (stream, text) in malformed {
        assert_eq!(error_of(stream.as_bytes()), ProtocolError::malformed(*text), "{stream:?}");
    }
}

#[test]
fn bounds_are_judged_by_what_is_announced() {
    let oversized: &[(&str, &str)] = &[
        ("*99999999\r\n", COUNT_INVALID),
        ("*682\r\n", COUNT_INVALID),
        ("*99999999999999999999\r\n", COUNT_INVALID),
        ("*999999999999999999999\r\n", COUNT_TOO_LONG),
        ("*1\r\n$4096\r\n", LENGTH_INVALID),
        ("*1\r\n$18446744073709551615\r\n", LENGTH_INVALID),
        ("*1\r\n$999999999999999999999\r\n", LENGTH_TOO_LONG),
    ];
    for (stream, text) in oversized {
        assert_eq!(error_of(stream.as_bytes()), ProtocolError::oversized(*text), "{stream:?}");
    }
    let line = error_of(&[b'a'; BOUND]);
    assert_eq!(line, ProtocolError::oversized("Protocol error: too big inline request"));
}

#[test]
fn a_frame_may_be_as_long_as_the_bound_and_no_longer() {
    let frame =
        |payload: usize| [format!("*1\r\n${payload}\r\n").as_bytes(), &vec![b'x'; payload], b"\r\n"].concat();
    let fits = frame(BOUND - 13);
    assert_eq!(fits.len(), BOUND);
    assert_eq!(whole(&fits).frames.len(), 1);
    assert_eq!(error_of(&frame(BOUND - 12)).reason, Reason::ProtocolOversized);
    let line = [vec![b'a'; BOUND - 1], b"\n".to_vec()].concat();
    assert_eq!(whole(&line).frames.len(), 1);
    assert_eq!(error_of(&[b"a", line.as_slice()].concat()).reason, Reason::ProtocolOversized);
}

#[test]
fn tiny_bounds_refuse_rather_than_panic() {
    let streams = [b"*1\r\n$4\r\nPING\r\n".as_slice(), b"*1\r\n$5\r\nHELLO\r\n", b"PING is a line\r\n"];
    for stream in streams {
        for bound in 0..20 {
            let (whole, _) = feed(stream, &[stream.len()], bound);
            let oversized =
                whole.error.as_ref().is_some_and(|error| error.reason == Reason::ProtocolOversized);
            assert_eq!(oversized, bound < stream.len(), "{bound}: {whole:?}");
            assert_eq!(feed(stream, &[1], bound).0, whole);
        }
    }
}

#[test]
fn more_arguments_than_are_taken_are_refused_in_both_forms() {
    let bound = 1 << 20;
    let array = format!("*{}\r\n", ARGUMENTS_MAX + 1);
    let line = "a ".repeat(ARGUMENTS_MAX + 1) + "\n";
    for stream in [array, line] {
        let error = feed(stream.as_bytes(), &[stream.len()], bound).0.error;
        assert_eq!(error.map(|error| error.reason), Some(Reason::ProtocolOversized));
    }
}

#[test]
fn a_frame_that_trickles_in_costs_time_in_proportion_to_its_length() {
    let examined = |stream: &[u8]| {
        EXAMINED.set(0);
        let outcome = feed(stream, &[1], 1 << 20).0;
        assert_eq!((outcome.frames.len(), outcome.error), (1, None));
        EXAMINED.get()
    };
    let array = |arguments: usize| {
        [format!("*{arguments}\r\n").into_bytes(), b"$10\r\n0123456789\r\n".repeat(arguments)].concat()
    };
    let payload = |bytes: usize| format!("*1\r\n${bytes}\r\n{}\r\n", "x".repeat(bytes)).into_bytes();
    let line = |bytes: usize| [vec![b'x'; bytes], b"\n".to_vec()].concat();
    // Header bytes are looked at again with each byte of their argument: a constant, seven at most here.
    for stream in [array(8_000), payload(100_000), line(60_000)] {
        let examined = examined(&stream);
        assert!(examined <= 8 * stream.len(), "{examined} for {}", stream.len());
    }
}

/// Streams that are mostly well formed: commands of both kinds, with mistakes strewn in.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let argument = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..12),
        1 => prop::collection::vec(any::<u8>(), 90..200),
    ];
    let array = prop::collection::vec(argument, 0..6).prop_map(|arguments| {
        let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in arguments {
            bytes.extend(format!("${}\r\n", argument.len()).bytes());
            bytes.extend(argument);
            bytes.extend(b"\r\n");
        }
        bytes
    });
    let line = "[a-zA-Z '\"\\\\x0-9\t]{0,40}(\r\n|\n)".prop_map(String::into_bytes);
    let header = "[*$][-+0-9]{0,23}\r?\n?".prop_map(String::into_bytes);
    let noise = prop::collection::vec(any::<u8>(), 0..20);
    let part = prop_oneof![12 => array, 8 => line, 1 => header, 1 => noise];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn chunking_changes_nothing(
        stream in stream(),
        sizes in prop::collection::vec(1_usize..40, 1..20),
        bound in prop_oneof![Just(BOUND), 1_usize..200],
    ) {
        let (expected, _) = feed(&stream, &[stream.len()], bound);
        let (chunked, kept) = feed(&stream, &sizes, bound);
        prop_assert_eq!(&chunked, &expected);
        prop_assert!(kept < bound.max(1), "kept {} of {}", kept, bound);
        let (trickled, kept) = feed(&stream, &[1], bound);
        prop_assert_eq!(&trickled, &expected);
        prop_assert!(kept < bound.max(1));
    }

    #[test]
    fn random_bytes_never_panic(stream in prop::collection::vec(any::<u8>(), 0..600), size in 1_usize..60) {
        let (outcome, kept) = feed(&stream, &[size], 256);
        prop_assert!(kept < 256);
        prop_assert!(outcome.frames.iter().all(|frame| !frame.is_empty()));
    }

    #[test]
    fn what_is_encoded_as_an_array_comes_back(
        arguments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..20),
    ) {
        let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in &arguments {
            bytes.extend(format!("${}\r\n", argument.len()).bytes());
            bytes.extend(argument);
            bytes.extend(b"\r\n");
        }
        prop_assert_eq!(whole(&bytes), Outcome { frames: vec![arguments], error: None });
    }
}
