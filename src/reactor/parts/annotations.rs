//! What is known of connections, beside what their entries of the table hold: few have any of it.

use super::initiators::Initiators;
use super::proxied::ProxiedConnections;
use super::secured::SecuredClients;

/// Each has entries for few connections.
#[derive(Default)]
pub(in crate::reactor) struct Annotations {
    /// What proxies have said of connections.
    pub(in crate::reactor) proxied: ProxiedConnections,
    /// What clients have asked for whose TLS passes through.
    pub(in crate::reactor) secured: SecuredClients,
    /// Who ends connections that are not closed yet.
    pub(in crate::reactor) initiators: Initiators,
}

impl Annotations {
    /// Whether there is nothing about any connection.
    pub(in crate::reactor) fn is_empty(&self) -> bool {
        self.initiators.is_empty() && self.proxied.is_empty() && self.secured.is_empty()
    }
}
