//! One worker: the process, the channel to it, and when it is started anew.

use super::pulse::{Pulse, Step};
use crate::core::secret::Secret;
use crate::core::time::{Duration, Instant};
use crate::net::{Exit, Fatal, Interest, Kernel, Process as _, Supervising, Token};
use crate::observe::metrics::Ledger;
use crate::workers::link::{
    Broken, Channel, Finding, More, Query, Question, RELAYS_HIGH, ToSupervisor, ToWorker,
};
use indexmap::IndexSet;

/// How long a place stays empty after a worker has ended: doubled each time, up to the second, and from the first
/// again once one has lived for a while.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
const GOOD_LIFE: Duration = Duration::from_secs(10);
/// How long a worker whose channel is gone has to end by itself.
const LAST_CALL: Duration = Duration::from_secs(5);
/// Output to a worker, in bytes, over which it is asked nothing more: it stalls. Above what is relayed, so that
/// a burst of that is no reason not to ask.
const QUESTIONS_HIGH: usize = RELAYS_HIGH + 1024 * 1024;

/// A worker's place, and who is in it.
pub(super) struct Worker<K: Supervising> {
    /// From 1.
    pub(super) number: u32,
    /// Its listening sockets. Kept open here, so that who waits in their queues waits for its successor.
    pub(super) listeners: Vec<K::Listener>,
    pub(super) life: Life<K>,
    pub(super) ledger: Ledger,
    /// Times that one was started in the place of another.
    pub(super) restarts: u64,
    /// Times that one has ended.
    pub(super) ends: u64,
    /// Questions that were not answered in time.
    pub(super) unanswered: u64,
    /// Received, and not taken yet.
    pub(super) has_more: bool,
    /// Identities of which it was not told what happened last, because it did not keep up.
    pub(super) missed: IndexSet<Vec<u8>>,
    /// Times that one was found stalled.
    pub(super) stalls: u64,
    backoff: Duration,
}

/// Where a worker is in its life, from the first to the last.
pub(super) enum Life<K: Supervising> {
    /// Its process is being started, or was and has ended: until when the place stays empty.
    Resting { until: Instant },
    /// Its process runs, and has not said yet that it serves.
    Starting(Process<K>),
    /// It serves.
    Serving(Process<K>),
    /// It has ended, and so will the server.
    Over,
}

/// The supervisor's end of a channel.
type OurEnd<K> = Channel<<K as Kernel>::Stream, ToSupervisor, ToWorker>;

/// A process that runs.
pub(super) struct Process<K: Supervising> {
    child: K::Process,
    channel: Option<OurEnd<K>>,
    since: Instant,
    /// Something may be there to be received.
    pub(super) ready: bool,
    /// When it is killed, if it has not ended by itself.
    kill: Instant,
    pulse: Pulse,
    /// Its end of the channel took less than there was.
    blocked: bool,
    /// The configuration was read again, and it was not told yet.
    reload_due: bool,
}

impl<K: Supervising> Worker<K> {
    pub(super) fn new(number: u32, listeners: Vec<K::Listener>) -> Self {
        Self {
            number,
            listeners,
            life: Life::Resting { until: Instant::ZERO },
            ledger: Ledger::default(),
            restarts: 0,
            ends: 0,
            unanswered: 0,
            has_more: false,
            missed: IndexSet::new(),
            stalls: 0,
            backoff: BACKOFF,
        }
    }

    /// Starts its process. `start`: what it is told before anything else.
    ///
    /// # Errors
    /// When that is not possible now.
    pub(super) fn start(
        &mut self,
        kernel: &mut K,
        of: u32,
        token: Token,
        now: Instant,
        start: ToWorker,
    ) -> Result<u32, Fatal> {
        let (child, stream) = kernel.start_worker(self.number, of, &self.listeners)?;
        let pid = child.id();
        let watched = kernel.watch(&stream, token, Interest::ReadWrite);
        let mut channel = Channel::new(stream);
        let queued = channel.try_send_bulk(|| start);
        debug_assert!(queued, "a new channel is empty");
        // One that cannot be heard is no worker: it sees its channel end, and ends.
        let channel = watched.is_ok().then_some(channel);
        let ready = channel.is_some();
        let kill = if ready { Instant::NEVER } else { now };
        self.restarts += u64::from(self.ends > 0);
        let pulse = Pulse::new(now);
        let (blocked, reload_due) = (false, false);
        self.life =
            Life::Starting(Process { child, channel, since: now, ready, kill, pulse, blocked, reload_due });
        Ok(pid)
    }

