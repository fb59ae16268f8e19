//! What values must be to each other, when each is sound by itself: mistakes, which stop the server from
//! starting, and hints, which do not.
//!
//! A rule is skipped when one of its values was mistaken: it would only repeat what is already reported.

mod heartbeats;
mod upstreams;

use super::build::is_open_to_others;
use super::diagnostic::{Diagnostic, Place};
use super::keys::Scope;
use super::layer::Resolved;
use super::settings::LISTENERS_MAX;
use crate::core::setting::Value;
use crate::core::time::Duration;
use crate::net::Address;
use crate::protocol::{Inapplicable, LocalOnly};
use std::net::{IpAddr, SocketAddr};

/// What the rules found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What must be put right.
    pub(super) mistakes: Vec<Diagnostic>,
    /// What is allowed, but probably not meant.
    pub(super) hints: Vec<Diagnostic>,
}

impl Findings {
    /// The hints, unless something must be put right.
    ///
    /// # Errors
    /// What must be, each once, in the order of the file and then of the flags.
    pub(super) fn conclude(mut self) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
        self.mistakes.sort_by(|a, b| a.place.cmp(&b.place));
        // A value of [defaults] is compared with the rules once for each listener that inherits it.
        for findings in [&mut self.mistakes, &mut self.hints] {
            findings.dedup_by(|a, b| a.place == b.place && a.wrong == b.wrong);
        }
        if self.mistakes.is_empty() { Ok(self.hints) } else { Err(self.mistakes) }
    }
}

/// Holds every rule against the tables of a server.
pub(super) fn check(tables: &[Resolved]) -> Findings {
    let mut findings = Findings::default();
    let of = |scope| tables.iter().find(move |table| table.is(scope));
    let serving: Vec<&Resolved> = tables.iter().filter(|table| table.serves()).collect();

    for table in &serving {
        findings.protocol(table);
        findings.output(table);
        findings.closing(table);
        findings.heartbeat(table);
        findings.kernel(table);
        findings.address(table);
        findings.accept_proxy(table);
    }
    findings.count(&serving);
    findings.names(&serving);
    findings.addresses(&serving);
    findings.upstreams(tables, &serving);
    if let Some(drain) = of(Scope::Drain) {
        findings.drain(drain, &serving);
    }
    if let Some(server) = of(Scope::Server) {
        findings.limits(server, &serving);
    }
    findings
}

impl Findings {
    fn protocol(&mut self, of: &Resolved) {
        for Inapplicable { key, values, wrong, right } in
            of.table.protocol.iter().flat_map(|it| it.inapplicable)
        {
            if of.sound(&[key]) && of.word(key).is_some_and(|word| values.contains(&word)) {
                self.mistake(of, &[key], || ((*wrong).to_owned(), (*right).to_owned()));
            }
        }
    }

    fn output(&mut self, of: &Resolved) {
        if !of.sound(&["output_low", "output_high", "output_max", "frame_max"]) {
            return;
        }
        let bytes = |name| of.size(name).unwrap_or(0);
        let (low, high, max) = (bytes("output_low"), bytes("output_high"), bytes("output_max"));
        let size = Value::Size;
        if low > high {
            self.mistake(of, &["output_low", "output_high"], || {
                let wrong = format!("{} is above output_high, {}", size(low), size(high));
                (wrong, "reading must pause above the mark where it resumes".to_owned())
            });
        }
        if high >= max {
            self.mistake(of, &["output_high", "output_max"], || {
                let wrong = format!("{} is not below output_max, {}", size(high), size(max));
                (wrong, "a connection must be paused before it is ended".to_owned())
            });
        } else if of.table.protocol.is_some_and(|protocol| protocol.answers_frames)
            && max < high.saturating_add(bytes("frame_max"))
        {
            self.mistake(of, &["output_max", "frame_max", "output_high"], || {
                let need = high.saturating_add(bytes("frame_max"));
                let wrong = format!("{} leaves no room for one frame above output_high", size(max));
                (wrong, format!("write at least output_high + frame_max, {}", size(need)))
            });
        }
    }

    fn closing(&mut self, of: &Resolved) {
        let (Some(linger), Some(max)) = (of.period("linger"), of.period("linger_max")) else { return };
        if linger > max && of.sound(&["linger", "linger_max"]) {
            self.mistake(of, &["linger", "linger_max"], || {
                let wrong =
                    format!("{} is longer than linger_max, {}", Value::Period(linger), Value::Period(max));
                (wrong, "linger_max bounds all of the closing".to_owned())
            });
        }
    }

