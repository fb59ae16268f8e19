//! Clients, as clients see each other: which of them are meant, and what is told of one.

use std::fmt::{self, Display};
use std::io::Write;
use std::net::SocketAddr;
use std::str::FromStr;

/// The name of one connection among those of a server: as the log, the admin interface and the PROXY header tell it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GlobalKey {
    /// Which worker has it, from 1; none where the server is one process.
    pub worker: Option<u32>,
    /// Where that one keeps it.
    pub index: u32,
    /// Which of those that were kept there it is.
    pub generation: u32,
}

/// `index-generation`, behind the number of the worker and a dot where there are several.
impl Display for GlobalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.worker.map_or(Ok(()), |worker| write!(f, "{worker}."))?;
        write!(f, "{}-{}", self.index, self.generation)
    }
}

/// The text was not such a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAGlobalKey;

impl FromStr for GlobalKey {
    type Err = NotAGlobalKey;

    fn from_str(text: &str) -> Result<Self, NotAGlobalKey> {
        let number = |text: &str| text.parse().map_err(|_| NotAGlobalKey);
        let (worker, key) = match text.split_once('.') {
            Some((worker, key)) => (Some(number(worker)?), key),
            None => (None, text),
        };
        let (index, generation) = key.split_once('-').ok_or(NotAGlobalKey)?;
        Ok(Self { worker, index: number(index)?, generation: number(generation)? })
    }
}

/// Which clients are listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientFilter {
    /// All.
    All,
    /// Those of one type.
    Type(ClientType),
    /// Those with these ids, in ascending order.
    Ids(Vec<u64>),
    /// That one, whatever it speaks.
    Key(GlobalKey),
}

impl ClientFilter {
    /// The only one that it can be about.
    pub const fn key(&self) -> Option<GlobalKey> {
        match self {
            Self::Key(key) => Some(*key),
            Self::All | Self::Type(_) | Self::Ids(_) => None,
        }
    }
}

/// Which clients are to be ended: those that pass every condition that is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KillFilter {
    /// How it was asked for, and so what to reply.
    pub form: KillForm,
    /// That one.
    pub id: Option<u64>,
    /// That one, whatever it speaks.
    pub key: Option<GlobalKey>,
    /// Those from there.
    pub peer: Option<SocketAddr>,
    /// Those to there.
    pub local: Option<SocketAddr>,
    /// Those of that type.
    pub client_type: Option<ClientType>,
    /// Those of that user.
    pub user: Option<Vec<u8>>,
    /// Not the one that asks.
    pub skip_me: bool,
}

impl KillFilter {
    /// Everybody but the one that asks.
    pub const EVERYBODY: Self = Self {
        form: KillForm::Filter,
        id: None,
        key: None,
        peer: None,
        local: None,
        client_type: None,
        user: None,
        skip_me: true,
    };
}

/// How the ending of clients is asked for, which the answer depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KillForm {
    /// By the address of one: that it is being ended, or that nobody is there.
    Address,
    /// By conditions: how many are being ended.
    Filter,
}

/// The types of connection that Redis tells apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientType {
    /// Without subscriptions.
    Normal,
    /// With subscriptions.
    Pubsub,
    /// Replication of Redis: nobody, here.
    Replication,
}

/// What is told of a client.
pub struct ClientRow<'a> {
    /// Its number.
    pub id: u64,
    /// Where it comes from.
    pub peer: &'a dyn Display,
    /// Where it has come to.
    pub local: &'a dyn Display,
    /// The name that it gave its connection; empty: none.
    pub name: &'a [u8],
    /// Its identity; empty: none.
    pub identity: &'a [u8],
    /// Its user; empty: it has not logged in.
    pub user: &'a str,
    /// How long it has been connected, in seconds.
    pub age_s: u64,
    /// How long it has been silent, in seconds.
    pub silence_s: u64,
    /// Channels and patterns that it listens to.
    pub subscriptions: usize,
    /// Received bytes that wait.
    pub input_bytes: usize,
    /// Output that waits, in bytes.
    pub output_bytes: usize,
    /// The version of the protocol that it speaks.
    pub version: u8,
    /// The state of its connection.
    pub state: &'static str,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Messages received.
    pub messages_in: u64,
}

impl ClientRow<'_> {
    /// Appends it as one line, in the form of Redis' `CLIENT LIST`. Also the fields that mean nothing here: client libraries
    /// read all numbers of Redis 6.2, and fail where one is missing.
    pub fn write(&self, out: &mut Vec<u8>) {
        let name = String::from_utf8_lossy(self.name);
        let identity = String::from_utf8_lossy(self.identity);
        let written = writeln!(
            out,
            "id={} addr={} laddr={} name={name} age={} idle={} flags={} db=0 sub={} psub=0 multi=-1 qbuf={} \
             qbuf-free=0 argv-mem=0 obl=0 oll=0 omem={} tot-mem={} resp={} user={} state={} \
             identity={identity} tot-net-in={} tot-net-out={} tot-cmds={}",
            self.id,
            self.peer,
            self.local,
            self.age_s,
            self.silence_s,
            if self.subscriptions > 0 { 'P' } else { 'N' },
            self.subscriptions,
            self.input_bytes,
            self.output_bytes,
            self.input_bytes + self.output_bytes,
            self.version,
            self.user,
            self.state,
            self.bytes_in,
            self.bytes_out,
            self.messages_in,
        );
        written.expect("memory takes what is written to it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_among_those_of_several_workers_has_the_number_of_its_worker() {
        for (worker, text) in [(None, "7-1"), (Some(2), "2.7-1")] {
            let key = GlobalKey { worker, index: 7, generation: 1 };
            assert_eq!((key.to_string().as_str(), text.parse()), (text, Ok(key)));
        }
        for bad in ["", "7", "7-", "-7", "7-1-2", ".7-1", "x.7-1", "2.", "1.2.7-1", "2.7"] {
            assert_eq!(bad.parse::<GlobalKey>(), Err(NotAGlobalKey), "{bad}");
        }
    }
}
