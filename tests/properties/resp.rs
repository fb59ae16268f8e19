//! The command protocol: chunking changes nothing, what is kept stays under the bound, and each frame that is
//! answered is answered by exactly one well-formed reply, whatever bytes the peer put into it.

use super::pieces;
use linger::protocol::ProtocolError;
use linger::protocol::resp::{Command, Decoder, Reply, Scratch, Version, answer};

/// `bytes`: how the stream is cut, the bound on a frame, and the stream.
pub(crate) fn holds(bytes: &[u8]) {
    let Some(([cut, bound], stream)) = bytes.split_first_chunk() else { return };
    let bound = if *bound < 128 { usize::from(*bound) + 1 } else { 1 << (*bound % 17) };
    let expected = feed([stream].into_iter(), bound);
    assert_eq!(feed(pieces(stream, *cut), bound), expected, "cut in pieces");
    assert_eq!(feed(stream.chunks(1), bound), expected, "byte by byte");
    for frame in &expected.frames {
        assert!(!frame.is_empty(), "an empty command is passed over");
    }
    assert_answers(stream, bound);
}

/// All that a stream comes to: its frames, the error that ended it, and else what is left of it.
#[derive(PartialEq, Debug)]
struct Outcome {
    frames: Vec<Vec<Vec<u8>>>,
    ended: Result<Vec<u8>, ProtocolError>,
}

/// Feeds a stream as the reactor does: what a receive leaves over stands before the next one.
fn feed(pieces: impl Iterator<Item: AsRef<[u8]>>, bound: usize) -> Outcome {
    let (mut decoder, mut scratch) = (Decoder::default(), Scratch::default());
    let (mut frames, mut kept) = (Vec::new(), Vec::new());
    for piece in pieces {
        kept.extend_from_slice(piece.as_ref());
        let mut input = kept.as_slice();
        loop {
            match decoder.next_frame(&mut input, bound, &mut scratch) {
                Ok(Some(arguments)) => frames.push(arguments.iter().map(<[u8]>::to_vec).collect()),
                Ok(None) => break,
                Err(error) => return Outcome { frames, ended: Err(error) },
            }
        }
        assert!(input.len() < bound, "kept {} of a frame of {bound}", input.len());
        let taken = kept.len() - input.len();
        kept.drain(..taken);
    }
    Outcome { frames, ended: Ok(kept) }
}

fn assert_answers(mut input: &[u8], bound: usize) {
    let (mut decoder, mut scratch) = (Decoder::default(), Scratch::default());
    while let Ok(Some(arguments)) = decoder.next_frame(&mut input, bound, &mut scratch) {
        for (version, subscribed) in
            [(Version::Resp2, false), (Version::Resp2, true), (Version::Resp3, false)]
        {
            let mut out = Vec::new();
            let mut reply = Reply::new(&mut out, version);
            let answered = match Command::parse(arguments) {
                Ok(command) => answer(&command, subscribed, &mut reply),
                Err(refusal) => {
                    reply.error(&refusal.0);
                    true
                }
            };
            let rest = if answered { after_reply(&out) } else { Some(out.as_slice()) };
            assert_eq!(rest, Some(&b""[..]), "{arguments:?}: {:?}", out.escape_ascii().to_string());
        }
    }
}

/// What follows the first reply in `bytes`; `None` if there is no whole one.
fn after_reply(bytes: &[u8]) -> Option<&[u8]> {
    let (&kind, rest) = bytes.split_first()?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    let (line, mut rest) = (&rest[..end], &rest[end + 2..]);
    let number = || str::from_utf8(line).ok()?.parse::<usize>().ok();
    match kind {
        b'+' | b'-' => line.iter().all(|byte| !matches!(byte, b'\r' | b'\n')).then_some(rest),
        b':' | b'_' | b'#' | b',' => Some(rest),
        b'$' | b'*' if line == b"-1" => Some(rest),
        b'$' | b'=' => rest.get(number()?..)?.strip_prefix(b"\r\n"),
        b'*' | b'~' | b'>' | b'%' => {
            let each = if kind == b'%' { 2 } else { 1 };
            for _ in 0..number()? * each {
                rest = after_reply(rest)?;
            }
            Some(rest)
        }
        _ => None,
    }
}
