//! Every byte arrives, in order and soon, whatever the pieces and however many pairs there are.

use super::{Backend, assert_same_bytes, counted, noise, pair, read_slowly, start, whole_of};
use crate::common::{Client, now, pass, until, wait_for};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

const MIB: usize = 1 << 20;

/// Two programs that both write all before they read anything: each pauses the other, and neither may stay so.
#[test]
fn both_sides_may_be_blocked_on_writing() {
    let (server, backend) = start("");
    let (client, upstream) = pair(&server, &backend);
    let (there, back) = (noise(16 * MIB, 1), noise(16 * MIB, 2));
    let write = |mut side: Client, bytes: Vec<u8>| {
        std::thread::spawn(move || {
            side.send(bytes);
            side.half_close();
        })
    };
    let writers = [
        write(Client { stream: client.stream.try_clone().unwrap() }, there.clone()),
        write(Client { stream: upstream.stream.try_clone().unwrap() }, back.clone()),
    ];
    until("all to be full", || {
        let paused = server.connections("gateway").into_iter().filter(|conn| conn["reading_paused"] == true);
        paused.count() == 2
    });
    let turns = || server.metrics()["linger_loop_turns_total"];
    let before = turns();
    pass(Duration::from_millis(500));
    let spun = turns() - before;
    assert!(spun < 50.0, "nothing can move, and it sleeps: {spun} turns");
    let read = |mut side: Client| std::thread::spawn(move || read_slowly(&mut side));
    let (mut client, reading) = (client, read(upstream));
    assert_same_bytes(&client.read_to_end().unwrap(), &back);
    let (got, error) = reading.join().unwrap();
    assert_eq!(error, None);
    assert_same_bytes(&got, &there);
    for writer in writers {
        writer.join().unwrap();
    }
    super::Record::of(&server).moved(16 * MIB, 16 * MIB);
}

/// Out-of-band data is a byte in the stream to who reads it inline (tcp(7), RFC 6093).
#[test]
fn an_urgent_byte_stays_in_its_place() {
    let (server, backend) = start("");
    let (mut client, mut upstream) = pair(&server, &backend);
    stays_in_its_place(&mut client, &mut upstream);
    stays_in_its_place(&mut upstream, &mut client);
}

fn stays_in_its_place(from: &mut Client, to: &mut Client) {
    let urgent = |from: &Client, byte| {
        assert_eq!(SockRef::from(&from.stream).send_out_of_band(byte).unwrap(), 1);
    };
    from.send("before ");
    urgent(from, b"!");
    from.send(" after");
    to.expect("before ! after");
    // A second one while the first is unread.
    urgent(from, b"1");
    urgent(from, b"2");
    from.send("3");
    to.expect("123");
}

