//! The messages. Both ends are the same program, so that there are no versions.

use super::query::{Finding, Query};
use super::question::{Answer, Question};
use super::wire::{Fields, Malformed, Wire, wire};
use crate::core::secret::Secret;
use crate::protocol::admin::Spoken;

/// A role of an identity: each is one connection's at most, over all workers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// The connection that holds the identity.
    Holder,
    /// The connection that beats for it.
    Channel,
}

/// What can be listened to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Topic {
    /// A channel.
    Channel(Vec<u8>),
    /// All channels that match.
    Pattern(Vec<u8>),
}

/// What a worker says.
#[derive(Clone, PartialEq, Debug)]
pub enum ToSupervisor {
    /// It serves.
    Ready,
    /// One of its connections took a role; `number` grows from one claim of this worker to the next.
    Claim {
        /// Which role.
        role: Role,
        /// Which claim this is.
        number: u64,
        /// When it was made, by the clock that all workers share.
        at: u64,
        /// The identity.
        id: Vec<u8>,
        /// What a holder and its heartbeat channel know each other by; empty: nothing.
        token: Vec<u8>,
        /// The connection, as the admin interface names it.
        key: String,
        /// Where it comes from.
        peer: String,
        /// The name of its listener; that of one that beats for another is of no interest.
        listener: String,
    },
    /// The holder by that claim has agreed to another heartbeat channel.
    Consent {
        /// The claim.
        number: u64,
        /// The identity.
        id: Vec<u8>,
        /// As in a claim.
        token: Vec<u8>,
    },
    /// A claim is over. There is one for every claim of a holder, also for one that was taken over.
    Release {
        /// Which role.
        role: Role,
        /// The claim.
        number: u64,
        /// The identity.
        id: Vec<u8>,
        /// Of a holder, the record of its connection, or `null`: what those who listen are told.
        record: Vec<u8>,
    },
    /// The holder of the role [`Role::Channel`] has beaten for the identity.
    Beat {
        /// The claim of the channel.
        number: u64,
        /// The identity.
        id: Vec<u8>,
    },
    /// Something happened to an identity that this worker claimed.
    Presence {
        /// The claim.
        number: u64,
        /// The identity.
        id: Vec<u8>,
        /// The message for those who listen.
        payload: Vec<u8>,
    },
    /// The connection of an identity that this worker claimed is being ended: it counts as offline.
    Ending {
        /// The claim.
        number: u64,
        /// The identity.
        id: Vec<u8>,
    },
    /// One of its clients has published something.
    Publish {
        /// On which channel.
        channel: Vec<u8>,
        /// The bytes of the message.
        payload: Vec<u8>,
    },
    /// The first of its clients listens to a topic.
    Listens(Topic),
    /// The last one has stopped.
    Stopped(Topic),
    /// An answer.
    Answer(Answer),
    /// One of its clients asks about the clients of all workers. One finding comes from each that the query concerns.
    Query {
        /// Comes back with the findings.
        number: u64,
        /// The only worker that is asked, for its next page; `None`: all that the query concerns.
        worker: Option<u32>,
        /// What is asked.
        query: Query,
    },
    /// What it has found for a client of a worker.
    Found {
        /// Of the query.
        number: u64,
        /// What was found, or that nothing was.
        finding: Finding,
    },
    /// Its loop turns.
    Alive,
    /// Something happened since it answered that nothing had.
    Events,
    /// Its clients have gone, and it ends once those who watch were told the rest: it waits a little for that. Said again if
    /// something happens meanwhile.
    Leaving {
        /// The number of the last of its events.
        last: u64,
    },
}