    /// Its process, if it has one that was not waited for.
    pub(super) fn pid(&self) -> Option<u32> {
        match &self.life {
            Life::Starting(process) | Life::Serving(process) => Some(process.child.id()),
            Life::Resting { .. } | Life::Over => None,
        }
    }

    pub(super) const fn process(&mut self) -> Option<&mut Process<K>> {
        match &mut self.life {
            Life::Starting(process) | Life::Serving(process) => Some(process),
            Life::Resting { .. } | Life::Over => None,
        }
    }

    /// Its process has said that it serves.
    pub(super) fn on_serving(&mut self, now: Instant) {
        self.life = match std::mem::replace(&mut self.life, Life::Over) {
            Life::Starting(process) => Life::Serving(Process { pulse: Pulse::new(now), ..process }),
            life @ (Life::Resting { .. } | Life::Serving(_) | Life::Over) => life,
        };
    }

    /// Receives. What it has said is taken with [`next_message`](Self::next_message).
    pub(super) fn receive(&mut self, now: Instant) {
        let Some(process) = self.process() else { return };
        let Some(channel) = process.channel.as_mut().filter(|_| process.ready) else { return };
        let more = channel.receive();
        process.ready = more == Ok(More::Maybe);
        if more == Err(Broken) {
            process.kill = process.kill.min(now + LAST_CALL);
        }
    }

    pub(super) fn next_message(&mut self) -> Option<ToSupervisor> {
        let process = self.process()?;
        let Ok(message) = process.channel.as_mut()?.next_message() else {
            // What it says makes no sense: it is not to be reasoned with.
            (process.channel, process.ready) = (None, false);
            process.kill = Instant::ZERO;
            return None;
        };
        message
    }

    /// Sends it a message, if it runs.
    pub(super) fn send(&mut self, message: &ToWorker) -> bool {
        let channel = self.process().and_then(|process| process.channel.as_mut());
        let Some(channel) = channel else { return false };
        channel.send(message);
        true
    }

    /// Has it told the configuration, if it runs. That may take a while, through which what others say is relayed to it as
    /// ever. One that does not read has one waiting, and is told the newest when that is gone: the queue is bounded.
    pub(super) const fn reload(&mut self) {
        if let Some(process) = self.process() {
            process.reload_due = true;
        }
    }

    /// Relays something that others have said, if it runs; false if it stalls, and will never hear of it.
    pub(super) fn relay(&mut self, message: &ToWorker) -> bool {
        let channel = self.process().and_then(|process| process.channel.as_mut());
        let Some(channel) = channel else { return true };
        let keeps_up = channel.backlog() < RELAYS_HIGH;
        if keeps_up {
            channel.send(message);
        }
        keeps_up
    }

    /// An identity that it is to be told of, once it keeps up again.
    pub(super) fn next_missed(&mut self) -> Option<Vec<u8>> {
        if self.is_behind() { None } else { self.missed.pop() }
    }

    /// Whether something is left for [`next_missed`](Self::next_missed) now.
    pub(super) fn may_catch_up(&self) -> bool {
        !self.missed.is_empty() && !self.is_behind()
    }

    /// Whether it has not taken most of what was relayed to it.
    fn is_behind(&self) -> bool {
        match &self.life {
            Life::Starting(process) | Life::Serving(process) => {
                process.channel.as_ref().is_some_and(|channel| channel.backlog() > RELAYS_HIGH / 2)
            }
            Life::Resting { .. } | Life::Over => false,
        }
    }

    /// Asks it something; false if it cannot answer.
    pub(super) fn ask(&mut self, question: &Question) -> bool {
        self.is_serving() && self.ask_ahead(question)
    }

    /// The same, also if it does not serve yet: it answers once it does.
    pub(super) fn ask_ahead(&mut self, question: &Question) -> bool {
        self.hears() && self.send(&ToWorker::Ask(question.clone()))
    }

    /// Asks it on behalf of a client. Gives what is to be said where it cannot answer.
    pub(super) fn query(&mut self, number: u64, query: &Query) -> Option<Finding> {
        if !matches!(self.life, Life::Serving(_)) {
            return Some(Finding::Nothing);
        }
        // One that is known to be stalled is not waited for.
        let asked = !self.is_stalled()
            && self.hears()
            && self.send(&ToWorker::Query { number, query: query.clone() });
        (!asked).then_some(Finding::Silent)
    }

