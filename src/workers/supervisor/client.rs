//! One connection of the supervisor's admin interface: its socket and its bytes, through a layer if there is one
//! ([`transport`]). What they mean is for its [`Session`].

use crate::core::buf::ByteQueue;
use crate::core::end::Reason;
use crate::core::time::{Duration, Instant};
use crate::net::{CloseHow, Peer, Sent, SocketError, Stream};
use crate::protocol::admin::{Asked, Close, Door, Next, Serves, Session};
use crate::protocol::http::Response;
use crate::transport::proxy::{self, Header};
use crate::transport::{self, Layer, Phase, Received};

/// Received and not used of one connection, in bytes.
const INPUT_MAX: usize = 128 * 1024;
/// Output of one connection, in bytes, over which no more of its answer is produced.
const OUTPUT_HIGH: usize = 64 * 1024;
/// Received at once, and how often before the others have their turn.
const READ_BYTES: usize = 4096;
const READS_PER_TURN: usize = 64;

/// One connection.
pub(super) struct Client<S> {
    stream: S,
    layer: Option<Box<dyn Layer>>,
    /// What became of the layer that nobody has taken note of.
    news: Option<LayerNews>,
    /// Where it comes from.
    pub(super) peer: Peer,
    input: ByteQueue,
    output: ByteQueue,
    /// The session has something among the output, and not only the layer.
    has_answer: bool,
    pub(super) session: Session,
    stage: Stage,
    /// Its end of file was read: it sends no more, and may still take what it has asked for.
    eof: bool,
    /// There may be more to be received, and no edge will come for it.
    unread: bool,
    /// Bytes of the wire that were received.
    received: u64,
    accepted: Instant,
    /// When the header of a proxy has to be there; `None`: it is, or none is expected.
    header: Option<Instant>,
    /// When it was accepted, a request was last whole, or output moved: a byte now and then is no reason to stay.
    moved: Instant,
}

/// Where a connection is.
enum Stage {
    /// Its requests are taken and answered.
    Open,
    /// It is closed once its output is gone, and where that is to be awaited its end of file was read.
    Closing { await_eof: bool },
    /// It does not work any more.
    Broken,
}

/// What became of the layer of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LayerNews {
    /// Its opening exchange is over, and was shortened by an earlier one or not.
    Opened { is_resumed: bool },
    /// The peer broke its rules, which is called so.
    Broken(Reason),
}

/// What came of serving a connection.
pub(super) enum Served {
    /// This is to be answered.
    Asked(Asked),
    /// It has asked something, and there is its answer.
    Answered,
    /// It may have more, and no edge will come for it.
    More,
    /// There is nothing more for now.
    All,
}

impl<S: Stream> Client<S> {
    pub(super) fn new(stream: S, layer: Option<Box<dyn Layer>>, peer: Peer, now: Instant) -> Self {
        Self {
            stream,
            layer,
            news: None,
            peer,
            input: ByteQueue::default(),
            output: ByteQueue::default(),
            has_answer: false,
            session: Session::default(),
            stage: Stage::Open,
            eof: false,
            unread: true,
            received: 0,
            accepted: now,
            header: None,
            moved: now,
        }
    }

    /// The same, which begins with the header of a proxy that has to be there by then.
    pub(super) fn awaiting_header(self, until: Instant) -> Self {
        Self { header: Some(until), ..self }
    }

    /// Whether its header is still to come.
    pub(super) const fn expects_header(&self) -> bool {
        self.header.is_some()
    }

    pub(super) const fn accepted(&self) -> Instant {
        self.accepted
    }

    /// Its header; `None`: it is not whole yet.
    ///
    /// # Errors
    /// Why it is not let in.
    pub(super) fn read_header(&mut self) -> Result<Option<Header>, Reason> {
        self.read();
        proxy::read(self.input.as_slice()).map_err(|error| error.reason)
    }

    /// Its header has been taken for what it says. What came behind it is of its layer, if it has one.
    pub(super) fn take_header(&mut self, bytes: usize) {
        self.input.consume(bytes);
        self.header = None;
        let Some(layer) = self.layer.as_deref_mut() else { return };
        let mut wire = self.input.as_slice().to_vec();
        self.input.reset(0);
        let behind = Received::Bytes { count: wire.len(), wire: wire.len(), short: false };
        let before = layer.phase();
        let (received, broken) = transport::pass_through(layer, behind, &mut wire, &mut self.output);
        self.note_layer(before, broken.map(|error| error.reason));
        if let Received::Bytes { count, .. } = received {
            self.input.push(&wire[..count]);
        }
        self.unread = true;
    }

