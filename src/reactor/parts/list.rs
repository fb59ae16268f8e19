//! A walk over everybody, and what it has found.

use crate::core::end::By;
use crate::core::table::Key;
use crate::protocol::Encoding;
use crate::protocol::clients::{ClientFilter, KillFilter};
use crate::protocol::server::Names;
use std::rc::Rc;
use std::sync::Arc;

/// A walk, and what it has found.
#[derive(Debug)]
pub(in crate::reactor) struct List {
    pub(in crate::reactor) subject: Subject,
    /// The next slot.
    pub(in crate::reactor) at: usize,
    pub(in crate::reactor) found: usize,
    /// The rows of the reply.
    pub(in crate::reactor) rows: Vec<u8>,
    /// Held while the list is being made.
    pub(in crate::reactor) permit: Option<Rc<()>>,
}

/// What is walked over, and who is wanted.
#[derive(Debug)]
pub(in crate::reactor) enum Subject {
    Names {
        names: Names,
        pattern: Box<[u8]>,
        encoding: Encoding,
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
        Self { subject, at: 0, found: 0, rows: Vec::new(), permit: None }
    }

    /// Names that match, for who gets messages in that encoding.
    pub(in crate::reactor) fn of_names(names: Names, pattern: Vec<u8>, encoding: Encoding) -> Self {
        Self::new(Subject::Names { names, pattern: pattern.into(), encoding })
    }

    /// Clients.
    pub(in crate::reactor) fn of_clients(filter: ClientFilter) -> Self {
        Self::new(Subject::Clients(filter))
    }

    /// Clients that are to be ended, on behalf of `by`.
    pub(in crate::reactor) fn of_victims(
        filter: KillFilter,
        by: Option<Arc<By>>,
        spared: Option<Key>,
    ) -> Self {
        Self::new(Subject::Kill { filter, by, spared })
    }

    /// Memory that it holds, in bytes.
    pub(in crate::reactor) fn memory(&self) -> usize {
        self.rows.capacity()
    }
}
