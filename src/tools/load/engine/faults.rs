//! Committing faults: each the way that real clients do it, and nothing more, so that the server sees that
//! fault and no other.

use super::Engine;
use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use crate::net::{CloseHow, Kernel as _, Stream as _};
use crate::tools::load::client::State;
use crate::tools::load::faults::{Fault, Manner, Own, Silence, Truth};
use crate::tools::load::plan::{Judge, Scheme};
use crate::tools::load::proto::resp;

/// The part of the load's time in which faults begin.
const WINDOW: (f64, f64) = (0.05, 0.8);
/// Bytes that a client asks for that reads nothing: more than all buffers on the way hold once its own are small.
const FLOOD_MAX: u32 = 256;
/// The payload of each request of a flood.
const FLOOD_BYTES: usize = 32 * 1024;
/// How often a flood goes on, and its client is heard.
const FLOOD_STEP: Duration = Duration::from_millis(50);
/// How often a host that is about to vanish looks whether the server has acknowledged all it sent; that takes up to
/// a delayed acknowledgement, 40 ms as a rule.
const QUIET_STEP: Duration = Duration::from_millis(5);
/// The time between two bytes of a trickle; less if more were promised.
const TRICKLE_STEP: Duration = Duration::from_millis(100);

impl Engine {
    /// Draws who commits what, and spreads it over the time of the load.
    pub(super) fn assign_faults(&mut self) {
        if self.plan.faults.is_empty() {
            return;
        }
        let keys = self.keys(|client| client.state == State::Up);
        let drawn = self.plan.faults.draw(keys.len());
        let all = drawn.iter().flatten().count();
        let mut begun = 0;
        for (key, fault) in keys.into_iter().zip(drawn) {
            let (Some(fault), Some(client)) = (fault, self.table.get_mut(key)) else { continue };
            let spread = self.plan.duration.mul_f64(place(begun, all));
            client.fault = Some(fault);
            client.act_at = self.now + self.plan.faults.manner(fault).at.unwrap_or(spread);
            begun += 1;
            self.arm(key);
        }
    }

    /// Whether the server ought to end who commits it.
    pub(super) fn ends(&self, fault: Fault) -> bool {
        matches!(self.plan.truth(Some(fault)), Truth::Ends(_))
    }

    /// The load is over: who was about to misbehave does so now, unless all is to be over soon.
    pub(super) fn begin_the_rest(&mut self) {
        for key in self.keys(|client| client.state == State::Up && client.act_at < Instant::NEVER) {
            if !self.totals.interrupted {
                self.approach(key);
            } else if let Some(client) = self.table.get_mut(key) {
                (client.fault, client.act_at) = (None, Instant::NEVER);
            }
        }
    }

    /// How long a client that commits it is silent in this run.
    fn silence(&self, fault: Fault) -> Silence {
        fault.silence(self.plan.faults.manner(fault), &self.plan.contract)
    }

    /// The time of its fault has come: it commits it as soon as its requests are answered.
    pub(super) fn approach(&mut self, key: Key) {
        let Some(client) = self.table.get_mut(key) else { return };
        let Some(fault) = client.fault else { return };
        client.state = State::Quieting;
        client.act_at = Instant::NEVER;
        self.up -= 1;
        self.quieting += 1;
        let answered = client.in_flight == 0;
        let timed = self.plan.faults.manner(fault).time().is_some();
        if timed && self.silence(fault) != Silence::None && self.plan.heartbeat.is_some() {
            // A silence whose length was asked for begins now, and not with whatever it said last.
            self.beat(key);
        }
        if answered {
            self.commit(key);
        }
    }

    /// Another client takes the place of this one: it leaves as well-behaved clients do.
    pub(super) fn replace_one(&mut self) {
        let slots = u32::try_from(self.table.slots_used()).unwrap_or(u32::MAX);
        for _ in 0..slots {
            self.churn_slot = if self.churn_slot + 1 >= slots { 0 } else { self.churn_slot + 1 };
            let Some((key, _)) = self.table.at(self.churn_slot) else { continue };
            let Some(client) = self.table.get_mut(key) else { continue };
            // Not who has come back after a fault: that is what it is judged by.
            let free = client.state == State::Up && client.fault.is_none() && self.watcher != Some(key);
            if free && !self.ledger.has_fault(client.number) {
                client.fault = Some(if self.plan.identities { Fault::Goodbye } else { Fault::Fin });
                self.totals.churned += 1;
                self.opening.again();
                return self.approach(key);
            }
        }
    }

