//! Clients that the operator ends, many at a time.

use crate::core::time::Duration;
use crate::core::units::seconds;
use log::info;

/// The operator ends many.
pub fn ending_many(which: &str, over: Duration, by_peer: &str) {
    info!(which, over_s = seconds(over), by_peer; "ending_many");
}

/// The operator ends no more.
pub fn ending_many_stopped(orders: usize, by_peer: &str) {
    info!(orders, by_peer; "ending_many_stopped");
}
