//! What can happen to a connection and to the server, as those who watch are told.

use super::named::named;

named! {
    /// What happened.
    Kind {
        /// A connection was accepted, or connected to an upstream server.
        Opened = "opened",
        /// A connection has got an identity.
        Identified = "identified",
        /// A connection is suspect: nothing was heard from it for too long.
        Suspect = "suspect",
        /// A suspect connection was not heard from within its grace, and this listener only reports that.
        Verdict = "verdict",
        /// A suspect connection was heard from.
        Revived = "revived",
        /// A newer connection has taken the identity of this one.
        Replaced = "replaced",
        /// A connection has ended.
        Ended = "ended",
        /// The loop was stalled.
        Stalled = "stalled",
        /// The server ends: it begins to close its connections.
        Drain = "drain",
        /// The configuration was read again.
        Reload = "reload",
        /// An upstream server gets connections again.
        ServerUp = "server_up",
        /// An upstream server gets no connections any more.
        ServerDown = "server_down",
        /// A worker was started.
        WorkerStarted = "worker_started",
        /// A worker has ended.
        WorkerEnded = "worker_ended",
    }
}

impl Kind {
    /// Whether it happens to a connection, and not to the server.
    pub const fn is_of_connection(self) -> bool {
        match self {
            Self::Opened
            | Self::Identified
            | Self::Suspect
            | Self::Verdict
            | Self::Revived
            | Self::Replaced
            | Self::Ended => true,
            Self::Stalled
            | Self::Drain
            | Self::Reload
            | Self::ServerUp
            | Self::ServerDown
            | Self::WorkerStarted
            | Self::WorkerEnded => false,
        }
    }
}
