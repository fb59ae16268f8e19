//! Connections that are not served: newcomers that find all places taken, and clients that speak another protocol.
//!
//! A newcomer to a full listener that sheds gets an error in its protocol and has half a second to close; nothing that it
//! sends is served. It takes no place: those are for clients. Only so many are told at a time. The others are reset at
//! once, as are all where the protocol has no such error.

use super::Reactor;
use super::connection::{Connection, Session};
use super::context::{Conn, Context};
use crate::config::settings::{Overload, Settings};
use crate::core::conn::policy::LastRung;
use crate::core::conn::{Input, Life, State};
use crate::core::end::{Detector, Reason};
use crate::core::table::Key;
use crate::net::{Interest, Kernel, Peer};
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
    /// One that is reset: one too many, or from where it may not come.
    Reset(Reason),
}

/// Descriptors to set aside for newcomers that are refused.
pub fn refused_max(settings: &Settings) -> u32 {
    let sheds = settings.listeners.iter().any(|listener| listener.overload == Overload::Shed);
    if sheds { REFUSED_MAX } else { 0 }
}

impl<K: Kernel> Reactor<K> {
    /// Ends an accepted connection that has no place: it is told so, or reset for that `reason`.
    #[inline(never)]
    pub(super) fn turn_away(&mut self, index: usize, reason: Option<Reason>, stream: K::Stream, peer: Peer) {
        let key = self.table.next_key();
        let full = reason.is_none_or(|reason| reason == Reason::LocalLimit);
        // A crowd that may not come costs no more than an accept and a reset.
        let watched = if full { self.cx.kernel.watch(&stream, key.token(), Interest::Read) } else { Ok(()) };
        self.cx.places.add_refused();
        if full {
            self.cx.observer.counters.listeners[index].shed += 1;
        }
        self.cx.note_accepted(index, key, &peer);
        let life = Life::new(State::Open, self.cx.now);
        self.table.insert(
            key,
            Connection {
                session: Some(Box::new(Session::Refused)),
                ..Connection::new(stream, key, life, peer, index)
            },
        );
        self.drive(key, |cx, conn| match reason {
            None if watched.is_ok() => {
                cx.close_gracefully(key, conn, Reason::LocalLimit, Detector::Policy);
            }
            None => cx.reset(key, conn, Reason::LocalLimit, Detector::Policy),
            Some(reason) => cx.reset(key, conn, reason, Detector::Policy),
        });
    }
}

impl<K: Kernel> Context<K> {
    /// How a full listener treats the next newcomer.
    pub(super) fn treat_over_limit(&self, index: usize) -> Newcomer {
        let slot = &self.listeners[index];
        // Behind a layer nothing can be said before its opening exchange, which costs more than a refusal may. What a proxy
        // relays it would be told for nothing if it is not trusted.
        let is_direct = slot.transport.is_plain() && slot.settings.accept_proxy.is_none();
        let has_words = slot.settings.protocol.full().is_some() && is_direct;
        let told = has_words && self.places.refused() < REFUSED_MAX;
        if told { Newcomer::Refused } else { Newcomer::Reset(Reason::LocalLimit) }
    }

    /// How a listener with room treats a newcomer.
    #[inline]
    pub(super) fn judge_newcomer(&mut self, index: usize, peer: &Peer) -> Newcomer {
        if self.listeners[index].is_open_to_all() { Newcomer::Served } else { self.judge(index, peer) }
    }

    /// The same, where not everybody is let in. Behind a proxy, who it is will be known later.
    #[inline(never)]
    fn judge(&mut self, index: usize, peer: &Peer) -> Newcomer {
        let draining = self.lifecycle.is_draining();
        let slot = &mut self.listeners[index];
        let refusal = match &slot.settings.accept_proxy {
            Some(proxy) if !proxy.trusts(peer) => Some(Reason::ProtocolProxyUntrusted),
            Some(_) => slot.admit(None, self.now),
            None => slot.admit(Some(peer), self.now),
        };
        // While the server drains, waiting newcomers are let in, to be told.
        let refusal = refusal.filter(|reason| !draining || !is_of_numbers(*reason));
        refusal.map_or(Newcomer::Served, Newcomer::Reset)
    }

    /// Takes a connection that ends out of the counts of its listener.
    pub(super) fn count_out(&mut self, index: usize, conn: &Conn<K>) {
        let slot = &mut self.listeners[index];
        if conn.is_refused() {
            self.places.remove_refused();
        } else {
            if !conn.expects_header() {
                slot.leave(&conn.peer, conn.life.accepted(), self.now);
            }
            if conn.leg.is_none() && slot.settings.relay.is_some() {
                // It has never become a pair.
                self.places.remove_upstream();
            }
            slot.connections -= 1;
            if slot.settings.protocol.serves_clients() {
                self.places.remove_client();
            }
        }
    }

    /// Resets a connection that has nothing to lose.
    pub(super) fn reset(&mut self, key: Key, conn: &mut Conn<K>, reason: Reason, detector: Detector) {
        let rung = LastRung::Reset;
        self.apply(key, conn, Input::Abort { reason, detector, rung, output_pending: false });
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

/// Whether a newcomer was refused because there are many, and not for what it is.
const fn is_of_numbers(reason: Reason) -> bool {
    matches!(reason, Reason::LocalAcceptRate | Reason::LocalSourceLimit | Reason::LocalSourceRate)
}
