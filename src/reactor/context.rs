//! What serving one connection may touch beside that connection: everything but the other connections.
//!
//! Whoever serves a connection looks its key up once, and hands both on: the functions here and in the files that extend
//! [`Context`] work on `(&mut Conn, &mut Context)`. None of them removes an entry, and none reaches another one. What they
//! want done beyond that they leave behind: effects on others in a queue, the connection's own end, and signs of life of
//! those that it beats for, in [`Aftermath`]. The reactor, which has the table, does it when they are through.

use super::admin::Admin;
use super::connection::Connection;
use super::parts::audits::Audits;
use super::parts::deadlines::Deadlines;
use super::parts::effect::Effect;
use super::parts::initiators::Initiators;
use super::parts::lifecycle::Lifecycle;
use super::parts::listener::ListenerState;
use super::parts::places::Places;
use super::parts::pool::Pool;
use super::parts::posted::Posted;
use super::parts::server_timers::ServerTimers;
use super::publication::{Publication, Publications};
use super::work::Work;
use super::worker_link::WorkerLink;
use crate::config::settings::{ListenerSettings, Settings};
use crate::core::end::CloseMode;
use crate::core::table::Key;
use crate::core::time::Instant;
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
    /// When this turn's poll returned: the only time there is during the turn.
    pub(super) now: Instant,
    pub(super) deadlines: Deadlines,
    pub(super) listeners: Vec<ListenerState<K::Listener>>,
    pub(super) hub: Hub,
    /// Who ends connections that are not closed yet.
    pub(super) initiators: Initiators,
    /// Effects on connections other than the one that is being driven.
    pub(super) effects: VecDeque<Effect>,
    /// What the one that is being driven leaves behind.
    pub(super) aftermath: Aftermath,
    pub(super) posted: Posted,
    /// Those who have asked at the admin interface.
    pub(super) admin: Admin,
    /// Messages that no connection waits for in particular.
    pub(super) publications: Publications,
    /// Messages of the connection that is being driven, of which more may follow. Empty between connections.
    pub(super) gathered: Publication,
    pub(super) work: Work,
    pub(super) pool: Pool,
    /// The least `output_high` of all listeners.
    pub(super) least_output_high: usize,
    pub(super) timers: ServerTimers,
    pub(super) audits: Audits,
    pub(super) settings: Settings,
    pub(super) places: Places,
    pub(super) lifecycle: Lifecycle,
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
