//! What is left of a message that takes longer than a turn.

use super::ask::Ask;
use super::list::List;
use crate::reactor::publication::Publication;

/// What is left of a message.
#[derive(Debug)]
pub(in crate::reactor) enum Task {
    /// What it publishes: those who have not got it.
    Publish(Publication),
    /// A walk over connections, identities or channels.
    List(List),
    /// A question about the clients of all workers.
    Ask(Ask),
}

impl Task {
    /// Memory that it holds, in bytes.
    pub(in crate::reactor) fn memory(&self) -> usize {
        match self {
            Self::Publish(publication) => publication.memory(),
            Self::List(list) => list.memory(),
            Self::Ask(ask) => ask.memory(),
        }
    }
}
