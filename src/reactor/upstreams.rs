//! What a new configuration, or a look-up of names, makes of the upstreams, and what becomes of pairs whose server is gone.

use super::Reactor;
use super::context::Context;
use super::parts::listener::ListenerState;
use super::parts::names::LookUp;
use super::parts::pairs::Stage;
use super::parts::server_timers::ServerTimer;
use crate::config::settings::Relay;
use crate::core::conn::Input;
use crate::core::conn::policy::LastRung;
use crate::core::end::{Detector, Leg, Reason};
use crate::net::{Answers, Kernel};
use crate::observe::report;
use crate::protocol::gateway::Removed;
use crate::protocol::gateway::servers::SERVERS_MAX;
use std::cell::LazyCell;

impl<K: Kernel> Context<K> {
    /// Takes over the upstreams of a new configuration. The listeners have taken over theirs.
    pub(super) fn adopt_upstreams(&mut self) {
        let relays_to = |slot: &ListenerState<K::Listener>, name: &str| {
            slot.settings.relay.iter().flat_map(Relay::upstreams).any(|one| one == name)
        };
        self.gateway.upstreams.adopt(
            &self.settings.upstreams,
            &|to| self.kernel.could_be_own_peer(to),
            |name| self.listeners.iter().any(|slot| relays_to(slot, name)),
            &LazyCell::new(|| self.gateway.pairs.named()),
            self.now,
        );
        for slot in &mut self.listeners {
            let name = slot.settings.relay.as_ref().and_then(|relay| relay.upstream.as_deref());
            slot.upstream = name.and_then(|name| self.gateway.upstreams.place_of(name));
        }
        self.timers.arm(ServerTimer::Names, self.gateway.upstreams.resolve_at());
        self.note_servers();
        self.begin_removals();
    }

    /// There may be other servers than before: they are as the operator has said, and are checked.
    pub(super) fn note_servers(&mut self) {
        self.gateway.upstreams.keep_words(self.now);
        for (upstream, left_out) in self.gateway.upstreams.newly_left_out() {
            report::upstream_left_out(upstream, SERVERS_MAX, left_out);
        }
        self.places.set_checks(self.gateway.upstreams.checked());
        self.arm_checks();
    }

    /// Has the names looked up again whose time has come.
    pub(super) fn resolve_names(&mut self) {
        let names = self.gateway.upstreams.names_to_resolve(self.now);
        if names.is_empty() {
            return;
        }
        if let Err(fatal) = self.kernel.start_resolving(names.clone()) {
            let why = format!("cannot {fatal}");
            self.note_addresses(&names.into_iter().map(|name| (name, Err(why.clone()))).collect());
        }
    }

    /// Takes the addresses of names that were looked up, if they are there.
    pub(super) fn take_addresses(&mut self) {
        if let Some(answers) = self.kernel.resolved() {
            self.note_addresses(&answers);
        }
    }

    fn note_addresses(&mut self, answers: &Answers) {
        let told = self.gateway.upstreams.resolved(
            answers,
            &|to| self.kernel.could_be_own_peer(to),
            &LazyCell::new(|| self.gateway.pairs.named()),
            self.now,
        );
        let is_news = !told.is_empty();
        for (upstream, told) in told {
            match told {
                LookUp::Changed(name, addresses) => report::upstream_addresses(&upstream, &name, &addresses),
                LookUp::Failed(name, why) => report::upstream_not_resolved(&upstream, &name, &why),
            }
        }
        self.timers.arm(ServerTimer::Names, self.gateway.upstreams.resolve_at());
        if is_news {
            self.note_servers();
            self.begin_removals();
        }
    }

    /// Pairs whose servers are gone from the configuration are to go the way that their upstream says.
    fn begin_removals(&mut self) {
        let upstreams = &self.gateway.upstreams;
        let pairs = self.gateway.pairs.iter().filter(|pair| pair.stage != Stage::Connecting);
        let gone = pairs.filter_map(|pair| {
            let removed = upstreams[pair.to()].removed(pair.server()?)?;
            Some((pair.leg(Leg::Client)?, removed))
        });
        let due = self.gateway.removals.begin(gone, self.settings.drain.spread, self.now);
        self.timers.arm(ServerTimer::Removals, due);
    }
}

impl<K: Kernel> Reactor<K> {
    /// Ends the next pairs whose server is gone.
    pub(super) fn remove_some(&mut self) {
        let (pairs, next) = self.cx.gateway.removals.take(self.cx.now);
        self.cx.timers.arm(ServerTimer::Removals, next);
        let (reason, detector) = (Reason::LocalDrain, Detector::Policy);
        for (client, removed) in pairs {
            self.drive(client, |cx, conn| {
                if removed == Removed::Cut {
                    let rung = LastRung::Reset;
                    cx.apply(client, conn, Input::Abort { reason, detector, rung, output_pending: false });
                } else {
                    // The upstream leg ends with its client.
                    cx.close_gracefully(client, conn, reason, detector);
                }
            });
        }
    }
}
