//! Session tickets (RFC 5077, RFC 8446 4.6.1): what a client shows to go on with an earlier session. Who holds the keys can
//! read all that was said under a ticket of them, so that they are thrown away after a while; and all workers of a server
//! have the same, so that it does not matter at which of them a client comes back.
//!
//! [`Tickets`] says when the keys are rotated; who has them hands them out, and says what time it is: nothing here looks at
//! a clock. A ticket is, as RFC 5077 recommends in its section 4, with one AEAD in the place of its cipher and MAC:
//!
//! ```text
//! name of the key (16)   nonce (12)   sealed state   tag (16)
//! ```

use super::provider;
use crate::core::secret::Secret;
use crate::core::time::{Duration, Instant};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use rustls::server::ProducesTickets;
use std::fmt;
use std::sync::{PoisonError, RwLock};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// How long a key makes tickets, in seconds, and how long clients are told that a ticket is good for: of every key there is
/// one before, which still opens what it has sealed. A nonce is drawn at random, for which a key must not seal more than
/// 2^32 times (NIST SP 800-38D, 8.3): at two tickets for each, that is 100,000 handshakes a second, all this time, over all
/// workers.
const TICKET_SECONDS: u32 = 6 * 3600;
const ROTATION: Duration = Duration::from_secs(TICKET_SECONDS as u64);

const NAME_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const KEY_BYTES: usize = NAME_BYTES + SECRET_BYTES;
/// That in use, and the one before.
const KEYS_MAX: usize = 2;
/// Bytes of the longest ticket. Of what is in one, only a name and an ALPN protocol have no fixed length, 255 bytes each at
/// most.
const TICKET_BYTES_MAX: usize = 1024;

/// The keys of a server: the one in use first.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct TicketKeys(Vec<[u8; KEY_BYTES]>);

impl fmt::Debug for TicketKeys {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").finish_non_exhaustive()
    }
}

impl TicketKeys {
    /// The first key of a server.
    pub fn draw() -> Self {
        let mut keys = Vec::with_capacity(KEYS_MAX + 1);
        keys.push(draw());
        Self(keys)
    }

    /// Takes a new key into use. The one before still opens tickets, and the one before that is gone.
    pub fn rotate(&mut self) {
        self.0.insert(0, draw());
        // Where it is, before that is given up.
        self.0.iter_mut().skip(KEYS_MAX).for_each(Zeroize::zeroize);
        self.0.truncate(KEYS_MAX);
    }

    /// For another process of this server.
    pub fn to_bytes(&self) -> Secret<Vec<u8>> {
        Secret::new(self.0.concat())
    }

    /// What [`to_bytes`](Self::to_bytes) made. Other bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (keys, rest) = bytes.as_chunks::<KEY_BYTES>();
        let are_some = rest.is_empty() && (1..=KEYS_MAX).contains(&keys.len());
        are_some.then(|| {
            let mut own = Vec::with_capacity(KEYS_MAX + 1);
            own.extend_from_slice(keys);
            Self(own)
        })
    }
}

/// The keys that a process has: none, its own, which it rotates, or another's, which it is told.
#[derive(Clone, Debug)]
pub struct Tickets {
    keys: Option<TicketKeys>,
    rotate: Instant,
}

impl Tickets {
    /// Before there are any.
    pub const fn none() -> Self {
        Self { keys: None, rotate: Instant::NEVER }
    }

    /// Draws the first key, unless there is one. Whether it has.
    pub fn begin(&mut self, now: Instant) -> bool {
        let begins = self.keys.is_none();
        if begins {
            *self = Self { keys: Some(TicketKeys::draw()), rotate: now + ROTATION };
        }
        begins
    }

    /// Rotates those of its own if it is time. Whether it was.
    pub fn rotate(&mut self, now: Instant) -> bool {
        let Some(keys) = self.keys.as_mut().filter(|_| self.rotate <= now) else { return false };
        keys.rotate();
        self.rotate = now + ROTATION;
        true
    }

    /// Takes those of another process, which rotates them.
    pub fn take(&mut self, keys: Option<TicketKeys>) {
        *self = Self { keys, rotate: Instant::NEVER };
    }

    /// When they are rotated next; [`Instant::NEVER`]: not by this process.
    pub const fn next(&self) -> Instant {
        self.rotate
    }

    /// Those to be used.
    pub const fn keys(&self) -> Option<&TicketKeys> {
        self.keys.as_ref()
    }
}

fn draw() -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    provider().secure_random.fill(&mut key).expect("there is randomness");
    key
}

/// Makes the tickets of one listener, and opens them.
pub(super) struct Ticketer {
    /// What a ticket is bound to: one of another listener, with other certificates, is not taken. Else who can lead a client
    /// astray would not be stopped by its certificate (RFC 8446, 4.6.1 and C.3).
    listener: [u8; 32],
    /// Empty until they are handed out: there are no tickets then.
    keys: RwLock<Vec<Sealing>>,
}

struct Sealing {
    name: [u8; NAME_BYTES],
    key: RandomizedNonceKey,
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticketer").finish_non_exhaustive()
    }
}

