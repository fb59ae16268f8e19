//! What a test may see of a running reactor: a narrow window on its bookkeeping, read only and made when
//! asked for. Nothing in the turn knows that it exists.

use super::Reactor;
use super::connection::{Flags, Pause, Reading};
use super::parts::effect::Effect;
use super::parts::lifecycle::{Reload, Requested};
use super::parts::pairs::Stage;
use super::parts::server::Server;
use super::parts::servers::Servers;
use crate::config::settings::Settings;
use crate::core::conn::State;
use crate::core::end::{End, Leg};
use crate::core::health::Outcome;
use crate::core::secret::Secret;
use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use crate::net::{Kernel, Signal};
use crate::observe::audit::Anomaly;
pub use crate::observe::report::Ended;
use crate::protocol::gateway::Removed;
use std::net::SocketAddr;
use std::sync::Arc;

/// The window. See [`Reactor::inspect`].
pub struct DebugView<'a, K: Kernel>(&'a Reactor<K>);

/// What is known of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnSnapshot {
    /// Its name.
    pub key: Key,
    /// Which listener accepted it.
    pub listener: usize,
    /// Where in its life it is.
    pub state: State,
    /// It is not being read until it has taken output.
    pub paused: bool,
    /// Its end of file or error was read.
    pub over: bool,
    /// Its next turn is posted, or waits for the supervisor to keep up.
    pub posted: bool,
    /// Received and not used, in bytes.
    pub held: usize,
    /// Pending output, in bytes.
    pub queued: usize,
    /// What others than its partner have sent it by its identity, in bytes.
    pub direct: u64,
    /// Which connection of a pair it is, and the key of the client's.
    pub pair: Option<(Leg, Key)>,
    /// When it is to be looked at, and when the wheel will.
    pub due: Option<(Instant, Option<Instant>)>,
}

/// What is known of an upstream server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerSnapshot {
    /// The upstream that it is of, in the order of the settings.
    pub upstream: usize,
    /// Where it is; none: at a unix socket.
    pub address: Option<SocketAddr>,
    /// Whether it is in the configuration, and has room.
    pub has_room: bool,
    /// Whether it is up, and since when.
    pub up: bool,
    /// See `up`.
    pub since: Instant,
    /// Connections that were begun on behalf of clients.
    pub attempts: u64,
    /// Checks, by [`Outcome`].
    pub checks: [u64; Outcome::ALL.len()],
}

