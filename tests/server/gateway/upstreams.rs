//! Upstreams that listeners share: their counts and bounds, names among their servers, and what becomes of a server that is
//! taken out.

use super::{Backend, reload, whole_of};
use crate::common::file::TempFile;
use crate::common::{Client, DEADLINE, Server, pass, until, wait_for};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

/// A client, and the end of its pair at a server.
type Pair = (Client, Client);

/// Two listeners, `one` and `two`, that relay to an upstream of these servers and settings.
fn listeners(servers: &str, settings: &str) -> String {
    let listener = |name| {
        format!(
            "[[listener]]\nname = '{name}'\nprotocol = 'tcp'\naddress = '127.0.0.1:0'\nupstream = 'app'\n"
        )
    };
    format!("{}{}[upstream.app]\nservers = '{servers}'\n{settings}\n", listener("one"), listener("two"))
}

fn serve(file: &TempFile, settings: &[&str]) -> Server {
    let mut arguments = vec!["--config", file.path(), "--admin", "127.0.0.1:0"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    Server::start(&arguments)
}

/// Connections to a server, if it is told of.
fn connections_to(server: &Server, to: SocketAddr) -> Option<usize> {
    let name = format!("linger_upstream_connections{{upstream=\"app\",server=\"{to}\"}}");
    server.metrics().get(&name).copied().map(whole_of)
}

fn talk(client: &mut Client, upstream: &mut Client) {
    client.send("ping");
    upstream.expect("ping");
    upstream.send("pong");
    client.expect("pong");
}

fn talk_all(pairs: &mut [Pair]) {
    for (client, upstream) in pairs {
        talk(client, upstream);
    }
}

#[test]
fn two_listeners_share_the_turns_and_the_counts_of_an_upstream() {
    let (heavy, light) = (Backend::start(), Backend::start());
    let [to_heavy, to_light] = [&heavy, &light].map(Backend::address);
    let servers = format!("{to_heavy} weight=2, {to_light}");
    let file = TempFile::new(&listeners(&servers, "balance = 'round_robin'"));
    let server = serve(&file, &[]);
    let mut pairs = Vec::new();
    for (listener, backend) in [("one", &heavy), ("two", &light), ("one", &heavy), ("two", &heavy)] {
        pairs.push((server.connect(listener), backend.accept()));
    }
    pairs.push((server.connect("one"), light.accept()));
    talk_all(&mut pairs);
    assert_eq!([to_heavy, to_light].map(|to| connections_to(&server, to)), [Some(3), Some(2)]);
    // A listener that goes over to servers of its own leaves the others what they have.
    let text = std::fs::read_to_string(file.path()).unwrap();
    let own = text.replacen("upstream = 'app'", &format!("upstream = '{to_light}'"), 1);
    reload(&server, &file, &own);
    talk_all(&mut pairs);
    pairs.push((server.connect("one"), light.accept()));
    let of_one = format!("linger_upstream_connections{{upstream=\"one\",server=\"{to_light}\"}}");
    assert_eq!(server.metrics()[&of_one].to_string(), "1");
    assert_eq!([to_heavy, to_light].map(|to| connections_to(&server, to)), [Some(3), Some(2)]);
    drop(pairs);
    until("all to be gone", || server.events("pair").len() == 6);
    assert_eq!([to_heavy, to_light].map(|to| connections_to(&server, to)), [Some(0), Some(0)]);
}

#[test]
fn a_client_beyond_the_bounds_of_all_servers_is_told_that_none_is_available() {
    let (one, two) = (Backend::start(), Backend::start());
    let bounds = |max| {
        let [one, two] = [&one, &two].map(Backend::address);
        listeners(&format!("{one} max_connections={max}, {two} max_connections=1"), "")
    };
    let file = TempFile::new(&bounds(1));
    let server = serve(&file, &[]);
    let mut first = (server.connect("one"), one.accept());
    let mut second = (server.connect("two"), two.accept());
    let error = server.connect("one").read_to_end().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let line = wait_for("its line", || server.events("pair").pop());
    assert_eq!([&line["reason"], &line["attempts_failed"]], ["upstream.unavailable", ""], "{line}");
    assert_eq!(server.wait_ends(1)[0]["reason"], "upstream.unavailable");
    assert!(one.is_alone() && two.is_alone());
    talk(&mut first.0, &mut first.1);
    talk(&mut second.0, &mut second.1);
    reload(&server, &file, &bounds(2));
    let mut third = (server.connect("two"), one.accept());
    talk(&mut third.0, &mut third.1);
    assert!(server.events("upstream_state").is_empty(), "a full server is not out of reach");
}

/// Reloads without the first of two servers, which has pairs of both listeners.
fn remove_first(removed: &str, settings: &[&str]) -> (Server, Vec<Pair>, Vec<Pair>) {
    let (old, stays) = (Backend::start(), Backend::start());
    let [to_old, to_stays] = [&old, &stays].map(Backend::address);
    let policy = format!("balance = 'round_robin'\nremoved = '{removed}'");
    let file = TempFile::new(&listeners(&format!("{to_old},{to_stays}"), &policy));
    let server = serve(&file, settings);
    let (mut of_old, mut of_stays) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        of_old.push((server.connect("one"), old.accept()));
        of_stays.push((server.connect("two"), stays.accept()));
    }
    talk_all(&mut of_old);
    talk_all(&mut of_stays);
    reload(&server, &file, &listeners(&to_stays.to_string(), &policy));
    (server, of_old, of_stays)
}

