//! Which page a word leads to: what people search for, reasons, detectors and ways of closing.

use super::{PAGES, Page, page};
use crate::core::end::{CloseMode, Detector, Reason};

/// Words that people search for, by the topic of the page that answers. In any case; blanks, `-` and `_` make no difference.
pub const ALIASES: &[(&str, &[&str])] = &[
    (
        "time_wait",
        &[
            "2MSL",
            "SO_REUSEADDR",
            "tcp_tw_reuse",
            "tcp_tw_recycle",
            "SO_LINGER",
            "TCP_LINGER2",
            "EADDRNOTAVAIL",
            "EADDRINUSE",
            "WSAEADDRINUSE",
            "10048",
            "主动关闭",
            "四次挥手",
            "端口耗尽",
        ],
    ),
    ("close_wait", &["crawler", "LAST_ACK", "descriptor leak", "连接泄漏", "爬虫", "被动关闭"]),
    ("fin_wait2", &["FIN_WAIT", "FIN_WAIT1", "tcp_fin_timeout", "orphan", "孤儿连接"]),
    (
        "ghosts",
        &[
            "ghost",
            "half-open",
            "ESTABLISHED",
            "TCP_INFO",
            "tcpi_state",
            "reboot",
            "power cut",
            "NAT",
            "NAT timeout",
            "conntrack",
            "断开",
            "掉线",
            "断线",
            "断线重连",
            "半开连接",
            "半连接",
            "僵尸连接",
            "假死",
            "重启",
            "拔网线",
            "断电",
        ],
    ),
    (
        "heartbeats",
        &[
            "heartbeat",
            "keepalive",
            "SO_KEEPALIVE",
            "TCP_USER_TIMEOUT",
            "tcp_retries2",
            "retransmission",
            "ping",
            "心跳",
            "心跳包",
            "保活",
            "重传",
        ],
    ),
    (
        "accept_queue",
        &[
            "backlog",
            "somaxconn",
            "listen",
            "accept",
            "ListenOverflows",
            "SYN_RECV",
            "SYN flood",
            "全连接队列",
            "半连接队列",
        ],
    ),
    (
        "half_close",
        &["shutdown", "SHUT_WR", "SHUT_RD", "suspect", "OOB", "MSG_OOB", "EOF", "半关闭", "带外数据"],
    ),
    ("sigpipe", &["32", "EPIPE", "broken pipe", "SIGCHLD", "zombie", "defunct", "MSG_NOSIGNAL", "僵尸进程"]),
    (
        "windows",
        &[
            "104",
            "110",
            "111",
            "113",
            "tcp reset",
            "connection timed out",
            "10052",
            "10053",
            "10054",
            "10058",
            "10060",
            "10061",
            "10065",
            "WSAENETRESET",
            "WSAECONNABORTED",
            "WSAECONNRESET",
            "WSAESHUTDOWN",
            "WSAETIMEDOUT",
            "WSAECONNREFUSED",
            "WSAEHOSTUNREACH",
            "ECONNRESET",
            "ECONNABORTED",
            "ECONNREFUSED",
            "ETIMEDOUT",
            "EHOSTUNREACH",
            "connection reset by peer",
            "RST",
            "SIO_KEEPALIVE_VALS",
            "IOCP",
            "远程主机强迫关闭了一个现有的连接",
            "连接重置",
            "连接被重置",
            "连接超时",
            "完成端口",
        ],
    ),
    ("commands", &["presence", "IDENT", "BEATFOR", "在线状态"]),
    ("your_server", &["own server", "own protocol", "audit", "doctor", "私有协议", "自定义协议"]),
];

/// As words are compared.
fn normal(word: &str) -> String {
    let kept = word.chars().filter(|c| !c.is_whitespace() && !matches!(c, '-' | '_'));
    kept.flat_map(char::to_lowercase).collect()
}

/// The page that a word leads to: its topic, or a word of [`ALIASES`].
pub fn page_for(word: &str) -> Option<&'static Page> {
    let word = normal(word);
    let is_it = |name: &str| normal(name) == word;
    let alias = || ALIASES.iter().find(|(_, words)| words.iter().any(|alias| is_it(alias)));
    PAGES.iter().find(|page| is_it(page.topic)).or_else(|| alias().and_then(|(topic, _)| page(topic)))
}

