//! Workers of a supervisor: how one is started with the descriptors that it is handed, and how it takes them.
//!
//! A worker is this program again, with the same arguments and one more that says what it was handed. It
//! inherits its descriptors under their own numbers, so that nothing needs to be renumbered between fork and exec.

use super::{Listener, Os, Stream, errno, process, service};
use crate::net::{Exit, Fatal, ListenSpec, Listener as _, Process as Contract, Supervising};
use libc::c_int;
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// The flag of `serve` that makes it a worker; what follows it is a [`Handed`].
pub const FLAG: &str = "--as-worker";

/// Which worker this is, and the descriptors that it was handed, by their numbers: what stands behind [`FLAG`], as in
/// `2/4 4711 9 5+,6`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handed {
    /// Its number, from 1.
    pub number: u32,
    /// How many there are.
    pub of: u32,
    supervisor: u32,
    channel: RawFd,
    /// With whether a service manager has the socket as well: `+`.
    listeners: Vec<(RawFd, bool)>,
}

impl Handed {
    fn to_text(&self) -> String {
        let to_word = |&(fd, kept): &(RawFd, bool)| format!("{fd}{}", if kept { "+" } else { "" });
        let listeners: Vec<_> = self.listeners.iter().map(to_word).collect();
        let Self { number, of, supervisor, channel, .. } = self;
        format!("{number}/{of} {supervisor} {channel} {}", listeners.join(","))
    }

    /// Reads what stands behind [`FLAG`].
    ///
    /// # Errors
    /// When it was not written by a supervisor.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parse = || {
            let mut words = text.split(' ');
            let (number, of) = words.next()?.split_once('/')?;
            Some(Self {
                number: number.parse().ok()?,
                of: of.parse().ok()?,
                supervisor: words.next()?.parse().ok()?,
                channel: words.next()?.parse().ok()?,
                listeners: words
                    .next()?
                    .split(',')
                    .filter(|word| !word.is_empty())
                    .map(|word| {
                        let fd = word.strip_suffix('+').unwrap_or(word);
                        Some((fd.parse().ok()?, fd != word))
                    })
                    .collect::<Option<_>>()?,
            })
        };
        parse().ok_or_else(|| "it is for workers, which a supervisor starts".to_owned())
    }
}

impl Supervising for Os {
    type Process = Process;

    fn open_shared(&mut self, spec: &ListenSpec, count: usize) -> Result<Vec<Listener>, Fatal> {
        let kept = service::take_for(&mut self.kept, &spec.address, count)?;
        Listener::open_shared(spec, count, kept)
    }

    fn steer(&mut self, listener: &Listener, places: &[usize], of: usize) -> Result<(), i32> {
        listener.steer(places, of)
    }

    fn start_worker(
        &mut self,
        number: u32,
        of: u32,
        listeners: &[Listener],
    ) -> Result<(Process, Stream), Fatal> {
        start(number, of, listeners).map(|(child, stream)| (Process(child), stream))
    }

    fn reap_others(&mut self, ours: impl Fn(u32) -> bool) {
        process::reap(ours);
    }
}

/// The process of a worker.
pub struct Process(Child);

impl Contract for Process {
    fn id(&self) -> u32 {
        self.0.id()
    }

    fn kill(&mut self) {
        // Of a child that was waited for, the standard library does not use the number any more.
        let _ = self.0.kill();
    }

    fn try_wait(&mut self) -> Option<Exit> {
        let status = self.0.try_wait().ok().flatten()?;
        Some(Exit { success: status.success(), text: status.to_string() })
    }
}

