//! A row set up: the network, a server with a listener for each means, or a gateway to it that has them, a client for each, and what happens to them.

use super::case::Case;
use super::method::{self, APPLICATION, BACKEND, Method, listener, listener_name};
use super::network::{Network, SERVER};
use super::observe::{Sight, Tables};
use super::path::{Path, Via};
use super::remote_client::{PATIENCE, RemoteClient};
use super::server::Server;
use super::settings::Settings;
use crate::core::escape::escape;
use crate::core::time::{Duration, Instant};
use crate::net::Fatal;
use crate::sys::process::monotonic;
use std::net::SocketAddr;

const BEAT: &str = "BEAT\\r\\n";
/// What a connection and its heartbeat channel know each other by.
const TOKEN: &str = "t0ken";
/// The helper's connections: one that watches presence, one that commands, and one that takes over.
const WATCHER: u32 = 0;
const COMMANDER: u32 = 1;
const SUCCESSOR: u32 = 2;
/// Slots of heartbeat channels, and of connections after a reboot, are so far from those of the data connections.
const CHANNELS: u32 = 100;
const REBORN: u32 = 200;
/// Slots of those who are in the way of others, in the helper.
const BLOCKERS: u32 = 300;

/// More than the kernel delays an acknowledgement (`TCP_DELACK_MIN`, 40 ms).
const BETWEEN_BEATS: Duration = Duration::from_millis(150);

/// How much earlier than it was a peer may be said to have been heard: the kernel counts in jiffies, of 10 ms at the
/// longest (`CONFIG_HZ`), and a server in turns of its loop.
const COARSE: Duration = Duration::from_millis(10);

/// When somebody sends after an outage: the network has learned by then who is where.
const MESSAGE_AFTER: Duration = Duration::from_millis(300);

/// Bytes of a message that shuts a small window, together with one more of them.
const FLOOD_BYTES: usize = 60_000;

/// One connection that is watched by one means.
#[derive(Clone, Debug)]
pub struct Seat {
    /// By which.
    pub method: Method,
    /// The name of its listener.
    pub listener: String,
    /// The server's end.
    pub server: SocketAddr,
    /// The client's end.
    pub client: SocketAddr,
    slot: u32,
}

impl Seat {
    fn identity(&self) -> String {
        format!("lab-{}", self.listener)
    }
}

/// A row that has been set up.
#[derive(Debug)]
pub struct Testbed {
    /// Its connections.
    pub seats: Vec<Seat>,
    /// The server, or the gateway in front of it.
    pub server: Server,
    /// The server behind the gateway.
    backend: Option<Server>,
    case: Case,
    path: Path,
    settings: Settings,
    network: Network,
    client: RemoteClient,
    helper: RemoteClient,
    /// The server behind the gateway that names its clients.
    application: Option<RemoteClient>,
    tables: Tables,
    /// Since when the connections may be quiet.
    quiet_since: Instant,
}

impl Testbed {
    /// Sets a row up.
    ///
    /// # Errors
    /// When something does not work that has nothing to do with what is tried.
    pub fn set(case: Case, path: Path, methods: &[Method], settings: &Settings) -> Result<Self, Fatal> {
        let network = Network::new()?;
        let mut listeners: Vec<String> =
            methods.iter().map(|method| method.listener(path, SERVER, settings, case)).collect();
        let anywhere = format!("{SERVER}:0");
        let channels = method::channels(path.transport, SERVER, settings);
        let helpers = |address: &str| listener("resp", "helper", address, settings, &[]);
        let backend = match path.via {
            Via::Direct => {
                listeners.extend([channels, helpers(&anywhere)]);
                None
            }
            Via::Gateway => {
                listeners.push(listener("resp", "names", "127.0.0.1:0", settings, &[]));
                Some(Server::start(&network.server, &[channels, helpers(BACKEND)], settings)?)
            }
        };
        let server = Server::start(&network.server, &listeners, settings)?;
        let client = RemoteClient::start(&network.client)?;
        let mut helper = RemoteClient::start(&network.server)?;
        let tables = Tables::open(&network.server, &network.client)?;
        let address = |name: &str| {
            let home = backend.as_ref().filter(|_| ["helper", "channels"].contains(&name));
            home.unwrap_or(&server)
                .address(name)
                .ok_or_else(|| Fatal { what: format!("find listener {name}"), why: "it is not told".into() })
        };
        let application = if methods.iter().any(|method| path.names_clients(case, *method)) {
            let mut application = RemoteClient::start(&network.server)?;
            application.order(&format!("serve {APPLICATION} {}", address("names")?));
            application.wait("serve", |line| (line == "serving").then_some(()))?;
            Some(application)
        } else {
            None
        };
        let watched = address("helper")?;
        for slot in [WATCHER, COMMANDER] {
            helper.order(&format!("open {slot} {watched} 0"));
            helper.opened(slot)?;
        }
        helper.order(&format!("tell {WATCHER}"));
        helper.order(&format!("ask {WATCHER} {}", escape(b"PSUBSCRIBE $presence:*\r\n")));
        helper.answered(WATCHER)?;
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut seats = Vec::new();
        for (slot, &method) in (0..).zip(methods) {
            let listener = listener_name(method.name());
            let server = address(&listener)?;
            seats.push(Seat { method, listener, server, client: nowhere, slot });
        }
        let channels = address("channels")?;
        let mut stage = Self {
            seats,
            server,
            backend,
            case,
            path,
            settings: settings.clone(),
            network,
            client,
            helper,
            application,
            tables,
            quiet_since: monotonic(),
        };
        stage.connect(channels)?;
        stage.prepare()?;
        Ok(stage)
    }

