//! What a listener that relays relays to, as its settings say it, and what an upstream is: servers that do the same work.

pub mod check;
pub mod routes;
pub mod servers;
pub mod settings;

use super::proxy_header;
use crate::core::tcp::Keepalive;
use crate::core::time::Duration;
pub use check::Check;
pub use routes::Routes;
pub use servers::{ServerAddress, ServerSpec};
use std::net::IpAddr;
use std::sync::Arc;

/// The upstream side of a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gateway {
    /// Where to, unless a route says otherwise. `None`: routes say it for all who are served.
    pub target: Option<Target>,
    /// Where to by what clients ask for in TLS.
    pub routes: Routes,
    /// What the end of one direction means.
    pub half_close: HalfClose,
    /// How long nothing may move on a pair of which one direction has ended.
    pub half_close_timeout: Duration,
    /// What a server is told of a client that was reset or lost.
    pub client_reset: ClientReset,
}

/// Where a listener relays to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// An upstream that has a table of its own, by name.
    Named(String),
    /// Servers of its own.
    Own(Upstream),
}

/// Servers that do the same work, and how they are used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upstream {
    /// The servers, at least one.
    pub servers: Vec<ServerSpec>,
    /// Which of them gets the next connection.
    pub balance: Balance,
    /// How long a server has to answer the connect.
    pub connect_timeout: Duration,
    /// Source addresses, in turn. None: the kernel chooses.
    pub sources: Vec<IpAddr>,
    /// The header of the PROXY protocol that a server is sent first, if it is.
    pub header: Option<proxy_header::Version>,
    /// TCP keepalive of the connections to them.
    pub keepalive: Option<Keepalive>,
    /// Over which time the share of a server grows that is new, or back. `None`: it has all of it at once.
    pub slow_start: Option<Duration>,
    /// What becomes of the pairs of a server that is no longer among them.
    pub removed: Removed,
    /// How often the addresses of names are looked up again.
    pub resolve: Duration,
    /// How they are checked.
    pub check: Arc<Check>,
}

impl Upstream {
    /// How long what was sent to its servers may stay unacknowledged. `None`: as the kernel has it.
    pub fn user_timeout(&self) -> Option<Duration> {
        // Between the last probe and the end of the wait for its answer, as for clients.
        let probed = |it: Keepalive| it.idle + it.interval * (it.count - 1) + it.interval / 2;
        self.keepalive.map(probed)
    }
}

/// What becomes of the pairs of a server that is no longer in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Removed {
    /// They last as long as their peers want.
    Keep,
    /// They are ended in order, spread over time.
    Drain,
    /// They are cut off at once.
    Cut,
}

/// Which server gets the next connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Balance {
    /// The one with the fewest connections, those that are being made among them.
    LeastConnections,
    /// One after the other.
    RoundRobin,
    /// The one that the client's address stands for: the same each time, and most clients keep theirs when a server comes
    /// or goes (rendezvous hashing).
    SourceHash,
}

/// What a server is told of a client that was reset or lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientReset {
    /// A reset, at once.
    Reset,
    /// What the client had sent, then FIN.
    Fin,
}

/// What the end of one direction means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HalfClose {
    /// It is forwarded, and the other direction lives on.
    Forward,
    /// Its peer has left: what it had sent is delivered, and the pair ends.
    End,
}
