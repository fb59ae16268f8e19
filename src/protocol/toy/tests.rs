//! The toy in the registry, and its clients on a server beside clients of the command protocol.

use super::*;
use crate::protocol::{Encoding, Protocol, resp};
use crate::reactor::Scene;

/// The listeners of [`scene`].
const TOY: usize = 0;
const RESP: usize = 1;

fn scene() -> Scene {
    Scene::listening(&["toy://127.0.0.1:7000", "resp://127.0.0.1:7001"])
}

/// A frame of these words.
fn of(text: &str) -> String {
    let mut out = Vec::new();
    frame(&[text], &mut out);
    String::from_utf8(out).unwrap()
}

/// What a client gets of all that was said before.
#[track_caller]
fn receives(scene: &mut Scene, client: usize, expected: &str) {
    scene.come_to_rest();
    assert_eq!(String::from_utf8_lossy(&scene.recv(client)), expected);
}

#[test]
fn a_line_of_the_registry_makes_it_a_protocol() {
    assert_eq!(Protocol::from_name("toy"), Some(Protocol::Toy));
    assert!(Protocol::REGISTRY.client_names.contains(&Toy::NAME) && Protocol::Toy.open().is_some());
    let declared = Protocol::Toy.declaration();
    assert_eq!(declared.defaults, Toy::DEFAULTS);
    assert_eq!(declared.settings.iter().map(|key| key.name).collect::<Vec<_>>(), ["batch.frames"]);
    assert!(
        declared.inapplicable_key("probe.oob").is_some() && declared.inapplicable_key("linger").is_none()
    );
    assert!(Protocol::Toy.full().is_none() && Protocol::Toy.opening().is_none());
    assert_eq!(Protocol::Toy.server_ping(Some(Encoding::Toy(Frames))), None);
    let mut out = Vec::new();
    // What is of another protocol is as good as nothing.
    let other = Some(Encoding::Resp(resp::Version::Resp3));
    Protocol::Toy.goodbye(other, Reason::LocalIdle, &mut out);
    assert_eq!(out, of("bye local.idle").as_bytes());
    assert_eq!(Encoding::Toy(Frames).index() + 1, Encoding::COUNT, "it is the last");
}

#[test]
fn clients_of_two_protocols_hear_each_other() {
    let mut scene = scene();
    let toys = scene.crowd(TOY, 2);
    let resp = scene.crowd(RESP, 1)[0];
    for &toy in &toys {
        scene.send(toy, &of("sub news"));
        receives(&mut scene, toy, &of("ok"));
    }
    scene.send(resp, "HELLO 3\r\nSUBSCRIBE news\r\n");
    scene.come_to_rest();
    scene.recv(resp);

    // Who publishes and listens has its answer behind the message.
    scene.send(toys[0], &of("pub news a b"));
    receives(&mut scene, toys[1], &of("msg news a b"));
    let own = of("msg news a b") + &of("3");
    receives(&mut scene, toys[0], &own);
    receives(&mut scene, resp, ">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$3\r\na b\r\n");

    scene.send(resp, "PUBLISH news c\r\n");
    receives(&mut scene, resp, ">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\nc\r\n:3\r\n");
    receives(&mut scene, toys[0], &of("msg news c"));
    receives(&mut scene, toys[1], &of("msg news c"));
}

#[test]
fn messages_that_follow_each_other_are_answered_in_their_order() {
    let mut scene = scene();
    let (toy, resp) = (scene.crowd(TOY, 1)[0], scene.crowd(RESP, 1)[0]);
    scene.send(resp, "SUBSCRIBE a b\r\n");
    scene.come_to_rest();
    scene.recv(resp);
    let frames = ["pub a 1", "pub a 2", "pub b 3", "sub c", "pub none 4", "what"].map(of).concat();
    // The last frame comes in two pieces.
    let (most, last) = frames.split_at(frames.len() - 1);
    scene.send(toy, most);
    receives(&mut scene, toy, &["1", "1", "1", "ok", "0"].map(of).concat());
    scene.send(toy, last);
    receives(&mut scene, toy, &of("no"));
    let message =
        |channel: &str, payload| format!("*3\r\n$7\r\nmessage\r\n$1\r\n{channel}\r\n$1\r\n{payload}\r\n");
    receives(&mut scene, resp, &[message("a", "1"), message("a", "2"), message("b", "3")].concat());
}

#[test]
fn identities_are_the_servers_whatever_their_holders_speak() {
    let mut scene = scene();
    let (toy, resp) = (scene.crowd(TOY, 1)[0], scene.crowd(RESP, 1)[0]);
    scene.send(toy, &of("iam dev"));
    receives(&mut scene, toy, &of("ok"));
    scene.send(resp, "IDENT you\r\nSTATE dev\r\nSEND dev hello\r\n");
    receives(&mut scene, resp, "+OK\r\n+online\r\n:1\r\n");
    receives(&mut scene, toy, &of("msg dev hello"));
    // The answer to itself comes first, and a list comes when it is whole.
    scene.send(toy, &(of("send dev x") + &of("who d*") + &of("send nobody x") + &of("pub $presence:a x")));
    let reserved = of(&format!("no {}", Refusal::Reserved));
    let expected = of("1") + &of("msg dev x") + &of("1") + &of("dev") + &of("0") + &reserved;
    receives(&mut scene, toy, &expected);
    // The newer connection has it, and the older one is told.
    scene.send(resp, "IDENT dev\r\n");
    receives(&mut scene, resp, "+OK\r\n");
    receives(&mut scene, toy, &of("bye peer.replaced"));
}

#[test]
fn a_goodbye_and_a_broken_frame_end_a_connection() {
    let mut scene = Scene::listening(&["toy://127.0.0.1:7000?frame_max=1KiB"]);
    let toys = scene.crowd(TOY, 2);
    scene.send(toys[0], &of("bye"));
    receives(&mut scene, toys[0], &of("ok"));
    // Nothing behind a goodbye counts.
    scene.send(toys[0], &of("sub news"));
    scene.send(toys[1], "\x7f\x7f");
    receives(&mut scene, toys[1], &of("no the frame is too long"));
    receives(&mut scene, toys[0], "");
}
