//! What the table holds of one connection: the socket, its life, and only if need be its bytes and session.
//!
//! An idle echo connection is nothing but this entry, 104 bytes; the assertion below keeps it so.

use super::parts::admin::Http;
use super::parts::deferral::Deferral;
pub(super) use super::parts::flags::Flags;
use super::parts::named::Named;
use super::parts::preamble::Preamble;
use super::parts::task::Task;
use crate::core::buf::ByteQueue;
use crate::core::conn::policy::{Heartbeat, HeartbeatStyle};
use crate::core::conn::{Life, State};
use crate::core::end::{Detector, Foreign, Leg, Reason, TlsAlert};
use crate::core::table::{Key, Occupant};
use crate::core::time::{Duration, Instant};
use crate::hub::Membership;
use crate::net::{Interest, Peer, Readiness, SocketError};
use crate::protocol::session::Progress;
use crate::protocol::users::Standing;
use crate::protocol::{AnySession, Encoding};
use crate::transport::Layer;

/// One connection.
pub(super) struct Connection<S> {
    pub(super) stream: S,
    pub(super) generation: u32,
    pub(super) life: Life,
    pub(super) peer: Peer,
    pub(super) listener: u8,
    pub(super) reading: Reading,
    pub(super) interest: Interest,
    pub(super) pause: Pause,
    /// In which queues of posted work it is, and the like.
    pub(super) flags: Flags,
    /// Which side of a pair it is; none: it is served here.
    pub(super) leg: Option<Leg>,
    /// Bytes in either direction that could not move at once, and what is rarely needed.
    pub(super) buffers: Option<Box<Buffers>>,
    /// What the protocol remembers.
    pub(super) session: Option<Box<Session>>,
}

const _: () = assert!(size_of::<Connection<std::os::fd::OwnedFd>>() <= 104);

impl<S> Occupant for Connection<S> {
    fn generation(&self) -> u32 {
        self.generation
    }
}

/// What is known of the input side of a socket under edge triggering.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reading {
    /// Read until nothing was left: the next edge will tell.
    Drained,
    /// An edge came and was not followed to its end.
    Ready,
    /// The same, and the peer's FIN is behind the data: read until end of file, no edge will come again.
    UntilEof,
    /// The same, and a reset is behind the FIN. Only for a leg: its partner is told of the reset too.
    Resetting,
    /// The connection is broken: read what is left, then the error.
    Failing,
    /// End of file or an error was read.
    Ended,
    /// End of file was read and answered with a probe.
    Probing,
}

impl Reading {
    /// What a fresh edge makes of it. `hints`: whether flags other than readable are taken into account.
    pub(super) const fn on_edge(self, readiness: Readiness, hints: bool) -> Self {
        let closing = readiness.is_departure();
        match self {
            Self::Drained | Self::Ready if hints && closing => Self::UntilEof,
            Self::Drained if readiness.has(Readiness::READABLE) || closing => Self::Ready,
            Self::Drained
            | Self::Ready
            | Self::UntilEof
            | Self::Resetting
            | Self::Failing
            | Self::Ended
            | Self::Probing => self,
        }
    }

    /// Whether a receive may yield something.
    pub(super) const fn pending(self) -> bool {
        matches!(self, Self::Ready | Self::UntilEof | Self::Resetting | Self::Failing)
    }
}

/// What a connection waits for before it is read and served any further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pause {
    /// Nothing.
    None,
    /// Its share of work is used up. It is posted, and goes on after the others.
    Turn,
    /// Its output has passed the high watermark, and must fall to the low one.
    Output,
    /// Its effects must be done first, or there must be room for new ones, or other workers must answer.
    Effects,
    /// The partner in its pair must be connected, and take the output that is pending for it.
    Partner,
    /// It must wait before it may try to log in. A timer of the server resumes it.
    LogIn,
}

