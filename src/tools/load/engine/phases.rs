//! The course of a run: its phases, when each is over, and what is done as it begins.

use super::{Engine, News, Outcome, Tell};
use crate::core::time::{Duration, Instant};
use crate::net::{CloseHow, Kernel as _, Signal, Stream as _};
use crate::sys::{Stream, host};
use crate::tools::load::client::{Client, State};
use crate::tools::load::faults::Fault;
use crate::tools::load::plan::Judge;
use crate::tools::load::schedule::Schedule;
use crate::tools::load::stats::{Interval, Trouble};
use serde::{Deserialize, Serialize};

/// Where in the run the engine is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Phase {
    /// The connection that hears the verdicts is being made. It comes first, so that nothing is missed.
    Watching,
    /// Connections are being made.
    Ramping,
    /// All are up; others of the same run may not be there yet.
    Ready,
    /// Requests go out.
    Loading,
    /// None goes out any more; answers are waited for.
    Draining,
    /// Verdicts are waited for.
    Settling,
    /// The run is over.
    Done,
}

impl Phase {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Watching => "subscribing",
            Self::Ramping => "connecting",
            Self::Ready => "ready",
            Self::Loading => "loading",
            Self::Draining => "draining",
            Self::Settling => "waiting for verdicts",
            Self::Done => "done",
        }
    }
}

impl Engine {
    pub(super) fn take_signals(&mut self, on: Tell<'_>) {
        while let Some(signal) = self.kernel.next_signal() {
            match signal {
                Signal::Report => self.wait_for_go = false,
                Signal::Reload | Signal::Child => {}
                Signal::Terminate if self.totals.interrupted => {
                    self.totals.cut = true;
                    self.enter(Phase::Done, on);
                }
                Signal::Terminate => {
                    self.totals.interrupted = true;
                    match self.phase {
                        Phase::Loading => self.phase_ends = self.now,
                        Phase::Watching | Phase::Ramping | Phase::Ready => self.enter(Phase::Done, on),
                        Phase::Draining | Phase::Settling | Phase::Done => {}
                    }
                }
            }
        }
    }

    /// Goes on to the next phase, if this one is over.
    pub(super) fn step(&mut self, on: Tell<'_>) {
        let over = self.now >= self.phase_ends;
        match self.phase {
            Phase::Watching if over => {
                let why = "no answer to PSUBSCRIBE; is this linger's resp listener?";
                self.fail("subscribe to presence", why);
            }
            Phase::Ramping if self.opening.is_over() => self.enter(Phase::Ready, on),
            Phase::Ramping if over => {
                self.opening.stop();
                self.enter(Phase::Ready, on);
            }
            Phase::Ready if !self.wait_for_go => self.enter(Phase::Loading, on),
            Phase::Loading if over => self.enter(Phase::Draining, on),
            Phase::Draining if over || self.in_flight == 0 && self.quieting == 0 => {
                self.enter(Phase::Settling, on);
            }
            Phase::Settling => match self.verdicts_until() {
                Some(until) if until > self.now => self.phase_ends = until,
                Some(_) | None => self.enter(Phase::Done, on),
            },
            Phase::Watching
            | Phase::Ramping
            | Phase::Ready
            | Phase::Loading
            | Phase::Draining
            | Phase::Done => {}
        }
    }

    /// Until when the clients have to stay for the sake of verdicts that are not there yet.
    fn verdicts_until(&self) -> Option<Instant> {
        match self.plan.judge {
            Judge::Presence if self.plan.identities => self.ledger.wanted_until(self.plan.contract.patience),
            // Counters are looked at afterwards, with patience.
            Judge::Admin(..) => self.ledger.wanted_until(Duration::ZERO),
            Judge::Presence | Judge::Nobody => None,
        }
    }

    pub(super) fn enter(&mut self, phase: Phase, on: Tell<'_>) {
        self.phase = phase;
        self.phase_ends = Instant::NEVER;
        match phase {
            Phase::Watching => {}
            Phase::Ramping => {
                self.opening.begin(&self.plan, self.now);
                self.phase_ends = self.opening.patience_ends(&self.plan);
            }
            Phase::Ready => {
                self.totals.ramp_s = self.now.since(self.began).as_secs_f64();
                self.totals.up = self.up;
                self.heeded(on(News::Ready));
            }
            Phase::Loading => self.begin_load(),
            Phase::Draining => {
                self.end_load();
                self.begin_the_rest();
            }
            Phase::Settling => {
                let words = || {
                    let hint = if self.totals.answered == 0 { "; does it speak the protocol?" } else { "" };
                    format!("{} requests had no answer when the run ended{hint}", self.in_flight)
                };
                self.totals.troubles.add(Trouble::Unanswered, self.in_flight, words);
                // However it came about: a load that was never answered did not go well.
                let totals = &mut self.totals;
                if totals.answered == 0 && totals.troubles.total() == 0 && totals.faults.is_empty() {
                    let sent = totals.sent;
                    let words = || format!("none of {sent} requests was answered");
                    totals.troubles.add(Trouble::Unanswered, sent, words);
                }
            }
            Phase::Done => self.report_interval(on),
        }
        // Some phases are over as they begin.
        if phase != Phase::Done {
            self.step(on);
        }
    }

