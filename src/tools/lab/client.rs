//! The client's process: connections that do what they are told over standard input, in lines.
//!
//! It is a process of its own so that it can be killed and frozen. One holds the connections of a whole row, so that
//! what happens to one happens to all, at once. Deeds are answered `done` with the time just before them, by the
//! clock that all processes of a host share.
//!
//! | order | what it does, and answers |
//! | --- | --- |
//! | `open SLOT ADDRESS BUFFER TRANSPORT` | connects; `opened SLOT LOCAL` or `failed SLOT WHY`. BUFFER 0 leaves it to the kernel; TRANSPORT is `tls`, or nothing |
//! | `ask SLOT BYTES` | sends; `answer SLOT BYTES` with the first that comes back |
//! | `send SLOT BYTES` | sends |
//! | `beat SLOT MILLISECONDS BYTES` | sends these so often |
//! | `pong SLOT BYTES` | sends these whenever something comes |
//! | `tell SLOT` | `heard SLOT BYTES` for whatever comes |
//! | `deaf SLOTS` | reads no more; `deaf` |
//! | `quiet` | no beats and no answers any more; `done TIME` |
//! | `leave SLOTS BYTES` | sends a goodbye, and closes at the answer; `done TIME` |
//! | `close SLOTS`, `reset SLOTS`, `vanish SLOTS` | FIN (over TLS `close_notify` before it), RST, or nothing; `done TIME` |
//! | `finish SLOTS BYTES` | sends, says FIN, and reads on to the end; `done TIME` |
//! | `serve ADDRESS GATEWAY` | is an [application] from now on; `serving` |
//!
//! SLOTS are numbers with commas between them. A connection that the server ends is closed, `ended SLOT COUNT` with
//! how many bytes it had received.

use super::application;
use super::path::Transport;
use super::wire::{Wire, trusting};
use crate::core::escape::{escape, unescape};
use crate::core::time::{Duration, Instant};
use crate::net::{Fatal, Interest, Kernel as _, Ready, Received, Sent, Stream as _, Token};
use crate::sys::{Os, Stream, process};
use crate::tls;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

/// The token of standard input; slots are numbers below it.
pub const ORDERS: Token = Token(u32::MAX as u64);

/// What bytes a client sends at which event.
struct Habit {
    bytes: Vec<u8>,
    every: Duration,
    next: Instant,
}

/// What a connection makes of bytes that come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ear {
    /// Reads them.
    Reads,
    /// Reads them, and says what they were.
    Tells,
    /// Says its last word at the next bytes, and closes.
    Leaves,
    /// Has said it, and closes when the server has said its own.
    Closes,
    /// Leaves them to the kernel.
    Deaf,
}

/// One connection.
struct Client {
    wire: Wire,
    received: u64,
    /// The next bytes are the answer that was asked for.
    asked: bool,
    ear: Ear,
    beat: Option<Habit>,
    pong: Vec<u8>,
}

/// Runs until standard input ends.
///
/// # Errors
/// When standard input is no socket, or the kernel refuses a poller.
pub fn run() -> Result<(), Fatal> {
    let orders = Stream::of_standard_input()?;
    let mut os = Os::without_signals()?;
    let refused = |fault| Fatal { what: "watch standard input".into(), why: format!("{fault:?}") };
    os.watch(&orders, ORDERS, Interest::Read).map_err(refused)?;
    let (slots, pending) = Default::default();
    let mut clients = Clients { os, orders, tls: None, slots, pending, serves: None };
    let mut ready: Vec<Ready> = Vec::new();
    loop {
        let timeout = clients.beat();
        clients.os.poll(timeout, &mut ready)?;
        for ready in std::mem::take(&mut ready) {
            if ready.token == ORDERS {
                if !clients.obey_all() {
                    return Ok(());
                }
                if let Some((address, gateway)) = clients.serves {
                    return application::serve(clients.os, clients.orders, address, gateway);
                }
            } else {
                let slot = u32::try_from(ready.token.0).unwrap_or(u32::MAX);
                let _ = clients.with(slot, |client| client.wire.flush());
                clients.read(slot);
            }
        }
    }
}

