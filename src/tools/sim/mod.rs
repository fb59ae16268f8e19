//! A simulated kernel, network and clients behind the traits of [`net`](crate::net), to let the real reactor
//! live through thousands of bad days in a minute. One seed is one run, for ever: `linger sim --seed S --trace`.
//!
//! Read in this order:
//!
//! | file | what |
//! | --- | --- |
//! | `tcp`, `timers`, `socket` | one end of a TCP connection as Linux keeps it, and as a program sees it |
//! | `event_queue`, `world` | time, hosts, paths, accept queues, readiness: all that happens is one queue of events |
//! | `epoll` | what a poll brings, and what keeps the loop from looking at it |
//! | `hangup` | shutting down, closing a listener or a socket |
//! | `kernel` | the traits, with the faults of single calls |
//! | `faults` | what can go wrong, drawn as a swarm; the canaries |
//! | `script`, `peer`, `client_faults` | client programs: what they are like, what they do, what befalls them |
//! | `oracle` | what really happened, and whether the server's account agrees |
//! | `plan`, `run`, `checks` | a whole run: settings drawn, turns checked, quiescence at the end |
//! | `processes`, `link`, `workers` | several workers: processes that share listeners, the streams between them, their turns and deaths |
//! | `fleet`, `arbiter` | clients of several workers, and what must be true over all of them |
//!
//! # What is modelled
//!
//! Handshake with its two chances to find the accept queue full; FIN, RST, half-close; unread data at close;
//! `TCP_LINGER2` and `SO_LINGER {1,0}`; simultaneous close, `TIME_WAIT` and orphans, on both sides; windows and
//! their probes; retransmission with back-off; keepalive and user timeout with the kernel's own arithmetic;
//! `TCP_INFO`; soft errors; urgent bytes. Edge-triggered readiness with the kernel's wake-ups: an edge is given
//! once, and a changed interest looks again. Hosts that are cut off, rebooted, or forgotten by a middlebox.
//!
//! # What is not
//!
//! Congestion control, delayed acknowledgements, reordering within a path (loss is delay), autotuned buffers,
//! SYN cookies, the server's own crash, unix sockets. A clock that goes back: `CLOCK_MONOTONIC` does not.

mod arbiter;
mod checks;
mod client_faults;
mod epoll;
mod event_queue;
pub mod faults;
mod fleet;
mod hangup;
pub mod kernel;
mod link;
mod oracle;
pub mod peer;
mod plan;
mod processes;
pub mod rng;
mod run;
pub mod script;
pub mod socket;
pub mod sockets;
pub mod tcp;
mod timers;
mod workers;
pub mod world;

pub use faults::Canary;
pub use run::{Failure, Options, Outcome, run};
pub use workers::run_workers;
