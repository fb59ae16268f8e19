//! What listeners that relay, and the upstreams that they relay to, must be to each other.

use super::Findings;
use crate::config::diagnostic::nearest;
use crate::config::keys::Scope;
use crate::config::layer::Resolved;
use crate::protocol::gateway::{Target, settings};

/// The key of a listener that says where to.
const UPSTREAM: &str = "upstream";

impl Findings {
    /// Holds them against each other. `serving`: the listeners.
    pub(super) fn upstreams(&mut self, tables: &[Resolved], serving: &[&Resolved]) {
        let named: Vec<_> = tables.iter().filter(|table| table.is(Scope::Upstream)).collect();
        let mut used = Vec::new();
        for listener in serving {
            match listener.target().filter(|_| listener.sound(&[UPSTREAM])) {
                Some(Target::Named(name)) => {
                    self.relays_to(listener, &name, &named);
                    used.push(name);
                }
                Some(Target::Own(_)) => self.has_its_own(listener, &named),
                None => {}
            }
        }
        let relaying = serving.iter().filter(|of| of.target().is_some());
        for of in named.iter().chain(relaying) {
            self.checks(of);
        }
        for of in named.iter().filter(|of| !used.iter().any(|name| name == of.name())) {
            self.hint(of, &["servers"], || {
                let wrong = "no listener relays to it".to_owned();
                (wrong, format!("write upstream = {:?} at a listener, or leave it out", of.name()))
            });
        }
    }

    fn relays_to(&mut self, listener: &Resolved, name: &str, named: &[&Resolved]) {
        if !named.iter().any(|of| of.name() == name) {
            self.mistake(listener, &[UPSTREAM], || {
                let right = match nearest(name, named.iter().map(|of| of.name())) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => "write that table, or the addresses of servers with their ports".to_owned(),
                };
                (format!("there is no [upstream.{name}]"), right)
            });
        }
        for (here, there) in settings::of_listener().filter(|(here, _)| listener.is_given(here)) {
            self.mistake(listener, &[here], || {
                let wrong = format!("is about servers, which are those of [upstream.{name}]");
                (wrong, format!("write {there} there, for all who relay to them"))
            });
        }
    }

    /// What a check is to send and expect is of use where it does both.
    fn checks(&mut self, of: &Resolved) {
        let given = |name: &str| of.text(name).is_some_and(|text| !text.is_empty());
        if !of.sound(&["check.style", "check.send", "check.expect"]) {
            return;
        }
        if of.is_word("check.style", "exchange") {
            if !given("check.expect") {
                self.mistake(of, &["check.expect", "check.style"], || {
                    let wrong = "is missing: an exchange is looked at for it".to_owned();
                    (wrong, "write what the server says, as '+PONG', or check.style = \"connect\"".to_owned())
                });
            }
            return;
        }
        for key in ["check.send", "check.expect"].into_iter().filter(|key| given(key)) {
            self.mistake(of, &[key, "check.style"], || {
                let wrong = "has no effect on checks that only connect, or are off".to_owned();
                (wrong, "write check.style = \"exchange\", or leave it out".to_owned())
            });
        }
    }

    /// What is known of servers goes by the name of their upstream.
    fn has_its_own(&mut self, listener: &Resolved, named: &[&Resolved]) {
        if named.iter().any(|of| of.name() == listener.name()) {
            self.mistake(listener, &["name", UPSTREAM], || {
                let name = listener.name();
                let wrong =
                    format!("{name:?} is the name of [upstream.{name}], too, and its servers are others");
                (wrong, format!("give one of both another name, or write upstream = {name:?}"))
            });
        }
    }
}
