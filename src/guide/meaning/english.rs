//! The meanings in English.

use super::{Meaning, meaning};
use crate::core::end::{CloseMode, Detector, Reason};

/// What a reason means.
#[expect(clippy::too_many_lines, reason = "one entry for each reason, in their order")]
pub(super) const fn of(reason: Reason) -> Meaning {
    match reason {
        Reason::PeerGoodbye => meaning(
            "said goodbye in its protocol, then closed.",
            "An ordinary end: the client was told to stop, or was done. A client of resp says it with QUIT.",
            "Nothing.",
        ),
        Reason::PeerFin => meaning(
            "closed the connection without a goodbye.",
            "A program that ended or was killed: its kernel closes for it. Also an app that the phone's system has stopped, \
             and clients that never say goodbye.",
            "Nothing, if its program was meant to end. Otherwise look at its own log at that time. A client that sends QUIT (resp) before it \
             closes has said goodbye, and is told apart.",
        ),
        Reason::PeerFinMidframe => meaning(
            "closed the connection in the middle of a message.",
            "A program that crashed or was killed while it sent, or a client that writes a message in parts.",
            "Look at the client's log at that time. What it had begun to send was not carried out.",
        ),
        Reason::PeerTruncated => meaning(
            "closed a TLS connection without close_notify, so that what it sent may have been cut.",
            "A program that was killed, or a client that closes its socket without closing TLS.",
            "Nothing, if its protocol marks where a message ends. Otherwise have the client send close_notify.",
        ),
        Reason::PeerReset => meaning(
            "reset the connection.",
            "A program that ended with unread data, a host that rebooted and answers to an old connection, or a NAT or \
             firewall that forgot it.",
            "If it comes after long silence, beat more often than the NAT forgets (heartbeat, keepalive.idle). Otherwise look \
             at the client's log.",
        ),
        Reason::PeerResetAfterFin => meaning(
            "closed, then reset the connection while output to it was under way.",
            "A program that ended while the server was still sending to it.",
            "What was sent last has not arrived. If that matters, the client has to read to the end before it closes.",
        ),
        Reason::PeerReplaced => meaning(
            "was replaced: the same identity came back on another connection.",
            "A device that rebooted or changed its network. If it repeats every few seconds, two clients use one identity.",
            "If it repeats, give each client an identity of its own; by_peer tells where the newer one comes from.",
        ),
        Reason::LostKeepalive => meaning(
            "was lost: its host did not answer TCP keepalive, and nothing was in flight.",
            "A host without power or network, or a NAT or firewall that drops the connection's packets without a word.",
            "Nothing, if the host was off. If it was on, keep the connection in use more often than the network forgets it.",
        ),
        Reason::LostUnacked => meaning(
            "was lost: data sent to it was not acknowledged, however often it was sent again.",
            "A network that was cut while the server was sending, or one that loses very many packets.",
            "Check the way to its host (mtr, ss -ti). user_timeout sets how long the kernel tries.",
        ),
        Reason::LostUnreachable => meaning(
            "was lost: the network says that there is no way to its host.",
            "A route that is gone, an interface that went down, or a router that answers for a host that is off.",
            "Check routes and interfaces of this host, and the router that answers (ip route get ADDRESS).",
        ),
        Reason::LostHeartbeat => meaning(
            "was lost: its heartbeat did not come in time, and nothing of its host was heard either.",
            "A host without power or network, or one that sleeps; a NAT that forgot the connection.",
            "If the host was well, compare its clock of beats with heartbeat.timeout and heartbeat.grace: a timeout below \
             three beats, or below a usual outage of its network, ends healthy clients.",
        ),
        Reason::StuckFrozen => meaning(
            "was stuck: its heartbeat did not come in time, although its host still acknowledges.",
            "A program that hangs, is stopped or is being debugged, a phone's app in the background, or a proxy whose own \
             client is gone.",
            "Look at the program, not at the network: what did it do at that time? A watchdog in it would have ended it.",
        ),
        Reason::StuckZeroWindow => meaning(
            "was stuck: its receive window stayed shut, although its host still acknowledges.",
            "A program that hangs and does not read while the server sends to it.",
            "Look at the program: it did not read. What was sent to it waits in its kernel, and is lost.",
        ),
        Reason::SlowBytes => meaning(
            "read too slowly: more output waited for it than may.",
            "A subscriber that cannot keep up with what is published, or a link that is too thin for it.",
            "Publish less to it, or raise output_max if the host has the memory.",
        ),
        Reason::SlowTime => meaning(
            "read too slowly: its output made no progress for too long.",
            "A program that does not read, or a link that moves next to nothing.",
            "Look at the client: does it read while it works? slow_time sets the time.",
        ),
        Reason::ProtocolMalformed => meaning(
            "sent what its protocol does not allow.",
            "A client of another protocol, a scanner, or a bug in the client. 'spoke' says so where it is known.",
            "Check that the client uses the right port. With --log linger=debug, the log says what is wrong.",
        ),
        Reason::ProtocolOversized => meaning(
            "sent a message that is longer than may be.",
            "A client that sends large payloads, or one of another protocol whose bytes are read as a length.",
            "Raise frame_max if such messages are meant to be sent.",
        ),
        Reason::ProtocolUnsupported => meaning(
            "asked for something that is not offered.",
            "A client of another protocol (TLS, HTTP, MQTT, SSH ...) on this port; 'spoke' names it.",
            "Use the port of a listener for that protocol, or put one in front.",
        ),
        Reason::ProtocolHandshakeTimeout => meaning(
            "did not finish its opening exchange in time.",
            "A port scan or a check of health, which only connects; or a device that hung, or lost its network, before its first word.",
            "Nothing, if it is a scan or a check. If it is a device of yours, look at its program and its network at that \
             time. handshake_timeout sets the time.",
        ),
        Reason::ProtocolTls => meaning(
            "failed in TLS.",
            "A certificate that the other side does not trust, a client without one, or nothing in common. 'alert' says \
             which, and who refused.",
            "'linger explain tls' goes through the alerts.",
        ),
        Reason::ProtocolNoRoute => meaning(
            "asked in TLS for a name or protocol that no route is for.",
            "A client that uses an old or wrong host name; 'sni' and 'alpn' say what it asked for.",
            "Add a route for it, or a server for all others ('linger explain tls').",
        ),
        Reason::ProtocolAuth => meaning(
            "could not log in.",
            "A wrong password, or somebody who tries many.",
            "The log has log_in_failed with user and address ('linger explain users').",
        ),
        Reason::ProtocolProxyMissing => meaning(
            "did not begin with the header of the PROXY protocol, which the listener asks for.",
            "A client that comes past the load balancer, or a load balancer that is not told to send it.",
            "Turn the header on there (send-proxy), or let only the load balancer reach the port.",
        ),
        Reason::ProtocolProxyMalformed => meaning(
            "began with a header of the PROXY protocol that cannot be understood.",
            "A load balancer with a version that is broken or unknown.",
            "Check its version and settings against the PROXY protocol, versions 1 and 2.",
        ),
        Reason::ProtocolProxyUntrusted => meaning(
            "came from an address that may not send the header of the PROXY protocol.",
            "A client that comes past the load balancer, or a load balancer with a new address.",
            "If it is a load balancer, add its network to accept_proxy_trusted.",
        ),
        Reason::ProtocolProxyTimeout => meaning(
            "did not send the header of the PROXY protocol in time.",
            "A check of health that only connects, or a client that comes past the load balancer.",
            "Nothing, if it is a check. accept_proxy_timeout sets the time.",
        ),
        Reason::LocalIdle => meaning(
            "was alive and did not use the connection for too long.",
            "A client that keeps a connection it does not need.",
            "Nothing, if it comes back when it needs one. idle_timeout sets the time; heartbeats are no use.",
        ),
        Reason::LocalKicked => meaning(
            "was ended on purpose: by an operator, by another client, or because its user was removed or restricted.",
            "POST /connections/{key}/end, or CLIENT KILL: by_peer tells who. With the detector policy, a reload of the users.",
            "Ask who did it, or compare the file of users with the one before.",
        ),
        Reason::LocalDrain => meaning(
            "was ended because the server went away, or the one behind the gateway did.",
            "A restart, or a server that was taken out of the configuration.",
            "Nothing: clients are meant to come back, to another server or to the new one.",
        ),
        Reason::LocalLimit => meaning(
            "found the server full.",
            "More clients than max_connections or RLIMIT_NOFILE let in.",
            "Raise max_connections and RLIMIT_NOFILE, or run more servers ('linger doctor').",
        ),
        Reason::LocalAcceptRate => meaning(
            "came when its listener had let in as many in that second as it may.",
            "Clients that all come back at once, as after a restart.",
            "Let clients wait a random time before they come back, or raise accept_rate.",
        ),
        Reason::LocalSourceLimit => meaning(
            "came from a source that had as many connections as it may.",
            "One host that opens very many, or many clients behind one NAT.",
            "If they are many behind one NAT, raise source.max_connections.",
        ),
        Reason::LocalSourceRate => meaning(
            "came from a source from which as many had come in that second as may.",
            "A client that reconnects in a loop, or many clients behind one NAT.",
            "If it is one client, look why it fails; if they are many, raise source.accept_rate.",
        ),
        Reason::LocalDenied => meaning(
            "came from a network that may not.",
            "A scanner, or a client whose network allow and deny do not foresee.",
            "If it is a client of yours, add its network to allow.",
        ),
        Reason::LocalMaxAge => meaning(
            "had lived as long as it may.",
            "The setting max_age, which spreads clients anew over servers.",
            "Nothing: it is meant to come back.",
        ),
        Reason::LocalAudit => meaning(
            "had ended, and only the audit of the kernel's sockets found out.",
            "A connection that the kernel gave up while nothing was sent and nothing watched it.",
            "Turn on keepalive or a heartbeat for its listener. If both are on, report it: this should not happen.",
        ),
        Reason::LocalInternal => meaning(
            "was ended by an error of the server or of its system.",
            "The system ran out of memory or descriptors, or a fault of the server.",
            "Look at the log at that time, and report what it says.",
        ),
        Reason::UpstreamFin => meaning(
            "was ended because the server behind the gateway closed.",
            "A server that ends clients by its own rules, or was restarted.",
            "Look at that server's log at that time.",
        ),
        Reason::UpstreamTruncated => meaning(
            "was ended because the server behind the gateway closed TLS without close_notify.",
            "A server that was killed, or does not close TLS.",
            "Look at that server's log at that time. What it sent may have been cut.",
        ),
        Reason::UpstreamReset => meaning(
            "was ended because the server behind the gateway reset the connection.",
            "A server that crashed, or closed with unread data.",
            "Look at that server's log at that time.",
        ),
        Reason::UpstreamRefused => meaning(
            "found no server: nobody listens at its address.",
            "A server that does not run, or listens elsewhere.",
            "Start it, or correct its address ('linger upstreams').",
        ),
        Reason::UpstreamUnreachable => meaning(
            "found no server: the network says that there is no way to it.",
            "A route that is gone, or a firewall that refuses.",
            "Check the way from this host to the server (ip route get ADDRESS).",
        ),
        Reason::UpstreamConnectTimeout => meaning(
            "found no server: it did not answer the connect in time.",
            "A host that is off, a firewall that drops packets, or an accept queue that is full.",
            "Check the host and its accept queue (ss -ltn). connect_timeout sets the time.",
        ),
        Reason::UpstreamLost => meaning(
            "was ended because the host of the server behind the gateway no longer answers.",
            "A host without power or network, or a firewall between that forgot the connection.",
            "Check that host, and what lies between.",
        ),
        Reason::UpstreamTls => meaning(
            "was ended because TLS with the server behind the gateway failed.",
            "A certificate that is not trusted, or not for that name.",
            "'alert' says which, and who refused ('linger explain tls').",
        ),
        Reason::UpstreamStuck => meaning(
            "was ended because the server behind the gateway does not read what it is sent.",
            "A server that hangs or is overloaded.",
            "Look at that server: what did it do at that time?",
        ),
        Reason::UpstreamUnavailable => meaning(
            "found no server: none could be tried, or its accept queue is full.",
            "All servers are down, drained, or full.",
            "'linger upstreams' says how each of them is.",
        ),
        Reason::UpstreamNoPorts => meaning(
            "found no server: this host has no source port left for a connection to it.",
            "Tens of thousands of connections to one address of one server.",
            "Give the server more addresses or ports, or the gateway more source addresses ('linger explain gateway').",
        ),
    }
}

