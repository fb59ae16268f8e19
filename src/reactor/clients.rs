//! `CLIENT`: what one connection may know of the others, and how it ends them.

use super::Reactor;
use super::commands::reply_ok;
use super::lists::List;
use super::tasks::Task;
use super::work::cost;
use crate::core::end::By;
use crate::core::table::Key;
use crate::net::Kernel;
use crate::protocol::resp::client::{ClientCommand, ClientFilter};
use crate::workers::link::Query;

impl<K: Kernel> Reactor<K> {
    pub(super) fn client(&mut self, key: Key, command: ClientCommand<'_>, replies: &mut Vec<u8>) {
        match command {
            ClientCommand::SetName(name) => {
                if let Some(resp) = self.resp_of(key) {
                    resp.cold.get_or_insert_default().name = name.to_vec();
                }
                reply_ok(replies);
            }
            ClientCommand::GetName => {
                let resp = self.table.get(key).and_then(|conn| conn.resp());
                match resp.and_then(|resp| resp.cold.as_ref()).filter(|cold| !cold.name.is_empty()) {
                    Some(cold) => self.reply(key, replies, |reply| reply.bulk(&cold.name)),
                    None => self.reply(key, replies, |reply| {
                        reply.null();
                    }),
                }
            }
            ClientCommand::Id => {
                let id = self.id_of(key);
                self.reply(key, replies, |reply| reply.number(id));
            }
            ClientCommand::Info => {
                let mut line = Vec::new();
                self.write_client(key, &mut line);
                self.work.charge(cost::ROW);
                self.reply(key, replies, |reply| reply.verbatim(&line));
            }
            ClientCommand::List(filter) => {
                let filter = ClientFilter::from(filter);
                self.begin_list(
                    key,
                    filter,
                    List::of_clients,
                    |filter| Query::Clients { filter, from: None },
                    replies,
                );
            }
            ClientCommand::Kill(filter) => {
                let by = self.by(key);
                if self.link.is_none() {
                    let list = List::of_victims(filter, by, filter.skip_me.then_some(key));
                    self.begin_task(key, Task::List(list), replies);
                } else if let Some(by) = by {
                    let by = By::clone(&by);
                    self.ask_all(key, Query::Kill { filter, by, from: None }, replies);
                }
            }
            // Answered from the protocol alone.
            ClientCommand::Accepted | ClientCommand::Help => {}
        }
    }
}
