//! What must hold after each turn of a reactor, and of each ending that it tells: for a server of one process, and for
//! each worker of several.

use super::crowd::is_refusal;
use super::kernel::{SimEnv, SimKernel};
use super::oracle::Case;
use super::pairs::{miscounted, policy_of};
use super::run::Failure;
use super::tcp::Sock;
use super::world::{Side, TimeWaits, World};
use crate::config::settings::Settings;
use crate::core::conn::State;
use crate::core::end::{Leg, Reason};
use crate::core::table::Key;
use crate::core::tcp::TcpState;
use crate::core::time::{Duration, Instant};
use crate::observe::audit::Anomaly;
use crate::reactor::{Ended, Flow, Reactor};
use std::cell::RefCell;
use std::rc::Rc;

/// Turns in a row within which every connection with input must have been served.
const STARVED_TURNS: u64 = 400;
/// Every so many turns all connections are looked at.
const SURVEY_TURNS: u64 = 64;

/// A reactor, and what is known of it from outside.
pub(super) struct Server {
    pub(super) reactor: Reactor<SimKernel>,
    pub(super) stage: Rc<RefCell<SimEnv>>,
    /// Which process it runs in.
    process: usize,
    /// Its listening sockets, in the order of the settings.
    listeners: Vec<usize>,
    pub(super) settings: Settings,
    pub(super) turns: u64,
    pub(super) draining: bool,
    /// Connections that the server has closed first, and how long its ends may outlive that.
    orphans: Vec<(usize, u64)>,
    /// How long those lived that have ended, in all.
    pub(super) connection_seconds: f64,
}

impl Server {
    pub(super) fn new(
        mut reactor: Reactor<SimKernel>,
        stage: Rc<RefCell<SimEnv>>,
        process: usize,
        listeners: Vec<usize>,
        settings: Settings,
    ) -> Self {
        reactor.keep_ends();
        let (turns, draining, orphans, connection_seconds) = (0, false, Vec::new(), 0.0);
        Self { reactor, stage, process, listeners, settings, turns, draining, orphans, connection_seconds }
    }

    pub(super) fn now(&self) -> u64 {
        self.stage.borrow().world.now()
    }

    /// The connection that it calls `key`.
    pub(super) fn conn_of(&self, world: &World, key: Key) -> usize {
        world.conn_of(self.process, key)
    }

    pub(super) fn fail(&self, what: impl Into<String>) -> Failure {
        Failure { at: self.now(), what: what.into() }
    }

    /// One turn, and what must hold after it.
    pub(super) fn turn(&mut self) -> Result<Flow, Failure> {
        let began = self.stage.borrow().world.instant();
        let servers = self.servers();
        let flow = self.reactor.turn().map_err(|fatal| self.fail(fatal.to_string()))?;
        self.turns += 1;
        if self.stage.borrow().world.processes[self.process].dead {
            self.judge_ends()?;
            return Ok(flow);
        }
        self.note_pairs();
        self.judge_silence(began)?;
        self.judge_ends()?;
        self.check_turn()?;
        self.judge_servers(&servers)?;
        if self.turns.is_multiple_of(SURVEY_TURNS) {
            self.survey()?;
        }
        Ok(flow)
    }

    /// Nobody is taken for silent while what it sent lies unread, whatever kept the loop. Of the turn that began at
    /// `began`: nothing has arrived since its poll.
    fn judge_silence(&self, began: Instant) -> Result<(), Failure> {
        for snapshot in self.reactor.inspect().snapshots() {
            let connects = matches!(snapshot.state, State::Connecting { .. });
            if matches!(snapshot.state, State::Closing { .. }) || snapshot.pair.is_some() && !connects {
                let world = &mut self.stage.borrow_mut().world;
                let conn = world.conn_of(self.process, snapshot.key);
                let truth = &mut world.conns[conn].oracle;
                truth.closing |= matches!(snapshot.state, State::Closing { .. });
                truth.known_connected |= truth.connected.is_some();
            }
            let judged = match snapshot.state {
                State::Suspect { since, .. } => since > began,
                State::Closing { cause, since, .. } => {
                    let silent = matches!(cause.reason, Reason::LocalIdle | Reason::ProtocolHandshakeTimeout);
                    silent && since > began
                }
                State::Connecting { .. }
                | State::Handshaking
                | State::Open
                | State::PeerClosed { .. }
                | State::Closed { .. } => false,
            };
            if !judged {
                continue;
            }
            let stage = self.stage.borrow();
            let conn = stage.world.conn_of(self.process, snapshot.key);
            let unread = stage.world.conn(conn).end(Side::Ours).map_or(0, Sock::unread);
            if unread > 0 {
                return Err(self
                    .fail(format!("c{conn} was taken for silent with {unread} bytes unread: {snapshot:?}")));
            }
        }
        Ok(())
    }

