//! The configuration as a whole: what sources say against the settings or mistakes that come of them.

use super::settings::{LogFormat, Overload};
use super::*;
use crate::core::conn::policy::{HeartbeatStyle, LastRung};
use crate::core::setting::{Key, Kind};
use crate::core::time::Duration;
use std::path::Path;

fn from_file(text: &str) -> Result<Effective, Vec<Diagnostic>> {
    resolve_text(&Sources::default(), Some(("f", text)), no_files)
}

pub(super) fn settings(text: &str) -> Settings {
    from_file(text).unwrap_or_else(|mistakes| panic!("{text}: {mistakes:#?}")).settings
}

fn said(outcome: Result<Effective, Vec<Diagnostic>>) -> Vec<String> {
    outcome.map(|effective| effective.settings).unwrap_err().iter().map(ToString::to_string).collect()
}

fn from_url(url: &str) -> Result<Effective, Vec<Diagnostic>> {
    resolve_text(&Sources { listen: vec![url.to_owned()], ..Sources::default() }, None, no_files)
}

fn no_file(_: &Path, _: usize) -> Result<String, String> {
    Err("the file cannot be read: there is none".to_owned())
}

fn defaults() -> Settings {
    load(&Sources::default(), no_file).expect("the defaults are sound")
}

#[test]
fn without_any_source_echo_resp_and_admin_are_served_on_loopback() {
    let settings = defaults();
    let shown: Vec<String> =
        settings.listeners.iter().map(|listener| format!("{} {}", listener.name, listener.address)).collect();
    assert_eq!(shown, ["echo 127.0.0.1:7007", "resp 127.0.0.1:7000", "admin 127.0.0.1:7070"]);
    let [echo, resp, admin] = settings.listeners.as_slice() else { panic!("three listeners") };
    assert_eq!(echo.policy.liveness.heartbeat.style, HeartbeatStyle::Off);
    assert_eq!(resp.policy.liveness.heartbeat.style, HeartbeatStyle::Off);
    assert_eq!(resp.policy.liveness.heartbeat.interval, Duration::from_secs(150));
    assert_eq!(resp.policy.liveness.user_timeout, Some(Duration::from_secs(89)));
    assert_eq!(resp.policy.closing.unreachable, LastRung::Reset);
    assert_eq!(admin.policy.bounds.handshake_timeout, Some(Duration::from_secs(10)));
    assert_eq!(admin.policy.liveness.heartbeat.style, HeartbeatStyle::Off);
}

#[test]
fn the_default_file_reads_back_as_exactly_the_defaults() {
    let read = from_file(&template()).unwrap();
    assert_eq!(read.settings, defaults());
    assert_eq!(read.hints, []);
}

#[test]
fn the_default_file_mentions_every_key() {
    let text = template();
    for key in Scope::ALL.into_iter().flat_map(|scope| Table::new(scope, Protocol::REGISTRY).keys()) {
        let name = key.name;
        let (given, required) = (format!("\n{name} = "), format!("\n# {name} must be given."));
        let shown = [&given, &format!("\n# {name} = "), &required].iter().any(|line| text.contains(*line));
        assert!(shown, "{name}");
    }
}

#[test]
fn effective_settings_read_back_as_themselves() {
    let text = "
        [defaults]
        linger = '1s'
        keepalive.enabled = false
        [admin]
        address = 'unix:/tmp/a \"b\".sock'
        [[listener]]
        protocol = 'resp'
        address = '[::]:7000'
        v6_only = true
        heartbeat = 'both:40s'
        [[listener]]
        protocol = 'resp'
        address = '127.0.0.1:7001'
        output_max = 3000000";
    let first = from_file(text).unwrap();
    let second = from_file(&first.to_string()).unwrap();
    assert_eq!(first.settings, second.settings);
    assert_eq!(first.settings.listeners[1].name, "resp-7001");
    assert_eq!(first.settings.listeners[0].policy.liveness.user_timeout, None, "derived from no keepalive");
}

