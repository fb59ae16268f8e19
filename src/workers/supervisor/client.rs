//! One connection of the supervisor's admin interface: its bytes, and where it is from request to request.

use crate::core::buf::ByteQueue;
use crate::core::time::{Duration, Instant};
use crate::net::{CloseHow, Peer, Received, Sent, Stream};
use crate::protocol::http::{CONTINUE, Decoder, Framing, Method, Request, Response};

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
    decoder: Decoder,
    stage: Stage,
    /// Its end of file was read: it sends no more, and may still take what it has asked for.
    eof: bool,
    /// There may be more to be received, and no edge will come for it.
    unread: bool,
    /// When it was accepted, a request was last whole, or output moved: a byte now and then is no reason to stay.
    moved: Instant,
    /// It has a place only until it was answered once: all others are taken.
    pub(super) reserve: bool,
}

/// Where a connection is, from request to request.
enum Stage {
    /// Its first request is awaited.
    Opening,
    /// It takes its answer; once it has all of it, its next request is awaited.
    Reading,
    /// This request is being answered: what comes after it waits. The framing is that of an answer that has begun.
    Asking(Box<Request>, Option<Framing>),
    /// It is closed once its output is gone. `told`: it may still be sending, and has to have what it was told before
    /// its socket goes, so its end of file is waited for.
    Closing { told: bool },
    /// It does not work any more.
    Broken,
}

/// What came of serving a connection.
pub(super) enum Served {
    /// This is asked.
    Request(Request),
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
            decoder: Decoder::default(),
            stage: Stage::Opening,
            eof: false,
            unread: true,
            moved: now,
            reserve: false,
        }
    }

    /// When it is closed if nothing moves until then.
    pub(super) fn deadline(&self, opening: Duration, idle: Duration, linger: Duration) -> Instant {
        let timeout = match self.stage {
            Stage::Opening => opening,
            // The workers have a deadline of their own.
            Stage::Asking(..) if self.output.is_empty() => return Instant::NEVER,
            Stage::Closing { told: true } if self.output.is_empty() => linger,
            Stage::Asking(..) | Stage::Reading | Stage::Closing { .. } | Stage::Broken => idle,
        };
        self.moved + timeout
    }

    /// Whether nothing that it has asked for is outstanding.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Opening | Stage::Reading) && self.output.is_empty()
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
            Stage::Opening | Stage::Reading => self.eof && self.output.is_empty(),
            Stage::Asking(..) => false,
            Stage::Closing { told } => self.output.is_empty() && (!told || self.eof),
            Stage::Broken => true,
        }
    }

    /// Moves what can be moved. Gives its next request, if that is whole and the one before is done with.
    pub(super) fn serve(&mut self, now: Instant) -> Served {
        self.read();
        self.flush(now);
        let rest = if self.unread { Served::More } else { Served::All };
        if !matches!(self.stage, Stage::Opening | Stage::Reading) || !self.output.is_empty() {
            return if matches!(self.stage, Stage::Closing { .. }) { rest } else { Served::All };
        }
        let mut input = self.input.as_slice();
        let next = self.decoder.next_request(&mut input);
        let used = self.input.len() - input.len();
        self.input.consume(used);
        match next {
            Ok(Some(mut request)) => {
                self.moved = now;
                request.keep_alive &= !self.reserve;
                self.stage = Stage::Asking(Box::new(request.clone()), None);
                Served::Request(request)
            }
            Ok(None) => rest,
            Err(rejected) => {
                let mut bytes = Vec::new();
                rejected.write(&mut bytes);
                self.output.push(&bytes);
                self.moved = now;
                self.part(true);
                self.flush(now);
                rest
            }
        }
    }

    /// Answers the request.
    pub(super) fn answer(&mut self, response: &Response<'_>, refused: bool) {
        let Stage::Asking(mut request, _) = std::mem::replace(&mut self.stage, Stage::Reading) else {
            return;
        };
        let mut bytes = Vec::new();
        match (request.expects_continue, refused) {
            // Refused before it was sent, a body may follow or not: nobody can tell where the next request begins.
            (true, true) => request.keep_alive = false,
            (true, false) => bytes.extend_from_slice(CONTINUE),
            (false, _) => {}
        }
        response.write(&request, &mut bytes);
        self.output.push(&bytes);
        self.after(&request, request.keep_alive);
    }

    /// Output that waits for it, in bytes.
    pub(super) fn pending_output(&self) -> usize {
        self.output.len()
    }

    /// Whether it takes more of its answer now.
    pub(super) fn has_room(&self) -> bool {
        self.output.len() < OUTPUT_HIGH
    }

    /// A piece of the answer to the request.
    pub(super) fn piece(&mut self, head: &Response<'_>, piece: &str, done: bool) {
        let Stage::Asking(request, framing) = &mut self.stage else { return };
        // It is whole: its length is known.
        if framing.is_none() && done && request.method != Method::Head {
            return self.answer(&Response { body: piece.into(), ..head.clone() }, false);
        }
        let mut bytes = Vec::new();
        let framing = *framing.get_or_insert_with(|| {
            if request.expects_continue {
                bytes.extend_from_slice(CONTINUE);
            }
            head.write_head(request, &mut bytes)
        });
        let to_head = request.method == Method::Head;
        if !to_head {
            framing.write(piece.as_bytes(), &mut bytes);
            if done {
                framing.finish(&mut bytes);
            }
        }
        self.output.push(&bytes);
        if (done || to_head)
            && let Stage::Asking(request, _) = std::mem::replace(&mut self.stage, Stage::Reading)
        {
            self.after(&request, framing.keeps_alive(&request));
        }
    }

    /// What follows an answer.
    fn after(&mut self, request: &Request, keep_alive: bool) {
        if !keep_alive {
            self.part(request.expects_continue || self.decoder.body_left() > self.input.len());
        }
    }

    fn part(&mut self, told: bool) {
        self.stage = Stage::Closing { told };
        // What follows the last request is nobody's.
        self.input.reset(0);
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
