//! What the reactor does after a connection was driven, or a batch was sent: it closes connections that are over, and goes on
//! with others because of what has happened.

use crate::core::conn::policy::LastRung;
use crate::core::end::CloseMode;
use crate::core::table::Key;
use std::collections::VecDeque;

/// What is to be done. Empty once the reactor has done it.
#[derive(Debug, Default)]
pub(in crate::reactor) struct Aftermath {
    /// Connections that are over: they leave the table, and their sockets are closed.
    closing: Vec<(Key, CloseMode)>,
    /// Heartbeat channels that were heard from, each with the holder of its identity.
    beats: Vec<(Key, Key)>,
    /// Holders of an identity whose heartbeat channel is gone, and the token that the channel had presented.
    orphans: Vec<(Key, Box<[u8]>)>,
    /// Legs of pairs, and what is done with each next.
    next: VecDeque<(Key, Next)>,
}

/// What is done with a leg next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::reactor) enum Next {
    /// Its partner takes bytes: it is connected now, or its pending output is sent.
    Resume,
    /// It is told of its partner.
    Partner(News),
    /// Its peer has all that was for it: it is read once more, and closed.
    LastLook,
    /// It is a client, and is connected to the next server.
    Connect,
}

/// What a leg is told of its partner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::reactor) enum News {
    /// It sends nothing more, and still receives.
    Finished,
    /// It ends in order.
    Leaving,
    /// It is gone. The rung says how the partner is to be closed.
    Gone(LastRung),
}

impl Aftermath {
    /// A connection is over.
    pub(in crate::reactor) fn post_close(&mut self, key: Key, mode: CloseMode) {
        self.closing.push((key, mode));
    }

    /// A heartbeat channel was heard from.
    pub(in crate::reactor) fn post_beat(&mut self, channel: Key, holder: Key) {
        self.beats.push((channel, holder));
    }

    /// A heartbeat channel that named `token` beats for its holder no more: one that has agreed to it will be suspect.
    pub(in crate::reactor) fn post_orphan(&mut self, holder: Option<Key>, token: Box<[u8]>) {
        self.orphans.extend(holder.map(|holder| (holder, token)));
    }

    /// Something is to be done with a leg, behind what is to be done with others.
    pub(in crate::reactor) fn post_leg(&mut self, leg: Key, next: Next) {
        self.next.push_back((leg, next));
    }

    /// Whether that is what was posted last.
    pub(in crate::reactor) fn was_posted_last(&self, leg: Key, next: Next) -> bool {
        self.next.back() == Some(&(leg, next))
    }

    /// Takes out a connection that is over.
    pub(in crate::reactor) fn take_closing(&mut self) -> Option<(Key, CloseMode)> {
        self.closing.pop()
    }

    /// Takes out a heartbeat channel that was heard from, with the holder of its identity.
    pub(in crate::reactor) fn take_beat(&mut self) -> Option<(Key, Key)> {
        self.beats.pop()
    }

    /// Takes out a holder whose heartbeat channel is gone, with the token of that channel.
    pub(in crate::reactor) fn take_orphan(&mut self) -> Option<(Key, Box<[u8]>)> {
        self.orphans.pop()
    }

    /// Takes out the leg that was posted first.
    pub(in crate::reactor) fn take_leg(&mut self) -> Option<(Key, Next)> {
        self.next.pop_front()
    }

    /// Whether nothing is to be done. One branch: it is asked behind everything that is done with a connection.
    pub(in crate::reactor) fn is_empty(&self) -> bool {
        self.closing.len() | self.beats.len() | self.orphans.len() | self.next.len() == 0
    }

    /// Whether something of it is not for a leg. One branch, too.
    pub(in crate::reactor) fn has_endings(&self) -> bool {
        self.closing.len() | self.beats.len() | self.orphans.len() != 0
    }
}
