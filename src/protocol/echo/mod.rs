//! Echo: what arrives is queued for sending in the order it came, byte for byte; a frame is one receive.
//!
//! - **Half-close.** After the client's FIN everything it sent is still sent back; only then is the socket
//!   closed, without a FIN of ours before it. `printf hello | nc -N` gets its hello.
//! - **Backpressure.** When output waits above `output_high`, reading pauses, and with it the client's
//!   window; it resumes below `output_low`. One receive may lie between the two, nothing more: an echo
//!   connection whose client does not read holds a bounded amount and delays nobody else.

use super::spec::{Inapplicable, Raw, Reached, Spec};
use std::convert::Infallible;

/// Bytes back.
#[derive(Debug)]
pub struct Echo;

/// There is no goodbye and no word to a newcomer: a client would take either for its own bytes.
impl Spec for Echo {
    const NAME: &'static str = "echo";
    const SUMMARY: &'static str = "gives the bytes back";
    const SERVES_CLIENTS: bool = true;
    const KEEPS_SESSION: bool = false;
    const BUILTIN_ADDRESS: Option<&'static str> = Some("127.0.0.1:7007");
    const INAPPLICABLE: &'static [Inapplicable] = &[Inapplicable {
        key: "heartbeat.style",
        values: &["server", "both"],
        wrong: "an echo listener has no message to ping with",
        right: "write \"client\" or \"off\" for it",
    }];

    const RAW: Option<Raw> = Some(Raw);

    type Encoding = Infallible;
    type Session = Infallible;

    fn to_try(at: Reached<'_>) -> Vec<String> {
        vec![match at {
            Reached::Unix(path) => format!("nc -U {path}"),
            Reached::Tcp { host, port } => format!("printf hello | nc -N {host} {port}"),
        }]
    }
}
