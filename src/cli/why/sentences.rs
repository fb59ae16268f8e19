//! What `linger why` says, in both languages. A function has a fact of an ending in all of them, so that neither lacks one.

use super::super::admin::span_of;
use super::{count, list, text};
use crate::core::end::{CloseMode, Detector, Reason};
use crate::core::time::Duration;
use crate::core::units::{bytes, plural, span, thousands};
use crate::guide::Language::{self, Chinese, English};
use crate::guide::meaning::{self, Meaning};
use serde_json::Value;
use std::fmt::Write as _;

/// A connection that is there.
pub(super) fn connected(row: &Value, language: Language) -> String {
    let [key, listener, peer, state] = ["key", "listener", "peer", "state"].map(|field| text(row, field));
    let [age, silence] = ["age_s", "silence_s"].map(|field| span_of(&row[field]));
    match language {
        English => format!(
            "Connected now: {key} on listener {listener} from {peer}, {state}, connected for {age}; last heard from \
             {silence} ago."
        ),
        Chinese => format!(
            "现在连着：{key}，监听 {listener}，来自 {peer}，{state}，已连接 {age}；最近一次动静在 {silence} 前。"
        ),
    }
}

/// Since when a connection is suspect, and what was reported of it; `verdict` is empty where nothing was.
pub(super) fn suspect(time: &str, verdict: &str, language: Language) -> String {
    match (language, verdict) {
        (English, "") => {
            format!("It has been suspect for {time}: there is no verdict on its silence yet.")
        }
        (English, _) => format!(
            "It has been suspect for {time}: the verdict {verdict} was reported, and the connection is kept because \
             heartbeat.verdict = \"report\" ('linger explain {verdict}')."
        ),
        (Chinese, "") => format!("它已经 suspect {time}：对它的沉默还没有结论。"),
        (Chinese, _) => format!(
            "它已经 suspect {time}：报告过结论 {verdict}，而连接予以保留，因为 heartbeat.verdict = \"report\"\
             （'linger explain {verdict} --lang zh'）。"
        ),
    }
}

pub(super) const fn no_heartbeat(language: Language) -> &'static str {
    match language {
        English => {
            "It is asked for no heartbeat of its own, without which nobody notices that its program hangs ('linger explain \
             heartbeats')."
        }
        Chinese => {
            "没有要求它发心跳；没有心跳，它的程序卡死就没有人发现（'linger explain heartbeats --lang zh'）。"
        }
    }
}

pub(super) const fn others(language: Language) -> &'static str {
    match language {
        English => "And others; GET /connections lists them.",
        Chinese => "还有其他的；GET /connections 列出全部。",
    }
}

/// What a reason usually means, and what to do.
pub(super) fn advice(reason: Reason, language: Language) -> String {
    let Meaning { usually, advice, .. } = meaning::of(reason, language);
    match language {
        English => format!("{reason} usually means: {usually}\nWhat to do: {advice}"),
        Chinese => format!("{reason} 的常见原因：{usually}\n怎么办：{advice}"),
    }
}

/// What an ending is told under.
pub(super) fn heading(row: &Value, language: Language) -> String {
    let when = text(row, "time").split('.').next().unwrap_or_default().replace('T', " ");
    let when = (!when.is_empty()).then(|| format!("{when} UTC"));
    // An event is told as it happens.
    let ago = row.get("ago_s").map(|_| match language {
        English => format!("{} ago", span_of(&row["ago_s"])),
        Chinese => format!("{} 前", span_of(&row["ago_s"])),
    });
    let when: Vec<_> = when.into_iter().chain(ago).collect();
    match language {
        English => format!("{}: {}", when.join(", "), text(row, "reason")),
        Chinese => format!("{}：{}", when.join("，"), text(row, "reason")),
    }
}

/// What happened.
pub(super) fn what(row: &Value, language: Language) -> Option<String> {
    let what = meaning::of(reason_of(row)?, language).what;
    Some(match language {
        English => format!("{} {what}", subject(row, language)),
        Chinese => format!("{}{what}", subject(row, language)),
    })
}

pub(super) fn reason_of(row: &Value) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|reason| reason.name() == text(row, "reason"))
}

/// Who has left.
fn subject(row: &Value, language: Language) -> String {
    let said = match (text(row, "leg"), text(row, "identity")) {
        // The leg to the server was ended for what its client did.
        ("upstream", _) if !text(row, "reason").starts_with("upstream.") => ["Its client", "它的客户端"],
        ("upstream", _) => ["The connection to the server", "到服务器的连接"],
        (_, "") => ["The client", "客户端"],
        (_, identity) => {
            return if language == English { identity.to_owned() } else { format!("{identity} ") };
        }
    };
    said[usize::from(language == Chinese)].to_owned()
}

