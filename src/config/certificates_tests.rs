//! What tables say of TLS: what it means, and what is said of it that cannot be meant.

use super::*;
use crate::core::time::Duration;
use crate::tls::tests::{house, put, read};

fn from_url(url: &str) -> Result<Settings, Vec<String>> {
    let sources = Sources { listen: vec![url.to_owned()], ..Sources::default() };
    said(resolve_text(&sources, None, read))
}

fn from_file(text: &str) -> Result<Settings, Vec<String>> {
    said(resolve_text(&Sources::default(), Some(("f", text)), read))
}

fn said(outcome: Result<Effective, Vec<Diagnostic>>) -> Result<Settings, Vec<String>> {
    outcome
        .map(|effective| effective.settings)
        .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

#[test]
fn a_scheme_says_whether_tls_is_spoken() {
    house();
    for (url, over_tls) in [
        ("resp://127.0.0.1:1", false),
        ("resp://127.0.0.1:1?tls.certificate=server.pem", true),
        ("resps://127.0.0.1:1?tls.certificate=server.pem", true),
        ("echos://127.0.0.1:1?tls.certificate=server.pem", true),
        ("tls://127.0.0.1:1?tls.certificate=server.pem&upstream=127.0.0.1:2", true),
        ("resp://127.0.0.1:1?tls.certificate=server.pem&tls.enabled=off", false),
    ] {
        let settings = from_url(url).unwrap();
        assert_eq!(settings.listeners[0].tls.is_some(), over_tls, "{url}");
    }
}

#[test]
fn who_begins_a_handshake_has_ten_seconds_where_nobody_says() {
    house();
    for (query, seconds) in
        [("", Some(10)), ("&handshake_timeout=3s", Some(3)), ("&handshake_timeout=off", None)]
    {
        let settings = from_url(&format!("echos://127.0.0.1:1?tls.certificate=server.pem{query}")).unwrap();
        let timeout = settings.listeners[0].policy.bounds.handshake_timeout;
        assert_eq!(timeout, seconds.map(Duration::from_secs), "{query}");
    }
}

#[test]
fn a_listener_without_what_tls_needs_is_told_so() {
    let (authority, _) = house();
    put("other.pem", &authority.sign("other").both());
    for (url, expected) in [
        ("resps://127.0.0.1:1", "tls.certificate of listener resp: is missing: TLS cannot be spoken without"),
        (
            "resps://127.0.0.1:1?tls.certificate=none.pem",
            "tls.certificate of listener resp: none.pem: there is none",
        ),
        (
            "resps://127.0.0.1:1?tls.certificate=server.pem&tls.client_certificate=required",
            "tls.client_ca of listener resp: is missing",
        ),
        (
            "resps://127.0.0.1:1?tls.certificate=server.pem&tls.identity=cn",
            "tls.identity of listener resp: has no effect on clients that are not asked",
        ),
        (
            "resp://0.0.0.0:1?tls.client_certificate=required&tls.client_ca=ca.pem",
            "tls.client_certificate of listener resp: has no effect without TLS",
        ),
        ("resps://127.0.0.1:1?tls.certificate=", "tls.certificate: \"\" has a path that is empty"),
        (
            "resps://127.0.0.1:1?tls.certificate=server.pem&tls.key=other.pem",
            "is not the key of the certificate",
        ),
    ] {
        let mistakes = from_url(url).unwrap_err();
        assert!(mistakes.iter().any(|mistake| mistake.contains(expected)), "{mistakes:?}, not {expected}");
    }
}

#[test]
fn who_proves_who_it_is_need_not_be_protected_from() {
    use crate::protocol::users::Guard;
    house();
    for (asks, guard) in [("required", Guard::Open), ("optional", Guard::Protected)] {
        let url = format!(
            "resps://0.0.0.0:1?tls.certificate=server.pem&tls.client_certificate={asks}&tls.client_ca=ca.pem"
        );
        assert_eq!(from_url(&url).unwrap().listeners[0].guard, guard, "{asks}");
    }
}

#[test]
fn an_upstream_is_spoken_to_over_tls_by_its_name() {
    house();
    let file = |own: &str| {
        format!(
            "[[listener]]\nprotocol = 'tcp'\naddress = '[::]:1'\nupstream = 'app'\n[upstream.app]\nservers = '10.0.0.1:1'\n{own}"
        )
    };
    let plain = from_file(&file("")).unwrap();
    assert_eq!(plain.upstreams[0].tls, None);
    let over_tls = from_file(&file("tls = { enabled = true, name = 'app.example', ca = 'ca.pem' }")).unwrap();
    assert!(over_tls.upstreams[0].tls.is_some());
    for (own, expected) in [
        ("tls.enabled = true", "upstream.app.tls.name: is missing"),
        ("tls.name = 'app.example'", "upstream.app.tls.name: has no effect without TLS"),
        ("tls = { enabled = true, name = 'a b' }", "is no name of a host"),
        (
            "tls = { enabled = true, name = 'app', ca = 'none.pem' }",
            "upstream.app.tls.ca: none.pem: there is none",
        ),
        (
            "tls = { enabled = true, name = 'app', ca = 'ca.pem' }\ncheck = { style = 'exchange', expect = 'x' }",
            "check.style: \"exchange\" cannot be read through TLS",
        ),
    ] {
        let mistakes = from_file(&file(own)).unwrap_err();
        assert!(mistakes.iter().any(|mistake| mistake.contains(expected)), "{mistakes:?}, not {expected}");
    }
}
