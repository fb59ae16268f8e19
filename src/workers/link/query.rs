//! What a client of one worker asks about the clients of all, and what the workers and the supervisor find: meaning and
//! bytes. The worker of the client asks the supervisor, which answers from what it knows, or asks the workers that the
//! query concerns and passes on what they find. Neither makes one answer of it: the worker that asks does.

use super::wire::{Fields, Malformed, Wire, wire};
use crate::core::end::{By, Reason};
use crate::hub::{Presence, Refused};
use crate::protocol::Naming;
use crate::protocol::clients::{ClientFilter, ClientType, GlobalKey, KillFilter, KillForm};
pub use crate::protocol::numbers::{InfoNumbers, ServerNumbers};
use crate::protocol::server::{LastEnd, Refusal};

/// What is asked. `from` is where a page begins; `None` is the first one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Query {
    /// `SEND`. It concerns the worker that has the holder.
    Send {
        /// To whom.
        id: Vec<u8>,
        /// The bytes of the message.
        payload: Vec<u8>,
    },
    /// `IDENTFOR`. It concerns the worker that has the connection.
    Name {
        /// The key of the connection.
        key: GlobalKey,
        /// Who it is.
        id: Vec<u8>,
    },
    /// `STATE`. The supervisor knows.
    State {
        /// Whose.
        id: Vec<u8>,
    },
    /// `STATE` with the last ending. It concerns all workers, and the supervisor knows the state.
    LastEnd {
        /// Whose.
        id: Vec<u8>,
    },
    /// `IDENT`, where it matters who holds the identity. The supervisor knows.
    Holder {
        /// The identity that is asked about.
        id: Vec<u8>,
    },
    /// `WHO`. The supervisor knows.
    Identities {
        /// Which of them.
        pattern: Vec<u8>,
        /// The cursor.
        from: Option<u32>,
    },
    /// `PUBSUB CHANNELS`. The supervisor knows.
    Channels {
        /// Which of them.
        pattern: Vec<u8>,
        /// The cursor.
        from: Option<u32>,
    },
    /// `PUBSUB NUMPAT`. The supervisor knows.
    Patterns,
    /// `PUBSUB NUMSUB`. It concerns all workers.
    Subscribers {
        /// Of which channels.
        channels: Vec<Vec<u8>>,
    },
    /// `CLIENT LIST`. It concerns all workers.
    Clients {
        /// Which of them.
        filter: ClientFilter,
        /// The cursor.
        from: Option<u32>,
    },
    /// `CLIENT KILL`. It concerns all workers, and never the connection that asks.
    Kill {
        /// Which of them.
        filter: KillFilter,
        /// Who asks.
        by: By,
        /// The cursor.
        from: Option<u32>,
    },
    /// `INFO`. It concerns all workers, and the supervisor.
    Info,
}

/// What was found. `next` is where the next page begins, if there is one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// The worker does not answer.
    Silent,
    /// The worker has no clients: it does not run, or has ended meanwhile.
    Nothing,
    /// Whether the holder was there to take it.
    Sent(bool),
    /// What came of giving a connection an identity.
    Named(Naming),
    /// How the identity is; `None`: offline.
    State(Option<Presence>),
    /// How the last connection ended that held the identity; `None`: it is not known.
    LastEnd(Option<LastEnd>),
    /// Where the holder of the identity comes from; `None`: there is none.
    Holder(Option<String>),
    /// Names that match.
    Names {
        /// The names on this page.
        names: Vec<Vec<u8>>,
        /// The cursor.
        next: Option<u32>,
    },
    /// How many there are of each that was asked for.
    Counts(Vec<u64>),
    /// Clients.
    Clients {
        /// A line of each.
        lines: Vec<u8>,
        /// The cursor.
        next: Option<u32>,
    },
    /// Clients that are being ended.
    Killed {
        /// Number of connections that are being ended.
        count: u64,
        /// The cursor.
        next: Option<u32>,
    },
    /// The numbers of a worker.
    Info(Box<InfoNumbers>),
    /// The numbers of the server as a whole.
    Server(ServerNumbers),
}

