//! Which connections, and which of their endings, are meant.

use super::PeerFilter;
use crate::core::end::Reason;
use crate::core::nearest::did_you_mean;
use crate::hub::glob;
use crate::protocol::http::{Request, Response, Status};
use std::fmt::Write as _;
use std::net::SocketAddr;

/// Connections and their endings, by what they are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Of connections on this listener.
    pub listener: Option<String>,
    /// With this identity.
    pub identity: Option<String>,
    /// From there.
    pub peer: Option<PeerFilter>,
    /// Of that name.
    pub key: Option<String>,
    /// For reasons whose names match this pattern.
    pub reason: Option<String>,
}

impl Filter {
    pub(super) fn read(request: &Request) -> Result<Self, Response<'static>> {
        let reason = request.query_value("reason").map(|pattern| {
            let is_one = |reason: &&Reason| glob::matches(pattern.as_bytes(), reason.name().as_bytes());
            let found = Reason::ALL.iter().find(is_one).map(|_| pattern.to_owned());
            found.ok_or_else(|| Response::text(Status::BadRequest, no_reason(pattern)))
        });
        let text = |name| request.query_value(name).map(str::to_owned);
        let [listener, identity, key] = ["listener", "identity", "key"].map(text);
        Ok(Self { listener, identity, peer: PeerFilter::of(request)?, key, reason: reason.transpose()? })
    }

    /// Whether all are meant.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a connection, or its ending for that reason, is meant, by what is cheap to know of it.
    pub fn wants(&self, listener: &str, reason: Option<Reason>, peer: Option<SocketAddr>) -> bool {
        self.listener.as_ref().is_none_or(|wanted| wanted == listener)
            && self.peer.is_none_or(|wanted| wanted.is(peer))
            && self.reason.as_ref().is_none_or(|pattern| {
                reason.is_some_and(|reason| glob::matches(pattern.as_bytes(), reason.name().as_bytes()))
            })
    }

    /// Whether a connection with that identity, or without one, is meant.
    pub fn wants_identity(&self, identity: &[u8]) -> bool {
        self.identity.as_ref().is_none_or(|wanted| String::from_utf8_lossy(identity) == *wanted)
    }
}

fn no_reason(pattern: &str) -> String {
    let meant = did_you_mean(pattern, Reason::ALL.iter().map(|reason| reason.name()));
    let mut text =
        format!("no reason is called {pattern:?}; {meant}a pattern such as lost.* means several. They are");
    for reason in Reason::ALL {
        let _ = write!(text, " {reason}");
    }
    text + "\n"
}
