//! The way between a client and the server: none, or a gateway of ours, which is then what is looked at.

use super::case::Case;
use super::method::Method;

/// What lies between them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Path {
    /// Nothing: the client is connected to the server.
    Direct,
    /// A listener `tcp://` that relays to the server. It has to say of the client what the server says without it.
    Gateway,
}

impl Path {
    /// Its name, for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Gateway => "gateway",
        }
    }

    /// Why a row is not tried, if it is not.
    pub const fn lacks_case(self, case: Case) -> Option<&'static str> {
        match (self, case) {
            (Self::Gateway, Case::Goodbye) => Some("a gateway knows no goodbye"),
            (Self::Gateway, Case::Reboot) => Some("nobody tells the gateway who the client is"),
            (Self::Gateway, Case::ChannelDeath) => Some("a gateway knows no heartbeat channels"),
            _ => None,
        }
    }

    /// Why a column is not tried, if it is not.
    pub const fn lacks_method(self, method: Method) -> Option<&'static str> {
        match (self, method) {
            (Self::Gateway, Method::Ping) => Some("a gateway has no message to ping with"),
            (Self::Gateway, Method::Channel) => Some("a gateway knows no heartbeat channels"),
            (Self::Gateway, Method::EofProbe) => Some("its bytes would be taken for the server's"),
            (Self::Gateway, Method::TakeOver) => Some("nobody tells the gateway who the client is"),
            _ => None,
        }
    }

    /// Whether it is tried.
    pub const fn tries(self, case: Case, method: Method) -> bool {
        self.lacks_case(case).is_none() && self.lacks_method(method).is_none()
    }
}
