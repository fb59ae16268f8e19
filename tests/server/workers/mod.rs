//! Several workers under a supervisor: how clients are spread over them, what the death of one does to the others, who
//! holds an identity, and how signals, settings and questions reach all of them.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]
#![allow(clippy::float_cmp, reason = "metrics are whole numbers")]
#![allow(clippy::disallowed_types, reason = "clients of the tests are ordinary blocking ones")]
#![allow(clippy::disallowed_methods, reason = "tests measure on the real clock")]
#![allow(clippy::cast_precision_loss, reason = "metrics are small whole numbers")]
#![allow(clippy::format_collect, reason = "a test need not save an allocation")]
#![allow(clippy::needless_for_each, reason = "one line for one thing that all clients do")]
#![allow(clippy::print_stderr, reason = "a part that is skipped is said")]

mod admin;
mod commands;
pub(crate) mod crowd;
mod death;
mod identity;
mod operate;
mod presence;
mod stall;
mod tls;
mod upstreams;