    /// Whether it serves.
    pub(super) const fn is_serving(&self) -> bool {
        matches!(self.life, Life::Serving(_))
    }

    /// Whether it runs, and takes what it is told.
    fn hears(&self) -> bool {
        match &self.life {
            Life::Starting(process) | Life::Serving(process) => {
                process.channel.as_ref().is_some_and(|channel| channel.backlog() < QUESTIONS_HIGH)
            }
            Life::Resting { .. } | Life::Over => false,
        }
    }

    /// Sends what it takes. `file`: the configuration as it was read last.
    pub(super) fn flush(&mut self, file: &Secret<String>, now: Instant) {
        let Some(process) = self.process() else { return };
        let Some(channel) = process.channel.as_mut() else { return };
        if channel.pending_output() == 0 && !process.reload_due {
            return;
        }
        let pending = channel.pending_output();
        let mut sent = channel.flush();
        // Where the kernel's buffer was full, room in it is a sign that somebody reads.
        let moved = process.blocked && channel.pending_output() < pending;
        if process.reload_due && channel.try_send_bulk(|| ToWorker::Reload { file: file.clone() }) {
            process.reload_due = false;
            sent = sent.and_then(|()| channel.flush());
        }
        if sent.is_err() {
            process.kill = process.kill.min(now + LAST_CALL);
        }
        process.blocked = channel.pending_output() > 0;
        if moved && !process.pulse.is_stalled() {
            process.pulse.on_sign(now);
        }
    }

    /// It was heard from. Gives since when it had stalled, if that is over now.
    pub(super) const fn on_sign(&mut self, now: Instant) -> Option<Instant> {
        match self.process() {
            Some(process) => process.pulse.on_sign(now),
            None => None,
        }
    }

    /// It could not have been heard until now.
    pub(super) const fn restart_pulse(&mut self, now: Instant) {
        if let Some(process) = self.process() {
            process.pulse.restart(now);
        }
    }

    /// What is to be done about its signs of life; it is asked for one here.
    pub(super) fn take_pulse(&mut self, now: Instant, patience: Option<Duration>) -> Step {
        let Life::Serving(process) = &mut self.life else { return Step::Wait };
        let step = process.pulse.step(now, patience);
        match step {
            Step::Ask => {
                self.send(&ToWorker::AskAlive);
            }
            Step::Stalled(_) => self.stalls += 1,
            Step::End(_) => process.kill = now,
            Step::Wait => {}
        }
        step
    }

    /// Whether it stalls.
    pub(super) const fn is_stalled(&self) -> bool {
        matches!(&self.life, Life::Serving(process) if process.pulse.is_stalled())
    }

    /// Whether newcomers are answered by it.
    pub(super) const fn answers(&self) -> bool {
        matches!(self.life, Life::Serving(_)) && !self.is_stalled()
    }

    /// Lets it live until then at most.
    pub(super) fn kill_at(&mut self, at: Instant) {
        if let Some(process) = self.process() {
            process.kill = process.kill.min(at);
        }
    }

    /// When it is to be looked at.
    pub(super) fn next(&self, patience: Option<Duration>) -> Instant {
        match &self.life {
            Life::Resting { until } => *until,
            Life::Starting(process) => process.kill,
            Life::Serving(process) => process.kill.min(process.pulse.next(patience)),
            Life::Over => Instant::NEVER,
        }
    }

    /// Kills it if its time has come. Gives how it has ended, and after how long, if it has: it is no zombie then.
    pub(super) fn reap(&mut self, now: Instant) -> Option<(Exit, Duration)> {
        let process = self.process()?;
        if process.kill <= now {
            process.child.kill();
            process.kill = Instant::NEVER;
        }
        let status = process.child.try_wait()?;
        // It may have said something with its last breath.
        process.ready = true;
        Some((status, now.since(process.since)))
    }

    /// Its process has ended, or could not be started. Gives how long its place stays empty.
    pub(super) fn rest(&mut self, lived: Duration, now: Instant) -> Duration {
        if lived >= GOOD_LIFE {
            self.backoff = BACKOFF;
        }
        let pause = self.backoff;
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        self.ends += 1;
        self.has_more = false;
        self.missed = IndexSet::new();
        self.ledger.close();
        self.life = Life::Resting { until: now + pause };
        pause
    }
}
