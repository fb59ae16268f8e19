//! One who watches what happens at a server with several workers, from the start to the end, and what that one must have
//! been told by then: how every connection has come and gone of every worker that was not killed, each once. Where something
//! had to make way, or is gone with a worker while the watcher was cut off, it must have been told that instead.

use super::fleet::FLEET;
use super::kernel::SimEnv;
use super::oracle::nanos;
use super::plan::Plan;
use super::rng::Rng;
use super::tcp::Sizes;
use super::world::{Conn, Side, World};
use crate::core::tcp::TcpState;
use crate::core::time::Duration;
use crate::net::{CloseHow, Received, Sent};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const SIZES: Sizes = Sizes { output_max: 65_536, input_max: 65_536, segment_max: 16_384, rto: 200_000_000 };
/// How long the last words of a server may be on their way, in nanoseconds.
const DELIVERY_MAX: u64 = 60_000_000_000;
/// No client program has that number, and none of the fleet.
const NOBODY: usize = FLEET - 1;
/// How long it waits until it comes back.
const RETRY: Duration = Duration::from_millis(50);

/// The watcher.
pub(super) struct Watcher {
    /// The place of the admin interface among the addresses.
    admin: usize,
    host: usize,
    conn: Option<usize>,
    /// When it comes back.
    retry: u64,
    has_asked: bool,
    /// What has come that is no whole line.
    input: Vec<u8>,
    /// Of the last message.
    id: Option<String>,
    name: String,
    /// Since when it is told what happens.
    since: Option<u64>,
    /// By where they came from: connections that were told to be there, and how often each was told to have ended.
    opened: BTreeSet<String>,
    ended: BTreeMap<String, u32>,
    /// It was told that it was told all.
    is_whole: bool,
}

impl Watcher {
    /// Half of the runs have one. Drawn from numbers of its own: the rest of a run's plan is as it was without.
    pub(super) fn draw(seed: u64, plan: &mut Plan, world: &mut World) -> Option<Self> {
        let mut rng = Rng::new(!seed);
        if rng.chance(500_000) {
            return None;
        }
        let admin = plan.settings.listeners.len();
        plan.open_admin(&mut rng);
        let host = world.add_host(rng.within(20_000..20_000_000));
        Some(Self {
            admin,
            host,
            conn: None,
            retry: 0,
            has_asked: false,
            input: Vec::new(),
            id: None,
            name: String::new(),
            since: None,
            opened: BTreeSet::new(),
            ended: BTreeMap::new(),
            is_whole: true,
        })
    }

    /// Whether it is told what happens.
    pub(super) const fn has_begun(&self) -> bool {
        self.since.is_some()
    }

    /// Reads what has come, and comes back where it was cut off.
    pub(super) fn look(&mut self, world: &mut World) {
        let Some(conn) = self.conn else {
            if self.retry <= world.now() {
                self.conn = Some(world.connect(self.host, self.admin, NOBODY, SIZES));
                self.has_asked = false;
            }
            return;
        };
        let state = world.conn(conn).end(Side::Theirs).map(|end| end.state);
        if !self.has_asked && state == Some(TcpState::Established) {
            let last = self.id.as_ref().map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
            let request = format!("GET /events HTTP/1.0\r\n{last}\r\n");
            let sent =
                world.act(conn, Side::Theirs, |sock, now, out| sock.send(request.as_bytes(), now, out));
            debug_assert_eq!(sent, Some(Sent::Bytes(request.len())), "there is room at first");
            self.has_asked = true;
        }
        let mut buffer = [0; 16_384];
        loop {
            match world.act(conn, Side::Theirs, |sock, _, out| sock.recv(&mut buffer, out)) {
                Some(Received::Bytes(count)) => self.input.extend_from_slice(&buffer[..count]),
                Some(Received::WouldBlock | Received::Interrupted) => break,
                Some(Received::Eof | Received::Failed(_)) | None => {
                    self.take_lines(world.now());
                    self.input.clear();
                    world.act(conn, Side::Theirs, |sock, now, out| sock.close(CloseHow::Plain, now, out));
                    (self.conn, self.retry) = (None, world.now() + nanos(RETRY));
                    return;
                }
            }
        }
        self.take_lines(world.now());
    }

    fn take_lines(&mut self, now: u64) {
        while let Some(end) = self.input.iter().position(|&byte| byte == b'\n') {
            let line: Vec<_> = self.input.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end();
            if let Some(id) = line.strip_prefix("id: ") {
                self.id = Some(id.to_owned());
            } else if let Some(name) = line.strip_prefix("event: ") {
                name.clone_into(&mut self.name);
            } else if let Some(data) = line.strip_prefix("data: ") {
                let data: Value = serde_json::from_str(data).unwrap_or_default();
                self.note(&data, now);
            }
        }
    }

    fn note(&mut self, data: &Value, now: u64) {
        let peer = || data["peer"].as_str().unwrap_or_default().to_owned();
        match self.name.as_str() {
            "start" => {
                self.is_whole &= data["missed"] == 0;
                self.since.get_or_insert(now);
            }
            "dropped" => self.is_whole = false,
            "opened" => drop(self.opened.insert(peer())),
            "ended" => *self.ended.entry(peer()).or_default() += 1,
            _ => {}
        }
    }

    /// The server has ended: reads what is still on its way. Whether it was told what it must.
    pub(super) fn finish(mut self, env: &mut SimEnv) -> Result<(), String> {
        let until = env.world.now() + DELIVERY_MAX;
        while self.conn.is_some() && env.world.now() < until {
            let next = env.world.now() + nanos(RETRY);
            env.advance(next, |_| false);
            self.look(&mut env.world);
        }
        let known = self.judge(&env.world)?;
        env.world.note(|| match known {
            Some(known) => format!("the watcher knows {known} endings, and was told all"),
            None => "the watcher was told that it was not told all".to_owned(),
        });
        Ok(())
    }

    /// What it should have been told and was not, or was told twice. Gives how many endings it knows, if it was told all.
    fn judge(&self, world: &World) -> Result<Option<usize>, String> {
        if let Some((peer, count)) = self.ended.iter().find(|(_, count)| **count > 1) {
            return Err(format!("the end of {peer} was told {count} times"));
        }
        let Some(since) = self.since.filter(|_| self.is_whole && self.conn.is_none()) else {
            return Ok(None);
        };
        let meant = world.conns.iter().enumerate().filter(|(_, conn)| self.is_meant(conn, since, world));
        let mut known = 0;
        for (index, conn) in meant {
            let peer = conn.address.to_string();
            let was_let_in = conn.oracle.accepted.is_some_and(|at| at > since);
            if !self.ended.contains_key(&peer) {
                return Err(format!("the watcher was not told that c{index} has ended"));
            }
            if was_let_in && !self.opened.contains(&peer) {
                return Err(format!("the watcher was not told that c{index} was opened"));
            }
            known += 1;
        }
        Ok(Some(known))
    }

    /// Whether it must know how a connection has ended: it did after that, at a worker that was not killed.
    fn is_meant(&self, conn: &Conn, since: u64, world: &World) -> bool {
        let is_orderly =
            || world.processes[conn.oracle.process].exit.as_ref().is_some_and(|exit| exit.success);
        conn.listener != self.admin
            && conn.oracle.ended
            && conn.oracle.closed.is_some_and(|(at, _)| at > since)
            && is_orderly()
    }
}
