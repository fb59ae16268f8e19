//! A connection of the admin interface from request to request, without its socket: what was received goes in and
//! requests come out, answers go in and bytes come out. One process and the supervisor of several workers serve their
//! connections by it. What needs nobody to be asked is answered here; when bytes move is for them to say.

use super::{Asked, Door, Route, Serves, crowded, index, page};
use crate::core::end::Reason;
use crate::protocol::ProtocolError;
use crate::protocol::http::{CONTINUE, Decoder, Framing, Method, Request, Response, Status};

/// What is remembered of one connection.
#[derive(Debug, Default)]
pub struct Session {
    decoder: Decoder,
    stage: Stage,
    once: bool,
}

/// Where it is.
#[derive(Debug, Default)]
enum Stage {
    /// The next request is awaited.
    #[default]
    Awaiting,
    /// This one is being answered: what comes after it waits.
    Answering(Box<Answering>),
    /// The last response was written, and the connection ends for this reason.
    Over(Reason),
}

/// A request that is being answered.
#[derive(Debug)]
struct Answering {
    request: Request,
    /// The response but for its body, where that comes in pieces.
    head: Response<'static>,
    /// `None`: not even the head was written.
    framing: Option<Framing>,
    /// The response has no end of its own.
    is_endless: bool,
}

/// What came of what was received.
#[derive(PartialEq, Eq, Debug)]
pub enum Next {
    /// No request is whole.
    Wait,
    /// This is to be answered.
    Asked(Asked),
    /// There was a request, and it has its answer.
    Answered,
    /// It was no request that can be taken. The answer says so, and is the last.
    Rejected(ProtocolError),
}

/// How a connection is to be closed, once its output is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Close {
    /// Why it ends.
    pub reason: Reason,
    /// Its peer is to close first, for it may still be sending: closed with unread input, the socket would be reset,
    /// and the last response lost.
    pub await_eof: bool,
}

impl Session {
    /// All places are taken: the connection is answered once, and only whether the server is well.
    pub const fn answer_once(&mut self) {
        self.once = true;
    }

    /// Whether there was a request.
    pub const fn has_begun(&self) -> bool {
        self.decoder.has_begun()
    }

    /// Whether a request is being answered.
    pub const fn is_answering(&self) -> bool {
        matches!(self.stage, Stage::Answering(_))
    }

    /// Whether the response to the request that is being answered has no end of its own: no other follows.
    pub fn is_endless(&self) -> bool {
        matches!(&self.stage, Stage::Answering(answering) if answering.is_endless)
    }

