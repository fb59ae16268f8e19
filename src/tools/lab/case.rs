//! The rows: each way a client can go, or seem to.

use super::settings::Settings;
use crate::core::named::named;
use crate::core::time::Duration;

named! {
    /// A way to go.
    Case {
        /// The protocol's goodbye, then FIN.
        Goodbye = "goodbye",
        /// FIN without a goodbye.
        Close = "close",
        /// A last request and FIN; the client reads on.
        HalfClose = "half-close",
        /// RST.
        Reset = "reset",
        /// SIGKILL with nothing unread.
        Kill = "kill",
        /// SIGKILL with unread data: its kernel resets.
        KillUnread = "kill-unread",
        /// SIGKILL while the server has stopped reading, for the client takes nothing.
        KillPaused = "kill-paused",
        /// SIGSTOP of an idle client.
        Freeze = "freeze",
        /// SIGSTOP, and data comes: its window shuts.
        FreezeFlight = "freeze-flight",
        /// The client's cable is pulled.
        Cable = "cable",
        /// The same, and the server has something to send.
        CableFlight = "cable-flight",
        /// The cable is out for a while, and comes back: the client is well.
        Outage = "outage",
        /// A firewall drops what the client sends.
        DropFromClient = "drop-from-client",
        /// A firewall drops what the server sends.
        DropToClient = "drop-to-client",
        /// A firewall drops both.
        DropBoth = "drop-both",
        /// A NAT has forgotten the connection: it answers the server with RST, and drops what the client sends.
        NatReset = "nat-reset",
        /// The socket is discarded without a packet.
        Vanish = "vanish",
        /// The same, and the same identity comes from the same address again.
        Reboot = "reboot",
        /// A heartbeat that is late, but within the grace.
        LateBeat = "late-beat",
        /// One that comes after the grace.
        TooLateBeat = "too-late-beat",
        /// Reset in the accept queue.
        QueueReset = "queue-reset",
        /// The heartbeat channel is closed; the data connection is silent and well.
        ChannelDeath = "channel-death",
    }
}

impl Case {
    /// What happens, in a few words.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Goodbye => "goodbye, then close",
            Self::Close => "close, no goodbye",
            Self::HalfClose => "half-close, reads on",
            Self::Reset => "reset",
            Self::Kill => "kill -9",
            Self::KillUnread => "kill -9, unread data",
            Self::KillPaused => "kill -9, backpressure",
            Self::Freeze => "frozen, idle",
            Self::FreezeFlight => "frozen, data in flight",
            Self::Cable => "cable pulled, idle",
            Self::CableFlight => "cable pulled, in flight",
            Self::Outage => "cable out for 6.5 s",
            Self::DropFromClient => "firewall: from client",
            Self::DropToClient => "firewall: to client",
            Self::DropBoth => "firewall: both ways",
            Self::NatReset => "NAT forgot, resets",
            Self::Vanish => "socket gone, no packet",
            Self::Reboot => "reboot, same identity",
            Self::LateBeat => "heartbeat late, in grace",
            Self::TooLateBeat => "heartbeat after grace",
            Self::QueueReset => "reset in accept queue",
            Self::ChannelDeath => "heartbeat channel dies",
        }
    }

    /// What happens, in a sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Goodbye => "QUIT, and the client closes when that is answered",
            Self::Close => "the client closes: FIN",
            Self::HalfClose => {
                "a last request and shutdown(SHUT_WR); the client reads to the end of file, then closes"
            }
            Self::Reset => "SO_LINGER {1,0} and close: RST",
            Self::Kill => "kill -9 of the client's process with an empty receive queue: FIN",
            Self::KillUnread => "kill -9 with data in its receive queue: RST",
            Self::KillPaused => {
                "kill -9 of a client that takes no data, so that the server reads nothing of it: RST"
            }
            Self::Freeze => "SIGSTOP: its kernel answers, its program does not",
            Self::FreezeFlight => "SIGSTOP, then more data than its receive buffer takes: zero window",
            Self::Cable => {
                "the client's port of the switch between them goes down; the server's own link stays up"
            }
            Self::CableFlight => "the same, and then the server sends",
            Self::Outage => {
                "the cable is out for 6.5 s and comes back; a heartbeat of 40 s, pings each 200 ms, TCP_USER_TIMEOUT 5 s \
                 for all: who notices has ended a client that is well"
            }
            Self::DropFromClient => "a rule drops what the client sends; it hears everything",
            Self::DropToClient => "a rule drops what the server sends; it hears everything",
            Self::DropBoth => "rules drop what either sends",
            Self::NatReset => "what the server sends is answered by RST, what the client sends is dropped",
            Self::Vanish => {
                "TCP_REPAIR and close: no packet; its kernel knows nothing of the connection any more"
            }
            Self::Reboot => "the same, and then that identity connects again from the same address at once",
            Self::LateBeat => "no beat and no answer until half of the grace is over",
            Self::TooLateBeat => "no beat and no answer until every grace is over",
            Self::QueueReset => {
                "the client resets while the server is full and has not accepted it; counted from when there is room"
            }
            Self::ChannelDeath => "the heartbeat channel is closed while the data connection is silent",
        }
    }

    /// Parameters that the listeners of this row have beside their means.
    pub fn parameters(self) -> &'static str {
        const PARAMETERS: [(Case, &str); 4] = [
            // The same limit for all, so that only the pings tell them apart.
            (Case::Outage, "user_timeout=5s"),
            // Soon full, and reading goes on all the same.
            (Case::FreezeFlight, "send_buffer=16KiB&output_high=512MiB&output_max=1GiB"),
            // Soon full, and reading stops.
            (Case::KillPaused, "send_buffer=16KiB&output_high=4KiB&output_low=1KiB&output_max=1GiB"),
            (Case::QueueReset, "max_connections=1&overload=queue"),
        ];
        PARAMETERS.iter().find(|(case, _)| *case == self).map_or("", |(_, parameters)| parameters)
    }

    /// The times of this row. Those of an outage are its own: no client is to be missed before the network is back.
    pub fn settings(self, usual: &Settings) -> Settings {
        if self != Self::Outage {
            return usual.clone();
        }
        Settings {
            user_timeout: Duration::from_secs(5),
            heartbeat_timeout: Duration::from_secs(40),
            heartbeat_interval: Duration::from_millis(200),
            outage: Some(Duration::from_millis(6500)),
            slack: usual.slack,
            ..Settings::realistic()
        }
    }

    /// Whether the client's window is to be shut soon.
    pub const fn small_window(self) -> bool {
        matches!(self, Self::FreezeFlight | Self::KillPaused)
    }

    /// Whether it means anything to a server of which the lab knows nothing but that it listens.
    pub const fn concerns_any_server(self) -> bool {
        !matches!(
            self,
            Self::Outage | Self::LateBeat | Self::TooLateBeat | Self::QueueReset | Self::ChannelDeath
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_fit_their_column_and_names_are_words() {
        for &case in Case::ALL {
            assert!(case.title().len() <= 24, "{case}");
            assert!(case.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{case}");
        }
    }
}