    fn kernel(&mut self, of: &Resolved) {
        const KEYS: [&str; 5] =
            ["user_timeout", "keepalive.idle", "keepalive.interval", "keepalive.count", "keepalive.enabled"];
        if !of.sound(&KEYS) {
            return;
        }
        let user_timeout = of.period("user_timeout");
        if let (Some(user), Some(idle), Some(span), Some(interval)) =
            (user_timeout, of.keepalive_idle(), of.keepalive_span(), of.period("keepalive.interval"))
        {
            // The last probe leaves then.
            let last = span.saturating_sub(interval);
            let shown = Value::Period(user);
            if user <= last && last > idle {
                self.hint(of, &KEYS, || {
                    let waited = user.saturating_sub(idle).as_millis().div_ceil(interval.as_millis()).max(1);
                    let probes = if waited == 1 { "1 probe".to_owned() } else { format!("{waited} probes") };
                    let last = Value::Period(last);
                    (
                        format!("{shown} is not above keepalive idle + interval x (count - 1), {last}"),
                        format!("a quiet connection is ended after {probes}; \"auto\" waits for all"),
                    )
                });
            } else if user > span {
                self.hint(of, &KEYS, || {
                    let span = Value::Period(span);
                    let wrong = format!("{shown} is above keepalive idle + interval x count, {span}");
                    (wrong, "the kernel then ignores the count and a dead client is found later".to_owned())
                });
            }
        }
        let silent = of.keepalive_idle().is_none() && user_timeout.is_none();
        let unwatched = of.sound(&["heartbeat.style"])
            && of.is_word("heartbeat.style", "off")
            && of.is_word("idle_timeout", "off");
        if silent && unwatched {
            self.hint(of, &["keepalive.enabled", "user_timeout", "heartbeat.style"], || {
                let wrong = "no keepalive, user timeout, heartbeat or idle timeout".to_owned();
                (wrong, "a client that vanishes while quiet is never noticed".to_owned())
            });
        }
    }

    fn address(&mut self, of: &Resolved) {
        let Some(address) = of.address() else { return };
        if let Address::Tcp { socket, v6_only: true, .. } = address
            && socket.is_ipv4()
            && of.sound(&["address", "v6_only"])
        {
            self.mistake(of, &["v6_only", "address"], || {
                (format!("{socket} is IPv4"), "leave v6_only out, or listen on [::]".to_owned())
            });
        }
        // Behind a proxy, who comes is not who connects.
        let proxied = of.is_word("accept_proxy", "require");
        if !proxied && !is_open_to_others(&address) {
            return;
        }
        let what = if proxied { format!("{address} behind a proxy") } else { address.to_string() };
        if let Some(LocalOnly { unless, wrong, right }) = of.table.protocol.and_then(|it| it.local_only)
            && matches!(address, Address::Tcp { .. })
            && of.sound(&[unless])
            && of.text(unless).is_none()
        {
            let right = if is_open_to_others(&address) {
                right.to_owned()
            } else {
                format!("write a token into a file and set {unless} to its path, or leave accept_proxy out")
            };
            self.mistake(of, &["address", "accept_proxy"], || (format!("{what} {wrong}"), right));
        }
        self.users(of, &what);
    }

    /// A listener that other hosts can reach, and that lets everybody in. Without its protection, that is meant.
    fn users(&mut self, of: &Resolved, what: &str) {
        const KEYS: [&str; 3] = ["address", "users", "protected_mode"];
        let is_meant = !of.flag("protected_mode") || of.is_word("tls.client_certificate", "required");
        if !of.sound(&KEYS) || of.text("users").is_some() || is_meant {
            return;
        }
        self.hint(of, &KEYS, || {
            let wrong = format!("other hosts can reach {what}, and it has no users");
            let right = "what acts on other connections is refused there (CLIENT KILL and LIST, WHO, STATE, SEND, BEATFOR, \
                         IDENTFOR, $presence channels, an identity that is held from elsewhere): give it some (users = \
                         FILE, see 'linger explain users'), or set protected_mode = false";
            (wrong, right.to_owned())
        });
    }

