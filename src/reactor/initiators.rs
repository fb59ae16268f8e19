//! Endings that another connection causes. The record names that connection. Watchers of an identity that a newer
//! connection has taken are told first that the older one was replaced, then that the newer one is online.

use super::Reactor;
use super::connection::Connection;
use super::context::{Conn, Context};
use super::parts::effect::Effect;
use super::parts::initiators::Taken;
use crate::core::end::{By, CloseMode, Detector, End, Reason};
use crate::core::table::Key;
use crate::core::tcp::TcpSnapshot;
use crate::core::time::Instant;
use crate::hub::Name;
use crate::net::Kernel;
use crate::observe::events::{What, Whose};
use crate::protocol::presence::{self, Event, Origin};
use std::sync::Arc;

impl<S> Connection<S> {
    /// The record of its end, as far as that is known now.
    pub(super) fn record(&self, mode: CloseMode, now: Instant, evidence: Option<TcpSnapshot>) -> End {
        let mut end = self.life.end(mode, now, evidence);
        end.spoke = self.buffers.as_ref().and_then(|buffers| buffers.spoke);
        end.alert = self.buffers.as_ref().and_then(|buffers| buffers.alert);
        end.unsent_bytes =
            self.pending_output() as u64 + self.buffers.as_ref().map_or(0, |buffers| buffers.lost);
        if let Some(client) = self.client() {
            (end.messages_in, end.messages_out) = (client.messages_in, client.messages_out);
        } else if let Some(named) = self.named() {
            end.messages_out = named.messages_out;
        }
        end
    }
}

impl<K: Kernel> Context<K> {
    /// What the record of another's ending says of a connection.
    pub(super) fn by(&self, key: Key, conn: &Conn<K>) -> Arc<By> {
        let identity = conn.membership().and_then(|membership| self.hub.identity_of(membership, key));
        Arc::new(By {
            key: self.worker.name_of(key),
            peer: conn.peer.to_string(),
            identity: identity.map(|id| String::from_utf8_lossy(id).into_owned()),
        })
    }

    /// Ends a connection on behalf of another one, unless it is ending already.
    pub(super) fn close_gracefully_by(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        reason: Reason,
        detector: Detector,
        by: Option<Arc<By>>,
    ) {
        if conn.is_ending() && !conn.is_half_closed() {
            return;
        }
        if let Some(by) = by {
            self.annotations.initiators.begin(key, by);
        }
        self.close_gracefully(key, conn, reason, detector);
    }

    /// A newer connection, here or at another worker, has taken identity `id` from connection `key`.
    pub(super) fn post_replaced(&mut self, key: Key, id: &[u8], by: Arc<By>) {
        self.observer.report.replaced(&String::from_utf8_lossy(id), key, &by, self.now);
        let id = Name::new(id);
        self.annotations.initiators.post(key, id.clone());
        self.effects.push_back(Effect::Replaced { key, id, by });
    }

    fn report_replaced(&mut self, key: Key, id: &Name, record: Option<String>, origin: Option<&Origin>) {
        match self.worker.link_mut() {
            Some(link) => link.on_left(key, id, record.as_deref().unwrap_or("null")),
            None => self.publish_presence(id, &Event::Replaced(record), origin),
        }
    }
}

impl<K: Kernel> Reactor<K> {
    /// Ends a connection whose identity was taken, and tells of it.
    pub(super) fn replace(&mut self, key: Key, id: &Name, by: Arc<By>) {
        // It has taken another identity since, and goes on.
        if let Some(conn) = self.table.get(key).filter(|conn| self.cx.is_current(key, conn)) {
            self.cx.annotations.initiators.forgive(key);
            let origin = self.cx.origin(key, conn);
            return self.cx.report_replaced(key, id, None, origin.as_deref());
        }
        if let Some(conn) = self.table.get(key) {
            let whose = Whose { key, peer: &conn.peer, listener: conn.listener, identity: id };
            self.cx.observer.events.add(&whose, What::Replaced(&by), self.cx.now);
        }
        self.drive(key, |cx, conn| {
            cx.close_gracefully_by(key, conn, Reason::PeerReplaced, Detector::Protocol, Some(by));
        });
        let conn = self.table.get(key);
        let Taken { closed, by } = self.cx.annotations.initiators.take_posted(key, conn.is_none());
        let (record, origin) = match (closed, conn) {
            (Some((end, origin)), _) => (Some(presence::end_json(&end)), origin),
            (None, Some(conn)) => {
                let end = End { by, ..conn.record(CloseMode::Linger2, self.cx.now, None) };
                (Some(presence::ending_json(&end)), self.cx.origin(key, conn))
            }
            (None, None) => (None, None),
        };
        self.cx.report_replaced(key, id, record, origin.as_deref());
    }
}
