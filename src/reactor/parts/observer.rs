//! Where everything that happens is noted: counters, the log, the memory of endings, and events for those who watch. What is
//! told in several of these places is told by one function here.

use crate::config::settings::{ListenerSettings, Settings};
use crate::core::end::End;
use crate::core::health::Change;
use crate::core::table::Key;
use crate::core::time::{Duration, Instant};
use crate::core::units::seconds;
use crate::net::Peer;
use crate::observe::events::{Events, Kind, What, Whose};
use crate::observe::history::History;
use crate::observe::metrics::Counters;
use crate::observe::report::{Report, ServerState, Stall};
use serde_json::json;

/// All that is told of the server and its connections.
#[derive(Debug)]
pub(in crate::reactor) struct Observer {
    pub(in crate::reactor) counters: Counters,
    pub(in crate::reactor) report: Report,
    /// The last endings.
    pub(in crate::reactor) history: History,
    /// What happens, for those who watch.
    pub(in crate::reactor) events: Events,
}

impl Observer {
    /// `since_1970`: what time it is, if that is known.
    pub(in crate::reactor) fn new(
        settings: &Settings,
        counters: Counters,
        since_1970: Option<Duration>,
    ) -> Self {
        Self {
            counters,
            report: Report::new(settings.log.endings_per_second),
            history: History::new(settings.server.history_bytes),
            events: Events::new(settings.server.events_bytes, since_1970),
        }
    }

    /// Other settings. What no longer has room is dropped, the oldest first.
    pub(in crate::reactor) fn apply(&mut self, settings: &Settings, now: Instant) {
        self.report.set_endings_per_second(settings.log.endings_per_second);
        self.history.resize(settings.server.history_bytes, now);
        self.events.resize(settings.server.events_bytes);
    }

    /// A connection was accepted by the listener with this number, whatever becomes of it.
    #[inline]
    pub(in crate::reactor) fn accepted(
        &mut self,
        index: usize,
        listener: &ListenerSettings,
        key: Key,
        peer: &Peer,
        now: Instant,
    ) {
        self.counters.listeners[index].accepted += 1;
        self.report.opened(key, peer, &listener.name, now);
        if self.events.is_on() && listener.protocol.serves_clients() {
            self.opened(index, key, peer, now);
        }
    }

    /// Apart, because mostly nobody watches.
    #[cold]
    #[inline(never)]
    fn opened(&mut self, index: usize, key: Key, peer: &Peer, now: Instant) {
        let listener = u8::try_from(index).expect("listeners are numbered by a byte");
        self.events.add(&Whose { key, peer, listener, identity: &[] }, What::Opened, now);
    }

    /// A connection has ended: it is counted, remembered, and told to those who watch. Not for those of the admin interface:
    /// reading what is remembered must not push it out.
    #[inline]
    pub(in crate::reactor) fn ended(&mut self, whose: &Whose<'_>, end: &End, now: Instant) {
        self.counters.listeners[usize::from(whose.listener)].ended(end);
        self.keep_ending(whose, end, now);
    }

    /// Whether endings are remembered, or told to anybody who watches.
    #[inline]
    pub(in crate::reactor) const fn keeps_endings(&self) -> bool {
        self.history.is_on() || self.events.is_on()
    }

    /// Remembers an ending that was counted, and tells it to those who watch.
    #[inline]
    pub(in crate::reactor) fn keep_ending(&mut self, whose: &Whose<'_>, end: &End, now: Instant) {
        self.history.add(whose, end, now);
        self.events.add(whose, What::Ended(end), now);
    }

    /// Accepting stalls at a listener.
    pub(in crate::reactor) fn accept_stalled(&mut self, listener: &str, stall: Stall, now: Instant) {
        self.report.accept_stalled(listener, stall, now);
        let fields = || json!({"what": "accept", "listener": listener, "why": stall.to_string()});
        self.events.add_of_server(Kind::Stalled, fields, now);
    }

    /// A listener accepts again, after it had stalled for so long and so often.
    pub(in crate::reactor) fn accept_resumed(
        &mut self,
        listener: &str,
        stalled: Duration,
        count: u64,
        now: Instant,
    ) {
        self.report.accept_resumed(listener, stalled, count, now);
        let fields = || json!({"what": "accept", "listener": listener, "lasted_s": seconds(stalled)});
        self.events.add_of_server(Kind::Stalled, fields, now);
    }

    /// An upstream server has come up or gone down.
    pub(in crate::reactor) fn server_state(&mut self, of: &ServerState<'_>, now: Instant) {
        let kind = match of.change {
            Change::Up => Kind::ServerUp,
            Change::Down => Kind::ServerDown,
        };
        let fields = || {
            json!({
                "upstream": of.upstream, "server": of.server.to_string(), "by": of.by, "reason": of.reason,
                "in_service": of.in_service,
            })
        };
        self.events.add_of_server(kind, fields, now);
        self.report.server_state(of, now);
    }
}
