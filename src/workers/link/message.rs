//! The messages, and their bytes: a tag, then the fields. Numbers are little-endian, text has its length before it.
//! Both ends are the same program, so that there are no versions; yet nothing here trusts a length.

use super::question::{Answer, Question};

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
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToSupervisor {
    /// It serves.
    Ready,
    /// One of its connections took a role; `number` grows from one claim of this worker to the next.
    Claim {
        /// Which role.
        role: Role,
        /// Which claim this is.
        number: u64,
        /// The identity.
        id: Vec<u8>,
        /// What a holder and its heartbeat channel know each other by; empty: nothing.
        token: Vec<u8>,
        /// The connection, as the admin interface names it.
        key: String,
        /// Where it comes from.
        peer: String,
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
    /// One of its clients has published something.
    Publish {
        /// On which channel.
        channel: Vec<u8>,
        /// What.
        payload: Vec<u8>,
    },
    /// The first of its clients listens to a topic.
    Listens(Topic),
    /// The last one has stopped.
    Stopped(Topic),
    /// An answer.
    Answer(Answer),
    /// Its loop turns.
    Alive,
}

/// What a worker is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToWorker {
    /// The first message: the configuration file as it was read at the start of the server, empty if there is none.
    Start {
        /// Its text.
        file: String,
    },
    /// The file as it was read again.
    Reload {
        /// Its text.
        file: String,
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
    Vouched {
        /// The identity.
        id: Vec<u8>,
    },
    /// Another worker's connection that beat for the identity has ended.
    Doubted {
        /// The identity.
        id: Vec<u8>,
    },
    /// A client of another worker has published something, or something happened to an identity there.
    Publish {
        /// On which channel.
        channel: Vec<u8>,
        /// What.
        payload: Vec<u8>,
    },
    /// A question.
    Ask(Question),
    /// Nothing was heard from it for a while: it is to say that its loop turns.
    AskAlive,
}

/// Bytes that are no message. The other end is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

/// What a [`Channel`](super::Channel) carries in one direction.
pub trait Message: Sized {
    /// Appends its bytes.
    fn write(&self, out: &mut Vec<u8>);

    /// Reads it back, from all of `bytes`.
    ///
    /// # Errors
    /// When they are not the bytes of one message.
    fn read(bytes: &[u8]) -> Result<Self, Malformed>;
}

impl Message for ToSupervisor {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ready => out.push(0),
            Self::Claim { role, number, id, token, key, peer } => {
                role_message(out, 1, *role, *number, id);
                put_bytes(out, token);
                put_bytes(out, key.as_bytes());
                put_bytes(out, peer.as_bytes());
            }
            Self::Release { role, number, id, record } => {
                role_message(out, 2, *role, *number, id);
                put_bytes(out, record);
            }
            Self::Consent { number, id, token } => {
                role_message(out, 9, Role::Holder, *number, id);
                put_bytes(out, token);
            }
            Self::Beat { number, id } => role_message(out, 3, Role::Channel, *number, id),
            Self::Presence { number, id, payload } => {
                role_message(out, 5, Role::Holder, *number, id);
                put_bytes(out, payload);
            }
            Self::Publish { channel, payload } => {
                out.push(6);
                put_bytes(out, channel);
                put_bytes(out, payload);
            }
            Self::Alive => out.push(10),
            Self::Listens(topic) => topic_message(out, 7, topic),
            Self::Stopped(topic) => topic_message(out, 8, topic),
            Self::Answer(answer) => {
                out.push(4);
                answer.write(out);
            }
        }
    }

    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(bytes);
        let message = match fields.tag()? {
            0 => Self::Ready,
            1 => Self::Claim {
                role: fields.role()?,
                number: fields.number()?,
                id: fields.bytes()?,
                token: fields.bytes()?,
                key: fields.text()?,
                peer: fields.text()?,
            },
            2 => Self::Release {
                role: fields.role()?,
                number: fields.number()?,
                id: fields.bytes()?,
                record: fields.bytes()?,
            },
            9 => {
                fields.role()?;
                Self::Consent { number: fields.number()?, id: fields.bytes()?, token: fields.bytes()? }
            }
            3 => {
                fields.role()?;
                Self::Beat { number: fields.number()?, id: fields.bytes()? }
            }
            4 => Self::Answer(Answer::read(&mut fields)?),
            5 => {
                fields.role()?;
                Self::Presence { number: fields.number()?, id: fields.bytes()?, payload: fields.bytes()? }
            }
            6 => Self::Publish { channel: fields.bytes()?, payload: fields.bytes()? },
            7 => Self::Listens(fields.topic()?),
            8 => Self::Stopped(fields.topic()?),
            10 => Self::Alive,
            _ => return Err(Malformed),
        };
        fields.end(message)
    }
}

