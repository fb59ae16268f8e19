//! A check of an upstream server, from the connect to the close.
//!
//! It connects, sends what it has to, and reads until it has found what it looks for. Then it has its outcome, and the
//! server has a moment to say the rest ([`SETTLE`]): what it says after our FIN would be answered by a reset, which its log
//! might tell of. Only then is the connection closed, by `TCP_LINGER2 = -1`: the server reads a clean end of file, and
//! neither side keeps a TIME_WAIT (`tests/server/gateway/left_behind.rs`). `shutdown(2)` and to wait for the server's FIN
//! would leave one here for each check.

use crate::core::health::Outcome;
use crate::core::time::{Duration, Instant};
use crate::net::{CloseHow, ConnectError, Readiness, Received, Sent, SocketError, Stream};
use crate::protocol::gateway::check::{ANSWER_BYTES_MAX, Check};
use std::sync::Arc;

/// How long a server may go on speaking when its check has its outcome: a few round trips within a continent.
const SETTLE: Duration = Duration::from_millis(250);
/// Receives of what it says then, before it is no longer listened to.
const SETTLING_READS: usize = 4;

/// Which server is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::reactor) struct Checked {
    pub(in crate::reactor) upstream: u16,
    pub(in crate::reactor) server: usize,
}

/// A check that runs.
#[derive(Debug)]
pub(in crate::reactor) struct Running<S> {
    pub(in crate::reactor) of: Checked,
    pub(in crate::reactor) begun: Instant,
    /// When it has taken too long; or, once it has its outcome, when it is closed.
    pub(in crate::reactor) deadline: Instant,
    pub(super) stage: Stage,
    /// As it was when it was begun.
    pub(super) check: Arc<Check>,
    pub(super) stream: S,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// The connection is being made.
    Connecting,
    /// It is there. The server is sent what it is to answer; so many bytes are.
    Sending(usize),
    /// What it says is looked through: so many bytes of what is looked for are found at its end, and so many were read.
    Awaiting { found: usize, read: usize },
    /// The outcome is known, and the server may go on speaking.
    Settling,
}

/// What is to be done about a check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::reactor) enum Next {
    /// Nothing.
    Wait,
    /// It has its outcome, and goes on until it is closed.
    Note(Outcome),
    /// It is closed in that way, with the outcome if it was not noted.
    Close(CloseHow, Option<Outcome>),
}

impl<S: Stream> Running<S> {
    /// The poller has something to say about it. What is received goes into `buffer`, and is looked at there.
    pub(in crate::reactor) fn on_ready(
        &mut self,
        readiness: Readiness,
        could_be_own_peer: bool,
        buffer: &mut [u8],
    ) -> Next {
        if self.stage == Stage::Connecting {
            if readiness.has(Readiness::ERROR | Readiness::WRITE_CLOSED) {
                let failed = |error: SocketError| failed(outcome_of(error.into()));
                return self.stream.take_error().map_or(Next::Wait, failed);
            }
            if !readiness.has(Readiness::WRITABLE) {
                return Next::Wait;
            }
            if could_be_own_peer && self.stream.is_own_peer() {
                return failed(Outcome::Refused);
            }
            self.stage = Stage::Sending(0);
        }
        self.go_on(buffer)
    }

    /// Its time is up.
    pub(in crate::reactor) fn on_deadline(&mut self, buffer: &mut [u8]) -> Next {
        let outcome = match self.stage {
            Stage::Connecting => return Next::Close(CloseHow::Plain, Some(Outcome::ConnectTimeout)),
            Stage::Sending(_) | Stage::Awaiting { read: 0, .. } => Some(Outcome::Silent),
            Stage::Awaiting { .. } => Some(Outcome::Unexpected),
            Stage::Settling => None,
        };
        // Unread input would make a reset of the close.
        match self.settle(buffer) {
            Next::Wait => Next::Close(CloseHow::Linger2, outcome),
            Next::Close(how, _) => Next::Close(how, outcome),
            Next::Note(_) => unreachable!("it settles without an outcome"),
        }
    }

    fn go_on(&mut self, buffer: &mut [u8]) -> Next {
        loop {
            match self.stage {
                Stage::Connecting => return Next::Wait,
                Stage::Sending(sent) if sent == self.check.send.len() => {
                    self.stage = Stage::Awaiting { found: 0, read: 0 };
                }
                Stage::Sending(sent) => match self.stream.send(&self.check.send[sent..]) {
                    Sent::Bytes(count) => self.stage = Stage::Sending(sent + count),
                    Sent::Interrupted => {}
                    Sent::WouldBlock => return Next::Wait,
                    Sent::Failed(error) => return failed(outcome_of(error.into())),
                },
                Stage::Awaiting { found, read } => {
                    let Some(expect) = &self.check.expect else { return self.end(Outcome::Passed, buffer) };
                    match self.stream.recv(buffer) {
                        Received::Bytes(count) => {
                            let (found, read) = (expect.advance(found, &buffer[..count]), read + count);
                            self.stage = Stage::Awaiting { found, read };
                            if expect.is_found(found) {
                                return self.end(Outcome::Passed, buffer);
                            }
                            if read > ANSWER_BYTES_MAX {
                                return self.end(Outcome::Unexpected, buffer);
                            }
                        }
                        Received::Interrupted => {}
                        Received::WouldBlock => return Next::Wait,
                        Received::Eof if read == 0 => return failed(Outcome::Closed),
                        Received::Eof => return failed(Outcome::Unexpected),
                        Received::Failed(error) => return failed(outcome_of(error.into())),
                    }
                }
                Stage::Settling => return self.settle(buffer),
            }
        }
    }

