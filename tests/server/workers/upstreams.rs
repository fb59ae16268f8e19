//! Upstream servers of a gateway with several workers: what is told of them adds up, and what the operator says reaches all
//! workers, those that are started later as well.

use crate::common::{until, wait_for};
use crate::workers::crowd::{pids, signal, start};
use serde_json::Value;
use std::net::TcpListener;

#[test]
fn a_word_about_a_server_reaches_all_workers_and_their_successors() {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [first, second] = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
    let listen = format!(
        "tcp://127.0.0.1:0?name=gateway&upstream={first},{second}&check.style=connect&check.interval=100ms"
    );
    let server = start(2, &listen, &[]);
    let told = || -> Value {
        let (_, body) = server.admin("GET", "/upstreams");
        let told: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(told["unanswered_workers"], Value::Array(Vec::new()), "{told}");
        told["upstreams"][0]["servers"].clone()
    };
    until("checks of both", || told()[0]["check"]["result"] == "passed");
    let servers = told();
    for field in ["workers", "workers_up"] {
        assert_eq!([&servers[0][field], &servers[1][field]], [2, 2], "{servers}");
    }
    let (line, body) = server.admin("POST", &format!("/upstreams/gateway/{first}?state=drain"));
    assert!(line.contains("200") && body.contains("gets no new connections"), "{line} {body}");
    let (line, body) = server.admin("POST", "/upstreams/gateway/a:1?state=drain");
    assert!(line.contains("404") && body.contains("has no server"), "{line} {body}");
    let clients: Vec<_> = (0..12).map(|_| server.connect("gateway")).collect();
    let connections = || [told()[0]["connections"].clone(), told()[1]["connections"].clone()];
    until("all to be with the other one", || connections() == [Value::from(0), 12.into()]);
    // The worker that takes the place of another one knows it, too.
    let pid = pids(&server)[&2];
    signal(pid, "KILL");
    until("its successor", || pids(&server)[&2] != pid);
    wait_for("its answer", || {
        let (_, body) = server.admin("GET", "/upstreams");
        let told: Value = serde_json::from_str(&body).ok()?;
        let server = &told["upstreams"][0]["servers"][0];
        (server["workers"] == 2 && told["unanswered_workers"][0].is_null()).then_some(())
    });
    let newcomers: Vec<_> = (0..12).map(|_| server.connect("gateway")).collect();
    until("newcomers to be somewhere", || told()[1]["connections"].as_u64().is_some_and(|count| count >= 12));
    assert_eq!(told()[0]["connections"], 0);
    drop((clients, newcomers));
}
