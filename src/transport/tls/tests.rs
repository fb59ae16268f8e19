//! Both sides of TLS as layers, without a socket between them.

use super::*;
use crate::core::end::{Alert, Reason, TlsAlert};
use crate::tls::pki::Authority;
use crate::tls::tests::{client_spec, house, put, read, spec, verified};
use crate::tls::{Client, ClientSpec, Server, ServerSpec, TicketKeys};
use proptest::prelude::*;

/// Two sides, and what is on its way from each.
struct Two {
    client: Tls,
    server: Tls,
    /// To the server, and to the client.
    wires: [ByteQueue; 2],
}

impl Two {
    fn new(server: &ServerSpec, client: &ClientSpec) -> Self {
        let server = Server::load(server, &read).expect("the files are sound");
        let client = Client::load(client, &read).expect("the files are sound");
        Self::of(&server, &client)
    }

    fn of(server: &Server, client: &Client) -> Self {
        let mut two =
            Self { client: Tls::connect(client), server: Tls::accept(server), wires: Default::default() };
        two.client.begin(&mut two.wires[0]);
        two
    }

    /// Lets the server receive what is on its way, and its answer be on its way.
    fn server_receives(&mut self) -> Result<(), ProtocolError> {
        let wire = std::mem::take(&mut self.wires[0]);
        self.server.receive(wire.as_slice(), &mut self.wires[1])
    }

    fn client_receives(&mut self) -> Result<(), ProtocolError> {
        let wire = std::mem::take(&mut self.wires[1]);
        self.client.receive(wire.as_slice(), &mut self.wires[0])
    }

    /// Both are open.
    fn open(mut self) -> Self {
        while !self.wires.iter().all(ByteQueue::is_empty) {
            self.server_receives().unwrap();
            self.client_receives().unwrap();
        }
        assert_eq!([self.client.phase(), self.server.phase()], [Phase::Open; 2]);
        self
    }
}

