//! The admin interface's connections: requests in, responses out, one at a time for each. Whoever asks waits for the
//! workers without holding up anybody else; what the answer is stands in `questions`.

use crate::buf::ByteQueue;
use crate::config::settings::ListenerSettings;
use crate::net::{
    Accepted, Address, CloseHow, Fatal, Interest, Kernel as _, Listener as _, Received, Sent, Stream as _,
    Token,
};
use crate::proto::http::{Decoder, Request, Response};
use crate::sys::{Listener, Os, Stream};
use crate::time::{Duration, Instant};
use indexmap::IndexMap;

/// Connections at once unless the settings say another number: each may have an answer of some megabytes.
const CLIENTS_MAX: u32 = 64;
/// Received and not used of one connection, in bytes.
const INPUT_MAX: usize = 128 * 1024;
/// How long nothing may move on a connection unless the settings say another time. It is never off: nothing else ends a
/// client that does not take its answer.
const IDLE: Duration = Duration::from_secs(60);
/// How long accepting rests when something ran out.
const RETRY: Duration = Duration::from_secs(1);

/// The name of a connection of the admin interface.
pub(super) type ClientId = u32;

/// The tokens of connections are above this.
pub(super) const CLIENTS: u64 = 2 << 32;

/// The connections.
pub(super) struct Desk {
    listener: Option<Listener>,
    settings: Option<ListenerSettings>,
    clients: IndexMap<ClientId, Client>,
    last: ClientId,
    /// Somebody may wait in the accept queue.
    ready: bool,
    /// When to try again to accept.
    retry: Instant,
}

/// One connection.
struct Client {
    stream: Stream,
    input: ByteQueue,
    output: ByteQueue,
    decoder: Decoder,
    stage: Stage,
    /// Its end of file was read: it sends no more, and may still take what it has asked for.
    eof: bool,
    /// When it was accepted, a request was last whole, or output moved: a byte now and then is no reason to stay.
    moved: Instant,
}

/// Where a connection is, from request to request.
enum Stage {
    /// Its first request is awaited.
    Opening,
    /// It takes its answer; once it has all of it, its next request is awaited.
    Reading,
    /// This request is being answered: what comes after it waits.
    Asking(Box<Request>),
    /// It is closed once its output is gone.
    Closing,
    /// It does not work any more.
    Broken,
}

impl Desk {
    /// Opens the admin interface, if there is one.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn open(os: &mut Os, settings: Option<ListenerSettings>, token: Token) -> Result<Self, Fatal> {
        let listener =
            settings.as_ref().map(|settings| os.listen(&settings.listen_spec(), token)).transpose()?;
        let (clients, retry) = (IndexMap::new(), Instant::NEVER);
        Ok(Self { listener, settings, clients, last: 0, ready: true, retry })
    }

    /// What it listens on.
    pub(super) fn address(&self) -> Option<(&ListenerSettings, &Address)> {
        self.settings.as_ref().zip(self.listener.as_ref().map(Listener::address))
    }

    /// Takes what may change while it runs.
    pub(super) fn adopt(&mut self, new: Option<&ListenerSettings>) {
        if let (Some(own), Some(new)) = (&mut self.settings, new) {
            own.policy.clone_from(&new.policy);
            own.connections_max = new.connections_max;
        }
    }

    pub(super) fn on_edge(&mut self) {
        self.ready = true;
    }

    /// When it is to be looked at, at the latest.
    pub(super) fn next(&self) -> Instant {
        let earliest = self.clients.values().map(|client| self.deadline(client)).min();
        earliest.unwrap_or(Instant::NEVER).min(self.retry)
    }

    /// When to close a connection on which nothing moves until then.
    fn deadline(&self, client: &Client) -> Instant {
        let bounds = self.settings.as_ref().map(|settings| &settings.policy.bounds);
        let idle = bounds.and_then(|bounds| bounds.idle_timeout).unwrap_or(IDLE);
        let timeout = match client.stage {
            Stage::Opening => bounds.and_then(|bounds| bounds.handshake_timeout).or(Some(idle)),
            // The workers have a deadline of their own.
            Stage::Asking(_) => None,
            Stage::Reading | Stage::Closing | Stage::Broken => Some(idle),
        };
        timeout.map_or(Instant::NEVER, |timeout| client.moved + timeout)
    }

    /// Accepts whom there is room for.
    pub(super) fn accept(&mut self, os: &mut Os, now: Instant) {
        if self.retry <= now {
            (self.ready, self.retry) = (true, Instant::NEVER);
        }
        let max = self.settings.as_ref().and_then(|settings| settings.connections_max).unwrap_or(CLIENTS_MAX);
        while self.ready && self.clients.len() < max as usize {
            let Some(listener) = &mut self.listener else { return };
            match listener.try_accept() {
                Accepted::Stream(stream, _) => {
                    self.last = self.last.wrapping_add(1);
                    let token = Token(CLIENTS | u64::from(self.last));
                    // Where the kernel does not watch it, it is closed again.
                    if os.watch(&stream, token, Interest::ReadWrite).is_ok() {
                        self.clients.insert(self.last, Client::new(stream, now));
                    }
                }
                Accepted::WouldBlock => self.ready = false,
                Accepted::Interrupted | Accepted::Aborted(_) => {}
                Accepted::Exhausted(_) | Accepted::Failed(_) => {
                    (self.ready, self.retry) = (false, now + RETRY);
                }
            }
        }
    }

    /// Moves what can be moved on a connection. Gives its next request, if it has one now.
    pub(super) fn serve(&mut self, id: ClientId, now: Instant) -> Option<Request> {
        let client = self.clients.get_mut(&id)?;
        let request = client.serve(now);
        if client.is_over() {
            self.close(id);
        }
        request
    }

    /// Answers the request of a connection, if it is still there. The caller serves it on.
    pub(super) fn answer(&mut self, id: ClientId, response: &Response<'_>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if let Stage::Asking(request) = std::mem::replace(&mut client.stage, Stage::Reading) {
            let mut bytes = Vec::new();
            response.write(&request, &mut bytes);
            client.output.push(&bytes);
            if !request.keep_alive {
                client.stage = Stage::Closing;
            }
        }
    }

    /// Closes those on which nothing has moved for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        let is_late = |client: &Client| self.deadline(client) <= now;
        let late: Vec<_> =
            self.clients.iter().filter(|(_, client)| is_late(client)).map(|(id, _)| *id).collect();
        for id in late {
            self.close(id);
        }
    }

    fn close(&mut self, id: ClientId) {
        let Some(mut client) = self.clients.swap_remove(&id) else { return };
        // Unread input would turn the close into a reset, and take the answer along.
        client.read();
        let how = if !client.output.is_empty() {
            // What it does not take for so long it will not take.
            CloseHow::Reset
        } else if client.eof {
            CloseHow::Plain
        } else {
            CloseHow::Linger2
        };
        client.stream.close(how);
    }
}