/// What a worker is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToWorker {
    /// The first message.
    Start {
        /// The configuration as it was read at the start of the server, packed: that by which listeners were opened.
        file: Secret<String>,
        /// As it was read last, if it has changed: in force before anybody is served.
        newer: Option<Secret<String>>,
        /// The keys of session tickets; empty: there are none.
        tickets: Secret<Vec<u8>>,
        /// Somebody watches: events are kept from the first on.
        is_watched: bool,
    },
    /// The configuration as it was read again, packed.
    Reload {
        /// With the files that it names.
        file: Secret<String>,
    },
    /// The keys of session tickets from now on.
    Tickets {
        /// Packed.
        keys: Secret<Vec<u8>>,
    },
    /// As SIGTERM.
    Terminate,
    /// As SIGUSR1.
    Report,
    /// The role is another worker's now, by a later claim.
    Lost {
        /// Which role.
        role: Role,
        /// The claim that came before.
        number: u64,
        /// The identity.
        id: Vec<u8>,
        /// The connection that has it now, as the admin interface names it.
        key: String,
        /// Where that comes from.
        peer: String,
    },
    /// Another worker's connection has beaten for the identity.
    Heartbeat {
        /// The identity.
        id: Vec<u8>,
    },
    /// Another worker's connection that beat for the identity has ended.
    HeartbeatLost {
        /// The identity.
        id: Vec<u8>,
    },
    /// A client of another worker has published something, or something happened to an identity there.
    Publish {
        /// On which channel.
        channel: Vec<u8>,
        /// The bytes of the message.
        payload: Vec<u8>,
    },
    /// A question.
    Ask(Question),
    /// A client of a worker asks, this one or another.
    Query {
        /// Comes back with what is found.
        number: u64,
        /// What is asked.
        query: Query,
    },
    /// What was found for one of its own clients.
    Found {
        /// Of its query.
        number: u64,
        /// By which worker; 0: by the supervisor.
        worker: u32,
        /// What was found, or that nothing was.
        finding: Finding,
    },
    /// The operator's word about an upstream server, from before it was started.
    Word(Spoken),
    /// Nothing was heard from it for a while: it is to say that its loop turns.
    AskAlive,
    /// Those who watch were told what it had to tell.
    Leave {
        /// Up to the event of that number.
        last: u64,
    },
}

/// What a [`Channel`](super::Channel) carries in one direction.
pub trait Message: Sized {
    /// Appends its bytes.
    fn write(&self, out: &mut Vec<u8>);

    /// Reads it back, from all of `bytes`.
    ///
    /// # Errors
    /// When they are not the bytes of one message.
    fn read(bytes: &[u8]) -> Result<Self, Malformed>;

    /// How many of its bytes are secret.
    fn secret_bytes(&self) -> usize;
}

impl<T: Wire> Message for T {
    fn write(&self, out: &mut Vec<u8>) {
        self.put(out);
    }

    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(bytes);
        let message = T::take(&mut fields)?;
        if fields.0.is_empty() { Ok(message) } else { Err(Malformed) }
    }

    fn secret_bytes(&self) -> usize {
        Wire::secret_bytes(self)
    }
}

wire!(enum ToSupervisor {
    0 Ready,
    1 Claim { role, number, at, id, token, key, peer, listener },
    2 Release { role, number, id, record },
    3 Beat { number, id },
    4 Answer(answer),
    5 Presence { number, id, payload },
    6 Publish { channel, payload },
    7 Listens(topic),
    8 Stopped(topic),
    9 Consent { number, id, token },
    10 Alive,
    11 Ending { number, id },
    12 Query { number, worker, query },
    13 Found { number, finding },
    14 Events,
    15 Leaving { last },
});

wire!(enum ToWorker {
    0 Start { file, newer, tickets, is_watched },
    1 Reload { file },
    2 Terminate,
    3 Report,
    4 Lost { role, number, id, key, peer },
    5 Heartbeat { id },
    6 HeartbeatLost { id },
    7 Ask(question),
    8 Publish { channel, payload },
    9 AskAlive,
    10 Query { number, query },
    11 Found { number, worker, finding },
    12 Word(spoken),
    13 Tickets { keys },
    14 Leave { last },
});