struct Clients {
    os: Os,
    orders: Stream,
    /// Made for the first who speaks TLS.
    tls: Option<tls::Client>,
    slots: BTreeMap<u32, Client>,
    /// The beginning of a line.
    pending: Vec<u8>,
    /// It is to be an application, which serves at the first address, and names its clients at the second.
    serves: Option<(SocketAddr, SocketAddr)>,
}

impl Clients {
    /// Obeys what has been ordered. Whether there can be more.
    fn obey_all(&mut self) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.orders.recv(&mut buffer) {
                Received::Bytes(count) => self.pending.extend_from_slice(&buffer[..count]),
                Received::Interrupted => {}
                Received::WouldBlock => break,
                Received::Eof | Received::Failed(_) => return false,
            }
        }
        while let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if let Err(why) = self.obey(&line) {
                self.say(&format!("refused {} {line}", escape(why.as_bytes())));
            }
        }
        true
    }

    fn say(&mut self, line: &str) {
        let line = format!("{line}\n");
        let mut rest = line.as_bytes();
        // The lab reads at all times: it is only a matter of a moment until there is room.
        while !rest.is_empty() {
            match self.orders.send(rest) {
                Sent::Bytes(count) => rest = &rest[count..],
                Sent::WouldBlock | Sent::Interrupted => std::thread::yield_now(),
                Sent::Failed(_) => return,
            }
        }
    }

    fn obey(&mut self, line: &str) -> Result<(), String> {
        let mut words = line.split(' ');
        let order = words.next().unwrap_or_default();
        let target = words.next().unwrap_or_default();
        let first = words.next().unwrap_or_default();
        let second = words.next().unwrap_or_default();
        let over_tls = words.next() == Some(Transport::Tls.name());
        let slots: Vec<u32> = target.split(',').filter_map(|slot| slot.parse().ok()).collect();
        let slot = slots.first().copied().unwrap_or_default();
        match order {
            "open" => self.open(slot, first, second, over_tls),
            "ask" => self
                .with(slot, |client| client.asked = true)
                .and_then(|()| self.send(slot, &unescape(first)?)),
            "send" => self.send(slot, &unescape(first)?),
            "beat" => {
                let every = Duration::from_millis(first.parse().map_err(|_| "a number of milliseconds")?);
                let beat = Habit { bytes: unescape(second)?, every, next: process::monotonic() };
                self.with(slot, |client| client.beat = Some(beat))
            }
            "pong" => {
                let pong = unescape(first)?;
                self.with(slot, |client| client.pong = pong)
            }
            "serve" => {
                let of = |word: &str| word.parse().map_err(|_| "an address and a port");
                self.serves = Some((of(target)?, of(first)?));
                Ok(())
            }
            "tell" => self.with(slot, |client| client.ear = Ear::Tells),
            "deaf" => {
                let mut slots = slots.into_iter();
                slots.try_for_each(|slot| self.with(slot, |client| client.ear = Ear::Deaf))?;
                self.say("deaf");
                Ok(())
            }
            "quiet" | "leave" | "close" | "reset" | "vanish" | "finish" => {
                let now = process::monotonic();
                let bytes = unescape(first)?;
                if order == "quiet" {
                    for client in self.slots.values_mut() {
                        client.beat = None;
                        client.pong.clear();
                    }
                }
                let done: Result<(), String> =
                    slots.into_iter().try_for_each(|slot| self.depart(order, slot, &bytes));
                self.say(&format!("done {}", now.as_nanos()));
                done
            }
            _ => Err("no such order".into()),
        }
    }

    fn depart(&mut self, order: &str, slot: u32, bytes: &[u8]) -> Result<(), String> {
        if order == "leave" {
            self.with(slot, |client| client.ear = Ear::Leaves)?;
            return self.send(slot, bytes);
        }
        if order == "finish" {
            self.send(slot, bytes)?;
            return self.with(slot, |client| client.wire.finish());
        }
        let client = self.slots.remove(&slot).ok_or("no such slot")?;
        match order {
            "reset" => client.wire.reset(),
            "vanish" => client.wire.vanish()?,
            _ => client.wire.close(),
        }
        Ok(())
    }

    fn with(&mut self, slot: u32, act: impl FnOnce(&mut Client)) -> Result<(), String> {
        self.slots.get_mut(&slot).map(act).ok_or_else(|| format!("no slot {slot}"))
    }

    fn open(&mut self, slot: u32, address: &str, buffer: &str, over_tls: bool) -> Result<(), String> {
        let address = address.parse().map_err(|_| "an address and a port")?;
        let buffer = buffer.parse().ok().filter(|bytes| *bytes > 0);
        match process::connect(address, buffer) {
            Ok((stream, local)) => {
                self.os
                    .watch(&stream, Token(u64::from(slot)), Interest::ReadWrite)
                    .map_err(|fault| format!("{fault:?}"))?;
                if over_tls && self.tls.is_none() {
                    self.tls = Some(trusting()?);
                }
                let client = Client {
                    wire: Wire::new(stream, self.tls.as_ref().filter(|_| over_tls)),
                    received: 0,
                    asked: false,
                    ear: Ear::Reads,
                    beat: None,
                    pong: Vec::new(),
                };
                self.slots.insert(slot, client);
                self.say(&format!("opened {slot} {local}"));
            }
            Err(fatal) => self.say(&format!("failed {slot} {}", escape(fatal.to_string().as_bytes()))),
        }
        Ok(())
    }

    fn send(&mut self, slot: u32, bytes: &[u8]) -> Result<(), String> {
        self.with(slot, |client| client.wire.send(bytes))
    }

    fn read(&mut self, slot: u32) {
        let mut buffer = vec![0; 64 * 1024];
        while let Some(client) = self.slots.get_mut(&slot)
            && client.ear != Ear::Deaf
        {
            match client.wire.recv(&mut buffer) {
                Received::Bytes(count) => self.hear(slot, &buffer[..count]),
                Received::WouldBlock => return,
                Received::Interrupted => {}
                Received::Eof | Received::Failed(_) => {
                    let received = client.received;
                    self.slots.remove(&slot);
                    self.say(&format!("ended {slot} {received}"));
                }
            }
            if let Some(client) = self.slots.get_mut(&slot)
                && client.ear == Ear::Closes
                && client.wire.say_last_word()
            {
                self.slots.remove(&slot);
            }
        }
    }

    /// Makes of bytes that have come what it is to make of them.
    fn hear(&mut self, slot: u32, bytes: &[u8]) {
        let Some(client) = self.slots.get_mut(&slot) else { return };
        client.received += bytes.len() as u64;
        let (asked, ear, pong) = (client.asked, client.ear, client.pong.clone());
        client.asked = false;
        if ear == Ear::Leaves {
            client.ear = Ear::Closes;
        }
        for (wanted, word) in [(asked, "answer"), (ear == Ear::Tells, "heard")] {
            if wanted {
                let mut line = String::new();
                let _ = write!(line, "{word} {slot} {}", escape(bytes));
                self.say(&line);
            }
        }
        if !pong.is_empty() {
            // A connection that is gone by now needs no answer.
            let _ = self.send(slot, &pong);
        }
    }

    /// Sends the beats that are due. How long until the next.
    fn beat(&mut self) -> Option<Duration> {
        let now = process::monotonic();
        let mut next: Option<Instant> = None;
        let slots: Vec<u32> = self.slots.keys().copied().collect();
        for slot in slots {
            let Some(beat) = self.slots.get_mut(&slot).and_then(|client| client.beat.as_mut()) else {
                continue;
            };
            let due = beat.next <= now;
            if due {
                beat.next = now + beat.every;
            }
            next = Some(next.map_or(beat.next, |next| next.min(beat.next)));
            if due {
                let bytes = beat.bytes.clone();
                let _ = self.send(slot, &bytes);
            }
        }
        next.map(|next| next.since(now) + Duration::from_millis(1))
    }
}
