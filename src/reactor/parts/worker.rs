//! What this process is among others: one worker of several, or all that its server is.

use super::link::WorkerLink;
use crate::core::table::Key;
use crate::net::Stream;
use crate::protocol::clients::GlobalKey;
use crate::workers::link::ToSupervisor;

/// What this process is among others: `None`, the only one of its server.
pub(in crate::reactor) struct Worker<S>(Option<Box<WorkerLink<S>>>);

/// Where a connection is that somebody names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::reactor) enum Place {
    /// If it is anywhere, then at this worker.
    Here(Key),
    /// At another worker.
    Elsewhere,
    /// There is no such worker.
    Nowhere,
}

impl<S: Stream> Worker<S> {
    /// All that its server is.
    pub(in crate::reactor) const fn alone() -> Self {
        Self(None)
    }

    /// One of several.
    pub(in crate::reactor) fn among_others(link: WorkerLink<S>) -> Self {
        Self(Some(Box::new(link)))
    }

    /// Whether it is one of several.
    pub(in crate::reactor) const fn has_others(&self) -> bool {
        self.0.is_some()
    }

    /// The way to its supervisor, where it is one of several.
    pub(in crate::reactor) fn link(&self) -> Option<&WorkerLink<S>> {
        self.0.as_deref()
    }

    /// The way to its supervisor, to send or receive.
    pub(in crate::reactor) fn link_mut(&mut self) -> Option<&mut WorkerLink<S>> {
        self.0.as_deref_mut()
    }

    /// Sends its supervisor a message, where it is one of several.
    pub(in crate::reactor) fn tell_supervisor(&mut self, message: &ToSupervisor) {
        if let Some(link) = self.link_mut() {
            link.send(message);
        }
    }

    /// Which one of several it is, from 1.
    pub(in crate::reactor) fn number(&self) -> Option<u32> {
        Some(self.link()?.number())
    }

    /// How many workers there are, with this one.
    pub(in crate::reactor) fn count(&self) -> u32 {
        self.link().map_or(1, WorkerLink::workers)
    }

    /// Whether there may be something of the supervisor to be received.
    pub(in crate::reactor) fn may_receive(&self) -> bool {
        self.link().is_some_and(WorkerLink::is_ready)
    }

    /// There may be something of the supervisor to be received.
    pub(in crate::reactor) fn note_supervisor(&mut self) {
        if let Some(link) = self.link_mut() {
            link.note();
        }
    }

    /// Whether the supervisor does not keep up with what it is told.
    pub(in crate::reactor) fn is_supervisor_behind(&self) -> bool {
        self.link().is_some_and(|link| !link.keeps_up())
    }

    /// What the admin interface calls a connection: its key, with its worker before it if there are several.
    pub(in crate::reactor) fn name_of(&self, key: Key) -> String {
        self.link().map_or_else(|| key.to_string(), |link| link.name_of(key))
    }

    /// The number by which clients know a connection.
    pub(in crate::reactor) fn id_of(&self, key: Key) -> u64 {
        self.link().map_or(key.generation.into(), |link| link.id_of(key))
    }

    /// The connection of this process that has that name, with the number of its worker where there are several.
    pub(in crate::reactor) fn key_named(&self, name: &str) -> Option<Key> {
        match self.place_of(name.parse().ok()?) {
            Place::Here(key) => Some(key),
            Place::Elsewhere | Place::Nowhere => None,
        }
    }

    /// Where a connection is that somebody names.
    pub(in crate::reactor) fn place_of(&self, named: GlobalKey) -> Place {
        let key = local_key(named);
        match (self.link(), named.worker) {
            (None, None) => Place::Here(key),
            (Some(link), Some(worker)) if worker == link.number() => Place::Here(key),
            (Some(link), Some(worker)) if (1..=link.workers()).contains(&worker) => Place::Elsewhere,
            (Some(_) | None, _) => Place::Nowhere,
        }
    }

    /// Whether other workers have to be asked for clients, of which only that one may be meant.
    pub(in crate::reactor) fn concerns_others(&self, only: Option<GlobalKey>) -> bool {
        only.map_or(self.has_others(), |key| self.place_of(key) == Place::Elsewhere)
    }
}

/// The key of a connection at its worker.
pub(in crate::reactor) const fn local_key(GlobalKey { index, generation, .. }: GlobalKey) -> Key {
    Key { index, generation }
}
