//! Which module may know which.

/// A module of the crate, the modules it may name, and whether it is pure: knows no
/// descriptor, no socket, no clock, no mio. From the bottom up: an arrow never points down.
pub(super) struct Layer {
    pub(super) module: &'static str,
    pub(super) knows: &'static [&'static str],
    pub(super) pure: bool,
}

const fn layer(module: &'static str, pure: bool, knows: &'static [&'static str]) -> Layer {
    Layer { module, knows, pure }
}

const PURE: bool = true;
const IMPURE: bool = false;

pub(super) const LAYERS: &[Layer] = &[
    layer("core::time", PURE, &[]),
    layer("core::units", PURE, &["core::time"]),
    layer("core::setting", PURE, &["core::time"]),
    layer("core::named", PURE, &[]),
    layer("core::escape", PURE, &[]),
    layer("core::health", PURE, &["core::named", "core::time"]),
    layer("core::tcp", PURE, &["core::named", "core::time"]),
    layer("core::buf", PURE, &[]),
    layer("core::table", PURE, &[]),
    layer("core::end", PURE, &["core::time", "core::named", "core::table", "core::tcp"]),
    layer("core::timer", PURE, &["core::time"]),
    layer("core::conn", PURE, &["core::tcp", "core::time", "core::end", "core::timer"]),
    // The kernel as the reactor sees it: traits, and the plain data that goes through them.
    layer("net", PURE, &["core::tcp", "core::time", "core::end", "core::table", "core::timer"]),
    layer("hub", PURE, &["core::table", "net"]),
    // Bytes, and what they ask of the hub: not how it is done, nor how any of it is set.
    layer(
        "protocol",
        PURE,
        &[
            "core::setting",
            "core::escape",
            "core::units",
            "core::health",
            "core::tcp",
            "core::time",
            "core::end",
            "hub",
        ],
    ),
    // What lies between a socket and a session: it sees neither.
    layer("transport", PURE, &["core::buf", "net", "protocol"]),
    // Settings are plain data; what reads them from files is only called from the edges. It learns from the registry of
    // protocols what can be set.
    layer("config", PURE, &["core::setting", "core::time", "core::units", "core::conn", "net", "protocol"]),
    layer(
        "observe::audit",
        PURE,
        &["core::named", "core::units", "core::tcp", "core::time", "core::end", "core::table", "net"],
    ),
    layer(
        "observe::metrics",
        PURE,
        &["core::health", "core::tcp", "core::time", "core::end", "core::conn", "net", "observe::audit"],
    ),
    // The one place where answers become HTTP.
    layer(
        "observe::answers",
        PURE,
        &["core::health", "core::tcp", "protocol", "observe::audit", "observe::metrics"],
    ),
    // What workers and their supervisor say is typed: it may speak of whatever a client asks for.
    layer(
        "workers::link",
        PURE,
        &[
            "core::buf",
            "core::end",
            "core::health",
            "core::table",
            "net",
            "hub",
            "protocol",
            "observe::answers",
            "observe::audit",
            "observe::metrics",
        ],
    ),
    layer(
        "observe::report",
        PURE,
        &[
            "core::units",
            "core::health",
            "core::time",
            "core::end",
            "core::table",
            "net",
            "config",
            "observe::metrics",
            "observe::audit",
        ],
    ),
    layer(
        "reactor",
        PURE,
        &[
            "core::health",
            "core::tcp",
            "core::time",
            "core::end",
            "core::buf",
            "core::timer",
            "core::table",
            "core::conn",
            "net",
            "workers::link",
            "hub",
            "config",
            "protocol",
            "transport",
            "observe::answers",
            "observe::audit",
            "observe::metrics",
            "observe::report",
        ],
    ),
    layer(
        "workers::supervisor",
        PURE,
        &[
            "core::health",
            "core::time",
            "core::buf",
            "core::table",
            "net",
            "workers::link",
            "hub",
            "config",
            "protocol",
            "observe::answers",
            "observe::metrics",
            "observe::report",
        ],
    ),
    layer("guide", PURE, &[]),
    layer("sys", IMPURE, &["core::tcp", "core::time", "core::end", "net"]),
    layer("observe::logging", IMPURE, &["core::time", "config", "observe::report", "sys"]),
    // The tools: nothing of the server knows them.
    layer(
        "tools::sim",
        PURE,
        &[
            "core::setting",
            "core::health",
            "core::tcp",
            "core::time",
            "core::end",
            "core::table",
            "core::conn",
            "net",
            "hub",
            "config",
            "protocol",
            "observe::audit",
            "observe::metrics",
            "observe::report",
            "reactor",
            "workers::link",
            "workers::supervisor",
        ],
    ),
    layer(
        "tools::load",
        IMPURE,
        &[
            "core::named",
            "core::time",
            "core::units",
            "core::end",
            "core::buf",
            "core::timer",
            "core::table",
            "core::conn",
            "net",
            "protocol",
            "sys",
        ],
    ),
    layer(
        "tools::lab",
        IMPURE,
        &["core::escape", "core::units", "core::tcp", "core::named", "core::time", "core::end", "net", "sys"],
    ),
    layer("tools::doctor", IMPURE, &["core::time", "core::units", "sys"]),
    layer("tools::audit", PURE, &["core::units", "core::tcp", "core::time", "net", "observe::audit"]),
    layer(
        "cli",
        IMPURE,
        &[
            "guide",
            "core::escape",
            "core::health",
            "core::tcp",
            "core::time",
            "core::units",
            "config",
            "net",
            "protocol",
            "reactor",
            "sys",
            "observe::audit",
            "observe::logging",
            "observe::report",
            "workers::link",
            "workers::supervisor",
            "tools::sim",
            "tools::load",
            "tools::lab",
            "tools::doctor",
            "tools::audit",
        ],
    ),
];
