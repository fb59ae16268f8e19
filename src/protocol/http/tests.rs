//! Tests of the admin protocol.

use super::*;
use proptest::prelude::*;

#[derive(PartialEq, Debug)]
struct Outcome {
    requests: Vec<Request>,
    rejected: Option<Rejected>,
}

/// Feeds `stream` in receives of the given sizes (the last one repeated); also the most bytes kept.
fn feed(stream: &[u8], sizes: &[usize]) -> (Outcome, usize) {
    let mut decoder = Decoder::default();
    let mut outcome = Outcome { requests: Vec::new(), rejected: None };
    let (mut kept, mut kept_max) = (Vec::new(), 0);
    let mut rest = stream;
    let mut sizes = sizes.iter().copied().chain(std::iter::repeat(sizes.last().copied().unwrap_or(1)));
    while !rest.is_empty() {
        let size = sizes.next().expect("endless").clamp(1, rest.len());
        kept.extend_from_slice(&rest[..size]);
        rest = &rest[size..];
        let mut input = kept.as_slice();
        loop {
            match decoder.next_request(&mut input) {
                Ok(Some(request)) => outcome.requests.push(request),
                Ok(None) => break,
                Err(rejected) => {
                    outcome.rejected = Some(rejected);
                    return (outcome, kept_max);
                }
            }
        }
        kept = input.to_vec();
        kept_max = kept_max.max(kept.len());
    }
    (outcome, kept_max)
}

fn one(text: &str) -> Request {
    let (mut outcome, _) = feed(text.as_bytes(), &[text.len()]);
    assert_eq!((outcome.requests.len(), &outcome.rejected), (1, &None), "{text:?}");
    outcome.requests.remove(0)
}

fn status(text: &[u8]) -> Status {
    feed(text, &[text.len()]).0.rejected.unwrap_or_else(|| panic!("{:?}", text.escape_ascii())).status
}