impl Ticketer {
    pub(super) const fn new(listener: [u8; 32]) -> Self {
        Self { listener, keys: RwLock::new(Vec::new()) }
    }

    /// Takes keys into use.
    pub(super) fn adopt(&self, keys: &TicketKeys) {
        let keys = keys.0.iter().map(|bytes| {
            let (name, secret) = bytes.split_first_chunk().expect("a key is longer than its name");
            let key =
                RandomizedNonceKey::new(&AES_256_GCM, secret).expect("a secret has the length of a key");
            Sealing { name: *name, key }
        });
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.collect();
    }

    fn bound_to(&self, name: &[u8; NAME_BYTES]) -> Aad<Vec<u8>> {
        Aad::from([name.as_slice(), &self.listener].concat())
    }

    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let Sealing { name, key } = keys.first()?;
        let mut sealed = plain.to_vec();
        let nonce = key.seal_in_place_append_tag(self.bound_to(name), &mut sealed).ok()?;
        let ticket = [name.as_slice(), nonce.as_ref(), &sealed].concat();
        (ticket.len() <= TICKET_BYTES_MAX).then_some(ticket)
    }

    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_BYTES_MAX {
            return None;
        }
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        // Its name is no secret: it is in every ticket.
        let Sealing { key, .. } = keys.iter().find(|sealing| sealing.name == *name)?;
        let mut opened = sealed.to_vec();
        let length = key.open_in_place(Nonce::from(nonce), self.bound_to(name), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        !self.keys.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn lifetime(&self) -> u32 {
        TICKET_SECONDS
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.open(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticketer(listener: u8, keys: &TicketKeys) -> Ticketer {
        let ticketer = Ticketer::new([listener; 32]);
        ticketer.adopt(keys);
        ticketer
    }

    #[test]
    fn a_ticket_is_opened_until_its_key_was_rotated_twice_wherever_the_keys_are() {
        let mut keys = TicketKeys::draw();
        let ticket = ticketer(1, &keys).encrypt(b"state").unwrap();
        for opened in [true, true, false] {
            let elsewhere = TicketKeys::from_bytes(&keys.to_bytes()).unwrap();
            let found = ticketer(1, &elsewhere).decrypt(&ticket);
            assert_eq!(found.as_deref(), opened.then_some(b"state".as_slice()));
            keys.rotate();
        }
        assert_eq!(keys.0.len(), KEYS_MAX);
    }

    #[test]
    fn keys_are_drawn_once_and_rotated_when_their_time_has_come_unless_they_are_anothers() {
        let start = Instant::from_millis(1000);
        let mut tickets = Tickets::none();
        assert!(!tickets.rotate(start + ROTATION) && tickets.keys().is_none());
        assert_eq!(tickets.next(), Instant::NEVER);
        assert!(tickets.begin(start));
        let first = tickets.keys().unwrap().to_bytes();
        assert!(!tickets.begin(start + ROTATION / 2), "a reload draws none");
        assert!(!tickets.rotate(start + ROTATION / 2));
        assert_eq!((tickets.keys().unwrap().to_bytes(), tickets.next()), (first.clone(), start + ROTATION));
        assert!(tickets.rotate(start + ROTATION));
        let second = tickets.keys().unwrap().to_bytes();
        assert!(second.ends_with(&first) && second.len() > first.len(), "the one before still opens tickets");
        assert_eq!(tickets.next(), start + ROTATION * 2);
        let told = TicketKeys::draw();
        tickets.take(Some(told.clone()));
        assert!(!tickets.rotate(start + ROTATION * 9) && !tickets.begin(start));
        assert_eq!((tickets.keys(), tickets.next()), (Some(&told), Instant::NEVER));
    }

    #[test]
    fn a_ticket_of_another_listener_or_server_or_one_that_was_changed_is_none() {
        let keys = TicketKeys::draw();
        let ours = ticketer(1, &keys);
        let ticket = ours.encrypt(b"state").unwrap();
        assert_ne!(ours.encrypt(b"state").unwrap(), ticket, "a nonce is not used twice");
        assert_eq!(ticketer(2, &keys).decrypt(&ticket), None);
        assert_eq!(ticketer(1, &TicketKeys::draw()).decrypt(&ticket), None);
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(ours.decrypt(&changed), None, "byte {at}");
            assert_eq!(ours.decrypt(&ticket[..at]), None, "cut at {at}");
        }
        assert_eq!(ours.decrypt(&vec![0; 100_000]), None);
    }

    #[test]
    fn without_keys_there_are_no_tickets_and_other_bytes_are_no_keys() {
        let none = Ticketer::new([1; 32]);
        assert!(!none.enabled() && none.encrypt(b"state").is_none() && none.decrypt(&[0; 60]).is_none());
        for length in [0, 1, KEY_BYTES - 1, KEY_BYTES + 1, 3 * KEY_BYTES] {
            assert_eq!(TicketKeys::from_bytes(&vec![7; length]), None, "{length}");
        }
        assert!(!format!("{:?}", TicketKeys::draw()).contains('['), "a key is not written anywhere");
    }
}