impl Message for ToWorker {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Start { file } => {
                out.push(0);
                put_bytes(out, file.as_bytes());
            }
            Self::Reload { file } => {
                out.push(1);
                put_bytes(out, file.as_bytes());
            }
            Self::Terminate => out.push(2),
            Self::Report => out.push(3),
            Self::AskAlive => out.push(9),
            Self::Lost { role, number, id, key, peer } => {
                role_message(out, 4, *role, *number, id);
                put_bytes(out, key.as_bytes());
                put_bytes(out, peer.as_bytes());
            }
            Self::Vouched { id } => {
                out.push(5);
                put_bytes(out, id);
            }
            Self::Doubted { id } => {
                out.push(6);
                put_bytes(out, id);
            }
            Self::Publish { channel, payload } => {
                out.push(8);
                put_bytes(out, channel);
                put_bytes(out, payload);
            }
            Self::Ask(question) => {
                out.push(7);
                question.write(out);
            }
        }
    }

    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(bytes);
        let message = match fields.tag()? {
            0 => Self::Start { file: fields.text()? },
            1 => Self::Reload { file: fields.text()? },
            2 => Self::Terminate,
            3 => Self::Report,
            4 => Self::Lost {
                role: fields.role()?,
                number: fields.number()?,
                id: fields.bytes()?,
                key: fields.text()?,
                peer: fields.text()?,
            },
            5 => Self::Vouched { id: fields.bytes()? },
            6 => Self::Doubted { id: fields.bytes()? },
            7 => Self::Ask(Question::read(&mut fields)?),
            8 => Self::Publish { channel: fields.bytes()?, payload: fields.bytes()? },
            9 => Self::AskAlive,
            _ => return Err(Malformed),
        };
        fields.end(message)
    }
}

fn role_message(out: &mut Vec<u8>, tag: u8, role: Role, number: u64, id: &[u8]) {
    out.push(tag);
    out.push(role as u8);
    put_number(out, number);
    put_bytes(out, id);
}

fn topic_message(out: &mut Vec<u8>, tag: u8, topic: &Topic) {
    let (kind, name) = match topic {
        Topic::Channel(name) => (0, name),
        Topic::Pattern(name) => (1, name),
    };
    out.extend([tag, kind]);
    put_bytes(out, name);
}

pub(super) fn put_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// What is left to be read of a message.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn tag(&mut self) -> Result<u8, Malformed> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let bytes = self.take(8)?.try_into().map_err(|_| Malformed)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn small(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.number()?).map_err(|_| Malformed)
    }

    fn bytes(&mut self) -> Result<Vec<u8>, Malformed> {
        let length = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        self.take(length).map(<[u8]>::to_vec)
    }

    pub(super) fn text(&mut self) -> Result<String, Malformed> {
        String::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }

    fn role(&mut self) -> Result<Role, Malformed> {
        match self.tag()? {
            0 => Ok(Role::Holder),
            1 => Ok(Role::Channel),
            _ => Err(Malformed),
        }
    }

    fn topic(&mut self) -> Result<Topic, Malformed> {
        match self.tag()? {
            0 => self.bytes().map(Topic::Channel),
            1 => self.bytes().map(Topic::Pattern),
            _ => Err(Malformed),
        }
    }

    fn end<T>(self, message: T) -> Result<T, Malformed> {
        if self.0.is_empty() { Ok(message) } else { Err(Malformed) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
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
            ToWorker::Start { file: "a = 1\n".to_owned() },
            ToWorker::Reload { file: String::new() },
            ToWorker::Terminate,
            ToWorker::Report,
            ToWorker::AskAlive,
            ToWorker::Lost {
                role: Role::Channel,
                number: 7,
                id: id.clone(),
                key: "3.1-2".to_owned(),
                peer: "unix".to_owned(),
            },
            ToWorker::Vouched { id: id.clone() },
            ToWorker::Doubted { id: Vec::new() },
            ToWorker::Publish { channel: id.clone(), payload: vec![0; 1000] },
        ] {
            returns(&message);
        }
        for message in [
            ToSupervisor::Ready,
            ToSupervisor::Alive,
            ToSupervisor::Claim {
                role: Role::Holder,
                number: 1,
                id: id.clone(),
                token: b"t".to_vec(),
                key: "1.1-1".to_owned(),
                peer: "127.0.0.1:1".to_owned(),
            },
            ToSupervisor::Consent { number: 1, id: id.clone(), token: Vec::new() },
            ToSupervisor::Release {
                role: Role::Channel,
                number: 2,
                id: id.clone(),
                record: b"null".to_vec(),
            },
            ToSupervisor::Beat { number: 3, id: id.clone() },
            ToSupervisor::Presence { number: 4, id: id.clone(), payload: b"suspect".to_vec() },
            ToSupervisor::Publish { channel: id.clone(), payload: Vec::new() },
            ToSupervisor::Listens(Topic::Channel(id.clone())),
            ToSupervisor::Stopped(Topic::Pattern(id)),
        ] {
            returns(&message);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = ToWorker::read(&bytes);
            let _ = ToSupervisor::read(&bytes);
        }
    }
}