fn expect_gone(server: &Server, of_stays: &mut [Pair]) {
    until("the pairs of the server that is gone to end", || server.events("pair").len() == 3);
    for pair in server.events("pair") {
        assert_eq!([&pair["reason"], &pair["by"]], ["local.drain", "client"], "{pair}");
    }
    talk_all(of_stays);
}

#[test]
fn the_pairs_of_a_server_that_is_drained_end_in_order_and_those_of_others_live_on() {
    let (server, of_old, mut of_stays) = remove_first("drain", &["drain.spread=300ms"]);
    for (mut client, mut upstream) in of_old {
        assert_eq!(upstream.read_to_end().unwrap(), b"", "the server sees FIN");
        drop(upstream);
        assert_eq!(client.read_to_end().unwrap(), b"", "and so does the client");
    }
    expect_gone(&server, &mut of_stays);
}

#[test]
fn the_pairs_of_a_server_that_is_drained_are_spread_over_time() {
    // The first goes at once, the last not before two thirds of it.
    let (server, of_old, mut of_stays) = remove_first("drain", &["drain.spread=1h", "drain.timeout=3h"]);
    until("the first to go", || server.events("pair").len() == 1);
    pass(Duration::from_millis(300));
    server.logs("pair", 1);
    talk_all(&mut of_stays);
    drop(of_old);
}

#[test]
fn the_pairs_of_a_server_that_is_cut_are_reset_on_both_sides() {
    let (server, of_old, mut of_stays) = remove_first("cut", &["drain.spread=1h", "drain.timeout=3h"]);
    for (mut client, mut upstream) in of_old {
        for leg in [&mut client, &mut upstream] {
            assert_eq!(leg.read_to_end().unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
    }
    expect_gone(&server, &mut of_stays);
}

#[test]
fn a_client_that_is_being_connected_to_a_server_that_is_removed_gets_another() {
    let (hangs, first) = Backend::full();
    let stays = Backend::start();
    let [to_old, to_stays] = [&hangs, &stays].map(Backend::address);
    let policy = "balance = 'round_robin'\nremoved = 'drain'\nconnect_timeout = '1m'";
    let file = TempFile::new(&listeners(&format!("{to_old},{to_stays}"), policy));
    let server = serve(&file, &[]);
    let mut client = server.connect("one");
    client.send("early");
    until("the connect", || connections_to(&server, to_old) == Some(1));
    reload(&server, &file, &listeners(&to_stays.to_string(), policy));
    // Its queue has room again, and the SYN that is sent again finds it.
    drop((hangs.accept(), first));
    let mut upstream = stays.accept();
    upstream.expect("early");
    talk(&mut client, &mut upstream);
    drop((client, upstream));
    let line = wait_for("its line", || server.events("pair").pop());
    let failed = line["attempts_failed"].as_str().unwrap();
    assert!(failed.starts_with(&format!("{to_old}:upstream.unavailable:")), "{failed}");
    assert!(server.events("upstream_state").is_empty());
}

#[test]
fn a_host_name_is_looked_up_before_anybody_is_served() {
    let backend = Backend::start();
    let port = backend.address().port();
    let server = super::gateway(&format!("localhost:{port}"), "");
    let mut pair = (server.connect("gateway"), backend.accept());
    talk(&mut pair.0, &mut pair.1);

    let listen = "tcp://127.0.0.1:0?upstream=nowhere.invalid:9";
    let arguments = ["serve", "--admin", "off", "--log", "off", "--listen", listen];
    let refused = Command::new(env!("CARGO_BIN_EXE_linger")).args(arguments).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.starts_with("linger: cannot look up the upstream server nowhere.invalid:9: "), "{said}");
}

const NO_MOUNTS: &str = "no namespace of mounts can be made here";

/// A server that finds these lines in its hosts(5), if such a one can be made.
fn serve_among(hosts: &TempFile, arguments: &[&str]) -> Option<Server> {
    if !Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success()) {
        return None;
    }
    let script = format!("mount --bind {} /etc/hosts && ulimit -n 2000 && exec \"$0\" \"$@\"", hosts.path());
    let program = ["unshare", "-m", "sh", "-c", &script, env!("CARGO_BIN_EXE_linger")];
    Some(Server::start_as(&program, arguments))
}

