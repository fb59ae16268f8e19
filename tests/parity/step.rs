//! The language of scenarios: what can be done at either end, and where a scenario starts from.

use linger::net::{CloseHow, Interest, Keepalive, SocketOptions};
use std::time::Duration;

/// Where a scenario starts from: one listener.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub backlog: u32,
    pub options: SocketOptions,
}

impl Default for Scenario {
    fn default() -> Self {
        let options = SocketOptions {
            nodelay: true,
            keepalive: None,
            user_timeout: None,
            linger2: false,
            // Small and fixed: nobody waits for megabytes to fill a window.
            send_buffer: Some(32 * 1024),
            oob_inline: false,
        };
        Self { backlog: 16, options }
    }
}

/// `TCP_LINGER2 = -1` on the listener.
pub fn linger2_inherited() -> Scenario {
    let plain = Scenario::default();
    Scenario { options: SocketOptions { linger2: true, ..plain.options }, ..plain }
}

/// A short accept queue.
pub fn backlog(backlog: u32) -> Scenario {
    Scenario { backlog, ..Scenario::default() }
}

/// Keepalive after a second, every second, three times; and a user timeout in seconds.
pub fn watched(keepalive: bool, user_timeout: Option<u64>) -> Scenario {
    watched_for(keepalive, user_timeout.map(Duration::from_secs))
}

/// The same, with a user timeout of any length.
pub fn watched_for(keepalive: bool, user_timeout: Option<Duration>) -> Scenario {
    let second = Duration::from_secs(1);
    let keepalive = keepalive.then_some(Keepalive { idle: second, interval: second, count: 3 });
    let plain = Scenario::default();
    Scenario { options: SocketOptions { keepalive, user_timeout, ..plain.options }, ..plain }
}

/// One step. Connections are told apart by number, in the order in which they connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A client connects.
    Connect,
    /// The server accepts one and watches it for input. The trace says which.
    Accept,
    /// An upstream listens, with a queue of that length.
    Listen(u32),
    /// The server begins to connect to it, with the options of the scenario.
    ConnectOut,
    /// The upstream accepts one. Its end is the client's of that connection. The trace says which.
    Take,
    /// The upstream closes its listener.
    Refuse,
    /// Length and limit of the accept queue.
    Queue,
    /// All that is ready, in order of the connections.
    Poll,
    /// The client's end of a connection does something.
    Client(usize, Verb),
    /// The server's end does.
    Server(usize, Verb),
    /// `EPOLL_CTL_MOD` on the server's end.
    Rewatch(usize, Interest),
    /// `TCP_INFO` of the server's end.
    Info(usize),
    /// So many clients connect, are accepted, and send a byte each.
    Crowd(usize),
    /// One poll that does not wait: whether it brought everything, how many entries, and how many of them for the
    /// first time.
    PollOnce,
    /// One poll that a signal interrupts: what it brought.
    Interrupt,
    /// The listener is closed.
    CloseListener,
    /// The cable of a client is pulled.
    Unplug(usize),
    /// Or plugged in again.
    Plug(usize),
    /// That many milliseconds pass.
    Pass(u64),
    /// Until something is ready, at most that many seconds. The trace says how long that is after an end last did
    /// something.
    Wait(u64),
    /// Until the server's end of a connection has left the table of sockets, at most that many seconds.
    WaitGone(usize, u64),
}

/// What can be done with a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// Sends so many bytes.
    Send(usize),
    /// Sends one out of band.
    SendOob,
    /// Sends until there is no room, and no more comes while the other end rests.
    Fill,
    /// Receives at most so many.
    Recv(usize),
    /// Receives all there is, waiting while more comes.
    Drain,
    /// `shutdown(SHUT_WR)`.
    Finish,
    /// `SO_ERROR`.
    Error,
    /// `TCP_USER_TIMEOUT`, in seconds. The server does this before a close.
    UserTimeout(u64),
    /// Closes.
    Close(CloseHow),
    /// The descriptor goes, as when a process is killed.
    Drop,
}

/// The first client connects and is accepted.
pub const CONNECT: Step = Step::Connect;
pub const ACCEPT: Step = Step::Accept;
pub const LISTEN: Step = Step::Listen(16);
pub const CONNECT_OUT: Step = Step::ConnectOut;
pub const TAKE: Step = Step::Take;
pub const POLL: Step = Step::Poll;
pub const INFO: Step = Step::Info(0);
pub const PLAIN: Verb = Verb::Close(CloseHow::Plain);
pub const LINGER2: Verb = Verb::Close(CloseHow::Linger2);
pub const RESET: Verb = Verb::Close(CloseHow::Reset);

/// The client of the only connection does something.
pub const fn client(verb: Verb) -> Step {
    Step::Client(0, verb)
}

/// The server does, with the only connection.
pub const fn server(verb: Verb) -> Step {
    Step::Server(0, verb)
}
