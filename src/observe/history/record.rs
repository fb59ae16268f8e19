//! One record: what those of all events begin with, more numbers at fixed places, and behind them what only some endings
//! have, each with a tag and its length.

use crate::core::end::{Alert, By, CloseMode, Detector, End, Foreign, Leg, Reason, TlsAlert};
use crate::core::event::Kind;
use crate::core::proxied::{Origin, Proxied};
use crate::core::secured::{Alpn, Secured};
use crate::core::table::Key;
use crate::core::tcp::{TcpSnapshot, TcpState};
use crate::core::time::{Instant, Span};
use crate::net::{Peer, Token};
pub use crate::observe::layout::Whose;
use crate::observe::layout::{
    HEAD_BYTES, Head, PART_BYTES, TEXT_BYTES_MAX, cut, cut_bytes, parts, put_part, write_head,
};
use crate::observe::ring::{number_of, number64, put64};
use std::sync::Arc;

/// The fixed part.
const FIXED_BYTES: usize = HEAD_BYTES + 56;
/// More names of protocols are not kept; nor are more of them read anywhere.
const ALPN_MAX: usize = 16;
/// The longest record: each text and each of those names in front of it has its tag and length.
pub(in crate::observe) const RECORD_BYTES_MAX: usize =
    FIXED_BYTES + (tag::COUNT as usize + ALPN_MAX) * (PART_BYTES + TEXT_BYTES_MAX);

/// What may stand behind the fixed part.
mod tag {
    pub(super) const IDENTITY: u8 = 0;
    pub(super) const EVIDENCE: u8 = 1;
    pub(super) const BY_KEY: u8 = 2;
    pub(super) const BY_PEER: u8 = 3;
    pub(super) const BY_IDENTITY: u8 = 4;
    pub(super) const SPOKE: u8 = 5;
    pub(super) const ALERT: u8 = 6;
    pub(super) const PAIR: u8 = 7;
    pub(super) const SERVER_NAME: u8 = 8;
    pub(super) const ALPN: u8 = 9;
    pub(super) const PROXY: u8 = 10;
    pub(super) const PROXY_SENDER: u8 = 11;
    pub(super) const PROXY_AUTHORITY: u8 = 12;
    pub(super) const PROXY_UNIQUE_ID: u8 = 13;
    pub(super) const PROXY_TLS: u8 = 14;
    pub(super) const PROXY_COMMON_NAME: u8 = 15;
    pub(super) const PROXY_AWS_ENDPOINT: u8 = 16;
    pub(super) const USER: u8 = 17;
    pub(super) const COUNT: u8 = 18;
}

/// Where the numbers stand behind the head.
mod place {
    pub(super) const SILENCE: usize = 56;
    pub(super) const AGE: usize = 64;
    pub(super) const BYTES_IN: usize = 72;
    pub(super) const BYTES_OUT: usize = 80;
    pub(super) const MESSAGES_IN: usize = 88;
    pub(super) const MESSAGES_OUT: usize = 96;
    pub(super) const UNSENT: usize = 104;
}

/// An ending, and whose it was: what a record is made of.
pub(in crate::observe) struct Ended<'a> {
    pub(in crate::observe) whose: &'a Whose<'a>,
    pub(in crate::observe) end: &'a End,
}

