//! The kernel's table of TCP sockets over netlink (`sock_diag(7)`, `net/ipv4/inet_diag.c`).
//!
//! A dump is read in slices: the kernel fills one message of at most 16 KiB, and goes on where it
//! stopped when that has been read. So one slice costs a bounded time, however many sockets there are. A dump
//! is no snapshot: a socket may come, go or move between two slices, and then be missing or be there twice.

use super::errno;
use super::tcp_info;
use crate::core::tcp::{TcpSnapshot, TcpState};
use crate::net::{Families, Fatal, Progress, SocketQuery, SocketRow, SocketTimer};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// Most bytes of one slice: about a hundred rows.
const SLICE_BYTES: usize = 16 * 1024;

/// `struct nlmsghdr`: length (4), type (2), flags (2), sequence (4), port (4).
const HEADER_BYTES: usize = 16;
/// `struct inet_diag_msg`.
const ROW_BYTES: usize = 72;
/// `struct nlattr`: length (2), type (2).
const ATTRIBUTE_BYTES: usize = 4;

/// Most ports of one query: a filter's jumps have 16 bits.
pub const PORTS_MAX: usize = 1024;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const INET_DIAG_REQ_BYTECODE: u16 = 1;
const INET_DIAG_INFO: u16 = 2;

/// Codes of the filter (`include/uapi/linux/inet_diag.h`).
const BC_JMP: u8 = 1;
const BC_S_GE: u8 = 2;
const BC_S_LE: u8 = 3;

/// A reader of the table of one network namespace.
#[derive(Debug)]
pub struct SocketTable {
    socket: File,
    buffer: Box<[u8]>,
    /// Requests that are still to be made: one dump has one family.
    requests: VecDeque<Vec<u8>>,
    /// Counts the requests, so that what is left of an abandoned dump is not taken for the next one's.
    sequence: u32,
}