/// Which connection it was.
pub(super) fn whose(row: &Value, language: Language) -> String {
    let [key, listener, peer, pair] = ["key", "listener", "peer", "pair"].map(|field| text(row, field));
    let stayed = span_of(&row["age_s"]);
    match (language, text(row, "leg")) {
        (English, "upstream") => format!(
            "The connection to the server was made to {peer} for client {pair} of listener {listener}, as {key}, and stayed \
             {stayed}."
        ),
        (Chinese, "upstream") => format!(
            "这条到服务器的连接是 {key}，为监听 {listener} 的客户端 {pair} 连到 {peer}，持续了 {stayed}。"
        ),
        (English, _) => {
            format!("It was {key} on listener {listener}, came from {peer}, and stayed {stayed}.")
        }
        (Chinese, _) => format!("连接 {key}，监听 {listener}，来自 {peer}，持续了 {stayed}。"),
    }
}

/// The other side of a pair, and for what that was ended.
pub(super) fn other_side(row: &Value, language: Language) -> String {
    let [key, peer, reason, identity] = ["key", "peer", "reason", "identity"].map(|field| text(row, field));
    match (language, text(row, "leg")) {
        (English, "upstream") => format!("Its server's side: {key} to {peer} ended with {reason}."),
        (Chinese, "upstream") => format!("它的服务器一侧：{key}，连到 {peer}，以 {reason} 结束。"),
        (English, _) => {
            let identity =
                if identity.is_empty() { String::new() } else { format!(", identity {identity},") };
            format!("Its client's side: {key} from {peer}{identity} ended with {reason}.")
        }
        (Chinese, _) => {
            let identity = if identity.is_empty() { String::new() } else { format!("身份 {identity}，") };
            format!("它的客户端一侧：{key}，来自 {peer}，{identity}以 {reason} 结束。")
        }
    }
}

/// How a connection went, as far as its record says: what it sent, how its end was noticed, what the kernel knew, how it was
/// closed.
pub(super) fn account(row: &Value, language: Language) -> Vec<String> {
    let detector = Detector::ALL.iter().find(|known| known.name() == text(row, "detector"));
    let close = CloseMode::ALL.iter().find(|known| known.name() == text(row, "close"));
    let mut sentences = vec![traffic(row, language)];
    sentences.extend(is_mute(row).then(|| mute(language).to_owned()));
    sentences.extend(detector.map(|&detector| meaning::noticed(detector, language).to_owned()));
    sentences.extend(evidence(row, language));
    sentences.extend(close.map(|&close| meaning::closed(close, language).to_owned()));
    sentences
}

/// Whether a client was ended for its silence that had never said a word.
fn is_mute(row: &Value) -> bool {
    let is_for_silence = matches!(
        reason_of(row),
        Some(Reason::ProtocolHandshakeTimeout | Reason::StuckFrozen | Reason::LostHeartbeat)
    );
    is_for_silence && text(row, "leg") != "upstream" && row["bytes_in"] == 0
}

const fn mute(language: Language) -> &'static str {
    match language {
        English => {
            "It never said a word: a port scan or a check of health does so, and so does a device that hung before its first one."
        }
        Chinese => "它从未发来任何数据：端口扫描和健康检查是这样，还没说第一句话就卡死的设备也是这样。",
    }
}

fn size(number: u64, language: Language) -> String {
    match (language, number) {
        (Chinese, ..1024) => format!("{number} 字节"),
        (English | Chinese, _) => bytes(number),
    }
}

fn traffic(row: &Value, language: Language) -> String {
    let amount = |of: &str, messages: &str| {
        let (size, number) = (size(count(row, of), language), count(row, messages));
        match (language, number) {
            (English | Chinese, 0) => size,
            (English, _) => {
                format!("{size} in {} {}", thousands(number), plural(number, "message", "messages"))
            }
            (Chinese, _) => format!("{size}（{} 条消息）", thousands(number)),
        }
    };
    let silence = span_of(&row["silence_s"]);
    let [received, sent] = [amount("bytes_in", "messages_in"), amount("bytes_out", "messages_out")];
    let unsent = count(row, "unsent_bytes");
    let lost = size(unsent, language);
    match (language, unsent) {
        (English, 0) => {
            format!("It was silent for {silence}. {received} were received from it, and {sent} sent to it.")
        }
        (English, _) => format!(
            "It was silent for {silence}. {received} were received from it, and {sent} sent to it; {lost} were not \
             delivered."
        ),
        (Chinese, 0) => format!("沉默了 {silence}。收到它 {received}，发给它 {sent}。"),
        (Chinese, _) => format!("沉默了 {silence}。收到它 {received}，发给它 {sent}；{lost}没有送达。"),
    }
}

