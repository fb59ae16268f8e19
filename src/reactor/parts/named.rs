//! What is remembered of a client that the application behind its gateway has named, and where a connection is that
//! somebody names.

use crate::core::table::Key;
use crate::hub::Membership;
use crate::protocol::Raw;

/// What is remembered of a client that the application behind its gateway has named.
pub(in crate::reactor) struct Named {
    pub(in crate::reactor) membership: Membership,
    pub(in crate::reactor) raw: Raw,
    /// Messages that it was sent by its identity, and their bytes: what others than its partner have sent it.
    pub(in crate::reactor) messages_out: u64,
    pub(in crate::reactor) bytes_out: u64,
}

/// Where a connection is that somebody names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::reactor) enum Place {
    /// If it is anywhere, then at this worker.
    Here(Key),
    /// At another worker.
    Elsewhere,
    /// There is no such worker.
    Nowhere,
}
