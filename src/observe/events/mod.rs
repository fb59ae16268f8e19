//! What happens, as it happens, for who watches: in memory of a fixed size, from which each reader takes what it has not had.
//!
//! Nothing is kept before somebody watches. From then on a reader that comes back is told what happened meanwhile, as far as
//! it is still there, and how much is missing. A reader that is too slow finds that what it has not had was dropped; it costs
//! the others nothing.
//!
//! Numbers of events begin at the time of the start, in microseconds: a reader that comes back to another process than it
//! left notices, because what it had is before the first number of that one.

#[cfg(test)]
mod tests;

pub use super::layout::Whose;
pub use crate::core::event::Kind;

use super::history;
use super::layout::{
    HEAD_BYTES, Head, PART_BYTES, TEXT_BYTES_MAX, cut, cut_bytes, parts, put_part, write_head,
};
use super::ring::{DROPPED_AT_ONCE, Place, Ring, number_of, number64, put64};
use crate::core::end::{By, Detector, End, Reason};
use crate::core::table::Key;
use crate::core::time::{Duration, Instant, Span};
use crate::core::units::seconds;
use crate::net::Peer;
use serde_json::{Map, Value};

/// The least memory for events: the longest record fits.
pub const BYTES_MIN: usize = history::BYTES_MIN;

/// What happened to a connection.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// It was accepted, or connected to an upstream server.
    Opened,
    /// It has got its identity.
    Identified,
    /// It is suspect.
    Suspect {
        /// By which means.
        detector: Detector,
        /// Nothing had been heard from it for so long.
        silence: Span,
    },
    /// It was suspect, and not heard from within its grace; that ends nothing.
    Verdict {
        /// What that means.
        reason: Reason,
        /// By which means it had become suspect.
        detector: Detector,
        /// Nothing had been heard from it for so long.
        silence: Span,
    },
    /// It was suspect, and was heard from.
    Revived,
    /// This one has taken its identity.
    Replaced(&'a By),
    /// It has ended.
    Ended(&'a End),
}

/// What only some have. The identity has the tag that it has in a record of an ending.
mod tag {
    pub(super) const IDENTITY: u8 = 0;
    pub(super) const BY_KEY: u8 = 1;
    pub(super) const BY_PEER: u8 = 2;
    pub(super) const BY_IDENTITY: u8 = 3;
    /// A text of JSON: the fields of what happened to the server.
    pub(super) const FIELDS: u8 = 4;
}

/// Where the silence stands of one that is suspect, or was judged.
const SILENCE: usize = HEAD_BYTES;
const SILENCE_BYTES: usize = 8;
const _: () = assert!(HEAD_BYTES + 5 * (PART_BYTES + TEXT_BYTES_MAX) + DROPPED_AT_ONCE <= BYTES_MIN);

/// The events.
#[derive(Debug)]
pub struct Events {
    ring: Ring,
    /// How many bytes they get when somebody watches.
    bytes: usize,
    /// Something happened that was not told to all who watch.
    has_news: bool,
}

/// How far a reader is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// The number of the last one that it has looked at.
    pub number: u64,
    /// Where that one was.
    pub place: Option<Place>,
}

