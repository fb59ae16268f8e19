//! How the records of what happens lie in memory: numbers at fixed places, a head that all of them have, and behind the fixed
//! part what only some have, each part with a tag and its length.

use super::ring::{HEADER_BYTES, number64, put64};
use crate::core::event::Kind;
use crate::core::table::Key;
use crate::core::time::Instant;
use crate::net::{Peer, Token};

/// Whose connection it is.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    /// The name that it has here.
    pub key: Key,
    /// Where it comes from.
    pub peer: &'a Peer,
    /// The number of its listener.
    pub listener: u8,
    /// The identity that it holds; empty: none.
    pub identity: &'a [u8],
}

/// The bytes of a record that all records have. The last few are for what its kind has there.
pub const HEAD_BYTES: usize = 56;
const AT: usize = HEADER_BYTES;
const KEY: usize = AT + 8;
const PEER: usize = KEY + 8;
const LISTENER: usize = PEER + Peer::BYTES;
const KIND: usize = LISTENER + 1;
const CODES: usize = KIND + 1;
const _: () = assert!(CODES + 3 <= HEAD_BYTES);

/// Writes the head of a record, behind the ring's own bytes.
#[inline]
pub fn write_head(record: &mut [u8], whose: &Whose<'_>, kind: Kind, codes: [u8; 3], now: Instant) {
    let head = record.first_chunk_mut::<HEAD_BYTES>().expect("a record has its head");
    put64(head, AT, now.as_nanos());
    put64(head, KEY, whose.key.token().0);
    head[PEER..LISTENER].copy_from_slice(&whose.peer.to_bytes());
    head[LISTENER] = whose.listener;
    head[KIND] = kind as u8;
    head[CODES..CODES + 3].copy_from_slice(&codes);
}

/// The head of a record.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a>(&'a [u8; HEAD_BYTES]);

impl<'a> Head<'a> {
    /// Of the record; `None`: it is too short to be one.
    pub fn of(record: &'a [u8]) -> Option<Self> {
        record.first_chunk().map(Self)
    }

    /// When it was.
    pub fn at(self) -> Instant {
        Instant::from_nanos(number64(self.0, AT))
    }

    /// The name of the connection.
    pub fn key(self) -> Key {
        Key::from_token(Token(number64(self.0, KEY)))
    }

    /// Where it came from.
    pub fn peer(self) -> Peer {
        Peer::from_bytes(*self.0[PEER..].first_chunk().expect("a head has all of it"))
    }

    /// The number of its listener.
    pub const fn listener(self) -> u8 {
        self.0[LISTENER]
    }

    /// What happened.
    pub const fn kind(self) -> Kind {
        Kind::ALL[self.0[KIND] as usize]
    }

    /// What its kind has in the head.
    pub const fn codes(self) -> [u8; 3] {
        [self.0[CODES], self.0[CODES + 1], self.0[CODES + 2]]
    }
}

/// What a part has before its bytes: its tag and its length.
pub const PART_BYTES: usize = 3;

/// More of a text is not kept. Identities, names of hosts and addresses are shorter.
pub const TEXT_BYTES_MAX: usize = 1024;

/// As much of a text as is kept.
pub fn cut(text: &str) -> &[u8] {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text.as_bytes()[..end]
}

/// As much of an identity as is kept.
pub fn cut_bytes(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(TEXT_BYTES_MAX)]
}

/// Writes a part at the front of `out`. Gives its length.
pub fn put_part(out: &mut [u8], tag: u8, bytes: &[u8]) -> usize {
    let [low, high, ..] = bytes.len().to_le_bytes();
    let length = PART_BYTES + bytes.len();
    out[..PART_BYTES].copy_from_slice(&[tag, low, high]);
    out[PART_BYTES..length].copy_from_slice(bytes);
    length
}

/// The parts that stand there, each with its tag.
pub fn parts(mut rest: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let ([tag, low, high], behind) = rest.split_first_chunk()?;
        let (bytes, behind) = behind.split_at(usize::from(u16::from_le_bytes([*low, *high])));
        rest = behind;
        Some((*tag, bytes))
    })
}
