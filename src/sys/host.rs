//! Facts about the host, read from `/proc`.

use crate::core::time::Duration;
use crate::net::{HostCounters, Usage};
use std::ffi::CString;
use std::fs;
use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The cap on every accept queue (`net.core.somaxconn`).
pub fn somaxconn() -> Option<u32> {
    fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}

/// The number of an interface in the network namespace of this process.
#[expect(unsafe_code, reason = "if_nametoindex(3)")]
pub fn interface(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: a string that ends with a zero and outlives the call.
    let number = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (number > 0).then_some(number)
}

/// How long the first thread of this process was ready to run while others held the processors
/// (`Documentation/scheduler/sched-stats.rst`).
pub fn waited() -> Option<Duration> {
    let schedstat = fs::read_to_string("/proc/self/schedstat").ok()?;
    schedstat.split_ascii_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

/// CPU time that this process has used.
#[expect(unsafe_code, reason = "clock_gettime(2)")]
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one `timespec` where one is.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// CPU time that all threads of a process have used; none if there is no such process.
pub fn cpu_time_of(pid: u32) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let of_thread = |path: std::path::PathBuf| -> Option<u64> {
        let schedstat = fs::read_to_string(path.join("schedstat")).ok()?;
        schedstat.split_ascii_whitespace().next()?.parse().ok()
    };
    // A thread may end while they are walked.
    let nanos = threads.flatten().filter_map(|thread| of_thread(thread.path())).sum();
    Some(Duration::from_nanos(nanos))
}

/// The ports that the kernel chooses for those who do not care (`net.ipv4.ip_local_port_range`).
pub fn ephemeral_ports() -> Option<RangeInclusive<u16>> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut bounds = range.split_ascii_whitespace().map_while(|bound| bound.parse().ok());
    Some(bounds.next()?..=bounds.next()?)
}

/// How long the kernel keeps a closed connection in `FIN_WAIT2` (`net.ipv4.tcp_fin_timeout`).
pub fn fin_timeout() -> Option<Duration> {
    let seconds = fs::read_to_string("/proc/sys/net/ipv4/tcp_fin_timeout").ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

/// What this process uses. Nothing is walked for it, however large the process is (`fs/proc/task_mmu.c: task_statm`).
#[expect(unsafe_code, reason = "getrusage(2), sysconf(3)")]
pub(super) fn usage() -> Option<Usage> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = statm.split_ascii_whitespace().map_while(|pages| pages.parse::<u64>().ok());
    let (virtual_pages, resident_pages) = (pages.next()?, pages.next()?);
    // SAFETY: a number in, a number out.
    let page_bytes = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    // SAFETY: all zeros is a value of a structure of numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one `rusage` where one is.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) } != 0 {
        return None;
    }
    let cpu = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.cast_unsigned()) + Duration::from_micros(time.tv_usec.cast_unsigned())
    };
    Some(Usage {
        resident_bytes: resident_pages * page_bytes,
        virtual_bytes: virtual_pages * page_bytes,
        // Linux 6.2 and later tell their number so (fs/proc/fd.c: proc_fd_getattr), and 0 before that.
        descriptors: fs::metadata("/proc/self/fd").ok().map(|of| of.len()).filter(|&count| count > 0),
        descriptors_max: super::limits::descriptors().soft,
        started: started()?,
        unix_time: unix_time(),
        cpu_user: cpu(usage.ru_utime),
        cpu_system: cpu(usage.ru_stime),
    })
}

/// When this process was started, since 1970. Read once: the clock may be set meanwhile, and the start is what it was.
fn started() -> Option<Duration> {
    static STARTED: OnceLock<Option<Duration>> = OnceLock::new();
    *STARTED.get_or_init(|| {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program, which may have blanks, ends with the last parenthesis; the state is field 3.
        let ticks: u64 = stat.rsplit(')').next()?.split_ascii_whitespace().nth(19)?.parse().ok()?;
        let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split(' ').next()?.parse().ok()?;
        // USER_HZ, which is 100 wherever Linux runs (include/asm-generic/param.h).
        let age = Duration::from_secs_f64(uptime).saturating_sub(Duration::from_millis(ticks * 10));
        Some(unix_time().saturating_sub(age))
    })
}

/// Time since 1970, by the clock on the wall.
#[expect(clippy::disallowed_methods, reason = "this is sys, and what others compare with is this clock")]
pub fn unix_time() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// The host's counters. They belong to the network namespace, not to this process.
pub(super) fn host_counters() -> Option<HostCounters> {
    parse(&fs::read_to_string("/proc/net/netstat").ok()?)
}

/// `/proc/net/netstat` has for each group a line of names and then a line of as many numbers.
fn parse(netstat: &str) -> Option<HostCounters> {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let value_of = |wanted: &str| -> Option<u64> {
        let mut columns = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
        columns.find(|&(name, _)| name == wanted)?.1.parse().ok()
    };
    Some(HostCounters {
        overflows: value_of("ListenOverflows")?,
        drops: value_of("ListenDrops")?,
        time_waits: value_of("TW")? + value_of("TWKilled")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_are_found_by_name() {
        let netstat = "TcpExt: SyncookiesSent ListenOverflows ListenDrops TW TWKilled\nTcpExt: 1 22 333 4 5\n\
                       IpExt: InNoRoutes\nIpExt: 5\n";
        assert_eq!(parse(netstat), Some(HostCounters { overflows: 22, drops: 333, time_waits: 9 }));
        assert_eq!(parse("IpExt: ListenDrops\nIpExt: 5\n"), None);
        assert_eq!(parse("TcpExt: ListenDrops\nTcpExt: x\n"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn this_host_tells() {
        assert!(host_counters().is_some());
        assert!(waited().is_some());
        let usage = usage().expect("a process uses something");
        assert!(usage.resident_bytes > 100_000 && usage.virtual_bytes > usage.resident_bytes, "{usage:?}");
        assert!(usage.descriptors.is_none_or(|open| open >= 3 && open <= usage.descriptors_max), "{usage:?}");
        let age = usage.unix_time.saturating_sub(usage.started);
        assert!(age < Duration::from_secs(3_600), "this test has not run for {age:?}");
        assert!(cpu_time_of(std::process::id()).is_some_and(|time| !time.is_zero()));
        assert_eq!(cpu_time_of(u32::MAX), None);
        assert!(ephemeral_ports().is_some_and(|ports| !ports.is_empty()));
        assert!(somaxconn().is_some_and(|limit| limit > 0));
        assert!(fin_timeout().is_some_and(|time| !time.is_zero()));
    }
}
