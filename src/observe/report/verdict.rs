//! What is said of verdicts that end nothing.

use super::Report;
use super::limits::Kind;
use crate::core::end::{Detector, Reason};
use crate::core::table::Key;
use crate::core::time::{Instant, Span};
use crate::core::units::seconds;
use crate::net::Peer;
use log::info;

/// A verdict on a connection that is kept all the same.
pub struct ReportedVerdict<'a> {
    /// Its identity.
    pub identity: Option<&'a [u8]>,
    /// What its silence means.
    pub reason: Reason,
    /// By which means it had become suspect.
    pub detector: Detector,
    /// Nothing had been heard from it for so long.
    pub silence: Span,
}

impl Report {
    /// A suspect connection was not heard from within its grace, and is kept.
    pub fn verdict(
        &mut self,
        key: Key,
        peer: &Peer,
        listener: &str,
        verdict: &ReportedVerdict<'_>,
        now: Instant,
    ) {
        if self.limits.admit(Kind::Verdict, now) {
            let identity = verdict.identity.map(String::from_utf8_lossy).unwrap_or_default();
            let (reason, detector) = (verdict.reason.name(), verdict.detector.name());
            let silence_s = seconds(verdict.silence.into());
            info!(key:% = key, peer:% = peer, listener, identity = &*identity, reason, detector, silence_s; "verdict");
        }
    }
}