    /// How quiet the connections may have been before `deed`, by whatever counts.
    pub fn quiet(&self, deed: Instant) -> Duration {
        deed.since(self.quiet_since) + COARSE
    }

    /// What a server said when it panicked.
    pub fn panic(&self) -> Option<String> {
        self.server.panic().or_else(|| self.backend.as_ref()?.panic())
    }

    /// Both tables, now.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn look(&mut self) -> Result<Sight, Fatal> {
        self.tables.look()
    }

    /// The presence of a seat's identity, in the order in which it was told.
    pub fn presence(&self, seat: &Seat) -> Vec<String> {
        let text = crate::core::escape::unescape(&self.helper.heard(WATCHER)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.split("\r\n").collect();
        let channel = format!("$presence:{}", seat.identity());
        // The channel, the length of the event, the event.
        let events = lines.windows(3).filter(|window| window[0] == channel);
        events.map(|window| window[2].split(' ').next().unwrap_or_default().to_owned()).collect()
    }

    fn connect(&mut self, channels: SocketAddr) -> Result<(), Fatal> {
        let queued = self.case == Case::QueueReset;
        if queued {
            for seat in &self.seats {
                let slot = BLOCKERS + seat.slot;
                self.helper.order(&open(slot, seat.server, 0, self.path));
                self.helper.order(&format!("ask {slot} PING\\r\\n"));
            }
            for seat in &self.seats {
                self.helper.answered(BLOCKERS + seat.slot)?;
            }
        }
        let buffer = if self.case.small_window() { 4096 } else { 0 };
        for seat in &self.seats {
            self.client.order(&open(seat.slot, seat.server, buffer, self.path));
        }
        for seat in &mut self.seats {
            seat.client = self.client.opened(seat.slot)?;
        }
        if queued {
            return Ok(());
        }
        self.quiet_since = monotonic();
        for seat in &self.seats {
            let pinged = if seat.method == Method::Ping { " SERVERPING" } else { "" };
            let agreed =
                if seat.method.has_channel(self.path) { format!(" CHANNEL {TOKEN}") } else { String::new() };
            let ident = format!("IDENT {}{pinged}{agreed}\r\n", seat.identity());
            self.client.order(&format!("ask {} {}", seat.slot, escape(ident.as_bytes())));
        }
        for seat in &self.seats {
            self.client.answered(seat.slot)?;
        }
        for seat in self.seats.iter().filter(|seat| seat.method.has_channel(self.path)) {
            let slot = CHANNELS + seat.slot;
            self.client.order(&open(slot, channels, 0, self.path));
            let command = format!("BEATFOR {} {TOKEN}\r\n", seat.identity());
            self.client.order(&format!("ask {slot} {}", escape(command.as_bytes())));
            self.client.answered(slot)?;
        }
        self.beat();
        Ok(())
    }

    /// Everybody who has promised to beats, or answers.
    fn beat(&mut self) {
        let every = self.settings.beat.as_millis();
        for seat in &self.seats {
            if seat.method.beats(self.path) {
                self.client.order(&format!("beat {} {every} {BEAT}", seat.slot));
            }
            if seat.method == Method::Ping {
                self.client.order(&format!("send {} {BEAT}", seat.slot));
                self.client.order(&format!("pong {} {BEAT}", seat.slot));
            }
            if seat.method.has_channel(self.path) {
                self.client.order(&format!("beat {} {every} {BEAT}", CHANNELS + seat.slot));
            }
        }
    }

    /// What has to be so before the fault.
    fn prepare(&mut self) -> Result<(), Fatal> {
        let slots = self.data_slots();
        if self.case == Case::KillUnread {
            self.client.deafen(&slots)?;
            self.send_to_all(1);
            self.until("unread data", |sight, seat| {
                sight.at_client(seat.server, seat.client).is_some_and(|row| row.unread > 0)
            })?;
        }
        if self.case == Case::KillPaused {
            self.client.deafen(&slots)?;
            self.send_to_all(FLOOD_BYTES);
            self.send_to_all(FLOOD_BYTES);
            let full = |sight: &Sight, seat: &Seat| {
                let unread = sight.at_client(seat.server, seat.client).is_some_and(|row| row.unread > 0);
                let waits =
                    sight.at_server(seat.server, seat.client).is_some_and(|row| row.unacknowledged > 0);
                unread && waits
            };
            self.until("a shut window", full)?;
            // The server pauses in the turn in which the kernel takes no more; the second message was the last.
            rest(self.settings.beat);
            self.until("a shut window still", full)?;
        }
        Ok(())
    }

    /// Somebody else sends to every identity.
    fn send_to_all(&mut self, bytes: usize) {
        let message = "x".repeat(bytes);
        for seat in &self.seats {
            let named = self.path.names_clients(self.case, seat.method);
            if let Some(application) = self.application.as_mut().filter(|_| named) {
                application.order(&format!("utter {} {message}", seat.identity()));
            } else {
                let send = format!("SEND {} {message}\r\n", seat.identity());
                self.helper.order(&format!("send {COMMANDER} {}", escape(send.as_bytes())));
            }
        }
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Sight, &Seat) -> bool) -> Result<(), Fatal> {
        let deadline = monotonic() + PATIENCE;
        loop {
            let sight = self.tables.look()?;
            match self.seats.iter().find(|seat| !is_so(&sight, seat)) {
                None => return Ok(()),
                Some(seat) if monotonic() > deadline => {
                    return Err(Fatal {
                        what: format!("wait for {what}"),
                        why: format!("not so of {seat:?}"),
                    });
                }
                Some(_) => rest(Duration::from_millis(10)),
            }
        }
    }

    /// The slots of all connections, those of channels last.
    fn slots(&self) -> String {
        listed(self.seats.iter().map(|seat| seat.slot).chain(self.channels()))
    }

    fn data_slots(&self) -> String {
        listed(self.seats.iter().map(|seat| seat.slot))
    }

    fn channels(&self) -> impl Iterator<Item = u32> {
        self.seats.iter().filter(|seat| seat.method.has_channel(self.path)).map(|seat| CHANNELS + seat.slot)
    }

    /// Does it. When that was.
    ///
    /// # Errors
    /// When it cannot be done.
    pub fn fault(&mut self) -> Result<Instant, Fatal> {
        // Between two beats, and with the last one acknowledged: what follows does not depend on luck.
        rest(self.settings.beat.min(BETWEEN_BEATS * 2) / 2);
        let slots = self.slots();
        let now = monotonic();
        match self.case {
            Case::Goodbye => return self.client_does(&format!("leave {slots} QUIT\\r\\n")),
            Case::Close => return self.client_does(&format!("close {slots}")),
            Case::HalfClose => return self.client_does(&format!("finish {slots} PING\\r\\n")),
            Case::Reset => return self.client_does(&format!("reset {slots}")),
            Case::Vanish => return self.client_does(&format!("vanish {slots}")),
            Case::LateBeat | Case::TooLateBeat => return self.client_does("quiet"),
            Case::Kill | Case::KillUnread | Case::KillPaused => return Ok(self.client.kill()),
            Case::Freeze => return Ok(self.client.freeze()),
            Case::FreezeFlight => {
                let frozen = self.client.freeze();
                self.send_to_all(FLOOD_BYTES);
                self.send_to_all(FLOOD_BYTES);
                return Ok(frozen);
            }
            Case::Cable
            | Case::CableFlight
            | Case::Outage
            | Case::DropFromClient
            | Case::DropToClient
            | Case::DropBoth
            | Case::NatReset => {
                self.network.befall(self.case)?;
                if self.case == Case::CableFlight {
                    self.send_to_all(1);
                }
            }
            Case::Reboot => {
                let vanished = self.client_does(&format!("vanish {slots}"))?;
                for seat in &self.seats {
                    let slot = REBORN + seat.slot;
                    self.client.order(&open(slot, seat.server, 0, self.path));
                    let ident = format!("IDENT {}\r\n", seat.identity());
                    self.client.order(&format!("ask {slot} {}", escape(ident.as_bytes())));
                }
                return Ok(vanished);
            }
            Case::QueueReset => {
                self.client_does(&format!("reset {slots}"))?;
                let blockers = listed(self.seats.iter().map(|seat| BLOCKERS + seat.slot));
                // From here on there is room for it.
                self.helper.order(&format!("close {blockers}"));
                return self.helper.done();
            }
            Case::ChannelDeath => {
                let channels = listed(self.channels());
                return self.client_does(&format!("close {channels}"));
            }
        }
        Ok(now)
    }

    fn client_does(&mut self, order: &str) -> Result<Instant, Fatal> {
        self.client.order(order);
        self.client.done()
    }

    /// What follows the fault of itself: how long after it, and what.
    pub fn sequels(&self) -> Vec<(Duration, Sequel)> {
        let mut sequels = Vec::new();
        if self.seats.iter().any(|seat| seat.method == Method::TakeOver) && self.case != Case::Reboot {
            sequels.push((self.settings.comeback, Sequel::Comeback));
        }
        if let Some(outage) = self.settings.outage {
            sequels.extend([(outage, Sequel::CableIsBack), (outage + MESSAGE_AFTER, Sequel::Message)]);
        }
        if self.case == Case::LateBeat {
            sequels.push((self.settings.late(), Sequel::Beat));
        }
        if self.case == Case::TooLateBeat {
            sequels.push((self.settings.too_late(), Sequel::Beat));
        }
        sequels
    }

    /// Lets it follow.
    ///
    /// # Errors
    /// When the network cannot be changed.
    pub fn follow(&mut self, sequel: Sequel) -> Result<(), Fatal> {
        match sequel {
            Sequel::Beat => self.beat(),
            Sequel::CableIsBack => self.network.plug()?,
            Sequel::Message => {
                for seat in &self.seats {
                    self.client.order(&format!("tell {}", seat.slot));
                }
                self.send_to_all(1);
            }
            Sequel::Comeback => {
                let seats = self.seats.iter().filter(|seat| seat.method == Method::TakeOver);
                for seat in seats {
                    let ident = format!("IDENT {}\r\n", seat.identity());
                    self.helper.order(&open(SUCCESSOR, seat.server, 0, self.path));
                    self.helper.order(&format!("ask {SUCCESSOR} {}", escape(ident.as_bytes())));
                }
            }
        }
        Ok(())
    }

    /// Whether nothing has come to a client since the outage is over.
    pub fn is_cut_off(&self, seat: &Seat) -> bool {
        self.settings.outage.is_some() && self.client.heard(seat.slot).is_empty()
    }
}

/// Slots as an order has them.
fn listed(slots: impl Iterator<Item = u32>) -> String {
    slots.map(|slot| slot.to_string()).collect::<Vec<_>>().join(",")
}

/// The order to connect to where this row is played.
fn open(slot: u32, server: SocketAddr, buffer: u32, path: Path) -> String {
    format!("open {slot} {server} {buffer} {}", path.transport.name())
}

/// What follows a fault of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sequel {
    /// The device comes back over another path.
    Comeback,
    /// The client beats again.
    Beat,
    /// The cable is back.
    CableIsBack,
    /// Somebody else sends to all who are connected.
    Message,
}

/// Lets time pass.
#[expect(clippy::disallowed_methods, reason = "the lab waits for what happens elsewhere, and serves nobody")]
pub fn rest(time: Duration) {
    std::thread::sleep(time);
}