    /// What became of its layer since this was last asked.
    pub(super) const fn take_news(&mut self) -> Option<LayerNews> {
        self.news.take()
    }

    /// When it is as old as it may become: what it has asked for it is given first.
    pub(super) fn ages(&self, max: Duration) -> Instant {
        if self.session.is_answering() { Instant::NEVER } else { self.accepted + max }
    }

    /// When it is closed if nothing moves until then.
    pub(super) fn deadline(&self, opening: Duration, idle: Duration, linger: Duration) -> Instant {
        if let Some(until) = self.header {
            return until;
        }
        let timeout = match self.stage {
            Stage::Open if !self.session.has_begun() => opening,
            // The workers have a deadline of their own.
            Stage::Open if self.session.is_answering() && self.output.is_empty() => return Instant::NEVER,
            Stage::Closing { await_eof: true } if self.output.is_empty() => linger,
            Stage::Open | Stage::Closing { .. } | Stage::Broken => idle,
        };
        self.moved + timeout
    }

    /// Whether nothing that it has asked for is outstanding.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Open) && !self.session.is_answering() && self.output.is_empty()
    }

    /// Since when it may be idle.
    pub(super) const fn moved(&self) -> Instant {
        self.moved
    }

    /// Whether it has sent something since it was last served.
    pub(super) fn has_asked(&mut self) -> bool {
        let before = self.received;
        self.read();
        self.received > before
    }

    /// Whether it has been served to its end. To be asked after [`serve`](Self::serve), which takes what whole requests
    /// there are.
    pub(super) fn is_over(&self) -> bool {
        match self.stage {
            Stage::Open => self.eof && (self.is_idle() || self.session.is_endless()),
            Stage::Closing { await_eof } => self.output.is_empty() && (!await_eof || self.eof),
            Stage::Broken => true,
        }
    }

    /// Moves what can be moved, and takes its next request, if that is whole and the one before is done with.
    pub(super) fn serve(&mut self, door: Door<'_>, now: Instant) -> Served {
        self.read();
        if matches!(self.news, Some(LayerNews::Broken(_))) {
            self.moved = now;
        }
        self.flush(now);
        let rest = if self.unread { Served::More } else { Served::All };
        match self.stage {
            Stage::Open if self.is_idle() => {}
            Stage::Closing { .. } | Stage::Open => return rest,
            Stage::Broken => return Served::All,
        }
        let (mut input, mut out) = (self.input.as_slice(), Vec::new());
        let next = self.session.next(&mut input, door, Serves::Several, &mut out);
        let used = self.input.len() - input.len();
        self.input.consume(used);
        self.put(&out);
        let served = match next {
            Next::Wait => {
                // No request follows: who has said so waits for the same from us before it closes.
                let has_ended = |layer: &dyn Layer| layer.phase() == Phase::Ended && layer.held() == 0;
                if self.is_idle() && !self.unread && self.layer.as_deref().is_some_and(has_ended) {
                    self.end(true);
                    self.moved = now;
                    self.flush(now);
                }
                return rest;
            }
            Next::Asked(asked) => {
                // It may wait for the permission to send a body, and the workers take their time.
                self.flush(now);
                Served::Asked(asked)
            }
            Next::Answered | Next::Rejected(_) => Served::Answered,
        };
        self.moved = now;
        served
    }

    /// Answers what it has asked.
    pub(super) fn answer(&mut self, response: &Response<'_>) {
        let mut out = Vec::new();
        self.session.answer(response, &mut out);
        self.put(&out);
    }

    /// Goes on with the answer to what it has asked; `done`: the piece is the last.
    pub(super) fn piece(&mut self, piece: &str, done: bool) {
        let mut out = Vec::new();
        self.session.piece(piece, done, &mut out);
        self.put(&out);
    }

    fn put(&mut self, bytes: &[u8]) {
        if matches!(self.stage, Stage::Broken) {
            return;
        }
        match &mut self.layer {
            None => self.output.push(bytes),
            Some(layer) if !bytes.is_empty() && layer.can_send() => layer.send(bytes, &mut self.output),
            Some(_) => {}
        }
        self.has_answer |= !bytes.is_empty();
        if let Some(Close { await_eof, .. }) = self.session.close(self.input.len()) {
            // Who is told by its layer that nothing follows need not be shown it, and closes first.
            self.end(await_eof || self.layer.is_some());
        }
    }

    /// Nothing more is said to it, and what it says is nobody's.
    fn end(&mut self, await_eof: bool) {
        if let Some(layer) = &mut self.layer {
            layer.finish(&mut self.output);
        }
        self.stage = Stage::Closing { await_eof };
        self.input.reset(0);
    }

    /// Notes what became of its layer, which was in that phase before.
    fn note_layer(&mut self, before: Phase, broken: Option<Reason>) {
        let Some(layer) = &self.layer else { return };
        if let Some(reason) = broken {
            self.news = Some(LayerNews::Broken(reason));
            // What the layer has to say of it goes out first.
            self.end(true);
        } else if before == Phase::Opening && layer.phase() != before {
            self.news = Some(LayerNews::Opened { is_resumed: layer.is_resumed() });
        }
    }

    fn recv(&mut self, buffer: &mut [u8]) -> Received {
        let Some(layer) = self.layer.as_deref_mut().filter(|_| self.header.is_none()) else {
            return transport::recv(&mut self.stream, buffer);
        };
        let before = layer.phase();
        let (received, broken) = transport::recv_through(layer, &mut self.stream, buffer, &mut self.output);
        self.note_layer(before, broken.map(|error| error.reason));
        received
    }

    /// Output that waits for it, in bytes.
    pub(super) fn pending_output(&self) -> usize {
        self.output.len()
    }

    /// Whether it takes more of its answer now.
    pub(super) fn has_room(&self) -> bool {
        self.output.len() < OUTPUT_HIGH
    }

    /// Takes what it has sent, within a bound; drops it where nothing is to be understood any more.
    fn read(&mut self) {
        let mut buffer = [0; READ_BYTES];
        self.unread = false;
        for _ in 0..READS_PER_TURN {
            if self.eof || self.input.len() >= INPUT_MAX {
                return;
            }
            match self.recv(&mut buffer) {
                Received::Bytes { count, wire, .. } => {
                    self.received += wire as u64;
                    if !matches!(self.stage, Stage::Closing { .. }) && !self.session.is_endless() {
                        self.input.push(&buffer[..count]);
                    }
                }
                Received::WouldBlock => return,
                Received::Interrupted => {}
                Received::Eof => self.eof = true,
                // Socket memory comes back, and no edge tells of that.
                Received::Failed(SocketError::Memory) => break,
                Received::Failed(_) => {
                    self.eof = true;
                    self.output.reset(0);
                    self.stage = Stage::Broken;
                }
            }
        }
        self.unread = true;
    }

    fn flush(&mut self, now: Instant) {
        while !self.output.is_empty() {
            match self.stream.send(self.output.as_slice()) {
                Sent::Bytes(length) => {
                    // What the layer says of its own is no reason to stay longer.
                    if self.has_answer {
                        self.moved = now;
                    }
                    self.output.consume(length);
                }
                Sent::WouldBlock => return,
                // No edge tells that there is some again.
                Sent::Failed(SocketError::Memory) => {
                    self.unread = true;
                    return;
                }
                Sent::Interrupted => {}
                Sent::Failed(_) => {
                    self.output.reset(0);
                    self.stage = Stage::Broken;
                }
            }
        }
        self.has_answer = false;
    }

    pub(super) fn reset(self) {
        self.stream.close(CloseHow::Reset);
    }

    pub(super) fn close(mut self, now: Instant) {
        // Unread input would turn the close into a reset, and take the answer along.
        self.read();
        if let Some(layer) = self.layer.as_deref_mut().filter(|_| self.output.is_empty()) {
            layer.finish(&mut self.output);
            self.flush(now);
        }
        let how = if !self.output.is_empty() {
            // What it does not take for so long it will not take.
            CloseHow::Reset
        } else if self.eof {
            CloseHow::Plain
        } else {
            CloseHow::Linger2
        };
        self.stream.close(how);
    }
}