impl Query {
    /// The same query, about the page that begins there.
    #[must_use]
    pub fn page(mut self, next: u32) -> Self {
        match &mut self {
            Self::Identities { from, .. }
            | Self::Channels { from, .. }
            | Self::Clients { from, .. }
            | Self::Kill { from, .. } => *from = Some(next),
            Self::Send { .. }
            | Self::Name { .. }
            | Self::State { .. }
            | Self::LastEnd { .. }
            | Self::Holder { .. }
            | Self::Patterns
            | Self::Subscribers { .. }
            | Self::Info => {}
        }
        self
    }

    /// The only worker that it concerns, if its connection names that.
    pub const fn worker(&self) -> Option<u32> {
        let key = match self {
            Self::Name { key, .. } => Some(*key),
            Self::Clients { filter, .. } => filter.key(),
            Self::Kill { filter, .. } => filter.key,
            Self::Send { .. }
            | Self::State { .. }
            | Self::LastEnd { .. }
            | Self::Holder { .. }
            | Self::Identities { .. }
            | Self::Channels { .. }
            | Self::Patterns
            | Self::Subscribers { .. }
            | Self::Info => None,
        };
        match key {
            Some(key) => key.worker,
            None => None,
        }
    }

    /// Memory that it holds, in bytes.
    pub fn memory(&self) -> usize {
        match self {
            Self::Send { id, payload } => id.capacity() + payload.capacity(),
            Self::State { id: name }
            | Self::LastEnd { id: name }
            | Self::Holder { id: name }
            | Self::Name { id: name, .. }
            | Self::Identities { pattern: name, .. }
            | Self::Channels { pattern: name, .. } => name.capacity(),
            Self::Subscribers { channels } => channels.iter().map(|name| 24 + name.capacity()).sum(),
            Self::Clients { filter: ClientFilter::Ids(ids), .. } => ids.capacity() * 8,
            Self::Clients { .. } | Self::Kill { .. } | Self::Patterns | Self::Info => 0,
        }
    }
}

wire!(enum Query {
    0 Send { id, payload },
    1 State { id },
    2 Identities { pattern, from },
    3 Channels { pattern, from },
    4 Patterns,
    5 Subscribers { channels },
    6 Clients { filter, from },
    7 Kill { filter, by, from },
    8 Info,
    9 Name { key, id },
    10 Holder { id },
    11 LastEnd { id },
});

wire!(enum Finding {
    0 Silent,
    1 Nothing,
    2 Sent(sent),
    3 State(state),
    4 Names { names, next },
    5 Counts(counts),
    6 Clients { lines, next },
    7 Killed { count, next },
    8 Info(numbers),
    9 Server(numbers),
    10 Named(naming),
    11 Holder(from),
    12 LastEnd(last),
});

wire!(struct LastEnd { reason, ago_ms });

impl Wire for Reason {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Self::ALL.get(usize::from(u8::take(fields)?)).copied().ok_or(Malformed)
    }
}

wire!(struct InfoNumbers {
    clients, clients_max, subscriptions, identities, resident_bytes, memory_max, cpu_user_us, cpu_system_us,
    accepted, commands, bytes_in, bytes_out, shed, ends,
});
wire!(struct ServerNumbers { pid, uptime_s, channels, patterns });
wire!(struct By { key, peer, identity });
wire!(struct KillFilter { form, id, key, peer, local, client_type, user, skip_me });
wire!(enum KillForm { 0 Address, 1 Filter, });
wire!(enum ClientType { 0 Normal, 1 Pubsub, 2 Replication, });
wire!(enum ClientFilter { 0 All, 1 Type(wanted), 2 Ids(ids), 3 Key(key), });
wire!(struct GlobalKey { worker, index, generation });
wire!(enum Naming {
    0 Done, 1 Gone, 2 Nowhere, 3 Upstream(client), 4 NamesItself, 5 NotRelayed, 6 Refused(refusal),
});
wire!(enum Refusal { 0 Hub(refused), 1 Reserved, 2 Ending, 3 Behind, 4 Memory, 5 HeldElsewhere, 6 Proved, });
wire!(enum Refused { 0 NameTooLong, 1 TooManySubscriptions, 2 UnknownIdentity, 3 NotAgreed, });
wire!(enum Presence { 0 Online, 1 Suspect, 2 Ending, });

