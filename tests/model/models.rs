//! The properties of `tests/properties` on random bytes: wheel, table, hub, a connection's life, protocols and
//! configuration. Quick enough for every run; `scripts/fuzz.sh` looks for longer, with coverage for a guide.

use crate::properties;
use proptest::prelude::*;
use std::path::Path;

fn bytes(length_max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..length_max)
}

/// A stream of a protocol out of words that mean something to it, with noise between them.
fn stream(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec());
    let part = prop_oneof![12 => word, 1 => bytes(4)];
    (bytes(3), prop::collection::vec(part, 0..40)).prop_map(|(mut head, parts)| {
        head.resize(2, 0);
        [head, parts.concat()].concat()
    })
}

/// The signature of version 2.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

const PROXY: &[&str] = &[
    "TCP4 192.0.2.7 192.0.2.1 1000 9000",
    "TCP6 2001:db8::7 2001:db8::1 1 2",
    "UNKNOWN",
    " ",
    "\r\n",
    "\r",
    "\x20\0\0\0",
    "\x21\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\0\x01\0\x02",
    "\x21\x11\0\x14\x0a\0\0\x01\x0a\0\0\x02\0\x01\0\x02\x02\0\x05",
    "\x21\x21\0\x2a",
    "\x21\x31",
    "aaaaaaaaaaaaaaaa",
    "\x05\0\x01a",
];

const RESP: &[&str] = &[
    "*1\r\n",
    "*2\r\n",
    "*3\r\n",
    "*-1\r\n",
    "*0\r\n",
    "$4\r\n",
    "$0\r\n",
    "$-1\r\n",
    "\r\n",
    "\n",
    " ",
    "\"",
    "'",
    "PING",
    "ECHO",
    "QUIT",
    "HELLO",
    "CLIENT",
    "CONFIG",
    "COMMAND",
    "GET",
    "DOCS",
    "IDENT",
    "*1\r\n$4\r\nPING\r\n",
    "*2\r\n$4\r\nECHO\r\n$2\r\n\r\n\r\n",
    "*2\r\n$9\r\nSUBS\r\nNOW\r\n$1\r\nx\r\n",
    "\\x0d",
    "\\r\\n",
    "99999999999",
];

const HTTP: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "POST /connections/1-1?a=b%20c&d=+ HTTP/1.1\r\n",
    "HEAD /x HTTP/1.0\n",
    "Host: a\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 70000\r\n",
    "Connection: close, keep-alive\r\n",
    "Origin: null\r\n",
    "Transfer-Encoding: chunked\r\n",
    "GET http://h?q HTTP/1.1\r\nHost: h\r\n\r\n",
    "\r\n",
    "\n",
    "\r\n\r\n",
    "abc",
    "%zz",
    "GET",
    " ",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn wheel(bytes in bytes(600)) {
        properties::wheel::holds(&bytes);
    }

    #[test]
    fn wheel_is_exact_when_nothing_is_cancelled(bytes in bytes(120)) {
        properties::wheel::next_deadline_is_exact(&bytes);
    }

    #[test]
    fn table(bytes in bytes(200)) {
        properties::table::holds(&bytes);
    }

    #[test]
    fn hub(bytes in bytes(240)) {
        properties::hub::holds(&bytes);
    }

    #[test]
    fn connection(bytes in bytes(160)) {
        properties::conn::holds(&bytes);
    }

    #[test]
    fn resp(stream in stream(RESP)) {
        properties::resp::holds(&stream);
    }

    #[test]
    fn http(stream in stream(HTTP)) {
        properties::http::holds(&stream);
    }

    #[test]
    fn proxy_header(mut stream in stream(PROXY), version in prop::sample::select(vec![&b""[..], b"PROXY ", V2])) {
        stream.splice(..2, version.iter().copied());
        properties::proxy::holds(&stream);
    }

    #[test]
    fn client_hello(seed in any::<u8>(), kind in 0_u8..3, body in bytes(300)) {
        let length = u16::try_from(body.len() + 4).unwrap().to_be_bytes();
        let within = u16::try_from(body.len()).unwrap().to_be_bytes();
        let head = [seed, 22, 3, 1, length[0], length[1], kind, 0, within[0], within[1]];
        properties::hello::holds(&[&head, &body[..]].concat());
    }

    #[test]
    fn listener_url(bytes in bytes(30)) {
        properties::config::url_says_what_a_file_says(&bytes);
    }

    #[test]
    fn config_flags(flags in prop::collection::vec("(echo|resp)://[ -~]{0,40}|[a-z.]{0,20}=[ -~]{0,20}", 0..4)) {
        properties::config::holds(format!("\n%%\n{}", flags.join("\n")).as_bytes());
    }
}

type Property = fn(&[u8]);

/// Every input that once showed a mistake, and those the fuzz targets start from, go on being tried without a
/// fuzzer.
#[test]
fn the_corpus_holds() {
    let targets: &[(&str, Property)] = &[
        ("resp", properties::resp::holds),
        ("http", properties::http::holds),
        ("hello", properties::hello::holds),
        ("proxy", properties::proxy::holds),
        ("config", properties::config::holds),
        ("url", properties::config::url_says_what_a_file_says),
        ("conn", properties::conn::holds),
        ("wheel", properties::wheel::holds),
        ("hub", properties::hub::holds),
        ("table", properties::table::holds),
    ];
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for &(target, holds) in targets {
        let mut tried = 0;
        for entry in corpus.join(target).read_dir().expect("every target has a corpus") {
            let path = entry.expect("the corpus can be listed").path();
            let bytes = std::fs::read(&path).expect("an input can be read");
            let outcome = std::panic::catch_unwind(|| holds(&bytes));
            assert!(outcome.is_ok(), "{} does not hold", path.display());
            tried += 1;
        }
        assert!(tried > 0, "{target} has no corpus");
    }
}
