//! What is asked for, by whom, and what is answered to the rest.

use super::*;
use crate::core::health::Word;
use crate::protocol::http::Decoder;
use std::net::SocketAddr;

pub(super) fn asked(method: &str, path: &str, host: &str) -> Request {
    let text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    Decoder::default().next_request(&mut text.as_bytes()).unwrap().unwrap()
}

fn answers(hosts: &Hosts, host: &str) -> bool {
    match route(&asked("GET", "/healthz", host), hosts, Serves::One) {
        Ok(route) => route == Route::Health,
        Err(refused) => {
            assert_eq!(refused.status, Status::Misdirected);
            assert!(refused.body.contains("admin.hosts"), "{}", refused.body);
            false
        }
    }
}

#[test]
fn a_name_that_was_not_given_to_it_is_not_answered() {
    let none = Hosts::Named(Vec::new());
    for ours in [
        "localhost",
        "localhost:7070",
        "LocalHost.",
        "127.0.0.1",
        "127.0.0.1:7070",
        "192.0.2.7:80",
        "[::1]",
        "[::1]:7070",
        "[fe80::1]:1",
    ] {
        assert!(answers(&none, ours), "{ours}");
    }
    for foreign in [
        "evil.example",
        "evil.example:7070",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "[::1].evil:1",
        "[evil]",
        "::1",
        "127.0.0.1:x",
        "0x7f.1",
        "a@127.0.0.1",
    ] {
        assert!(!answers(&none, foreign), "{foreign}");
        assert!(answers(&Hosts::Any, foreign), "{foreign}");
    }
    let named = Hosts::Named(vec!["linger.example".to_owned()]);
    assert!(answers(&named, "Linger.Example:7070") && answers(&named, "localhost"));
    assert!(!answers(&named, "example"));
}

#[test]
fn a_request_by_way_of_a_proxy_is_for_the_host_of_its_url() {
    let none = Hosts::Named(Vec::new());
    let refused =
        route(&asked("GET", "http://evil.example/healthz", "localhost"), &none, Serves::One).unwrap_err();
    assert_eq!(refused.status, Status::Misdirected);
    assert_eq!(
        route(&asked("GET", "http://localhost:1/healthz", "evil"), &none, Serves::One),
        Ok(Route::Health)
    );
}

#[test]
fn what_is_done_to_a_connection_is_the_last_part_of_its_path() {
    let done = |path: &str| route(&asked("POST", path, "localhost"), &Hosts::Any, Serves::One);
    assert_eq!(done("/connections/1-1/end"), Ok(Route::Asked(Asked::End("1-1".to_owned()))));
    let named = Asked::Name("1-1".to_owned(), "a/ü".to_owned());
    assert_eq!(done("/connections/1-1/identity?id=a%2F%C3%BC"), Ok(Route::Asked(named)));
    for (path, status) in [
        ("/connections/1-1/identity", Status::BadRequest),
        ("/connections/1-1/identity?id=a%20b", Status::BadRequest),
        ("/connections/1-1/stop", Status::NotFound),
        ("/connections/1-1", Status::NotFound),
    ] {
        assert_eq!(done(path).unwrap_err().status, status, "{path}");
    }
}

#[test]
fn a_word_about_a_server_names_it_by_its_upstream_and_its_address() {
    let said = |method: &str, path: &str| route(&asked(method, path, "localhost"), &Hosts::Any, Serves::One);
    for (path, upstream, server, word) in [
        ("/upstreams/app/10.0.0.5:9001?state=drain", "app", "10.0.0.5:9001", Word::Drain),
        ("/upstreams/app/%5B::1%5D:9001?state=ready", "app", "[::1]:9001", Word::Ready),
        ("/upstreams/a%20b/unix:/run/app.sock?state=down", "a b", "unix:/run/app.sock", Word::Down),
    ] {
        let (upstream, server) = (upstream.to_owned(), server.to_owned());
        let spoken = Asked::Word(Spoken { upstream, server, word });
        assert_eq!(said("POST", path), Ok(Route::Asked(spoken)), "{path}");
    }
    for (method, path, status) in [
        ("POST", "/upstreams/app/10.0.0.5:9001", Status::BadRequest),
        ("POST", "/upstreams/app/10.0.0.5:9001?state=up", Status::BadRequest),
        ("POST", "/upstreams/app/10.0.0.5:9001?state=down&for=ever", Status::BadRequest),
        ("POST", "/upstreams/app?state=down", Status::NotFound),
        ("POST", "/upstreams/app/?state=down", Status::NotFound),
        ("POST", "/upstreams", Status::MethodNotAllowed),
        ("GET", "/upstreams/app/10.0.0.5:9001?state=down", Status::MethodNotAllowed),
    ] {
        assert_eq!(said(method, path).unwrap_err().status, status, "{path}");
    }
    assert_eq!(said("GET", "/upstreams"), Ok(Route::Asked(Asked::Upstreams)));
}

