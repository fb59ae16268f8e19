//! What clients have asked for whose TLS passes through: beside the table, so that other connections have nothing of it.
//! Where TLS ends here, its layer knows.

use crate::core::secured::Secured;
use crate::core::table::Key;
use std::collections::BTreeMap;
use std::sync::Arc;

/// By slot of the table. The close of a connection takes its entry out.
#[derive(Debug, Default)]
pub(in crate::reactor) struct SecuredClients(BTreeMap<u32, Arc<Secured>>);

impl SecuredClients {
    /// Whether nothing is known of anybody.
    pub(in crate::reactor) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A client has asked for that.
    pub(in crate::reactor) fn note(&mut self, key: Key, secured: Secured) {
        if !secured.asks_for_nothing() {
            self.0.insert(key.index, Arc::new(secured));
        }
    }

    /// What a client has asked for.
    pub(in crate::reactor) fn of(&self, key: Key) -> Option<&Arc<Secured>> {
        self.0.get(&key.index)
    }

    /// A connection is gone.
    pub(in crate::reactor) fn forget(&mut self, key: Key) {
        self.0.remove(&key.index);
    }
}
