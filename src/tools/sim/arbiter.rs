//! What must be true over all workers: an identity has one holder, everybody who watches it knows, a heartbeat channel
//! keeps the holder alive wherever both are, and its loss makes it suspect.

use super::checks::Server;
use super::fleet::{Fleet, Heard, Role};
use super::oracle::Case;
use super::world::{World, in_seconds};
use crate::core::conn::State;
use crate::core::end::Detector;
use std::collections::BTreeMap;

/// How far apart beats for a connection elsewhere are passed on, in nanoseconds (`reactor/worker_link.rs`).
const BEATS_APART: u64 = 50_000_000;
/// Ticks of wheels, wake-ups and turns on the way of a beat, in nanoseconds.
const TURNS: u64 = 50_000_000;

/// Who holds an identity, and how that one is.
struct Holder {
    conn: usize,
    state: State,
}

/// What is wrong now, if anything. While something is on its way, it may be wrong; at rest it may not.
pub(super) fn disagreement(
    servers: &[&Server],
    counted: usize,
    fleet: &Fleet,
    world: &World,
) -> Result<(), String> {
    let mut holders: BTreeMap<Vec<u8>, Holder> = BTreeMap::new();
    for server in servers {
        let view = server.reactor.inspect();
        for (id, key) in view.holders() {
            let conn = server.conn_of(world, key);
            let Some(snapshot) = view.snapshot(key) else { continue };
            let holder = Holder { conn, state: snapshot.state };
            if let Some(other) = holders.insert(id.to_vec(), holder) {
                return Err(format!("c{} and c{conn} both hold {}", other.conn, id.escape_ascii()));
            }
        }
    }
    if holders.len() != counted {
        return Err(format!("the supervisor counts {counted} identities, the workers {}", holders.len()));
    }
    let is_holder = |conn: usize| holders.values().any(|holder| holder.conn == conn);
    for server in servers {
        for snapshot in server.reactor.inspect().snapshots() {
            let conn = server.conn_of(world, snapshot.key);
            let has_claimed = world.conn(conn).oracle.has_claimed();
            let well = matches!(snapshot.state, State::Open | State::Suspect { .. });
            if well && has_claimed && !is_holder(conn) {
                return Err(format!("c{conn} has claimed an identity, is open, and does not hold it"));
            }
        }
    }
    for unit in &fleet.units {
        let Some(conn) = unit.conn.filter(|_| unit.confirmed) else {
            return Err(format!("{:?} is not connected", unit.role));
        };
        for (id, heard) in &unit.heard {
            let fits = match (holders.get(id).map(|holder| holder.state), heard) {
                (Some(State::Open), Heard::Online)
                | (Some(State::Suspect { .. }), Heard::Suspect)
                | (None, Heard::Offline) => true,
                // It is being closed, and `offline` follows.
                (Some(State::Closing { .. } | State::PeerClosed { .. }), heard) => *heard != Heard::Replaced,
                _ => false,
            };
            if !fits {
                let state = holders.get(id).map(|holder| holder.state);
                return Err(format!(
                    "c{conn} last heard {heard:?} of {}, which is {state:?}",
                    id.escape_ascii()
                ));
            }
        }
        if let (Role::Holder(device), false) = (unit.role, is_holder(conn)) {
            return Err(format!("c{conn} does not hold dev{device}"));
        }
    }
    Ok(())
}

/// The device that is not suspect although its heartbeat channel is gone, if there is one.
pub(super) fn unsuspected(servers: &[&Server], world: &World) -> Option<String> {
    servers.iter().find_map(|server| {
        let view = server.reactor.inspect();
        // Not everybody who wanted to be a device: what it said may have been lost on the way.
        view.holders().find_map(|(_, key)| {
            let conn = server.conn_of(world, key);
            let device = world.conn(conn).oracle.said.device?;
            (view.snapshot(key)?.state == State::Open)
                .then(|| format!("c{conn} holds dev{device}, whose channel is gone, and is not suspect"))
        })
    })
}

impl World {
    /// How long it may take from `since` on until what the worker of a connection says has come back to it by way of the
    /// supervisor.
    pub(super) fn round_trip(&self, conn: usize, since: u64) -> u64 {
        let process = self.conn(conn).oracle.process;
        let stalled = |process| self.stalled(process, self.now(), self.now() - since);
        2 * (self.worker_faults.link_latency + TURNS) + 2 * (stalled(0) + stalled(process))
    }
}

impl Case<'_> {
    /// A verdict on a device that is heard through a channel: that must have been silent, too.
    pub(super) fn device_was_heard(&self, device: usize, timeout: u64, grace: u64) -> Option<String> {
        let truth = &self.world.devices[device];
        let channel = truth.channel.filter(|_| truth.holder == Some(self.conn))?;
        let (at, channel) = (self.closed_at(), &self.world.conn(channel).oracle);
        // What a worker had read and not passed on when it died is lost.
        if self.world.processes[channel.process].dead {
            return None;
        }
        let silence = at.saturating_sub(truth.beaten);
        // The end of a channel is a reason for suspicion, whenever it was heard last.
        let by_end = self.end.detector == Detector::HeartbeatChannel;
        let patience = if by_end { grace } else { timeout + grace };
        // A beat goes through the channel's worker and the supervisor, which may have stalled meanwhile.
        let stalled = self.world.stalled(0, at, patience) + self.world.stalled(channel.process, at, patience);
        // Where an older connection of the channel was read last, it is the next beat that counts.
        let on_way = BEATS_APART + TURNS + 2 * self.world.worker_faults.link_latency;
        let late = on_way + 2 * stalled + timeout / 4;
        (silence + late < patience)
            .then(|| format!("its heartbeat channel was heard {:.3} s ago", in_seconds(silence)))
    }
}
