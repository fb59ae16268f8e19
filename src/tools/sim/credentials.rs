//! Who speaks which TLS in a run, and what clients show: an older version, a certificate of an authority that a listener trusts, or
//! one of nobody. What is refused follows from that, and from nothing that the server says.

use super::rng::Rng;
use crate::tls::{Client, ClientAuth, ClientSpec, MaxVersion, MinVersion, Server, ServerSpec, TicketKeys};
use std::path::Path;

/// What a client shows if it is asked for a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shown {
    /// None.
    Nothing,
    /// One of the authority that listeners trust.
    Known,
    /// One that its owner has signed.
    Unknown,
}

/// How a client speaks TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Manner {
    pub(super) newest: MaxVersion,
    pub(super) shown: Shown,
}

/// How a listener does.
#[derive(Debug)]
struct Listener {
    oldest: MinVersion,
    /// Whether it asks for certificates, and whether it requires one.
    asks: Option<bool>,
    server: Server,
}

/// What clients need to speak TLS, and what listeners have.
#[derive(Debug)]
pub(super) struct Secure {
    /// Each remembers sessions from one connection to the next.
    clients: Vec<(Manner, Client)>,
    /// `None`: it speaks none.
    listeners: Vec<Option<Listener>>,
    tickets: TicketKeys,
}

impl Secure {
    /// For clients; no listener yet.
    pub(super) fn new() -> Self {
        let mut clients = Vec::new();
        for newest in [MaxVersion::V12, MaxVersion::V13] {
            for shown in [Shown::Nothing, Shown::Known, Shown::Unknown] {
                clients.push((Manner { newest, shown }, client(Manner { newest, shown })));
            }
        }
        Self { clients, listeners: Vec::new(), tickets: TicketKeys::draw() }
    }

    /// The next listener speaks no TLS.
    pub(super) fn add_plain(&mut self) {
        self.listeners.push(None);
    }

    /// How the next listener speaks it.
    pub(super) fn draw_listener(&mut self, rng: &mut Rng) -> Server {
        let oldest = if rng.chance(300_000) { MinVersion::V13 } else { MinVersion::V12 };
        let asks = rng.chance(400_000).then(|| rng.chance(500_000));
        let server = server(oldest, asks);
        self.listeners.push(Some(Listener { oldest, asks, server: server.clone() }));
        server
    }

    /// Whether a listener does.
    pub(super) fn speaks(&self, listener: usize) -> bool {
        self.listeners[listener].is_some()
    }

    /// How the next client of a listener does. Most are as it wants them.
    pub(super) fn draw_client(&self, listener: usize, rng: &mut Rng) -> Manner {
        let newest = if rng.chance(300_000) { MaxVersion::V12 } else { MaxVersion::V13 };
        let strange = if rng.chance(500_000) { Shown::Nothing } else { Shown::Unknown };
        let asks = self.listeners[listener].as_ref().and_then(|listener| listener.asks);
        let shown = match asks {
            Some(_) if rng.chance(700_000) => Shown::Known,
            Some(_) | None => strange,
        };
        Manner { newest, shown }
    }

    pub(super) fn client(&self, manner: Manner) -> &Client {
        let found = self.clients.iter().find(|(one, _)| *one == manner);
        &found.expect("there is one for each manner").1
    }

    /// Whether its first message is refused, since there is no version in common.
    pub(super) fn refuses_version(&self, listener: usize, manner: Manner) -> bool {
        let oldest = self.listeners[listener].as_ref().map(|listener| listener.oldest);
        (oldest, manner.newest) == (Some(MinVersion::V13), MaxVersion::V12)
    }

    /// Whether it is refused for what it shows.
    pub(super) fn refuses_certificate(&self, listener: usize, manner: Manner) -> bool {
        match self.listeners[listener].as_ref().and_then(|listener| listener.asks) {
            None => false,
            Some(is_required) => match manner.shown {
                Shown::Nothing => is_required,
                Shown::Known => false,
                Shown::Unknown => true,
            },
        }
    }

    /// New keys for tickets, as every six hours. What the last ones have sealed is still opened, once.
    pub(super) fn rotate_tickets(&mut self) {
        self.tickets.rotate();
        for listener in self.listeners.iter().flatten() {
            listener.server.use_ticket_keys(&self.tickets);
        }
    }
}

fn read(path: &Path, _: usize) -> Result<String, String> {
    match path.to_str() {
        Some("server") => Ok(include_str!("../tls.pem").to_owned()),
        Some("authority") => Ok(include_str!("clients/authority.pem").to_owned()),
        Some("known") => Ok(include_str!("clients/device.pem").to_owned()),
        Some("unknown") => Ok(include_str!("clients/stranger.pem").to_owned()),
        _ => Err("there is none".to_owned()),
    }
}

fn server(min_version: MinVersion, asks: Option<bool>) -> Server {
    let client = asks.map_or(ClientAuth::Off, |is_required| ClientAuth::Verified {
        optional: !is_required,
        ca: "authority".to_owned(),
        crl: String::new(),
        identity: None,
    });
    let spec =
        ServerSpec { certificate: "server".to_owned(), key: None, min_version, client, alpn: String::new() };
    Server::load(&spec, &read).expect("the certificates are sound")
}

fn client(Manner { newest, shown }: Manner) -> Client {
    let certificate = match shown {
        Shown::Nothing => "",
        Shown::Known => "known",
        Shown::Unknown => "unknown",
    };
    let spec = ClientSpec {
        ca: None,
        name: "sim".try_into().expect("a name of a host"),
        certificate: certificate.to_owned(),
        key: String::new(),
        max_version: newest,
        resumes: true,
    };
    Client::load(&spec, &read).expect("the certificates are sound")
}