    /// Whether no more requests are taken.
    pub const fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over(_))
    }

    /// How the connection is to be closed, if it is; `unread`: bytes received behind the last request.
    pub const fn close(&self, unread: usize) -> Option<Close> {
        let Stage::Over(reason) = self.stage else { return None };
        let rejected = !matches!(reason, Reason::PeerGoodbye);
        Some(Close { reason, await_eof: rejected || self.decoder.body_left() > unread })
    }

    /// Takes the next request off the front of `input`; what is left there must stand at the front of the next. Not to
    /// be called while a request is being answered.
    pub fn next(&mut self, input: &mut &[u8], door: Door<'_>, serves: Serves, out: &mut Vec<u8>) -> Next {
        let mut request = match self.decoder.next_request(input) {
            Ok(Some(request)) => request,
            Ok(None) => return Next::Wait,
            Err(rejected) => {
                rejected.write(out);
                let error = rejected.protocol_error();
                self.stage = Stage::Over(error.reason);
                return Next::Rejected(error);
            }
        };
        let routed = door.admit(&request, serves);
        let routed =
            routed.and_then(|route| if self.once && !route.is_vital() { Err(crowded()) } else { Ok(route) });
        request.keep_alive &= !self.once;
        match &routed {
            Ok(_) if request.expects_continue => out.extend_from_slice(CONTINUE),
            Ok(_) => {}
            // Refused before it was sent, a body may follow or not: nobody can tell where the next request begins.
            Err(_) => request.keep_alive &= !request.expects_continue,
        }
        match routed {
            Ok(Route::Asked(asked)) => return self.ask(request, asked, out),
            Ok(Route::Index) => self.respond(&request, &Response::text(Status::Ok, index(serves)), out),
            Ok(Route::Page) => self.respond(&request, &page::response(), out),
            Ok(Route::Health) => self.respond(&request, &Response::text(Status::Ok, "ok\n"), out),
            Err(refused) => self.respond(&request, &refused, out),
        }
        Next::Answered
    }

    fn ask(&mut self, request: Request, asked: Asked, out: &mut Vec<u8>) -> Next {
        let head = asked.head();
        // Nothing is produced to learn how long it would be.
        if request.method == Method::Head && asked.is_long() {
            let framing = head.write_head(&request, out);
            self.after(framing.keeps_alive(&request));
            return Next::Answered;
        }
        let is_endless = matches!(asked, Asked::Events(_));
        self.stage = Stage::Answering(Box::new(Answering { request, head, framing: None, is_endless }));
        Next::Asked(asked)
    }

    /// Answers the request that is being answered.
    pub fn answer(&mut self, response: &Response<'_>, out: &mut Vec<u8>) {
        if let Stage::Answering(answering) = std::mem::take(&mut self.stage) {
            self.respond(&answering.request, response, out);
        }
    }

    /// Goes on with the answer to the request that is being answered; `done`: the piece is the last.
    pub fn piece(&mut self, piece: &str, done: bool, out: &mut Vec<u8>) {
        let Stage::Answering(answering) = &mut self.stage else { return };
        let Answering { request, head, framing, .. } = &mut **answering;
        // It is whole: its length is known.
        if framing.is_none() && done {
            let response = Response { body: piece.into(), ..head.clone() };
            return self.answer(&response, out);
        }
        let framing = *framing.get_or_insert_with(|| head.write_head(request, out));
        framing.write(piece.as_bytes(), out);
        if done {
            framing.finish(out);
            let keep_alive = framing.keeps_alive(request);
            self.after(keep_alive);
        }
    }

    /// Leaves off answering: nobody takes the rest.
    pub fn abandon(&mut self) {
        self.stage = Stage::Awaiting;
    }

    fn respond(&mut self, request: &Request, response: &Response<'_>, out: &mut Vec<u8>) {
        response.write(request, out);
        self.after(request.keep_alive);
    }

    /// What follows an answer.
    fn after(&mut self, keep_alive: bool) {
        self.stage = if keep_alive { Stage::Awaiting } else { Stage::Over(Reason::PeerGoodbye) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All that is answered to `stream`, received in pieces of these sizes (the last one repeated), and how the
    /// connection is closed.
    fn talk(session: &mut Session, stream: &[u8], sizes: &[usize]) -> (String, Option<Close>) {
        let (mut held, mut out) = (Vec::new(), Vec::new());
        let mut rest = stream;
        let mut sizes = sizes.iter().copied().chain(std::iter::repeat(sizes[sizes.len() - 1]));
        while !rest.is_empty() && !session.is_over() {
            let (piece, behind) = rest.split_at(sizes.next().expect("endless").clamp(1, rest.len()));
            rest = behind;
            held.extend_from_slice(piece);
            while !session.is_over() {
                let mut input = held.as_slice();
                let next = session.next(&mut input, Door::OPEN, Serves::One, &mut out);
                held = input.to_vec();
                match next {
                    Next::Wait => break,
                    Next::Answered | Next::Rejected(_) => {}
                    Next::Asked(Asked::Connections(_) | Asked::Metrics) => {
                        session.piece("one ", false, &mut out);
                        session.piece("two", true, &mut out);
                    }
                    Next::Asked(asked) => {
                        session.answer(&Response::text(Status::Ok, format!("{asked:?}\n")), &mut out);
                    }
                }
            }
        }
        (String::from_utf8(out).unwrap(), session.close(held.len()))
    }

    fn told(stream: &str) -> (String, Option<Close>) {
        talk(&mut Session::default(), stream.as_bytes(), &[stream.len()])
    }

    const GOODBYE: Close = Close { reason: Reason::PeerGoodbye, await_eof: false };

    #[test]
    fn requests_are_answered_one_by_one_until_the_last() {
        let get = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n");
        let close = "Connection: close\r\n";
        let (answers, closed) = told(&(get("/healthz", "") + &get("/readyz", "") + &get("/audit", "")));
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
        assert!(answers.contains("\r\n\r\nok\n") && answers.contains("\r\n\r\nReady\n"), "{answers}");
        assert_eq!(closed, None);
        let (answers, closed) = told(&(get("/healthz", close) + &get("/readyz", "")));
        assert_eq!((answers.matches("HTTP/1.1").count(), closed), (1, Some(GOODBYE)), "{answers}");
    }

    #[test]
    fn long_answers_come_in_pieces_by_what_the_client_understands() {
        let chunks = "4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n";
        let (answer, closed) = told("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(answer.ends_with(&format!("Connection: keep-alive\r\n\r\n{chunks}")), "{answer}");
        assert_eq!(closed, None);
        let (answer, closed) = told("GET /connections HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert!(answer.ends_with("Connection: close\r\n\r\none two"), "{answer}");
        assert_eq!(closed, Some(GOODBYE));
        // To HEAD nothing is produced.
        let (answer, closed) = told("HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(
            answer.contains("Transfer-Encoding: chunked") && answer.ends_with("keep-alive\r\n\r\n"),
            "{answer}"
        );
        assert_eq!(closed, None);
    }

    #[test]
    fn an_answer_of_one_piece_has_its_length() {
        let mut session = Session::default();
        let (mut input, mut out): (&[u8], _) = (b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Vec::new());
        assert_eq!(session.next(&mut input, Door::OPEN, Serves::One, &mut out), Next::Asked(Asked::Metrics));
        assert!(session.is_answering() && out.is_empty());
        session.piece("all", true, &mut out);
        assert!(!session.is_answering());
        let answer = String::from_utf8(out).unwrap();
        assert!(answer.contains("Content-Length: 3\r\n") && answer.ends_with("\r\n\r\nall"), "{answer}");
    }

    #[test]
    fn a_body_is_asked_for_unless_the_request_is_refused() {
        let post = |path: &str, more: &str, body: &str| {
            format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n{more}\r\n{body}")
        };
        let expect = "Expect: 100-continue\r\n";
        let (answers, closed) = told(&post("/connections/1-1/end", expect, "{}"));
        assert!(answers.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"), "{answers}");
        assert_eq!(closed, None);
        let (answer, closed) = told(&post("/nowhere", expect, ""));
        assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("Connection: close"), "{answer}");
        assert_eq!(closed, Some(Close { await_eof: true, ..GOODBYE }), "the body may be on its way");
        // One that is there is not waited for.
        let last = |body| told(&post("/connections/1-1/end", "Connection: close\r\n", body)).1;
        assert_eq!(last("{}"), Some(GOODBYE));
        assert_eq!(last("{"), Some(Close { await_eof: true, ..GOODBYE }));
    }

    #[test]
    fn what_is_no_request_is_the_last() {
        let (answer, closed) = told("nonsense\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 400") && !answer.contains("200"), "{answer}");
        assert_eq!(closed, Some(Close { reason: Reason::ProtocolMalformed, await_eof: true }));
    }

    #[test]
    fn one_without_a_place_is_answered_once_and_only_whether_the_server_is_well() {
        for (path, status) in [("/healthz", "200"), ("/readyz", "200"), ("/metrics", "503"), ("/", "503")] {
            let mut session = Session::default();
            session.answer_once();
            let stream = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(2);
            let (answers, closed) = talk(&mut session, stream.as_bytes(), &[stream.len()]);
            assert!(answers.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answers}");
            assert_eq!((answers.matches("HTTP/1.1").count(), closed), (1, Some(GOODBYE)), "{path}");
        }
    }

    #[test]
    fn who_does_not_take_an_answer_may_have_asked_more() {
        let mut session = Session::default();
        let request = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2);
        let (mut input, mut out) = (request.as_slice(), Vec::new());
        for _ in 0..2 {
            assert_eq!(
                session.next(&mut input, Door::OPEN, Serves::One, &mut out),
                Next::Asked(Asked::Metrics)
            );
            session.piece("one ", false, &mut out);
            assert!(session.is_answering());
            session.abandon();
            assert!(!session.is_answering() && !session.is_over());
        }
        assert!(input.is_empty());
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let paths = "(/|/healthz|/readyz|/audit|/metrics|/connections|/connections/1-1/end|/x)";
        let headers = "(|Connection: close\r\n|Expect: 100-continue\r\n|Origin: a\r\n)";
        let request = ("(GET|HEAD|POST)", paths, "1\\.[01]", headers, 0_usize..9, any::<bool>()).prop_map(
            |(method, path, version, headers, body, whole)| {
                let sent = "\n".repeat(if whole { body } else { 0 });
                format!(
                    "{method} {path} HTTP/{version}\r\nHost: a\r\nContent-Length: {body}\r\n{headers}\r\n{sent}"
                )
            },
        );
        prop::collection::vec(prop_oneof![20 => request, 1 => Just("?\r\n\r\n".to_owned())], 1..6)
            .prop_map(|requests| requests.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn chunking_changes_no_answer(stream in stream(), sizes in prop::collection::vec(1_usize..60, 1..20)) {
            let (whole, _) = talk(&mut Session::default(), &stream, &[stream.len()]);
            prop_assert_eq!(&talk(&mut Session::default(), &stream, &sizes).0, &whole);
            prop_assert_eq!(&talk(&mut Session::default(), &stream, &[1]).0, &whole);
        }
    }
}