/// How a detector noticed an ending, as a whole sentence.
pub(super) const fn noticed(detector: Detector) -> &'static str {
    match detector {
        Detector::ZeroRead => "It was noticed at once: recv returned 0.",
        Detector::RecvError => "It was noticed at once: recv failed.",
        Detector::SendError => "It was noticed when something was sent: send failed.",
        Detector::Readiness => "epoll told of it while the connection was not being read.",
        Detector::TcpInfo => "TCP_INFO showed it while the connection was not being read.",
        Detector::TcpKeepalive => "The kernel's keepalive found it.",
        Detector::UserTimeout => {
            "The kernel gave up sending: its retransmission limit or TCP_USER_TIMEOUT had passed."
        }
        Detector::Heartbeat => "Its heartbeat timeout and grace had passed.",
        Detector::HeartbeatChannel => "The connection that beats for it had ended, and the grace had passed.",
        Detector::EofProbe => "It answered bytes sent after its end of file by a reset.",
        Detector::OobProbe => "An out-of-band byte was not answered, or by a reset.",
        Detector::Audit => "The audit of the kernel's sockets found it.",
        Detector::Timer => "A deadline of the server had passed.",
        Detector::Protocol => "The protocol said so.",
        Detector::Policy => "A bound or a decision of the server.",
        Detector::Client => "Another client asked for it.",
        Detector::Operator => "An operator asked for it, through the admin interface.",
        Detector::Connect => "The connect told of it.",
        Detector::Partner => "The other connection of its pair had ended.",
    }
}

/// How a socket was closed and what that leaves, as a whole sentence.
pub(super) const fn closed(mode: CloseMode) -> &'static str {
    match mode {
        CloseMode::PeerFirst => "The peer closed first: nothing is left on this host.",
        CloseMode::PeerFirstAfterGoodbye => {
            "After the goodbye the client closed first: nothing is left on this host."
        }
        CloseMode::Linger2 => {
            "This side closed first, with TCP_LINGER2 = -1: output that was queued is delivered, and no TIME_WAIT stays."
        }
        CloseMode::Reset => "It was closed by a reset (RST): nothing is left on this host.",
        CloseMode::ProbeReset => {
            "The probe after its end of file was answered by a reset: no TIME_WAIT on either side."
        }
        CloseMode::ForwardedFin => {
            "This side had forwarded a FIN, so that the other direction could live on: whose FIN was first has a TIME_WAIT."
        }
    }
}
