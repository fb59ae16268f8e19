//! Subscriptions and publishing, with the replies of Redis.

use super::commands::reply_refused;
use super::connection::Resp;
use super::context::{Conn, Context};
use super::parts::task::Task;
use super::work::cost;
use crate::core::table::Key;
use crate::hub::{Hub, Membership, Refused, is_reserved};
use crate::net::Kernel;
use crate::protocol::resp::{Arguments, Confirmation, Reply};
use crate::workers::link::Query;

type Subscribe = fn(&mut Hub, &mut Membership, Key, &[u8]) -> Result<usize, Refused>;
type Unsubscribe = fn(&mut Hub, &mut Membership, &[u8]) -> usize;

impl<K: Kernel> Context<K> {
    pub(super) fn publish_from(
        &mut self,
        conn: &Conn<K>,
        channel: &[u8],
        payload: &[u8],
        replies: &mut Vec<u8>,
    ) {
        if is_reserved(channel) {
            return conn.reply(replies, |reply| {
                reply.error("ERR channels $presence:* are the server's; clients may only subscribe");
            });
        }
        if let Err(refused) = self.hub.check_name(channel) {
            return reply_refused(conn, refused, replies);
        }
        if self.refuses_claims(conn, replies) || self.refuses_for_memory(conn, replies) {
            return;
        }
        if let Some(link) = &mut self.link {
            link.on_published(channel, payload);
        }
        self.gather(channel, payload);
    }

    pub(super) fn numsub(
        &mut self,
        conn: &Conn<K>,
        channels: Arguments<'_>,
        replies: &mut Vec<u8>,
    ) -> Option<Box<Task>> {
        self.work.charge(cost::NAME * channels.len());
        if self.link.is_some() {
            let channels = channels.iter().map(<[u8]>::to_vec).collect();
            return self.ask_all(conn, Query::Subscribers { channels }, replies);
        }
        conn.reply(replies, |reply| {
            reply.array(channels.len() * 2);
            for channel in channels.iter() {
                reply.bulk(channel);
                reply.count(self.hub.subscribers(channel));
            }
        });
        None
    }

    pub(super) fn numpat(&self, conn: &Conn<K>, replies: &mut Vec<u8>) -> Option<Box<Task>> {
        if self.link.is_some() {
            return self.ask_all(conn, Query::Patterns, replies);
        }
        conn.reply(replies, |reply| reply.count(self.hub.gauges().patterns));
        None
    }

    /// Lends the hub a connection's membership, and its replies a writer.
    fn with_hub(
        &mut self,
        conn: &mut Conn<K>,
        replies: &mut Vec<u8>,
        act: impl FnOnce(&mut Hub, &mut Membership, &mut Reply<'_>),
    ) {
        if let Some(Resp { membership, version, .. }) = conn.resp_mut() {
            act(&mut self.hub, membership, &mut Reply::new(replies, *version));
        }
    }

    pub(super) fn subscribe(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        names: Arguments<'_>,
        confirmation: Confirmation,
        subscribe: Subscribe,
        replies: &mut Vec<u8>,
    ) {
        if self.refuses_claims(conn, replies) {
            return;
        }
        self.work.charge(cost::SUBSCRIBE * names.len());
        self.with_hub(conn, replies, |hub, membership, reply| {
            for name in names.iter() {
                match subscribe(hub, membership, key, name) {
                    Ok(count) => reply.confirm(confirmation, Some(name), count),
                    Err(refused) => reply.error(&format!("ERR {refused}")),
                }
            }
        });
        self.tell_topics();
    }

    pub(super) fn unsubscribe(
        &mut self,
        conn: &mut Conn<K>,
        names: Arguments<'_>,
        confirmation: Confirmation,
        unsubscribe: Unsubscribe,
        replies: &mut Vec<u8>,
    ) {
        let subscriptions = conn.resp().map_or(0, |resp| resp.membership.subscriptions());
        self.work.charge(cost::NAME * if names.is_empty() { subscriptions } else { names.len() });
        self.with_hub(conn, replies, |hub, membership, reply| {
            for name in names.iter() {
                let count = unsubscribe(hub, membership, name);
                reply.confirm(confirmation, Some(name), count);
            }
            if !names.is_empty() {
                return;
            }
            let mut any = false;
            let mut each = |name: &[u8], count: usize| {
                any = true;
                reply.confirm(confirmation, Some(name), count);
            };
            match confirmation {
                Confirmation::Punsubscribe | Confirmation::Psubscribe => {
                    hub.punsubscribe_all(membership, &mut each);
                }
                Confirmation::Unsubscribe | Confirmation::Subscribe => {
                    hub.unsubscribe_all(membership, &mut each);
                }
            }
            if !any {
                reply.confirm(confirmation, None, membership.subscriptions());
            }
        });
    }
}
