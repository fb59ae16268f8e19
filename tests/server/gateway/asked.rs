//! Who asks afterwards about one side of a pair is told of the other, too.

use super::{Backend, gateway_with, pair};
use crate::common::wait_for;
use crate::why::linger;
use serde_json::Value;

#[test]
fn why_of_either_side_of_a_pair_tells_how_the_other_one_ended() {
    for workers in ["1", "2"] {
        let backend = Backend::start();
        let workers = format!("server.workers={workers}");
        let server = gateway_with(&backend.address().to_string(), "", &[&workers]);
        let (mut client, mut upstream) = pair(&server, &backend);
        client.send("question");
        upstream.expect("question");
        upstream.send("answer");
        client.expect("answer");
        let listed = server.connections("gateway");
        let listed = ["client", "upstream"].map(|leg| listed.iter().find(|row| row["leg"] == leg).unwrap());
        assert_eq!((&listed[0]["partner"], &listed[1]["partner"]), (&listed[1]["key"], &listed[0]["key"]));
        let address = backend.address().to_string();
        assert_eq!((&listed[0]["server"], &listed[1]["server"]), (&address.into(), &Value::Null));
        client.reset();
        let ends = |query: &str| -> Value {
            let (status, body) = server.admin("GET", &format!("/ends{query}"));
            assert!(status.contains("200"), "{query}: {status} {body}");
            serde_json::from_str::<Value>(&body).unwrap()["ends"].clone()
        };
        let both = wait_for("both endings", || Some(ends("")).filter(|ends| ends[1].is_object()));
        let row = |leg: &str| both.as_array().unwrap().iter().find(|row| row["leg"] == leg).unwrap().clone();
        let rows = [row("client"), row("upstream")];
        let field = |leg: usize, name: &str| rows[leg][name].as_str().unwrap();
        let [client_key, upstream_key] = [0, 1].map(|leg| field(leg, "key"));

        // Both legs, by the name of the pair; others are not meant.
        let keys = |query: &str| -> Vec<String> {
            let rows = ends(query);
            rows.as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(keys(&format!("?pair=1-1,{client_key}")), keys(""));
        assert_eq!(keys("?pair=1-1"), [""; 0]);
        assert_eq!(keys(&format!("?pair={client_key}&key={upstream_key}")), [upstream_key]);

        for (asked, other, line) in [
            (
                0,
                1,
                format!("Its server's side: {upstream_key} to {} ended with peer.reset.", backend.address()),
            ),
            (
                1,
                0,
                format!("Its client's side: {client_key} from {} ended with peer.reset.", field(0, "peer")),
            ),
        ] {
            let (code, said) = linger(&server, &["why", field(asked, "key"), "--lang", "en"]);
            assert!(
                code == Some(0) && said.contains(&format!("\n  {line}\n    It was silent for ")),
                "{said}"
            );
            let received = [8, 6][other];
            assert!(said.contains(&format!(". {received} bytes were received from it, ")), "{said}");
            let (_, said) = linger(&server, &["why", field(asked, "key"), "--json"]);
            let told: Value = serde_json::from_str(&said).unwrap();
            // How long ago it was differs by when it is asked.
            assert_eq!(told["ends"][0]["partner"]["number"], rows[other]["number"], "{said}");
            assert_eq!(told["ends"][0]["partner"]["detector"], rows[other]["detector"], "{said}");
        }
        let (_, said) = linger(&server, &["why", "--lang", "en"]);
        assert!(said.matches("side: ").count() == 2 && !said.contains("    It was silent"), "{said}");
        let (_, said) = linger(&server, &["why", client_key, "--lang", "zh"]);
        assert!(said.contains(&format!("\n  它的服务器一侧：{upstream_key}，连到 ")), "{said}");
        assert!(said.contains("\n怎么办："), "{said}");
    }
}