/// The bytes of a connection that could not move at once, and rarely needed clocks. Taken from a pool when
/// the need arises and given back when it is over.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Received and not yet used: a partial frame, or frames that wait for a pause to end.
    pub(super) input: ByteQueue,
    /// How much of the partial frame at its head is understood.
    pub(super) progress: Progress,
    /// Pending: not yet taken by the kernel.
    pub(super) output: ByteQueue,
    /// When `output` last began to wait or got shorter.
    pub(super) output_moved: Instant,
    /// When `TCP_INFO` was last asked, or reading was paused.
    pub(super) info_asked: Instant,
    /// When the last out-of-band byte was sent.
    pub(super) oob_sent: Instant,
    /// How a send failed, while what the peer sent before is still being read.
    pub(super) broken: Option<SocketError>,
    /// What was the first to tell that the connection is broken.
    pub(super) broken_by: Option<Detector>,
    /// Bytes of output that were pending when the connection broke.
    pub(super) lost: u64,
    /// What it spoke instead of the protocol of its listener.
    pub(super) spoke: Option<Foreign>,
    /// The alert that has ended it.
    pub(super) alert: Option<TlsAlert>,
    /// What is left of a message that takes longer than a turn.
    pub(super) task: Option<Box<Task>>,
    /// A message had no room in `output` and is missing: nothing may follow it.
    pub(super) gapped: bool,
    /// Bytes at the end of `output` that were delivered and not yet offered to the socket.
    pub(super) unflushed: usize,
    /// Bytes of `output` that belong to a list, and so do not count against the bound.
    pub(super) listed: usize,
    /// Memory that the pool has noted for this one.
    pub(super) accounted: usize,
    /// What lies between the socket and the session, if something does. Its connection keeps these buffers.
    pub(super) layer: Option<Box<dyn Layer>>,
    /// How long its opening exchange has waited for us.
    pub(super) deferral: Deferral,
    /// What is still to come before anything else.
    pub(super) preamble: Option<Box<Preamble>>,
}

impl Buffers {
    /// Whether nothing in it matters any more.
    pub(super) fn is_idle(&self) -> bool {
        self.input.is_empty()
            && self.output.is_empty()
            && self.oob_sent == Instant::ZERO
            && self.broken.is_none()
            && self.broken_by.is_none()
            && self.lost == 0
            && self.spoke.is_none()
            && self.alert.is_none()
            && self.task.is_none()
            && !self.gapped
            && self.layer.is_none()
            && self.preamble.is_none()
    }

    /// Memory that it holds, in bytes.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>()
            + self.input.capacity()
            + self.output.capacity()
            + self.task.as_ref().map_or(0, |task| task.memory())
            + self.layer.as_ref().map_or(0, |layer| layer.memory())
            + self.preamble.as_ref().map_or(0, |preamble| preamble.memory())
    }

    /// Makes it as good as new, keeping a little memory for its next user.
    pub(super) fn reset(&mut self) {
        const KEPT: usize = 16 * 1024;
        self.input.reset(KEPT);
        self.output.reset(KEPT);
        *self = Self {
            input: std::mem::take(&mut self.input),
            output: std::mem::take(&mut self.output),
            ..Self::default()
        };
    }
}

/// What there is of one connection, beyond its bytes.
pub(super) enum Session {
    /// A client whose protocol keeps a session.
    Client(Client),
    /// A gateway's client that the application behind it has named.
    Named(Named),
    /// The admin interface.
    Http(Http),
    /// All places were taken: it was told, and nothing that it says is understood.
    Refused,
}

/// A client that can be a member of the hub, whatever it speaks.
pub(super) struct Client {
    pub(super) membership: Membership,
    /// Received messages.
    pub(super) messages_in: u64,
    /// Replies and messages sent.
    pub(super) messages_out: u64,
    /// When the last message came that was not a heartbeat.
    pub(super) used: Instant,
    /// The heartbeat timeout that the client asked for, in milliseconds; 0: the listener's.
    pub(super) beat_ms: u32,
    /// Whether it has logged in, and as whom.
    pub(super) standing: Standing,
    /// How messages for it are encoded: what its session has said when it was last here.
    pub(super) encoding: Encoding,
    /// What its protocol remembers; none while it is being served.
    pub(super) session: Option<AnySession>,
    pub(super) cold: Option<Box<ColdState>>,
}

// A protocol that only tests speak makes it larger there.
const _: () = assert!(cfg!(test) || size_of::<Session>() <= 56);

impl Client {
    pub(super) fn new(session: AnySession, standing: Standing, now: Instant) -> Self {
        Self {
            membership: Membership::default(),
            messages_in: 0,
            messages_out: 0,
            used: now,
            beat_ms: 0,
            standing,
            encoding: session.encoding(),
            session: Some(session),
            cold: None,
        }
    }

    /// Puts its session back.
    pub(super) fn return_session(&mut self, session: AnySession) {
        self.encoding = session.encoding();
        self.session = Some(session);
    }

    /// Whether it knows what to do with a goodbye.
    pub(super) fn takes_goodbye(&self) -> bool {
        let asks_for_pings = self.cold.as_ref().is_some_and(|cold| cold.server_ping);
        self.session.as_ref().is_some_and(|session| session.takes_goodbye(asks_for_pings))
    }
}

