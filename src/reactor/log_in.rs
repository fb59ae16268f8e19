//! Logging in, and what follows from users: who a connection is, what becomes of it when the file of users was read again,
//! and whether somebody else holds an identity where anybody may come in.

use super::Reactor;
use super::connection::{Connection, Flags, Pause};
use super::context::{Conn, Context};
use super::parts::ask::Claim;
use super::parts::effect::Effect;
use super::parts::server_timers::ServerTimer;
use super::work::cost;
use crate::core::end::{Detector, Reason};
use crate::core::table::Key;
use crate::hub::Kind;
use crate::net::{Kernel, Peer};
use crate::protocol::Identity;
use crate::protocol::server::{Contract, LogIn, Refusal};
use crate::protocol::users::failures::{Attempt, Source};
use crate::protocol::users::{DEFAULT, Guard, Standing};
use std::sync::Arc;

/// Whether an identity is held from elsewhere: by a connection from another address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Elsewhere {
    /// Nobody holds it, or somebody from the same address.
    Nobody,
    /// It is.
    Another,
    /// Another worker may have it: the supervisor knows.
    Unknown,
}

impl<K: Kernel> Reactor<K> {
    /// Whether an identity that a connection claims is held from elsewhere.
    pub(super) fn holder_elsewhere(&self, key: Key, id: Identity<'_>) -> Elsewhere {
        let holder = self.cx.hub.holder(id.as_str().as_bytes()).and_then(|holder| self.table.get(holder));
        let Some(holder) = holder.filter(|holder| !holder.is_ending()) else {
            return if self.cx.worker.has_others() { Elsewhere::Unknown } else { Elsewhere::Nobody };
        };
        let own = self.table.get(key).map(|conn| source_of(&conn.peer));
        if own == Some(source_of(&holder.peer)) { Elsewhere::Nobody } else { Elsewhere::Another }
    }

    /// Resumes connections whose delay before a log-in is over.
    pub(super) fn let_log_in(&mut self) {
        while let Some(key) = self.cx.log_ins.take_due(self.cx.now) {
            if let Some(conn) = self.table.get_mut(key).filter(|conn| conn.pause == Pause::LogIn) {
                self.cx.go_on_with(key, conn);
            }
        }
        self.cx.timers.arm(ServerTimer::LogIns, self.cx.log_ins.next());
    }

    /// What listeners ask has been read again; `before`: what each asked. A connection keeps its user, which has the rights
    /// of the new file. It ends where there is no such user any more, or where it listens to what its user may not: as
    /// in Redis.
    pub(super) fn adopt_guards(&mut self, before: &[Guard]) {
        let guard_of = |cx: &Context<K>, at: usize| cx.listeners[at].settings.guard.clone();
        let changed: Vec<_> = (0..before.len()).map(|at| guard_of(&self.cx, at) != before[at]).collect();
        if !changed.contains(&true) {
            return;
        }
        let keys: Vec<_> = self.table.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(conn) = self.table.get_mut(key) else { continue };
            let at = usize::from(conn.listener);
            if changed[at] && !self.cx.adopt_guard(conn, &before[at]) && !conn.is_ending() {
                let (reason, detector) = (Reason::LocalKicked, Detector::Policy);
                self.cx.effects.push_back(Effect::Close { key, reason, detector, by: None });
            }
        }
    }
}

impl<K: Kernel> Context<K> {
    /// A connection logs in.
    pub(super) fn log_in(&mut self, key: Key, conn: &mut Conn<K>, user: &[u8], password: &[u8]) -> LogIn {
        let listener = usize::from(conn.listener);
        let Guard::Users(users) = &self.listeners[listener].settings.guard else {
            return if user == DEFAULT.as_bytes() { LogIn::Accepted } else { LogIn::Wrong };
        };
        let (users, source) = (Arc::clone(users), source_of(&conn.peer));
        if !conn.flags.has(Flags::TO_LOG_IN) {
            match self.log_ins.begin(key, source, self.now) {
                Attempt::Now => {}
                Attempt::At(_) => {
                    conn.flags.set(Flags::TO_LOG_IN);
                    self.timers.arm(ServerTimer::LogIns, self.log_ins.next());
                    return LogIn::NotYet;
                }
                Attempt::Refused => {
                    self.observer.counters.listeners[listener].access().refused += 1;
                    self.report_log_in_failed(key, conn, user, "too many failed before");
                    return LogIn::TooMany;
                }
            }
        }
        conn.flags.clear(Flags::TO_LOG_IN);
        self.work.charge(cost::PASSWORD);
        let Some(number) = users.log_in(user, password) else {
            self.observer.counters.listeners[listener].access().wrong += 1;
            self.report_log_in_failed(key, conn, user, "wrong name or password, or the user is off");
            return LogIn::Wrong;
        };
        self.log_ins.take_back(source, self.now);
        self.observer.counters.listeners[listener].access().accepted += 1;
        if let Some(client) = conn.client_mut() {
            client.standing = Standing::of(number);
        }
        LogIn::Accepted
    }

