//! A server as a new user meets it: started, tried by hand, stopped.

use crate::common::Server;

#[test]
fn echo_half_closed_gets_its_bytes_back() {
    let server = Server::start(&["--listen", "echo://127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let mut client = server.connect("echo");
    client.send("hello");
    client.half_close();
    assert_eq!(client.read_to_end().unwrap(), b"hello");
    let end = &server.wait_ends(1)[0];
    assert_eq!(end["reason"], "peer.fin");
    assert_eq!(end["detector"], "zero_read");
    assert_eq!(end["close"], "peer_first");
    assert_eq!((&end["bytes_in"], &end["bytes_out"]), (&5.into(), &5.into()));
}

#[test]
fn a_person_types_commands() {
    let server = Server::start(&["--listen", "resp://127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let mut client = server.connect("resp");
    client.ask("PING", "+PONG\r\n");
    client.ask("IDENT dev1 BEAT 30", "+OK\r\n");
    client.ask("STATE dev1", "+online\r\n");
    client.ask("WHO", "*1\r\n$4\r\ndev1\r\n");
    client.ask("QUIT", "+OK\r\n");
    drop(client);
    let end = &server.wait_ends(1)[0];
    assert_eq!(end["reason"], "peer.goodbye");
    assert_eq!(end["close"], "peer_first_after_goodbye");
    assert_eq!(end["identity"], "dev1");
}