impl Events {
    /// For about so many bytes, once somebody watches. `since_1970`: what time it is, if that is known.
    pub fn new(bytes: usize, since_1970: Option<Duration>) -> Self {
        let micros = since_1970.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(0));
        Self { ring: Ring::starting_at(micros + 1), bytes: bytes.max(BYTES_MIN), has_news: false }
    }

    /// Changes the memory for them.
    pub fn resize(&mut self, bytes: usize) {
        self.bytes = bytes.max(BYTES_MIN);
        if self.is_on() {
            self.ring.resize(self.bytes);
        }
    }

    /// Whether they are kept.
    #[inline]
    pub const fn is_on(&self) -> bool {
        self.ring.is_on()
    }

    /// Keeps them from now on: somebody watches.
    pub fn begin_keeping(&mut self) {
        if !self.is_on() {
            self.ring.resize(self.bytes);
        }
    }

    /// The number of the newest; one less than that of the first, if there was none.
    pub const fn last_number(&self) -> u64 {
        self.ring.last_number()
    }

    /// Something happened to a connection.
    #[inline]
    pub fn add(&mut self, whose: &Whose<'_>, what: What<'_>, now: Instant) {
        if self.is_on() {
            self.keep(whose, what, now);
        }
    }

    #[inline(never)]
    fn keep(&mut self, whose: &Whose<'_>, what: What<'_>, now: Instant) {
        self.has_news = true;
        let (kind, codes, number) = match what {
            What::Ended(end) => {
                let ended = history::Ended { whose, end };
                return self.ring.add(ended.length(), |record| ended.write(record, now));
            }
            What::Opened => (Kind::Opened, [0; 3], None),
            What::Identified => (Kind::Identified, [0; 3], None),
            What::Suspect { detector, silence } => {
                (Kind::Suspect, [detector as u8, 0, 0], Some(silence.as_nanos()))
            }
            What::Verdict { reason, detector, silence } => {
                (Kind::Verdict, [detector as u8, reason as u8, 0], Some(silence.as_nanos()))
            }
            What::Revived => (Kind::Revived, [0; 3], None),
            What::Replaced(_) => (Kind::Replaced, [0; 3], None),
        };
        let fixed = HEAD_BYTES + number.map_or(0, |_| SILENCE_BYTES);
        let mut length = fixed;
        each_part(whose.identity, what, |_, bytes| length += PART_BYTES + bytes.len());
        self.ring.add(length, |record| {
            write_head(record, whose, kind, codes, now);
            if let Some(number) = number {
                put64(record, SILENCE, number);
            }
            let mut at = fixed;
            each_part(whose.identity, what, |tag, bytes| at += put_part(&mut record[at..], tag, bytes));
        });
    }

    /// Something happened to the server, which the fields of this object say more of.
    pub fn add_of_server(&mut self, kind: Kind, fields: impl FnOnce() -> Value, now: Instant) {
        if !self.is_on() {
            return;
        }
        self.has_news = true;
        let fields = fields().to_string();
        let fields = if fields.len() > TEXT_BYTES_MAX { "{}" } else { &fields };
        let nobody = Whose {
            key: Key { index: 0, generation: 0 },
            peer: &Peer::UNIX,
            listener: u8::MAX,
            identity: &[],
        };
        self.ring.add(HEAD_BYTES + PART_BYTES + fields.len(), |record| {
            write_head(record, &nobody, kind, [0; 3], now);
            put_part(&mut record[HEAD_BYTES..], tag::FIELDS, fields.as_bytes());
        });
    }

    /// Whether something happened since this was asked before.
    pub const fn take_news(&mut self) -> bool {
        std::mem::replace(&mut self.has_news, false)
    }

    /// Somebody begins to watch, from behind the event of that number, or with what happens from now on. Gives how far that
    /// reader is, and how many that it wants are missing; `None`: nobody knows, for it had that number from another process.
    pub fn begin(&mut self, after: Option<u64>) -> (Position, Option<u64>) {
        self.begin_keeping();
        let (first, last) = (self.ring.origin(), self.ring.last_number());
        let dropped_up_to = self.ring.oldest().map_or(last, |oldest| oldest.number - 1);
        let (number, missed) = match after {
            None => (last, Some(0)),
            // All that there is.
            Some(0) => (dropped_up_to, Some(dropped_up_to + 1 - first)),
            Some(number) if number + 1 < first || number > last => (dropped_up_to, None),
            Some(number) => (number.max(dropped_up_to), Some(dropped_up_to.saturating_sub(number))),
        };
        (Position { number, place: None }, missed)
    }

    /// The next one behind that position, and how many between them are missing.
    pub fn after(&self, position: &Position) -> Option<(Place, u64)> {
        let number = position.number;
        let read = position.place.and_then(|place| self.ring.moved(place));
        let read = read.filter(|place| place.number == number);
        if let Some(next) = read.and_then(|place| self.ring.after(place)) {
            return Some((next, 0));
        }
        let oldest = self.ring.oldest().filter(|_| number < self.ring.last_number())?;
        if oldest.number > number {
            return Some((oldest, oldest.number - number - 1));
        }
        // A reader that has come back, and had almost all: the way is from the newest.
        self.ring.places().find(|place| place.number == number + 1).map(|place| (place, 0))
    }

    /// The event at a place, if it is still there.
    pub fn get(&self, place: Place) -> Option<Event<'_>> {
        self.ring.get(place).filter(|record| record.len() >= HEAD_BYTES).map(Event)
    }
}

