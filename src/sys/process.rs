//! Processes and network namespaces for experiments: children that end with the process that started
//! them, and networks that end with the last process in them. Nothing here leaves anything behind, however it ends.

use super::sockaddr::Name;
use super::{Stream, errno, sockopt};
use crate::core::time::{Duration, Instant};
use crate::net::{Address, CloseHow, Fatal, SocketError, Stream as _};
use libc::c_int;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The host's `CLOCK_MONOTONIC`: one clock for all processes on it.
#[expect(unsafe_code, reason = "clock_gettime(2)")]
pub fn monotonic() -> Instant {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one `timespec`, and keeps no pointer. This clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Instant::from_nanos(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned())
}

/// Waits for the children that have ended, but for those that are `ours`: their owners ask for them. It stops at the
/// first of ours, which the kernel names again and again until it was waited for.
#[expect(unsafe_code, reason = "waitid(2), waitpid(2)")]
pub fn reap(ours: impl Fn(u32) -> bool) {
    loop {
        // SAFETY: all zeros is a value of a structure of numbers.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let ended = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: the kernel writes one `siginfo_t` where one is.
        let found = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, ended) } == 0;
        // SAFETY: of waitid, the kernel fills in the member that this reads; where it found nobody, it is zero.
        let pid = unsafe { info.si_pid() };
        if !found || pid == 0 || ours(pid.cast_unsigned()) {
            return;
        }
        // SAFETY: a null pointer says that its status is not asked for.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
    }
}

/// Becomes true when this process is asked to end, by SIGTERM, SIGINT or SIGHUP, which no longer end it.
///
/// # Errors
/// When the signals cannot be handled.
pub fn asked_to_end() -> std::io::Result<Arc<AtomicBool>> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&asked))?;
    }
    Ok(asked)
}

/// Waits for standard input, at most so long. Whether there is something to read.
///
/// # Errors
/// When nothing will ever come: the terminal has hung up, or the input is at its end.
#[expect(unsafe_code, reason = "poll(2)")]
pub fn wait_for_input(at_most: Duration) -> std::io::Result<bool> {
    let mut input = libc::pollfd { fd: libc::STDIN_FILENO, events: libc::POLLIN, revents: 0 };
    let millis = c_int::try_from(at_most.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: the kernel writes one `pollfd`, and keeps no pointer.
    let found = unsafe { libc::poll(&raw mut input, 1, millis) };
    match (found, std::io::Error::last_os_error()) {
        (0, _) => Ok(false),
        // A signal: who asked to wait looks at what it was.
        (..0, error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(false),
        (..0, error) => Err(error),
        _ if input.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0 => {
            Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof))
        }
        _ => Ok(true),
    }
}

/// The day by the host's clock, in UTC, as `2026-11-20`.
#[expect(clippy::disallowed_methods, reason = "the real clock")]
pub fn today() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let (year, month, day) = civil(since.as_secs() / 86_400);
    format!("{year}-{month:02}-{day:02}")
}

/// The date of a day since 1970: counted in years that begin in March, so that the leap day is the last of one.
const fn civil(days: u64) -> (u64, u64, u64) {
    // Days from March 1st of the year 0 to 1970; days of 400 years, of 100, of 4, of one.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year + (month <= 2) as u64, month, day)
}

/// A network namespace that lives as long as this, or a process in it, does. Nothing names it anywhere.
#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// Makes an empty one, with nothing but a loopback device that is down.
    ///
    /// # Errors
    /// When that is not permitted.
    #[expect(unsafe_code, reason = "unshare(2)")]
    pub fn new() -> Result<Self, Fatal> {
        const WHAT: &str = "make a network namespace";
        // One thread goes there, takes hold of it, and ends: the others stay where they are.
        let made = std::thread::spawn(|| {
            // SAFETY: a number in, a number out; it concerns this thread alone.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return Err(errno::fatal(WHAT, errno::last()));
            }
            File::open("/proc/thread-self/ns/net").map_err(|error| errno::fatal(WHAT, errno::number(&error)))
        });
        made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map(Self)
    }

    /// Where other programs find it while this lives.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }
}

