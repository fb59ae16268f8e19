//! Who connects and is not served: who finds all places taken, and who speaks something else.
//!
//! A newcomer to a full listener that sheds is told so in the protocol, is not understood, and has half a second to
//! close. It takes no place: those are for clients. Only so many are told at a time; the others, and those whose
//! protocol has no words for it, are reset at once.

use super::context::{Conn, Context};
use crate::config::settings::{Overload, Settings};
use crate::core::conn::Input;
use crate::core::conn::policy::LastRung;
use crate::core::end::{Detector, Reason};
use crate::core::table::Key;
use crate::net::Kernel;
use crate::observe::report;
use crate::protocol::ProtocolError;

/// Newcomers that are told at a time.
const REFUSED_MAX: u32 = 32;

/// What a newcomer is to a listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Newcomer {
    /// A client: it has a place.
    Served,
    /// One too many, who is told.
    Refused,
    /// One too many, who is reset.
    Reset,
}

/// Descriptors to set aside for newcomers that are refused.
pub fn refused_max(settings: &Settings) -> u32 {
    let sheds = settings.listeners.iter().any(|listener| listener.overload == Overload::Shed);
    if sheds { REFUSED_MAX } else { 0 }
}

impl<K: Kernel> Context<K> {
    /// What the next newcomer to a listener is that is full.
    pub(super) fn one_too_many(&self, index: usize) -> Newcomer {
        let slot = &self.listeners[index];
        // Behind a layer nothing can be said before its opening exchange, which costs more than a refusal may.
        let has_words = slot.settings.protocol.full().is_some() && slot.transport.is_plain();
        let told = has_words && self.places.refused() < REFUSED_MAX;
        if told { Newcomer::Refused } else { Newcomer::Reset }
    }

    /// Counts one that takes a place, or one that has none.
    pub(super) fn count_in(&mut self, index: usize, newcomer: Newcomer) {
        let slot = &mut self.listeners[index];
        match newcomer {
            Newcomer::Served => {
                slot.connections += 1;
                if slot.settings.protocol.serves_clients() {
                    self.places.add_client();
                }
            }
            Newcomer::Refused | Newcomer::Reset => {
                self.places.add_refused();
                self.counters.listeners[index].shed += 1;
            }
        }
    }

    /// Counts one out.
    pub(super) fn count_out(&mut self, index: usize, refused: bool) {
        let slot = &mut self.listeners[index];
        if refused {
            self.places.remove_refused();
        } else {
            slot.connections -= 1;
            if slot.settings.protocol.serves_clients() {
                self.places.remove_client();
            }
        }
    }

    /// Ends a connection that has no place. `notified`: it can be told; else it is reset.
    pub(super) fn refuse_newcomer(&mut self, key: Key, conn: &mut Conn<K>, notified: bool) {
        let (reason, detector) = (Reason::LocalLimit, Detector::Policy);
        if notified {
            self.close_gracefully(key, conn, reason, detector);
        } else {
            let rung = LastRung::Reset;
            self.apply(key, conn, Input::Abort { reason, detector, rung, output_pending: false });
        }
    }

    /// Notes in the record what a client spoke, and says once what to configure.
    pub(super) fn note_foreign(&mut self, conn: &mut Conn<K>, error: &ProtocolError) {
        if error.alert.is_some() {
            conn.buffers_mut(&mut self.pool).alert = error.alert;
        }
        let Some(spoke) = error.spoke else { return };
        conn.buffers_mut(&mut self.pool).spoke = Some(spoke);
        let slot = &mut self.listeners[usize::from(conn.listener)];
        let bit = 1 << spoke as u8;
        if slot.foreign_told & bit == 0 {
            slot.foreign_told |= bit;
            report::foreign(&slot.settings.name, &conn.peer, spoke);
        }
    }
}
