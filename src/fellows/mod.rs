//! What workers and their supervisor say to each other, and the queue that it goes through: plain messages over a
//! stream. Neither side ever waits for the other here; what a message means is for the reactor (`reactor/fellows.rs`)
//! and the [`supervisor`](crate::supervisor) to say.
//!
//! A channel keeps its order in each direction, and that is all that take-over between workers relies on; read on in
//! `supervisor/identities.rs`.

mod channel;
mod message;

pub use channel::{Broken, Channel, More};
pub use message::{Answer, Malformed, Message, Question, Seat, ToSupervisor, ToWorker};

/// Output to the supervisor, in bytes, over which a worker takes no new identities: it does not keep up. Everything
/// else that a worker tells unasked is bounded by the identities that it has taken.
pub const CLAIMS_HIGH: usize = 4 * 1024 * 1024;

/// Output to a worker, in bytes, over which beats are not relayed to it: it stands still, and judges nobody.
pub const BEATS_HIGH: usize = 1024 * 1024;
