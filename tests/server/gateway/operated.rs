//! What an operator does to a gateway: another list of servers, a limit of descriptors, a look at its connections.

use super::{Backend, Record, nowhere, pair, reload, start, whole_of};
use crate::common::file::TempFile;
use crate::common::{Client, Server, pass, until, wait_for};
use std::net::SocketAddr;
use std::time::Duration;

/// A listener to these servers.
fn listener(upstream: &str) -> String {
    let listener = "[[listener]]\nname = 'gateway'\nprotocol = 'tcp'\naddress = '127.0.0.1:0'";
    format!("{listener}\nbalance = 'round_robin'\nupstream = '{upstream}'\n")
}

/// Connections to a server, if it is told of.
fn connections_to(server: &Server, to: SocketAddr) -> Option<String> {
    let label = format!("server=\"{to}\"");
    let metrics = server.metrics();
    let mut of = metrics.iter().filter(|(name, _)| name.starts_with("linger_upstream_connections{"));
    of.find(|(name, _)| name.contains(&label)).map(|(_, value)| value.to_string())
}

#[test]
fn a_reload_adds_a_server_and_takes_one_away_and_no_pair_is_touched() {
    let (old, stays, new) = (Backend::start(), Backend::start(), Backend::start());
    let [to_old, to_stays, to_new] = [&old, &stays, &new].map(Backend::address);
    let file = TempFile::new(&listener(&format!("{to_old},{to_stays}")));
    let server = Server::start(&["--config", file.path(), "--admin", "127.0.0.1:0"]);
    let talk = |client: &mut Client, upstream: &mut Client| {
        client.send("ping");
        upstream.expect("ping");
        upstream.send("pong");
        client.expect("pong");
    };
    let (mut of_old, mut of_stays) = (pair(&server, &old), pair(&server, &stays));
    reload(&server, &file, &listener(&format!("{to_stays},{to_new}")));
    talk(&mut of_old.0, &mut of_old.1);
    talk(&mut of_stays.0, &mut of_stays.1);
    let count = |to| connections_to(&server, to);
    assert_eq!(
        [count(to_old), count(to_stays), count(to_new)],
        [Some("1".into()), Some("1".into()), Some("0".into())]
    );
    // Of one that is gone nobody asks whether it is up.
    let told = |to: SocketAddr| {
        server
            .metrics()
            .keys()
            .any(|name| name.starts_with("linger_upstream_up{") && name.contains(&to.to_string()))
    };
    assert_eq!([told(to_old), told(to_stays), told(to_new)], [false, true, true]);
    // Newcomers go to those that are in the file.
    let newcomers: Vec<_> = (0..4).map(|_| server.connect("gateway")).collect();
    let accepted = [(); 2].map(|()| (stays.accept(), new.accept()));
    assert!(old.is_alone() && stays.is_alone() && new.is_alone());
    assert_eq!([count(to_stays), count(to_new)], [Some("3".into()), Some("2".into())]);
    // A server that is gone is forgotten with its last connection.
    drop(of_old);
    until("it to be forgotten", || count(to_old).is_none());
    let line = wait_for("its pair's line", || server.events("pair").pop());
    assert_eq!(line["server"], to_old.to_string());
    // It comes back to where it was.
    reload(&server, &file, &listener(&format!("{to_old},{to_stays},{to_new}")));
    drop((newcomers, accepted, of_stays));
    until("all to be gone", || count(to_stays) == Some("0".into()) && count(to_new) == Some("0".into()));
    assert_eq!(count(to_old), Some("0".into()));
    let _three: Vec<_> = (0..3).map(|_| server.connect("gateway")).collect();
    drop((old.accept(), stays.accept(), new.accept()));
}

#[test]
fn a_client_is_let_in_only_when_there_is_a_descriptor_for_its_server_as_well() {
    // With an odd number of them one is left over.
    for limit in [120, 121] {
        // Of its own: in the queue of another may wait what the server before has connected to it at its end.
        let backend = Backend::start();
        let listen = format!("tcp://127.0.0.1:0?name=gateway&upstream={}", backend.address());
        // Beside clients that need one descriptor: it is not the limit of clients that keeps the second one free.
        let arguments = ["--listen", &listen, "--listen", "echo://127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
        let server = Server::start_as(&["bash", "-c", &script, env!("CARGO_BIN_EXE_linger")], &arguments);
        let clients: Vec<_> = (0..40).map(|_| server.connect("gateway")).collect();
        until("the stall to be told", || server.events("accept_stalled").len() == 1);
        let mut upstreams = Vec::new();
        until("all that are let in to be connected", || {
            upstreams.extend(backend.0.accept().map(|(stream, _)| Client { stream }));
            let legs = server.connections("gateway");
            let let_in = legs.iter().filter(|conn| conn["leg"] == "client").count();
            let_in > 0 && let_in == upstreams.len() && legs.len() == 2 * let_in
        });
        let places = whole_of(server.metrics()["linger_connections_max"]);
        assert_eq!(upstreams.len(), places / 2, "of {places} places, with {limit} descriptors");
        pass(Duration::from_millis(300));
        assert!(backend.is_alone(), "nobody else was let in");
        assert!(
            server.ends().iter().all(|end| end["listener"] == "admin"),
            "each client that was let in has a server"
        );
        // Each pair that ends lets one in.
        for gone in 1..4 {
            upstreams.remove(0).reset();
            until("one to end", || server.events("pair").len() == gone);
            upstreams.push(backend.accept());
            pass(Duration::from_millis(50));
            assert!(backend.is_alone());
        }
        drop(clients);
        assert!(server.ends().iter().all(|end| end["reason"] != "local.internal"));
    }
}

#[test]
fn both_legs_are_listed_with_their_pair() {
    let (server, backend) = start("");
    let (client, upstream) = pair(&server, &backend);
    until("both to be open", || {
        server.connections("gateway").iter().filter(|conn| conn["state"] == "open").count() == 2
    });
    let listed = server.connections("gateway");
    let of = |leg: &str| listed.iter().find(|conn| conn["leg"] == leg).unwrap();
    assert_eq!(of("client")["pair"], of("client")["key"]);
    assert_eq!(of("upstream")["pair"], of("client")["key"]);
    assert_eq!(of("client")["peer"], client.stream.local_addr().unwrap().to_string());
    assert_eq!(of("upstream")["peer"], backend.address().to_string());
    assert_eq!(
        server.metrics()["linger_connections{state=\"open\"}"].to_string(),
        "1",
        "a client has come, not two"
    );
    drop((client, upstream));
    Record::of(&server);
}

/// Nothing of a pair is left when it has ended, whichever way.
#[test]
fn ended_pairs_leave_no_descriptor() {
    let backend = Backend::start();
    let server = super::gateway(&format!("{},{}", nowhere(), backend.address()), "half_close=end");
    drop(pair(&server, &backend));
    until("the first to be gone", || server.events("pair").len() == 1);
    let descriptors = server.descriptors();
    for number in 0..60 {
        let (client, upstream) = pair(&server, &backend);
        match number % 4 {
            0 => drop(client),
            1 => drop(upstream),
            2 => client.reset(),
            _ => upstream.reset(),
        }
    }
    until("all to be gone", || server.events("pair").len() == 61);
    until("their descriptors to be free", || server.descriptors() <= descriptors);
    assert!(server.stray_lines().is_empty(), "{:?}", server.stray_lines());
}
