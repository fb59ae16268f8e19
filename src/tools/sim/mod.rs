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
//! | `handshake` | connecting: clients to the server, the server to upstreams |
//! | `hangup` | shutting down, closing a listener or a socket |
//! | `kernel`, `stream` | the traits, with the faults of single calls |
//! | `faults` | what can go wrong, drawn as a swarm; the canaries |
//! | `script`, `peer`, `client_faults` | client programs: what they are like, what they do, what befalls them |
//! | `facts`, `oracle` | what really happened, and whether the server's account agrees |
//! | `manner`, `backend` | backend programs: how they treat a connection, what befalls them |
//! | `relay`, `pairs` | what goes through a pair of a gateway, and what must be true of it |
//! | `naming` | the application's word about the clients of a gateway |
//! | `plan`, `run`, `checks` | a whole run: settings drawn, turns checked, quiescence at the end |
//! | `gateway` | runs of a gateway: listeners that relay, and their backends |
//! | `crowd` | runs in which listeners limit who comes |
//! | `secure`, `credentials` | runs in which listeners speak TLS, and clients that do |
//! | `processes`, `link`, `workers` | several workers: processes that share listeners, the streams between them, their turns and deaths |
//! | `fleet`, `arbiter` | clients of several workers, and what must be true over all of them |
//! | `watched` | one who watches what happens at all of them, and what it must have been told |
//!
//! # What is modelled
//!
//! Handshake from either side, with its two chances to find the accept queue full; refusal, no answer, no way; FIN,
//! RST, half-close; unread data at close; `TCP_LINGER2` and `SO_LINGER {1,0}`; simultaneous close, `TIME_WAIT` and
//! orphans, on both sides; windows and their probes; retransmission with back-off; keepalive and user timeout with
//! the kernel's own arithmetic; `TCP_INFO`; soft errors; urgent bytes. Edge-triggered readiness with the kernel's
//! wake-ups: an edge is given once, and a changed interest looks again. Hosts that are cut off, rebooted, or
//! forgotten by a middlebox.
//!
//! # What is not
//!
//! Congestion control, delayed acknowledgements, reordering within a path (loss is delay), autotuned buffers,
//! SYN cookies, the server's own crash, unix sockets. A clock that goes back: `CLOCK_MONOTONIC` does not.

mod arbiter;
pub mod backend;
#[cfg(test)]
mod backend_tests;
mod checks;
mod client_faults;
mod credentials;
mod crowd;
mod epoll;
mod event_queue;
mod facts;
pub mod faults;
mod fleet;
mod gateway;
pub mod handshake;
mod hangup;
mod health;
pub mod kernel;
mod link;
pub mod manner;
pub mod name_server;
mod naming;
mod oracle;
mod pairs;
pub mod peer;
mod plan;
mod processes;
mod relay;
pub mod rng;
mod run;
pub mod script;
pub mod secure;
#[cfg(test)]
mod silent_tests;
pub mod socket;
pub mod sockets;
pub mod stream;
pub mod tcp;
mod timers;
mod watched;
mod workers;
pub mod world;

pub use crowd::run_crowd;
pub use faults::Canary;
pub use gateway::run_gateway;
pub use run::{Failure, Options, Outcome, run};
pub use secure::run_tls;
pub use workers::run_workers;
