//! Subscriptions and publishing, with the replies of Redis.

use super::Reactor;
use super::connection::Resp;
use super::work::cost;
use crate::core::table::Key;
use crate::hub::{Hub, Membership, Refused, is_reserved};
use crate::net::Kernel;
use crate::protocol::resp::{Arguments, Confirmation, Reply, Version};
use crate::workers::link::Query;

type Subscribe = fn(&mut Hub, &mut Membership, Key, &[u8]) -> Result<usize, Refused>;
type Unsubscribe = fn(&mut Hub, &mut Membership, &[u8]) -> usize;

impl<K: Kernel> Reactor<K> {
    pub(super) fn publish_from(&mut self, key: Key, channel: &[u8], payload: &[u8], replies: &mut Vec<u8>) {
        if is_reserved(channel) {
            return self.reply(key, replies, |reply| {
                reply.error("ERR channels $presence:* are the server's; clients may only subscribe");
            });
        }
        if let Err(refused) = self.hub.check_name(channel) {
            return self.reply_refused(key, refused, replies);
        }
        if self.refuses_claims(key, replies) || self.refuses_for_memory(key, replies) {
            return;
        }
        if let Some(link) = &mut self.link {
            link.on_published(channel, payload);
        }
        self.gather(channel, payload);
    }

    pub(super) fn numsub(&mut self, key: Key, channels: Arguments<'_>, replies: &mut Vec<u8>) {
        self.work.charge(cost::NAME * channels.len());
        if self.link.is_some() {
            let channels = channels.iter().map(<[u8]>::to_vec).collect();
            return self.ask_all(key, Query::Subscribers { channels }, replies);
        }
        self.reply(key, replies, |reply| {
            reply.array(channels.len() * 2);
            for channel in channels.iter() {
                reply.bulk(channel);
                reply.count(self.hub.subscribers(channel));
            }
        });
    }

    /// Lends the hub a connection's membership, and its replies a writer.
    fn with_hub(
        &mut self,
        key: Key,
        replies: &mut Vec<u8>,
        act: impl FnOnce(&mut Hub, &mut Membership, &mut Reply<'_>),
    ) {
        let Some(Resp { membership, version, .. }) = self.table.get_mut(key).and_then(|conn| conn.resp_mut())
        else {
            return;
        };
        let version: Version = *version;
        act(&mut self.hub, membership, &mut Reply::new(replies, version));
    }

    pub(super) fn subscribe(
        &mut self,
        key: Key,
        names: Arguments<'_>,
        confirmation: Confirmation,
        subscribe: Subscribe,
        replies: &mut Vec<u8>,
    ) {
        if self.refuses_claims(key, replies) {
            return;
        }
        self.work.charge(cost::SUBSCRIBE * names.len());
        self.with_hub(key, replies, |hub, membership, reply| {
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
        key: Key,
        names: Arguments<'_>,
        confirmation: Confirmation,
        unsubscribe: Unsubscribe,
        replies: &mut Vec<u8>,
    ) {
        let subscriptions = self.resp_of(key).map_or(0, |resp| resp.membership.subscriptions());
        self.work.charge(cost::NAME * if names.is_empty() { subscriptions } else { names.len() });
        self.with_hub(key, replies, |hub, membership, reply| {
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
