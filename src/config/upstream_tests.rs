//! Upstreams: tables that any number of listeners relay to, and servers that a listener has to itself.

use super::*;

fn from_file(text: &str) -> Result<Effective, Vec<Diagnostic>> {
    resolve_text(&Sources::default(), Some(("f", text)), no_files)
}

fn settings(text: &str) -> Settings {
    from_file(text).unwrap_or_else(|mistakes| panic!("{text}: {mistakes:#?}")).settings
}

fn said(text: &str) -> Vec<String> {
    from_file(text).map(|effective| effective.settings).unwrap_err().iter().map(ToString::to_string).collect()
}

const APP: &str =
    "[upstream.app]\nservers = '10.0.0.1:1,10.0.0.2:1'\nbalance = 'round_robin'\nkeepalive = '9s'\n";

/// Listeners that relay to these.
fn listeners(upstreams: &[&str]) -> String {
    let listener = |(at, upstream): (usize, &&str)| {
        format!("[[listener]]\nprotocol = 'tcp'\naddress = '127.0.0.1:{}'\nupstream = '{upstream}'\n", at + 1)
    };
    upstreams.iter().enumerate().map(listener).collect()
}

#[test]
fn listeners_that_name_an_upstream_share_it() {
    let settings = settings(&format!("{APP}{}", listeners(&["app", "app", "10.0.0.1:1"])));
    let names: Vec<_> = settings.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!(names, ["app", "tcp-3"], "the last has servers of its own, and is called as its listener is");
    let relays: Vec<_> = settings.listeners.iter().filter_map(|listener| listener.relay.as_ref()).collect();
    let of: Vec<_> = relays.iter().map(|relay| relay.upstream.as_deref().unwrap()).collect();
    assert_eq!(of, ["app", "app", "tcp-3"]);
    let idle = |at: usize| settings.upstreams[at].is.keepalive.map(|keepalive| keepalive.idle.as_secs());
    assert_eq!([idle(0), idle(1)], [Some(9), Some(60)]);
    assert_eq!(settings.upstreams[0].is.user_timeout().map(|it| it.as_secs()), Some(34));
}

#[test]
fn a_table_and_a_listener_say_the_same_in_their_own_words() {
    let table = "[upstream.tcp]\nservers = '10.0.0.1:1'\nbalance = 'source_hash'\nconnect_timeout = '1s'\n\
                 header = 'proxy_v2'\nkeepalive = '9s'\nsource = '10.0.0.9'\n";
    let own = "balance = 'source_hash'\nconnect_timeout = '1s'\nupstream_header = 'proxy_v2'\n\
               upstream_keepalive = '9s'\nupstream_source = '10.0.0.9'\n";
    let by_table = settings(&format!("{table}{}", listeners(&["tcp"])));
    let by_listener = settings(&format!("{}{own}", listeners(&["10.0.0.1:1"])));
    assert_eq!(by_table.upstreams, by_listener.upstreams);
    assert_eq!(by_table.listeners[0].relay, by_listener.listeners[0].relay);
}

#[test]
fn a_url_names_an_upstream_of_the_file() {
    let sources = Sources { listen: vec!["tcp://127.0.0.1:9?upstream=app".to_owned()], ..Sources::default() };
    let settings = resolve_text(&sources, Some(("f", APP)), no_files).unwrap().settings;
    assert_eq!(settings.upstreams[0].is.servers.len(), 2);
    let mistakes = resolve_text(&sources, None, no_files).unwrap_err();
    assert!(
        mistakes[0].to_string().contains("upstream of listener tcp: there is no [upstream.app]"),
        "{mistakes:?}"
    );
}

#[test]
fn what_is_shown_reads_back_as_the_same() {
    let first = from_file(&format!("{APP}{}", listeners(&["app"]))).unwrap();
    let shown = first.to_string();
    assert!(shown.contains("\n[upstream.app]\nservers = \"10.0.0.1:1,10.0.0.2:1\""), "{shown}");
    assert_eq!(from_file(&shown).unwrap().settings, first.settings);
}

#[test]
fn all_mistakes_are_told_at_once_and_where_they_are() {
    let text = format!(
        "{APP}hedder = 'off'\n{}balance = 'round_robin'\nupstream_source = '10.0.0.9'\n[upstream.empty]\n",
        listeners(&["ap"])
    );
    let mistakes = said(&text);
    let expected = [
        "f:5:1: upstream.app.hedder: is not a key of [upstream.NAME]; did you mean header?",
        "f:9:12: upstream of listener tcp: there is no [upstream.ap]; did you mean \"app\"?",
        "f:10:11: balance of listener tcp: is about servers, which are those of [upstream.ap]; write balance there, for \
         all who relay to them",
        "f:11:19: upstream_source of listener tcp: is about servers, which are those of [upstream.ap]; write source \
         there, for all who relay to them",
        "f:12:11: upstream.empty.servers: is missing; write addresses of servers separated by commas",
    ];
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
    for (mistake, expected) in mistakes.iter().zip(expected) {
        assert!(mistake.starts_with(expected), "{mistake}\n{expected}");
    }
}

