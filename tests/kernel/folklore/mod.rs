//! What is said of TCP servers, tried on the running kernel: no server of ours, only sockets. What
//! `linger doctor` calls folklore, and facts in `src/sys/facts.md` that need two hosts or a sysctl, are here.
//!
//! Sysctls and rules belong to a network namespace. Tests that change any are ignored by plain `cargo test`:
//!
//! ```sh
//! unshare -n bash -c \
//!     'ip link set lo up; LINGER_TEST_NAMESPACE=1 cargo test --test kernel folklore -- --ignored --test-threads=1'
//! ```
//!
//! Where a claim is about minutes, its test shows the kernel's timer (`/proc/net/tcp`), or has the sysctl that
//! scales it set to a second.

#![expect(unreachable_pub, reason = "a test crate has no outside")]
#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]
#![expect(clippy::disallowed_types, reason = "these are ordinary blocking sockets")]
#![expect(clippy::disallowed_methods, reason = "tests wait on the real clock")]

mod accepting;
mod closing;
mod detecting;
mod host;
mod limits;
mod programs;