#[test]
fn a_browser_gets_the_page_and_everybody_else_the_text() {
    let with = |method: &str, accepts_html: bool| {
        let request = Request { accepts_html, ..asked(method, "/", "localhost") };
        route(&request, &Hosts::Any, Serves::Several)
    };
    for method in ["GET", "HEAD"] {
        assert_eq!(with(method, true), Ok(Route::Page), "{method}");
        assert_eq!(with(method, false), Ok(Route::Index), "{method}");
    }
    assert_eq!(with("POST", true).unwrap_err().status, Status::MethodNotAllowed);
}

#[test]
fn the_page_is_for_everybody_and_what_it_shows_is_not() {
    let token = Token::read("0123456789abcdef").unwrap();
    let door = Door { token: Some(&token), ..Door::OPEN };
    let status = |path: &str| {
        let request = Request { accepts_html: true, ..asked("GET", path, "localhost") };
        door.admit(&request, Serves::One).map_err(|refused| refused.status)
    };
    assert_eq!(status("/"), Ok(Route::Page));
    for path in ["/metrics", "/connections", "/ends", "/events", "/upstreams"] {
        assert_eq!(status(path), Err(Status::Unauthorized), "{path}");
    }
}

#[test]
fn a_page_of_another_site_is_refused_whatever_it_asks() {
    for (method, path) in
        [("GET", "/"), ("GET", "/healthz"), ("GET", "/events"), ("POST", "/connections/1-1/end")]
    {
        let status = |site: &str| {
            let request = Request { fetch_site: Some(site.to_owned()), ..asked(method, path, "localhost") };
            Door::OPEN.admit(&request, Serves::One).err().map(|refused| refused.status)
        };
        assert_eq!(status("cross-site"), Some(Status::Forbidden), "{path}");
        assert_eq!(status("same-origin"), None, "{path}");
    }
}

#[test]
fn a_list_is_filtered_by_all_that_is_asked() {
    let query = |text: &str| match route(
        &asked("GET", &format!("/connections?{text}"), "localhost"),
        &Hosts::Any,
        Serves::One,
    ) {
        Ok(Route::Asked(Asked::Connections(query))) => query,
        other => panic!("{other:?}"),
    };
    let peer: SocketAddr = "192.0.2.7:80".parse().unwrap();
    assert!(query("").wants("resp", "open", None) && query("").wants_identity(None));
    assert!(query("peer=192.0.2.7").wants("resp", "open", Some(peer)));
    assert!(query("peer=192.0.2.0/24").wants("resp", "open", Some(peer)));
    assert!(query("peer=192.0.2.7:80&state=open").wants("resp", "open", Some(peer)));
    for text in [
        "peer=192.0.2.8",
        "peer=192.0.2.7:81",
        "peer=unix",
        "peer=10.0.0.0/8",
        "state=suspect",
        "listener=echo",
    ] {
        assert!(!query(text).wants("resp", "open", Some(peer)), "{text}");
    }
    assert!(query("peer=unix").wants("resp", "open", None));
    let refused =
        route(&asked("GET", "/connections?peer=x", "localhost"), &Hosts::Any, Serves::One).unwrap_err();
    assert_eq!(refused.status, Status::BadRequest);
    assert!(refused.body.contains("and \"x\" is none"), "{}", refused.body);
    assert!(query("identity=a").wants_identity(Some(b"a")) && !query("identity=a").wants_identity(None));
}

#[test]
fn a_door_with_a_token_answers_who_brings_it_and_who_asks_whether_the_server_is_well() {
    let token = Token::read("0123456789abcdef").unwrap();
    let door = Door { token: Some(&token), ..Door::OPEN };
    let status = |path: &str, bearer: Option<&str>| {
        let authorization = bearer.map(|token| format!("Bearer {token}"));
        let request = Request { authorization, ..asked("GET", path, "localhost") };
        door.admit(&request, Serves::One).err().map(|refused| refused.status)
    };
    for path in ["/healthz", "/readyz"] {
        assert_eq!(status(path, None), None, "{path}");
    }
    for path in ["/", "/metrics", "/connections", "/ends", "/audit", "/upstreams", "/nonsense"] {
        assert_eq!(status(path, None), Some(Status::Unauthorized), "{path}");
        assert_eq!(status(path, Some("0123456789abcdeF")), Some(Status::Unauthorized), "{path}");
    }
    assert_eq!(status("/metrics", Some("0123456789abcdef")), None);
    assert_eq!(status("/nonsense", Some("0123456789abcdef")), Some(Status::NotFound));
}