impl Client {
    fn new(stream: Stream, now: Instant) -> Self {
        let (input, output) = (ByteQueue::default(), ByteQueue::default());
        let decoder = Decoder::default();
        Self { stream, input, output, decoder, stage: Stage::Opening, eof: false, moved: now }
    }

    /// Whether it has been served to its end. To be asked after [`serve`](Self::serve), which takes what whole requests
    /// there are.
    fn is_over(&self) -> bool {
        match self.stage {
            Stage::Opening | Stage::Reading => self.eof && self.output.is_empty(),
            Stage::Asking(_) => false,
            Stage::Closing => self.output.is_empty(),
            Stage::Broken => true,
        }
    }

    /// Moves what can be moved. Gives its next request, if that is whole and the one before is done with.
    fn serve(&mut self, now: Instant) -> Option<Request> {
        self.read();
        self.flush(now);
        if !matches!(self.stage, Stage::Opening | Stage::Reading) || !self.output.is_empty() {
            return None;
        }
        let mut input = self.input.as_slice();
        let next = self.decoder.next_request(&mut input);
        let used = self.input.len() - input.len();
        self.input.consume(used);
        match next {
            Ok(Some(request)) => {
                self.moved = now;
                self.stage = Stage::Asking(Box::new(request.clone()));
                Some(request)
            }
            Ok(None) => None,
            Err(rejected) => {
                let mut bytes = Vec::new();
                rejected.write(&mut bytes);
                self.output.push(&bytes);
                self.stage = Stage::Closing;
                self.flush(now);
                None
            }
        }
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        while !self.eof && self.input.len() < INPUT_MAX {
            match self.stream.recv(&mut buffer) {
                Received::Bytes(length) => self.input.push(&buffer[..length]),
                Received::WouldBlock => return,
                Received::Interrupted => {}
                Received::Eof => self.eof = true,
                Received::Failed(_) => {
                    self.eof = true;
                    self.output.reset(0);
                    self.stage = Stage::Broken;
                }
            }
        }
    }

    fn flush(&mut self, now: Instant) {
        while !self.output.is_empty() {
            match self.stream.send(self.output.as_slice()) {
                Sent::Bytes(length) => {
                    self.moved = now;
                    self.output.consume(length);
                }
                Sent::WouldBlock => return,
                Sent::Interrupted => {}
                Sent::Failed(_) => {
                    self.output.reset(0);
                    self.stage = Stage::Broken;
                }
            }
        }
    }
}