/// How long the second of two small pieces takes, in the middle of many tries, while the first is not acknowledged: the
/// receiver has spoken last, and its kernel waits for 40 ms whether it speaks again (`TCP_DELACK_MIN`).
fn second_piece(from: &mut Client, to: &mut Client) -> Duration {
    let mut times: Vec<_> = (0..21)
        .map(|_| {
            to.send("?");
            from.expect("?");
            from.send("a");
            to.expect("a");
            let begun = now();
            from.send("b");
            to.expect("b");
            begun.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

#[test]
fn small_pieces_do_not_wait_for_each_other_on_either_leg() {
    let delay = Duration::from_millis(20);
    // On the leg to the server they never do: what it means is for the two sides to say. That the wait would be seen is
    // shown by the leg of a client that is to wait.
    for (setting, waits) in [("", [false, false]), ("nodelay=false", [false, true])] {
        let (server, backend) = start(setting);
        let (mut client, mut upstream) = pair(&server, &backend);
        client.stream.set_nodelay(true).unwrap();
        upstream.stream.set_nodelay(true).unwrap();
        let there = second_piece(&mut client, &mut upstream);
        let back = second_piece(&mut upstream, &mut client);
        assert_eq!([there > delay, back > delay], waits, "{setting:?}: there {there:?}, back {back:?}");
    }
}

/// One end of a pair in a crowd.
struct Side {
    stream: Client,
    sends: Vec<u8>,
    sent: usize,
    got: Vec<u8>,
    expects: usize,
    through: bool,
}

impl Side {
    fn new(stream: Client, sends: Vec<u8>, expects: usize) -> Self {
        stream.stream.set_nonblocking(true).unwrap();
        Self { stream, sends, sent: 0, got: Vec::new(), expects, through: false }
    }

    /// Sends a piece and reads a piece, of sizes that `dice` gives. Whether anything was left to do.
    fn step(&mut self, dice: &mut impl FnMut(usize) -> usize, buffer: &mut [u8]) -> bool {
        if self.sent < self.sends.len() {
            let upto = self.sends.len().min(self.sent + 1 + dice(20_000));
            match self.stream.stream.write(&self.sends[self.sent..upto]) {
                Ok(count) => self.sent += count,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            if self.sent == self.sends.len() {
                self.stream.half_close();
            }
        }
        if !self.through {
            match self.stream.stream.read(&mut buffer[..=dice(30_000)]) {
                Ok(0) => self.through = true,
                Ok(count) => self.got.extend(&buffer[..count]),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock, "after {} bytes", self.got.len());
                }
            }
            assert!(self.got.len() <= self.expects);
        }
        !self.through || self.sent < self.sends.len()
    }
}

#[test]
fn a_thousand_pairs_at_once_lose_no_byte() {
    const PAIRS: usize = 1000;
    let (server, backend) = start("half_close=forward");
    let mut seed = 1;
    let mut dice = move |sides: usize| {
        seed = 6_364_136_223_846_793_005_u64.wrapping_mul(seed).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % sides
    };
    let (mut clients, mut servers) = (Vec::new(), Vec::new());
    for number in 0..PAIRS {
        // One at a time, so that it is known who is whose.
        let (client, upstream) = pair(&server, &backend);
        let seed = u64::try_from(number).unwrap();
        let there = noise(dice(100_000), 2 * seed);
        let back = noise(dice(100_000), 2 * seed + 1);
        let (up, down) = (there.len(), back.len());
        clients.push(Side::new(client, there, down));
        servers.push(Side::new(upstream, back, up));
    }
    let mut buffer = vec![0; 30_000];
    until("all bytes of all pairs", || {
        let mut busy = false;
        for side in clients.iter_mut().chain(&mut servers) {
            busy |= side.step(&mut dice, &mut buffer);
        }
        !busy
    });
    for (client, upstream) in clients.iter().zip(&servers) {
        assert_same_bytes(&upstream.got, &client.sends);
        assert_same_bytes(&client.got, &upstream.sends);
    }
    let lines =
        wait_for("all pairs to be gone", || Some(server.events("pair")).filter(|lines| lines.len() == PAIRS));
    assert!(lines.iter().all(|line| line["lost_up"] == 0 && line["lost_down"] == 0));
    let total = |sides: &[Side]| sides.iter().map(|side| side.sends.len()).sum::<usize>();
    let of_servers = ["linger_upstream_sent_bytes_total", "linger_upstream_received_bytes_total"];
    assert_eq!(of_servers.map(|name| counted(&server, name)), [total(&clients), total(&servers)]);
    let metrics = server.metrics();
    let of_clients = ["linger_received_bytes_total", "linger_sent_bytes_total"];
    assert_eq!(of_clients.map(|name| whole_of(metrics[name])), [total(&clients), total(&servers)]);
}

/// A client that takes nothing costs one receive of memory, and the rest stays with its server.
#[test]
fn what_waits_for_a_slow_client_is_bounded_and_holds_up_nobody_else() {
    let (server, backend) = start("");
    let (slow, fast) = (super::narrow(&server), Backend::accept(&backend));
    let mut sender = fast;
    crate::common::means::flood(&mut sender, || {
        server.connections("gateway").iter().any(|conn| conn["reading_paused"] == true)
    });
    let waiting = server.metrics()["linger_output_waiting_bytes"];
    assert!(waiting > 0.0 && waiting <= 256.0 * 1024.0, "{waiting}");
    let (mut client, mut upstream) = pair(&server, &backend);
    for _ in 0..100 {
        client.send("ping");
        upstream.expect("ping");
        upstream.send("pong");
        client.expect("pong");
    }
    drop(slow);
}
