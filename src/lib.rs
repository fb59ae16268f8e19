//! linger: the connection server that knows when and why every client left, and always closes last.
//!
//! This page is the architecture: a tour of the files in reading order, from the turn of the loop outwards.
//! Each file says at its top what it owns; where it matters, what it must not do, and where to read next.
//!
//! # The turn
//!
//! Everything that concerns a client happens on one thread, in [`reactor::Reactor::turn`]. What may take long is done
//! beside it: the kernel's table of sockets is read while an audit lasts (`src/sys/dump.rs`), the configuration is read
//! again (`src/sys/aside.rs`), and the log is written (`src/observe/logging/queue.rs`). The turn:
//!
//! ```text
//! poll ─▶ read the clock once ─▶ note listeners, take signals ─▶ accept (bounded)
//!      ─▶ resume what a share or a pause stopped ─▶ dispatch readiness ─▶ answer the admin interface
//!      ─▶ effects ─▶ messages of the supervisor ─▶ publications
//!      ─▶ expire deadlines (after I/O: data beats its own timeout) ─▶ flush ─▶ reclaim memory
//!      ─▶ a step of an audit ─▶ events for those who watch ─▶ drain ─▶ messages to the supervisor ─▶ next
//! ```
//!
//! A turn serves everyone a little: accepts, bytes, commands, effects, deliveries and expiries each have a share of
//! work (`src/reactor/work.rs`), each client is charged for what it asks, and what is over a share makes the next poll
//! not wait. Nothing else makes it not wait: an idle server sleeps until its next deadline, which the wheel knows
//! exactly.
//!
//! Silence is judged up to where the loop has looked, not up to now ([`core::timer::attention`]): a deadline that
//! passed while the loop stalled, or behind a poll that brought only a part, waits for a turn that has read what came
//! before it.
//!
//! # The life of a connection
//!
//! [`core::conn::state`] is the heart. Seven states in temporal order, and one table of what follows from what:
//!
//! ```text
//! Connecting (to an upstream) ──┐
//!              Handshaking ──▶ Open ◀──▶ Suspect ──▶ PeerClosed ◀─▶ Closing ──▶ Closed
//! ```
//!
//! It is pure: the reactor tells it what happened ([`core::conn::Input`]) and it answers what to do
//! ([`core::conn::Action`]). [`core::conn::liveness`] is the other half: which deadline comes next, and what silence
//! means once the peer's kernel has been asked. [`core::conn::policy`] is what a listener can ask for.
//!
//! Every accepted connection ends exactly once, with one [`core::end::End`]: reason, detector, way of closing,
//! silence, bytes, and the kernel's evidence. It is made in one function (`reactor/close.rs`); no other
//! code closes a connection of the table; and log, metrics, presence and the admin interface all read it.
//!
//! # Several workers
//!
//! One process is the rule: one thread, and everybody reaches everybody. `--workers 2` makes the process a
//! [`workers::supervisor`] that serves no client. It opens the listening sockets, one for each worker (`SO_REUSEPORT`),
//! starts itself anew as each of them, and keeps the sockets open, so that who waits to be accepted outlives a worker.
//! A worker is the same [`reactor`], with a channel to the supervisor (`src/reactor/worker_link.rs`): it tells of each
//! identity that a client takes or leaves, is told when a later claim was made elsewhere, and answers questions of the
//! admin interface and of the clients of all workers. The channel keeps its order, and that is all that take-over
//! needs: `src/workers/supervisor/identities.rs` has the argument, and the test of it.
//!
//! # The layers
//!
//! A module may name only modules that stand before it in the table of `tests/model/layers/table.rs`, and a test checks that. The
//! rooms, roughly in that order:
//!
//! - [`core`]: what every room builds on, pure: [`core::time`], [`core::units`], [`core::setting`] (what can be set,
//!   declared), [`core::tcp`] (a socket's state), [`core::end`] (why a connection ended), [`core::buf`],
//!   [`core::table`] (connections by index and generation), [`core::timer`] (the wheel), [`core::conn`] (one
//!   connection's life), [`core::health`] (whether an upstream server gets connections)
//! - [`guide`]: the pages that `linger explain` prints
//! - [`net`]: the kernel as the reactor sees it: traits and plain values
//! - [`hub`]: identities, topics, presence, pure: it answers who
//! - [`protocol`]: wire protocols, pure: a folder and a line of the registry each; the contracts are [`protocol::Spec`],
//!   [`protocol::Session`] and, for what a session asks for, [`protocol::Server`]
//! - [`tls`]: certificates, keys, and what is made of them
//! - [`transport`]: what lies between a socket and a session: nothing, or a layer with records of its own; pure
//! - [`config`]: settings, and every mistake in them; what can be spoken it learns from the registry
//! - [`observe`]: what is counted ([`observe::metrics`]), kept of the last endings ([`observe::history`]), answered to the
//!   operator ([`observe::answers`]) and said ([`observe::report`]), how it is written ([`observe::logging`]); the kernel's
//!   table compared with what a server believes ([`observe::audit`])
//! - [`reactor`]: the loop, over any [`net::Kernel`]
//! - [`sys`]: the real kernel: the only home of mio, libc, rustix, `unsafe` and the clock
//! - [`workers`]: several processes: the supervisor, over any [`net::Supervising`] kernel, starts them, answers for
//!   all, settles who holds an identity
//! - [`tools`]: commands beside the server, which knows none of them: [`tools::sim`] (a simulated kernel behind the
//!   same traits; it finds the bugs), [`tools::lab`] (experiments on real servers), [`tools::load`] (load and faults),
//!   [`tools::doctor`] (the host), [`tools::audit`] (any server)
//! - [`cli`]: the command line, and [`cli::serve`] behind it
//!
//! # Contracts
//!
//! - **Hints are hints.** Readiness flags decide nothing; the call that follows does. A spurious event is
//!   harmless, and an event for a connection that is gone is dropped by its generation and counted.
//! - **Edge triggering.** Whatever stops before `WouldBlock` is either paused (output waits, and its edge will
//!   lift the pause) or posted (and the next poll does not wait).
//! - **Cross-connection effects are posted**, never performed inside another connection's turn.
//! - **Hearing is a store.** A heartbeat moves no timer: the wheel's entry is looked at when it expires.
//! - **An idle connection owns no buffer.** Reads go through one shared buffer; only a partial frame or unsent
//!   output takes a box, from a pool, and gives it back. An idle echo connection is 104 bytes in the table
//!   and 12 in the wheel.
//! - **The first cause wins.** What happens to a connection that is already ending changes how it is closed,
//!   never why it ended.
//! - **Three kinds of error:** [`net::Fatal`] (the loop cannot go on), [`protocol::ProtocolError`] (the peer's
//!   doing), [`core::end::End`] (data, not an error). `io::Error` does not leave [`sys`], and peer input never
//!   panics.
//!
//! # What is known of the kernel
//!
//! Claims about Linux in these pages name the test that shows them; [`sys::facts`] has them all in tables, claim by
//! test. `src/sys/facts.rs` shows what single calls do, `tests/kernel/folklore/` what is said of them and is not so,
//! `tests/kernel/close/` and `tests/server/liveness*.rs` what the server makes of it. `linger doctor`
//! ([`tools::doctor`]) holds a host against them.

pub mod cli;
pub mod config;
pub mod core;
pub mod guide;
pub mod hub;
pub mod net;
pub mod observe;
pub mod protocol;
pub mod reactor;
pub mod sys;
pub mod tls;
pub mod tools;
pub mod transport;
pub mod workers;