impl<K: Kernel> DebugView<'_, K> {
    /// The upstream servers.
    pub fn servers(&self) -> impl Iterator<Item = ServerSnapshot> {
        let upstreams = self.0.cx.gateway.upstreams.iter().enumerate();
        upstreams.flat_map(|(upstream, servers)| {
            servers.iter().map(move |known| ServerSnapshot {
                upstream,
                address: known.peer().address(),
                has_room: known.is_configured() && !known.is_full(),
                up: known.health().is_up(),
                since: known.health().since(),
                attempts: known.attempts(),
                checks: known.checks.outcomes,
            })
        })
    }

    /// Checks that run.
    pub fn checks(&self) -> usize {
        self.0.cx.gateway.checks.len()
    }

    /// Until when the next poll may wait at most; zero while work is posted.
    pub fn sleep(&self) -> Option<Duration> {
        self.0.cx.sleep()
    }

    /// Effects, continuations and flushes that wait for the next turn.
    pub fn posted(&self) -> usize {
        let reactor = self.0;
        let posted =
            reactor.cx.effects.len() + reactor.cx.publishing.publications.len() + reactor.cx.admin.waiting();
        posted + reactor.cx.posted.len()
    }

    /// Connections.
    pub fn connections(&self) -> usize {
        self.0.table.len()
    }

    /// One connection.
    pub fn snapshot(&self, key: Key) -> Option<ConnSnapshot> {
        let conn = self.0.table.get(key)?;
        let due = self.0.cx.next_deadline(key, conn);
        Some(ConnSnapshot {
            key,
            listener: usize::from(conn.listener),
            state: conn.life.state(),
            paused: conn.is_paused(),
            over: matches!(conn.reading, Reading::Ended | Reading::Probing),
            posted: conn.flags.has(Flags::TO_RESUME)
                || self.0.cx.worker.link().is_some_and(|link| link.is_deferred(key)),
            held: conn.buffers.as_ref().map_or(0, |buffers| buffers.input.len()),
            queued: conn.pending_output(),
            direct: conn.named().map_or(0, |named| named.direct_among(u64::MAX)),
            pair: conn.leg.and_then(|leg| Some((leg, self.0.cx.gateway.pairs.of(key)?.name()))),
            // A flush that is posted arms the timer for what it leaves.
            due: due
                .filter(|_| !conn.flags.has(Flags::TO_FLUSH))
                .map(|(at, _)| (at, self.0.cx.deadlines.of_slot(key.index))),
        })
    }

    /// All connections.
    pub fn snapshots(&self) -> impl Iterator<Item = ConnSnapshot> {
        self.0.table.iter().filter_map(|(key, _)| self.snapshot(key))
    }

    /// What names a connection that is gone, or is counted wrongly: nothing, if all is well.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let reactor = self.0;
        for index in 0..u32::try_from(reactor.table.slots_used()).unwrap_or(u32::MAX) {
            if reactor.table.at(index).is_none() && reactor.cx.deadlines.of_slot(index).is_some() {
                mistakes.push(format!("slot {index} is free and has a timer"));
            }
        }
        for (id, key) in reactor.cx.hub.held() {
            if reactor.table.get(key).is_none() {
                mistakes.push(format!("identity {} is held by {key}, which is gone", id.escape_ascii()));
            }
        }
        let subscriptions: usize = reactor
            .table
            .iter()
            .filter_map(|(_, conn)| conn.client())
            .map(|client| client.membership.subscriptions())
            .sum();
        let counted = reactor.cx.hub.gauges().subscriptions;
        if counted != subscriptions {
            mistakes.push(format!("the hub counts {counted} subscriptions, its members {subscriptions}"));
        }
        let marked = reactor.table.iter().filter(|(_, conn)| conn.flags.has(Flags::TO_RESUME)).count();
        let queued =
            reactor.cx.posted.to_resume().iter().filter(|key| reactor.table.get(**key).is_some()).count();
        if marked != queued {
            mistakes.push(format!("{marked} connections say that they are posted, {queued} are"));
        }
        for (key, conn) in reactor.table.iter() {
            let stranded = conn.http().is_some_and(|http| http.is_busy() && !http.is_queued());
            if stranded && !conn.is_paused() && !conn.flags.has(Flags::TO_RESUME) {
                mistakes.push(format!("{key} has asked for something, and nothing brings it an answer"));
            }
            if conn.reading == Reading::Drained && conn.layer().is_some_and(|layer| layer.held() > 0) {
                mistakes.push(format!("{key} has bytes for its session, and nothing brings them"));
            }
        }
        let ios = || reactor.table.iter().filter_map(|(_, conn)| conn.buffers.as_ref());
        let held: usize = ios().map(|buffers| buffers.memory()).sum();
        if held != reactor.cx.pool.held() {
            mistakes.push(format!("connections hold {held} bytes, {} are noted", reactor.cx.pool.held()));
        }
        let unflushed: usize = ios().map(|buffers| buffers.unflushed).sum();
        if unflushed != reactor.cx.pool.unflushed() {
            mistakes.push(format!(
                "{unflushed} bytes wait for the flush, {} are noted",
                reactor.cx.pool.unflushed()
            ));
        }
        if !reactor.batch.is_empty() {
            mistakes.push("what was received in a batch is not sent".to_owned());
        }
        if !reactor.cx.aftermath.is_empty() {
            mistakes.push(format!("not done: {:?}", reactor.cx.aftermath));
        }
        let of_listeners: u32 = reactor.cx.listeners.iter().map(|slot| slot.connections).sum();
        let refused = reactor.table.iter().filter(|(_, conn)| conn.is_refused()).count();
        if refused != reactor.cx.places.refused() as usize {
            mistakes.push(format!("{} are counted as refused, {refused} are", reactor.cx.places.refused()));
        }
        let upstream = reactor.table.iter().filter(|(_, conn)| conn.leg == Some(Leg::Upstream)).count();
        if of_listeners as usize + refused + upstream != reactor.table.len() {
            mistakes.push(format!(
                "listeners count {of_listeners} connections, the table {}",
                reactor.table.len()
            ));
        }
        self.mistakes_of_pairs(&mut mistakes);
        let forgotten = reactor.cx.annotations.initiators.forgotten(|key| reactor.table.get(key).is_none());
        if forgotten > 0 {
            mistakes.push(format!("{forgotten} entries of initiators are of nobody"));
        }
        mistakes
    }

    /// What is wrong with the pairs.
    fn mistakes_of_pairs(&self, mistakes: &mut Vec<String>) {
        let reactor = self.0;
        let mut legs = 0;
        for pair in reactor.cx.gateway.pairs.iter() {
            let keys = [Leg::Client, Leg::Upstream].map(|leg| pair.leg(leg));
            let removed =
                pair.server().and_then(|server| reactor.cx.gateway.upstreams[pair.to()].removed(server));
            let goes_on = |key: &Key| reactor.table.get(*key).is_some_and(|conn| !conn.is_ending());
            if matches!(removed, Some(Removed::Drain | Removed::Cut))
                && pair.stage != Stage::Connecting
                && pair
                    .leg(Leg::Client)
                    .filter(goes_on)
                    .is_some_and(|key| !reactor.cx.gateway.removals.holds(key))
            {
                mistakes.push(format!("the server of {} is gone, and nothing ends it", pair.name()));
            }
            legs += keys.iter().flatten().count();
            for (key, leg) in keys.into_iter().zip([Leg::Client, Leg::Upstream]) {
                let Some(key) = key else { continue };
                let Some(conn) = reactor.table.get(key) else {
                    mistakes.push(format!("{key} is a leg of a pair, and gone"));
                    continue;
                };
                let alone = pair.leg(leg.other()).is_none();
                if alone && !conn.is_ending() && pair.stage != Stage::Connecting {
                    mistakes.push(format!("{key} is alone in its pair, and is not ending"));
                }
                // A leg is not read while bytes of it wait for its partner, and for no longer.
                let waits = pair.leg(leg.other()).and_then(|key| reactor.table.get(key));
                let nothing = waits.is_some_and(|conn| conn.pending_output() == 0 && !conn.output_held());
                if pair.is_paused(leg) && pair.stage != Stage::Connecting && nothing {
                    mistakes.push(format!("{key} waits for its partner, which has taken everything"));
                }
                if conn.pause == Pause::Partner && !pair.is_paused(leg) && !conn.flags.has(Flags::TO_RESUME) {
                    mistakes.push(format!(
                        "{key} is paused, and nothing wakes it: {:?} {:?}",
                        conn.life.state(),
                        conn.reading
                    ));
                }
            }
        }
        let marked = reactor.table.iter().filter(|(_, conn)| conn.leg.is_some()).count();
        if marked != legs {
            mistakes.push(format!("{marked} connections are legs, and pairs have {legs}"));
        }
        let counted: u32 =
            reactor.cx.gateway.upstreams.iter().flat_map(Servers::iter).map(Server::connections).sum();
        let upstream = reactor.table.iter().filter(|(_, conn)| conn.leg == Some(Leg::Upstream)).count();
        if counted as usize != upstream {
            mistakes.push(format!("servers count {counted} connections, there are {upstream}"));
        }
    }

    /// Whether an effect waits for a connection that is gone: it will do nothing.
    pub fn posted_in_vain(&self) -> usize {
        let gone = |key: &Key| self.0.table.get(*key).is_none();
        let effects = self.0.cx.effects.iter().filter(|effect| match effect {
            Effect::Close { key, .. }
            | Effect::Replaced { key, .. }
            | Effect::Overflow { key }
            | Effect::Suspect { key }
            | Effect::Resume { key } => gone(key),
            Effect::Presence { .. } => false,
        });
        effects.count() + self.0.cx.posted.to_resume().iter().filter(|key| gone(key)).count()
    }

    /// Whether a listener would take a connection from its queue, had it an edge.
    pub fn accepts(&self, listener: usize) -> bool {
        self.0.cx.listeners[listener].is_drained()
    }

    /// How many the last audit has found of a kind.
    pub fn found(&self, anomaly: Anomaly) -> u32 {
        self.0.cx.audits.last().map_or(0, |past| past.outcome.present[anomaly as usize])
    }

    /// Whether the last of all endings that are kept are these, and as they were published.
    pub fn history_ends_with(&self, ends: &[Ended]) -> bool {
        let history = &self.0.cx.observer.history;
        let mut kept = history.records();
        let ends = ends.iter().rev().take(usize::try_from(history.kept()).unwrap_or(usize::MAX));
        ends.map(|Ended { key, peer, end }| (*key, *peer, kept_of(end)))
            .all(|ended| kept.next().is_some_and(|kept| (kept.key(), kept.peer(), kept.end()) == ended))
    }

    /// Identities that are held, with their holders.
    pub fn holders(&self) -> impl Iterator<Item = (&[u8], Key)> {
        self.0.cx.hub.held()
    }

    /// Identities that are held.
    pub fn identities(&self) -> usize {
        self.0.cx.hub.gauges().identities
    }
}

