//! The records of the toy, however they are cut.

use super::*;
use crate::core::end::Reason;
use proptest::prelude::*;

/// Both sides after their opening exchange.
pub(crate) fn pair() -> (Toy, Toy) {
    let (mut client, hello) = Toy::client(7);
    let (mut server, mut answer) = (Toy::server(), ByteQueue::default());
    server.receive(hello.as_slice(), &mut answer).unwrap();
    client.receive(answer.as_slice(), &mut ByteQueue::default()).unwrap();
    assert_eq!([client.phase(), server.phase()], [Phase::Open; 2]);
    (client, server)
}

fn taken(layer: &mut Toy, at_once: usize) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; at_once]);
    loop {
        match layer.take(&mut buffer) {
            0 => return all,
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

/// What a peer says, record by record.
#[derive(Clone, Debug)]
enum Said {
    Data(Vec<u8>),
    Run(u8, u32),
}

proptest! {
    #[test]
    fn any_way_of_cutting_the_wire_gives_the_same_bytes(
        all in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..9000).prop_map(Said::Data),
                (any::<u8>(), 0u32..5000).prop_map(|(byte, count)| Said::Run(byte, count)),
            ],
            0..8,
        ),
        cuts in prop::collection::vec(1usize..3000, 1..40),
        at_once in 1usize..5000,
    ) {
        let (mut client, mut server) = pair();
        let (mut wire, mut expected) = (ByteQueue::default(), Vec::new());
        for said in all {
            match said {
                Said::Data(bytes) => {
                    client.send(&bytes, &mut wire);
                    expected.extend(bytes);
                }
                Said::Run(byte, count) => {
                    Toy::send_run(byte, count, &mut wire);
                    expected.extend(vec![byte; count as usize]);
                }
            }
        }
        client.finish(&mut wire);
        let (mut rest, mut cuts, mut received) = (wire.as_slice(), cuts.into_iter().cycle(), Vec::new());
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(cuts.next().unwrap().min(rest.len()));
            server.receive(chunk, &mut ByteQueue::default()).unwrap();
            received.extend(taken(&mut server, at_once));
            rest = behind;
        }
        prop_assert_eq!(received, expected);
        prop_assert_eq!(server.phase(), Phase::Ended);
    }
}

#[test]
fn the_last_word_is_said_once_and_ends_one_direction() {
    let (mut client, mut server) = pair();
    let mut wire = ByteQueue::default();
    client.finish(&mut wire);
    let length = wire.len();
    client.finish(&mut wire);
    assert_eq!((wire.len(), client.can_send()), (length, false));
    server.receive(wire.as_slice(), &mut ByteQueue::default()).unwrap();
    assert_eq!((server.phase(), server.can_send()), (Phase::Ended, true));
    // Before the opening exchange there is nothing to end.
    let (mut early, mut wire) = (Toy::server(), ByteQueue::default());
    early.finish(&mut wire);
    assert!(wire.is_empty() && !early.can_send());
}

#[test]
fn records_against_the_rules_end_the_stream_and_say_why() {
    let of = |kind, body: &[u8]| {
        let mut wire = ByteQueue::default();
        record(kind, body, &mut wire);
        wire.as_slice().to_vec()
    };
    let too_long = (RUN_MAX + 1).to_be_bytes();
    for (wire, reason, text) in [
        (vec![b'd', 0, 1, 0, 1], Reason::ProtocolMalformed, "the checksum is wrong"),
        (vec![b'd', 0xff, 0xff, 0], Reason::ProtocolOversized, "the record is too long"),
        (of(b'z', &[&[1][..], &too_long].concat()), Reason::ProtocolOversized, "the record becomes too long"),
        (of(b'h', &[1]), Reason::ProtocolMalformed, "the record is out of place"),
    ] {
        let (_, mut server) = pair();
        let error = server.receive(&wire, &mut ByteQueue::default()).unwrap_err();
        assert_eq!((error.reason, &*error.text), (reason, text));
        assert_eq!(server.phase(), Phase::Ended);
    }
    // No data before the opening exchange.
    let error = Toy::server().receive(&of(b'd', b"x"), &mut ByteQueue::default()).unwrap_err();
    assert_eq!(error.text, "the record is out of place");
}