    fn accept_proxy(&mut self, of: &Resolved) {
        const KEYS: [&str; 2] = ["accept_proxy_trusted", "accept_proxy"];
        if !of.sound(&KEYS) {
            return;
        }
        let (required, trusts) =
            (of.is_word("accept_proxy", "require"), of.text("accept_proxy_trusted").is_some());
        if required && !trusts && matches!(of.address(), Some(Address::Tcp { .. })) {
            self.mistake(of, &KEYS, || {
                let wrong =
                    "names no network, and accept_proxy is \"require\": nobody could connect".to_owned();
                (wrong, "write the networks of your load balancers, as \"10.0.0.0/8\"".to_owned())
            });
        } else if !required && trusts {
            self.hint(of, &KEYS, || {
                let wrong = "has no effect while accept_proxy is \"off\"".to_owned();
                (
                    wrong,
                    "write accept_proxy = \"require\" where connections come through these proxies"
                        .to_owned(),
                )
            });
        }
    }

    fn count(&mut self, serving: &[&Resolved]) {
        // The first that is too many, and of the clients' rather than the operator's.
        let clients = serving.iter().filter(|table| table.is(Scope::Listener));
        let operators = serving.len() - clients.clone().count();
        if let Some(table) = clients.clone().nth(LISTENERS_MAX - operators) {
            self.mistake(table, &["address"], || {
                let wrong = format!("is one of {} listeners, the admin interface included", serving.len());
                (
                    wrong,
                    format!("at most {LISTENERS_MAX} are served; a listener can serve any number of clients"),
                )
            });
        }
    }

    fn names(&mut self, serving: &[&Resolved]) {
        for (at, table) in serving.iter().enumerate() {
            let taken = serving.iter().take(at).any(|other| other.name() == table.name());
            if taken && table.sound(&["name"]) {
                self.mistake(table, &["name"], || {
                    let wrong = format!("{:?} is the name of another listener", table.name());
                    (wrong, "log lines and metrics tell listeners apart by name".to_owned())
                });
            }
        }
    }

    fn addresses(&mut self, serving: &[&Resolved]) {
        for (at, table) in serving.iter().enumerate() {
            let (Some(address), true) = (table.address(), table.sound(&["address"])) else { continue };
            let other = serving.iter().take(at).find(|other| {
                other.sound(&["address"]) && other.address().is_some_and(|it| overlap(&it, &address))
            });
            if let Some(other) = other {
                // A built-in listener is in the way of one that somebody asked for, not the reverse.
                let builtin = table.blame(&["address"]) == Place::Defaults;
                let (table, other) = if builtin { (other, table) } else { (table, other) };
                self.mistake(table, &["address"], || {
                    let there = other.blame(&["address"]);
                    let wrong = format!("{address} is already taken by listener {} ({there})", other.name());
                    (wrong, "give each listener its own port".to_owned())
                });
            }
        }
    }

    fn drain(&mut self, drain: &Resolved, serving: &[&Resolved]) {
        let (Some(spread), Some(timeout)) = (drain.period("spread"), drain.period("timeout")) else { return };
        if !drain.sound(&["spread", "timeout"]) {
            return;
        }
        if spread > timeout {
            self.mistake(drain, &["spread", "timeout"], || {
                let wrong = format!(
                    "{} is longer than drain.timeout, {}",
                    Value::Period(spread),
                    Value::Period(timeout)
                );
                (wrong, "some clients would be cut off before their goodbye".to_owned())
            });
            return;
        }
        let linger =
            serving.iter().filter_map(|table| table.period("linger")).max().unwrap_or(Duration::ZERO);
        if spread.saturating_add(linger) > timeout {
            self.hint(drain, &["timeout", "spread"], || {
                let wrong = format!("{} is less than drain.spread + linger", Value::Period(timeout));
                (wrong, "the last clients told will have less than their linger to close first".to_owned())
            });
        }
    }

    fn limits(&mut self, server: &Resolved, serving: &[&Resolved]) {
        let Some(all) = server.count("max_connections").filter(|_| server.sound(&["max_connections"])) else {
            return;
        };
        for table in serving.iter().filter(|table| table.is(Scope::Listener)) {
            if let Some(own) = table.count("max_connections").filter(|own| *own > all) {
                self.hint(table, &["max_connections"], || {
                    let wrong = format!("{own} is above server.max_connections, {all}");
                    (wrong, "the listener cannot get there".to_owned())
                });
            }
        }
    }

