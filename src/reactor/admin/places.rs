//! Places at the admin interface: whose connection makes way for a newcomer, and what is kept for those who only ask
//! whether the server is well.
//!
//! When all places are taken, the connection that has been idle for longest is closed. Where none is idle, a newcomer
//! has one of a few places in reserve, and is answered once: a supervisor must not take the server for dead because
//! others ask much. An answer of another kind would let those in reserve become busy as well.

use crate::core::end::{Detector, Reason};
use crate::core::table::Key;
use crate::net::Kernel;
use crate::protocol::admin::PLACES;
use crate::reactor::Reactor;
use crate::reactor::connection::Connection;
use crate::reactor::parts::admin::Http;

impl<K: Kernel> Reactor<K> {
    /// A connection of the interface was accepted: another makes way for it, or it is in reserve.
    pub(in crate::reactor) fn on_admin_opened(&mut self, key: Key, listener: usize) {
        self.cx.admin.on_opened(key);
        let slot = &self.cx.listeners[listener];
        let crowded = slot.connections > slot.settings.connections_max.unwrap_or(PLACES);
        if crowded
            && !self.end_longest_idle(Some(key))
            && let Some(http) = self.table.get_mut(key).and_then(Connection::http_mut)
        {
            http.session.answer_once();
        }
    }

    /// Makes room at an admin listener where even the reserve is taken; false if nobody there is idle.
    pub(in crate::reactor) fn make_way(&mut self, listener: usize) -> bool {
        !self.cx.listeners[listener].settings.protocol.serves_clients() && self.end_longest_idle(None)
    }

    /// Closes the connection that has been idle for longest, but not that of `newcomer`.
    fn end_longest_idle(&mut self, newcomer: Option<Key>) -> bool {
        while let Some(key) = self.longest_idle(newcomer) {
            // It may have asked just now. Closed with unread input, it would be reset besides.
            self.read_once_more(key);
            if self.is_idle(key) {
                self.cx.observer.counters.admin_made_way += 1;
                self.drive(key, |cx, conn| cx.close_now(key, conn, Reason::LocalLimit, Detector::Policy));
                return true;
            }
        }
        false
    }

    fn longest_idle(&self, newcomer: Option<Key>) -> Option<Key> {
        let idle = self.cx.admin.open().filter(|key| Some(*key) != newcomer && self.is_idle(*key));
        idle.min_by_key(|key| self.table.get(*key).and_then(|conn| conn.http()).map(|http| http.used))
    }

    fn is_idle(&self, key: Key) -> bool {
        let Some(conn) = self.table.get(key) else { return false };
        let idle = conn.http().is_some_and(Http::is_idle);
        idle && conn.pending_output() == 0 && !conn.is_ending()
    }
}
