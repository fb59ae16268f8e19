//! What workers and their supervisor say to each other, and the queue that it goes through: plain messages over a
//! stream. Neither side ever waits for the other here; what a message means is for the reactor (`reactor/worker_link.rs`)
//! and the [`supervisor`](crate::workers::supervisor) to say.
//!
//! A channel keeps its order in each direction, and that is all that take-over between workers relies on; read on in
//! `src/workers/supervisor/identities.rs`.

mod channel;
mod message;
mod query;
mod question;
mod queue;
mod wire;

use crate::core::time::{Duration, Instant};
pub use channel::{Broken, Channel, More};
pub use message::{Message, Role, ToSupervisor, ToWorker, Topic};
pub use query::{Finding, InfoNumbers, Query, ServerNumbers};
pub use question::{About, Answer, Content, EndRow, EndRows, EventRow, EventRows, Question, Rows};
pub use wire::Malformed;

/// How long a process that ends waits at most until others have taken its last words about what happened: a worker for its
/// supervisor, that for those who watch.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(2);
/// The same where the time for the drain is over: less than a worker has until it is killed.
const LAST_WORDS_LATE: Duration = Duration::from_millis(750);

/// Until when a process waits for that which ends now, with so much left of the time for the drain.
pub fn last_words_until(now: Instant, spare: Duration) -> Instant {
    now + (spare + LAST_WORDS_LATE).min(LAST_WORDS_WITHIN)
}

/// Output to the supervisor, in bytes, over which a worker takes no new identities and publishes nothing: it does not
/// keep up. What a worker tells all the same is bounded by the identities that it has taken.
pub const CLAIMS_HIGH: usize = 4 * 1024 * 1024;

/// Output to a worker, in bytes, over which nothing of the others' is relayed to it: it stalls. What it must be
/// told all the same is bounded by the identities that it has taken.
pub const RELAYS_HIGH: usize = 4 * 1024 * 1024;
