//! A walk over everybody, and what it has found.

use crate::core::end::By;
use crate::core::table::Key;
use crate::protocol::resp::client::{ClientFilter, KillFilter};
use std::rc::Rc;
use std::sync::Arc;

/// A walk, and what it has found.
#[derive(Debug)]
pub(in crate::reactor) struct List {
    pub(in crate::reactor) subject: Subject,
    /// The next slot.
    pub(in crate::reactor) at: usize,
    pub(in crate::reactor) found: usize,
    /// The reply without its head.
    pub(in crate::reactor) body: Vec<u8>,
    /// Held while the list is being made.
    pub(in crate::reactor) permit: Option<Rc<()>>,
}

/// What is walked over, and who is wanted.
#[derive(Debug)]
pub(in crate::reactor) enum Subject {
    Identities {
        pattern: Box<[u8]>,
    },
    Channels {
        pattern: Box<[u8]>,
    },
    Clients(ClientFilter),
    /// Everybody who passes the filter, but not who is `spared`.
    Kill {
        filter: KillFilter,
        by: Option<Arc<By>>,
        spared: Option<Key>,
    },
}

impl List {
    fn new(subject: Subject) -> Self {
        Self { subject, at: 0, found: 0, body: Vec::new(), permit: None }
    }

    /// `WHO pattern`.
    pub(in crate::reactor) fn of_identities(pattern: Vec<u8>) -> Self {
        Self::new(Subject::Identities { pattern: pattern.into() })
    }

    /// `PUBSUB CHANNELS pattern`.
    pub(in crate::reactor) fn of_channels(pattern: Vec<u8>) -> Self {
        Self::new(Subject::Channels { pattern: pattern.into() })
    }

    /// `CLIENT LIST`.
    pub(in crate::reactor) fn of_clients(filter: ClientFilter) -> Self {
        Self::new(Subject::Clients(filter))
    }

    /// `CLIENT KILL`, on behalf of `by`.
    pub(in crate::reactor) fn of_victims(
        filter: KillFilter,
        by: Option<Arc<By>>,
        spared: Option<Key>,
    ) -> Self {
        Self::new(Subject::Kill { filter, by, spared })
    }

    /// Memory that it holds, in bytes.
    pub(in crate::reactor) fn memory(&self) -> usize {
        self.body.capacity()
    }
}
