//! The simulated `epoll`: what a poll brings, in which order, and what keeps the loop from looking at it.

use super::faults::Canary;
use super::kernel::SimEnv;
use super::processes::ProcessState;
use super::socket::{mask, readiness};
use super::tcp::Sock;
use super::world::{Conn, Side, World};
use crate::core::tcp::TcpState;
use crate::core::time::Duration;
use crate::net::{Polled, Readiness, Ready, Signal, SocketOptions, Token};
use std::collections::VecDeque;

/// An entry of an `epoll` set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    /// Whose set it is.
    pub(super) process: usize,
    pub(super) token: u64,
    pub(super) interest: u8,
    /// It is in the ready list.
    pub(super) queued: bool,
}

/// A source in a ready list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    Listener(usize),
    Conn(usize),
    /// An end of a link between processes.
    Link(usize, usize),
}

/// A listening socket of the server, or of an upstream.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) backlog: u32,
    pub(super) options: SocketOptions,
    pub(super) queue: VecDeque<usize>,
    pub(super) closed: bool,
    /// How many descriptors it has, in all processes.
    pub(super) descriptors: usize,
    pub(super) watch: Option<Watch>,
    /// The backend program that accepts; none: the server does.
    pub(super) program: Option<usize>,
}

impl SimEnv {
    /// Waits for something to be ready, as `epoll_wait(2)` does; then the loop may be kept from its work.
    pub(super) fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> Polled {
        let world = &mut self.world;
        let now = world.now;
        world.turns += 1;
        let mut wait = timeout.map(|timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        if let (Some(wait), Some(Canary::SleepsTooLong)) = (&mut wait, world.canary) {
            *wait += *wait / 2;
        }
        // Rounded up to whole milliseconds, as epoll_wait(2) takes it.
        let until = wait
            .map_or(u64::MAX, |wait| now.saturating_add(wait.div_ceil(1_000_000).saturating_mul(1_000_000)));
        // Only a wait can be interrupted: what is ready at once is brought, whatever signal is pending.
        let interrupted = timeout != Some(Duration::ZERO)
            && !world.is_ready(0)
            && (std::mem::take(&mut world.interrupt_next)
                || world.chance.chance(world.faults.poll_interrupted));
        if interrupted {
            // What came while the process was stopped is not told: the kernel had looked before.
            self.stop();
            return Polled::Part(0);
        }
        self.advance(until.min(self.world.horizon), |world| world.is_ready(0));
        // Waking up takes time, in which more may arrive.
        let passes = self.world.chance.within(1_000..50_000);
        let wakes = self.world.now + passes;
        self.advance(wakes, |_| false);
        let brought = self.world.take_ready(0, ready);
        self.stall();
        brought
    }

    /// A signal has interrupted the wait. Every other one has stopped the process first, for as long as the loop may
    /// stall.
    fn stop(&mut self) {
        let passes = self.world.chance.within(1_000..50_000);
        let wakes = self.world.now + passes;
        self.advance(wakes, |_| false);
        if self.world.chance.chance(500_000) {
            self.stall_up_to(self.world.faults.stall_max);
        }
    }

    /// The loop is kept from its work, after the kernel has answered: what it was told grows old.
    fn stall(&mut self) {
        let world = &mut self.world;
        for (chance, most) in
            [(world.faults.stall, world.faults.stall_max), (world.faults.leap, world.faults.leap_max)]
        {
            if world.chance.chance(chance) {
                return self.stall_up_to(most);
            }
        }
    }

    fn stall_up_to(&mut self, most: Duration) {
        let world = &mut self.world;
        let stall = world.chance.between(Duration::ZERO, most);
        world.note(|| format!("the loop stalls for {stall:?}"));
        let stall = u64::try_from(stall.as_nanos()).unwrap_or(u64::MAX);
        world.processes[0].stalls.push((world.now, world.now + stall));
        let until = world.now + stall;
        self.advance(until, |_| false);
    }
}

impl World {
    /// Whether a poll would return at once.
    pub(super) fn is_ready(&self, process: usize) -> bool {
        let ProcessState { ready, signal_ready, .. } = &self.processes[process];
        !ready.is_empty() || *signal_ready || self.sockets.ready
    }

    /// A signal for a process.
    pub(super) fn raise(&mut self, process: usize, signal: Signal) {
        let process = &mut self.processes[process];
        process.signals.push_back(signal);
        process.signal_ready = true;
    }

    /// `EPOLL_CTL_ADD` and `EPOLL_CTL_MOD` look at once.
    pub(super) fn queue_if_ready(&mut self, conn: usize) {
        let connection = &mut self.conns[conn];
        let interest = connection.watch.map_or(0, |watch| watch.interest);
        let found = connection.ends[Side::Ours as usize].as_mut().map_or(0, Sock::poll);
        if found & (interest | mask::ERR | mask::HUP) != 0 {
            self.queue_source(Source::Conn(conn));
        }
    }

