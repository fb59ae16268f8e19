//! What listeners that relay, and the upstreams that they relay to, must be to each other.

use super::Findings;
use crate::config::certificates;
use crate::config::keys::Scope;
use crate::config::layer::Resolved;
use crate::core::nearest::nearest;
use crate::protocol::gateway::{Gateway, Routes, Target, routes, settings};

/// The key of a listener that says where to.
const UPSTREAM: &str = "upstream";

impl Findings {
    /// Holds them against each other. `serving`: the listeners.
    pub(super) fn upstreams(&mut self, tables: &[Resolved], serving: &[&Resolved]) {
        let named: Vec<_> = tables.iter().filter(|table| table.is(Scope::Upstream)).collect();
        let mut used = Vec::new();
        for listener in serving {
            let Some(Gateway { target, routes, .. }) = listener.gateway() else { continue };
            match target.filter(|_| listener.sound(&[UPSTREAM])) {
                Some(Target::Named(name)) => {
                    self.is_there(listener, UPSTREAM, &name, &named);
                    self.has_none_of_its_own(listener, &format!("[upstream.{name}]"));
                    used.push(name);
                }
                Some(Target::Own(_)) => {
                    self.has_its_own(listener, &named);
                    self.checks(listener);
                }
                None if listener.sound(&[UPSTREAM, routes::BY_SERVER_NAME, routes::BY_ALPN]) => {
                    self.has_routes_alone(listener, &routes);
                }
                None => {}
            }
            used.extend(self.routes(listener, &routes, &named));
        }
        for of in &named {
            self.checks(of);
        }
        for of in named.iter().filter(|of| !used.iter().any(|name| name == of.name())) {
            self.hint(of, &["servers"], || {
                let wrong = "no listener relays to it".to_owned();
                (wrong, format!("write upstream = {:?} at a listener, or leave it out", of.name()))
            });
        }
    }

    /// What is named at a listener must be there.
    fn is_there(&mut self, listener: &Resolved, key: &'static str, name: &str, named: &[&Resolved]) {
        if !named.iter().any(|of| of.name() == name) {
            self.mistake(listener, &[key], || {
                let right = match nearest(name, named.iter().map(|of| of.name())) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None if key == UPSTREAM => {
                        "write that table, or the addresses of servers with their ports".to_owned()
                    }
                    None => "write that table, with its servers".to_owned(),
                };
                (format!("there is no [upstream.{name}]"), right)
            });
        }
    }

    /// What is about servers stands with them.
    fn has_none_of_its_own(&mut self, listener: &Resolved, tables: &str) {
        for (here, there) in settings::of_listener().filter(|(here, _)| listener.is_given(here)) {
            self.mistake(listener, &[here], || {
                let wrong = format!("is about servers, which are those of {tables}");
                (wrong, format!("write {there} there, for all who relay to them"))
            });
        }
    }

    fn has_routes_alone(&mut self, listener: &Resolved, routes: &Routes) {
        if routes.is_empty() {
            return self.mistake(listener, &[UPSTREAM], || {
                let wrong = "is missing, and there are no routes: nobody could be served".to_owned();
                let right =
                    "write the NAME of an [upstream.NAME], or addresses of servers, as \"10.0.0.5:9001\"";
                (wrong, right.to_owned())
            });
        }
        self.has_none_of_its_own(listener, "its routes");
    }

    /// Gives the names of the upstreams that routes lead to.
    fn routes(&mut self, listener: &Resolved, routes: &Routes, named: &[&Resolved]) -> Vec<String> {
        let terminates = certificates::is_on(listener);
        let agreed = listener.text(certificates::ALPN).unwrap_or_default();
        for (key, of, to) in routes.iter() {
            self.is_there(listener, key, to, named);
            if terminates && key == routes::BY_ALPN && !agreed.split(',').any(|name| name == of) {
                self.mistake(listener, &[key, certificates::ALPN], || {
                    let wrong = format!(
                        "{of:?} is never agreed on: TLS ends here, and {} does not have it",
                        certificates::ALPN
                    );
                    let all = if agreed.is_empty() { of.to_owned() } else { format!("{agreed},{of}") };
                    (wrong, format!("write it there, too, as {} = {all:?}", certificates::ALPN))
                });
            }
            let nested = |it: &&&Resolved| it.name() == to && it.flag("tls.enabled");
            if !terminates && let Some(upstream) = named.iter().find(nested) {
                self.hint(upstream, &["tls.enabled"], || {
                    let wrong = format!("is for clients whose TLS passes through listener {}: they would speak TLS within TLS", listener.name());
                    (wrong, "leave it out, or give that listener a certificate".to_owned())
                });
            }
        }
        routes.iter().map(|(_, _, to)| to.to_owned()).collect()
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
