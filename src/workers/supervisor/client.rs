//! One connection of the supervisor's admin interface: its socket and its bytes. What they mean is for its
//! [`Session`].

use crate::core::buf::ByteQueue;
use crate::core::end::Reason;
use crate::core::time::{Duration, Instant};
use crate::net::{CloseHow, Peer, Received, Sent, Stream};
use crate::protocol::admin::{Asked, Close, Door, Next, Serves, Session};
use crate::protocol::http::Response;
use crate::transport::proxy::{self, Header};

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
    /// Where it comes from.
    pub(super) peer: Peer,
    input: ByteQueue,
    output: ByteQueue,
    pub(super) session: Session,
    stage: Stage,
    /// Its end of file was read: it sends no more, and may still take what it has asked for.
    eof: bool,
    /// There may be more to be received, and no edge will come for it.
    unread: bool,
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
    pub(super) fn new(stream: S, peer: Peer, now: Instant) -> Self {
        Self {
            stream,
            peer,
            input: ByteQueue::default(),
            output: ByteQueue::default(),
            session: Session::default(),
            stage: Stage::Open,
            eof: false,
            unread: true,
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

    /// Its header has been taken for what it says.
    pub(super) fn take_header(&mut self, bytes: usize) {
        self.input.consume(bytes);
        self.header = None;
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
        let before = self.input.len();
        self.read();
        self.input.len() > before
    }

    /// Whether it has been served to its end. To be asked after [`serve`](Self::serve), which takes what whole requests
    /// there are.
    pub(super) fn is_over(&self) -> bool {
        match self.stage {
            Stage::Open => self.eof && self.is_idle(),
            Stage::Closing { await_eof } => self.output.is_empty() && (!await_eof || self.eof),
            Stage::Broken => true,
        }
    }

    /// Moves what can be moved, and takes its next request, if that is whole and the one before is done with.
    pub(super) fn serve(&mut self, door: Door<'_>, now: Instant) -> Served {
        self.read();
        self.flush(now);
        let rest = if self.unread { Served::More } else { Served::All };
        match self.stage {
            Stage::Closing { .. } => return rest,
            Stage::Open if self.is_idle() => {}
            Stage::Open | Stage::Broken => return Served::All,
        }
        let (mut input, mut out) = (self.input.as_slice(), Vec::new());
        let next = self.session.next(&mut input, door, Serves::Several, &mut out);
        let used = self.input.len() - input.len();
        self.input.consume(used);
        self.put(&out);
        let served = match next {
            Next::Wait => return rest,
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
        self.output.push(bytes);
        if let Some(Close { await_eof, .. }) = self.session.close(self.input.len()) {
            self.stage = Stage::Closing { await_eof };
            // What follows the last request is nobody's.
            self.input.reset(0);
        }
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
            match self.stream.recv(&mut buffer) {
                Received::Bytes(_) if matches!(self.stage, Stage::Closing { .. }) => {}
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
        self.unread = true;
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

    pub(super) fn reset(self) {
        self.stream.close(CloseHow::Reset);
    }

    pub(super) fn close(mut self) {
        // Unread input would turn the close into a reset, and take the answer along.
        self.read();
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