    /// Every account that the server gave is compared with the truth.
    pub(super) fn judge_ends(&mut self) -> Result<(), Failure> {
        let ends = self.reactor.take_ends();
        if !self.reactor.inspect().history_ends_with(&ends) {
            return Err(self.fail("the history has not the endings that were published"));
        }
        for Ended { key, peer, end } in ends {
            let mut stage = self.stage.borrow_mut();
            let conn = if is_refusal(end.reason) {
                stage.world.refused_from(peer)
            } else {
                stage.world.conn_of(self.process, key)
            };
            // It was begun and has ended in one turn.
            if let Some((Leg::Upstream, client)) = end.pair
                && stage.world.conns[conn].partner.is_none()
            {
                let client = stage.world.conn_of(self.process, client);
                stage.world.pair(client, conn);
            }
            // The process was dead when it meant to end it.
            if stage.world.conn(conn).oracle.killed {
                continue;
            }
            stage.world.note(|| format!("c{conn} END {end}"));
            let settings = self.settings_of(&stage.world, conn);
            let case = Case {
                world: &stage.world,
                conn,
                settings,
                policy: policy_of(settings, &stage.world.conns[conn]),
                upstream: settings.relay.as_ref().and_then(|relay| {
                    let mut all = self.settings.upstreams.iter();
                    all.find(|one| relay.upstream.as_ref() == Some(&one.name)).map(|one| &one.is)
                }),
                end: &end,
                draining: self.draining,
                connections_max: self.settings.server.connections_max,
                audits: self.settings.audit.interval,
            };
            let verdict = case.judge().and_then(|()| case.judge_pair());
            self.orphans.extend(case.orphan_time().map(|time| (conn, time)));
            self.connection_seconds += end.age.as_secs_f64();
            let now = stage.world.now();
            let conn = &mut stage.world.conns[conn];
            conn.oracle.ended = true;
            conn.oracle.end = Some(end);
            if let Err(what) = verdict {
                return Err(Failure { at: now, what });
            }
        }
        Ok(())
    }

    fn check_turn(&mut self) -> Result<(), Failure> {
        let inspection = self.reactor.inspect();
        let sleep = inspection.sleep();
        if inspection.posted() > 0 && sleep != Some(Duration::ZERO) {
            return Err(self.fail("work is posted and the next poll would wait"));
        }
        let mut stage = self.stage.borrow_mut();
        if let Some(what) = stage.world.violations.pop() {
            return Err(Failure { at: stage.world.now(), what });
        }
        let TimeWaits { all, crossed, forwarded } = stage.world.time_waits;
        if all > crossed + forwarded {
            return Err(Failure { at: stage.world.now(), what: "a TIME_WAIT is left on the server".into() });
        }
        let forgotten = (0..self.listeners.len()).find(|&index| {
            let listener = &stage.world.listeners[self.listeners[index]];
            !listener.queue.is_empty()
                && listener.watch.is_some_and(|watch| !watch.queued)
                && inspection.accepts(index)
        });
        if let Some(index) = forgotten {
            let what = format!("connections wait at listener {index} and no edge will tell of them");
            return Err(Failure { at: stage.world.now(), what });
        }
        Ok(())
    }