#[test]
fn effective_settings_say_where_each_came_from() {
    let sources = Sources {
        listen: vec!["resp://127.0.0.1:1?linger=2s".to_owned()],
        overrides: vec![Override { flag: "--log".into(), key: "log.filter".into(), value: "debug".into() }],
        ..Sources::default()
    };
    let file = "[defaults]\nslow_time = '9s'\n[log]\nfilter = 'warn'\n[drain]\nspread = '1s'";
    let shown = resolve_text(&sources, Some(("f", file)), no_files).unwrap().to_string();
    for (setting, origin) in [
        ("filter = \"debug\"", "--log"),
        ("spread = \"1s\"", "f:6"),
        ("slow_time = \"9s\"", "f:2"),
        ("linger = \"2s\"", "--listen resp://127.0.0.1:1?linger=2s"),
        ("user_timeout = \"89s\"", "derived: just under keepalive.idle + interval x count"),
        ("timeout = \"30s\"", "default"),
    ] {
        let line = format!("{setting:<40} # {origin}");
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
}

#[test]
fn every_key_has_an_effect() {
    let base = |own: &str| {
        let relays = "[[listener]]\nprotocol = 'tcp'\naddress = '[::]:7001'\nupstream = 'app'";
        let app = "[upstream.app]\nservers = '10.0.0.1:1'";
        let own = own.strip_prefix("[upstream.app]\n").map_or_else(|| (own, ""), |own| ("", own));
        format!(
            "[[listener]]\nprotocol = 'resp'\naddress = '[::]:7000'\n{}\n{relays}\n{app}\n{}",
            own.0, own.1
        )
    };
    let plain = settings(&base(""));
    for scope in Scope::ALL {
        for key in Table::new(scope, Protocol::REGISTRY).keys() {
            let line = match key.name {
                "protocol" | "address" if scope == Scope::Listener => continue,
                // What they do has a test of its own.
                "servers"
                | "check.send"
                | "check.expect"
                | "token_file"
                | "accept_proxy_trusted"
                | "accept_proxy_timeout" => continue,
                // A proxy before the admin interface needs a token, of which there is no file here.
                "accept_proxy" if matches!(scope, Scope::Admin | Scope::Defaults) => continue,
                name if name.starts_with("tls.") => continue,
                "source" => "source = '10.0.0.9'\n".to_owned(),
                "accept_proxy" => "accept_proxy = 'require'\naccept_proxy_trusted = '::/0'\n".to_owned(),
                name => format!("{name} = {}\n", other_than_default(scope, &key)),
            };
            let text = match scope {
                Scope::Listener => base(&line),
                Scope::Upstream => base(&format!("[upstream.app]\n{line}")),
                Scope::Server
                | Scope::Turn
                | Scope::Drain
                | Scope::Audit
                | Scope::Log
                | Scope::Admin
                | Scope::Defaults => format!("[{}]\n{line}{}", scope.name(), base("")),
            };
            assert_ne!(settings(&text), plain, "{text}");
        }
    }
}

/// A sound value that is not what the listener or table of `every_key_has_an_effect` has anyway.
pub(super) fn other_than_default(scope: Scope, key: &Key) -> Value {
    let protocol = if scope == Scope::Admin { Protocol::Admin } else { Protocol::Resp };
    match (key.default_for(Some(protocol.declaration())).unwrap(), key.kind) {
        (_, kind @ Kind::AddressOrOff) => kind.read(Raw::Bare("127.0.0.1:7999")).unwrap(),
        (Value::Flag(flag), _) => Value::Flag(!flag),
        (Value::Count(count), _) => Value::Count(count + 1),
        (Value::Size(bytes), _) => Value::Size(bytes + 1),
        (Value::Period(period), _) => Value::Period(period + Duration::from_secs(1)),
        (Value::Word(_), Kind::Count { min, .. }) => Value::Count(min),
        (Value::Word(_), Kind::Size { min, .. }) => Value::Size(min),
        (Value::Word(_), Kind::Period { min, .. }) => Value::Period(min),
        (Value::Word(word), Kind::Choice(words)) => {
            Value::Word(words.iter().find(|other| **other != word).unwrap())
        }
        (Value::Word(_), Kind::List { .. }) => Value::Text("192.0.2.0/24".to_owned()),
        (Value::Word(_), _) => Value::Text("other".to_owned()),
        (Value::Text(_), _) => Value::Text("debug".to_owned()),
        (Value::Mode(mode), _) => Value::Mode(mode ^ 0o6),
    }
}

#[test]
fn a_listener_url_says_all_that_the_file_can() {
    let url = "resp://[::]:7000?heartbeat=server:30s&heartbeat.grace=3s&backlog=9&overload=shed&nodelay=false\
               &frame_max=1KiB&name=devices&keepalive.enabled=false&v6_only=true";
    let text = "
        [[listener]]
        name = 'devices'
        protocol = 'resp'
        address = '[::]:7000'
        v6_only = true
        heartbeat = { style = 'server', timeout = '30s', grace = '3s' }
        backlog = 9
        overload = 'shed'
        nodelay = false
        frame_max = 1024
        [listener.keepalive]
        enabled = false";
    let by_url = from_url(url).unwrap().settings;
    assert_eq!(by_url, settings(text));
    assert_eq!(by_url.listeners[0].overload, Overload::Shed);
    assert_eq!(from_url("echo://[::1]:7007/").unwrap().settings.listeners[0].name, "echo");
}

#[test]
fn listen_flags_replace_the_listeners_of_the_file_but_keep_its_defaults() {
    let sources = Sources { listen: vec!["echo://127.0.0.1:1?linger=3s".to_owned()], ..Sources::default() };
    let file = "[defaults]\nlinger = '1s'\nslow_time = '2s'\n[[listener]]\nprotocol = 'resp'\naddress = '127.0.0.1:2'";
    let settings = resolve_text(&sources, Some(("f", file)), no_files).unwrap().settings;
    assert_eq!(settings.listeners.len(), 2, "one, and admin");
    assert_eq!(settings.listeners[0].protocol, Protocol::Echo);
    assert_eq!(settings.listeners[0].policy.closing.linger, Duration::from_secs(3));
    assert_eq!(settings.listeners[0].policy.bounds.slow_time, Duration::from_secs(2));
}

#[test]
fn flags_come_before_the_file_and_defaults_do_not_reach_the_admin_interface() {
    let flag =
        |key: &str, value: &str| Override { flag: "--set".into(), key: key.into(), value: value.into() };
    let overrides = vec![flag("log.format", "json"), flag("defaults.linger", "3s")];
    let sources = Sources { overrides, ..Sources::default() };
    let file = "[log]\nformat = 'text'\nfilter = 'warn'\n[defaults]\nlinger = '1s'";
    let settings = resolve_text(&sources, Some(("f", file)), no_files).unwrap().settings;
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(settings.log.filter, "warn");
    let lingers: Vec<u64> = settings.listeners.iter().map(|it| it.policy.closing.linger.as_secs()).collect();
    assert_eq!(lingers, [3, 3, 5]);
}

#[test]
fn values_that_do_not_go_together_are_refused_where_they_stand() {
    let listener = "[[listener]]\nprotocol = 'resp'\naddress = '127.0.0.1:7000'\n";
    for (text, place, part) in [
        ("output_low = '128KiB'", "f:4:14", "above output_high, \"64KiB\""),
        ("output_high = '2MiB'", "f:4:15", "not below output_max"),
        ("output_max = '65KiB'", "f:4:14", "no room for one frame"),
        ("linger = '2m'", "f:4:10", "longer than linger_max, \"1m\""),
        ("heartbeat = { style = 'server', interval = '5m' }", "f:4:44", "not below heartbeat.timeout"),
        ("heartbeat.grace = '0s'", "f:4:19", "out of range"),
        ("keepalive.idle = '500ms'", "f:4:18", "whole seconds"),
        ("keepalive.idle = '10h'", "f:4:18", "out of range"),
        ("frame_max = 0", "f:4:13", "out of range"),
        ("backlog = 0", "f:4:11", "out of range"),
        ("v6_only = true", "f:4:11", "is IPv4"),
        ("name = 'admin'", "f:4:8", "name of another listener"),
        (
            "[[listener]]\nprotocol = 'echo'\naddress = '0.0.0.0:7000'",
            "f:6:11",
            "already taken by listener resp",
        ),
        (
            "[[listener]]\nprotocol = 'echo'\naddress = '[::]:7070'",
            "f:6:11",
            "already taken by listener admin",
        ),
        ("[drain]\nspread = '1m'", "f:5:10", "longer than drain.timeout"),
        ("[admin]\naddress = '0.0.0.0:7070'", "f:5:11", "reached from other hosts"),
    ] {
        let mistakes = said(from_file(&format!("{listener}{text}")));
        assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
        assert!(mistakes[0].starts_with(place) && mistakes[0].contains(part), "{text}: {mistakes:#?}");
    }
    let echo = said(from_url("echo://127.0.0.1:1?heartbeat=server:30s"));
    assert!(echo[0].contains("no message to ping with"), "{echo:?}");
}

#[test]
fn a_remote_admin_address_must_be_allowed_and_loopback_need_not() {
    assert!(
        said(from_file("[admin]\naddress = '0.0.0.0:7070'\ntoken_file = '/t'"))[0]
            .contains("there are no files here")
    );
    assert!(from_file("[admin]\naddress = '[::1]:7070'").is_ok());
    let off = settings("[admin]\naddress = 'off'");
    assert!(off.listeners.iter().all(|listener| listener.protocol != Protocol::Admin));
}

#[test]
fn what_is_doubtful_is_a_hint_and_no_mistake() {
    let listener = "[[listener]]\nprotocol = 'echo'\naddress = '127.0.0.1:7000'\n";
    for (text, part) in [
        ("user_timeout = '20s'", "not above keepalive idle + interval x (count - 1), \"80s\""),
        ("user_timeout = '80s'", "not above keepalive idle + interval x (count - 1), \"80s\""),
        ("user_timeout = '5m'", "above keepalive idle + interval x count, \"90s\""),
        ("keepalive.enabled = false", "no keepalive, user timeout, heartbeat or idle timeout"),
        ("max_connections = 9\n[server]\nmax_connections = 8", "above server.max_connections, 8"),
        ("[drain]\ntimeout = '6s'", "less than drain.spread + linger"),
    ] {
        let hints = from_file(&format!("{listener}{text}")).unwrap().hints;
        assert_eq!(hints.len(), 1, "{hints:#?}");
        assert!(hints[0].wrong.contains(part), "{hints:#?}");
    }
}

#[test]
fn the_user_timeout_lies_between_the_last_probe_and_the_end_of_the_wait_for_its_answer() {
    let listener = "[[listener]]\nprotocol = 'echo'\naddress = '127.0.0.1:7000'\n";
    for (idle, interval, count, millis) in
        [(1, 1, 3, 3500), (1, 1, 1, 1500), (60, 10, 3, 89_000), (5, 2, 4, 12_000)]
    {
        let keepalive =
            format!("keepalive = {{ idle = '{idle}s', interval = '{interval}s', count = {count} }}");
        let effective = from_file(&format!("{listener}{keepalive}")).unwrap();
        assert!(effective.hints.is_empty(), "{keepalive}: {:?}", effective.hints);
        let timeout = effective.settings.listeners[0].policy.liveness.user_timeout;
        assert_eq!(timeout, Some(Duration::from_millis(millis)), "{keepalive}");
    }
    for (timeout, after) in [(3000, "after 2 probes"), (1500, "after 1 probe;"), (500, "after 1 probe;")] {
        let text = format!(
            "keepalive = {{ idle = '1s', interval = '1s', count = 3 }}\nuser_timeout = '{timeout}ms'"
        );
        let hints = from_file(&format!("{listener}{text}")).unwrap().hints;
        assert!(hints.len() == 1 && hints[0].right.contains(after), "{timeout}: {hints:?}");
    }
}

#[test]
fn unknown_names_find_what_was_meant() {
    let listener = "[[listener]]\nprotocol = 'resp'\naddress = '127.0.0.1:7000'\n";
    for (text, part) in [
        (
            "heartbeat = { tiemout = '30s' }",
            "listener.heartbeat.tiemout: is not a key of [[listener]]; did you mean heartbeat.timeout?",
        ),
        ("hartbeat = { timeout = '30s' }", "did you mean heartbeat?"),
        ("idle = '30s'", "did you mean keepalive.idle?"),
        ("keepalive = true", "is a table, not a value; its keys are keepalive.enabled, keepalive.idle"),
        ("accepts = 3", "it is a key of [turn]"),
        ("drain.spread = '1s'", "it is a table of its own, [drain]"),
        ("xyzzy = 3", "`linger config` lists all keys"),
        ("[admin]\nheartbeat.style = 'off'", "does not apply to the admin interface"),
        ("[defaults]\naddress = '127.0.0.1:1'", "is not a key of [defaults]; it is a key of [[listener]]"),
        ("[sever]\naccept_retry = '1s'", "sever: is not a table of linger; did you mean server?"),
    ] {
        let mistakes = said(from_file(&format!("{listener}{text}")));
        assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
        assert!(mistakes[0].contains(part), "{text}: {mistakes:#?}");
    }
}

#[test]
fn shapes_that_are_not_ours_are_explained() {
    for (text, part) in [
        ("[listener]\nprotocol = 'echo'", "f:1:2: listener: is a list of tables; write [[listener]]"),
        ("listener = [3]", "listener: is not a table"),
        ("listener = []", "f:1:1: listener: is an empty list"),
        ("log = 'info'", "f:1:1: log: is a table; write [log]"),
        ("backlog = 9", "it is a key of [defaults]"),
        ("[turn]\naccepts = 1.5", "a number with a point is not a number"),
        ("[turn]\naccepts = [1]", "an array is not a number"),
        ("[defaults]\nheartbeat = 30", "30 is neither a table nor a string"),
        ("[[listener]]\nprotocol = 'echo'", "f:1:1: listener.address: is missing"),
    ] {
        let mistakes = said(from_file(text));
        assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
        assert!(mistakes[0].contains(part), "{text}: {mistakes:#?}");
    }
}

#[test]
fn an_error_of_syntax_hides_no_other_mistake_and_makes_none() {
    let text =
        "[drain]\nspread = 5s\n[[listener]]\nprotocol = resp\naddress = '127.0.0.1:7000'\nbacklog = 0\n";
    let mistakes = said(from_file(text));
    assert_eq!(mistakes.len(), 3, "{mistakes:#?}");
    for (mistake, start) in mistakes.iter().zip(["f:2:", "f:4:", "f:6:11: listener.backlog"]) {
        assert!(mistake.starts_with(start), "{mistakes:#?}");
    }
}

#[test]
fn mistakes_of_a_url_name_the_parameter() {
    for (url, part) in [
        ("127.0.0.1:7000", "is not a URL; write PROTOCOL://"),
        ("http://127.0.0.1:7000", "protocol: \"http\" is none of the choices"),
        ("echo://127.0.0.1", "address: \"127.0.0.1\" has no port"),
        ("echo://127.0.0.1:1?backlog", "backlog: has no value"),
        ("echo://127.0.0.1:1?backlog=1&backlog=2", "backlog: is given twice"),
        ("echo://127.0.0.1:1?address=127.0.0.1:2", "address: is given twice"),
        ("echo://127.0.0.1:1?heartbeat=soon", "heartbeat.timeout: \"soon\" is not a duration"),
        (
            "echo://127.0.0.1:1?heartbeat=clint:3s",
            "heartbeat.style: \"clint\" is none of the choices (did you mean",
        ),
        ("echo://127.0.0.1:1?bcklog=1", "did you mean backlog?"),
    ] {
        let mistakes = said(from_url(url));
        let start = format!("--listen {url}: ");
        assert!(mistakes[0].starts_with(&start) && mistakes[0].contains(part), "{mistakes:#?}");
    }
    assert_eq!(said(from_url("127.0.0.1:7000")).len(), 1, "what is not a URL lacks nothing else");
}

#[test]
fn flags_must_name_a_key_with_its_table() {
    for (key, part) in [
        ("drain", "is not a key with its table"),
        ("listener.backlog", "listeners are given with --listen"),
        ("drain.tiemout", "did you mean timeout?"),
    ] {
        let overrides = vec![Override { flag: "--set".into(), key: key.into(), value: "1s".into() }];
        let mistakes = said(resolve_text(&Sources { overrides, ..Sources::default() }, None, no_files));
        assert!(mistakes[0].contains(part), "{mistakes:#?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_does_not_hide_the_mistakes_of_flags() {
    let sources = Sources {
        file: Some("/nonexistent/linger.toml".into()),
        listen: vec!["echo://x".to_owned()],
        ..Sources::default()
    };
    let mistakes = said(resolve(&sources, no_file));
    assert_eq!(mistakes.len(), 2, "{mistakes:#?}");
    assert!(mistakes[0].starts_with("/nonexistent/linger.toml: the file cannot be read"), "{mistakes:#?}");
}

mod any_input {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}", url in "(echo|resp)://[ -~]{0,60}") {
            let _ = from_file(&text);
            let _ = from_url(&url);
        }

        #[test]
        fn no_value_of_any_key_panics(value in "[-0-9a-zA-Z.:\"']{0,24}") {
            for scope in Scope::ALL {
                for key in Table::new(scope, Protocol::REGISTRY).keys() {
                    let _ = from_file(&format!("[{}]\n{} = {value}", scope.name(), key.name));
                }
            }
        }
    }
}