/// Lets an ordinary user make namespaces: in a user namespace of its own, in which it is root. Only while there is
/// no other thread.
///
/// # Errors
/// When the host does not permit user namespaces.
#[expect(unsafe_code, reason = "geteuid(2), getegid(2), unshare(2)")]
pub fn become_root_of_a_user_namespace() -> Result<(), Fatal> {
    const WHAT: &str = "make a user namespace";
    // SAFETY: nothing in, a number out; it cannot fail.
    let user = unsafe { libc::geteuid() };
    // SAFETY: nothing in, a number out; it cannot fail.
    let group = unsafe { libc::getegid() };
    if user == 0 {
        return Ok(());
    }
    // SAFETY: a number in, a number out.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER) } != 0 {
        return Err(errno::fatal(WHAT, errno::last()));
    }
    // user_namespaces(7): who is not privileged outside has to give setgroups up first.
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {user} 1")),
        ("/proc/self/gid_map", format!("0 {group} 1")),
    ] {
        fs::write(file, text).map_err(|error| errno::fatal(WHAT, errno::number(&error)))?;
    }
    Ok(())
}

/// Starts a child in a network namespace. It is killed when the thread that starts it ends, however that
/// ends, and it leads a session of its own, so that stopping it concerns nobody else.
///
/// # Errors
/// When there is no such program, or it may not be run there.
#[expect(unsafe_code, reason = "pre_exec")]
pub fn spawn_in(namespace: &Namespace, command: &mut Command) -> Result<Child, Fatal> {
    let namespace = namespace.0.as_raw_fd();
    let parent = std::process::id();
    let enter = move || enter(namespace, parent).map_err(std::io::Error::from_raw_os_error);
    // SAFETY: between fork and exec it makes system calls that are safe in a signal handler, allocates nothing and
    // takes no lock. The descriptor is open: `spawn` ends before this function does.
    unsafe { command.pre_exec(enter) };
    let program = command.get_program().to_string_lossy().into_owned();
    command.spawn().map_err(|error| errno::fatal(format!("start {program}"), errno::number(&error)))
}

/// What a child does before it becomes another program.
#[expect(unsafe_code, reason = "setns(2), prctl(2), setsid(2), getppid(2)")]
fn enter(namespace: c_int, parent: u32) -> Result<(), i32> {
    // SAFETY: two numbers in, one out.
    if unsafe { libc::setns(namespace, libc::CLONE_NEWNET) } != 0 {
        return Err(errno::last());
    }
    // SAFETY: two numbers in, one out. It stays over exec.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } != 0 {
        return Err(errno::last());
    }
    // SAFETY: nothing in; it fails only for the leader of a group, which a child is not.
    unsafe { libc::setsid() };
    // SAFETY: nothing in, a number out.
    let now = unsafe { libc::getppid() };
    // The parent may have died before it could be said that this child is to die with it.
    if now.cast_unsigned() == parent { Ok(()) } else { Err(libc::ESRCH) }
}