#[test]
fn each_mistake_has_a_sentence_of_its_own() {
    let relay = listeners(&["app"]);
    for (text, part) in [
        (
            format!("{APP}{}", listeners(&["10.0.0.9:1"]) + "name = 'app'"),
            "is the name of [upstream.app], too",
        ),
        (
            format!("{relay}[upstream]\nservers = '10.0.0.1:1'"),
            "upstream.servers: is not a table; write [upstream.NAME]",
        ),
        (
            format!("upstream = 'app'\n{relay}"),
            "f:1:1: upstream: is a table of tables; write [upstream.NAME]",
        ),
        (format!("{APP}{relay}[upstream.'a b']\nservers = '10.0.0.1:1'"), "\"a b\" cannot be a name"),
        (format!("{APP}{relay}header = 'off'"), "listener.header: is not a key of [[listener]]"),
        (format!("{APP}half_close = 'end'\n{relay}"), "it is a key of [[listener]] with protocol = \"tcp\""),
        (format!("{APP}servers = '10.0.0.1:1'\n{relay}"), "duplicate key"),
        (format!("[defaults]\nservers = '10.0.0.1:1'\n{APP}{relay}"), "it is a key of [upstream.NAME]"),
        (listeners(&["10.0.0.1"]), "\"10.0.0.1\" has no port"),
    ] {
        let mistakes = said(&text);
        assert!(mistakes.iter().any(|mistake| mistake.contains(part)), "{text}: {mistakes:#?}");
    }
}

#[test]
fn an_upstream_that_no_listener_relays_to_is_a_hint() {
    let hints = from_file(APP).unwrap().hints;
    assert_eq!(hints.len(), 1, "{hints:#?}");
    let said =
        "f:2:11: upstream.app.servers: no listener relays to it; write upstream = \"app\" at a listener";
    assert!(hints[0].to_string().starts_with(said), "{}", hints[0]);
    assert_eq!(settings(APP).upstreams, [], "and nothing is made of it");
}

#[test]
fn an_exchange_is_what_is_sent_and_expected_and_other_checks_are_neither() {
    let of = |checks: &str| format!("{APP}{checks}{}", listeners(&["app"]));
    let exchange = |checks: &str| {
        let found =
            settings(&of(&format!("check.style = 'exchange'\n{checks}"))).upstreams[0].is.check.clone();
        assert!(found.is_on(), "{checks}");
        found
    };
    let pong = exchange("check.expect = '+PONG'\n");
    assert!(pong.expect.is_some() && pong.send.is_empty());
    assert_ne!(exchange("check.expect = '+PING'\n"), pong);
    let sends = exchange("check.expect = '+PONG'\ncheck.send = 'PING\\r\\n'\n");
    assert_eq!(&*sends.send, b"PING\r\n");
    for (checks, part) in [
        ("check.style = 'exchange'\n", "check.expect: is missing"),
        ("check.send = 'PING'\n", "check.send: has no effect"),
        ("check.style = 'connect'\ncheck.expect = 'a'\n", "check.expect: has no effect"),
        ("check.style = 'exchange'\ncheck.expect = '\\q'\n", "\\q is not an escape"),
    ] {
        let mistakes = said(&of(checks));
        assert!(mistakes.iter().any(|mistake| mistake.contains(part)), "{checks}: {mistakes:#?}");
    }
    // The same keys are for a listener that has servers of its own, and only for such.
    let own = format!("{}check.style = 'connect'\n", listeners(&["10.0.0.1:1"]));
    assert!(settings(&own).upstreams[0].is.check.is_on());
    let mistakes = said(&format!("{APP}{}check.style = 'connect'\n", listeners(&["app"])));
    assert!(mistakes[0].contains("check.style of listener tcp: is about servers"), "{mistakes:#?}");
}

const ROUTED: &str = "[[listener]]\nprotocol = 'tcp'\naddress = '127.0.0.1:1'\n";
const WEB: &str = "[upstream.web]\nservers = '10.0.0.3:1'\nkeepalive = 'off'\n";