#[test]
fn networks_are_a_text_or_an_array_and_each_mistake_is_named() {
    let listener = "[[listener]]\nprotocol = 'resp'\naddress = '[::]:7000'\n";
    let of = |text: &str| settings(&format!("{listener}{text}")).listeners[0].clone();
    let array = of("allow = ['192.0.2.0/24', '2001:db8::/32']\ndeny = '192.0.2.7'");
    assert_eq!(array.limits, of("allow = '2001:db8::/32 192.0.2.0/24'\ndeny = ['192.0.2.7/32']").limits);
    let required =
        of("accept_proxy = 'require'\naccept_proxy_trusted = '10.0.0.0/8'\naccept_proxy_timeout = '2s'");
    let proxy = required.accept_proxy.expect("it is required");
    assert_eq!((proxy.trusted.to_string().as_str(), proxy.timeout), ("10.0.0.0/8", Duration::from_secs(2)));
    let url =
        "echo://[::]:1?allow=10.0.0.0/8,192.0.2.1&source.accept_rate=7&source.max_connections=3&max_age=1h";
    let by_url = from_url(url).unwrap().settings.listeners.swap_remove(0);
    assert_eq!((by_url.limits.source_accept_rate, by_url.limits.source_connections_max), (Some(7), Some(3)));
    assert_eq!(by_url.policy.bounds.max_age, Some(Duration::from_secs(3600)));
    for (text, part) in [
        (
            "allow = ['192.0.2.0/24', 'example.com']",
            "allow: \"example.com\" is not a network; write networks as",
        ),
        (
            "deny = '10.0.0.1/8'",
            "deny: \"10.0.0.1/8\" has bits set behind its prefix; its network is 10.0.0.0/8",
        ),
        ("deny = []", "deny: names no network"),
        ("deny = [1]", "deny: an array is not a string"),
        ("name = ['a']", "name: an array is not a string"),
        ("accept_rate = 0", "accept_rate: 0 is out of range; write a number from 1 to 1000000, or \"off\""),
        ("accept_proxy = 'require'", "accept_proxy_trusted of listener resp: names no network"),
    ] {
        let mistakes = said(from_file(&format!("{listener}{text}")));
        assert!(mistakes.len() == 1 && mistakes[0].contains(part), "{text}: {mistakes:#?}");
    }
    // Two at once, and what a unix socket does not need.
    assert_eq!(said(from_file(&format!("{listener}deny = 'a'\nallow = 'b'"))).len(), 2);
    assert!(from_file("[admin]\naddress = 'unix:/run/linger.sock'\naccept_proxy = 'require'").is_ok());
    // Behind a proxy everybody is from elsewhere, wherever the proxy is.
    let proxied = "accept_proxy = 'require'\naccept_proxy_trusted = '127.0.0.1'";
    let mistakes = said(from_file(&format!("[admin]\n{proxied}")));
    let part = "127.0.0.1:7070 behind a proxy can be reached from other hosts, and the admin interface has no token; write a \
                token into a file";
    assert!(mistakes.len() == 1 && mistakes[0].contains(part), "{mistakes:#?}");
    let hints = |text: &str| {
        from_file(&format!("[[listener]]\nprotocol = 'resp'\naddress = '127.0.0.1:1'\n{text}")).unwrap().hints
    };
    assert!(
        hints(proxied)[0]
            .wrong
            .contains("other hosts can reach 127.0.0.1:1 behind a proxy, and it has no users")
    );
    assert!(hints("").is_empty());
    let hints = from_file(&format!("{listener}accept_proxy_trusted = '10.0.0.0/8'")).unwrap().hints;
    assert!(hints.iter().any(|hint| hint.wrong.contains("has no effect")), "{hints:?}");
}
