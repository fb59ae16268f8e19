//! What one connection, or the hub on its behalf, does to another: posted, and done between connections.

use crate::core::end::{By, Detector, Reason};
use crate::core::table::Key;
use crate::hub::Name;
use crate::protocol::presence::{Event, Origin};
use std::sync::Arc;

/// Waiting effects above which nobody is added to those who are to be ended.
pub(in crate::reactor) const ENDINGS_WAITING_MAX: usize = 10_000;

/// What one connection, or the hub on its behalf, does to another.
#[derive(Debug)]
pub(in crate::reactor) enum Effect {
    /// Something happened to an identity: those who watch it are told. `origin`: where they are told of whose connection.
    Presence { id: Name, event: Event, origin: Option<Box<Origin>> },
    /// It is ended on behalf of another connection, if that is known: a kick.
    Close { key: Key, reason: Reason, detector: Detector, by: Option<Arc<By>> },
    /// A newer connection has taken its identity: it is ended, and those who watch the identity are told.
    Replaced { key: Key, id: Name, by: Arc<By> },
    /// A message had no room in its output.
    Overflow { key: Key },
    /// Its heartbeat connection died.
    Suspect { key: Key },
    /// It goes on when all that was posted before is done.
    Resume { key: Key },
}