#[test]
fn routes_are_lists_of_names_with_upstreams_each() {
    let routed = |routes: &str| settings(&format!("{ROUTED}{routes}{APP}{WEB}"));
    let as_text = routed(
        "route.server_name = 'A.example=web, *.iot.example=app'\nroute.alpn = 'mqtt=app'\nupstream = 'web'\n",
    );
    let as_arrays = routed(
        "route = { server_name = ['A.example=web', '*.iot.example=app'], alpn = ['mqtt=app'] }\nupstream = 'web'\n",
    );
    assert_eq!(as_text, as_arrays);
    let relay = as_text.listeners[0].relay.clone().unwrap();
    assert_eq!(relay.upstreams().collect::<Vec<_>>(), ["web", "web", "app", "app"]);
    let names: Vec<_> = as_text.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!(names, ["web", "app"], "each once");
    let timeout = as_text.listeners[0].policy.bounds.handshake_timeout;
    assert_eq!(timeout.map(|it| it.as_secs()), Some(10), "who is routed by its first message has to send it");
    let alone = routed("route.alpn = 'mqtt=app'\n");
    assert_eq!(alone.listeners[0].relay.as_ref().unwrap().upstream, None);
    assert_eq!(alone.upstreams.len(), 1);
    let url = "tcp://127.0.0.1:9?route.server_name=a.example=app,*.b.example=web&route.alpn=h2=web";
    let sources = Sources { listen: vec![url.to_owned()], ..Sources::default() };
    let by_url = resolve_text(&sources, Some(("f", &format!("{APP}{WEB}"))), no_files).unwrap().settings;
    assert_eq!(by_url.listeners[0].relay.as_ref().unwrap().routes.iter().count(), 3);
    let first = from_file(&format!("{ROUTED}route.alpn = 'mqtt=app'\n{APP}")).unwrap();
    assert_eq!(from_file(&first.to_string()).unwrap().settings, first.settings, "what is shown reads back");
}

#[test]
fn all_mistakes_in_routes_are_told_at_once_and_where_they_are() {
    let text = format!(
        "{ROUTED}route.server_name = 'a.example=wep'\nroute.alpn = 'mqtt=nowhere'\nbalance = 'round_robin'\n\
         [[listener]]\nprotocol = 'tcp'\naddress = '127.0.0.1:2'\n\
         [[listener]]\nprotocol = 'tcp'\naddress = '127.0.0.1:3'\nroute.server_name = '*=web'\n\
         [[listener]]\nprotocol = 'resp'\naddress = '127.0.0.1:4'\nroute.alpn = 'h2=web'\n{WEB}"
    );
    let mistakes = said(&text);
    let expected = [
        "f:4:21: route.server_name of listener tcp: there is no [upstream.wep]; did you mean \"web\"?",
        "f:5:14: route.alpn of listener tcp: there is no [upstream.nowhere]; write that table, with its servers",
        "f:6:11: balance of listener tcp: is about servers, which are those of its routes; write balance there",
        "f:7:1: upstream of listener tcp-2: is missing, and there are no routes: nobody could be served; write the NAME",
        "f:13:21: listener.route.server_name: \"*\" is everybody; what no route is for goes to upstream; write names of hosts",
        "f:17:1: listener.route: is not a key of [[listener]] with protocol = \"resp\"",
    ];
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
    for (mistake, expected) in mistakes.iter().zip(expected) {
        assert!(mistake.starts_with(expected), "{mistake}\n{expected}");
    }
    assert!(
        said("[defaults]\nroute.alpn = 'h2=web'")[0]
            .contains("it is a key of [[listener]] with protocol = \"tcp\"")
    );
}

#[test]
fn a_protocol_that_is_not_agreed_on_is_a_mistake_where_tls_ends_here() {
    let tls = "tls = { certificate = '/a.pem', alpn = 'h2' }\n";
    let mistakes = said(&format!("{ROUTED}route.alpn = 'h2=web, mqtt=web'\n{tls}{WEB}"));
    let part = "\"mqtt\" is never agreed on: TLS ends here, and tls.alpn does not have it; write it there, too, as tls.alpn = \"h2,mqtt\"";
    assert!(mistakes.iter().any(|mistake| mistake.contains(part)), "{mistakes:#?}");
    assert!(!mistakes.iter().any(|mistake| mistake.contains("\"h2\" is never")), "{mistakes:#?}");
}

#[test]
fn tls_that_would_pass_through_to_one_who_speaks_it_with_us_is_a_hint() {
    let tls = "tls = { enabled = true, name = 'web', verify = false }\n";
    let effective = from_file(&format!("{ROUTED}route.alpn = 'h2=web'\n{WEB}{tls}")).unwrap();
    assert!(effective.hints[0].wrong.contains("TLS within TLS"), "{:?}", effective.hints);
}
