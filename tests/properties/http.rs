//! The admin protocol: chunking changes nothing, what is kept stays under the bound, and every request or
//! rejection is answered by exactly one response of the length it announces.

use super::pieces;
use linger::core::end::Reason;
use linger::protocol::Hosts;
use linger::protocol::admin::{Door, Next, Serves, Session};
use linger::protocol::http::{Decoder, HEAD_BYTES_MAX, Method, Rejected, Request, Response, Status};

/// `bytes`: how the stream is cut, how many blanks pad it, and the stream. The padding brings a short stream
/// to the bound on a head, which no breeding of bytes would find.
pub(crate) fn holds(bytes: &[u8]) {
    let Some(([cut, padding], stream)) = bytes.split_first_chunk() else { return };
    let padded = pad(stream, *padding);
    let expected = feed([padded.as_slice()].into_iter());
    assert_eq!(feed(pieces(&padded, *cut)), expected, "cut in pieces");
    if padded.len() == stream.len() {
        assert_eq!(feed(stream.chunks(1)), expected, "byte by byte");
    }
    let answered = talk([padded.as_slice()].into_iter());
    assert_eq!(talk(pieces(&padded, *cut)), answered, "answers to what is cut in pieces");
    for request in &expected.requests {
        let mut out = Vec::new();
        let body = format!("{} {:?}\n", request.path, request.query);
        Response::text(Status::Ok, body.as_str()).write(request, &mut out);
        assert_response(&out, if request.method == Method::Head { "" } else { &body });
    }
    if let Err(rejected) = expected.ended {
        let mut out = Vec::new();
        rejected.write(&mut out);
        assert_response(&out, &format!("{}\n", rejected.text));
        let _ = rejected.protocol_error();
    }
}

/// Puts blanks after the first line, so many that the stream comes to within 64 bytes of the bound on a head.
fn pad(stream: &[u8], padding: u8) -> Vec<u8> {
    let near = usize::from(padding);
    if near < 128 {
        return stream.to_vec();
    }
    let at = stream.iter().position(|&byte| byte == b'\n').map_or(stream.len(), |newline| newline + 1);
    let blanks = (HEAD_BYTES_MAX + near - 192).saturating_sub(stream.len() + 4);
    let header = [b"P: ", vec![b'p'; blanks].as_slice(), b"\n"].concat();
    [&stream[..at], &header, &stream[at..]].concat()
}

/// All that a stream comes to: its requests, the rejection that ended it, and else how much is left of it and
/// whether it stops within a body.
#[derive(PartialEq, Debug)]
struct Outcome {
    requests: Vec<Request>,
    ended: Result<(Vec<u8>, bool), Rejected>,
}

/// Feeds a stream as the reactor does: what a receive leaves over stands before the next one.
fn feed(pieces: impl Iterator<Item: AsRef<[u8]>>) -> Outcome {
    let mut decoder = Decoder::default();
    let (mut requests, mut kept) = (Vec::new(), Vec::new());
    for piece in pieces {
        kept.extend_from_slice(piece.as_ref());
        let mut input = kept.as_slice();
        loop {
            match decoder.next_request(&mut input) {
                Ok(Some(request)) => requests.push(request),
                Ok(None) => break,
                Err(rejected) => return Outcome { requests, ended: Err(rejected) },
            }
        }
        assert!(input.len() < HEAD_BYTES_MAX, "kept {}", input.len());
        let taken = kept.len() - input.len();
        kept.drain(..taken);
    }
    Outcome { requests, ended: Ok((kept, decoder.is_in_body())) }
}

/// All that a session answers, and why it ends. What is asked of the server comes in two pieces.
fn talk(pieces: impl Iterator<Item: AsRef<[u8]>>) -> (Vec<u8>, Option<Reason>) {
    let mut session = Session::default();
    let (mut held, mut out) = (Vec::new(), Vec::new());
    for piece in pieces {
        held.extend_from_slice(piece.as_ref());
        while !session.is_over() {
            let mut input = held.as_slice();
            let door = Door { hosts: &Hosts::Named(Vec::new()), token: None, tls: false };
            let next = session.next(&mut input, door, Serves::One, &mut out);
            held = input.to_vec();
            match next {
                Next::Wait => break,
                Next::Answered => assert!(!session.is_answering()),
                Next::Rejected(_) => assert!(session.is_over()),
                Next::Asked(_) => {
                    session.piece("one, ", false, &mut out);
                    session.piece("two\n", true, &mut out);
                    assert!(!session.is_answering());
                }
            }
        }
    }
    (out, session.close(held.len()).map(|close| close.reason))
}

fn assert_response(bytes: &[u8], body: &str) {
    let text = str::from_utf8(bytes).expect("heads are ASCII, bodies are UTF-8");
    let (head, rest) = text.split_once("\r\n\r\n").expect("a head ends with a blank line");
    assert!(head.starts_with("HTTP/1.1 "), "{head}");
    let announced: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .and_then(|length| length.parse().ok())
        .expect("every response announces its length");
    assert_eq!(rest, body);
    assert!(rest.is_empty() || rest.len() == announced);
}
