//! Runs in which listeners limit who comes: by network, by source, by rate and by age. Clients share a few addresses. Its seeds
//! are not those of [`run`](super::run()).

use super::backend::Backends;
use super::faults::Faults;
use super::oracle::{Case, nanos};
use super::plan::Plan;
use super::rng::Rng;
use super::run::{Options, Outcome, live};
use super::world::{Conn, Side, World};
use crate::config::settings::{ListenerSettings, Overload};
use crate::core::admission::{Limits, Networks};
use crate::core::end::Reason;
use crate::core::time::Duration;
use crate::net::Peer;

/// Whether a connection was refused when it came: nothing watched it, and it has no name but its address.
pub(super) const fn is_refusal(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::LocalAcceptRate | Reason::LocalSourceLimit | Reason::LocalSourceRate | Reason::LocalDenied
    )
}

/// Runs the simulation of `seed`.
pub fn run_crowd(seed: u64, options: &Options) -> Outcome {
    let mut rng = Rng::new(seed ^ 0x0063_726f_7764);
    let mut plan = Plan::draw(&mut rng, options.duration);
    let sources = 1 + rng.index(4);
    for listener in &mut plan.settings.listeners {
        limit(&mut rng, listener, plan.duration, sources);
    }
    plan.settings.server.connections_max = None;
    plan.clients = plan.clients.max(8);
    let faults = Faults::draw(&mut rng);
    let mut world = World::new(faults, &mut rng);
    world.trace = options.trace.then(Vec::new);
    world.sources = Some(sources);
    live(seed, plan, world, Backends::default(), &mut rng, options)
}

fn limit(rng: &mut Rng, listener: &mut ListenerSettings, duration: Duration, sources: usize) {
    let some = |rng: &mut Rng, of: &[u32]| rng.chance(600_000).then(|| rng.pick(of));
    let network = |text: &str| Networks::parse(text).expect("a network");
    let denied = format!("10.9.0.{}", rng.index(sources));
    listener.limits = Limits {
        accept_rate: some(rng, &[1, 2, 5, 50]),
        source_connections_max: some(rng, &[1, 2, 5]),
        source_accept_rate: some(rng, &[1, 3, 20]),
        allow: rng.chance(300_000).then(|| network("10.9.0.0/31")),
        deny: if rng.chance(300_000) { network(&denied) } else { Networks::default() },
    };
    // One too many is told, and has a place of its own for a moment.
    listener.connections_max = None;
    if rng.chance(600_000) {
        listener.policy.bounds.max_age = Some(rng.between(Duration::from_millis(100), duration / 2));
    }
}

impl World {
    /// The connection from there that was refused just now.
    pub(super) fn refused_from(&self, peer: Peer) -> usize {
        let is = |conn: &Conn| {
            Some(conn.address) == peer.address() && conn.oracle.closed.is_some() && !conn.oracle.ended
        };
        self.conns.iter().position(is).expect("what ends has come from somewhere")
    }

    /// The connections of a listener from the source of one of them that were let in, without that, and when.
    fn others_let_in(&self, conn: usize) -> impl Iterator<Item = (u64, &Conn)> {
        let (listener, ip) = (self.conns[conn].listener, self.conns[conn].address.ip());
        let others = self.conns.iter().enumerate().filter(move |(index, other)| {
            *index != conn
                && other.opener == Side::Theirs
                && other.listener == listener
                && other.address.ip() == ip
        });
        others.filter_map(|(_, other)| {
            let refused = other.oracle.end.as_ref().is_some_and(|end| is_refusal(end.reason));
            other.oracle.accepted.filter(|_| !refused).map(|accepted| (accepted, other))
        })
    }

    /// Whether more are here, or have come lately, than a listener lets in of the source of a connection that it has let in.
    pub(super) fn crowd_is_wrong(&self, conn: usize, settings: &ListenerSettings) -> Option<String> {
        let limits = &settings.limits;
        if !limits.permit(self.conns[conn].address.ip()) {
            return Some("was let in, and its network may not".into());
        }
        let here = 1 + self.others_let_in(conn).filter(|(_, other)| !other.oracle.ended).count();
        if limits.source_connections_max.is_some_and(|most| here > most as usize) {
            return Some(format!("is one of {here} from its source"));
        }
        let accepted = self.conns[conn].oracle.accepted?;
        let lately = |(at, _): &(u64, &Conn)| *at <= accepted && at + nanos(SECOND) > accepted;
        let lately = 1 + self.others_let_in(conn).filter(lately).count();
        // What a bucket held, and what came to it since.
        if limits.source_accept_rate.is_some_and(|rate| lately > 2 * rate as usize) {
            return Some(format!("is one of {lately} from its source in a second"));
        }
        None
    }
}

const SECOND: Duration = Duration::from_secs(1);

impl Case<'_> {
    /// A connection was refused that might have come, or ended before it was old.
    pub(super) fn limit_is_wrong(&self) -> Option<String> {
        let limits = &self.settings.limits;
        let accepted = self.oracle().accepted.unwrap_or(0);
        let before = || self.world.others_let_in(self.conn).filter(|(at, _)| *at <= accepted);
        let right = if self.end.reason == Reason::LocalDenied {
            !limits.permit(self.world.conn(self.conn).address.ip())
        } else if self.end.reason == Reason::LocalSourceLimit {
            let here = before().filter(|(_, other)| !other.oracle.ended).count();
            limits.source_connections_max.is_some_and(|most| here >= most as usize)
        } else if self.end.reason == Reason::LocalSourceRate {
            // The clock is read once a turn, and a connection may have been accepted later in it.
            let lately = before().filter(|(at, _)| at + 2 * nanos(SECOND) > accepted).count();
            limits.source_accept_rate.is_some_and(|rate| lately + 1 >= rate as usize)
        } else if self.end.reason == Reason::LocalMaxAge {
            self.policy.bounds.max_age.is_some_and(|max| Duration::from(self.end.age) >= max * 9 / 10)
        } else {
            limits.accept_rate.is_some() && self.settings.overload == Overload::Shed
        };
        (!right).then(|| "it was within the limits of its listener".into())
    }
}
