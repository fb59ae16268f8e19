//! `CLIENT`: what one connection may know of the others, and how it ends them.

use super::commands::reply_ok;
use super::context::{Conn, Context};
use super::parts::list::List;
use super::parts::task::Task;
use super::work::cost;
use crate::core::end::By;
use crate::core::table::Key;
use crate::net::Kernel;
use crate::protocol::resp::client::{ClientCommand, ClientFilter};
use crate::workers::link::Query;

impl<K: Kernel> Context<K> {
    pub(super) fn client(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        command: ClientCommand<'_>,
        replies: &mut Vec<u8>,
    ) -> Option<Box<Task>> {
        match command {
            ClientCommand::SetName(name) => {
                if let Some(resp) = conn.resp_mut() {
                    resp.cold.get_or_insert_default().name = name.to_vec();
                }
                reply_ok(replies);
            }
            ClientCommand::GetName => {
                let cold = conn.resp().and_then(|resp| resp.cold.as_ref());
                conn.reply(replies, |reply| match cold.filter(|cold| !cold.name.is_empty()) {
                    Some(cold) => reply.bulk(&cold.name),
                    None => {
                        reply.null();
                    }
                });
            }
            ClientCommand::Id => conn.reply(replies, |reply| reply.number(self.id_of(key))),
            ClientCommand::Info => {
                let mut line = Vec::new();
                self.write_client(key, conn, &mut line);
                self.work.charge(cost::ROW);
                conn.reply(replies, |reply| reply.verbatim(&line));
            }
            ClientCommand::List(filter) => {
                let filter = ClientFilter::from(filter);
                let query = |filter| Query::Clients { filter, from: None };
                return self.begin_list(conn, filter, List::of_clients, query, replies);
            }
            ClientCommand::Kill(filter) => {
                let by = self.by(key, conn);
                if self.link.is_some() {
                    let query = Query::Kill { filter, by: By::clone(&by), from: None };
                    return self.ask_all(conn, query, replies);
                }
                let spared = filter.skip_me.then_some(key);
                return Some(Box::new(Task::List(List::of_victims(filter, Some(by), spared))));
            }
            // Answered from the protocol alone.
            ClientCommand::Accepted | ClientCommand::Help => {}
        }
        None
    }
}