    pub(super) fn mistake(&mut self, of: &Resolved, names: &[&str], say: impl FnOnce() -> (String, String)) {
        self.mistakes.push(finding(of, names, say()));
    }

    fn hint(&mut self, of: &Resolved, names: &[&str], say: impl FnOnce() -> (String, String)) {
        self.hints.push(finding(of, names, say()));
    }
}

/// A finding about the first of `names`, at the place of the first that somebody gave.
pub(super) fn finding(of: &Resolved, names: &[&str], (wrong, right): (String, String)) -> Diagnostic {
    let key = names.first().copied().unwrap_or_default();
    let key = if of.is(Scope::Listener) {
        format!("{key} of listener {}", of.name())
    } else {
        format!("{}.{key}", of.qualified_name())
    };
    Diagnostic { place: of.blame(names), key, wrong, right }
}

/// Whether the kernel would refuse to listen on both.
fn overlap(a: &Address, b: &Address) -> bool {
    match (a, b) {
        (Address::Unix(a), Address::Unix(b)) => a == b,
        (
            Address::Tcp { socket: a, v6_only: a_only, interface: a_interface },
            Address::Tcp { socket: b, v6_only: b_only, interface: b_interface },
        ) => {
            // Port 0 is a different port each time.
            a.port() == b.port()
                && a.port() != 0
                && !differ(a_interface.as_ref(), b_interface.as_ref())
                && !differ(scope(*a), scope(*b))
                && (covers(*a, *a_only, b.ip()) || covers(*b, *b_only, a.ip()))
        }
        (Address::Unix(_), Address::Tcp { .. }) | (Address::Tcp { .. }, Address::Unix(_)) => false,
    }
}

/// Whether both say an interface, and not the same.
fn differ<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
    a.zip(b).is_some_and(|(a, b)| a != b)
}

/// The number of the interface that an address is of, if it says one.
fn scope(address: SocketAddr) -> Option<u32> {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() > 0 => Some(v6.scope_id()),
        SocketAddr::V4(_) | SocketAddr::V6(_) => None,
    }
}

/// Whether listening on `wide` takes what is sent to `ip`, or to everything if `ip` is unspecified.
fn covers(wide: SocketAddr, v6_only: bool, ip: IpAddr) -> bool {
    match wide.ip() {
        IpAddr::V4(v4) => IpAddr::V4(v4) == ip || (v4.is_unspecified() && ip.is_ipv4()),
        IpAddr::V6(v6) => IpAddr::V6(v6) == ip || (v6.is_unspecified() && (ip.is_ipv6() || !v6_only)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(text: &str, v6_only: bool) -> Address {
        let Some(Address::Tcp { socket, interface, .. }) = Address::parse_tcp(text) else { panic!("{text}") };
        Address::Tcp { socket, v6_only, interface }
    }

    #[test]
    fn addresses_overlap_as_the_kernel_sees_them() {
        for (a, b, expected) in [
            (tcp("127.0.0.1:1", false), tcp("127.0.0.1:1", false), true),
            (tcp("127.0.0.1:1", false), tcp("127.0.0.2:1", false), false),
            (tcp("0.0.0.0:1", false), tcp("127.0.0.1:1", false), true),
            (tcp("0.0.0.0:1", false), tcp("0.0.0.0:2", false), false),
            (tcp("[::]:1", false), tcp("0.0.0.0:1", false), true),
            (tcp("[::]:1", true), tcp("0.0.0.0:1", false), false),
            (tcp("[::]:1", true), tcp("[::1]:1", false), true),
            (tcp("127.0.0.1:0", false), tcp("127.0.0.1:0", false), false),
            (tcp("[fe80::1%a]:1", false), tcp("[fe80::1%b]:1", false), false),
            (tcp("[fe80::1%1]:1", false), tcp("[fe80::1%2]:1", false), false),
            (tcp("[fe80::1%a]:1", false), tcp("[fe80::1%a]:1", false), true),
            (tcp("[::]:1", false), tcp("[fe80::1%a]:1", false), true),
            (Address::Unix("/a".into()), Address::Unix("/a".into()), true),
            (Address::Unix("/a".into()), tcp("127.0.0.1:1", false), false),
        ] {
            assert_eq!(overlap(&a, &b), expected, "{a} {b}");
            assert_eq!(overlap(&b, &a), expected, "{b} {a}");
        }
    }
}