/// The topic of the page about what lies behind a reason.
pub const fn of_reason(reason: Reason) -> &'static str {
    match reason {
        Reason::PeerGoodbye | Reason::LocalKicked => "closing",
        Reason::PeerFin | Reason::PeerFinMidframe => "close_wait",
        Reason::PeerReset => "windows",
        Reason::PeerResetAfterFin => "half_close",
        Reason::PeerReplaced | Reason::LostKeepalive | Reason::LostUnreachable => "ghosts",
        Reason::LostUnacked | Reason::LostHeartbeat | Reason::StuckFrozen | Reason::StuckZeroWindow => {
            "heartbeats"
        }
        Reason::SlowBytes
        | Reason::SlowTime
        | Reason::ProtocolUnsupported
        | Reason::ProtocolHandshakeTimeout
        | Reason::LocalIdle => "endings",
        Reason::ProtocolMalformed | Reason::ProtocolOversized => "commands",
        Reason::PeerTruncated
        | Reason::ProtocolTls
        | Reason::ProtocolNoRoute
        | Reason::UpstreamTruncated
        | Reason::UpstreamTls => "tls",
        Reason::ProtocolAuth => "users",
        Reason::LocalDrain | Reason::LocalInternal => "operating",
        Reason::LocalLimit => "accept_queue",
        Reason::ProtocolProxyMissing
        | Reason::ProtocolProxyMalformed
        | Reason::ProtocolProxyUntrusted
        | Reason::ProtocolProxyTimeout
        | Reason::LocalAcceptRate
        | Reason::LocalSourceLimit
        | Reason::LocalSourceRate
        | Reason::LocalDenied
        | Reason::LocalMaxAge => "crowd",
        Reason::LocalAudit => "host",
        Reason::UpstreamFin
        | Reason::UpstreamReset
        | Reason::UpstreamRefused
        | Reason::UpstreamUnreachable
        | Reason::UpstreamConnectTimeout
        | Reason::UpstreamLost
        | Reason::UpstreamStuck
        | Reason::UpstreamUnavailable
        | Reason::UpstreamNoPorts => "gateway",
    }
}

/// The topic of the page about a means of detection.
pub const fn of_detector(detector: Detector) -> &'static str {
    match detector {
        Detector::ZeroRead => "close_wait",
        Detector::RecvError => "windows",
        Detector::SendError => "sigpipe",
        Detector::Readiness => "detection",
        Detector::TcpInfo => "ghosts",
        Detector::TcpKeepalive | Detector::UserTimeout | Detector::Heartbeat | Detector::HeartbeatChannel => {
            "heartbeats"
        }
        Detector::EofProbe | Detector::OobProbe => "half_close",
        Detector::Audit => "host",
        Detector::Timer | Detector::Protocol => "endings",
        Detector::Policy => "crowd",
        Detector::Client => "users",
        Detector::Operator => "operating",
        Detector::Connect | Detector::Partner => "gateway",
    }
}

/// The topic of the page about a way of closing.
pub const fn of_close(mode: CloseMode) -> &'static str {
    match mode {
        CloseMode::PeerFirst | CloseMode::PeerFirstAfterGoodbye | CloseMode::Linger2 | CloseMode::Reset => {
            "closing"
        }
        CloseMode::ProbeReset => "half_close",
        CloseMode::ForwardedFin => "time_wait",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_word_leads_to_one_page_that_is_there() {
        let mut seen = BTreeMap::new();
        for page in PAGES {
            assert_eq!(seen.insert(normal(page.topic), page.topic), None, "{}", page.topic);
        }
        for (topic, words) in ALIASES {
            for word in *words {
                assert_eq!(page_for(word).map(|page| page.topic), Some(*topic), "{word}");
                assert_eq!(seen.insert(normal(word), topic), None, "{word} is there twice");
            }
        }
        let phenomena = PAGES.iter().filter(|page| page.is_phenomenon());
        for page in phenomena {
            assert!(ALIASES.iter().any(|(topic, _)| *topic == page.topic), "nothing leads to {}", page.topic);
        }
    }

    #[test]
    fn a_word_is_found_however_it_is_written() {
        for (word, topic) in [
            ("TIME_WAIT", "time_wait"),
            ("time-wait", "time_wait"),
            ("Close Wait", "close_wait"),
            ("fin_wait_2", "fin_wait2"),
            ("wsaeconnreset", "windows"),
            ("10054", "windows"),
            ("Connection reset by peer", "windows"),
            ("心跳", "heartbeats"),
            ("断开", "ghosts"),
            ("closing", "closing"),
        ] {
            assert_eq!(page_for(word).map(|page| page.topic), Some(topic), "{word}");
        }
        assert_eq!(page_for("wait"), None);
        assert_eq!(page_for(""), None);
    }

    #[test]
    fn every_word_of_a_record_names_a_page_that_is_there() {
        let reasons = Reason::ALL.iter().map(|&reason| of_reason(reason));
        let detectors = Detector::ALL.iter().map(|&detector| of_detector(detector));
        let modes = CloseMode::ALL.iter().map(|&mode| of_close(mode));
        for topic in reasons.chain(detectors).chain(modes) {
            assert!(page(topic).is_some(), "{topic}");
        }
    }
}
