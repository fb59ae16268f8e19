//! The meanings in Simplified Chinese. Names of settings, reasons, fields and kernel terms are as in English.

use super::{Meaning, meaning};
use crate::core::end::{CloseMode, Detector, Reason};

/// What a reason means.
#[expect(clippy::too_many_lines, reason = "one entry for each reason, in their order")]
pub(super) const fn of(reason: Reason) -> Meaning {
    match reason {
        Reason::PeerGoodbye => meaning(
            "按协议告别，然后关闭了连接。",
            "正常结束：客户端被要求停止，或者事情已经做完。resp 客户端用 QUIT 告别。",
            "无需处理。",
        ),
        Reason::PeerFin => meaning(
            "没有告别就关闭了连接。",
            "程序退出或被杀：由内核替它关闭。也可能是被手机系统停掉的应用，或者从不告别的客户端。",
            "如果程序本来就该退出，无需处理。否则查看它自己在那一时刻的日志。关闭前发送 QUIT（resp）的客户端会记为 peer.goodbye。",
        ),
        Reason::PeerFinMidframe => meaning(
            "一条消息没有发完就关闭了连接。",
            "程序在发送时崩溃或被杀，或者客户端把一条消息分几次写出。",
            "查看客户端在那一时刻的日志。没有发完的那条消息没有执行。",
        ),
        Reason::PeerTruncated => meaning(
            "关闭 TLS 连接时没有发 close_notify，它发来的数据可能被截断。",
            "程序被杀，或者客户端只关闭 socket，不关闭 TLS。",
            "如果协议自己标明消息在哪里结束，无需处理。否则让客户端发送 close_notify。",
        ),
        Reason::PeerReset => meaning(
            "重置了连接。",
            "程序结束时还有未读数据；主机重启后应答了旧连接；或者 NAT、防火墙忘记了连接。",
            "如果发生在长时间沉默之后，让心跳间隔小于 NAT 忘记连接的时间（heartbeat、keepalive.idle）。否则查看客户端的日志。",
        ),
        Reason::PeerResetAfterFin => meaning(
            "先关闭，又在还有数据发往它的时候重置了连接。",
            "服务器还在向它发送，它的程序就结束了。",
            "最后发送的数据没有送达。如果这些数据重要，客户端必须先读完再关闭。",
        ),
        Reason::PeerReplaced => meaning(
            "被取代：同一身份从另一条连接回来了。",
            "设备重启，或者换了网络。如果每隔几秒就发生一次，说明两个客户端在用同一个身份。",
            "如果反复发生，给每个客户端各自的身份；by_peer 说明新连接来自哪里。",
        ),
        Reason::LostKeepalive => meaning(
            "失联：它的主机没有应答 TCP keepalive，当时没有在途数据。",
            "主机断电或断网，或者 NAT、防火墙不声不响地丢弃这条连接的报文。",
            "如果主机当时关机，无需处理。如果开着，让连接的使用间隔小于网络忘记它的时间。",
        ),
        Reason::LostUnacked => meaning(
            "失联：发给它的数据多次重传，始终没有被确认。",
            "服务器正在发送时网络断开，或者网络丢包极多。",
            "检查到它主机的网络路径（mtr、ss -ti）。user_timeout 设定内核尝试多久。",
        ),
        Reason::LostUnreachable => meaning(
            "失联：网络报告它的主机不可达。",
            "路由没了，网络接口 down 了，或者主机已关机，由路由器代为应答。",
            "检查本机的路由和网络接口，以及应答的路由器（ip route get ADDRESS）。",
        ),
        Reason::LostHeartbeat => meaning(
            "失联：心跳没有按时到达，它的主机也没有任何动静。",
            "主机断电、断网或休眠；或者 NAT 忘记了连接。",
            "如果主机一切正常，把它的心跳间隔与 heartbeat.timeout、heartbeat.grace 比较：超时小于三个心跳间隔，\
             或小于该网络常见的中断时间，会断开健康的客户端。",
        ),
        Reason::StuckFrozen => meaning(
            "卡死：心跳没有按时到达，但它的主机仍在确认。",
            "程序卡死、被暂停或正在调试，手机应用处于后台，或者它是代理，而代理自己的客户端已经不在。",
            "要查的是程序，不是网络：那一时刻它在做什么？程序里如果有看门狗（watchdog），早就结束它了。",
        ),
        Reason::StuckZeroWindow => meaning(
            "卡死：它的接收窗口一直为零，但它的主机仍在确认。",
            "程序卡死，服务器向它发送，它却不读。",
            "要查的是程序：它没有读数据。发给它的数据留在它的内核里，已经丢失。",
        ),
        Reason::SlowBytes => meaning(
            "读得太慢：等着发给它的输出超过了上限。",
            "订阅者跟不上发布的速度，或者链路带宽不够。",
            "少向它发布，或者在主机内存允许时调高 output_max。",
        ),
        Reason::SlowTime => meaning(
            "读得太慢：发给它的输出太久没有进展。",
            "程序不读数据，或者链路几乎传不动。",
            "查看客户端：它忙的时候还读数据吗？slow_time 设定这个时间。",
        ),
        Reason::ProtocolMalformed => meaning(
            "发来了协议不允许的内容。",
            "使用其他协议的客户端、扫描器，或者客户端有 bug。能认出是什么协议时，'spoke' 会说明。",
            "检查客户端用的端口是否正确。加上 --log linger=debug，日志会说明错在哪里。",
        ),
        Reason::ProtocolOversized => meaning(
            "发来的消息超过了长度上限。",
            "客户端发送很大的负载，或者客户端使用其他协议，它的字节被当成了长度。",
            "如果确实要发送这样的消息，调高 frame_max。",
        ),
        Reason::ProtocolUnsupported => meaning(
            "请求了这里不提供的东西。",
            "使用其他协议（TLS、HTTP、MQTT、SSH……）的客户端连到了这个端口；'spoke' 说明是哪一种。",
            "改用该协议的监听端口，或者在前面放一个这样的监听。",
        ),
        Reason::ProtocolHandshakeTimeout => meaning(
            "没有按时完成开头的握手。",
            "只连接、不说话的端口扫描或健康检查；也可能是设备还没说第一句话，程序就卡死了，或者断了网。",
            "如果是扫描或健康检查，无需处理。如果是自己的设备，查看它的程序和网络在那一时刻的情况。handshake_timeout 设定这个时间。",
        ),
        Reason::ProtocolTls => meaning(
            "在 TLS 上失败。",
            "证书不被对方信任，客户端没有证书，或者双方没有共同支持的选项。'alert' 说明是哪一种，以及是谁拒绝的。",
            "'linger explain tls --lang zh' 逐一说明这些 alert。",
        ),
        Reason::ProtocolNoRoute => meaning(
            "在 TLS 中请求的名称或协议没有对应的路由。",
            "客户端使用了旧的或错误的主机名；'sni' 和 'alpn' 说明它请求了什么。",
            "为它添加一条路由，或者为其余的请求指定一个服务器（'linger explain tls --lang zh'）。",
        ),
        Reason::ProtocolAuth => meaning(
            "没能登录。",
            "密码错误，或者有人在反复试密码。",
            "日志里的 log_in_failed 有用户和地址（'linger explain users --lang zh'）。",
        ),
        Reason::ProtocolProxyMissing => meaning(
            "没有先发来监听所要求的 PROXY 协议头。",
            "客户端绕过了负载均衡器，或者负载均衡器没有设置为发送协议头。",
            "在负载均衡器上打开它（send-proxy），或者只允许负载均衡器访问这个端口。",
        ),
        Reason::ProtocolProxyMalformed => meaning(
            "开头的 PROXY 协议头无法解析。",
            "负载均衡器发送的版本有错误，或者是未知的版本。",
            "对照 PROXY 协议的第 1 版和第 2 版，检查它的版本和设置。",
        ),
        Reason::ProtocolProxyUntrusted => meaning(
            "来自不允许发送 PROXY 协议头的地址。",
            "客户端绕过了负载均衡器，或者负载均衡器换了地址。",
            "如果是负载均衡器，把它的网络加入 accept_proxy_trusted。",
        ),
        Reason::ProtocolProxyTimeout => meaning(
            "没有按时发来 PROXY 协议头。",
            "只连接、不说话的健康检查，或者客户端绕过了负载均衡器。",
            "如果是健康检查，无需处理。accept_proxy_timeout 设定这个时间。",
        ),
        Reason::LocalIdle => meaning(
            "还活着，但太久没有使用连接。",
            "客户端保留着一条它不需要的连接。",
            "如果它需要时会再连上来，无需处理。idle_timeout 设定这个时间；心跳不算使用。",
        ),
        Reason::LocalKicked => meaning(
            "被有意断开：运维断开的，另一个客户端断开的，或者它的用户被删除或受到限制。",
            "POST /connections/{key}/end，或 CLIENT KILL：by_peer 说明是谁。检测手段是 policy 时，是重新加载用户引起的。",
            "问清楚是谁做的，或者把用户文件与之前的比较。",
        ),
        Reason::LocalDrain => meaning(
            "因为服务器退出，或网关的上游服务器退出，而被断开。",
            "重启，或者某个服务器被移出了配置。",
            "无需处理：客户端应当重新连接，连到别的服务器或新启动的服务器。",
        ),
        Reason::LocalLimit => meaning(
            "到来时服务器已满。",
            "客户端多于 max_connections 或 RLIMIT_NOFILE 允许的数量。",
            "调高 max_connections 和 RLIMIT_NOFILE，或者运行更多的服务器（'linger doctor'）。",
        ),
        Reason::LocalAcceptRate => meaning(
            "到来时，它的监听在那一秒接受的连接已达上限。",
            "所有客户端同时回来，例如重启之后。",
            "让客户端随机等待一段时间再重连，或者调高 accept_rate。",
        ),
        Reason::LocalSourceLimit => meaning(
            "所属来源的连接数已达上限。",
            "一台主机打开了非常多的连接，或者一个 NAT 后面有很多客户端。",
            "如果是一个 NAT 后面的很多客户端，调高 source.max_connections。",
        ),
        Reason::LocalSourceRate => meaning(
            "所属来源在那一秒的新连接数已达上限。",
            "某个客户端在不停地重连，或者一个 NAT 后面有很多客户端。",
            "如果是一个客户端，查明它为什么失败；如果是很多客户端，调高 source.accept_rate。",
        ),
        Reason::LocalDenied => meaning(
            "来自不允许的网络。",
            "扫描器，或者客户端所在的网络没有写进 allow 和 deny。",
            "如果是自己的客户端，把它的网络加入 allow。",
        ),
        Reason::LocalMaxAge => meaning(
            "的连接达到了允许的最长时间。",
            "设置项 max_age，它让客户端重新分布到各个服务器。",
            "无需处理：客户端应当重新连接。",
        ),
        Reason::LocalAudit => meaning(
            "早已断开，只有对内核 socket 表的审计才发现。",
            "内核放弃了这条连接，而当时没有发送数据，也没有任何手段在监视它。",
            "为它的监听打开 keepalive 或心跳。如果两者都已打开，请报告：这不应该发生。",
        ),
        Reason::LocalInternal => meaning(
            "因为服务器或系统的错误而被断开。",
            "系统的内存或描述符用尽，或者服务器有缺陷。",
            "查看那一时刻的日志，并报告日志的内容。",
        ),
        Reason::UpstreamFin => meaning(
            "被断开，因为上游服务器关闭了连接。",
            "服务器按自己的规则断开客户端，或者重启了。",
            "查看那个服务器在那一时刻的日志。",
        ),
        Reason::UpstreamTruncated => meaning(
            "被断开，因为上游服务器关闭 TLS 时没有发 close_notify。",
            "服务器被杀，或者它不关闭 TLS。",
            "查看那个服务器在那一时刻的日志。它发来的数据可能被截断。",
        ),
        Reason::UpstreamReset => meaning(
            "被断开，因为上游服务器重置了连接。",
            "服务器崩溃，或者关闭时还有未读数据。",
            "查看那个服务器在那一时刻的日志。",
        ),
        Reason::UpstreamRefused => meaning(
            "没有可用的服务器：上游地址上没有程序在监听。",
            "服务器没有运行，或者在别处监听。",
            "启动它，或者改正它的地址（'linger upstreams'）。",
        ),
        Reason::UpstreamUnreachable => meaning(
            "没有可用的服务器：网络报告上游不可达。",
            "路由没了，或者防火墙拒绝。",
            "检查从本机到该服务器的路径（ip route get ADDRESS）。",
        ),
        Reason::UpstreamConnectTimeout => meaning(
            "没有可用的服务器：上游没有按时应答 connect。",
            "主机关机，防火墙丢弃报文，或者 accept 队列已满。",
            "检查主机和它的 accept 队列（ss -ltn）。connect_timeout 设定这个时间。",
        ),
        Reason::UpstreamLost => meaning(
            "被断开，因为上游服务器的主机不再应答。",
            "主机断电或断网，或者中间的防火墙忘记了连接。",
            "检查那台主机，以及中间的设备。",
        ),
        Reason::UpstreamTls => meaning(
            "被断开，因为与上游服务器的 TLS 失败。",
            "证书不受信任，或者与名称不符。",
            "'alert' 说明是哪一种，以及是谁拒绝的（'linger explain tls --lang zh'）。",
        ),
        Reason::UpstreamStuck => meaning(
            "被断开，因为上游服务器不读发给它的数据。",
            "服务器卡死或过载。",
            "查看那个服务器：那一时刻它在做什么？",
        ),
        Reason::UpstreamUnavailable => meaning(
            "没有可用的服务器：没有一个可以尝试，或者服务器的 accept 队列已满。",
            "所有服务器都已停机、被摘除或已满。",
            "'linger upstreams' 说明每个服务器的状态。",
        ),
        Reason::UpstreamNoPorts => meaning(
            "没有可用的服务器：本机已没有连接它所需的源端口。",
            "到一个服务器的同一个地址有数万条连接。",
            "给服务器更多的地址或端口，或者给网关更多的源地址（'linger explain gateway --lang zh'）。",
        ),
    }
}

