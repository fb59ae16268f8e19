//! What serving one connection may touch beside that connection: everything but the other connections.
//!
//! Whoever serves a connection looks its key up once, and hands both on: the functions here and in the files that extend
//! [`Context`] work on `(&mut Conn, &mut Context)`. None of them removes an entry, and none reaches another one. What they
//! want done beyond that they leave behind: effects on others in a queue, the connection's own end, and signs of life of
//! those that it beats for, in [`Aftermath`]. The reactor, which has the table, does it when they are through.

use super::accept::ListenerState;
use super::admin::Admin;
use super::audit::Audits;
use super::connection::Connection;
use super::effects::Effect;
use super::initiators::Initiators;
use super::lifecycle::{Drain, Reload, Reloaded};
use super::memory::{Pool, Reclaim};
use super::publication::{Publication, Publications};
use super::timers::ServerTimers;
use super::work::Work;
use super::worker_link::WorkerLink;
use crate::config::settings::{ListenerSettings, Settings};
use crate::core::end::CloseMode;
use crate::core::table::Key;
use crate::core::time::Instant;
use crate::core::timer::Wheel;
use crate::core::timer::attention::Attention;
use crate::hub::Hub;
use crate::net::Kernel;
use crate::observe::metrics::Counters;
use crate::observe::report::Report;
use std::collections::VecDeque;

/// A connection of this kernel.
pub(super) type Conn<K> = Connection<<K as Kernel>::Stream>;

/// The server without its connections.
pub(super) struct Context<K: Kernel> {
    pub(super) kernel: K,
    /// When the server started.
    pub(super) started: Instant,
    /// When this turn's poll returned: the only time there is during the turn.
    pub(super) now: Instant,
    pub(super) wheel: Wheel,
    /// Up to when silence may be judged.
    pub(super) attention: Attention,
    pub(super) listeners: Vec<ListenerState<K::Listener>>,
    pub(super) hub: Hub,
    /// Who ends connections that are not closed yet.
    pub(super) initiators: Initiators,
    /// Effects on connections other than the one that is being driven.
    pub(super) effects: VecDeque<Effect>,
    /// What the one that is being driven leaves behind.
    pub(super) aftermath: Aftermath,
    /// Connections with input or frames left over when their budget ran out.
    pub(super) resume: VecDeque<Key>,
    /// Connections that were given output by others.
    pub(super) flush: VecDeque<Key>,
    /// Those who have asked at the admin interface.
    pub(super) admin: Admin,
    /// Messages that no connection waits for in particular.
    pub(super) publications: Publications,
    /// Messages of the connection that is being driven, of which more may follow. Empty between connections.
    pub(super) gathered: Publication,
    pub(super) work: Work,
    pub(super) pool: Pool,
    /// Most memory in waiting bytes, all connections together.
    pub(super) memory_max: usize,
    pub(super) reclaim: Option<Reclaim>,
    /// The least `output_high` of all listeners.
    pub(super) least_output_high: usize,
    pub(super) timers: ServerTimers,
    pub(super) audits: Audits,
    pub(super) settings: Settings,
    /// Client connections that the process has descriptors for.
    pub(super) descriptors_max: u32,
    /// Most client connections at once.
    pub(super) connections_max: u32,
    /// Connections of the admin interface that descriptors are set aside for.
    pub(super) admin_max: u32,
    /// Client connections now; those of the admin interface are not counted.
    pub(super) clients: u32,
    /// Connections that were let in only to be told that all places are taken.
    pub(super) refused: u32,
    pub(super) drain: Option<Drain>,
    pub(super) reload: Box<dyn Reload>,
    pub(super) reloaded: Reloaded,
    pub(super) counters: Counters,
    pub(super) report: Report,
    /// What it is among others; `None`: the only process of its server.
    pub(super) link: Option<Box<WorkerLink<K::Stream>>>,
}

/// What a connection that was driven leaves to be done by who has the table. Empty between connections.
#[derive(Debug, Default)]
pub(super) struct Aftermath {
    /// Connections that are over: they leave the table, and their sockets are closed.
    pub(super) closing: Vec<(Key, CloseMode)>,
    /// Heartbeat channels that were heard from, each with the connection that it beats for.
    pub(super) beats: Vec<(Key, Key)>,
}

impl Aftermath {
    /// Whether nothing is to be done.
    pub(super) const fn is_empty(&self) -> bool {
        self.closing.is_empty() && self.beats.is_empty()
    }
}

impl<K: Kernel> Context<K> {
    /// The settings of the listener that accepted `conn`.
    pub(super) fn listener_of(&self, conn: &Conn<K>) -> &ListenerSettings {
        &self.listeners[usize::from(conn.listener)].settings
    }
}
