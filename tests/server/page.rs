//! The page of the admin interface for browsers, of one process and of several workers: who gets it, and that only pages of its
//! own may have a browser end connections. `scripts/page.py` looks at it in a real browser.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]

use crate::common::http::{Answer, Http};
use crate::common::tls::House;
use crate::common::{Server, until};
use crate::workers::crowd::{RESP, start};

/// One process, and one with two workers.
fn servers(settings: &[&str]) -> [Server; 2] {
    let mut one = vec!["--listen", RESP, "--admin", "127.0.0.1:0"];
    one.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    [Server::start(&one), start(2, RESP, settings)]
}

fn ask(server: &Server, method: &str, path: &str, headers: &str) -> Answer {
    let mut http = Http::connect(server);
    let host = server.address("admin");
    http.send(&format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"));
    http.answer(method == "HEAD")
}

#[test]
fn a_browser_gets_the_page_and_everybody_else_the_text() {
    for server in servers(&[]) {
        let browser = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";
        let page = ask(&server, "GET", "/", browser);
        assert_eq!(page.status, 200);
        assert!(
            page.body.starts_with("<!DOCTYPE html>") && page.body.ends_with("</html>\n"),
            "{}",
            page.body
        );
        assert!(page.body.contains("closed the connection without a goodbye."), "what a reason means");
        for header in [
            "Content-Type: text/html; charset=utf-8\r\n",
            "Content-Security-Policy: default-src 'none'; script-src 'sha256-",
            "frame-ancestors 'none'",
            "X-Content-Type-Options: nosniff\r\n",
            "Referrer-Policy: no-referrer\r\n",
        ] {
            assert!(page.head.contains(header), "{header}: {}", page.head);
        }
        let head = ask(&server, "HEAD", "/", browser);
        assert_eq!((head.status, head.head), (200, page.head), "as for GET");
        for accept in ["", "Accept: */*\r\n"] {
            let text = ask(&server, "GET", "/", accept);
            assert!(text.body.starts_with("linger admin interface"), "{}", text.body);
            assert!(text.head.contains("Content-Type: text/plain; charset=utf-8\r\n"), "{}", text.head);
        }
    }
}

#[test]
fn only_a_page_of_its_own_has_a_browser_end_a_connection() {
    for server in servers(&[]) {
        let mut client = server.connect("resp");
        client.ask("PING", "+PONG\r\n");
        let key = server.connections("resp")[0]["key"].as_str().unwrap().to_owned();
        let end = format!("/connections/{key}/end");
        let port = server.address("admin").port();
        for foreign in [
            "Origin: http://evil.example\r\n".to_owned(),
            "Origin: null\r\n".to_owned(),
            format!("Origin: http://localhost:{port}\r\n"),
            format!("Origin: https://127.0.0.1:{port}\r\n"),
            format!("Origin: http://127.0.0.1:{port}\r\nSec-Fetch-Site: cross-site\r\n"),
            "Sec-Fetch-Site: same-site\r\n".to_owned(),
        ] {
            let refused = ask(&server, "POST", &end, &foreign);
            assert_eq!(refused.status, 403, "{foreign}: {}", refused.body);
            assert_eq!(refused.body, "requests from web pages of other sites are refused\n");
        }
        client.ask("PING", "+PONG\r\n");
        let own = format!("Origin: http://127.0.0.1:{port}\r\nSec-Fetch-Site: same-origin\r\n");
        assert_eq!(ask(&server, "POST", &end, &own).status, 202);
        client.expect("-GOODBYE local.kicked\r\n");
        drop(client);
        until("its record", || server.ended("local.kicked") == 1);
    }
}

#[test]
fn the_page_needs_no_token_and_what_it_shows_does() {
    for server in servers(&["admin.token_file=tests/common/token"]) {
        let browser = "Accept: text/html\r\nSec-Fetch-Site: none\r\n";
        assert_eq!(ask(&server, "GET", "/", browser).status, 200);
        for path in ["/metrics", "/connections", "/ends", "/events"] {
            let refused = ask(&server, "GET", path, browser);
            assert_eq!(refused.status, 401, "{path}");
        }
        assert_eq!(ask(&server, "GET", "/", "").status, 401, "the text is no page");
    }
}

#[test]
fn over_tls_the_page_has_the_origin_of_tls() {
    let house = House::new();
    let certificate = format!("admin.tls.certificate={}", house.server.path());
    for server in servers(&[&certificate]) {
        let post = |origin: &str| {
            let mut admin = server.connect_tls("admin", &house.trust(None));
            let head = format!("Host: localhost\r\nOrigin: {origin}\r\n");
            admin.send(format!("POST /connections/1.0-0/end HTTP/1.1\r\n{head}\r\n"));
            admin.next_line()
        };
        assert!(post("http://localhost").starts_with("HTTP/1.1 403"));
        // It got as far as the name, which is that of a connection of workers.
        let answered = post("https://localhost");
        assert!(["HTTP/1.1 400", "HTTP/1.1 404"].iter().any(|code| answered.starts_with(code)), "{answered}");
    }
}