#[cfg(test)]
mod tests {
    use super::super::message::tests::returns;
    use super::super::{ToSupervisor, ToWorker};
    use super::*;

    #[test]
    fn queries_read_back() {
        let key = GlobalKey { worker: Some(2), index: 3, generation: 9 };
        let filter = KillFilter {
            form: KillForm::Filter,
            id: Some(7),
            key: Some(key),
            peer: "[::1]:7".parse().ok(),
            local: None,
            client_type: Some(ClientType::Pubsub),
            user: Some(b"u".to_vec()),
            skip_me: true,
        };
        let by = By { key: "1.0-1".to_owned(), peer: "unix".to_owned(), identity: Some(String::new()) };
        for query in [
            Query::Send { id: b"dev".to_vec(), payload: vec![0, 255] },
            Query::Name { key, id: b"dev".to_vec() },
            Query::State { id: Vec::new() },
            Query::Holder { id: b"dev".to_vec() },
            Query::LastEnd { id: b"dev".to_vec() },
            Query::Identities { pattern: b"*".to_vec(), from: None },
            Query::Channels { pattern: b"*".to_vec(), from: Some(u32::MAX) },
            Query::Patterns,
            Query::Subscribers { channels: vec![b"a".to_vec(), Vec::new()] },
            Query::Clients { filter: ClientFilter::All, from: Some(0) },
            Query::Clients { filter: ClientFilter::Type(ClientType::Replication), from: None },
            Query::Clients { filter: ClientFilter::Ids(vec![1, u64::MAX]), from: None },
            Query::Clients { filter: ClientFilter::Key(GlobalKey { worker: None, ..key }), from: None },
            Query::Kill { filter: filter.clone(), by: by.clone(), from: None },
            Query::Kill {
                filter: KillFilter {
                    form: KillForm::Address,
                    id: None,
                    client_type: None,
                    user: None,
                    ..filter
                },
                by: By { identity: None, ..by },
                from: Some(3),
            },
            Query::Info,
        ] {
            returns(&ToSupervisor::Query { number: 4, worker: Some(2), query: query.clone() });
            returns(&ToWorker::Query { number: 4, query });
        }
    }

    #[test]
    fn findings_read_back() {
        let key = GlobalKey { worker: None, index: 3, generation: 9 };
        let info = InfoNumbers { clients: 1, shed: 13, ends: vec![4, 5], ..InfoNumbers::default() };
        for finding in [
            Finding::Silent,
            Finding::Nothing,
            Finding::Sent(true),
            Finding::Named(Naming::Done),
            Finding::Named(Naming::Upstream(key)),
            Finding::Named(Naming::Refused(Refusal::Hub(Refused::NameTooLong))),
            Finding::State(None),
            Finding::Holder(None),
            Finding::LastEnd(None),
            Finding::LastEnd(Some(LastEnd { reason: Reason::UpstreamNoPorts, ago_ms: u64::MAX })),
            Finding::Holder(Some("unix".to_owned())),
            Finding::State(Some(Presence::Suspect)),
            Finding::Names { names: vec![b"a".to_vec()], next: Some(9) },
            Finding::Counts(vec![0, 7]),
            Finding::Clients { lines: b"id=1\n".to_vec(), next: None },
            Finding::Killed { count: 3, next: Some(1) },
            Finding::Info(Box::new(info)),
            Finding::Server(ServerNumbers { pid: 1, uptime_s: 2, channels: 3, patterns: 4 }),
        ] {
            returns(&ToSupervisor::Found { number: 8, finding: finding.clone() });
            returns(&ToWorker::Found { number: 8, worker: 1, finding });
        }
    }
}