impl Ended<'_> {
    /// Bytes of its record.
    #[inline]
    pub(in crate::observe) fn length(&self) -> usize {
        if self.is_plain() { FIXED_BYTES } else { self.length_of_all() }
    }

    /// Writes its record into `out`, which is as long as it, but for the ring's own bytes.
    #[inline]
    pub(in crate::observe) fn write(&self, out: &mut [u8], now: Instant) {
        let (fixed, others) =
            out.split_first_chunk_mut::<FIXED_BYTES>().expect("a record has its fixed part");
        let Self { whose, end } = self;
        let codes = [end.reason as u8, end.detector as u8, end.close as u8];
        write_head(fixed, whose, Kind::Ended, codes, now);
        put64(fixed, place::SILENCE, end.silence.as_nanos());
        put64(fixed, place::AGE, end.age.as_nanos());
        put64(fixed, place::BYTES_IN, end.bytes_in);
        put64(fixed, place::BYTES_OUT, end.bytes_out);
        put64(fixed, place::MESSAGES_IN, end.messages_in);
        put64(fixed, place::MESSAGES_OUT, end.messages_out);
        put64(fixed, place::UNSENT, end.unsent_bytes);
        if !others.is_empty() {
            self.write_others(others);
        }
    }

    #[inline(never)]
    fn write_others(&self, out: &mut [u8]) {
        let mut at = 0;
        self.each(|tag, bytes| at += put_part(&mut out[at..], tag, bytes));
    }

    #[inline]
    const fn is_plain(&self) -> bool {
        let end = self.end;
        self.whose.identity.is_empty()
            && end.evidence.is_none()
            && end.by.is_none()
            && end.spoke.is_none()
            && end.user.is_none()
            && end.alert.is_none()
            && end.pair.is_none()
            && end.proxied.is_none()
            && end.secured.is_none()
    }

    #[inline(never)]
    fn length_of_all(&self) -> usize {
        let mut length = FIXED_BYTES;
        self.each(|_, bytes| length += PART_BYTES + bytes.len());
        length
    }

    /// What only some endings have.
    fn each(&self, mut part: impl FnMut(u8, &[u8])) {
        let end = self.end;
        if !self.whose.identity.is_empty() {
            part(tag::IDENTITY, cut_bytes(self.whose.identity));
        }
        if let Some(evidence) = &end.evidence {
            part(tag::EVIDENCE, &evidence_bytes(evidence));
        }
        if let Some(by) = end.by.as_deref() {
            part(tag::BY_KEY, cut(&by.key));
            part(tag::BY_PEER, cut(&by.peer));
            by.identity.iter().for_each(|identity| part(tag::BY_IDENTITY, cut(identity)));
        }
        if let Some(user) = &end.user {
            part(tag::USER, cut(user));
        }
        if let Some(spoke) = end.spoke {
            part(tag::SPOKE, &[spoke as u8]);
        }
        if let Some(TlsAlert { alert, is_ours }) = end.alert {
            part(tag::ALERT, &[alert as u8, is_ours.into()]);
        }
        if let Some((leg, pair)) = end.pair {
            let mut bytes = [leg as u8; 9];
            bytes[1..].copy_from_slice(&pair.token().0.to_le_bytes());
            part(tag::PAIR, &bytes);
        }
        if let Some(secured) = end.secured.as_deref() {
            secured.server_name.iter().for_each(|name| part(tag::SERVER_NAME, cut(name)));
            let names = secured.alpn.0.iter().take(ALPN_MAX);
            names.for_each(|name| part(tag::ALPN, cut_bytes(name)));
        }
        if let Some(proxied) = end.proxied.as_deref() {
            let verified = proxied.verified.map_or(2, u8::from);
            part(tag::PROXY, &[proxied.version, proxied.origin as u8, verified]);
            part(tag::PROXY_SENDER, cut(&proxied.sender));
            for (tag, text) in [
                (tag::PROXY_AUTHORITY, &proxied.authority),
                (tag::PROXY_UNIQUE_ID, &proxied.unique_id),
                (tag::PROXY_TLS, &proxied.tls),
                (tag::PROXY_COMMON_NAME, &proxied.common_name),
                (tag::PROXY_AWS_ENDPOINT, &proxied.aws_endpoint),
            ] {
                if let Some(text) = text {
                    part(tag, cut(text));
                }
            }
        }
    }
}

/// A record, as it lies in the ring.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a>(&'a [u8]);

impl<'a> Record<'a> {
    /// The one that lies there; `None`: what lies there is none.
    pub(in crate::observe) fn of(record: &'a [u8]) -> Option<Self> {
        (record.len() >= FIXED_BYTES).then_some(Self(record))
    }

    #[cfg(test)]
    pub(super) const fn bytes(self) -> &'a [u8] {
        self.0
    }

    fn head(self) -> Head<'a> {
        Head::of(self.0).expect("a record has its head")
    }

    /// The number of the ending.
    pub fn number(self) -> u64 {
        number_of(self.0)
    }

    /// When the connection ended.
    pub fn at(self) -> Instant {
        self.head().at()
    }

    /// The name that the connection had.
    pub fn key(self) -> Key {
        self.head().key()
    }

    /// Where it came from.
    pub fn peer(self) -> Peer {
        self.head().peer()
    }

    /// The number of its listener.
    pub fn listener(self) -> u8 {
        self.head().listener()
    }

    /// Why it ended.
    pub fn reason(self) -> Reason {
        Reason::ALL[usize::from(self.head().codes()[0])]
    }

    /// The identity that it held; empty: none.
    pub fn identity(self) -> &'a [u8] {
        self.others().next().filter(|(tag, _)| *tag == tag::IDENTITY).map_or(&[], |(_, bytes)| bytes)
    }

    /// The pair that it was a leg of: the key of its client.
    pub fn pair(self) -> Option<Key> {
        self.others()
            .find(|(tag, _)| *tag == tag::PAIR)
            .and_then(|(_, bytes)| leg_of(bytes))
            .map(|(_, pair)| pair)
    }

    fn others(self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        parts(&self.0[FIXED_BYTES..])
    }

    /// The whole record, as it was published. The version of TLS is in no account of an ending, and not kept.
    pub fn end(self) -> End {
        let span = |at| Span::between(Instant::ZERO, Instant::from_nanos(number64(self.0, at)));
        let number = |at| number64(self.0, at);
        let [_, detector, close] = self.head().codes().map(usize::from);
        let (detector, close) = (Detector::ALL[detector], CloseMode::ALL[close]);
        let mut end = End {
            silence: span(place::SILENCE),
            age: span(place::AGE),
            bytes_in: number(place::BYTES_IN),
            bytes_out: number(place::BYTES_OUT),
            messages_in: number(place::MESSAGES_IN),
            messages_out: number(place::MESSAGES_OUT),
            unsent_bytes: number(place::UNSENT),
            ..End::new(self.reason(), detector, close)
        };
        let mut others = Others::default();
        self.others().for_each(|(tag, bytes)| others.add(tag, bytes, &mut end));
        end.by = others.by.map(Arc::new);
        end.secured = others.secured.map(Arc::new);
        end.proxied = others.proxied.map(Arc::new);
        end
    }
}

