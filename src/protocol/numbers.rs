//! The numbers that a server tells about itself.

/// Those of one process, or of all workers together: everything adds up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InfoNumbers {
    /// Client connections.
    pub clients: u64,
    /// Most client connections.
    pub clients_max: u64,
    /// Subscriptions of all clients.
    pub subscriptions: u64,
    /// Identities that are held.
    pub identities: u64,
    /// Memory that is resident, in bytes.
    pub resident_bytes: u64,
    /// Most memory in waiting bytes; 0: no bound.
    pub memory_max: u64,
    /// Time of the processor in user space, in microseconds.
    pub cpu_user_us: u64,
    /// Time of the processor in the kernel, in microseconds.
    pub cpu_system_us: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Commands received.
    pub commands: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Connections turned away.
    pub shed: u64,
    /// Connections ended, by reason.
    pub ends: Vec<u64>,
}

/// What `INFO` tells of a server as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ServerNumbers {
    /// Its process: that of the supervisor, where there is one.
    pub pid: u64,
    /// How long it has run, in seconds.
    pub uptime_s: u64,
    /// Channels with a subscriber, each once.
    pub channels: u64,
    /// Patterns with a subscriber, each once.
    pub patterns: u64,
}

impl InfoNumbers {
    /// Adds those of another worker.
    pub fn add(&mut self, mut other: Self) {
        for (sum, number) in self.numbers().into_iter().zip(other.numbers()) {
            *sum = sum.saturating_add(*number);
        }
        self.ends.resize(self.ends.len().max(other.ends.len()), 0);
        for (sum, number) in self.ends.iter_mut().zip(&other.ends) {
            *sum += number;
        }
    }

    fn numbers(&mut self) -> [&mut u64; 13] {
        [
            &mut self.clients,
            &mut self.clients_max,
            &mut self.subscriptions,
            &mut self.identities,
            &mut self.resident_bytes,
            &mut self.memory_max,
            &mut self.cpu_user_us,
            &mut self.cpu_system_us,
            &mut self.accepted,
            &mut self.commands,
            &mut self.bytes_in,
            &mut self.bytes_out,
            &mut self.shed,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_add_up() {
        let mut sum =
            InfoNumbers { clients: 1, memory_max: u64::MAX, ends: vec![1], ..InfoNumbers::default() };
        sum.add(InfoNumbers { clients: 2, memory_max: 1, ends: vec![1, 2], ..InfoNumbers::default() });
        assert_eq!((sum.clients, sum.memory_max, sum.ends), (3, u64::MAX, vec![2, 2]));
    }
}
