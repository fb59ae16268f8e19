//! What proxies have said of connections, and what they have still to say. What was said is beside the table, so that a
//! connection that came by itself has nothing of it.

use crate::core::proxied::Proxied;
use crate::core::table::Key;
use crate::core::time::Instant;
use crate::net::Peer;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// A header that is not whole yet.
#[derive(Debug)]
pub(in crate::reactor) struct PendingHeader {
    /// What has come of it.
    pub(in crate::reactor) bytes: Vec<u8>,
    /// When it has to be whole.
    pub(in crate::reactor) until: Instant,
}

impl PendingHeader {
    /// Of which nothing has come, and which has to be whole by then.
    pub(in crate::reactor) const fn until(until: Instant) -> Self {
        Self { bytes: Vec::new(), until }
    }
}

/// By slot of the table. The close of a connection takes its entry out.
#[derive(Debug, Default)]
pub(in crate::reactor) struct ProxiedConnections(BTreeMap<u32, Said>);

/// What was said of one, and by whom.
#[derive(Debug)]
struct Said {
    /// The other end of the socket; the entry of the table has the client instead.
    sender: Peer,
    says: Arc<Proxied>,
}

impl ProxiedConnections {
    /// `sender` has said this of a connection.
    pub(in crate::reactor) fn note(&mut self, key: Key, sender: Peer, says: Proxied) {
        self.0.insert(key.index, Said { sender, says: Arc::new(says) });
    }

    /// A connection is gone. Gives what was said of it.
    #[inline]
    pub(in crate::reactor) fn remove(&mut self, key: Key) -> Option<Arc<Proxied>> {
        if self.is_empty() { None } else { self.take(key) }
    }

    /// The same, where there is some: most connections come and go while there is none.
    #[inline(never)]
    fn take(&mut self, key: Key) -> Option<Arc<Proxied>> {
        self.0.remove(&key.index).map(|said| said.says)
    }

    /// Whether nothing was said of any.
    pub(in crate::reactor) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was said of a connection.
    pub(in crate::reactor) fn of(&self, key: Key) -> Option<&Proxied> {
        self.0.get(&key.index).map(|said| &*said.says)
    }

    /// Who is at the other end of the socket of a connection; `None`: the one whose connection it is.
    pub(in crate::reactor) fn sender(&self, key: Key) -> Option<Peer> {
        self.0.get(&key.index).map(|said| said.sender)
    }

    /// What the client of a connection had connected to.
    pub(in crate::reactor) fn destination(&self, key: Key) -> Option<SocketAddr> {
        self.of(key)?.destination
    }

    /// Bytes of the header of a connection: they are not its client's.
    pub(in crate::reactor) fn header_bytes(&self, key: Key) -> u64 {
        self.of(key).map_or(0, |says| says.header_bytes as u64)
    }
}
