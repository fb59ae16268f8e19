//! What is done with a leg of a pair because of what has happened to it or to its partner.

use crate::core::conn::policy::LastRung;

/// What is done with a leg next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::reactor) enum Next {
    /// Its partner takes bytes: it is connected now, or its pending output is sent.
    Resume,
    /// It is told of its partner.
    Partner(News),
    /// Its peer has all that was for it: it is read once more, and closed.
    LastLook,
    /// It is a client, and is connected to the next server.
    Connect,
}

/// What a leg is told of its partner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::reactor) enum News {
    /// It sends nothing more, and still receives.
    Finished,
    /// It ends in order.
    Leaving,
    /// It is gone. The rung says how the partner is to be closed.
    Gone(LastRung),
}