/// How a detector noticed an ending, as a whole sentence.
pub(super) const fn noticed(detector: Detector) -> &'static str {
    match detector {
        Detector::ZeroRead => "立即发现：recv 返回 0。",
        Detector::RecvError => "立即发现：recv 失败。",
        Detector::SendError => "发送时发现：send 失败。",
        Detector::Readiness => "暂停读取时，由 epoll 报告。",
        Detector::TcpInfo => "暂停读取时，由 TCP_INFO 看出。",
        Detector::TcpKeepalive => "由内核的 keepalive 发现。",
        Detector::UserTimeout => "内核放弃了发送：超过了重传次数的限制或 TCP_USER_TIMEOUT。",
        Detector::Heartbeat => "心跳超时，宽限期也已过。",
        Detector::HeartbeatChannel => "为它发心跳的连接已结束，宽限期也已过。",
        Detector::EofProbe => "它用 RST 应答了在它的 EOF 之后发送的数据。",
        Detector::OobProbe => "带外字节没有得到应答，或者得到的是 RST。",
        Detector::Audit => "由对内核 socket 表的审计发现。",
        Detector::Timer => "服务器设定的期限已过。",
        Detector::Protocol => "从协议的内容得知。",
        Detector::Policy => "由服务器的限制或决定引起。",
        Detector::Client => "由另一个客户端提出。",
        Detector::Operator => "由运维通过管理接口提出。",
        Detector::Connect => "从 connect 的结果得知。",
        Detector::Partner => "与它成对的另一条连接已结束。",
    }
}

/// How a socket was closed and what that leaves, as a whole sentence.
pub(super) const fn closed(mode: CloseMode) -> &'static str {
    match mode {
        CloseMode::PeerFirst => "对端先关闭：本机什么也不留。",
        CloseMode::PeerFirstAfterGoodbye => "告别之后，客户端先关闭：本机什么也不留。",
        CloseMode::Linger2 => "本端先关闭，设了 TCP_LINGER2 = -1：已排队的输出照常送达，不留下 TIME_WAIT。",
        CloseMode::Reset => "用 RST 关闭（重置）：本机什么也不留。",
        CloseMode::ProbeReset => "EOF 之后的探测得到的应答是 RST：两边都没有 TIME_WAIT。",
        CloseMode::ForwardedFin => "本端转发过 FIN，好让另一个方向继续存活：先发 FIN 的一方留有 TIME_WAIT。",
    }
}
