//! Name servers: which addresses a name has changes by a script.

use super::event_queue::Event;
use super::world::World;
use crate::net::{Answers, HostName};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// How long a look-up takes, in nanoseconds.
const TAKES: u64 = 3_000_000;

/// What is said of names, and the look-up that is under way.
#[derive(Debug, Default)]
pub struct NameServer {
    /// From when on a name has which addresses, by time; without any it cannot be looked up.
    script: BTreeMap<HostName, Vec<(u64, Vec<SocketAddr>)>>,
    asked: Option<(u64, Vec<HostName>)>,
}

impl NameServer {
    /// From `at` on, in nanoseconds, the name has these addresses. To be said in the order of time.
    pub fn says(&mut self, at: u64, name: HostName, addresses: Vec<SocketAddr>) {
        self.script.entry(name).or_default().push((at, addresses));
    }

    pub(super) fn answers(&self, names: &[HostName], now: u64) -> Answers {
        let answer = |name: &HostName| {
            let script = self.script.get(name).map_or(&[][..], Vec::as_slice);
            let said = script.iter().rev().find(|(at, _)| *at <= now).map(|(_, addresses)| addresses.clone());
            said.filter(|said| !said.is_empty()).ok_or_else(|| "the simulation says so".to_owned())
        };
        names.iter().map(|name| (name.clone(), answer(name))).collect()
    }
}

impl World {
    pub(super) fn ask_names(&mut self, names: Vec<HostName>) {
        let at = self.now + TAKES;
        self.names.asked = Some((at, names));
        // It makes ready what is read beside the loop.
        self.schedule(at, Event::Sockets);
    }

    pub(super) fn take_answers(&mut self) -> Option<Answers> {
        let (at, names) = self.names.asked.take_if(|(at, _)| *at <= self.now)?;
        Some(self.names.answers(&names, at))
    }
}
