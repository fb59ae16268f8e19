//! Connecting outwards: towards an upstream server, or as a client of one.
//!
//! A trait of its own, because a kernel that only serves need not have it.

use super::{Kernel, SocketError, Token};
use std::net::{IpAddr, SocketAddr};

/// A kernel that can connect outwards.
pub trait Connect: Kernel {
    /// Begins to connect, non-blocking, and watches the stream for both directions, edge triggered. Once it is
    /// writable, [`take_error`](super::Stream::take_error) tells what became of it.
    ///
    /// `from`: the source address; its port is chosen as late as possible, so that each (source, destination)
    /// pair has the whole ephemeral range.
    ///
    /// # Errors
    /// When it cannot even begin.
    fn connect(
        &mut self,
        from: Option<IpAddr>,
        to: SocketAddr,
        token: Token,
    ) -> Result<Self::Stream, ConnectError>;
}

/// Why connecting could not begin or did not succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectError {
    /// ECONNREFUSED: nobody listens there.
    Refused,
    /// The source address is none of this host's.
    NotOurs,
    /// EADDRNOTAVAIL, EADDRINUSE: no port is left for this source and destination.
    NoPort,
    /// EMFILE, ENFILE.
    NoDescriptor,
    /// Any other.
    Socket(SocketError),
}