#[test]
fn a_name_of_many_addresses_takes_descriptors_for_their_checks_and_those_beyond_the_bound_are_told() {
    let lines = (0..2).flat_map(|net| (1..=130).map(move |host| format!("127.0.{net}.{host} app.example\n")));
    let hosts = TempFile::new(&lines.collect::<Vec<_>>().concat());
    let gateway = |server| {
        let listen = format!("tcp://127.0.0.1:0?upstream={server}:9&check.style=connect&check.interval=1h");
        serve_among(&hosts, &["--listen", &listen, "--admin", "127.0.0.1:0"])
    };
    let (Some(named), Some(plain)) = (gateway("app.example"), gateway("127.0.0.1")) else {
        return eprintln!("{NO_MOUNTS}");
    };
    // A relayed client takes two.
    let [of_named, of_plain] = [&named, &plain].map(|server| server.metrics()["linger_connections_max"]);
    assert!((127.0..=128.0).contains(&(of_plain - of_named)), "{of_named} and {of_plain} clients");
    let told = named.events("upstream_servers_left_out");
    assert_eq!((told.len(), &told[0]["left_out"]), (1, &4.into()), "{told:?}");
    assert!(plain.events("upstream_servers_left_out").is_empty());
}

#[test]
fn an_address_that_a_name_gains_is_a_new_server_and_one_that_it_loses_is_removed() {
    let old = Backend::on("127.0.0.1:0".parse().unwrap());
    let port = old.address().port();
    let new = Backend::on(SocketAddr::from(([127, 0, 0, 2], port)));
    let [to_old, to_new] = [&old, &new].map(Backend::address);
    let hosts = TempFile::new("127.0.0.1 app.example\n");
    let file = TempFile::new(&listeners(&format!("app.example:{port}"), "resolve = '1s'\nremoved = 'drain'"));
    let arguments = ["--config", file.path(), "--admin", "127.0.0.1:0"];
    let Some(server) = serve_among(&hosts, &arguments) else { return eprintln!("{NO_MOUNTS}") };
    let mut of_old = (server.connect("one"), old.accept());
    talk(&mut of_old.0, &mut of_old.1);

    hosts.write("127.0.0.1 app.example\n127.0.0.2 app.example\n");
    until("the new address", || connections_to(&server, to_new) == Some(0));
    let mut of_new = (server.connect("two"), new.accept());
    talk(&mut of_new.0, &mut of_new.1);

    // What cannot be looked up keeps what it had, and that is said once.
    hosts.write("127.0.0.1 other.example\n");
    let name = "linger_upstream_resolve_failures_total{upstream=\"app\"}";
    until("two failures", || server.metrics()[name] >= 2.0);
    server.logs("upstream_not_resolved", 1);
    talk(&mut of_old.0, &mut of_old.1);

    hosts.write("127.0.0.2 app.example\n");
    of_old.1.stream.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(of_old.1.read_to_end().unwrap(), b"", "the server that is gone is drained");
    drop(of_old);
    until("it to be forgotten", || connections_to(&server, to_old).is_none());
    talk(&mut of_new.0, &mut of_new.1);
    let told = server.events("upstream_addresses");
    assert_eq!(told.last().unwrap()["addresses"], to_new.to_string(), "{told:?}");
}