/// What only few clients need.
#[derive(Default)]
pub(super) struct ColdState {
    /// What the client calls its connection.
    pub(super) name: Vec<u8>,
    /// The client asked for pings after silence.
    pub(super) server_ping: bool,
    /// When it was last sent one.
    pub(super) pinged: Instant,
    /// The heartbeat channel that it has agreed to names this; empty: it has agreed to none.
    pub(super) consent: Box<[u8]>,
    /// What it named when it began to beat for another connection.
    pub(super) beats_with: Box<[u8]>,
    /// The user that it had logged in as, where the file has no such user any more.
    pub(super) removed_user: Option<Box<str>>,
}

impl<S> Connection<S> {
    /// One that belongs to a listener: served as it is, and read when the poller says so.
    #[inline]
    pub(super) fn new(stream: S, key: Key, life: Life, peer: Peer, listener: usize) -> Self {
        Self {
            stream,
            generation: key.generation,
            life,
            peer,
            listener: u8::try_from(listener).expect("LISTENERS_MAX is what a byte can tell apart"),
            reading: Reading::Drained,
            interest: Interest::Read,
            pause: Pause::None,
            flags: Flags::default(),
            leg: None,
            buffers: None,
            session: None,
        }
    }

    /// Output that waits for the peer, in bytes.
    pub(super) fn pending_output(&self) -> usize {
        self.buffers.as_ref().map_or(0, |buffers| buffers.output.len())
    }

