//! The way between a client and the server: direct, or by a gateway of ours, which is then what is looked at; and what is
//! spoken on it.

use super::case::Case;
use super::method::Method;

/// What lies between a client and the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Via {
    /// Nothing: the client is connected to the server.
    Direct,
    /// A listener `tcp://` that relays to the server. It has to say of the client what the server says without it.
    Gateway,
}

/// What a client speaks under its protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// Nothing.
    Plain,
    /// TLS. It ends at the listener that is looked at.
    Tls,
}

/// A way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Path {
    /// What lies between.
    pub via: Via,
    /// What is spoken.
    pub transport: Transport,
}

impl Via {
    /// Its name, for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Gateway => "gateway",
        }
    }
}

impl Transport {
    /// Its name, for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tls => "tls",
        }
    }
}

impl Path {
    /// Every way.
    pub const ALL: [Self; 4] = [
        Self::new(Via::Direct, Transport::Plain),
        Self::new(Via::Gateway, Transport::Plain),
        Self::new(Via::Direct, Transport::Tls),
        Self::new(Via::Gateway, Transport::Tls),
    ];

    /// One of them.
    pub const fn new(via: Via, transport: Transport) -> Self {
        Self { via, transport }
    }

    /// What it is, where it is not the usual one.
    pub const fn title(self) -> Option<&'static str> {
        match (self.via, self.transport) {
            (Via::Direct, Transport::Plain) => None,
            (Via::Gateway, Transport::Plain) => Some("through a gateway"),
            (Via::Direct, Transport::Tls) => Some("over TLS"),
            (Via::Gateway, Transport::Tls) => Some("through a gateway, over TLS"),
        }
    }

    /// Why a row is not tried, if it is not.
    pub const fn lacks_case(self, case: Case) -> Option<&'static str> {
        match (self.via, case) {
            (Via::Gateway, Case::Goodbye) => Some("a gateway knows no goodbye"),
            (Via::Gateway, Case::ChannelDeath) => Some("a gateway knows no heartbeat channels"),
            _ => None,
        }
    }

    /// Why a column is not tried, if it is not.
    pub const fn lacks_method(self, method: Method) -> Option<&'static str> {
        match (self.via, method) {
            (Via::Gateway, Method::Ping) => Some("a gateway has no message to ping with"),
            (Via::Gateway, Method::Channel) => Some("a gateway knows no heartbeat channels"),
            (Via::Gateway, Method::EofProbe) => Some("its bytes would be taken for the server's"),
            _ => None,
        }
    }

    /// Whether the server behind the gateway tells it who the clients are. Elsewhere nobody does: a connection that is lost
    /// stays lost when its client comes back.
    pub const fn names_clients(self, case: Case, method: Method) -> bool {
        matches!(
            (self.via, case, method),
            (Via::Gateway, Case::Reboot, _) | (Via::Gateway, _, Method::TakeOver)
        )
    }

    /// Whether it is tried.
    pub const fn tries(self, case: Case, method: Method) -> bool {
        self.lacks_case(case).is_none() && self.lacks_method(method).is_none()
    }
}
