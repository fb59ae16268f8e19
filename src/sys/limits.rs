//! The process's bound on descriptors, and one descriptor held back for when it is reached.

use super::errno;
use crate::net::Fatal;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

/// The soft bound on descriptors (`RLIMIT_NOFILE`, getrlimit(2)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptors {
    /// As the process was started with.
    pub before: u64,
    /// As it is now.
    pub now: u64,
}

/// The bounds on descriptors, as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// In force.
    pub soft: u64,
    /// As far as the process may raise it.
    pub hard: u64,
}

/// Reads the bounds on descriptors, and changes nothing.
pub fn descriptors() -> Bounds {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    rlimit(&mut limit);
    Bounds { soft: limit.rlim_cur, hard: limit.rlim_max }
}

/// Raises the soft bound on descriptors to the hard one. The soft bound is often 1024, kept low for
/// programs that call select(2); where raising fails, it stays.
pub fn raise_descriptors() -> Descriptors {
    let Bounds { soft: before, hard } = descriptors();
    let raised = libc::rlimit { rlim_cur: hard, rlim_max: hard };
    let now = if set_rlimit(&raised) { hard } else { before };
    Descriptors { before, now }
}

/// Lets the process's table of descriptors have room for `count` now, as far as its bound allows.
///
/// The kernel doubles the table when a descriptor does not fit. In a process of more than one thread it first waits
/// until all processors have passed through the scheduler (`fs/file.c: expand_fdtable`, `synchronize_rcu`): an accept
/// takes 10 to 40 ms then, at 256 connections, at 512, and so on. An entry is 8 bytes of the kernel's memory.
pub fn reserve_descriptors(count: u64) {
    let last = count.min(descriptors().soft).saturating_sub(1);
    if let (Ok(last), Ok(any)) = (RawFd::try_from(last), spare()) {
        // Where there is no memory for that, the table grows by need as it always did.
        drop(duplicate(&any, last));
    }
}

/// A second descriptor of `file`, the lowest free one that is not below `least`.
#[expect(unsafe_code, reason = "fcntl(2), F_DUPFD_CLOEXEC")]
fn duplicate(file: &OwnedFd, least: RawFd) -> Option<OwnedFd> {
    // SAFETY: no pointers are passed.
    let found = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, least) };
    // SAFETY: it is open, and nobody else's.
    (found >= 0).then(|| unsafe { OwnedFd::from_raw_fd(found) })
}

/// A descriptor that is for nothing. Of no file: a container may have none, not even `/dev/null`.
#[expect(unsafe_code, reason = "eventfd(2)")]
fn spare() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let made = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

#[expect(unsafe_code, reason = "getrlimit(2)")]
fn rlimit(limit: &mut libc::rlimit) {
    // SAFETY: the kernel writes one `rlimit` where one is.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, limit) };
    assert_eq!(result, 0, "getrlimit fails only for an unknown resource or a bad pointer");
}

#[expect(unsafe_code, reason = "setrlimit(2)")]
fn set_rlimit(limit: &libc::rlimit) -> bool {
    // SAFETY: the kernel reads one `rlimit`.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, limit) == 0 }
}

/// A descriptor held back: when the process has run out of them, giving this one up lets one more
/// connection be accepted, so that an operator can still get in.
#[derive(Debug)]
pub struct Reserve(Option<OwnedFd>);

impl Reserve {
    /// Takes the descriptor.
    ///
    /// # Errors
    /// When there is none to take.
    pub fn new() -> Result<Self, Fatal> {
        match spare() {
            Ok(spare) => Ok(Self(Some(spare))),
            Err(error) => Err(errno::fatal("hold a descriptor back", errno::number(&error))),
        }
    }