impl Drop for Process {
    /// None is left behind, whatever happened.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a worker has in hand.
#[derive(Debug)]
pub struct Hand {
    /// To the supervisor and back.
    pub channel: Stream,
    /// Listening sockets for clients, in the order of the settings, with whether a service manager has each as well.
    pub listeners: Vec<(OwnedFd, bool)>,
}

/// Starts worker `number` of `of`: this program, with the same arguments. Gives the child and our end of its channel.
#[expect(unsafe_code, reason = "pre_exec")]
fn start(number: u32, of: u32, listeners: &[Listener]) -> Result<(Child, Stream), Fatal> {
    let what = || format!("start worker {number}");
    let failed = |error: std::io::Error| errno::fatal(what(), errno::number(&error));
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    for end in [&ours, &theirs] {
        end.set_nonblocking(true).map_err(failed)?;
    }
    let handed = Handed {
        number,
        of,
        supervisor: std::process::id(),
        channel: theirs.as_raw_fd(),
        listeners: listeners
            .iter()
            .map(|listener| (listener.as_fd().as_raw_fd(), listener.is_kept_by_service_manager()))
            .collect(),
    };
    let mut arguments = std::env::args_os();
    arguments.next();
    // Not by the path that it was started with: that may be another version by now.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0(format!("linger: worker {number}"))
        .args(arguments)
        .args([OsString::from(FLAG), handed.to_text().into()])
        .stdin(Stdio::null());
    let kept: Vec<RawFd> = handed.listeners.iter().map(|&(fd, _)| fd).chain([handed.channel]).collect();
    let keep = move || {
        let kept = kept.iter().try_for_each(|&fd| close_on_exec(fd, false));
        kept.map_err(std::io::Error::from_raw_os_error)
    };
    // SAFETY: between fork and exec it makes system calls that are safe in a signal handler, allocates nothing and takes
    // no lock. The descriptors are open: `spawn` ends before they are dropped.
    unsafe { command.pre_exec(keep) };
    let child = command.spawn().map_err(failed)?;
    Ok((child, Stream::new(ours.into())))
}

/// Takes what this process was handed, once, and lets it end with its supervisor.
///
/// # Errors
/// When there is no such supervisor, or nothing was handed over.
#[expect(unsafe_code, reason = "prctl(2), getppid(2), descriptors by their numbers")]
pub fn take(handed: &Handed) -> Result<Hand, Fatal> {
    let refused = |why: String| Fatal { what: format!("be worker {}", handed.number), why };
    // SAFETY: two numbers in, one out. Here rather than before exec, which undoes it where the program has
    // capabilities of its own, such as that for ports below 1024 (prctl(2)).
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } != 0 {
        return Err(refused(errno::text(errno::last())));
    }
    // SAFETY: nothing in, a number out.
    let parent = unsafe { libc::getppid() };
    // It may have died before it could be said that this process is to die with it.
    if parent.cast_unsigned() != handed.supervisor {
        return Err(refused("the supervisor that started it is gone".to_owned()));
    }
    let name = std::ffi::CString::new(format!("linger/{}", handed.number)).unwrap_or_default();
    // SAFETY: the kernel copies at most 16 bytes of a string that ends with a zero.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    let own = |fd: RawFd| {
        if fd <= libc::STDERR_FILENO {
            return Err(refused("a descriptor that was handed over is not one".to_owned()));
        }
        close_on_exec(fd, true).map_err(|errno| refused(errno::text(errno)))?;
        // SAFETY: it is open, as the line above has seen, no standard stream, and nothing else in this process knows
        // of it: the supervisor opened it for us, and this function is called once, at the start.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    let channel = Stream::new(own(handed.channel)?);
    let listeners = handed.listeners.iter().map(|&(fd, kept)| Ok((own(fd)?, kept)));
    let listeners = listeners.collect::<Result<_, _>>()?;
    Ok(Hand { channel, listeners })
}

#[expect(unsafe_code, reason = "fcntl(2)")]
pub(super) fn close_on_exec(fd: RawFd, on: bool) -> Result<(), i32> {
    let flags = if on { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: numbers in, one out; of a descriptor that is not open it says so.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, flags) } == 0 { Ok(()) } else { Err(errno::last()) }
}

/// Lets the signals that mean the whole group of processes pass: the supervisor says what they ask for.
#[expect(unsafe_code, reason = "signal(2)")]
pub(super) fn ignore_group_signals() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let signal: c_int = signal;
        // SAFETY: ignoring installs no handler, so that no code of ours runs in a signal's context.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Processors that this process may run on, at least 1: as many as its affinity and its share of time allow
/// (`sched_getaffinity(2)`, `cgroups(7)`).
pub fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_reads_back() {
        let handed =
            Handed { number: 2, of: 4, supervisor: 4711, channel: 9, listeners: vec![(5, true), (6, false)] };
        assert_eq!(handed.to_text(), "2/4 4711 9 5+,6");
        assert_eq!(Handed::parse(&handed.to_text()), Ok(handed));
        let none = Handed { number: 1, of: 2, supervisor: 1, channel: 3, listeners: vec![] };
        assert_eq!(Handed::parse(&none.to_text()), Ok(none));
        for wrong in ["", "2", "2/4", "2/4 1", "2/4 1 x 5", "2/4 1 9 5,x", "2/4 1 9 +"] {
            assert!(Handed::parse(wrong).is_err(), "{wrong}");
        }
    }
}
