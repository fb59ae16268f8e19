//! The upstreams of the process, by their names: each is shared by all listeners that relay to it.

use super::names::{LookUp, names_of};
use super::pairs::NamedServers;
use super::servers::{CouldBeOwnPeer, Servers};
use crate::config::settings::Upstream;
use crate::core::health::Word;
use crate::core::time::Instant;
use crate::net::{Address, Answers, Fatal, HostName, Kernel};
use crate::protocol::admin::Spoken;
use indexmap::IndexMap;
use std::ops::{Deref, Index, IndexMut};

/// All of them. Listeners and pairs know theirs by its place.
#[derive(Debug, Default)]
pub(in crate::reactor) struct Upstreams {
    all: Vec<Servers>,
    /// Names are being looked up.
    resolving: bool,
    /// What the operator has said of servers, by upstream and address: one that comes back is as it was said to be.
    words: IndexMap<(String, String), Word>,
}

impl Upstreams {
    /// Those of a server that starts, the names among their servers looked up: that is waited for.
    ///
    /// # Errors
    /// When a name has no address.
    pub(in crate::reactor) fn at_start(
        kernel: &mut impl Kernel,
        settings: &[Upstream],
        now: Instant,
    ) -> Result<Self, Fatal> {
        let names: Vec<_> = settings.iter().flat_map(|upstream| names_of(&upstream.is)).collect();
        let answers = if names.is_empty() { Answers::new() } else { kernel.resolve(&names) };
        for (name, answer) in &answers {
            if let Err(why) = answer {
                return Err(Fatal { what: format!("look up the upstream server {name}"), why: why.clone() });
            }
        }
        let own = |to: &Address| kernel.could_be_own_peer(to);
        let servers = |settings: &Upstream| Servers::new(settings.clone(), &answers, &own, now);
        Ok(Self { all: settings.iter().map(servers).collect(), resolving: false, words: IndexMap::new() })
    }

    /// Takes over those of a new configuration. One of the same name stays what it is; one that is gone keeps its
    /// connections, until they end. `is_relayed_to`: a listener still relays to the upstream of that name; `named`: what pairs
    /// know.
    pub(in crate::reactor) fn adopt(
        &mut self,
        settings: &[Upstream],
        could_be_own_peer: CouldBeOwnPeer<'_>,
        is_relayed_to: impl Fn(&str) -> bool,
        named: &impl Deref<Target = NamedServers>,
        now: Instant,
    ) {
        for (at, servers) in (0..).zip(&mut self.all) {
            let name = &servers.settings().name;
            match settings.iter().find(|new| new.name == *name) {
                Some(new) => {
                    servers.adopt(new, could_be_own_peer, |server| named.has_server(at, server), now);
                }
                // Its listener stays as it is until a restart.
                None if is_relayed_to(name) => {}
                None => servers.retire(),
            }
        }
        for new in settings {
            if self.place_of(&new.name).is_some() {
                continue;
            }
            let fresh = Servers::new(new.clone(), &Answers::new(), could_be_own_peer, now);
            let is_free = |(at, servers): &(u16, &Servers)| servers.is_retired() && !named.has(*at);
            match (0..).zip(&self.all).find(is_free).map(|(at, _)| at) {
                Some(free) => self[free] = fresh,
                None => self.all.push(fresh),
            }
        }
    }

    /// When names are to be looked up next; [`Instant::NEVER`]: there are none, or they are being looked up.
    pub(in crate::reactor) fn resolve_at(&self) -> Instant {
        let due = self.all.iter().map(|servers| servers.names().due()).min().unwrap_or(Instant::NEVER);
        if self.resolving { Instant::NEVER } else { due }
    }

    /// The names whose time has come, to be looked up now: [`resolved`](Self::resolved) is to follow.
    pub(in crate::reactor) fn names_to_resolve(&mut self, now: Instant) -> Vec<HostName> {
        let due = self.all.iter_mut().filter(|servers| servers.names().due() <= now);
        let mut names: Vec<_> = due.flat_map(|servers| servers.names_mut().take()).collect();
        names.sort_unstable();
        names.dedup();
        self.resolving |= !names.is_empty();
        names
    }