    /// Gives it up; false if it was given up before and not retaken.
    pub fn release(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// Takes it again if need be; false if there is none to take yet.
    pub fn retake(&mut self) -> bool {
        if self.0.is_none() {
            self.0 = spare().ok();
        }
        self.0.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::Duration;
    use crate::net::{Accepted, Kernel as _, Listener as _, Resource, Token};
    use crate::sys::Os;
    use crate::sys::testing::{self, Client, in_child, until};
    use std::fs::File;

    #[test]
    fn the_soft_bound_rises_to_the_hard_one() {
        in_child("sys::limits::tests::the_soft_bound_rises_to_the_hard_one", || {
            let hard = raise_descriptors().now;
            assert!(set_rlimit(&libc::rlimit { rlim_cur: 64, rlim_max: hard }));
            assert_eq!(raise_descriptors(), Descriptors { before: 64, now: hard });
            assert_eq!(raise_descriptors(), Descriptors { before: hard, now: hard });
        });
    }

    #[test]
    fn descriptors_that_were_reserved_do_not_make_the_table_grow() {
        /// Of the table of descriptors, in entries (`FDSize` in `/proc/self/status`).
        fn size() -> u64 {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
            size.trim().parse().unwrap()
        }
        in_child("sys::limits::tests::descriptors_that_were_reserved_do_not_make_the_table_grow", || {
            let bound = raise_descriptors().now.min(1000);
            let before = size();
            assert!(before < bound, "{before}");
            reserve_descriptors(bound);
            let reserved = size();
            assert!(reserved >= bound, "{reserved}");
            let hoard: Vec<File> = (0..bound - 20).map(|_| File::open("/dev/null").unwrap()).collect();
            assert_eq!(size(), reserved);
            drop(hoard);
        });
    }

    #[test]
    fn out_of_descriptors_accept_stalls_until_the_reserve_is_released() {
        in_child(
            "sys::limits::tests::out_of_descriptors_accept_stalls_until_the_reserve_is_released",
            || {
                let mut os = Os::without_signals().unwrap();
                let mut listener = os.listen(&testing::loopback(), Token(1)).unwrap();
                let mut reserve = Reserve::new().unwrap();
                let _client = Client::connect(testing::socket_of(&listener)).unwrap();
                until("the connection waits", || listener.queue().unwrap().length == 1);
                let mut ready = Vec::new();
                os.poll(Some(Duration::from_secs(10)), &mut ready).unwrap();
                assert_eq!(ready.len(), 1);

                assert!(set_rlimit(&libc::rlimit { rlim_cur: 64, rlim_max: 64 }));
                let mut hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
                assert!(matches!(listener.try_accept(), Accepted::Exhausted(Resource::ProcessFiles)));
                assert_eq!(listener.queue().unwrap().length, 1, "it stays in the queue");

                // A descriptor becomes free, and the edge-triggered listener says nothing about it.
                hoard.pop();
                ready.clear();
                os.poll(Some(Duration::from_millis(50)), &mut ready).unwrap();
                assert_eq!(ready, []);

                hoard.push(File::open("/dev/null").unwrap());
                assert!(reserve.release());
                assert!(!reserve.release());
                let Accepted::Stream(stream, _) = listener.try_accept() else { panic!("one can get in") };
                assert!(!reserve.retake());
                drop(stream);
                assert!(reserve.retake());
            },
        );
    }

    #[test]
    fn accept_takes_a_descriptor_before_it_looks_whether_anyone_waits() {
        in_child(
            "sys::limits::tests::accept_takes_a_descriptor_before_it_looks_whether_anyone_waits",
            || {
                let mut os = Os::without_signals().unwrap();
                let mut listener = os.listen(&testing::loopback(), Token(1)).unwrap();
                assert!(matches!(listener.try_accept(), Accepted::WouldBlock));
                assert!(set_rlimit(&libc::rlimit { rlim_cur: 64, rlim_max: 64 }));
                let _hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
                // Nobody waits, and it is not that which it says (net/socket.c: __sys_accept4_file).
                assert!(matches!(listener.try_accept(), Accepted::Exhausted(Resource::ProcessFiles)));
            },
        );
    }
}