/// A file with this text that is nowhere but in memory, for a child that takes it for its standard input.
///
/// # Errors
/// When the kernel has no room for it.
#[expect(unsafe_code, reason = "memfd_create(2)")]
pub fn memory_file(text: &str) -> Result<File, Fatal> {
    let what = "make a file in memory";
    // SAFETY: the kernel reads the name up to its null, and keeps no pointer.
    let fd = unsafe { libc::memfd_create(c"linger".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(errno::fatal(what, errno::last()));
    }
    // SAFETY: the kernel has just made it, and nobody else knows of it.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(text.as_bytes()).map_err(|error| errno::fatal(what, errno::number(&error)))?;
    Ok(file)
}

/// Stops a process as a debugger or a hung machine does: it does not run, and its kernel goes on for it.
#[expect(unsafe_code, reason = "kill(2)")]
pub fn freeze(child: &Child) {
    // SAFETY: two numbers. The child has not been waited for, so that the number is still its own.
    unsafe { libc::kill(child.id().cast_signed(), libc::SIGSTOP) };
}

/// Connects as a client, waiting for it; the stream is non-blocking. A small `receive_buffer` makes a window that is
/// soon shut.
///
/// # Errors
/// When nobody accepts.
#[expect(unsafe_code, reason = "socket(2)")]
#[expect(
    clippy::disallowed_types,
    reason = "the standard library knows how to connect a descriptor's address"
)]
pub fn connect(to: SocketAddr, receive_buffer: Option<u32>) -> Result<(Stream, SocketAddr), Fatal> {
    let what = || format!("connect to {to}");
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: three numbers in, one out.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(errno::fatal(what(), errno::last()));
    }
    // SAFETY: the kernel has just made it, and nobody else knows of it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    if let Some(bytes) = receive_buffer {
        // Before it connects: the window is promised in the handshake (tcp(7)).
        let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
        sockopt::set(fd.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, bytes)
            .map_err(|errno| errno::fatal(what(), errno))?;
    }
    connect_socket(fd.as_fd(), to).map_err(|errno| errno::fatal(what(), errno))?;
    let socket = std::net::TcpStream::from(fd);
    let failed = |error: std::io::Error| errno::fatal(what(), errno::number(&error));
    let local = socket.local_addr().map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    socket.set_nodelay(true).map_err(failed)?;
    Ok((Stream::new(socket.into()), local))
}

#[expect(unsafe_code, reason = "connect(2)")]
fn connect_socket(fd: BorrowedFd<'_>, to: SocketAddr) -> Result<(), i32> {
    let name =
        Name::new(&Address::Tcp { socket: to, v6_only: false, interface: None }).ok_or(libc::EINVAL)?;
    let (address, length) = name.raw();
    // SAFETY: the descriptor is open while it is borrowed; the kernel reads the address, which is as long as that,
    // and keeps no pointer.
    if unsafe { libc::connect(fd.as_raw_fd(), address, length) } == 0 { Ok(()) } else { Err(errno::last()) }
}

/// What only a client of an experiment does to its socket.
impl Stream {
    /// A non-blocking stream of standard input, which must be a socket.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn of_standard_input() -> Result<Self, Fatal> {
        let failed = |error: std::io::Error| errno::fatal("use standard input", errno::number(&error));
        let fd = std::io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
        let socket = std::os::unix::net::UnixStream::from(fd);
        socket.set_nonblocking(true).map_err(failed)?;
        Ok(Self::new(socket.into()))
    }

    /// `shutdown(SHUT_WR)`: says FIN and goes on reading.
    #[expect(unsafe_code, reason = "shutdown(2)")]
    pub fn finish(&self) {
        // SAFETY: two numbers; the descriptor is open while `self` lives.
        unsafe { libc::shutdown(self.as_fd().as_raw_fd(), libc::SHUT_WR) };
    }

    /// Discards the connection without a packet, as a host does that loses its power: with `TCP_REPAIR` set, `close`
    /// sends neither FIN nor RST (`net/ipv4/tcp.c: __tcp_close`).
    ///
    /// # Errors
    /// Without `CAP_NET_ADMIN` in its network namespace; the connection is closed all the same.
    pub fn vanish(self) -> Result<(), SocketError> {
        let outcome = sockopt::set(self.as_fd(), libc::IPPROTO_TCP, libc::TCP_REPAIR, 1);
        self.close(CloseHow::Plain);
        outcome.map_err(errno::fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        for (day, date) in
            [(0, (1970, 1, 1)), (59, (1970, 3, 1)), (11_016, (2000, 2, 29)), (20_778, (2026, 11, 21))]
        {
            assert_eq!(civil(day), date);
        }
    }

    #[test]
    fn the_clock_is_one_and_goes_on() {
        let earlier = monotonic();
        assert!(earlier > Instant::ZERO && monotonic() >= earlier);
    }
}
