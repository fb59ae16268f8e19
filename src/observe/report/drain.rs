//! How a server goes away.

use crate::core::time::Duration;
use crate::core::units::seconds;
use log::{info, warn};

/// The drain begins after a while, in which clients are served and the server says that it is not ready.
pub fn drain_put_off(delay: Duration) {
    info!(
        delay_s = seconds(delay), advice = "/readyz says that it is not ready; a second SIGTERM or SIGINT drains now";
        "drain_put_off"
    );
}

/// The drain begins.
pub fn drain_begun(connections: u32, spread: Duration, timeout: Duration) {
    info!(
        connections, spread_s = seconds(spread), timeout_s = seconds(timeout),
        advice = "a second SIGTERM or SIGINT ends at once"; "draining"
    );
}

/// A second signal came during the drain.
pub fn drain_hurried(connections: u32) {
    warn!(connections_cut = connections; "drain_cut_short");
}

/// All workers are told to drain.
pub fn workers_drain(workers: usize, at_once: bool) {
    info!(workers, at_once; "workers_drain");
}
