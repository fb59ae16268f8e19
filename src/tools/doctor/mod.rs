//! What a host does to a server with many connections: limits that end them, settings that lose them, and the
//! tuning folklore that does not help.
//!
//! [`Host`] is what can be read of a host, plain; [`CHECKS`] and [`FOLKLORE`] are two tables over it, of
//! functions that know nothing else. Nothing here changes a host: each finding carries the command that would,
//! and the name of the test that shows what it rests on. Read on in [`host`], and of a gateway
//! that runs in [`half_closes`], then in [`rules`] by subject,
//! then in [`folklore`].

pub mod folklore;
#[cfg(test)]
mod gateway_tests;
pub mod half_closes;
pub mod host;
#[cfg(test)]
mod reading_tests;
pub mod rules;
#[cfg(test)]
mod tests;

pub use folklore::{Belief, FOLKLORE};
pub use host::Host;
pub use rules::{CHECKS, Check};

use serde::Serialize;
use std::net::SocketAddr;

/// What the host is asked to carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aim {
    /// Connections at once.
    pub connections: u64,
    /// Processes that share them.
    pub workers: u64,
    /// Descriptors that a process needs besides.
    pub descriptors_besides: u64,
    /// The longest accept queue that a listener asks for.
    pub backlog: u64,
    /// Ports listened on.
    pub ports: Vec<u16>,
    /// Upstreams that listeners relay to.
    pub relays: Vec<Relay>,
    /// Other listeners for clients have a part of the connections.
    pub shared: bool,
}

impl Aim {
    /// Connections that the server holds: a pair of a gateway is two.
    fn held(&self) -> u64 {
        let gateway = !self.relays.is_empty() && !self.shared;
        if gateway { self.connections.saturating_mul(2) } else { self.connections }
    }
}

/// What an upstream asks of the ports of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Its name.
    pub upstream: String,
    /// Its servers, those that have a port.
    pub servers: Vec<SocketAddr>,
    /// Source addresses that connections to them have; the kernel's choice is one.
    pub sources: u64,
    /// The listeners that forward half-closes to it (`half_close = "forward"`).
    pub forwarding: Vec<String>,
    /// How many, where a running server told.
    pub half_closes_a_minute: Option<u64>,
}

impl Relay {
    /// Whether a half-close may leave a TIME_WAIT towards one of its servers.
    pub fn forwards(&self) -> bool {
        !self.forwarding.is_empty() && !self.servers.is_empty()
    }
}

/// What a value means for the aim; the worst last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It does not stand in the way.
    Ok,
    /// It cannot be read from here, so nothing is said of it.
    Unknown,
    /// It carries the aim, and another value would be better.
    Advice,
    /// Connections would be refused, cut or lost.
    Harm,
}

/// What a rule makes of a value: a finding without its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    value: String,
    verdict: Verdict,
    set: Vec<String>,
    why: String,
}

impl Judgement {
    fn ok(value: impl Into<String>, why: impl Into<String>) -> Self {
        Self { value: value.into(), verdict: Verdict::Ok, set: Vec::new(), why: why.into() }
    }

    fn advice(value: impl Into<String>, set: impl Into<String>, why: impl Into<String>) -> Self {
        Self { verdict: Verdict::Advice, ..Self::harm(value, set, why) }
    }

    /// `set` is one command; empty where no command helps.
    fn harm(value: impl Into<String>, set: impl Into<String>, why: impl Into<String>) -> Self {
        let set: String = set.into();
        let set = if set.is_empty() { Vec::new() } else { vec![set] };
        Self { value: value.into(), verdict: Verdict::Harm, set, why: why.into() }
    }

    /// One more command of those that are needed together.
    fn and(mut self, command: impl Into<String>) -> Self {
        self.set.push(command.into());
        self
    }
}

/// One value of the host, judged. The names of the fields are the shape of `linger doctor --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The sysctl, limit or counter, as it is called.
    pub name: &'static str,
    /// As it is now; `None` if it cannot be read.
    pub value: Option<String>,
    /// What that means.
    pub verdict: Verdict,
    /// What to run or to write, all of it, to have it otherwise.
    pub set: Vec<String>,
    /// The reason, in a sentence.
    pub why: String,
    /// The page of the guide about it.
    pub page: &'static str,
    /// The test that shows the kernel behave so, as `file: name`.
    pub test: Option<&'static str>,
}

/// A piece of folklore, and whether this host has been tuned by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tale {
    /// The setting it is about, or a name for it.
    pub name: &'static str,
    /// What is said.
    pub claim: &'static str,
    /// What is so.
    pub fact: &'static str,
    /// The page of the guide about it.
    pub page: &'static str,
    /// The test that shows it, as `file: name`.
    pub test: &'static str,
    /// What was found here, where there is something to find.
    pub value: Option<String>,
    /// `ok` if this host was not tuned so.
    pub verdict: Verdict,
    /// What undoes it.
    pub set: Vec<String>,
}

/// All that there is to say of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Of this shape; another number when a field changes its meaning.
    pub version: u32,
    /// [`Aim::connections`].
    pub connections: u64,
    /// The worst of all verdicts.
    pub verdict: Verdict,
    /// In the order of [`CHECKS`].
    pub findings: Vec<Finding>,
    /// In the order of [`FOLKLORE`].
    pub folklore: Vec<Tale>,
}

/// Holds a host against an aim.
pub fn examine(host: &Host, aim: &Aim) -> Report {
    let checks = CHECKS.iter().filter(|check| check.concerns(aim));
    let findings: Vec<_> = checks.map(|check| check.find(host, aim)).collect();
    let folklore: Vec<_> = FOLKLORE.iter().map(|belief| belief.look(host, aim)).collect();
    let verdicts = findings.iter().map(|finding| finding.verdict);
    let verdict = verdicts.chain(folklore.iter().map(|tale| tale.verdict)).max().unwrap_or(Verdict::Ok);
    Report { version: 1, connections: aim.connections, verdict, findings, folklore }
}
