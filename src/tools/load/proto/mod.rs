//! What is said on the wire, by scheme: the bytes of a request, and where the answers to it end.
//!
//! Pure. Requests are all alike, so the answers mostly are, too: they are compared with what is expected as
//! they come, and kept only when they are something else. No bytes of a server can make this panic.

pub mod http;
pub mod resp;

use super::plan::{Scheme, Target};
use crate::core::buf::ByteQueue;
use http::{Head, Place, Step};
use resp::Parsed;

/// An answer, or something that came unasked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer<'a> {
    /// To the oldest request, as expected.
    Expected,
    /// To the oldest request, but an error: its text.
    Refused(&'a [u8]),
    /// To who logs in.
    LoggedIn(&'a [u8]),
    /// To the greeting.
    Greeted(&'a [u8]),
    /// To nothing that was asked: a message, a ping, a goodbye.
    Unasked(&'a [u8]),
}

/// Why the bytes of a server are no answer.
pub type Broken = &'static str;

/// What the next bytes are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Expecting {
    /// The answer to who logs in.
    LogIn,
    /// The answer to the greeting.
    Greeting,
    /// Answers to requests.
    #[default]
    Answers,
    /// Messages: this connection asks nothing.
    Messages,
}

/// Where one connection is in what it hears. Bytes are kept only while an answer that is not the usual one is
/// incomplete.
#[derive(Debug, Default)]
pub struct Session {
    /// What is expected.
    pub expecting: Expecting,
    /// Bytes of the expected answer that have come.
    matched: u32,
    place: Place,
    head: Head,
    held: Option<Box<ByteQueue>>,
}

/// The bytes of a scheme.
#[derive(Debug)]
pub struct Wire {
    scheme: Scheme,
    /// As many requests as may be under way on a connection, one after the other.
    requests: Vec<u8>,
    request_length: usize,
    /// The usual answer to one; for HTTP, the last response that was read in full.
    answer: Vec<u8>,
    /// What its head says.
    head: Head,
}

/// Longer responses of HTTP are not worth comparing with each other.
const ALIKE_MAX: usize = 16 * 1024;

impl Wire {
    /// For requests with `size` bytes of payload, `pipeline` of them at once.
    pub fn new(target: &Target, size: usize, pipeline: u32) -> Self {
        let payload: Vec<u8> = (b'a'..=b'z').cycle().take(size).collect();
        let bulk = |bytes: &[u8]| [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        let (request, answer) = match target.scheme {
            Scheme::Echo => (payload.clone(), payload),
            Scheme::Resp if size == 0 => (b"*1\r\n$4\r\nPING\r\n".to_vec(), b"+PONG\r\n".to_vec()),
            Scheme::Resp => ([b"*2\r\n$4\r\nPING\r\n", bulk(&payload).as_slice()].concat(), bulk(&payload)),
            Scheme::Http => {
                let agent = concat!("linger-load/", env!("CARGO_PKG_VERSION"));
                // RFC 6874 1: the interface is an affair of this host.
                let host = match target.authority.split_once('%') {
                    Some((ip, rest)) => format!("{ip}{}", &rest[rest.find(']').unwrap_or(rest.len())..]),
                    None => target.authority.clone(),
                };
                let head = format!(
                    "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nAccept: */*\r\n\r\n",
                    target.path
                );
                (head.into_bytes(), Vec::new())
            }
        };
        let request_length = request.len();
        let requests = request.repeat(pipeline as usize);
        Self { scheme: target.scheme, requests, request_length, answer, head: Head::default() }
    }

    /// The bytes of `count` requests, at most as many as may be under way at once.
    #[inline]
    pub fn requests(&self, count: u32) -> &[u8] {
        &self.requests[..self.request_length * count as usize]
    }

    /// Takes what a server sent; `on` is told of each answer in it.
    ///
    /// # Errors
    /// When it is not what this protocol says.
    pub fn take(
        &mut self,
        session: &mut Session,
        input: &[u8],
        on: impl FnMut(Answer<'_>),
    ) -> Result<(), Broken> {
        match self.scheme {
            Scheme::Echo => self.take_echo(session, input, on),
            Scheme::Resp => self.take_resp(session, input, on),
            Scheme::Http => self.take_http(session, input, on),
        }
    }

    /// The end of file: it may end an answer, too.
    ///
    /// # Errors
    /// When it comes in the middle of one.
    pub fn end(&self, session: &mut Session, mut on: impl FnMut(Answer<'_>)) -> Result<(), Broken> {
        if session.place == Place::UntilClose {
            session.place = Place::Head;
            on(verdict(session.head));
        }
        let begun = session.place != Place::Head || session.held.is_some() || session.matched > 0;
        if begun { Err("the server closed in the middle of an answer") } else { Ok(()) }
    }

    /// Whether the server said that it closes after the answer that has just ended, as a matter of course.
    pub fn closes(&self, session: &Session) -> bool {
        // The head comes before the body: while that is under way, the answer is not there yet.
        self.scheme == Scheme::Http && session.place == Place::Head && session.head.closes
    }

    /// Passes over expected answers; what is left of the input.
    fn pass<'i>(
        &self,
        session: &mut Session,
        mut input: &'i [u8],
        on: &mut impl FnMut(Answer<'_>),
    ) -> &'i [u8] {
        while !input.is_empty() {
            let wanted = &self.answer[session.matched as usize..];
            let length = wanted.len().min(input.len());
            if input[..length] != wanted[..length] {
                break;
            }
            input = &input[length..];
            if length == wanted.len() {
                session.matched = 0;
                on(Answer::Expected);
            } else {
                session.matched += u32::try_from(length).expect("answers are far below 4 GiB");
            }
        }
        input
    }

    fn take_echo(
        &self,
        session: &mut Session,
        input: &[u8],
        mut on: impl FnMut(Answer<'_>),
    ) -> Result<(), Broken> {
        if self.pass(session, input, &mut on).is_empty() {
            Ok(())
        } else {
            Err("the server answered other bytes than it was sent; does it speak echo?")
        }
    }

    fn take_resp(
        &self,
        session: &mut Session,
        mut input: &[u8],
        mut on: impl FnMut(Answer<'_>),
    ) -> Result<(), Broken> {
        if session.held.is_none() && session.expecting == Expecting::Answers {
            input = self.pass(session, input, &mut on);
            if input.is_empty() {
                return Ok(());
            }
        }
        let held = session.held.get_or_insert_default();
        held.push(&self.answer[..session.matched as usize]);
        held.push(input);
        session.matched = 0;
        while !held.is_empty() {
            match resp::reply(held.as_slice()) {
                Parsed::Partial => return Ok(()),
                Parsed::Broken => {
                    return Err("the server did not answer in RESP; is it a Redis or linger's resp?");
                }
                Parsed::Whole(length) => {
                    let reply = &held.as_slice()[..length];
                    on(self.classify(reply, session.expecting)?);
                    if matches!(session.expecting, Expecting::LogIn | Expecting::Greeting) {
                        session.expecting = Expecting::Answers;
                    }
                    held.consume(length);
                }
            }
        }
        session.held = None;
        Ok(())
    }

    fn classify<'r>(&self, reply: &'r [u8], expecting: Expecting) -> Result<Answer<'r>, Broken> {
        // RESP2 has no mark for what comes unasked: a message is an array of three or four.
        let unasked: [&[u8]; 5] = [b"-GOODBYE", b"+PING\r\n", b">", b"*3\r\n", b"*4\r\n"];
        Ok(match expecting {
            Expecting::Messages => Answer::Unasked(reply),
            _ if unasked.iter().any(|&begin| reply.starts_with(begin)) => Answer::Unasked(reply),
            Expecting::LogIn => Answer::LoggedIn(reply),
            Expecting::Greeting => Answer::Greeted(reply),
            Expecting::Answers if reply == self.answer => Answer::Expected,
            Expecting::Answers if reply.starts_with(b"-") => Answer::Refused(reply),
            Expecting::Answers => {
                return Err("the server did not answer PING as Redis does; is it an echo server?");
            }
        })
    }

    fn take_http(
        &mut self,
        session: &mut Session,
        mut input: &[u8],
        mut on: impl FnMut(Answer<'_>),
    ) -> Result<(), Broken> {
        // For as long as its date stands, a server says the same again, and no head has to be taken apart.
        if session.held.is_none() && session.place == Place::Head && !self.answer.is_empty() {
            while let Some(rest) = input.strip_prefix(self.answer.as_slice()) {
                session.head = self.head;
                on(Answer::Expected);
                input = rest;
            }
            if input.is_empty() {
                return Ok(());
            }
        }
        let mut held = session.held.take();
        if let Some(held) = &mut held {
            held.push(input);
        }
        let whole = held.as_ref().map_or(input, |held| held.as_slice());
        let used = self.read_responses(session, whole, on)?;
        if used < whole.len() {
            let mut kept = held.unwrap_or_else(|| {
                let mut fresh = Box::<ByteQueue>::default();
                fresh.push(input);
                fresh
            });
            kept.consume(used);
            session.held = Some(kept);
        }
        Ok(())
    }

    /// Reads responses; how many bytes are done with.
    fn read_responses(
        &mut self,
        session: &mut Session,
        bytes: &[u8],
        mut on: impl FnMut(Answer<'_>),
    ) -> Result<usize, Broken> {
        let mut at = 0;
        let mut begin = (session.place == Place::Head).then_some(0);
        while at < bytes.len() {
            match http::step(&mut session.place, &mut session.head, &bytes[at..]) {
                Step::On(used) => at += used,
                Step::Done(used) => {
                    at += used;
                    if let Some(begin) = begin {
                        self.learn(session.head, &bytes[begin..at]);
                    }
                    begin = Some(at);
                    on(verdict(session.head));
                }
                Step::Partial if bytes.len() - at > 64 * 1024 => {
                    return Err("the head of a response is over 64 KiB");
                }
                Step::Partial => break,
                Step::Broken => return Err("the server did not answer in HTTP/1"),
            }
        }
        Ok(at)
    }

    /// Takes a whole response for what the next will look like.
    fn learn(&mut self, head: Head, response: &[u8]) {
        if head.status < 400 && !head.closes && response.len() <= ALIKE_MAX {
            self.answer.clear();
            self.answer.extend_from_slice(response);
            self.head = head;
        }
    }
}

const fn verdict(head: Head) -> Answer<'static> {
    if head.status < 400 { Answer::Expected } else { Answer::Refused(b"an HTTP status of 400 or more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(scheme: Scheme, size: usize) -> Wire {
        let address = "127.0.0.1:1".parse().unwrap();
        let target =
            Target { scheme, over_tls: false, address, authority: "h:1".to_owned(), path: "/x".to_owned() };
        Wire::new(&target, size, 4)
    }

    /// What is heard when `bytes` come in pieces of `size`.
    fn heard(
        wire: &mut Wire,
        expecting: Expecting,
        bytes: &[u8],
        size: usize,
    ) -> Result<Vec<String>, Broken> {
        let mut session = Session { expecting, ..Session::default() };
        let mut heard = Vec::new();
        for piece in bytes.chunks(size) {
            wire.take(&mut session, piece, |answer| {
                heard.push(match answer {
                    Answer::Expected => "expected".to_owned(),
                    Answer::Refused(text) => format!("refused {}", String::from_utf8_lossy(text).trim()),
                    Answer::Greeted(text) | Answer::LoggedIn(text) => {
                        format!("greeted {}", String::from_utf8_lossy(text).trim())
                    }
                    Answer::Unasked(text) => format!("unasked {}", String::from_utf8_lossy(text).trim()),
                });
            })?;
        }
        wire.end(&mut session, |_| heard.push("ended".to_owned()))?;
        Ok(heard)
    }

    #[test]
    fn answers_are_told_apart_in_whatever_pieces_they_come() {
        let stream = b"+OK\r\n+PONG\r\n-ERR no\r\n+PONG\r\n+PING\r\n+PONG\r\n-GOODBYE drain\r\n";
        let expected = [
            "greeted +OK",
            "expected",
            "refused -ERR no",
            "expected",
            "unasked +PING",
            "expected",
            "unasked -GOODBYE drain",
        ];
        for size in 1..=stream.len() {
            assert_eq!(
                heard(&mut wire(Scheme::Resp, 0), Expecting::Greeting, stream, size).unwrap(),
                expected
            );
        }
    }

    #[test]
    fn requests_and_answers_fit_each_other() {
        let mut sized = wire(Scheme::Resp, 3);
        assert_eq!(sized.requests(1), b"*2\r\n$4\r\nPING\r\n$3\r\nabc\r\n");
        assert_eq!(heard(&mut sized, Expecting::Answers, b"$3\r\nabc\r\n", 4).unwrap(), ["expected"]);
        let mut echo = wire(Scheme::Echo, 30);
        assert_eq!(echo.requests(4).len(), 120);
        let three = echo.requests(3).to_vec();
        assert_eq!(heard(&mut echo, Expecting::Answers, &three, 7).unwrap(), ["expected"; 3]);
        assert!(heard(&mut echo, Expecting::Answers, b"abd", 3).is_err());
        let address = "[fe80::1%1]:80".parse().unwrap();
        let (authority, path) = ("[fe80::1%eth0]:80".to_owned(), "/".to_owned());
        let scoped =
            Wire::new(&Target { scheme: Scheme::Http, over_tls: false, address, authority, path }, 0, 1);
        assert!(scoped.requests(1).starts_with(b"GET / HTTP/1.1\r\nHost: [fe80::1]:80\r\n"));
        let mut http = wire(Scheme::Http, 0);
        assert!(http.requests(1).starts_with(b"GET /x HTTP/1.1\r\nHost: h:1\r\n"));
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        for size in 1..answer.len() {
            assert_eq!(heard(&mut http, Expecting::Answers, answer, size).unwrap(), ["expected"]);
        }
        let until_close = b"HTTP/1.0 200 OK\r\n\r\nhi";
        assert_eq!(heard(&mut http, Expecting::Answers, until_close, 5).unwrap(), ["ended"]);
    }

    #[test]
    fn an_end_in_the_middle_of_an_answer_is_told() {
        let body = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhell";
        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n";
        for (scheme, bytes) in [
            (Scheme::Http, body),
            (Scheme::Http, chunks),
            (Scheme::Http, "HTTP/1.1 200"),
            (Scheme::Resp, "+PO"),
            (Scheme::Resp, "$7\r\nabc"),
            (Scheme::Echo, "abc"),
        ] {
            for size in 1..=bytes.len() {
                let heard = heard(&mut wire(scheme, 30), Expecting::Answers, bytes.as_bytes(), size);
                assert!(heard.as_ref().is_err_and(|why| why.contains("middle")), "{bytes:?}: {heard:?}");
            }
        }
    }

    #[test]
    fn a_server_closes_behind_its_answer_not_before() {
        let mut wire = wire(Scheme::Http, 0);
        let mut session = Session::default();
        let (head, body) = ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n", "hi");
        wire.take(&mut session, head.as_bytes(), |_| panic!("nothing is answered yet")).unwrap();
        assert!(!wire.closes(&session));
        let mut answers = 0;
        wire.take(&mut session, body.as_bytes(), |_| answers += 1).unwrap();
        assert!(wire.closes(&session) && answers == 1);
    }

    #[test]
    fn responses_alike_to_the_byte_are_heard_like_any_others() {
        let answer = |date: u8| {
            let head = format!("HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 2\r\n\r\nhi");
            head.into_bytes()
        };
        let refusal = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
        let stream =
            [answer(1), answer(1), answer(2), refusal.clone(), answer(2), answer(2), refusal].concat();
        let refused = "refused an HTTP status of 400 or more";
        let expected = ["expected", "expected", "expected", refused, "expected", "expected", refused];
        for size in 1..=stream.len() {
            let mut wire = wire(Scheme::Http, 0);
            assert_eq!(heard(&mut wire, Expecting::Answers, &stream, size).unwrap(), expected, "{size}");
        }
    }

    #[test]
    fn the_wrong_protocol_is_told_and_nothing_panics() {
        let http = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        assert!(heard(&mut wire(Scheme::Resp, 0), Expecting::Answers, http, 9).unwrap_err().contains("RESP"));
        assert!(
            heard(&mut wire(Scheme::Http, 0), Expecting::Answers, b"+PONG\r\n", 9)
                .unwrap_err()
                .contains("HTTP")
        );
    }
}
