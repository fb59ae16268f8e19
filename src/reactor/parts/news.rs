//! What one leg of a pair has to tell the other.

use crate::core::conn::policy::LastRung;

/// What a leg is told of its partner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::reactor) enum News {
    /// It takes bytes: it is connected now, or has taken what waited for it.
    Room,
    /// It brings nothing more, and goes on taking.
    Finished,
    /// It ends in order.
    Leaving,
    /// It is gone; by a reset, if that is how the partner is to go.
    Gone(LastRung),
}