    /// Commits its fault, now that nothing is under way.
    pub(super) fn commit(&mut self, key: Key) {
        let Some(client) = self.table.get_mut(key) else { return };
        let Some(fault) = client.fault else { return };
        let (number, spoke) = (client.number, client.spoke);
        let manner = self.plan.faults.manner(fault);
        self.now = self.kernel.now();
        let blackholed = matches!(fault, Fault::Vanish | Fault::Reboot);
        // What was sent and not acknowledged, the kernel would send again: a host that is gone does not.
        if blackholed && client.stream.evidence().is_some_and(|evidence| evidence.unacked > 0) {
            client.act_at = self.now + QUIET_STEP;
            return self.arm(key);
        }
        client.state = State::Misbehaving;
        self.quieting -= 1;
        if blackholed && let Err(refused) = client.stream.blackhole() {
            return self.skip(key, fault, &format!("the kernel refuses SO_ATTACH_FILTER: {refused:?}"));
        }
        self.ledger.commit(number, fault, self.now);
        *self.totals.faults.entry(fault).or_default() += 1;
        match fault {
            Fault::Goodbye => self.leave_with(key, &resp::command(&["QUIT"])),
            Fault::Garbage => self.leave_with(key, &garbage(manner.count())),
            Fault::Fin => self.forget(key, CloseHow::Plain),
            Fault::Rst => self.forget(key, CloseHow::Reset),
            Fault::FinMidframe => {
                let request = self.wire.requests(1);
                let out = manner.count().map_or(request.len() / 2, |count| count as usize);
                let begun = request[..out].to_vec();
                self.say(key, &begun);
                self.forget(key, CloseHow::Plain);
            }
            Fault::HalfClose => self.half_close(key, manner.count().unwrap_or(1)),
            Fault::Freeze | Fault::Vanish | Fault::Reboot | Fault::LateBeat => {
                // Where nothing was promised, what it said last means nothing.
                let from = if self.plan.heartbeat.is_some() { spoke } else { self.now };
                let back_at = match self.silence(fault) {
                    Silence::For(length) => from + length,
                    Silence::None | Silence::Forever => Instant::NEVER,
                };
                self.misbehave(key, back_at);
                if back_at <= self.now {
                    self.misbehave_on(key);
                }
            }
            Fault::Trickle => self.misbehave(key, self.now),
            Fault::SlowRead => {
                if let Some(client) = self.table.get(key) {
                    client.stream.shrink_buffers();
                }
                self.misbehave(key, self.now);
            }
        }
    }

    /// A fault cannot be committed here: its client goes on as if nothing were.
    fn skip(&mut self, key: Key, fault: Fault, why: &str) {
        self.count_skipped(fault, why);
        self.recover(key);
        self.offer(key);
    }

    fn count_skipped(&mut self, fault: Fault, why: &str) {
        self.totals.skipped.entry(fault).or_insert_with(|| (0, why.to_owned())).0 += 1;
    }

    fn recover(&mut self, key: Key) {
        let Some(client) = self.table.get_mut(key) else { return };
        (client.state, client.act_at, client.oldest) = (State::Up, Instant::NEVER, 0);
        self.up += 1;
        self.arm(key);
    }

    fn misbehave(&mut self, key: Key, act_at: Instant) {
        let Some(client) = self.table.get_mut(key) else { return };
        (client.state, client.act_at, client.oldest) = (State::Misbehaving, act_at, 0);
        client.since = self.now;
        self.wheel.cancel(key.index);
        self.arm(key);
    }

    /// Says its last words, and closes when the server has answered them.
    fn leave_with(&mut self, key: Key, words: &[u8]) {
        if let Some(client) = self.table.get_mut(key) {
            client.state = State::Leaving;
        }
        self.say(key, words);
    }

    fn half_close(&mut self, key: Key, requests: u32) {
        for _ in 0..requests {
            self.begin_request(key, self.now);
        }
        self.send_dispatched(key, self.now);
        if let Some(client) = self.table.get_mut(key) {
            client.state = State::Leaving;
            client.say_last_word();
            client.stream.half_close();
        }
    }

    /// Its host has been silent, and is back with the same name.
    fn reboot(&mut self, key: Key) {
        let Some(client) = self.table.remove(key) else { return };
        self.wheel.cancel(key.index);
        self.graveyard.push(client.stream);
        self.opening.come_back(client.number);
    }

    /// The next step of a fault that goes on.
    pub(super) fn misbehave_on(&mut self, key: Key) {
        let Some(client) = self.table.get(key) else { return };
        let Some(fault) = client.fault else { return };
        let (steps, since, spoke) = (client.oldest, client.since, client.spoke);
        let manner = self.plan.faults.manner(fault);
        match fault {
            Fault::Trickle => {
                let request = self.wire.requests(1);
                let byte = [request[steps as usize % request.len()]];
                let usual = self.plan.heartbeat.map_or(TRICKLE_STEP, |beat| TRICKLE_STEP.min(beat / 4));
                self.say(key, &byte);
                self.again_at(key, self.now + manner.time().unwrap_or(usual));
            }
            Fault::SlowRead if manner.time().is_some_and(|time| since + time <= self.now) => {
                self.come_to(key);
            }
            Fault::SlowRead => {
                self.flood(key);
                let over = manner.time().map_or(Instant::NEVER, |time| since + time);
                self.again_at(key, over.min(self.now + FLOOD_STEP));
            }
            Fault::Freeze | Fault::Vanish | Fault::LateBeat => self.come_to(key),
            Fault::Reboot if self.was_late(fault, self.now.since(spoke)) => self.excuse(key, fault),
            Fault::Reboot => self.reboot(key),
            // These do nothing any more.
            Fault::Goodbye
            | Fault::Fin
            | Fault::FinMidframe
            | Fault::Rst
            | Fault::HalfClose
            | Fault::Garbage => {}
        }
    }

