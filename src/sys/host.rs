//! Facts about the host, read from `/proc`.

use crate::net::ListenDrops;
use std::fs;

/// The cap on every accept queue (`net.core.somaxconn`).
pub fn somaxconn() -> Option<u32> {
    fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}

/// The host's counts of connections that accept queues could not take. They belong to the network
/// namespace, not to this process.
pub(super) fn listen_drops() -> Option<ListenDrops> {
    parse_listen_drops(&fs::read_to_string("/proc/net/netstat").ok()?)
}

/// `/proc/net/netstat` has for each group a line of names and then a line of as many numbers.
fn parse_listen_drops(netstat: &str) -> Option<ListenDrops> {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let value_of = |wanted: &str| {
        let mut columns = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
        columns.find(|&(name, _)| name == wanted)?.1.parse().ok()
    };
    Some(ListenDrops { overflows: value_of("ListenOverflows")?, drops: value_of("ListenDrops")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_are_found_by_name() {
        let netstat = "TcpExt: SyncookiesSent ListenOverflows ListenDrops TW\nTcpExt: 1 22 333 4\n\
                       IpExt: InNoRoutes\nIpExt: 5\n";
        assert_eq!(parse_listen_drops(netstat), Some(ListenDrops { overflows: 22, drops: 333 }));
        assert_eq!(parse_listen_drops("IpExt: ListenDrops\nIpExt: 5\n"), None);
        assert_eq!(parse_listen_drops("TcpExt: ListenDrops\nTcpExt: x\n"), None);
        assert_eq!(parse_listen_drops(""), None);
    }

    #[test]
    fn this_host_tells() {
        assert!(listen_drops().is_some());
        assert!(somaxconn().is_some_and(|limit| limit > 0));
    }
}