    fn report_log_in_failed(&mut self, key: Key, conn: &Conn<K>, user: &[u8], why: &str) {
        let listener = &self.listeners[usize::from(conn.listener)].settings.name;
        self.observer.report.log_in_failed(key, &conn.peer, listener, user, why, self.now);
    }

    /// The name of the user that a connection is; empty: it has not logged in.
    pub(super) fn user_of<'a>(&'a self, conn: &'a Conn<K>) -> &'a str {
        let standing = conn.client().map_or(Standing::OPEN, |client| client.standing);
        let nobody = if standing == Standing::ANONYMOUS { "" } else { DEFAULT };
        self.logged_in_as(conn).unwrap_or(nobody)
    }

    /// The user of a file that a connection has logged in as, for its record and for lists.
    pub(super) fn logged_in_as<'a>(&'a self, conn: &'a Conn<K>) -> Option<&'a str> {
        let client = conn.client()?;
        match client.standing.user() {
            Some(user) => Some(self.listener_of(conn).guard.users().name(user)),
            None => client.cold.as_ref()?.removed_user.as_deref(),
        }
    }

    /// Applies the listener's new guard to a connection. False: the connection is to end.
    fn adopt_guard(&self, conn: &mut Conn<K>, before: &Guard) -> bool {
        let now = &self.listeners[usize::from(conn.listener)].settings.guard;
        let Some(client) = conn.client_mut() else { return true };
        let old = client.standing;
        let Some(new) = now.adopt(before, old) else {
            // Its number is nobody's now, or another user's. It ends under its name, and may do nothing until then.
            let name = old.user().map(|user| before.users().name(user).into());
            client.cold.get_or_insert_default().removed_user = name;
            client.standing = Standing::ANONYMOUS;
            return false;
        };
        client.standing = new;
        let (Some(old), Some(new)) = (old.user(), new.user()) else { return true };
        let (old, new) = (before.users().user(old), now.users().user(new));
        new.hears_all_of(old)
            || self.hub.topics_of(&client.membership).all(|(kind, name)| match kind {
                Kind::Channel => new.may_use(name),
                Kind::Pattern => new.may_listen(name),
            })
    }

    /// A connection takes an identity, unless somebody from elsewhere holds it; `from`: where that comes from, if somebody
    /// does.
    pub(super) fn identify_unless_held(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        id: &[u8],
        from: Option<&str>,
        claim: &Claim,
    ) -> Result<(), Refusal> {
        let source =
            |peer: &str| Source::of(peer.parse().ok().map(|address: std::net::SocketAddr| address.ip()));
        if from.is_some_and(|from| source(from) != source_of(&conn.peer)) {
            return Err(Refusal::HeldElsewhere);
        }
        let contract = Contract { beat: claim.beat, server_ping: claim.server_ping, token: &claim.token };
        let id = Identity::new(id).expect("it was one when it was claimed");
        self.identify(key, conn, id, contract)
    }
}

impl<S> Connection<S> {
    /// Whether it has to log in before anything else.
    pub(super) fn is_anonymous(&self) -> bool {
        self.client().is_some_and(|client| client.standing == Standing::ANONYMOUS)
    }
}

/// Where a connection comes from, as attempts to log in are counted.
fn source_of(peer: &Peer) -> Source {
    Source::of(peer.address().map(|address| address.ip()))
}
