//! Requests and their answers.

use super::{Engine, Phase, faults};
use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use crate::net::{CloseHow, Kernel as _, Readiness, Received, SocketError};
use crate::tools::load::client::State;
use crate::tools::load::faults::Fault;
use crate::tools::load::proto::Answer;
use crate::tools::load::stats::Trouble;

/// How long a server that says it closes is waited for, before we do.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// What the answers in one receive amounted to, beyond those that were as expected.
#[derive(Default)]
struct Heard {
    logged_in: Option<Result<(), String>>,
    greeted: Option<Result<(), String>>,
    refused: u64,
    refusal: Option<String>,
    /// It came although nothing was asked.
    stray: Option<String>,
}

impl Engine {
    /// What the poller said about a client. Hints only: the calls that follow decide.
    pub(super) fn on_ready(&mut self, key: Key, readiness: Readiness) {
        let Some(client) = self.table.get_mut(key) else { return };
        match client.state {
            State::Connecting => {
                let over = readiness.has(Readiness::WRITABLE | Readiness::ERROR | Readiness::WRITE_CLOSED);
                // The edge of what came with the handshake is this one, too.
                if !over || !self.shake_hands(key) || !self.connected(key) {
                    return;
                }
            }
            State::Misbehaving if !faults::listens(client.fault) => return,
            State::Greeting
            | State::Up
            | State::Quieting
            | State::Misbehaving
            | State::CatchingUp
            | State::Leaving => {
                if readiness.has(Readiness::WRITABLE) && !client.is_flushed() {
                    self.totals.bytes_out += client.flush();
                }
            }
        }
        if readiness.has(Readiness::READABLE | Readiness::READ_CLOSED | Readiness::ERROR) {
            self.read(key, readiness.has(Readiness::READ_CLOSED | Readiness::ERROR));
        }
    }