/// What is kept of an ending: no account of it has more.
fn kept_of(end: &End) -> End {
    let mut end = end.clone();
    if let Some(secured) = &mut end.secured {
        Arc::make_mut(secured).version = None;
    }
    if let Some(proxied) = &mut end.proxied {
        let proxied = Arc::make_mut(proxied);
        (proxied.destination, proxied.header_bytes) = (None, 0);
    }
    end
}

/// Of a server that nobody asks to read its configuration again: nothing ever comes of a request.
#[derive(Clone, Copy, Debug)]
pub struct NoReload;

impl Reload for NoReload {
    fn request(&mut self, _file: Option<Secret<String>>) -> Requested {
        Requested::Begun
    }

    fn take(&mut self) -> Option<Result<Settings, String>> {
        None
    }
}

impl<K: Kernel> Reactor<K> {
    /// A window for tests.
    pub const fn inspect(&self) -> DebugView<'_, K> {
        DebugView(self)
    }

    /// Begins to end, as on SIGTERM: for tests whose kernel takes no signals.
    pub fn terminate(&mut self) {
        self.on_signal(Signal::Terminate);
    }

    /// Keeps the records of all endings from now on, for [`take_ends`](Self::take_ends).
    pub fn keep_ends(&mut self) {
        self.cx.observer.report.keep_journal();
    }

    /// The endings since the last call.
    pub fn take_ends(&mut self) -> Vec<Ended> {
        self.cx.observer.report.take_journal()
    }
}
