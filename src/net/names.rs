//! Names of hosts, and what a look-up says of them.

use std::fmt;
use std::net::SocketAddr;

/// A host by its name, and a port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct HostName {
    /// The name.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Names that were looked up, each with its addresses in their order, at least one, or why there is none.
pub type Answers = Vec<(HostName, Result<Vec<SocketAddr>, String>)>;