impl SocketTable {
    /// Opens the table of this thread's network namespace.
    ///
    /// # Errors
    /// When the kernel has no netlink socket for us.
    #[expect(unsafe_code, reason = "socket(2)")]
    pub fn open() -> Result<Self, Fatal> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: three numbers in, one out.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_SOCK_DIAG) };
        if fd < 0 {
            return Err(errno::fatal(OPENING, errno::last()));
        }
        // SAFETY: the kernel has just made it, and nobody else knows of it.
        let socket = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(Self {
            socket,
            buffer: vec![0; SLICE_BYTES].into_boxed_slice(),
            requests: VecDeque::new(),
            sequence: 0,
        })
    }

    /// Opens the table of the namespace at `path`, such as `/proc/4041/ns/net`.
    ///
    /// # Errors
    /// When there is no such namespace, or entering it is not permitted.
    pub fn open_in(path: &Path) -> Result<Self, Fatal> {
        let what = || format!("enter the network namespace {}", path.display());
        let namespace = File::open(path).map_err(|error| errno::fatal(what(), errno::number(&error)))?;
        // A socket belongs to the namespace that its thread was in: one thread goes there, and ends.
        let opened = std::thread::spawn(move || {
            enter(namespace.as_fd().as_raw_fd())?;
            Ok(Self::open())
        });
        match opened.join() {
            Ok(Ok(table)) => table,
            Ok(Err(errno)) => Err(errno::fatal(what(), errno)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Asks for rows; [`read`](Self::read) brings them. What is left of an earlier query is forgotten.
    ///
    /// # Errors
    /// When the kernel refuses the query.
    pub fn start(&mut self, query: &SocketQuery) -> Result<(), Fatal> {
        self.start_for(query, Families::ALL)
    }

    /// The same, for some families only.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_for(&mut self, query: &SocketQuery, families: Families) -> Result<(), Fatal> {
        // Ends a dump that was not read to its end: the kernel runs one at a time for a socket.
        self.drain();
        self.requests.clear();
        let both = [(libc::AF_INET, families.ipv4), (libc::AF_INET6, families.ipv6)];
        for (family, _) in both.into_iter().filter(|(_, wanted)| *wanted) {
            self.sequence += 1;
            self.requests.push_back(request(query, family, self.sequence));
        }
        self.send()
    }

    /// Reads one slice of rows, and appends them to `rows`.
    ///
    /// # Errors
    /// When the kernel stops telling.
    pub fn read(&mut self, rows: &mut Vec<SocketRow>) -> Result<Progress, Fatal> {
        let Some(request) = self.requests.front() else { return Ok(Progress::Done) };
        let sequence = u32_at(request, 8);
        let length = self
            .socket
            .read(&mut self.buffer)
            .map_err(|error| errno::fatal("read the socket table", errno::number(&error)))?;
        let mut rest = &self.buffer[..length];
        while rest.len() >= HEADER_BYTES {
            let size = (u32_at(rest, 0) as usize).clamp(HEADER_BYTES, rest.len());
            let (message, behind) = rest.split_at(size);
            rest = &behind[(size.next_multiple_of(4) - size).min(behind.len())..];
            if u32_at(message, 8) != sequence {
                continue;
            }
            match i32::from(u16_at(message, 4)) {
                libc::NLMSG_DONE => {
                    self.requests.pop_front();
                    if self.requests.is_empty() {
                        return Ok(Progress::Done);
                    }
                    self.send()?;
                    return Ok(Progress::More);
                }
                libc::NLMSG_ERROR => {
                    self.requests.clear();
                    let errno = message.get(HEADER_BYTES..).map_or(0, |body| i32_at(body, 0));
                    return Err(errno::fatal("read the socket table", -errno));
                }
                _ => rows.extend(row(&message[HEADER_BYTES..])),
            }
        }
        Ok(Progress::More)
    }

    /// Makes the next request.
    fn send(&mut self) -> Result<(), Fatal> {
        let Some(request) = self.requests.front() else { return Ok(()) };
        // One message is taken whole or not at all.
        self.socket.write_all(request).map_err(|error| {
            self.requests.clear();
            errno::fatal("ask for the socket table", errno::number(&error))
        })
    }

    /// Reads what an earlier dump has left, to its end.
    fn drain(&mut self) {
        while self.socket.read(&mut self.buffer).is_ok_and(|length| length > 0) {}
    }
}

const OPENING: &str = "open a netlink socket to read the socket table";

/// Takes the calling thread into a network namespace.
#[expect(unsafe_code, reason = "setns(2)")]
fn enter(namespace: i32) -> Result<(), i32> {
    // SAFETY: two numbers; it changes what the sockets of this thread, made from now on, belong to.
    if unsafe { libc::setns(namespace, libc::CLONE_NEWNET) } == 0 { Ok(()) } else { Err(errno::last()) }
}

/// `struct nlmsghdr`, `struct inet_diag_req_v2`, and the filter.
#[expect(clippy::cast_possible_truncation, reason = "a family is below 50, a request a few hundred bytes")]
#[expect(clippy::cast_sign_loss, reason = "constants of the kernel, all positive")]
fn request(query: &SocketQuery, family: i32, sequence: u32) -> Vec<u8> {
    let mut request = vec![0; HEADER_BYTES];
    let extensions = if query.evidence { 1 << (INET_DIAG_INFO - 1) } else { 0 };
    request.extend([family as u8, libc::IPPROTO_TCP as u8, extensions, 0]);
    request.extend(query.states.bits().to_ne_bytes());
    // `struct inet_diag_sockid`, which a dump has no use for.
    request.extend([0; 48]);
    if !query.ports.is_empty() {
        let filter = port_filter(&query.ports);
        request.extend(((ATTRIBUTE_BYTES + filter.len()) as u16).to_ne_bytes());
        request.extend(INET_DIAG_REQ_BYTECODE.to_ne_bytes());
        request.extend(filter);
    }
    let length = request.len() as u32;
    request[0..4].copy_from_slice(&length.to_ne_bytes());
    request[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
    request[8..12].copy_from_slice(&sequence.to_ne_bytes());
    request
}

/// A program for the kernel's filter that takes a row whose local port is one of these.
///
/// Two comparisons of 8 bytes a port, each with how far to go on if it holds and if it does not; a row
/// that arrives just at the end is taken, one that goes beyond it is not (`inet_diag.c: inet_diag_bc_run`).
///
/// # Panics
/// For more than [`PORTS_MAX`] ports.
#[expect(clippy::cast_possible_truncation, reason = "PORTS_MAX")]
fn port_filter(ports: &[u16]) -> Vec<u8> {
    /// Two comparisons, then a jump to the end. The last port needs none; so its "no" goes beyond the end.
    const PORT_BYTES: u16 = 8 + 8 + 4;
    assert!(ports.len() <= PORTS_MAX, "{} ports in one query", ports.len());
    let mut program = Vec::new();
    let mut operation = |code: u8, yes: u8, no: u16| {
        program.extend([code, yes]);
        program.extend(no.to_ne_bytes());
    };
    for (index, &port) in ports.iter().enumerate() {
        operation(BC_S_GE, 8, PORT_BYTES);
        operation(0, 0, port);
        operation(BC_S_LE, 8, PORT_BYTES - 8);
        operation(0, 0, port);
        let behind = (ports.len() - index - 1) as u16;
        if behind > 0 {
            operation(BC_JMP, 4, behind * PORT_BYTES);
        }
    }
    program
}

/// `struct inet_diag_msg` and its attributes; `None` for what is not a socket of ours to show.
fn row(message: &[u8]) -> Option<SocketRow> {
    let (fixed, attributes) = message.split_at_checked(ROW_BYTES)?;
    let family = i32::from(fixed[0]);
    // The ports and addresses are in network order, each address in 16 bytes.
    let address = |port: usize, ip: usize| {
        let port = u16::from_be_bytes([fixed[port], fixed[port + 1]]);
        SocketAddr::new(ip_at(fixed, ip, family), port)
    };
    let (evidence, sent_ms) = evidence(attributes).unzip();
    Some(SocketRow {
        state: TcpState::from_number(fixed[1]),
        timer: timer(fixed[2]),
        retries: fixed[3],
        local: address(4, 8),
        remote: address(6, 24),
        cookie: u64::from(u32_at(fixed, 44)) | u64::from(u32_at(fixed, 48)) << 32,
        expires_ms: u32_at(fixed, 52),
        unread: u32_at(fixed, 56),
        unacknowledged: u32_at(fixed, 60),
        uid: u32_at(fixed, 64),
        inode: u32_at(fixed, 68),
        evidence,
        sent_ms: sent_ms.unwrap_or(0),
    })
}

/// `TCP_INFO` among the attributes, as [`tcp_info::from_bytes`] has it.
fn evidence(mut attributes: &[u8]) -> Option<(TcpSnapshot, u32)> {
    while attributes.len() >= ATTRIBUTE_BYTES {
        let size = usize::from(u16_at(attributes, 0)).clamp(ATTRIBUTE_BYTES, attributes.len());
        if u16_at(attributes, 2) == INET_DIAG_INFO {
            return Some(tcp_info::from_bytes(&attributes[ATTRIBUTE_BYTES..size]));
        }
        attributes = &attributes[size.next_multiple_of(4).min(attributes.len())..];
    }
    None
}

const fn timer(number: u8) -> SocketTimer {
    match number {
        0 => SocketTimer::None,
        2 => SocketTimer::Keepalive,
        3 => SocketTimer::TimeWait,
        4 => SocketTimer::WindowProbe,
        // 1, and 5 of kernels before 6.0: retransmission that waits for something.
        _ => SocketTimer::Retransmit,
    }
}

fn ip_at(bytes: &[u8], at: usize, family: i32) -> IpAddr {
    let mut ip = [0; 16];
    ip.copy_from_slice(&bytes[at..at + 16]);
    if family == libc::AF_INET {
        IpAddr::V4(Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3]))
    } else {
        Ipv6Addr::from(ip).to_canonical()
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_ne_bytes([b[0], b[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    u32_at(bytes, at).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::tcp::TcpStates;
    use crate::net::{CloseHow, Stream as _};
    use crate::sys::testing::{self, Client, until};

    fn rows_of(table: &mut SocketTable, query: &SocketQuery) -> Vec<SocketRow> {
        let mut rows = Vec::new();
        table.start(query).unwrap();
        while table.read(&mut rows).unwrap() == Progress::More {}
        rows
    }

    fn on(ports: &[u16]) -> SocketQuery {
        SocketQuery { ports: ports.to_vec(), states: TcpStates::ALL, evidence: false }
    }

    #[test]
    fn both_ends_of_a_connection_are_there_with_what_they_have_not_read() {
        let (mut client, server) = testing::pair();
        client.write_all(b"abc").unwrap();
        let (here, there) = (client.peer_addr().unwrap(), client.local_addr().unwrap());
        let mut table = SocketTable::open().unwrap();
        until("the bytes are there", || {
            let rows = rows_of(&mut table, &on(&[here.port()]));
            let ours = rows.iter().find(|row| row.remote == there).expect("the connection is in the table");
            assert_eq!((ours.state, ours.local, ours.is_orphan()), (TcpState::Established, here, false));
            ours.unread == 3
        });
        let theirs = rows_of(&mut table, &on(&[there.port()]));
        assert_eq!(theirs.iter().filter(|row| row.remote == here).count(), 1);
        drop(server);
    }

    #[test]
    fn the_filter_takes_the_ports_that_it_names_and_no_others() {
        let listeners: Vec<_> =
            (0..5).map(|_| super::super::Listener::open(&testing::loopback()).unwrap()).collect();
        let all: Vec<u16> = listeners.iter().map(|listener| testing::socket_of(listener).port()).collect();
        let mut table = SocketTable::open().unwrap();
        for wanted in [&all[..1], &all[1..3], &all[..], &all[4..]] {
            let mut found: Vec<_> =
                rows_of(&mut table, &on(wanted)).iter().map(|row| row.local.port()).collect();
            let mut wanted = wanted.to_vec();
            found.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn what_nobody_has_accepted_has_no_owner_and_the_listener_counts_it() {
        let listener = super::super::Listener::open(&testing::loopback()).unwrap();
        let here = testing::socket_of(&listener);
        let _client = Client::connect(here).unwrap();
        let mut table = SocketTable::open().unwrap();
        until("it waits in the queue", || {
            let rows = rows_of(&mut table, &on(&[here.port()]));
            let queued = rows.iter().any(|row| row.state == TcpState::Established && row.is_orphan());
            let counted =
                rows.iter().any(|row| row.state == TcpState::Listen && row.unread == 1 && !row.is_orphan());
            queued && counted
        });
    }

    #[test]
    fn a_time_wait_is_shown_and_states_can_be_chosen() {
        let (mut client, server) = testing::pair();
        let here = client.peer_addr().unwrap();
        server.close(CloseHow::Plain);
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
        drop(client);
        let mut table = SocketTable::open().unwrap();
        let time_waits = SocketQuery { states: TcpStates::only(TcpState::TimeWait), ..on(&[here.port()]) };
        until("TIME_WAIT here", || {
            let rows = rows_of(&mut table, &time_waits);
            rows.len() == 1 && rows[0].timer == SocketTimer::TimeWait && rows[0].expires_ms > 0
        });
        let others = SocketQuery { states: TcpStates::all_but(TcpState::TimeWait), ..time_waits };
        assert_eq!(rows_of(&mut table, &others), []);
    }

    #[test]
    fn evidence_is_there_if_it_is_asked_for() {
        let (client, mut server) = testing::pair();
        testing::fill(&mut server);
        let query = SocketQuery { evidence: true, ..on(&[client.peer_addr().unwrap().port()]) };
        let mut table = SocketTable::open().unwrap();
        let rows = rows_of(&mut table, &query);
        assert_eq!(rows.len(), 1);
        // Probes of the shut window are no data: the time since the last of it only grows.
        until("the window has been shut for a while, and probed", || {
            let row = rows_of(&mut table, &query)[0];
            row.timer == SocketTimer::WindowProbe && row.sent_ms > 700
        });
        let seen = rows[0].evidence.expect("TCP_INFO");
        assert_eq!((seen.state, seen.snd_wnd), (TcpState::Established, 0));
        assert!(seen.notsent_bytes > 0 && rows[0].unacknowledged >= seen.notsent_bytes, "{:?}", rows[0]);
    }

    #[test]
    fn a_table_of_many_comes_in_slices_and_a_new_query_ends_an_old_one() {
        let (pairs, port) = {
            let mut listener = super::super::Listener::open(&testing::loopback()).unwrap();
            let here = testing::socket_of(&listener);
            let pairs: Vec<_> = (0..300)
                .map(|_| (Client::connect(here).unwrap(), testing::accept(&mut listener).0))
                .collect();
            (pairs, here.port())
        };
        let mut table = SocketTable::open().unwrap();
        let mut rows = Vec::new();
        table.start(&on(&[port])).unwrap();
        assert_eq!(table.read(&mut rows).unwrap(), Progress::More);
        assert!(!rows.is_empty() && rows.len() < 300, "{} rows in one slice", rows.len());
        let mut again = rows_of(&mut table, &on(&[port]));
        again.sort_by_key(|row| row.cookie);
        again.dedup_by_key(|row| row.cookie);
        assert_eq!(again.len(), 300);
        drop(pairs);
    }

    #[test]
    fn a_namespace_that_is_not_there_is_named() {
        let error = SocketTable::open_in(Path::new("/proc/0/ns/net")).unwrap_err();
        assert!(error.to_string().contains("/proc/0/ns/net"), "{error}");
    }

    #[test]
    fn what_is_cut_short_is_no_row() {
        assert_eq!(row(&[0; ROW_BYTES - 1]), None);
        assert_eq!(evidence(&[200, 0, 2, 0, 1]).map(|(seen, _)| seen.state), Some(TcpState::Established));
        assert_eq!(evidence(&[0; 3]), None);
    }
}