fn get(path: &str) -> Request {
    one(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
}

#[test]
fn a_request_is_taken_apart() {
    let expected = Request {
        method: Method::Post,
        path: "/connections/7-1/end".to_owned(),
        query: vec![("a b".to_owned(), "c&d".to_owned()), ("e".to_owned(), String::new())],
        host: "localhost:7070".to_owned(),
        origin: Some("http://evil.example".to_owned()),
        fetch_site: Some("cross-site".to_owned()),
        navigates: true,
        accepts_html: true,
        authorization: Some("Bearer x".to_owned()),
        last_event_id: None,
        keep_alive: true,
        chunks: true,
        expects_continue: false,
    };
    let text = "\r\nPOST /connections/7%2d1/end?a+b=c%26d&&e HTTP/1.1\r\nhost: localhost:7070\r\n\
                Origin: http://evil.example\r\nauthorization: Bearer x\r\nsec-fetch-site: cross-site\r\n\
                Sec-Fetch-Mode: navigate\r\nAccept: text/html\r\n\r\n";
    assert_eq!(one(text), expected);
    assert_eq!(expected.query_value("e"), Some(""));
    assert_eq!(expected.query_value("x"), None);
}

#[test]
fn a_browser_that_shows_what_it_gets_names_html() {
    let accepts = |headers: &str| one(&format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n")).accepts_html;
    for browser in [
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n",
        "Accept: application/json , Text/HTML ; q=0.5\r\n",
        "Accept: application/json\r\nAccept: text/html\r\n",
    ] {
        assert!(accepts(browser), "{browser}");
    }
    for other in [
        "",
        "Accept: */*\r\n",
        "Accept: text/*\r\n",
        "Accept: text/html;q=0\r\n",
        "Accept: text/html; q=0.00\r\n",
        "Accept: text/htmlx\r\n",
        "Accept: \r\n",
    ] {
        assert!(!accepts(other), "{other}");
    }
}

#[test]
fn a_proxy_may_name_the_whole_url() {
    assert_eq!(get("http://a:1/metrics?x=1").path, "/metrics");
    assert_eq!(get("http://a").path, "/");
}

#[test]
fn lines_may_end_in_a_bare_lf() {
    assert_eq!(one("GET / HTTP/1.1\nHost: a\n\n").path, "/");
}

#[test]
fn keep_alive_is_the_default_of_1_1_only() {
    let keeps = |version: &str, connection: &str| {
        one(&format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n")).keep_alive
    };
    assert!(keeps("1.1", ""));
    assert!(!keeps("1.1", "Connection: x, Close\r\n"));
    assert!(!keeps("1.0", ""));
    assert!(keeps("1.0", "Connection: Keep-Alive\r\n"));
}

#[test]
fn bodies_are_passed_over() {
    let text = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nGET / HTTP/GET /b HTTP/1.1\r\nHost: a\r\n\r\n";
    let (outcome, _) = feed(text, &[text.len()]);
    let paths: Vec<_> = outcome.requests.iter().map(|request| request.path.as_str()).collect();
    assert_eq!((paths, outcome.rejected), (vec!["/a", "/b"], None));
}

#[test]
fn what_is_not_offered_is_rejected_by_its_own_status() {
    assert_eq!(status(b"GET / HTTP/1.1\r\n\r\n"), Status::BadRequest);
    assert_eq!(status(b"nonsense\r\n\r\n"), Status::BadRequest);
    assert_eq!(status(b"GET nopath HTTP/1.1\r\nHost: a\r\n\r\n"), Status::BadRequest);
    assert_eq!(status(b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n"), Status::BadRequest);
    assert_eq!(status(b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n"), Status::BadRequest);
    assert_eq!(status(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), Status::BadRequest);
    assert_eq!(status(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"), Status::VersionNotSupported);
    assert_eq!(status(b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n"), Status::MethodNotAllowed);
    assert_eq!(status(&[b'a'; HEAD_BYTES_MAX]), Status::HeaderTooLarge);
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
    assert_eq!(status(many.as_bytes()), Status::HeaderTooLarge);
    let post = |headers: &str| status(format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n").as_bytes());
    assert_eq!(post("Transfer-Encoding: chunked\r\n"), Status::NotImplemented);
    assert_eq!(post("Content-Length: 65537\r\n"), Status::ContentTooLarge);
    assert_eq!(post("Content-Length: 99999999999999999999\r\n"), Status::ContentTooLarge);
    assert_eq!(post("Content-Length: +1\r\n"), Status::BadRequest);
    assert_eq!(post("Content-Length: 1\r\nContent-Length: 2\r\n"), Status::BadRequest);
}

#[test]
fn responses_tell_their_length_and_whether_the_connection_goes_on() {
    let written = |request: &Request| {
        let mut out = Vec::new();
        Response::text(Status::Ok, "alive\n").write(request, &mut out);
        String::from_utf8(out).unwrap()
    };
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 6\r\n\
                Cache-Control: no-store\r\nConnection: ";
    assert_eq!(written(&get("/")), format!("{head}keep-alive\r\n\r\nalive\n"));
    let last = Request { keep_alive: false, ..get("/") };
    assert_eq!(written(&last), format!("{head}close\r\n\r\nalive\n"));
    assert_eq!(written(&Request { method: Method::Head, ..get("/") }), format!("{head}keep-alive\r\n\r\n"));
}

#[test]
fn a_body_of_unknown_length_comes_in_chunks_or_until_the_end() {
    let written = |request: &Request| {
        let mut out = Vec::new();
        let framing = Response::text(Status::Ok, "").write_head(request, &mut out);
        for piece in ["alive, ", "", "and well\n"] {
            framing.write(piece.as_bytes(), &mut out);
        }
        framing.finish(&mut out);
        (framing.keeps_alive(request), String::from_utf8(out).unwrap())
    };
    let (keeps_alive, text) = written(&get("/"));
    assert!(keeps_alive && text.contains("\r\nTransfer-Encoding: chunked\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\n7\r\nalive, \r\n9\r\nand well\n\r\n0\r\n\r\n"), "{text}");
    let (keeps_alive, text) = written(&one("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    assert!(!keeps_alive && text.contains("\r\nConnection: close\r\n"), "{text}");
    assert!(!text.contains("Length") && text.ends_with("\r\n\r\nalive, and well\n"), "{text}");
}

#[test]
fn a_client_may_wait_before_it_sends_a_body() {
    let waits = |version: &str, value: &str| {
        one(&format!("POST / HTTP/{version}\r\nHost: a\r\nExpect: {value}\r\nContent-Length: 2\r\n\r\n{{}}"))
            .expects_continue
    };
    assert!(waits("1.1", "100-Continue"));
    assert!(!waits("1.0", "100-continue"));
    assert!(!get("/").expects_continue);
    assert_eq!(status(b"GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n"), Status::ExpectationFailed);
}

#[test]
fn a_rejection_says_why_and_closes() {
    let mut out = Vec::new();
    rejected(Status::MethodNotAllowed, "want GET, HEAD or POST").write(&mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{text}");
    assert!(text.contains("\r\nAllow: GET, HEAD, POST\r\n") && text.contains("\r\nConnection: close\r\n"));
    assert!(text.ends_with("\r\n\r\nwant GET, HEAD or POST\n"));
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let request = ("(GET|POST|HEAD)", "/[a-z%0-9?=&]{0,8}", prop::option::of(0_usize..30)).prop_map(
        |(method, path, body)| {
            let length = body.map(|length| format!("Content-Length: {length}\r\n")).unwrap_or_default();
            let body = "\n".repeat(body.unwrap_or_default());
            format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{length}\r\n{body}").into_bytes()
        },
    );
    let blank = "[\r\n]{0,4}".prop_map(String::into_bytes);
    let noise = prop::collection::vec(any::<u8>(), 0..20);
    prop::collection::vec(prop_oneof![8 => request, 2 => blank, 1 => noise], 0..6).prop_map(|p| p.concat())
}

proptest! {
    #[test]
    fn chunking_changes_nothing(stream in stream(), sizes in prop::collection::vec(1_usize..60, 1..20)) {
        let (expected, _) = feed(&stream, &[stream.len()]);
        prop_assert_eq!(&feed(&stream, &sizes).0, &expected);
        prop_assert_eq!(&feed(&stream, &[1]).0, &expected);
    }

    #[test]
    fn random_bytes_never_panic(
        stream in prop::collection::vec(any::<u8>(), 0..(2 * HEAD_BYTES_MAX)),
        size in 1_usize..5_000,
    ) {
        prop_assert!(feed(&stream, &[size]).1 < HEAD_BYTES_MAX);
    }
}