    pub(super) fn read(&mut self, key: Key, to_the_end: bool) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(client) = self.table.get_mut(key) {
            // Records are shorter than what the socket still holds.
            let client_is_plain = client.is_plain();
            match client.recv(&mut buffer) {
                Received::Bytes(count) => {
                    self.totals.bytes_in += count as u64;
                    // Read for each: in a large batch the last would otherwise look as fast as the first.
                    let at = self.kernel.now();
                    self.on_bytes(key, &buffer[..count], at);
                    if count < buffer.len() && !to_the_end && client_is_plain {
                        break;
                    }
                }
                Received::WouldBlock => break,
                Received::Interrupted => {}
                Received::Eof => {
                    self.on_eof(key);
                    break;
                }
                Received::Failed(fault) => {
                    self.on_failed(key, fault);
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    fn on_bytes(&mut self, key: Key, bytes: &[u8], at: Instant) {
        if self.watcher == Some(key) {
            return self.hear_verdicts(key, bytes, at);
        }
        let Some(client) = self.table.get_mut(key) else { return };
        match (client.state, client.fault) {
            (State::Leaving, Some(Fault::HalfClose))
            | (State::Connecting | State::Greeting | State::Up | State::Quieting, _) => {}
            // Its answer: a goodbye, or what it thinks of garbage.
            (State::Leaving, _) => return self.forget(key, CloseHow::Plain),
            (State::Misbehaving | State::CatchingUp, _) => return,
        }
        let mut heard = Heard::default();
        let pipeline = self.plan.pipeline;
        let first = key.index as usize * pipeline as usize;
        let times = &self.times[first..first + pipeline as usize];
        let before = client.in_flight;
        let (in_flight, oldest) = (&mut client.in_flight, &mut client.oldest);
        let latencies = &mut self.interval.latency;
        let taken = self.wire.take(&mut client.session, bytes, |answer| match answer {
            Answer::Expected if *in_flight == 0 => {
                heard.stray = Some("the server answered more than it was asked".to_owned());
            }
            // How a full server, or one that does not like us, parts: not an answer.
            Answer::Refused(text) if *in_flight == 0 => heard.stray = Some(excerpt(text)),
            Answer::Expected | Answer::Refused(_) => {
                latencies.record(at.since(times[*oldest as usize]));
                *oldest = if *oldest + 1 == pipeline { 0 } else { *oldest + 1 };
                *in_flight -= 1;
                if let Answer::Refused(text) = answer {
                    heard.refused += 1;
                    heard.refusal.get_or_insert_with(|| excerpt(text));
                }
            }
            Answer::LoggedIn(text) => heard.logged_in = Some(accepted(text)),
            Answer::Greeted(text) => heard.greeted = Some(accepted(text)),
            Answer::Unasked(_) => {}
        });
        let answered = u64::from(before - *in_flight);
        self.in_flight -= answered;
        self.totals.answered += answered;
        if let Err(broken) = taken {
            return self.wrong_protocol(key, broken);
        }
        self.after_answers(key, heard, at);
    }

    fn after_answers(&mut self, key: Key, heard: Heard, at: Instant) {
        if let Some(words) = heard.stray {
            return self.wrong_protocol(key, &words);
        }
        if heard.refused > 0 {
            let refusal = || heard.refusal.unwrap_or_default();
            self.totals.troubles.add(Trouble::ErrorAnswer, heard.refused, refusal);
        }
        match heard.logged_in {
            Some(Ok(())) => self.introduce(key),
            Some(Err(text)) => return self.fail("log in", text),
            None => {}
        }
        match heard.greeted {
            Some(Ok(())) => self.come_up(key),
            Some(Err(text)) => {
                let why = format!("{text}; --identities needs linger's resp, leave it out for other servers");
                return self.fail("take an identity", why);
            }
            None => {}
        }
        let Some(client) = self.table.get_mut(key) else { return };
        // It is not worth asking again: the server closes, and has said so.
        if self.wire.closes(&client.session) && client.state == State::Up {
            return self.make_way(key);
        }
        match client.state {
            State::Up if self.phase == Phase::Loading => {
                if self.plan.rate.is_none() {
                    self.send_more(key, at);
                } else {
                    self.queue(key);
                }
            }
            State::Quieting if client.in_flight == 0 && client.dispatched == 0 => self.commit(key),
            State::Connecting
            | State::Greeting
            | State::Up
            | State::Quieting
            | State::Misbehaving
            | State::CatchingUp
            | State::Leaving => {}
        }
    }

    /// Its server closes behind the answer it gave. Another takes its place at once; this one waits for the end of file,
    /// for who closes first keeps the TIME_WAIT, and the ports here are few.
    fn make_way(&mut self, key: Key) {
        let Some(client) = self.table.get_mut(key) else { return };
        (client.state, client.act_at) = (State::Leaving, self.now + CLOSE_PATIENCE);
        let moot = u64::from(std::mem::take(&mut client.in_flight));
        self.in_flight -= moot;
        self.totals.moot += moot;
        self.up -= 1;
        self.totals.reopened += 1;
        self.arm(key);
        self.open_another();
    }

    /// A client that came up, or found its way back, takes part in the load.
    pub(super) fn offer(&mut self, key: Key) {
        let up = self.table.get(key).is_some_and(|client| client.state == State::Up);
        if self.phase != Phase::Loading || !up {
            return;
        }
        if self.plan.rate.is_none() {
            self.send_more(key, self.now);
        } else {
            self.queue(key);
        }
    }

    /// Puts a client into the ring of those that have room.
    fn queue(&mut self, key: Key) {
        let Some(client) = self.table.get_mut(key) else { return };
        if !client.queued && client.in_flight < self.plan.pipeline {
            client.queued = true;
            self.free.push_back(key);
        }
    }

    /// As many requests as there is room for: the closed loop.
    fn send_more(&mut self, key: Key, at: Instant) {
        let Some(client) = self.table.get_mut(key) else { return };
        let pipeline = self.plan.pipeline;
        let count = pipeline - client.in_flight;
        if count == 0 {
            return;
        }
        let first = key.index as usize * pipeline as usize;
        let ring = &mut self.times[first..first + pipeline as usize];
        let mut place = (client.oldest + client.in_flight) as usize;
        for _ in 0..count {
            // No remainder: a division for each request would be felt.
            place = if place >= ring.len() { place - ring.len() } else { place };
            ring[place] = at;
            place += 1;
        }
        client.in_flight = pipeline;
        self.in_flight += u64::from(count);
        self.totals.sent += u64::from(count);
        self.interval.sent += u64::from(count);
        self.totals.bytes_out += client.transmit(self.wire.requests(count), at);
    }

    /// Gives a client a request that counts from `at`.
    #[inline]
    pub(super) fn begin_request(&mut self, key: Key, at: Instant) {
        let Some(client) = self.table.get_mut(key) else { return };
        let pipeline = self.plan.pipeline;
        let place = (client.oldest + client.in_flight) % pipeline;
        self.times[key.index as usize * pipeline as usize + place as usize] = at;
        client.in_flight += 1;
        client.dispatched += 1;
        self.in_flight += 1;
        self.totals.sent += 1;
        self.interval.sent += 1;
    }

    /// Hands a client's new requests to the kernel, in one call.
    pub(super) fn send_dispatched(&mut self, key: Key, at: Instant) {
        let Some(client) = self.table.get_mut(key) else { return };
        let count = std::mem::take(&mut client.dispatched);
        if count > 0 {
            self.totals.bytes_out += client.transmit(self.wire.requests(count), at);
        }
    }

    /// Sends what the schedule says is due, as far as there are clients with room.
    pub(super) fn dispatch(&mut self) {
        if self.phase != Phase::Loading {
            return;
        }
        while self.churn.take(self.now).is_some() {
            self.replace_one();
        }
        if self.blocked && !self.free.is_empty() {
            (self.blocked, self.unblocked) = (false, self.now);
        }
        while self.schedule.next().is_some_and(|at| at <= self.now) {
            let Some(key) = self.next_free() else {
                self.blocked = true;
                self.totals.nobody_well |= self.up == 0 && self.opening.is_over();
                break;
            };
            let Some(due) = self.schedule.take(self.now) else { break };
            self.idle_since = None;
            if due >= self.unblocked {
                self.totals.lag.record(self.now.since(due));
            }
            let fresh = self.table.get(key).is_some_and(|client| client.dispatched == 0);
            self.begin_request(key, if self.plan.closed { self.now } else { due });
            if fresh {
                self.dispatched.push(key);
            }
            self.queue(key);
        }
        let mut dispatched = std::mem::take(&mut self.dispatched);
        for key in dispatched.drain(..) {
            self.send_dispatched(key, self.now);
        }
        self.dispatched = dispatched;
    }

    fn next_free(&mut self) -> Option<Key> {
        while let Some(key) = self.free.pop_front() {
            if let Some(client) = self.table.get_mut(key) {
                client.queued = false;
                if client.state == State::Up && client.in_flight < self.plan.pipeline {
                    return Some(key);
                }
            }
        }
        None
    }

    /// Sends bytes that are no request.
    pub(super) fn say(&mut self, key: Key, bytes: &[u8]) {
        if let Some(client) = self.table.get_mut(key) {
            self.totals.bytes_out += client.transmit(bytes, self.now);
        }
    }

    /// Keeps the promise of a client that has had nothing else to say.
    pub(super) fn beat_if_due(&mut self, key: Key) {
        let Some(client) = self.table.get(key) else { return };
        if self.now >= self.beat_due(client) {
            self.beat(key);
            self.totals.beats += 1;
        }
    }

    pub(super) fn beat(&mut self, key: Key) {
        self.say(key, b"*1\r\n$4\r\nBEAT\r\n");
    }

    fn on_eof(&mut self, key: Key) {
        if self.watcher == Some(key) {
            return self.fail("hear the verdicts", "the server closed the connection that asks for them");
        }
        let Some(client) = self.table.get_mut(key) else { return };
        let mut refused = 0;
        let mut answered = 0;
        let end = self.wire.end(&mut client.session, |answer| {
            answered = client.in_flight.min(1);
            refused = if matches!(answer, Answer::Refused(_)) { answered } else { 0 };
        });
        if answered > 0 {
            let first = key.index as usize * self.plan.pipeline as usize;
            let since = self.times[first + client.oldest as usize];
            self.interval.latency.record(self.kernel.now().since(since));
            client.in_flight -= 1;
            self.in_flight -= 1;
            self.totals.answered += 1;
        }
        let refusal = || "an HTTP status of 400 or more".to_owned();
        self.totals.troubles.add(Trouble::ErrorAnswer, refused.into(), refusal);
        let age = self.now.since(client.since);
        match (client.state, client.fault) {
            (State::Leaving, Some(Fault::HalfClose)) if client.in_flight > 0 => {
                let words = || "the server closed on a half-closed client before its answer".to_owned();
                self.totals.troubles.add(Trouble::AnswerLost, 1, words);
            }
            (State::Leaving | State::Misbehaving | State::CatchingUp, _) => {}
            (State::Connecting | State::Greeting | State::Up | State::Quieting, _) if end.is_err() => {
                // It is told as an error, not as a request that came to nothing.
                let cut = client.in_flight.min(1);
                client.in_flight -= cut;
                self.in_flight -= u64::from(cut);
                let words = || format!("{}, after {age:.1?}", end.err().unwrap_or_default());
                self.totals.troubles.add(Trouble::Truncated, 1, words);
                self.open_another_later();
            }
            (State::Connecting | State::Greeting | State::Up | State::Quieting, _) => {
                let in_flight = client.in_flight;
                if self.wire.closes(&client.session) || (self.is_http() && in_flight == 0) {
                    self.totals.reopened += 1;
                    self.open_another();
                } else {
                    let hint = if self.totals.answered == 0 { "; does it speak the protocol?" } else { "" };
                    let words = || {
                        format!("closed by the server after {age:.1?}, {in_flight} requests under way{hint}")
                    };
                    self.totals.troubles.add(Trouble::Closed, 1, words);
                    self.open_another_later();
                }
            }
        }
        self.forget(key, CloseHow::Plain);
    }

    fn on_failed(&mut self, key: Key, fault: SocketError) {
        if self.watcher == Some(key) {
            return self
                .fail("hear the verdicts", format!("the connection that asks for them broke: {fault:?}"));
        }
        let Some(client) = self.table.get(key) else { return };
        let age = self.now.since(client.since);
        match client.state {
            State::Leaving | State::Misbehaving | State::CatchingUp => {}
            State::Connecting | State::Greeting | State::Up | State::Quieting => {
                self.totals.troubles.add(Trouble::Reset, 1, || format!("{fault:?} after {age:.1?}"));
                self.open_another_later();
            }
        }
        self.forget(key, CloseHow::Plain);
    }

    fn wrong_protocol(&mut self, key: Key, broken: &str) {
        self.totals.troubles.add(Trouble::WrongProtocol, 1, || broken.to_owned());
        if self.totals.answered == 0 {
            let target = &self.plan.target;
            return self.fail(format!("speak {} with {}", target.scheme.name(), target.address), broken);
        }
        self.open_another_later();
        self.forget(key, CloseHow::Plain);
    }

    /// Another client takes the place of one that is gone, as long as there is a load.
    fn open_another(&mut self) {
        if matches!(self.phase, Phase::Ramping | Phase::Loading) {
            self.opening.again();
        }
    }

    /// The same, but not at once: a server that throws everybody out would only be stormed.
    fn open_another_later(&mut self) {
        self.open_another();
        self.opening.rest(self.now);
    }

    fn is_http(&self) -> bool {
        self.plan.target.scheme == crate::tools::load::plan::Scheme::Http
    }
}

/// What the server thinks of what a client has said first.
pub(super) fn accepted(answer: &[u8]) -> Result<(), String> {
    if answer == b"+OK\r\n" { Ok(()) } else { Err(excerpt(answer)) }
}

/// The first words of a server, made fit for a terminal.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]);
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