/// What is put together of several parts.
#[derive(Default)]
struct Others {
    by: Option<By>,
    secured: Option<Secured>,
    proxied: Option<Proxied>,
}

impl Others {
    fn add(&mut self, tag: u8, bytes: &[u8], end: &mut End) {
        let text = || String::from_utf8_lossy(bytes).into_owned();
        let secured = &mut self.secured;
        match (tag, bytes) {
            (tag::EVIDENCE, _) => end.evidence = evidence_of(bytes),
            (tag::BY_KEY, _) => {
                self.by = Some(By { key: text(), peer: String::new(), identity: None });
            }
            (tag::BY_PEER, _) => self.by.iter_mut().for_each(|by| by.peer = text()),
            (tag::BY_IDENTITY, _) => self.by.iter_mut().for_each(|by| by.identity = Some(text())),
            (tag::USER, _) => end.user = Some(text().into()),
            (tag::SPOKE, &[spoke]) => end.spoke = Some(Foreign::ALL[usize::from(spoke)]),
            (tag::ALERT, &[alert, ours]) => {
                end.alert = Some(TlsAlert { alert: Alert::ALL[usize::from(alert)], is_ours: ours == 1 });
            }
            (tag::PAIR, _) => end.pair = leg_of(bytes),
            (tag::SERVER_NAME, _) => secured.get_or_insert_default().server_name = Some(text()),
            (tag::ALPN, _) => {
                let Alpn(names) = &mut secured.get_or_insert_default().alpn;
                names.push(bytes.to_vec());
            }
            (tag::PROXY, &[version, origin, verified]) => {
                self.proxied = Some(Proxied {
                    sender: String::new(),
                    version,
                    origin: Origin::ALL[usize::from(origin)],
                    header_bytes: 0,
                    destination: None,
                    authority: None,
                    unique_id: None,
                    tls: None,
                    common_name: None,
                    verified: [Some(false), Some(true), None][usize::from(verified)],
                    aws_endpoint: None,
                });
            }
            (tag::PROXY_SENDER..=tag::PROXY_AWS_ENDPOINT, _) => {
                let Some(says) = &mut self.proxied else { return };
                match tag {
                    tag::PROXY_SENDER => says.sender = text(),
                    tag::PROXY_AUTHORITY => says.authority = Some(text()),
                    tag::PROXY_UNIQUE_ID => says.unique_id = Some(text()),
                    tag::PROXY_TLS => says.tls = Some(text()),
                    tag::PROXY_COMMON_NAME => says.common_name = Some(text()),
                    _ => says.aws_endpoint = Some(text()),
                }
            }
            // The identity is read by itself.
            (_, _) => {}
        }
    }
}

fn evidence_bytes(evidence: &TcpSnapshot) -> [u8; 23] {
    let mut bytes = [0; 23];
    bytes[..3].copy_from_slice(&[evidence.state as u8, evidence.retransmits, evidence.probes]);
    let numbers = [
        evidence.unacked,
        evidence.last_ack_recv_ms,
        evidence.last_data_recv_ms,
        evidence.snd_wnd,
        evidence.notsent_bytes,
    ];
    for (chunk, number) in bytes[3..].chunks_exact_mut(4).zip(numbers) {
        chunk.copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

/// Which leg of which pair.
fn leg_of(bytes: &[u8]) -> Option<(Leg, Key)> {
    let (leg, key) = bytes.split_first()?;
    let key = key.first_chunk().map(|key| Key::from_token(Token(u64::from_le_bytes(*key))));
    Some(Leg::ALL[usize::from(*leg)]).zip(key)
}

fn evidence_of(bytes: &[u8]) -> Option<TcpSnapshot> {
    let ([state, retransmits, probes], numbers) = bytes.split_first_chunk()?;
    let mut numbers = numbers.as_chunks().0.iter().map(|number| u32::from_le_bytes(*number));
    Some(TcpSnapshot {
        state: TcpState::from_number(*state),
        retransmits: *retransmits,
        probes: *probes,
        unacked: numbers.next()?,
        last_ack_recv_ms: numbers.next()?,
        last_data_recv_ms: numbers.next()?,
        snd_wnd: numbers.next()?,
        notsent_bytes: numbers.next()?,
    })
}