    /// It has its outcome.
    fn end(&mut self, outcome: Outcome, buffer: &mut [u8]) -> Next {
        self.stage = Stage::Settling;
        match self.settle(buffer) {
            Next::Close(how, _) => Next::Close(how, Some(outcome)),
            Next::Wait | Next::Note(_) => Next::Note(outcome),
        }
    }

    /// Takes what the server says to the end, as far as it is there.
    fn settle(&mut self, buffer: &mut [u8]) -> Next {
        for _ in 0..SETTLING_READS {
            match self.stream.recv(buffer) {
                Received::Bytes(_) | Received::Interrupted => {}
                Received::WouldBlock => return Next::Wait,
                Received::Eof | Received::Failed(_) => return Next::Close(CloseHow::Plain, None),
            }
        }
        Next::Close(CloseHow::Linger2, None)
    }

    /// Its outcome is noted: it is closed soon.
    pub(in crate::reactor) fn noted(&mut self, now: Instant) {
        self.deadline = now + SETTLE;
    }
}

/// The server, or the way to it, has put an end to it.
const fn failed(outcome: Outcome) -> Next {
    Next::Close(CloseHow::Plain, Some(outcome))
}

/// What it means that a connection could not be made, or has failed.
pub(in crate::reactor) const fn outcome_of(error: ConnectError) -> Outcome {
    match error {
        ConnectError::Refused | ConnectError::NoSocket => Outcome::Refused,
        ConnectError::QueueFull => Outcome::QueueFull,
        ConnectError::NotOurs
        | ConnectError::NoPort
        | ConnectError::NoDescriptor
        | ConnectError::Socket(SocketError::Memory) => Outcome::NotMade,
        ConnectError::Socket(SocketError::TimedOut) => Outcome::ConnectTimeout,
        ConnectError::Socket(SocketError::Reset | SocketError::BrokenPipe) => Outcome::Reset,
        ConnectError::Socket(SocketError::Unreachable | SocketError::Other(_)) => Outcome::Unreachable,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::core::setting::{Value, Values};
    use crate::core::tcp::{Keepalive, ProbeLimits, TcpSnapshot};
    use std::collections::VecDeque;
    use std::net::SocketAddr;

    /// A socket that does what it was told to.
    #[derive(Default)]
    pub(in crate::reactor::parts) struct Scripted {
        error: Option<SocketError>,
        own_peer: bool,
        says: VecDeque<Says>,
        /// Bytes that it takes at once.
        takes: usize,
        sent: Vec<u8>,
    }

    enum Says {
        Bytes(&'static [u8]),
        Other(Received),
    }

    impl Stream for Scripted {
        fn recv(&mut self, buffer: &mut [u8]) -> Received {
            match self.says.pop_front() {
                Some(Says::Bytes(bytes)) => {
                    buffer[..bytes.len()].copy_from_slice(bytes);
                    Received::Bytes(bytes.len())
                }
                Some(Says::Other(received)) => received,
                None => Received::WouldBlock,
            }
        }

        fn send(&mut self, bytes: &[u8]) -> Sent {
            let taken = std::mem::take(&mut self.takes).min(bytes.len());
            self.sent.extend(&bytes[..taken]);
            if taken > 0 { Sent::Bytes(taken) } else { Sent::WouldBlock }
        }

        fn take_error(&mut self) -> Option<SocketError> {
            self.error.take()
        }

        fn is_own_peer(&self) -> bool {
            self.own_peer
        }

        fn send_oob(&mut self, _: u8) -> Sent {
            Sent::WouldBlock
        }

        fn shutdown_send(&mut self) {}

        fn local_address(&self) -> Option<SocketAddr> {
            None
        }

        fn evidence(&self) -> Option<TcpSnapshot> {
            None
        }

        fn probe_peer(&mut self) {}

        fn probe_limits(&self) -> ProbeLimits {
            ProbeLimits::default()
        }

        fn restore_keepalive(&mut self, _: Option<Keepalive>) {}

        fn set_nodelay(&mut self) {}

        fn set_oob_inline(&mut self) {}

        fn set_keepalive(&mut self, _: Keepalive) {}

        fn set_user_timeout(&mut self, _: Duration) {}

        fn close(self, _: CloseHow) {}
    }

    pub(in crate::reactor::parts) fn begun(
        exchange: Option<(&str, &str)>,
        stream: Scripted,
    ) -> Running<Scripted> {
        let (send, expect) = exchange.unwrap_or_default();
        let text = |text: &str| Value::Text(text.to_owned());
        let values: Values =
            [("check.send", text(send)), ("check.expect", text(expect))].into_iter().collect();
        let of = Checked { upstream: 0, server: 0 };
        let check = Arc::new(Check::new(&values, None));
        let (begun, deadline) = (Instant::ZERO, Instant::ZERO);
        Running { of, begun, deadline, stage: Stage::Connecting, check, stream }
    }

    fn ready(running: &mut Running<Scripted>, readiness: Readiness) -> Next {
        running.on_ready(readiness, true, &mut [0; 64])
    }

    const fn ended(how: CloseHow, outcome: Outcome) -> Next {
        Next::Close(how, Some(outcome))
    }

    #[test]
    fn a_connect_is_all_there_is_to_it_and_the_server_may_speak_on() {
        let mut check = begun(None, Scripted::default());
        assert_eq!(ready(&mut check, Readiness::READABLE), Next::Wait, "nothing can come of it yet");
        assert_eq!(ready(&mut check, Readiness::WRITABLE), Next::Note(Outcome::Passed));
        check.stream.says.push_back(Says::Bytes(b"220 ready"));
        assert_eq!(ready(&mut check, Readiness::READABLE), Next::Wait);
        assert_eq!(check.on_deadline(&mut [0; 64]), Next::Close(CloseHow::Linger2, None));
        let says = [Says::Bytes(b"bye"), Says::Other(Received::Eof)].into();
        let mut check = begun(None, Scripted { says, ..Scripted::default() });
        assert_eq!(ready(&mut check, Readiness::WRITABLE), ended(CloseHow::Plain, Outcome::Passed));
    }

    #[test]
    fn a_connect_fails_by_the_error_of_the_socket_or_in_the_end() {
        let mut check = begun(None, Scripted::default());
        assert_eq!(ready(&mut check, Readiness::WRITABLE | Readiness::ERROR), Next::Wait, "a flag is a hint");
        check.stream.error = Some(SocketError::Unreachable);
        assert_eq!(
            ready(&mut check, Readiness::WRITABLE | Readiness::ERROR),
            ended(CloseHow::Plain, Outcome::Unreachable)
        );
        let mut check = begun(None, Scripted::default());
        assert_eq!(check.on_deadline(&mut [0; 64]), ended(CloseHow::Plain, Outcome::ConnectTimeout));
        let mut check = begun(None, Scripted { own_peer: true, ..Scripted::default() });
        assert_eq!(ready(&mut check, Readiness::WRITABLE), ended(CloseHow::Plain, Outcome::Refused));
    }

    #[test]
    fn an_exchange_is_sent_and_looked_through_as_it_comes() {
        let mut check = begun(Some(("PING", "PONG")), Scripted { takes: 3, ..Scripted::default() });
        assert_eq!(ready(&mut check, Readiness::WRITABLE), Next::Wait);
        assert_eq!(check.stage, Stage::Sending(3));
        check.stream.takes = 9;
        assert_eq!(ready(&mut check, Readiness::WRITABLE), Next::Wait);
        assert_eq!(check.stream.sent, b"PING");
        check.stream.says.extend([Says::Bytes(b"+PO"), Says::Other(Received::Interrupted)]);
        assert_eq!(ready(&mut check, Readiness::READABLE), Next::Wait);
        assert_eq!(check.stage, Stage::Awaiting { found: 2, read: 3 });
        check.stream.says.push_back(Says::Bytes(b"NG\r\n"));
        assert_eq!(ready(&mut check, Readiness::READABLE), Next::Note(Outcome::Passed));
    }

    #[test]
    fn what_a_server_does_instead_is_told_apart() {
        let outcome = |says: Vec<Says>| {
            let mut check = begun(Some(("", "PONG")), Scripted { says: says.into(), ..Scripted::default() });
            match ready(&mut check, Readiness::WRITABLE) {
                Next::Wait => check.on_deadline(&mut [0; 64]),
                next @ (Next::Note(_) | Next::Close(..)) => next,
            }
        };
        let other = Says::Other;
        for (says, how, expected) in [
            (vec![], CloseHow::Linger2, Outcome::Silent),
            (vec![Says::Bytes(b"-ERR")], CloseHow::Linger2, Outcome::Unexpected),
            (vec![other(Received::Eof)], CloseHow::Plain, Outcome::Closed),
            (vec![Says::Bytes(b"-ERR"), other(Received::Eof)], CloseHow::Plain, Outcome::Unexpected),
            (vec![other(Received::Failed(SocketError::Reset))], CloseHow::Plain, Outcome::Reset),
        ] {
            assert_eq!(outcome(says), ended(how, expected), "{expected}");
        }
        let endless = (0..=ANSWER_BYTES_MAX / 4).map(|_| Says::Bytes(b"-ERR")).collect();
        assert_eq!(outcome(endless), Next::Note(Outcome::Unexpected));
    }
}