    pub(super) fn take_ready(&mut self, process: usize, ready: &mut Vec<Ready>) -> Polled {
        for (told, token) in [
            (&mut self.processes[process].signal_ready, Token::SIGNAL),
            (&mut self.sockets.ready, Token::ASIDE),
        ] {
            if std::mem::take(told) {
                ready.push(Ready { token, readiness: Readiness::READABLE });
            }
        }
        let most = ready.len() + self.faults.batch_max;
        let before = ready.len();
        while ready.len() < most {
            let Some(source) = self.processes[process].ready.pop_front() else { break };
            ready.extend(self.look(source));
        }
        let brought = if ready.len() < most { Polled::All } else { Polled::Part(ready.len() - before) };
        self.add_noise(process, ready);
        self.add_early(process, ready);
        if self.faults.shuffle {
            self.chance.shuffle(ready);
        }
        brought
    }

    /// What is true of a source in the ready list by the time it is handed out; it leaves the list.
    fn look(&mut self, source: Source) -> Option<Ready> {
        let (watch, found) = match source {
            Source::Listener(index) => {
                let Listening { watch, queue, .. } = &mut self.listeners[index];
                let watch = watch.as_mut()?;
                watch.queued = false;
                (*watch, if queue.is_empty() { 0 } else { mask::IN })
            }
            Source::Link(link, end) => {
                let found = self.link_poll(link, end);
                let watch = self.link_watch_of(link, end)?;
                watch.queued = false;
                (*watch, found)
            }
            Source::Conn(index) => {
                let connection = &mut self.conns[index];
                let watch = connection.watch.as_mut()?;
                watch.queued = false;
                (*watch, connection.ends[Side::Ours as usize].as_mut().map_or(0, Sock::poll))
            }
        };
        let found = found & (watch.interest | mask::ERR | mask::HUP);
        if self.canary == Some(Canary::LostEdge)
            && matches!(source, Source::Conn(_))
            && self.chance.chance(20_000)
        {
            return None;
        }
        (found != 0).then(|| Ready { token: Token(watch.token), readiness: readiness(found) })
    }

    /// Events that nobody caused: of a connection that is there, or of one that was.
    fn add_noise(&mut self, process: usize, ready: &mut Vec<Ready>) {
        if self.conns.is_empty() {
            return;
        }
        for (chance, alive) in [(self.faults.spurious, true), (self.faults.stale, false)] {
            if !self.chance.chance(chance) {
                continue;
            }
            let conn = self.chance.index(self.conns.len());
            let is_watched = self.conns[conn].watch.is_some();
            if let Some(token) = self.conns[conn].oracle.token
                && is_watched == alive
                && self.conns[conn].oracle.process == process
            {
                let all = if self.faults.wild { 32 } else { 4 };
                let bits = 1 + u8::try_from(self.chance.index(all - 1)).expect("five bits");
                // Writable is connected: that is never said too early.
                let never =
                    self.conns[conn].opener == Side::Ours && self.conns[conn].oracle.connected.is_none();
                let readiness = readiness(if never { bits & !mask::OUT } else { bits });
                self.note(|| format!("c{conn} spurious {readiness:?}"));
                ready.push(Ready { token: Token(token), readiness });
            }
        }
    }

    /// The newest connection that is being made looks as if it were.
    fn add_early(&mut self, process: usize, ready: &mut Vec<Ready>) {
        if !self.chance.chance(self.connect_faults.early) {
            return;
        }
        let newest = self.conns.iter().rposition(is_connecting);
        if let Some(watch) = newest.and_then(|conn| self.conns[conn].watch)
            && watch.process == process
        {
            let readiness = readiness(mask::OUT);
            self.note(|| format!("c{} looks connected", newest.unwrap_or_default()));
            ready.push(Ready { token: Token(watch.token), readiness });
        }
    }

    /// Puts a source into the ready list, unless it is there.
    pub(super) fn queue_source(&mut self, source: Source) {
        let watch = match source {
            Source::Listener(index) => self.listeners[index].watch.as_mut(),
            Source::Conn(index) => self.conns[index].watch.as_mut(),
            Source::Link(link, end) => self.link_watch_of(link, end),
        };
        if let Some(watch) = watch
            && !std::mem::replace(&mut watch.queued, true)
        {
            let process = watch.process;
            self.processes[process].ready.push_back(source);
        }
    }
}

/// Whether the server has begun to make it, and has no answer yet.
fn is_connecting(conn: &Conn) -> bool {
    conn.end(Side::Ours).is_some_and(|sock| sock.state() == TcpState::SynSent)
}