    /// Whether output of it had no room, and was not kept. It is being ended for that.
    pub(super) fn is_gapped(&self) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| buffers.gapped)
            || self.life.cause().is_some_and(|cause| cause.reason == Reason::SlowBytes)
    }

    /// Whether output can go to the socket at once: none waits before it, none is missing, the peer is there, and no layer
    /// has to encode it.
    #[inline]
    pub(super) fn takes_output(&self) -> bool {
        // By far the most frequent: nothing of it waits, and nothing has happened to it.
        if self.buffers.is_none() && self.life.is_open() {
            return self.reading != Reading::Failing;
        }
        let is_first =
            |buffers: &Buffers| buffers.output.is_empty() && !buffers.gapped && buffers.layer.is_none();
        let first = self.buffers.as_deref().is_none_or(is_first);
        let there = match self.life.state() {
            State::Handshaking | State::Open => true,
            State::PeerClosed { .. } | State::Closing { .. } => !self.is_gapped(),
            State::Suspect { .. } => !self.output_held(),
            State::Connecting { .. } | State::Closed { .. } => false,
        };
        first && there && self.reading != Reading::Failing
    }

    /// Whether it is a leg that was read to its end, is not paused, has nothing to send, and is not in bulk.
    pub(super) fn is_leg_at_rest(&self) -> bool {
        self.leg.is_some()
            && self.buffers.is_none()
            && !self.flags.has(Flags::BULK)
            && self.reading == Reading::Drained
            && self.pause == Pause::None
            && self.life.is_open()
    }

    /// Whether a cause of its ending is recorded.
    pub(super) const fn is_ending(&self) -> bool {
        self.life.cause().is_some()
    }

    /// Whether its life is over: it leaves the table after it was driven.
    pub(super) const fn is_closed(&self) -> bool {
        matches!(self.life.state(), State::Closed { .. })
    }

    /// Whether bytes of it wait to be understood.
    pub(super) fn has_input(&self) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| !buffers.input.is_empty())
    }

    /// Whether reading and serving it waits for something.
    pub(super) fn is_paused(&self) -> bool {
        self.pause != Pause::None
    }

    /// `listed` is at most as long as the output.
    pub(super) fn note_listed(&mut self) {
        if let Some(buffers) = &mut self.buffers {
            buffers.listed = buffers.listed.min(buffers.output.len());
        }
    }

    /// Output is withheld from a suspect peer: it would only pile up in the kernel, out of our reach.
    pub(super) const fn output_held(&self) -> bool {
        self.life.state().holds_output()
    }

    /// Whether it is to be read: not while output has to move first; but that of a suspect peer does not
    /// move, and any word of it counts. The bound keeps one that falls silent again and again from piling
    /// up frames behind the pause.
    ///
    /// Nor while it is being answered at the admin interface: what it asks next, and its end of file, are behind that.
    pub(super) fn may_be_read(&self) -> bool {
        if self.http().is_some_and(Http::is_busy) {
            return false;
        }
        let has_room =
            || self.buffers.as_ref().is_none_or(|buffers| buffers.input.len() < super::RECEIVE_BYTES_MAX);
        // What is left of a broken connection is read when the pause is lifted, behind the frames that wait.
        let heard_anyway = self.output_held() && self.reading != Reading::Failing;
        !self.is_paused() || (heard_anyway && has_room())
    }

    /// Whether something is to be done for it that needs no further input: frames wait, or an answer is not finished.
    pub(super) fn has_work(&self) -> bool {
        self.has_input() || self.http().is_some_and(Http::is_busy)
    }

    /// Whether it is broken, and only what the peer sent before is still read.
    pub(super) fn is_failing(&self) -> bool {
        self.reading == Reading::Failing
    }

    pub(super) fn http(&self) -> Option<&Http> {
        match self.session.as_deref() {
            Some(Session::Http(http)) => Some(http),
            Some(Session::Client(_) | Session::Named(_) | Session::Refused) | None => None,
        }
    }

    pub(super) fn http_mut(&mut self) -> Option<&mut Http> {
        match self.session.as_deref_mut() {
            Some(Session::Http(http)) => Some(http),
            Some(Session::Client(_) | Session::Named(_) | Session::Refused) | None => None,
        }
    }

    /// Whether it was let in only to be told that all places are taken: it has none, and is no client.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self.session.as_deref(), Some(Session::Refused))
    }

    pub(super) fn client(&self) -> Option<&Client> {
        match self.session.as_deref() {
            Some(Session::Client(client)) => Some(client),
            Some(Session::Named(_) | Session::Http(_) | Session::Refused) | None => None,
        }
    }

    pub(super) fn client_mut(&mut self) -> Option<&mut Client> {
        match self.session.as_deref_mut() {
            Some(Session::Client(client)) => Some(client),
            Some(Session::Named(_) | Session::Http(_) | Session::Refused) | None => None,
        }
    }

    /// Takes what its protocol remembers, to serve it.
    pub(super) fn take_session(&mut self) -> Option<AnySession> {
        self.client_mut()?.session.take()
    }

    /// Puts it back.
    pub(super) fn return_session(&mut self, session: AnySession) {
        if let Some(client) = self.client_mut() {
            client.return_session(session);
        }
    }

    /// What it and its heartbeat channel know each other by, if it holds an identity; empty: nothing.
    pub(super) fn consent(&self) -> &[u8] {
        self.cold().map_or(&[], |cold| &cold.consent)
    }

    /// The same, if it is such a channel.
    pub(super) fn beats_with(&self) -> &[u8] {
        self.cold().map_or(&[], |cold| &cold.beats_with)
    }

    fn cold(&self) -> Option<&ColdState> {
        self.client().and_then(|client| client.cold.as_deref())
    }

    /// How messages for it are encoded, if it can subscribe.
    pub(super) fn encoding(&self) -> Option<Encoding> {
        self.client().map(|client| client.encoding)
    }

    /// The heartbeat contract in force: the client's own where it made one, else the listener's.
    pub(super) fn heartbeat(&self, listener: &Heartbeat) -> Heartbeat {
        let (beat_ms, server_ping) = self.client().map_or((0, false), |client| {
            (client.beat_ms, client.cold.as_ref().is_some_and(|cold| cold.server_ping))
        });
        let mut contract = *listener;
        if beat_ms > 0 {
            contract = contract.of_client(Duration::from_millis(beat_ms.into()));
        }
        contract.style = match (listener.style, beat_ms > 0, server_ping) {
            // A client that asks for pings gets them, whatever the listener's style is.
            (_, _, true) => HeartbeatStyle::Both,
            // No pings, and no promise to beat: silence proves nothing.
            (HeartbeatStyle::Off | HeartbeatStyle::Server, false, false) => HeartbeatStyle::Off,
            (_, _, false) => HeartbeatStyle::Client,
        };
        contract
    }

    /// Notes that it was in use at `at`, where a session remembers that.
    pub(super) fn mark_used(&mut self, at: Instant) {
        if let Some(client) = self.client_mut() {
            client.used = client.used.max(at);
        }
    }

    /// When frames of it that wait for their turn, or one that is not whole yet, were last added to; none: there are
    /// no such.
    pub(super) fn last_of_waiting_frames(&self, now: Instant) -> Option<Instant> {
        if self.is_paused() { Some(now) } else { self.has_input().then(|| self.life.heard()) }
    }
}
