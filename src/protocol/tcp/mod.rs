//! The gateway: whatever the bytes mean, they are the concern of a client and of the server behind us. Nothing is decoded,
//! nothing is kept of it; each byte that comes is a sign of life of the one who has sent it.
//!
//! - **Half-close.** The FIN of one side follows its last byte to the other side, and the other direction lives on; or it
//!   ends the pair, where the listener says so.
//! - **Backpressure.** What one side does not take pauses the other: at most one receive lies between the two.
//! - **Endings.** A FIN stays a FIN and a reset a reset, whichever side it came from. There is no goodbye.
//! - **Identity.** A client has the one that the application behind us gives it. What it is sent by that name is written as it
//!   is.

mod settings;

use super::gateway::Gateway;
use super::spec::{Inapplicable, Raw, Reached, Spec};
use crate::core::setting::{Key, Values};
use std::convert::Infallible;

/// Bytes to an upstream server, and back.
#[derive(Debug)]
pub struct Tcp;

impl Spec for Tcp {
    const NAME: &'static str = "tcp";
    const SUMMARY: &'static str = "relays to an upstream server, whatever it speaks";
    const SERVES_CLIENTS: bool = true;
    const KEEPS_SESSION: bool = false;
    const SETTINGS: &'static [Key] = &settings::SETTINGS;
    const INAPPLICABLE: &'static [Inapplicable] = &[
        Inapplicable {
            key: "heartbeat.style",
            values: &["server", "both"],
            wrong: "a gateway has no message of its own to ping with",
            right: "write \"client\" or \"off\" for it",
        },
        Inapplicable {
            key: "probe.after_eof",
            values: &[],
            wrong: "the bytes of the probe would be taken for the upstream server's",
            right: "leave it out; half_close = \"end\" ends the pair with the client's FIN",
        },
    ];

    const RAW: Option<Raw> = Some(Raw);

    type Encoding = Infallible;
    type Session = Infallible;

    fn gateway(own: &Values) -> Option<Gateway> {
        settings::gateway(own)
    }

    fn to_try(at: Reached<'_>) -> Vec<String> {
        vec![match at {
            Reached::Unix(path) => format!("nc -U {path}"),
            Reached::Tcp { host, port } => format!("nc {host} {port}"),
        }]
    }
}