wire!(enum Role { 0 Holder, 1 Channel, });
wire!(enum Topic { 0 Channel(name), 1 Pattern(name), });

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::core::health::Word;
    use proptest::prelude::*;
    use std::fmt::Debug;

    pub(in crate::workers::link) fn returns<M: Message + PartialEq + Debug>(message: &M) {
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        assert_eq!(M::read(&bytes).as_ref(), Ok(message));
        // Neither less nor more.
        assert_eq!(M::read(&bytes[..bytes.len() - 1]), Err(Malformed));
        bytes.push(0);
        assert_eq!(M::read(&bytes), Err(Malformed));
    }

    #[test]
    fn every_message_reads_back() {
        let id = b"dev\0\xff".to_vec();
        for message in [
            ToWorker::Start {
                file: Secret::new("a = 1\n".to_owned()),
                newer: Some(Secret::new("a = 2\n".to_owned())),
                tickets: Secret::new(vec![7; 48]),
                is_watched: true,
            },
            ToWorker::Reload { file: Secret::new(String::new()) },
            ToWorker::Tickets { keys: Secret::new(vec![7; 96]) },
            ToWorker::Terminate,
            ToWorker::Report,
            ToWorker::AskAlive,
            ToWorker::Leave { last: 3 },
            ToWorker::Word(Spoken { upstream: String::new(), server: "a:1".to_owned(), word: Word::Drain }),
            ToWorker::Lost {
                role: Role::Channel,
                number: 7,
                id: id.clone(),
                key: "3.1-2".to_owned(),
                peer: "unix".to_owned(),
            },
            ToWorker::Heartbeat { id: id.clone() },
            ToWorker::HeartbeatLost { id: Vec::new() },
            ToWorker::Publish { channel: id.clone(), payload: vec![0; 1000] },
        ] {
            returns(&message);
        }
        for message in [
            ToSupervisor::Ready,
            ToSupervisor::Alive,
            ToSupervisor::Events,
            ToSupervisor::Leaving { last: u64::MAX },
            ToSupervisor::Claim {
                role: Role::Holder,
                number: 1,
                at: 2,
                id: id.clone(),
                token: b"t".to_vec(),
                key: "1.1-1".to_owned(),
                peer: "127.0.0.1:1".to_owned(),
                listener: "resp".to_owned(),
            },
            ToSupervisor::Consent { number: 1, id: id.clone(), token: Vec::new() },
            ToSupervisor::Release {
                role: Role::Channel,
                number: 2,
                id: id.clone(),
                record: b"null".to_vec(),
            },
            ToSupervisor::Beat { number: 3, id: id.clone() },
            ToSupervisor::Ending { number: 3, id: id.clone() },
            ToSupervisor::Presence { number: 4, id: id.clone(), payload: b"suspect".to_vec() },
            ToSupervisor::Publish { channel: id.clone(), payload: Vec::new() },
            ToSupervisor::Listens(Topic::Channel(id.clone())),
            ToSupervisor::Stopped(Topic::Pattern(id)),
        ] {
            returns(&message);
        }
    }

    #[test]
    fn what_is_secret_in_a_message_is_counted() {
        let start = ToWorker::Start {
            file: Secret::new("a = 1\n".to_owned()),
            newer: Some(Secret::new("a = 20\n".to_owned())),
            tickets: Secret::new(vec![7; 48]),
            is_watched: true,
        };
        assert_eq!(Message::secret_bytes(&start), 6 + 7 + 48);
        assert_eq!(Message::secret_bytes(&ToWorker::Tickets { keys: Secret::new(vec![7; 96]) }), 96);
        let shown = ToWorker::Publish { channel: b"news".to_vec(), payload: vec![0; 1000] };
        assert_eq!(Message::secret_bytes(&shown), 0);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = ToWorker::read(&bytes);
            let _ = ToSupervisor::read(&bytes);
        }
    }
}
