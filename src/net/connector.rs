//! The kernel as a client sees it: connecting outwards, waiting with a finer clock than the server needs, and
//! the ways of misbehaving that a generator of faults asks for.
//!
//! A trait of its own, so that a kernel that only serves, as the simulated one, need not have it.

use super::{Fatal, Kernel, Ready, SocketError, Token};
use crate::time::{Duration, Instant};
use std::net::{IpAddr, SocketAddr};

/// A kernel that can connect outwards.
pub trait Connector: Kernel {
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

    /// As [`poll`](Kernel::poll), until an instant that may be finer than a millisecond.
    ///
    /// # Errors
    /// When the poller itself has failed.
    fn poll_until(&mut self, deadline: Instant, ready: &mut Vec<Ready>) -> Result<(), Fatal>;

    /// Sends our FIN and keeps the other direction.
    fn half_close(&mut self, stream: &Self::Stream);

    /// Lets nothing in any more: whatever arrives is dropped before TCP sees it, so that not even an
    /// acknowledgement leaves. To the peer the host is gone.
    ///
    /// # Errors
    /// When the kernel does not allow it.
    fn blackhole(&mut self, stream: &Self::Stream) -> Result<(), SocketError>;

    /// Undoes [`blackhole`](Self::blackhole): the host is back, and knows nothing of what it missed.
    fn hear_again(&mut self, stream: &Self::Stream);

    /// Gives a stream the smallest buffers there are.
    fn shrink_buffers(&mut self, stream: &Self::Stream);

    /// Undoes [`shrink_buffers`](Self::shrink_buffers).
    fn widen(&mut self, stream: &Self::Stream);

    /// CPU time that this process has used.
    fn cpu_time(&mut self) -> Duration;

    /// CPU time that another process has used; none if it is gone.
    fn cpu_time_of(&mut self, pid: u32) -> Option<Duration>;

    /// How long this process was ready to run while others held the processors.
    fn waited(&mut self) -> Duration;
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
    SocketError(SocketError),
}
