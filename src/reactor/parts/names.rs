//! The host names among the servers of an upstream: which addresses each has, and when they are looked up again.

use crate::core::time::{Duration, Instant};
use crate::net::{Answers, HostName};
use crate::protocol::gateway::{ServerAddress, Upstream};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The names of an upstream.
#[derive(Debug)]
pub(in crate::reactor) struct Names {
    known: BTreeMap<HostName, Known>,
    /// When they are looked up again; [`Instant::NEVER`] if there are none, and while they are.
    due: Instant,
    /// Look-ups that brought nothing.
    failures: u64,
}

/// What is known of a name.
#[derive(Debug, Default)]
struct Known {
    /// Its addresses, as they were last told.
    addresses: Vec<SocketAddr>,
    /// Its last look-up has failed, and that was said.
    failing: bool,
}

/// What a look-up has brought that is worth a line in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::reactor) enum LookUp {
    /// The name has these addresses now, and had others.
    Changed(HostName, Vec<SocketAddr>),
    /// Nothing, for this reason, where something had come before.
    Failed(HostName, String),
}

/// The names among the servers of an upstream.
pub(in crate::reactor) fn names_of(upstream: &Upstream) -> impl Iterator<Item = HostName> {
    upstream.servers.iter().filter_map(|spec| match &spec.address {
        ServerAddress::Name { host, port } => Some(HostName { host: host.clone(), port: *port }),
        ServerAddress::Tcp(_) | ServerAddress::Unix(_) => None,
    })
}

impl Names {
    /// Those of an upstream that has none.
    pub(in crate::reactor) const fn none() -> Self {
        Self { known: BTreeMap::new(), due: Instant::NEVER, failures: 0 }
    }

    /// Those of new settings: what is known of one that stays is kept, one that is new is looked up at once.
    pub(in crate::reactor) fn adopt(&mut self, upstream: &Upstream, now: Instant) {
        let mut known = std::mem::take(&mut self.known);
        self.known = names_of(upstream)
            .map(|name| {
                let kept = known.remove(&name).unwrap_or_default();
                (name, kept)
            })
            .collect();
        let wait = if self.are_awaited() { Duration::ZERO } else { upstream.resolve };
        // What was due before stays so, however often there are new settings.
        self.due = if self.known.is_empty() { Instant::NEVER } else { self.due.min(now + wait) };
    }

    /// When they are to be looked up again.
    pub(in crate::reactor) const fn due(&self) -> Instant {
        self.due
    }

    /// Whether one of them has never had an address.
    pub(in crate::reactor) fn are_awaited(&self) -> bool {
        self.known.values().any(|known| known.addresses.is_empty())
    }

    /// Those to look up. They are not due again before they are answered.
    pub(in crate::reactor) fn take(&mut self) -> impl Iterator<Item = HostName> {
        self.due = Instant::NEVER;
        self.known.keys().cloned()
    }

    /// The addresses of one of them.
    pub(in crate::reactor) fn addresses(&self, host: &str, port: u16) -> &[SocketAddr] {
        let name = HostName { host: host.to_owned(), port };
        self.known.get(&name).map_or(&[], |known| &known.addresses)
    }

    /// Look-ups that brought nothing, if there are names.
    pub(in crate::reactor) fn failures(&self) -> Option<u64> {
        (!self.known.is_empty()).then_some(self.failures)
    }

    /// Takes over what was looked up; what could not be stays as it was. Due again after `interval`.
    pub(in crate::reactor) fn answered(
        &mut self,
        answers: &Answers,
        interval: Duration,
        now: Instant,
    ) -> Vec<LookUp> {
        let mut told = Vec::new();
        for (name, answer) in answers {
            let Some(known) = self.known.get_mut(name) else { continue };
            self.due = now + interval;
            match answer {
                Ok(addresses) => {
                    known.failing = false;
                    if known.addresses != *addresses {
                        known.addresses.clone_from(addresses);
                        told.push(LookUp::Changed(name.clone(), addresses.clone()));
                    }
                }
                Err(why) => {
                    self.failures += 1;
                    if !std::mem::replace(&mut known.failing, true) {
                        told.push(LookUp::Failed(name.clone(), why.clone()));
                    }
                }
            }
        }
        // One that came while others were looked up.
        if self.known.values().any(|known| known.addresses.is_empty() && !known.failing) {
            self.due = now;
        }
        told
    }
}
