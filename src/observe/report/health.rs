//! What is said of the health of upstream servers.

use super::Report;
use super::limits::Kind;
use crate::core::health::{Change, Rules, Word};
use crate::core::time::Instant;
use crate::net::Address;
use log::{info, warn};

/// A server whose state has changed, for its line in the log.
#[derive(Clone, Copy, Debug)]
pub struct ServerState<'a> {
    /// The name of its upstream.
    pub upstream: &'a str,
    /// Where it is.
    pub server: &'a Address,
    /// What it is now.
    pub change: Change,
    /// What kind of sign has changed that.
    pub by: &'a str,
    /// What in particular.
    pub reason: &'a str,
    /// What it took.
    pub rules: Rules,
    /// How many servers of the upstream are up and not taken out.
    pub in_service: usize,
}

impl Report {
    /// An upstream server has come up or gone down. If it was the last one, that is said as well.
    pub fn server_state(&mut self, of: &ServerState<'_>, now: Instant) {
        if !self.limits.admit(Kind::UpstreamState, now) {
            return;
        }
        let ServerState { upstream, server, by, reason, rules, in_service, .. } = *of;
        match of.change {
            Change::Up => {
                info!(upstream, server:% = server, state = "up", by, reason, rise = rules.rise, in_service; "upstream_state");
            }
            Change::Down => {
                warn!(upstream, server:% = server, state = "down", by, reason, fall = rules.fall, in_service; "upstream_state");
                if in_service == 0 {
                    let advice = "all that the operator has not taken out are tried as if they were up";
                    warn!(upstream, advice; "upstream_none_up");
                }
            }
        }
    }
}

/// The operator has said how an upstream server is to be.
pub fn server_word(upstream: &str, server: &str, word: Word) {
    info!(upstream, server, state = word.name(); "upstream_word");
}
