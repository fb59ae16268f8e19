//! What serving one connection may touch beside that connection: everything but the other connections.
//!
//! A key is looked up once, and the connection and the context are handed on: the functions here and in the files that
//! extend [`Context`] work on `(&mut Conn, &mut Context)`. None of them removes an entry or reaches another one. Effects on
//! others go into a queue; the connection's own end, and signs of life of those that it beats for, go into [`Aftermath`].
//! The reactor, which has the table, works both off after the functions have returned.
//!
//! Which of the parts a file of the reactor uses is in its row of `tests/model/layers/parts.rs`.

use super::connection::Connection;
use super::parts::admin::Admin;
use super::parts::aftermath::Aftermath;
use super::parts::annotations::Annotations;
use super::parts::audits::Audits;
use super::parts::deadlines::Deadlines;
use super::parts::effect::Effect;
use super::parts::gateway::Gateway;
use super::parts::lifecycle::{Lifecycle, Reload};
use super::parts::listener::{ListenerState, least_output_high};
use super::parts::log_ins::LogIns;
use super::parts::observer::Observer;
use super::parts::places::{Places, admin_connections_max};
use super::parts::pool::{Pool, memory_bound};
use super::parts::posted::Posted;
use super::parts::server_timers::ServerTimers;
use super::parts::upstreams::Upstreams;
use super::parts::worker::Worker;
use super::publication::Publishing;
use super::work::Work;
use crate::config::settings::{ListenerSettings, Settings};
use crate::core::conn::policy::Policy;
use crate::core::end::Leg;
use crate::core::time::Instant;
use crate::hub::Hub;
use crate::net::{Fatal, Kernel, Token};
use crate::observe::metrics::Counters;
use crate::protocol::users::Guard;
use crate::tls::Tickets;
use std::collections::VecDeque;

/// A connection of this kernel.
pub(super) type Conn<K> = Connection<<K as Kernel>::Stream>;

/// The server without its connections.
pub(super) struct Context<K: Kernel> {
    pub(super) kernel: K,
    pub(super) settings: Settings,

    // Time, and what it is spent on.
    /// When this turn's poll returned: the time of all that is done in the turn. What the kernel counts from when it is asked
    /// is compared with the clock itself.
    pub(super) now: Instant,
    pub(super) deadlines: Deadlines,
    pub(super) timers: ServerTimers,
    pub(super) work: Work,

    // Newcomers.
    pub(super) listeners: Vec<ListenerState<K::Listener>>,
    pub(super) places: Places,
    pub(super) log_ins: LogIns,
    /// The keys of session tickets.
    pub(super) tickets: Tickets,

    // What is known of connections, beside what their entries hold.
    pub(super) pool: Pool,
    pub(super) annotations: Annotations,

    // What one connection does to others, and what it leaves behind.
    pub(super) hub: Hub,
    /// Effects on connections other than the one that is being driven.
    pub(super) effects: VecDeque<Effect>,
    /// What the one that is being driven leaves behind.
    pub(super) aftermath: Aftermath,
    pub(super) posted: Posted,
    pub(super) publishing: Publishing,

    // Pairs, and the servers behind them.
    pub(super) gateway: Gateway<K::Stream>,

    // The operator, and the other processes of the server.
    pub(super) admin: Admin,
    pub(super) lifecycle: Lifecycle,
    pub(super) worker: Worker<K::Stream>,

    // What is told.
    pub(super) observer: Observer,
    pub(super) audits: Audits,
}

impl<K: Kernel> Context<K> {
    /// Opens the listeners of `settings`. `descriptors_max`: connections that there are descriptors for.
    pub(super) fn new(
        mut kernel: K,
        settings: Settings,
        descriptors_max: u32,
        reload: Box<dyn Reload>,
    ) -> Result<Self, Fatal> {
        let now = kernel.now();
        let upstreams = Upstreams::at_start(&mut kernel, &settings.upstreams, now)?;
        let listeners = settings
            .listeners
            .iter()
            .enumerate()
            .map(|(index, settings)| {
                let listener = kernel.listen(&settings.listen_spec(), listener_token(index))?;
                let upstream = settings.relay.as_ref().and_then(|relay| relay.upstream.as_deref());
                let upstream = upstream.and_then(|name| upstreams.place_of(name));
                Ok(ListenerState::new(listener, settings.clone(), upstream, now))
            })
            .collect::<Result<Vec<_>, Fatal>>()?;
        let for_clients = settings.listeners.iter().map(|listener| listener.protocol.serves_clients());
        let mut counters = Counters::new(for_clients);
        for (counters, settings) in counters.listeners.iter_mut().zip(&settings.listeners) {
            counters.upstream = settings.relay.as_ref().map(|_| Box::default());
            counters.access = (settings.guard != Guard::Open).then(Box::default);
        }
        // What the host counted before is not our doing.
        counters.host_counters = kernel.host_counters().unwrap_or_default();
        let relays = settings.listeners.iter().any(|listener| listener.relay.is_some());
        let places = Places::new(&settings, descriptors_max, admin_connections_max(&settings));
        Ok(Self {
            now,
            deadlines: Deadlines::new(now, places.slots()),
            publishing: Publishing {
                least_output_high: least_output_high(&listeners),
                ..Publishing::default()
            },
            listeners,
            hub: Hub::default(),
            annotations: Annotations::default(),
            effects: VecDeque::new(),
            aftermath: Aftermath::default(),
            posted: Posted::default(),
            admin: Admin::default(),
            work: Work::default(),
            pool: Pool::new(memory_bound(&settings.server, kernel.memory(), 1)),
            timers: ServerTimers::first(now, &settings, upstreams.resolve_at()),
            audits: Audits::default(),
            gateway: Gateway::new(
                if relays { places.slots() } else { 0 },
                upstreams,
                kernel.usage().map_or(0, |usage| u64::from(usage.unix_time.subsec_nanos())),
            ),
            places,
            log_ins: LogIns::default(),
            tickets: Tickets::none(),
            lifecycle: Lifecycle::new(now, reload),
            observer: Observer::new(&settings, counters, kernel.unix_time()),
            kernel,
            settings,
            worker: Worker::alone(),
        })
    }

    /// The policy that `conn` lives by.
    pub(super) fn policy_of(&self, conn: &Conn<K>) -> &Policy {
        let settings = self.listener_of(conn);
        if conn.leg == Some(Leg::Upstream)
            && let Some(relay) = &settings.relay
        {
            return &relay.policy;
        }
        &settings.policy
    }

    /// The settings of the listener that accepted `conn`, or the client that it was made for.
    pub(super) fn listener_of(&self, conn: &Conn<K>) -> &ListenerSettings {
        &self.listeners[usize::from(conn.listener)].settings
    }
}

/// Listeners use generation 0, which no connection has.
const fn listener_token(index: usize) -> Token {
    Token(index as u64)
}
