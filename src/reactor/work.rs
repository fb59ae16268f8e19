//! Work: what everything costs whose amount a peer can choose, and how much of it is done before others have their turn.
//!
//! Work is charged to the connection that asked for it: the loop charges each step, and stops when the share of that
//! connection is used up. What is left stays with that connection, as frames that wait or as a [`Task`](super::parts::task::Task)
//! with a cursor, and goes on in a later turn, one after the other (round robin with equal shares; as steps are small,
//! nobody overdraws a share by more than one of them, so that there is no deficit to carry).
//!
//! A connection that has nothing left over is served as soon as it has sent something, as the sparse flows of FQ-CoDel are
//! (RFC 8290 1.3). So a client that asks for little waits for one turn at most, however many ask for much.
//!
//! The unit is about a nanosecond on a machine of today. Estimates do: a turn that takes twice as long as it should is
//! still short. The clock is not asked, so that a run can be replayed.

/// Work on accepting from one listener, in one turn.
pub(super) const ACCEPTED: usize = 500_000;
/// Work for those who have some left over, in one turn.
pub(super) const RESUMED: usize = 500_000;
/// Work on what nobody waits for in particular (presence, what other workers relay), in one turn.
pub(super) const PUBLISHED: usize = 250_000;
/// Work on sending what was delivered, in one turn.
pub(super) const FLUSHED: usize = 500_000;
/// Work on effects, in one turn.
pub(super) const EFFECTS: usize = 250_000;
/// Work on what deadlines have brought, in one turn: about a hundred endings with their goodbyes, 1 to 2 ms. With a
/// quarter of it, 18,000 clients that fall silent in one second are ended 100 ms late, with this 20 to 30 ms.
pub(super) const EXPIRED: usize = 4_000_000;

/// Work of a turn above which even who has just sent something gets no more than the least.
const TURN: usize = 1_500_000;
/// Work for one connection before the others have their turn.
const SERVING: usize = 150_000;
/// The same in a turn that is long already: enough for a short command.
const SERVING_LEAST: usize = 10_000;

/// What things cost. A call of the kernel is by far the most.
pub(super) mod cost {
    /// One command, parsed and answered.
    pub(in super::super) const COMMAND: usize = 400;
    /// An accept.
    pub(in super::super) const ACCEPT: usize = 10_000;
    /// A receive.
    pub(in super::super) const RECEIVE: usize = 2_500;
    /// A call of the kernel that comes to nothing: there is no room, or nothing has come.
    pub(in super::super) const CALL: usize = 1_000;
    /// A send; over loopback, the receiver's side of it too.
    pub(in super::super) const SEND: usize = 10_000;
    /// An ending: a goodbye, a close, the record.
    pub(in super::super) const ENDING: usize = 25_000;
    /// A password that is hashed and compared.
    pub(in super::super) const PASSWORD: usize = 3_000;
    /// A subscription: its topic is looked for or made, and it is confirmed.
    pub(in super::super) const SUBSCRIBE: usize = 800;
    /// A subscription that is given up: its place is looked for, and others are moved.
    pub(in super::super) const UNSUBSCRIBE: usize = 300;
    /// One name that is compared with a pattern, beside the steps of comparing.
    pub(in super::super) const COMPARE: usize = 10;
    /// A publication that is taken up, even if nobody listens any more.
    pub(in super::super) const PUBLICATION: usize = 500;
    /// One message that is put into the output of one connection, beside its bytes.
    pub(in super::super) const DELIVERY: usize = 150;
    /// A name among the arguments of one command.
    pub(in super::super) const NAME: usize = 100;
    /// Going on with a connection, even if that comes to nothing.
    pub(in super::super) const RESUME: usize = 300;
    /// A step of a TLS handshake: a key exchange, and a signature with a key of RSA.
    pub(in super::super) const HANDSHAKE: usize = 400_000;
    /// A piece of a client's first message of TLS that is read, and is not ours to answer.
    pub(in super::super) const HELLO: usize = 10_000;
    /// A connection that is looked at.
    pub(in super::super) const LOOK: usize = 30;
    /// A connection that is described in a list.
    pub(in super::super) const ROW: usize = 2_000;

    /// Bytes that are copied within the process, into memory that it may have to be given first: a page fault for
    /// every 4 KiB of it is most of the cost.
    pub(in super::super) const fn copied(bytes: usize) -> usize {
        bytes / 2
    }

    /// Bytes of a layer that are decrypted, also where records are short.
    pub(in super::super) const fn opened(bytes: usize) -> usize {
        bytes * 8
    }

    /// Bytes that are copied from or to the kernel.
    pub(in super::super) const fn moved(bytes: usize) -> usize {
        bytes / 4
    }

    /// Bytes that go from one socket to another within the kernel.
    pub(in super::super) const fn spliced(bytes: usize) -> usize {
        bytes / 16
    }
}

/// The account.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Since the server started: 2^64 of these last for centuries.
    spent: u64,
    /// What had been spent when the turn began.
    turn_begun: u64,
    /// Up to where the one that is being served may go.
    share_end: Mark,
}

impl Work {
    pub(super) const fn begin_turn(&mut self) {
        self.turn_begun = self.spent;
    }

    /// Something was done for the one that is being served.
    pub(super) const fn charge(&mut self, cost: usize) {
        self.spent += cost as u64;
    }

    /// Whether this turn is long already.
    pub(super) const fn is_long(&self) -> bool {
        self.spent - self.turn_begun >= TURN as u64
    }

    /// What is spent from now on is spent on one connection.
    pub(super) const fn begin_serving(&mut self) {
        self.begin_share(if self.is_long() { SERVING_LEAST } else { SERVING });
    }

    /// What is spent from now on is spent of a share of its own.
    pub(super) const fn begin_share(&mut self, share: usize) {
        self.share_end = self.after(share);
    }

    /// Whether the share is used up.
    pub(super) const fn is_over(&self) -> bool {
        self.is_past(self.share_end)
    }

    /// What will have been spent when `share` more is.
    pub(super) const fn after(&self, share: usize) -> Mark {
        Mark(self.spent + share as u64)
    }

    /// Whether that much has been spent.
    pub(super) const fn is_past(&self, mark: Mark) -> bool {
        self.spent >= mark.0
    }
}

/// A point in the account.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark(u64);