    /// Looks at everyone: now and then, as it takes long.
    fn survey(&mut self) -> Result<(), Failure> {
        self.survey_orphans()?;
        let inspection = self.reactor.inspect();
        if let Some(what) = inspection.mistakes().pop() {
            return Err(self.fail(what));
        }
        if inspection.found(Anomaly::Unknown) > 0 {
            return Err(self.fail("an audit took one of ours for another program's"));
        }
        let mut stage = self.stage.borrow_mut();
        let world = &mut stage.world;
        let (now, turns) = (world.now(), self.turns);
        let sleeps = inspection.sleep() != Some(Duration::ZERO);
        for snapshot in inspection.snapshots() {
            let conn = world.conn_of(self.process, snapshot.key);
            let fail = |what: String| Err(Failure { at: now, what: format!("c{conn} {what}: {snapshot:?}") });
            let settings = &self.settings.listeners[snapshot.listener];
            let bounds = &settings.policy.bounds;
            if let Some(what) = miscounted(world, conn, &snapshot, &inspection) {
                return fail(what);
            }
            // What one receive brings is encoded before it is known that there is no room for the answer.
            let encoded = if settings.tls.is_some() { 80 * 1024 } else { 0 };
            if snapshot.queued > bounds.output_max + encoded && snapshot.pair.is_none() {
                return fail("has more output than its bound allows".into());
            }
            // What others may send to a client of the gateway is bounded, and one receive of its server's comes behind it.
            if snapshot.direct > 0 && snapshot.queued > bounds.output_max.max(64 * 1024) + 64 * 1024 {
                return fail("has more output that was sent by its name than its bound allows".into());
            }
            if snapshot.held > bounds.frame_bytes_max + 2 * 64 * 1024 {
                return fail("is held more than its bound".into());
            }
            if let Some((due, armed)) = snapshot.due
                && armed.is_none_or(|armed| armed > due.max(world.instant()) + Duration::from_millis(2))
            {
                return fail("has a deadline that no timer stands for".into());
            }
            // Who waits while the server drains is let in, to be told.
            if world.sources.is_some()
                && !self.draining
                && let Some(wrong) = world.crowd_is_wrong(conn, settings)
            {
                return fail(wrong);
            }
            let connection = &world.conns[conn];
            let news = connection.end(Side::Ours).is_some_and(Sock::has_news);
            let served = snapshot.paused || snapshot.over || !news;
            let queued = connection.watch.is_some_and(|watch| watch.queued);
            if !served && !queued && !snapshot.posted && sleeps {
                return fail("has input that no edge will tell of".into());
            }
            let waiting = &mut world.conns[conn].oracle.waiting_since;
            let read = connection_read(served, waiting, turns);
            if read > STARVED_TURNS {
                return fail(format!("has waited for {read} turns to be read"));
            }
        }
        Ok(())
    }

    /// What the server ends leaves nothing on the server, soon.
    fn survey_orphans(&mut self) -> Result<(), Failure> {
        let stage = self.stage.borrow();
        let world = &stage.world;
        let is_there = |conn: usize| {
            world.conn(conn).end(Side::Ours).is_some_and(|sock| sock.state() != TcpState::Close)
        };
        self.orphans.retain(|&(conn, _)| is_there(conn));
        match self.orphans.iter().find(|&&(conn, time)| world.is_overdue(conn, time)) {
            Some((conn, _)) => {
                Err(self.fail(format!("c{conn} was ended long ago, and its socket is still there")))
            }
            None => Ok(()),
        }
    }
}

/// For how many turns a connection has been waiting, as far as surveys can tell.
fn connection_read(served: bool, waiting: &mut Option<u64>, turns: u64) -> u64 {
    if served {
        *waiting = None;
        return 0;
    }
    turns - *waiting.get_or_insert(turns)
}

impl World {
    /// The connection that a process calls `key`.
    pub(super) fn conn_of(&self, process: usize, key: Key) -> usize {
        self.processes[process].named[key.generation as usize]
    }

    /// Whether the server's end of a connection is there longer than it may be.
    pub(super) fn is_overdue(&self, conn: usize, orphan_time: u64) -> bool {
        let conn = self.conn(conn);
        let closed = conn.oracle.closed.map_or(0, |(at, _)| at);
        conn.end(Side::Ours).is_some_and(|sock| {
            let waits = !matches!(sock.state(), TcpState::Close | TcpState::TimeWait);
            waits && self.now() > sock.clocks.last_ack.max(closed) + orphan_time
        })
    }

    /// How long the times were in all that the loop stalled, of those that reach into `window` before
    /// `at`: themselves, or the patience that follows them for as long again.
    pub(super) fn stalled(&self, process: usize, at: u64, window: u64) -> u64 {
        let from = at.saturating_sub(window);
        let reaches = |(begin, end): &&(u64, u64)| end + (end - begin) >= from;
        self.processes[process].stalls.iter().filter(reaches).map(|(begin, end)| end - begin).sum()
    }
}