/// Whether an event of that kind says for how long nothing had been heard.
const fn has_silence(kind: Kind) -> bool {
    matches!(kind, Kind::Suspect | Kind::Verdict)
}

/// What only some have.
fn each_part(identity: &[u8], what: What<'_>, mut part: impl FnMut(u8, &[u8])) {
    if !identity.is_empty() {
        part(tag::IDENTITY, cut_bytes(identity));
    }
    if let What::Replaced(by) = what {
        part(tag::BY_KEY, cut(&by.key));
        part(tag::BY_PEER, cut(&by.peer));
        by.identity.iter().for_each(|identity| part(tag::BY_IDENTITY, cut(identity)));
    }
}

/// An event, as it lies in the ring.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a>(&'a [u8]);

impl<'a> Event<'a> {
    /// Its number.
    pub fn number(self) -> u64 {
        number_of(self.0)
    }

    fn head(self) -> Head<'a> {
        Head::of(self.0).expect("a record has its head")
    }

    /// When it was.
    pub fn at(self) -> Instant {
        self.head().at()
    }

    /// What happened.
    pub fn kind(self) -> Kind {
        self.head().kind()
    }

    /// Whose connection it happened to: its name, where it came from, and the number of its listener. None: it happened to
    /// the server.
    pub fn whose(self) -> Option<(Key, Peer, u8)> {
        let head = self.head();
        self.kind().is_of_connection().then(|| (head.key(), head.peer(), head.listener()))
    }

    /// The ending that it is.
    pub fn ended(self) -> Option<history::Record<'a>> {
        (self.kind() == Kind::Ended).then(|| history::Record::of(self.0)).flatten()
    }

    /// The identity of the connection; empty: none.
    pub fn identity(self) -> &'a [u8] {
        if let Some(ended) = self.ended() {
            return ended.identity();
        }
        self.parts().find(|(tag, _)| *tag == tag::IDENTITY).map_or(&[], |(_, bytes)| bytes)
    }

    /// What its kind alone has, as fields of JSON.
    pub fn add_fields(self, fields: &mut Map<String, Value>) {
        if has_silence(self.kind()) {
            let [detector, reason, _] = self.head().codes();
            if self.kind() == Kind::Verdict {
                fields.insert("reason".to_owned(), Reason::ALL[usize::from(reason)].name().into());
            }
            let silence = Span::between(Instant::ZERO, Instant::from_nanos(number64(self.0, SILENCE)));
            fields.insert("detector".to_owned(), Detector::ALL[usize::from(detector)].name().into());
            fields.insert("silence_s".to_owned(), seconds(silence.into()).into());
        }
        for (tag, bytes) in self.parts() {
            let name = match tag {
                tag::BY_KEY => "by_key",
                tag::BY_PEER => "by_peer",
                tag::BY_IDENTITY => "by_identity",
                tag::FIELDS => {
                    if let Ok(Value::Object(more)) = serde_json::from_slice(bytes) {
                        fields.extend(more);
                    }
                    continue;
                }
                _ => continue,
            };
            fields.insert(name.to_owned(), String::from_utf8_lossy(bytes).into());
        }
    }

    fn parts(self) -> impl Iterator<Item = (u8, &'a [u8])> {
        let kind = self.kind();
        let behind = if kind == Kind::Ended {
            self.0.len()
        } else {
            HEAD_BYTES + if has_silence(kind) { SILENCE_BYTES } else { 0 }
        };
        parts(&self.0[behind..])
    }
}
