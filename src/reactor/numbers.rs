//! The numbers of this process, as its clients ask for them.

use super::context::Context;
use super::parts::ask::Ask;
use super::work::cost;
use crate::core::end::Reason;
use crate::core::time::Duration;
use crate::net::Kernel;
use crate::protocol::numbers::{InfoNumbers, ServerNumbers};

/// What it costs to gather them: two system calls that read `/proc`, and a page of text.
const COST: usize = 64 * cost::COMMAND;

impl<K: Kernel> Context<K> {
    /// The numbers of a server of one process, for who has asked for them.
    pub(super) fn own_numbers(&mut self, asked: Vec<Vec<u8>>) -> Ask {
        let numbers = self.info_numbers();
        let gauges = self.hub.gauges();
        let server = ServerNumbers {
            pid: std::process::id().into(),
            uptime_s: self.now.since(self.lifecycle.started()).as_secs(),
            channels: gauges.channels as u64,
            patterns: gauges.patterns as u64,
        };
        Ask::of_numbers(asked, numbers, server)
    }

    /// The numbers of this process.
    pub(super) fn info_numbers(&mut self) -> InfoNumbers {
        self.work.charge(COST);
        let usage = self.kernel.usage().unwrap_or_default();
        let (gauges, counters) = (self.hub.gauges(), &self.observer.counters);
        InfoNumbers {
            clients: self.places.clients().into(),
            clients_max: self.places.clients_max().into(),
            subscriptions: gauges.subscriptions as u64,
            identities: gauges.identities as u64,
            resident_bytes: usage.resident_bytes,
            // 0 is how Redis says that there is none.
            memory_max: if self.pool.max() == usize::MAX { 0 } else { self.pool.max() as u64 },
            cpu_user_us: micros(usage.cpu_user),
            cpu_system_us: micros(usage.cpu_system),
            accepted: counters.accepted(),
            commands: counters.commands,
            bytes_in: counters.bytes_in(),
            bytes_out: counters.bytes_out(),
            shed: counters.shed(),
            ends: Reason::ALL.iter().map(|&reason| counters.ends(reason)).collect(),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
