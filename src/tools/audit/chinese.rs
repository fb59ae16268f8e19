//! What is found in somebody's server, in Simplified Chinese: in a sentence without its figures, and what to do.
//! `linger explain` prints it. [`explain`](super::explain) has the English. Pure.

use crate::observe::audit::Anomaly;

/// What a finding is.
pub const fn what(anomaly: Anomaly) -> &'static str {
    match anomaly {
        Anomaly::QueueFull => "accept 队列已满：新的客户端被拒之门外",
        Anomaly::QueuedLong => "已经连上，却没有程序 accept 它",
        Anomaly::QueuedGhost => "还没有程序 accept 它，客户端就已经离开",
        Anomaly::Missing => "服务器以为它还在，内核里却没有这条连接",
        Anomaly::Unknown => "有程序持有它，但不是被询问的那个程序",
        Anomaly::CloseWait => "对端已关闭，程序没有关闭：描述符泄漏",
        Anomaly::Unread => "输入已到达，程序却不读",
        Anomaly::Unacknowledged => "输出在反复重传：对端主机已经不在",
        Anomaly::ZeroWindow => "输出在等待：对端的程序不读数据",
        Anomaly::Orphan => "程序已关闭，它的输出无法送达",
        Anomaly::FinWait2 => "程序已结束自己这一边，对端却不关闭",
        Anomaly::TimeWait => "服务器先关闭（--time-waits）",
        Anomaly::Unwatched => "空闲（--idle），而且没有定时器：对端主机不在了，也没有任何机制会发现",
        Anomaly::LateKeepalive => "空闲（--idle），而且第一次 keepalive 探测还要等很久（--late-keepalive）",
        Anomaly::SynRecv => "客户端没有完成的握手（--handshakes）",
    }
}

/// What to do about it.
pub const fn advice(anomaly: Anomaly) -> &'static str {
    match anomaly {
        Anomaly::QueueFull => {
            "找出程序为什么不 accept：描述符用尽、阻塞在某个客户端的工作上、被暂停。如果只是突发，用更大的 backlog 调用 listen，\
             同时调高 net.core.somaxconn。"
        }
        Anomaly::QueuedLong => {
            "找出程序为什么不 accept：描述符用尽（ulimit -n）、阻塞在某个客户端的工作上、被暂停，或者在等一个已经过去的边沿。"
        }
        Anomaly::QueuedGhost => "尽早 accept；先读后写，这样先看到的是 EOF。",
        Anomaly::Missing => "请报告：程序漏掉了一次断开。",
        Anomaly::Unknown => "找出是谁持有它：继承了描述符的子进程，或者另一个服务器。",
        Anomaly::CloseWait => {
            "read 返回 0 就关闭，每条路径都要做到，出错的路径也一样；等待别的事时也要继续读，否则看不到 EOF。"
        }
        Anomaly::Unread => {
            "找出程序在等什么：卡住的线程、暂停后没有恢复的读取、epoll 边沿触发没有读到底。如果是有意不读，给它设一个时间上限。"
        }
        Anomaly::Unacknowledged => "把 TCP_USER_TIMEOUT 设为愿意等待的时间：到时内核就放弃，并通知程序。",
        Anomaly::ZeroWindow => {
            "对等着发给同一客户端的输出，按字节数和时间设上限，超过就断开；TCP_USER_TIMEOUT 也能结束它。"
        }
        Anomaly::Orphan => {
            "没有什么需要释放。如果越积越多：TCP_USER_TIMEOUT 能缩短它；close 之前设 SO_LINGER {1,0}，不可达的对端就什么也不会留下。"
        }
        Anomaly::FinWait2 => {
            "给不关闭的对端一个期限，到期就 close；在 close 之前设 TCP_LINGER2 = -1，就不留下任何等待。"
        }
        Anomaly::TimeWait => {
            "协议里能约定的话，让客户端先关闭；或者在 close 之前设 TCP_LINGER2 = -1（设在监听 socket 上，由所有连接继承）。少量的无害。"
        }
        Anomaly::Unwatched => {
            "设 SO_KEEPALIVE，以及 TCP_KEEPIDLE、TCP_KEEPINTVL 和 TCP_KEEPCNT（设在监听 socket 上，由所有连接继承），\
             或者要求客户端发心跳。程序内部的超时从这里看不到。"
        }
        Anomaly::LateKeepalive => {
            "设 TCP_KEEPIDLE、TCP_KEEPINTVL 和 TCP_KEEPCNT，总共几分钟（设在监听 socket 上，由所有连接继承）。\
             只设 SO_KEEPALIVE 要等 net.ipv4.tcp_keepalive_time，即两小时；NAT 忘得更早。"
        }
        Anomaly::SynRecv => {
            "如果 accept 队列已满，先解决它。否则查看发送方是否真实，以及 net.ipv4.tcp_syncookies 是否为 1。"
        }
    }
}