    /// Takes over the addresses that names have now. Returns what is worth a word, with the name of the upstream.
    pub(in crate::reactor) fn resolved(
        &mut self,
        answers: &Answers,
        could_be_own_peer: CouldBeOwnPeer<'_>,
        named: &impl Deref<Target = NamedServers>,
        now: Instant,
    ) -> Vec<(String, LookUp)> {
        self.resolving = false;
        let mut told = Vec::new();
        for (at, servers) in (0..).zip(&mut self.all) {
            let is_named = |server| named.has_server(at, server);
            let of = servers.resolved(answers, could_be_own_peer, is_named, now);
            told.extend(of.into_iter().map(|one| (servers.settings().name.clone(), one)));
        }
        told
    }

    /// Upstreams that have more addresses than servers can be, with how many are left out, once for each change of that.
    pub(in crate::reactor) fn newly_left_out(&mut self) -> impl Iterator<Item = (&str, usize)> {
        let newly = |servers: &mut Servers| servers.newly_left_out();
        let all = self.all.iter_mut();
        all.filter_map(move |servers| newly(servers).map(|left_out| (&*servers.settings().name, left_out)))
    }

    /// The place of the upstream of that name.
    pub(in crate::reactor) fn place_of(&self, name: &str) -> Option<u16> {
        let at = self.all.iter().position(|servers| servers.settings().name == name)?;
        // Each is that of a listener, or was and has pairs.
        Some(u16::try_from(at).expect("upstreams are no more than a few hundred"))
    }

    /// The places there are.
    pub(in crate::reactor) fn places(&self) -> impl Iterator<Item = u16> + use<> {
        0..u16::try_from(self.all.len()).expect("upstreams are no more than a few hundred")
    }

    /// The names of those that are in the configuration.
    pub(in crate::reactor) fn names(&self) -> Vec<String> {
        let configured = self.all.iter().filter(|servers| !servers.is_retired());
        configured.map(|servers| servers.settings().name.clone()).collect()
    }

    /// Servers that may be checked, each by a connection of its own.
    pub(in crate::reactor) fn checked(&self) -> usize {
        let checked = self.all.iter().filter(|servers| servers.settings().is.check.is_on());
        checked.map(Servers::configured).sum()
    }

    /// What the operator says holds also when the server goes and comes back.
    pub(in crate::reactor) fn remember(&mut self, spoken: &Spoken) {
        let server = (spoken.upstream.clone(), spoken.server.clone());
        if spoken.word == Word::Ready {
            self.words.shift_remove(&server);
        } else {
            self.words.insert(server, spoken.word);
        }
    }

    /// Sees to it that servers are as the operator has said.
    pub(in crate::reactor) fn keep_words(&mut self, now: Instant) {
        let words: Vec<_> = self
            .words
            .iter()
            .map(|((upstream, server), word)| Spoken {
                upstream: upstream.clone(),
                server: server.clone(),
                word: *word,
            })
            .collect();
        for spoken in words {
            self.hear(&spoken, now);
        }
    }

    /// Sees to it that a server is as the operator says, if it is there.
    pub(in crate::reactor) fn hear(&mut self, Spoken { upstream, server, word }: &Spoken, now: Instant) {
        let named = self.all.iter_mut().find(|servers| servers.settings().name == *upstream);
        if let Some(servers) = named
            && let Some(server) = servers.place_of(server)
            && servers.get(server).health().word() != *word
        {
            servers.on_word(server, *word, now);
        }
    }

    /// All of them.
    pub(in crate::reactor) fn iter(&self) -> impl Iterator<Item = &Servers> {
        self.all.iter()
    }
}

impl Index<u16> for Upstreams {
    type Output = Servers;

    fn index(&self, at: u16) -> &Servers {
        &self.all[usize::from(at)]
    }
}

impl IndexMut<u16> for Upstreams {
    fn index_mut(&mut self, at: u16) -> &mut Servers {
        &mut self.all[usize::from(at)]
    }
}