fn taken(layer: &mut Tls, at_once: usize) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; at_once]);
    loop {
        match layer.take(&mut buffer) {
            0 => return all,
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

fn two() -> Two {
    house();
    Two::new(&spec("server.pem"), &client_spec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_way_of_cutting_the_wire_gives_the_same_bytes(
        said in prop::collection::vec(0usize..40_000, 1..6),
        cuts in prop::collection::vec(1usize..30_000, 1..40),
        at_once in 1usize..70_000,
    ) {
        let mut two = two().open();
        let mut expected = Vec::new();
        for (number, count) in said.into_iter().enumerate() {
            let bytes = vec![u8::try_from(number).unwrap(); count];
            two.client.send(&bytes, &mut two.wires[0]);
            expected.extend(bytes);
        }
        two.client.finish(&mut two.wires[0]);
        let wire = std::mem::take(&mut two.wires[0]);
        let (mut rest, mut received, mut cuts) = (wire.as_slice(), Vec::new(), cuts.into_iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
            two.server.receive(now, &mut two.wires[1]).unwrap();
            rest = later;
            received.extend(taken(&mut two.server, at_once));
            prop_assert_eq!(two.server.held(), 0);
        }
        prop_assert_eq!(received, expected);
        prop_assert_eq!(two.server.phase(), Phase::Ended);
    }
}

#[test]
fn what_comes_with_the_last_of_the_handshake_is_not_lost() {
    let mut two = two();
    two.server_receives().unwrap();
    two.client_receives().unwrap();
    two.client.send(b"early", &mut two.wires[0]);
    assert_eq!(two.server.phase(), Phase::Opening);
    two.server_receives().unwrap();
    assert_eq!((two.server.phase(), two.server.held()), (Phase::Open, 5));
    assert_eq!(taken(&mut two.server, 100), b"early");
}

#[test]
fn the_last_word_may_share_a_read_with_the_last_bytes() {
    let mut two = two().open();
    two.client.send(b"bye", &mut two.wires[0]);
    two.client.finish(&mut two.wires[0]);
    two.server_receives().unwrap();
    assert_eq!((two.server.phase(), two.server.held()), (Phase::Ended, 3));
    assert!(two.server.can_send(), "the other direction is a matter of its own (RFC 8446, 6.1)");
    two.server.send(b"answer", &mut two.wires[1]);
    two.server.finish(&mut two.wires[1]);
    two.client_receives().unwrap();
    assert_eq!(taken(&mut two.client, 100), b"answer");
    assert_eq!(two.client.phase(), Phase::Ended);
}

/// How a handshake fails: to the server, else to the client.
fn failure(mut two: Two) -> ProtocolError {
    for _ in 0..5 {
        if let Err(error) = two.server_receives() {
            assert_eq!(two.server.phase(), Phase::Ended);
            return error;
        }
        if let Err(error) = two.client_receives() {
            let Err(theirs) = two.server_receives() else { return error };
            return theirs;
        }
    }
    panic!("it did not fail");
}

#[test]
fn a_failed_handshake_says_which_alert_and_whose() {
    let (authority, _) = house();
    put("stranger.pem", &Authority::new("stranger").sign("dev1").both());
    put("old.pem", &authority.sign_until("dev1", 2020).both());
    let revoked = authority.sign("dev1");
    put("revoked.pem", &revoked.both());
    put("crl.pem", &authority.revoke(&[&revoked]));
    put("foreign.pem", &Authority::new("foreign").pem);
    let asks = |crl: &str| ServerSpec { client: verified(crl, None), ..spec("server.pem") };
    let shows = |certificate: &str| ClientSpec { certificate: certificate.to_owned(), ..client_spec() };
    let distrusts = ClientSpec { ca: Some("foreign.pem".to_owned()), ..client_spec() };
    for (server, client, alert, advice) in [
        (spec("server.pem"), distrusts, "peer:unknown_ca", "does not trust our certificate"),
        (asks(""), client_spec(), "local:certificate_required", "has no certificate"),
        (asks(""), shows("stranger.pem"), "local:unknown_ca", "of no authority in tls.client_ca"),
        (asks(""), shows("old.pem"), "local:certificate_expired", "is not valid now"),
        (asks("crl.pem"), shows("revoked.pem"), "local:certificate_revoked", "was revoked"),
    ] {
        let error = failure(Two::new(&server, &client));
        assert_eq!(error.reason, Reason::ProtocolTls);
        assert_eq!(error.alert.map(|alert| alert.to_string()).as_deref(), Some(alert));
        assert!(error.text.contains(advice), "{}", error.text);
    }
}

#[test]
fn what_is_no_tls_is_refused_in_its_first_bytes() {
    house();
    let mut server = Tls::accept(&Server::load(&spec("server.pem"), &read).unwrap());
    let mut answer = ByteQueue::default();
    let error = server.receive(b"GET / HTTP/1.1\r\n", &mut answer).unwrap_err();
    assert_eq!(error.alert.map(|alert| alert.to_string()).as_deref(), Some("local:decode_error"));
    assert_eq!(answer.as_slice()[..3], [21, 3, 3], "an alert");
    assert!(!server.can_send());
}

#[test]
fn nothing_follows_our_last_word_whatever_comes() {
    let mut two = two().open();
    two.server.finish(&mut two.wires[1]);
    let said = two.wires[1].len();
    two.client.send(b"late", &mut two.wires[0]);
    two.server_receives().unwrap();
    assert_eq!(taken(&mut two.server, 100), b"late");
    two.wires[0].push(&[23, 3, 3, 0, 20]);
    two.wires[0].push(&[0x5a; 20]);
    assert_eq!(two.server_receives().unwrap_err().reason, Reason::ProtocolTls);
    assert_eq!((two.wires[1].len(), two.server.phase()), (said, Phase::Ended), "no alert");
}

#[test]
fn who_is_verified_is_verified_each_time() {
    use rustls::HandshakeKind;
    let (authority, _) = house();
    let device = authority.sign("dev1");
    put("dev1.pem", &device.both());
    let shows = ClientSpec { certificate: "dev1.pem".to_owned(), ..client_spec() };
    for (client, expected) in
        [(verified("", None), HandshakeKind::Full), (tls::ClientAuth::Off, HandshakeKind::Resumed)]
    {
        let server = Server::load(&ServerSpec { client, ..spec("server.pem") }, &read).unwrap();
        server.use_ticket_keys(&TicketKeys::draw());
        let client = Client::load(&shows, &read).unwrap();
        Two::of(&server, &client).open();
        let again = Two::of(&server, &client).open();
        assert_eq!(again.server.connection.handshake_kind(), Some(expected));
    }
}

#[test]
fn a_session_is_resumed_at_any_worker_until_its_key_was_rotated_twice() {
    let (authority, _) = house();
    put("renewed.pem", &authority.sign("localhost").both());
    // Each is what another worker has made of the same files, and its keys as they come through the channel.
    let worker = |certificate: &str, keys: &TicketKeys| {
        let server = Server::load(&spec(certificate), &read).unwrap();
        server.use_ticket_keys(&TicketKeys::from_bytes(&keys.to_bytes()).unwrap());
        server
    };
    for rotations in 0..3 {
        let mut keys = TicketKeys::draw();
        let client = Client::load(&client_spec(), &read).unwrap();
        let comes_back = |server: &Server| Two::of(server, &client).open().server.is_resumed();
        assert!(!comes_back(&worker("server.pem", &keys)), "there was no ticket");
        (0..rotations).for_each(|_| keys.rotate());
        assert_eq!(comes_back(&worker("server.pem", &keys)), rotations < 2, "{rotations} rotations");
        assert!(comes_back(&worker("server.pem", &keys)), "it was given another one");
        assert!(
            !comes_back(&worker("renewed.pem", &keys)),
            "a listener with other certificates is another one"
        );
    }
}

#[test]
fn the_identity_is_the_name_in_the_certificate() {
    let (authority, _) = house();
    put("dev1.pem", &authority.sign("dev1").both());
    let asks = ServerSpec { client: verified("", Some(tls::Field::Cn)), ..spec("server.pem") };
    let shows = ClientSpec { certificate: "dev1.pem".to_owned(), ..client_spec() };
    assert_eq!(Two::new(&asks, &shows).open().server.identity().as_deref(), Some("dev1"));
    let asks_for_mail = ServerSpec { client: verified("", Some(tls::Field::Email)), ..spec("server.pem") };
    assert_eq!(Two::new(&asks_for_mail, &shows).open().server.identity().as_deref(), Some(""));
    assert_eq!(two().open().server.identity(), None);
}

#[test]
fn a_client_gets_the_certificate_for_the_name_that_it_asks_for() {
    let (authority, _) = house();
    put("a.pem", &authority.sign("a.example").both());
    put("b.pem", &authority.sign("*.b.example").both());
    let server = spec("server.pem,a.pem,b.pem");
    for (name, there) in [
        ("a.example", true),
        ("x.b.example", true),
        ("localhost", true),
        ("b.example", false),
        ("x.y.b.example", false),
    ] {
        let client = ClientSpec { name: name.try_into().unwrap(), ..client_spec() };
        let mut two = Two::new(&server, &client);
        two.server_receives().unwrap();
        assert_eq!(two.client_receives().is_ok(), there, "{name}");
    }
}

#[test]
fn a_first_message_without_end_is_answered_and_named() {
    let endless = [&[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff], &[0; 0x3ffc][..]].concat().repeat(20);
    for announced in [[0, 0xff, 0xff], [1, 0, 0], [0xff, 0xff, 0xff]] {
        let mut wire = endless.clone();
        wire[6..9].copy_from_slice(&announced);
        for at_once in [1000, wire.len()] {
            house();
            let (mut server, mut answer) =
                (Tls::accept(&Server::load(&spec("server.pem"), &read).unwrap()), ByteQueue::default());
            let outcome = wire.chunks(at_once).try_for_each(|piece| server.receive(piece, &mut answer));
            let error = outcome.unwrap_err();
            assert_eq!(error.reason, Reason::ProtocolOversized, "{announced:?} {at_once}");
            assert_eq!(answer.as_slice(), TOO_LONG);
            assert_eq!(error.alert, Some(TlsAlert { alert: Alert::IllegalParameter, is_ours: true }));
        }
    }
}
