//! `linger load http://` against servers that answer in every way that HTTP/1 allows, and in some that it does not.

#![expect(clippy::disallowed_types, reason = "a small server of ordinary blocking sockets")]

use super::{count, json, load};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// A server that answers each request with `answer`, and closes then if so told. It ends with the test's process.
fn serve(answer: &'static str, closes: bool) -> SocketAddr {
    fn talk(mut stream: &TcpStream, answer: &str, closes: bool) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream).lines();
        // A head ends with an empty line.
        while lines.find(|line| line.as_ref().is_ok_and(String::is_empty)).is_some() {
            stream.write_all(answer.as_bytes())?;
            if closes {
                break;
            }
        }
        Ok(())
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || talk(&stream, answer, closes));
        }
    });
    address
}

/// What comes of a short run, with its exit status.
fn run(answer: &'static str, closes: bool, arguments: &[&str]) -> (Option<i32>, Value) {
    let url = format!("http://{}/file", serve(answer, closes));
    let mut all = vec!["-c", "2", "--rate", "100", "-d", "500ms", "--patience", "20s", "--json"];
    all.extend(arguments);
    let output = load(&url, &all);
    (output.status.code(), json(&output))
}

#[test]
fn an_answer_that_closes_is_an_answer_and_the_next_request_goes_by_a_new_connection() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nas long as the connection",
        "HTTP/1.0 200 OK\r\n\r\nas long as the connection",
    ] {
        let (code, run) = run(answer, true, &[]);
        assert_eq!(code, Some(0), "{answer:?}: {run}");
        let answered = count(&run, "/requests/answered");
        assert_eq!((answered, count(&run, "/requests/moot")), (50, 0), "{answer:?}: {run}");
        assert_eq!(count(&run, "/latency_us/count"), 50, "{answer:?}");
        // Every answer took its connection with it, and nobody replaces those that end with the load.
        let reopened = count(&run, "/connections/reopened");
        assert_eq!(reopened, 50, "{answer:?}: {run}");
        assert!(count(&run, "/connections/opened") >= 50, "{answer:?}: {run}");
    }
}

#[test]
fn an_answer_that_keeps_the_connection_keeps_it() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let (code, run) = run(answer, false, &[]);
        assert_eq!(code, Some(0), "{answer:?}: {run}");
        assert_eq!(count(&run, "/requests/answered"), 50, "{answer:?}: {run}");
        assert_eq!(count(&run, "/connections/reopened"), 0, "{answer:?}: {run}");
    }
}

#[test]
fn a_truncated_answer_is_an_error() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Enc",
    ] {
        let (code, run) = run(answer, true, &[]);
        assert_eq!(code, Some(1), "{answer:?}: {run}");
        assert_eq!(run["errors"][0]["kind"], "truncated", "{answer:?}: {run}");
        assert_eq!(count(&run, "/requests/answered"), 0, "{answer:?}: {run}");
        let sent = count(&run, "/requests/sent");
        assert_eq!(count(&run, "/errors/0/count"), sent, "each of them: {answer:?}: {run}");
    }
}

#[test]
fn an_error_that_ends_with_its_connection_is_an_error() {
    let (code, run) = run("HTTP/1.1 404 Not Found\r\n\r\nno such file", true, &[]);
    assert_eq!(code, Some(1), "{run}");
    assert_eq!(run["errors"][0]["kind"], "error_answer", "{run}");
    assert_eq!(count(&run, "/errors/0/count"), 50, "{run}");
}

#[test]
fn what_is_pipelined_behind_an_answer_that_closes_is_moot_and_said() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    let url = format!("http://{}/file", serve(answer, true));
    let output = load(&url, &["-c", "1", "-P", "4", "-d", "300ms", "--json"]);
    let run = json(&output);
    assert!(count(&run, "/requests/moot") > 0, "{run}");
    let warnings: Vec<_> = run["warnings"].as_array().expect("a list").iter().map(|w| &w["kind"]).collect();
    assert!(warnings.contains(&&Value::from("closed_behind_answers")), "{run}");
}

#[test]
fn faults_that_nobody_judges_are_told() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let url = format!("http://{}/file", serve(answer, false));
    let arguments = ["-c", "10", "--rate", "100", "-d", "500ms", "--fault", "fin=20%,rst=30%", "--unjudged"];
    let run = json(&load(&url, &[&arguments[..], &["--json"]].concat()));
    let told = serde_json::json!([{"fault": "fin", "clients": 2}, {"fault": "rst", "clients": 3}]);
    assert_eq!(run["committed"], told, "{run}");
    let output = load(&url, &arguments);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("fin 2, rst 3 committed; nobody was asked"), "{text}");
}
