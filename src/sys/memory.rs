//! The memory of the host, and what of it this process may have.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Memory that this process may have, in bytes: the host's, or what its control groups leave of it.
pub fn available() -> Option<u64> {
    let root = Path::new("/");
    let text = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
    let total = meminfo(&text("proc/meminfo")).get("MemTotal").copied();
    let bound = group_bound(root, &text("proc/self/cgroup"));
    total.into_iter().chain(bound).min()
}

/// Lets each large buffer have pages of its own, which go back to the kernel as soon as it is freed, and grow without
/// being copied (mremap(2)). The C library does so only until the first of them was freed: from then on it takes them from
/// its heap (mallopt(3), `M_MMAP_THRESHOLD`), where after a surge of output one small live piece keeps hundreds of
/// megabytes.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "mallopt(3)")]
pub(super) fn give_large_buffers_back() {
    /// Bytes.
    const LARGE: libc::c_int = 64 * 1024;
    /// Bytes at the end of the heap that are kept for the next in need, or every message to many would fault them in anew.
    const KEPT: libc::c_int = 32 * 1024 * 1024;
    for (option, bytes) in [(libc::M_MMAP_THRESHOLD, LARGE), (libc::M_TRIM_THRESHOLD, KEPT)] {
        // SAFETY: an option of the allocator; it locks itself.
        unsafe { libc::mallopt(option, bytes) };
    }
}

/// It is an option of the GNU C library's allocator.
#[cfg(not(target_env = "gnu"))]
pub(super) const fn give_large_buffers_back() {}

/// What `/proc/meminfo` has, in bytes: `MemTotal:       24684084 kB`.
pub fn meminfo(text: &str) -> BTreeMap<String, u64> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .filter_map(|(name, rest)| {
            let kib: u64 = rest.split_ascii_whitespace().next()?.parse().ok()?;
            Some((name.to_owned(), kib.saturating_mul(1024)))
        })
        .collect()
}

/// The least bound of the control groups that this process is in: in version 2 `memory.max`, in version 1 what the
/// hierarchy of the memory controller has. Sockets are charged to it.
pub fn group_bound(root: &Path, membership: &str) -> Option<u64> {
    let bounds = membership.lines().filter_map(|line| {
        // `ID:CONTROLLERS:PATH` (cgroups(7)); version 2 has the ID 0 and names no controllers.
        let mut fields = line.splitn(3, ':');
        let (id, controllers, group) = (fields.next()?, fields.next()?, fields.next()?);
        if id == "0" {
            least(&root.join("sys/fs/cgroup"), group, "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            least(&root.join("sys/fs/cgroup/memory"), group, "memory.limit_in_bytes")
        } else {
            None
        }
    });
    bounds.min()
}

/// The least number that a group and those that it is in have in `file`. In a container the path may be the host's, and
/// only the top of the hierarchy is there.
fn least(hierarchy: &Path, group: &str, file: &str) -> Option<u64> {
    /// Version 1 says "none" by the largest count of whole pages (`mm/page_counter.c: PAGE_COUNTER_MAX`).
    const UNBOUNDED: u64 = 1 << 62;
    let group = Path::new(group.trim()).strip_prefix("/").ok()?;
    let bound = |group: &Path| fs::read_to_string(hierarchy.join(group).join(file)).ok()?.trim().parse().ok();
    group.ancestors().filter_map(bound).filter(|&bound: &u64| bound < UNBOUNDED).min()
}
