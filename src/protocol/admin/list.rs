//! Which connections are to be listed, or ended.

use super::{limit_of, time_of};
use crate::core::time::Duration;
use crate::protocol::http::{Request, Response, Status};
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Which connections are to be listed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListQuery {
    /// At most so many.
    pub limit: usize,
    /// On this listener.
    pub listener: Option<String>,
    /// In this state.
    pub state: Option<String>,
    /// With this identity.
    pub identity: Option<String>,
    /// From there.
    pub peer: Option<PeerFilter>,
    /// That one.
    pub key: Option<String>,
    /// Older than this.
    pub age_over: Option<Duration>,
    /// Only clients: neither those of the admin interface, nor those to upstream servers.
    pub clients: bool,
}

/// Whose connections are to be listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerFilter {
    /// Those of a host.
    Host(IpAddr),
    /// Those of a network.
    Network(IpNet),
    /// That one.
    Socket(SocketAddr),
    /// Those that came by a unix socket, and have no address.
    Unix,
}

/// A parameter that is `true`, or not there.
pub(super) fn flag(request: &Request, name: &str) -> Result<bool, Response<'static>> {
    match request.query_value(name) {
        None => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Response::text(Status::BadRequest, format!("{name} must be true, or not be there\n"))),
    }
}

/// As it was asked for.
impl fmt::Display for ListQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = self.peer.map(|peer| peer.to_string());
        let age_over = self.age_over.map(|over| format!("{}s", over.as_secs_f64()));
        let given = [
            ("listener", &self.listener),
            ("state", &self.state),
            ("identity", &self.identity),
            ("peer", &peer),
            ("key", &self.key),
            ("age_over", &age_over),
        ];
        let given = given.iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)));
        let given: Vec<_> = given.collect();
        f.write_str(if given.is_empty() { "all" } else { "" })?;
        f.write_str(&given.join(" "))
    }
}

impl fmt::Display for PeerFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => host.fmt(f),
            Self::Network(network) => network.fmt(f),
            Self::Socket(socket) => socket.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

impl PeerFilter {
    /// The one that a request gives.
    pub(super) fn of(request: &Request) -> Result<Option<Self>, Response<'static>> {
        request.query_value("peer").map(Self::read).transpose().map_err(|text| {
            let form = "an address (192.0.2.7), address:port, a network (192.0.2.0/24) or unix";
            Response::text(Status::BadRequest, format!("peer must be {form}, and {text:?} is none\n"))
        })
    }

    /// The one that a text means.
    ///
    /// # Errors
    /// The text, if it means none.
    pub fn read(text: &str) -> Result<Self, &str> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        match (text.parse(), text.parse(), text.parse()) {
            (Ok(host), _, _) => Ok(Self::Host(host)),
            (_, Ok(socket), _) => Ok(Self::Socket(socket)),
            (_, _, Ok(network)) => Ok(Self::Network(network)),
            (Err(_), Err(_), Err(_)) => Err(text),
        }
    }

    /// Whether that is one of them.
    pub fn is(&self, peer: Option<SocketAddr>) -> bool {
        match self {
            Self::Host(host) => peer.is_some_and(|peer| peer.ip() == *host),
            Self::Socket(socket) => peer == Some(*socket),
            Self::Network(network) => peer.is_some_and(|peer| network.contains(&peer.ip())),
            Self::Unix => peer.is_none(),
        }
    }
}

impl ListQuery {
    pub(super) fn read(request: &Request) -> Result<Self, Response<'static>> {
        let known = ["limit", "listener", "state", "identity", "peer", "key", "age_over", "clients"];
        let clients = flag(request, "clients")?;
        Ok(Self { clients, ..Self::of(request, limit_of(request, &known)?)? })
    }

    /// The filters of a request.
    pub(super) fn of(request: &Request, limit: usize) -> Result<Self, Response<'static>> {
        let text = |name| request.query_value(name).map(str::to_owned);
        let peer = PeerFilter::of(request)?;
        let [listener, state, identity, key] = ["listener", "state", "identity", "key"].map(text);
        let age_over = time_of(request, "age_over", "1h")?;
        Ok(Self { limit, listener, state, identity, peer, key, age_over, clients: false })
    }

    /// Whether all pass.
    pub(super) fn is_everything(&self) -> bool {
        *self == Self { limit: self.limit, clients: self.clients, ..Self::default() }
    }

    /// Whether a connection is to be listed. What is cheap to know stands first.
    pub fn wants(&self, listener: &str, state: &str, peer: Option<SocketAddr>) -> bool {
        let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
        is(&self.listener, listener)
            && is(&self.state, state)
            && self.peer.is_none_or(|wanted| wanted.is(peer))
    }

    /// Whether a connection with that identity, or with none, is to be listed.
    pub fn wants_identity(&self, identity: Option<&[u8]>) -> bool {
        let Some(wanted) = &self.identity else { return true };
        String::from_utf8_lossy(identity.unwrap_or_default()) == *wanted
    }
}