/// What is known beyond that.
fn evidence(row: &Value, language: Language) -> Vec<String> {
    let mut sentences = Vec::new();
    if !text(row, "tcp_state").is_empty() {
        sentences.push(kernel(row, language));
    }
    let [key, peer, identity] = ["by_key", "by_peer", "by_identity"].map(|field| text(row, field));
    if !peer.is_empty() {
        sentences.push(match (language, identity) {
            (English, "") => format!("{key} from {peer} brought it about."),
            (English, _) => format!("{key} from {peer}, with identity {identity} brought it about."),
            (Chinese, "") => format!("由来自 {peer} 的 {key} 引起。"),
            (Chinese, _) => format!("由来自 {peer} 的 {key} 引起，它的身份是 {identity}。"),
        });
    }
    for (field, english, chinese) in [
        ("user", "It had logged in as", "登录的用户："),
        ("spoke", "It spoke", "它说的是："),
        ("alert", "The alert of TLS, and whose it was:", "TLS 的 alert，以及是谁发的："),
        ("sni", "It asked for the server name", "它请求的服务器名称："),
        ("alpn", "It asked for the protocol", "它请求的协议："),
        ("proxy", "It came through the proxy", "经过的代理："),
    ] {
        let value = text(row, field);
        if !value.is_empty() {
            sentences.push(match language {
                English => format!("{english} {value}."),
                Chinese => format!("{chinese}{value}。"),
            });
        }
    }
    sentences
}

/// What the kernel knew of a connection.
fn kernel(row: &Value, language: Language) -> String {
    let millis = |field: &str| span(Duration::from_millis(count(row, field)));
    let [ack, data] = ["last_ack_recv_ms", "last_data_recv_ms"].map(millis);
    let [unacked, retransmits, probes] = ["unacked", "retransmits", "probes"].map(|field| count(row, field));
    let (state, window) = (text(row, "tcp_state"), size(count(row, "snd_wnd"), language));
    match language {
        English => format!(
            "The kernel said: {state}, {unacked} {} sent and not acknowledged, {retransmits} retransmissions and {probes} \
             probes without an answer; it last had an acknowledgement {ack} and data {data} before; the peer's window was \
             {window}.",
            plural(unacked, "segment", "segments")
        ),
        Chinese => format!(
            "内核的情况：{state}，{unacked} 个报文段已发送而未被确认，{retransmits} 次重传和 {probes} 次探测没有应答；上一次收到确认是 \
             {ack} 前，收到数据是 {data} 前；对端的窗口是 {window}。"
        ),
    }
}

/// That nothing was found: whose endings were asked for, and which of them.
pub(super) fn none_found(
    target: Option<(&str, &str)>,
    last: Option<&str>,
    reason: Option<&str>,
    language: Language,
) -> String {
    match language {
        English => {
            let whose = target.map(|(what, target)| format!(" of the {what} {target}")).unwrap_or_default();
            let within = last.map(|last| format!(" within {last}")).unwrap_or_default();
            let why = reason.map(|why| format!(" for {why}")).unwrap_or_default();
            format!("No ending{whose} is known{within}{why}.")
        }
        Chinese => {
            let what = |what| match what {
                "identity" => "身份",
                "address" => "地址",
                _ => "连接",
            };
            let whose =
                target.map(|(kind, target)| format!("{} {target} 的", what(kind))).unwrap_or_default();
            let within = last.map(|last| format!("，时间在 {last} 之内")).unwrap_or_default();
            let why = reason.map(|why| format!("，原因为 {why}")).unwrap_or_default();
            format!("没有{whose}结束记录{within}{why}。")
        }
    }
}

/// That more may be found.
pub(super) fn more(limit: u32, language: Language) -> String {
    match language {
        English => format!("There may be more: --limit tells of more than {limit}."),
        Chinese => format!("可能还有更多：用 --limit 可以看到 {limit} 次以上。"),
    }
}

/// How far back the answer reaches.
pub(super) fn reach(ends: &Value, language: Language) -> String {
    let silent = list(&ends["unanswered_workers"]);
    if count(ends, "history_bytes") == 0 && silent.is_empty() {
        return match language {
            English => "The server keeps no endings: server.history is \"off\".\n".to_owned(),
            Chinese => "服务器不保存结束的记录：server.history 是 \"off\"。\n".to_owned(),
        };
    }
    let (kept, dropped) = (count(ends, "kept"), count(ends, "dropped"));
    let (last, older, back) = (thousands(kept), thousands(dropped), span_of(&ends["reach_s"]));
    let reached = match language {
        English => {
            let endings = plural(kept, "ending", "endings");
            format!("The server has the last {last} {endings} of all its clients, and reaches back {back}")
        }
        Chinese => format!("服务器有所有客户端最近的 {last} 次结束，可追溯 {back}"),
    };
    // Each of several workers was started by itself, and what one knew that has ended is gone.
    let is_all = ends["from_start"] == true && ends["unanswered_workers"].is_null();
    let mut out = match (language, dropped) {
        (English, 0) if is_all => format!("{reached}, to its start.\n"),
        (Chinese, 0) if is_all => format!("{reached}，直到它启动时。\n"),
        (English, 0) => format!("{reached}.\n"),
        (Chinese, 0) => format!("{reached}。\n"),
        (English, _) => format!("{reached}; {older} older made way (server.history sets the memory).\n"),
        (Chinese, _) => format!("{reached}；更早的 {older} 次已经让位（内存由 server.history 设定）。\n"),
    };
    for worker in silent {
        let _ = match language {
            English => writeln!(out, "Worker {worker} does not answer: its endings are missing."),
            Chinese => writeln!(out, "worker {worker} 没有应答：缺少它的结束记录。"),
        };
    }
    out
}
