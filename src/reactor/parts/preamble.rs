//! What is waited for at the beginning of a connection before it is known where it belongs.

use super::proxied::PendingHeader;
use crate::transport::HelloReader;

/// One of these at a time: the header comes first.
#[derive(Debug)]
pub(in crate::reactor) enum Preamble {
    /// The header of a proxy, which says whose the connection is.
    Header(PendingHeader),
    /// The first message of TLS that passes through, which says where to.
    Hello(Box<HelloReader>),
}

impl Preamble {
    /// Whether some of it has come, and not all.
    pub(in crate::reactor) fn has_begun(&self) -> bool {
        match self {
            Self::Header(header) => !header.bytes.is_empty(),
            Self::Hello(hello) => hello.has_begun(),
        }
    }

    /// Memory that it holds, in bytes.
    pub(in crate::reactor) fn memory(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Header(header) => header.bytes.capacity(),
                Self::Hello(hello) => hello.memory(),
            }
    }
}
