//! Isolates a thread that works beside the loop, so that the loop's calls cost less.

use super::errno;
use libc::c_uint;

/// Gives the calling thread a table of descriptors of its own, with the standard streams and nothing else. It takes no
/// signals from then on: their handlers write to a descriptor that it does not have any more.
///
/// While threads share a table, each call on a descriptor counts who holds the file, by two atomic operations
/// (`fs/file.c: __fget_light`). One thread that only sleeps is enough for that. Without it, a round trip through a
/// gateway costs a hundredth less.
///
/// # Errors
/// The errno where the call is not there (`close_range(2)`, Linux 5.9) or a filter forbids it. The thread goes on
/// sharing the table, and everything works.
#[expect(unsafe_code, reason = "sigsetops(3), pthread_sigmask(3), close_range(2)")]
pub fn isolate() -> Result<(), i32> {
    const FIRST: c_uint = libc::STDERR_FILENO.cast_unsigned() + 1;
    // SAFETY: all zeros is a value of a set of signals.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: it writes one set, which is ours.
    unsafe { libc::sigfillset(&raw mut all) };
    // SAFETY: it reads one set, and is asked to write none.
    let blocked = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut()) };
    if blocked != 0 {
        return Err(blocked);
    }
    // SAFETY: three numbers. What is closed is this thread's own copy (CLOSE_RANGE_UNSHARE), and the caller has no
    // object that holds one of these descriptors: those of others stay open.
    let outcome =
        unsafe { libc::syscall(libc::SYS_close_range, FIRST, c_uint::MAX, libc::CLOSE_RANGE_UNSHARE) };
    if outcome == 0 { Ok(()) } else { Err(errno::last()) }
}

#[cfg(test)]
mod tests {
    use super::isolate;
    use std::fs;
    use std::os::fd::AsRawFd;

    /// The files that the descriptors of the calling thread name.
    fn open() -> Vec<String> {
        let entries = fs::read_dir("/proc/thread-self/fd").expect("a directory").flatten();
        entries
            .filter_map(|entry| fs::read_link(entry.path()).ok()?.into_os_string().into_string().ok())
            .collect()
    }

    /// Whether the calling thread blocks a signal.
    fn blocks(signal: i32) -> bool {
        let status = fs::read_to_string("/proc/thread-self/status").expect("a thread");
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).expect("a line");
        u64::from_str_radix(blocked, 16).expect("a number") >> (signal - 1) & 1 == 1
    }

    #[test]
    fn an_isolated_thread_has_no_descriptors_of_others_and_takes_no_signals() {
        let file = fs::File::open("/proc/self/exe").expect("this program");
        let name = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).expect("open");
        let name = name.to_str().expect("a path").to_owned();
        let look = {
            let name = name.clone();
            move || (open().contains(&name), blocks(libc::SIGTERM))
        };
        let (before, after) = std::thread::spawn(move || {
            let before = look();
            isolate().expect("Linux 5.9");
            (before, look())
        })
        .join()
        .expect("it looks");
        assert_eq!((before, after), ((true, false), (false, true)));
        assert!(open().contains(&name) && !blocks(libc::SIGTERM), "the others keep what they had");
    }
}
