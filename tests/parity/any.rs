//! Either end of a connection: what can be done at both is written once.

use crate::lab::{Lab, Peer, StreamOf};
use linger::net::{Received, Sent, SocketError, Stream};

/// An end.
pub enum Any<'a, L: Lab> {
    Client(&'a mut L::Peer),
    Server(&'a mut StreamOf<L>),
}

impl<L: Lab> Any<'_, L> {
    pub fn send(self, bytes: &[u8]) -> Sent {
        match self {
            Self::Client(client) => client.send(bytes),
            Self::Server(server) => server.send(bytes),
        }
    }

    pub fn send_oob(self) -> Sent {
        match self {
            Self::Client(client) => client.send_oob(),
            Self::Server(server) => server.send_oob(b'!'),
        }
    }

    pub fn recv(self, buffer: &mut [u8]) -> Received {
        match self {
            Self::Client(client) => client.recv(buffer),
            Self::Server(server) => server.recv(buffer),
        }
    }

    pub fn take_error(self) -> Option<SocketError> {
        match self {
            Self::Client(client) => client.take_error(),
            Self::Server(server) => server.take_error(),
        }
    }
}
