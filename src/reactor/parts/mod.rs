//! What the server is made of, beside its connections: each part keeps its fields to itself, and knows no other part of the
//! reactor but those that it is made of. [`Context`](super::context::Context) has them all.

pub(super) mod admin;
pub(super) mod ask;
pub(super) mod asks;
pub(super) mod audits;
pub(super) mod balance;
pub(super) mod check;
pub(super) mod checks;
pub(super) mod deadlines;
pub(super) mod deferral;
pub(super) mod effect;
pub(super) mod endings;
pub(super) mod initiators;
pub(super) mod lifecycle;
pub(super) mod link;
pub(super) mod list;
pub(super) mod listener;
pub(super) mod log_ins;
pub(super) mod named;
pub(super) mod names;
pub(super) mod news;
pub(super) mod pairs;
pub(super) mod places;
pub(super) mod pool;
pub(super) mod posted;
pub(super) mod preamble;
pub(super) mod proxied;
pub(super) mod queued;
pub(super) mod reclaim;
pub(super) mod removals;
pub(super) mod secured;
pub(super) mod server;
pub(super) mod server_timers;
pub(super) mod servers;
pub(super) mod task;
pub(super) mod upstreams;