    fn begin_load(&mut self) {
        self.load_began = self.now;
        self.cpu_before = host::cpu_time();
        self.waited_before = host::waited().unwrap_or_default();
        self.server_before = self.server_cpu();
        let end = self.now + self.plan.duration;
        self.phase_ends = end;
        self.schedule = Schedule::new(self.now, self.plan.rate.unwrap_or(0.0), end);
        self.churn = Schedule::new(self.now, self.plan.churn.unwrap_or(0.0), end);
        self.unblocked = self.now;
        self.assign_faults();
        for key in self.keys(|_| true) {
            self.offer(key);
        }
    }

    fn end_load(&mut self) {
        self.totals.load_s = self.now.since(self.load_began).as_secs_f64();
        let waited = host::waited().unwrap_or_default().saturating_sub(self.waited_before);
        let cpu = host::cpu_time().saturating_sub(self.cpu_before);
        // Of the time in which there was nothing to do others may have held the core: then it is no CPU time of ours.
        self.totals.cpu_s = cpu.saturating_sub(self.spun.saturating_sub(waited)).as_secs_f64();
        self.totals.waited_s = waited.as_secs_f64();
        self.totals.in_time = self.totals.answered;
        self.totals.server_cpu_s = self
            .server_cpu()
            .zip(self.server_before)
            .map(|(now, before)| now.saturating_sub(before).as_secs_f64());
        self.totals.overdue = self.schedule.overdue(self.now);
        self.opening.stop();
        self.phase_ends = self.now + self.plan.contract.patience;
    }

    fn server_cpu(&mut self) -> Option<Duration> {
        self.plan.server.and_then(host::cpu_time_of)
    }

    pub(super) fn report_interval(&mut self, on: Tell<'_>) {
        let (faults, judged) = self.ledger.progress();
        self.totals.request.add(&self.interval.latency);
        let interval = Interval {
            at_s: self.now.since(self.began).as_secs_f64(),
            seconds: self.now.since(self.interval_began).as_secs_f64(),
            up: self.up,
            troubles: self.totals.troubles.total(),
            faults,
            judged,
            ..std::mem::take(&mut self.interval)
        };
        self.interval_began = self.now;
        let phase = self.phase;
        self.heeded(on(News::Interval(phase, Box::new(interval))));
    }

    fn heeded(&mut self, listened: bool) {
        if !listened {
            self.phase = Phase::Done;
        }
    }

    /// Closes every client. What the server says from now on does not count.
    pub(super) fn finish(mut self) -> Outcome {
        if self.totals.load_s == 0.0 && self.load_began < self.now {
            self.end_load();
        }
        let verdicts = self.watches().then(|| self.ledger.verdicts(self.now));
        for key in self.keys(|_| true) {
            if let Some(mut client) = self.table.remove(key) {
                let how = self.last_close(&client);
                if how == CloseHow::Plain {
                    client.say_last_word();
                }
                client.stream.close(how);
            }
        }
        self.graveyard.drain(..).for_each(|stream| stream.close(CloseHow::Reset));
        Outcome { totals: self.totals, verdicts }
    }

    /// How a client parts that is still there when the run ends.
    fn last_close(&mut self, client: &Client<Stream>) -> CloseHow {
        let misbehaves = client.state == State::Misbehaving;
        let stays = client.fault.is_some_and(|fault| !self.ends(fault));
        let unread = misbehaves && client.fault == Some(Fault::SlowRead) || client.state == State::CatchingUp;
        if stays && unread {
            // A close with unread input is a reset, whatever was meant.
            self.totals.left_unread += 1;
            return CloseHow::Reset;
        }
        let well = matches!(client.state, State::Greeting | State::Up | State::Quieting);
        if well || stays && misbehaves {
            self.totals.left += 1;
            return CloseHow::Plain;
        }
        // Those who took no part have no say in it either; and nothing of them may linger here.
        CloseHow::Reset
    }
}