    /// It is back: heard again, and it takes what came meanwhile.
    fn come_to(&mut self, key: Key) {
        let Some(client) = self.table.get(key) else { return };
        let Some(fault) = client.fault else { return };
        let mut last = client.spoke;
        if fault == Fault::Vanish {
            client.stream.hear_again();
        } else if fault == Fault::SlowRead {
            client.stream.widen_buffers();
            last = client.since;
        }
        let late = self.was_late(fault, self.now.since(last));
        if self.plan.heartbeat.is_some() {
            self.beat(key);
        }
        if let Some(client) = self.table.get_mut(key) {
            self.totals.bytes_out += client.flush();
        }
        if late {
            self.excuse(key, fault);
        } else if self.ends(fault) {
            // The server has ended it, and the first that it hears will tell it so.
            self.resume(key, State::Leaving);
        } else if fault == Fault::SlowRead {
            self.resume(key, State::CatchingUp);
        } else {
            self.recover(key);
        }
        // The edge of what came meanwhile has passed; and an end that came is no answer to what it asks next.
        self.read(key, true);
        self.offer(key);
    }

    /// Whether we were held up so long that the server ought to say something else of this than it was to.
    fn was_late(&self, fault: Fault, lasted: Duration) -> bool {
        if self.plan.judge == Judge::Nobody {
            return false;
        }
        let (manner, contract) = (self.plan.faults.manner(fault), &self.plan.contract);
        let really = Manner { own: Some(Own::Time(lasted)), ..manner };
        fault.truth(really, contract) != fault.truth(manner, contract)
    }

    /// It did not do what it was to do, through no fault of the server.
    fn excuse(&mut self, key: Key, fault: Fault) {
        let Some(client) = self.table.get(key) else { return };
        self.ledger.excuse(client.number);
        self.totals.faults.entry(fault).and_modify(|count| *count -= 1);
        self.totals.excused += 1;
        self.count_skipped(fault, "the generator was held up, and it lasted longer than it was to");
        self.resume(key, State::Leaving);
    }

    fn resume(&mut self, key: Key, state: State) {
        if let Some(client) = self.table.get_mut(key) {
            (client.state, client.act_at) = (state, Instant::NEVER);
        }
        self.arm(key);
    }

    fn again_at(&mut self, key: Key, at: Instant) {
        let Some(client) = self.table.get_mut(key) else { return };
        client.oldest += 1;
        client.act_at = at;
        self.arm(key);
    }

    /// Asks for more, as long as the kernel takes it.
    fn flood(&mut self, key: Key) {
        if self.flood.is_empty() {
            self.flood = self.flood_bytes();
        }
        let Some(client) = self.table.get_mut(key) else { return };
        self.totals.bytes_out += client.flush();
        if client.is_flushed() && client.oldest < FLOOD_MAX {
            self.totals.bytes_out += client.transmit(&self.flood, self.now);
        }
    }

    fn flood_bytes(&self) -> Vec<u8> {
        match self.plan.target.scheme {
            Scheme::Resp => resp::command(&["PING", &"x".repeat(FLOOD_BYTES)]),
            Scheme::Echo => vec![b'x'; FLOOD_BYTES],
            Scheme::Http => self.wire.requests(1).repeat(64),
        }
    }
}

/// What is no protocol, so many bytes of it.
fn garbage(bytes: Option<u32>) -> Vec<u8> {
    let mut garbage = b"*x\r\n".to_vec();
    // All the bytes there are, in turn.
    garbage.extend((u8::MIN..=u8::MAX).cycle().take(bytes.unwrap_or(0).saturating_sub(4) as usize));
    garbage
}

/// Whether a client that misbehaves so still reads.
pub(super) const fn listens(fault: Option<Fault>) -> bool {
    matches!(fault, Some(Fault::Trickle | Fault::LateBeat))
}

/// When fault `index` of `all` begins, as a part of the load's time.
#[expect(clippy::cast_precision_loss, reason = "counts of clients are far below 2^53")]
fn place(index: usize, all: usize) -> f64 {
    let (from, to) = WINDOW;
    from + (to - from) * (index as f64 + 0.5) / all.max(1) as f64
}
