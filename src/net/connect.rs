//! Connecting outwards: towards an upstream server, or as a client of one.

use super::{Address, SocketError, SocketOptions};
use std::net::IpAddr;

/// What to connect to, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectSpec<'a> {
    /// Where to.
    pub to: &'a Address,
    /// The source address; its port is chosen as late as possible, so that each (source, destination) pair has the
    /// whole ephemeral range (`IP_BIND_ADDRESS_NO_PORT`, ip(7)). None: the kernel chooses both.
    pub from: Option<IpAddr>,
    /// Options of the socket. Each that differs from a new socket's costs a call.
    pub options: SocketOptions,
}

/// Why connecting could not begin or did not succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectError {
    /// ECONNREFUSED: nobody listens there.
    Refused,
    /// ENOENT: a unix socket that does not exist.
    NoSocket,
    /// EAGAIN of a unix socket: its accept queue is full. It is not in progress: nothing will come of it.
    QueueFull,
    /// The source address is none of this host's.
    NotOurs,
    /// EADDRNOTAVAIL, EADDRINUSE: no port is left for this source and destination.
    NoPort,
    /// EMFILE, ENFILE.
    NoDescriptor,
    /// Any other.
    Socket(SocketError),
}
