//! `CLIENT`: what one connection may know of the others, and how it ends them.

use super::Reactor;
use super::commands::reply_ok;
use super::entry::Connection;
use super::posted::Effect;
use crate::end::{Detector, Reason};
use crate::net::{Address, Kernel};
use crate::proto::resp::Version;
use crate::proto::resp::client::{
    ClientCommand, ClientType, KillFilter, KillForm, ListFilter, NO_SUCH_CLIENT,
};
use crate::table::Key;
use std::fmt::Write;

impl<K: Kernel> Reactor<K> {
    pub(super) fn client(&mut self, key: Key, command: ClientCommand<'_>, replies: &mut Vec<u8>) {
        match command {
            ClientCommand::SetName(name) => {
                if let Some(resp) = self.resp_of(key) {
                    resp.rare.get_or_insert_default().name = name.to_vec();
                }
                reply_ok(replies);
            }
            ClientCommand::GetName => {
                let resp = self.table.get(key).and_then(|conn| conn.resp());
                match resp.and_then(|resp| resp.rare.as_ref()).filter(|rare| !rare.name.is_empty()) {
                    Some(rare) => self.reply(key, replies, |reply| reply.bulk(&rare.name)),
                    None => self.reply(key, replies, |reply| {
                        reply.null();
                    }),
                }
            }
            ClientCommand::Id => {
                self.reply(key, replies, |reply| reply.integer(i64::from(key.generation)));
            }
            ClientCommand::Info => {
                let line = self.client_lines(|candidate, _| candidate == key);
                self.reply(key, replies, |reply| reply.verbatim(&line));
            }
            ClientCommand::List(filter) => {
                let lines = self.client_lines(|candidate, conn| match filter {
                    ListFilter::All => true,
                    ListFilter::Type(wanted) => client_type(conn) == wanted,
                    ListFilter::Ids(ids) => ids.iter().any(|id| id == u64::from(candidate.generation)),
                });
                self.reply_lines(key, &lines, replies);
            }
            ClientCommand::Kill(filter) => self.kill(key, &filter, replies),
            // Answered from the protocol alone.
            ClientCommand::Accepted | ClientCommand::Help => {}
        }
    }

    /// A list that is longer than the output a connection may leave waiting would be the end of who asks.
    fn reply_lines(&self, key: Key, lines: &str, replies: &mut Vec<u8>) {
        let Some(conn) = self.table.get(key) else { return };
        let output_max = Self::listener_of(&self.listeners, conn).policy.bounds.output_max;
        self.reply(key, replies, |reply| {
            if lines.len() > output_max / 2 {
                reply.error("ERR too many clients for one reply: use CLIENT LIST ID, or GET /connections");
            } else {
                reply.verbatim(lines);
            }
        });
    }

    /// Ends the connections that pass the filter. The one that asks may be among them; it gets its reply
    /// first, because endings are posted.
    fn kill(&mut self, key: Key, filter: &KillFilter, replies: &mut Vec<u8>) {
        let local = |conn: &Connection<K::Stream>| match &self.listeners[usize::from(conn.listener)].address {
            Address::Tcp { socket, .. } => Some(*socket),
            Address::Unix(_) => None,
        };
        let by = self.by(key);
        let before = self.posted.len();
        for (candidate, conn) in
            self.table.iter().filter(|(_, conn)| conn.resp().is_some() && conn.life.state().cause().is_none())
        {
            let wanted = filter.id.is_none_or(|id| id == u64::from(candidate.generation))
                && filter.peer.is_none_or(|peer| conn.peer.address() == Some(peer))
                && filter.local.is_none_or(|address| local(conn) == Some(address))
                && filter.client_type.is_none_or(|wanted| client_type(conn) == wanted)
                && !(filter.skip_me && candidate == key);
            if wanted {
                self.posted.push_back(Effect::Leave {
                    key: candidate,
                    reason: Reason::LocalKicked,
                    detector: Detector::Client,
                    by: by.clone(),
                });
            }
        }
        let killed = self.posted.len() - before;
        self.reply(key, replies, |reply| match (filter.form, killed) {
            (KillForm::Filter, _) => reply.count(killed),
            (KillForm::Address, 0) => reply.error(NO_SUCH_CLIENT),
            (KillForm::Address, _) => reply.ok(),
        });
    }

    /// One line a connection, in the form of Redis' `CLIENT LIST`. Also the fields that mean nothing here:
    /// client libraries read all numbers of Redis 6.2, and fail where one is missing.
    fn client_lines(&self, wanted: impl Fn(Key, &Connection<K::Stream>) -> bool) -> String {
        let mut lines = String::new();
        for (key, conn) in self.table.iter() {
            let Some(resp) = conn.resp().filter(|_| wanted(key, conn)) else { continue };
            let rare = resp.rare.as_deref();
            let name = rare.map(|rare| String::from_utf8_lossy(&rare.name)).unwrap_or_default();
            let identity =
                self.hub.identity_of(&resp.membership, key).map(String::from_utf8_lossy).unwrap_or_default();
            let version = match resp.version {
                Version::Resp2 => 2,
                Version::Resp3 => 3,
            };
            let input = conn.io.as_ref().map_or(0, |io| io.input.len());
            let _ = writeln!(
                lines,
                "id={} addr={} laddr={} name={name} age={} idle={} flags={} db=0 sub={} psub=0 multi=-1 qbuf={} \
                 qbuf-free=0 argv-mem=0 obl=0 oll=0 omem={} tot-mem={} resp={version} user=default state={} \
                 identity={identity} tot-net-in={} tot-net-out={} tot-cmds={}",
                key.generation,
                conn.peer,
                &self.listeners[usize::from(conn.listener)].address,
                self.now.since(conn.life.accepted()).as_secs(),
                self.now.since(conn.life.heard()).as_secs(),
                if resp.membership.subscriptions() > 0 { 'P' } else { 'N' },
                resp.membership.subscriptions(),
                input,
                conn.owed(),
                input + conn.owed(),
                conn.life.state().name(),
                conn.life.bytes_in,
                conn.life.bytes_out,
                resp.messages_in,
            );
        }
        lines
    }
}

fn client_type<S>(conn: &Connection<S>) -> ClientType {
    match conn.resp() {
        Some(resp) if resp.membership.subscriptions() > 0 => ClientType::Pubsub,
        Some(_) | None => ClientType::Normal,
    }
}
