//! The lab: proof of what this server detects, by which means, how fast, and what it leaves behind.
//!
//! A row of its matrix is a [way to go](case), a column a [means](method) of detection, alone on a listener of its own
//! on one server, or a gateway in front of [it](path), plain or over TLS. Where identities matter to a gateway, the server
//! behind it is an [application] that names its clients. For each row it builds a [network] of its own, sets up the [testbed] with real processes,
//! does the fault, and [reads](row) the server's log and the kernel's tables on [both sides](observe). What each
//! cell has to show stands in [one table](expect), with latencies computed from the [settings]; whatever
//! differs is a failure.
//!
//! Nothing is ever added to the namespace that the lab was started in, nothing has a name in a file system, and every
//! child is killed by the kernel when the lab ends, however it ends.

pub mod application;
pub mod case;
pub mod client;
pub mod expect;
pub mod foreign;
pub mod method;
pub mod network;
pub mod observe;
pub mod path;
pub mod remote_client;
pub mod report;
pub mod row;
pub mod run;
pub mod server;
pub mod settings;
pub mod testbed;
pub mod wire;

pub use remote_client::CLIENT_COMMAND;

use crate::net::Fatal;
use crate::sys::process::{Namespace, become_root_of_a_user_namespace};

/// Whether the lab can work here. An ordinary user is made root of a user namespace, if the host permits that.
///
/// # Errors
/// What is missing, and what would help.
pub fn enter() -> Result<(), Fatal> {
    let permitted = become_root_of_a_user_namespace().and_then(|()| Namespace::new());
    if let Err(Fatal { what, why }) = permitted {
        let why = format!(
            "{why}; run it as root, or permit user namespaces (sysctl user.max_user_namespaces, \
             kernel.apparmor_restrict_unprivileged_userns=0)"
        );
        return Err(Fatal { what, why });
    }
    network::try_tools()
}

/// The kernel's release.
pub fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}
