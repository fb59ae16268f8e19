//! A network to break: the clients in the namespace of the test, the server in one of its own, a veth pair
//! between them, and rules at both ends of it.
//!
//! Rules are at the ingress of either side, never at an egress: a packet dropped on its way out makes the
//! sender's `sendmsg` path see an error, which no cable cut ever did.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary includes this file and uses its own part of it"
)]

use crate::common::means::Means;
use crate::common::{Server, in_own_namespace};
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

/// A veth pair between this namespace and one of the server's own. Dropping it removes everything.
pub struct Network {
    /// Lives in the server's namespace, and holds it.
    holder: Child,
    number: u8,
}

impl Network {
    /// Makes it.
    ///
    /// # Panics
    /// Outside a namespace made for the tests: no rule of theirs belongs into a host's.
    pub fn new() -> Self {
        static NUMBER: AtomicU8 = AtomicU8::new(1);
        assert!(in_own_namespace(), "run by `unshare -n` with LINGER_TEST_NAMESPACE=1: see scripts/ci.sh");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // It ends with its standard input: with the test, however that ends.
        let mut holder = Command::new("unshare")
            .args(["-n", "sh", "-c", "ip link set lo up && echo ready && cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare runs");
        let mut ready = [0; 6];
        std::io::Read::read_exact(holder.stdout.as_mut().expect("it is piped"), &mut ready)
            .expect("the namespace is there");
        let network = Self { holder, number };
        let (ours, theirs) = (network.link(), "veth");
        let holder = network.holder.id();
        here(&format!(
            "ip link add {ours} type veth peer name {theirs} netns {holder} &&
             ip addr add 10.77.{number}.1/24 dev {ours} && ip link set {ours} up"
        ));
        network.there(&format!("ip addr add {}/24 dev {theirs} && ip link set {theirs} up", network.host()));
        network
    }

    /// A server in its namespace, as [`Means::start`] has it.
    pub fn start(&self, protocol: &str, setting: &str, means: &str) -> Means {
        let namespace = format!("--net=/proc/{}/ns/net", self.holder.id());
        let program = ["nsenter", &namespace, env!("CARGO_BIN_EXE_linger")];
        Means::start_by(&program, &self.host(), protocol, setting, means)
    }

    /// A server in its namespace, with these arguments. Its admin interface is reached from here, and so has the token.
    pub fn serve(&self, arguments: &[&str]) -> Server {
        let namespace = format!("--net=/proc/{}/ns/net", self.holder.id());
        let arguments = [&["--set", "admin.token_file=tests/common/token"], arguments].concat();
        Server::start_as(&["nsenter", &namespace, env!("CARGO_BIN_EXE_linger")], &arguments)
    }

    /// Sockets of its namespace, in any state, whose port is that of a listener of the server's.
    pub fn sockets(&self, port: u16) -> usize {
        let namespace = format!("--net=/proc/{}/ns/net", self.holder.id());
        let output = Command::new("nsenter").args([&namespace, "cat", "/proc/self/net/tcp"]).output();
        let table = String::from_utf8(output.expect("nsenter runs").stdout).expect("text");
        let local = format!(":{port:04X}");
        table
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1))
            .filter(|end| end.ends_with(&local))
            .count()
    }

    /// The address of the server's namespace.
    pub fn host(&self) -> String {
        format!("10.77.{}.2", self.number)
    }

    /// The address of the clients' namespace.
    pub fn own_host(&self) -> String {
        format!("10.77.{}.1", self.number)
    }

    /// A file of `/proc/net`, of the server's namespace. It is there also when the server has gone.
    pub fn proc_net(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/net/{file}", self.holder.id())).expect("the kernel has it")
    }

    fn link(&self) -> String {
        format!("veth{}", self.number)
    }

    /// Nothing arrives any more, in either direction, of what belongs to these listeners.
    pub fn unplug(&self, listeners: &[SocketAddr]) {
        let ports = ports(listeners);
        here(&self.rule("prerouting", &format!("tcp sport {{ {ports} }} drop")));
        self.there(&self.rule("prerouting", &format!("tcp dport {{ {ports} }} drop")));
    }

    /// The same of the connections that the server has made to these addresses.
    pub fn unplug_towards(&self, backends: &[SocketAddr]) {
        let ports = ports(backends);
        here(&self.rule("prerouting", &format!("tcp dport {{ {ports} }} drop")));
        self.there(&self.rule("prerouting", &format!("tcp sport {{ {ports} }} drop")));
    }

    /// What comes from these listeners is answered so: `reject with ...`.
    pub fn reject(&self, listeners: &[SocketAddr], answer: &str) {
        here(&self.rule("input", &format!("tcp sport {{ {} }} {answer}", ports(listeners))));
    }

    /// Everything passes again.
    pub fn plug(&self) {
        let table = self.link();
        here(&format!("nft delete table ip {table} 2>/dev/null || true"));
        self.there(&format!("nft delete table ip {table} 2>/dev/null || true"));
    }

    fn rule(&self, hook: &str, rule: &str) -> String {
        let table = self.link();
        // The clients' namespace is shared with the other tests: only what came over this link is meant.
        format!(
            "nft add table ip {table} &&
             nft 'add chain ip {table} {hook} {{ type filter hook {hook} priority 0; }}' &&
             nft 'add rule ip {table} {hook} ip saddr 10.77.{n}.0/24 ip daddr 10.77.{n}.0/24 {rule}'",
            n = self.number
        )
    }

    /// Runs a script in the server's namespace.
    pub fn there(&self, script: &str) {
        let namespace = format!("--net=/proc/{}/ns/net", self.holder.id());
        run(Command::new("nsenter").args([&namespace, "sh", "-c", script]), script);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.plug();
        // The pair goes with either of its ends, and the namespace with its last process.
        here(&format!("ip link del {}", self.link()));
        drop(self.holder.stdin.take().map(|mut stdin| stdin.flush()));
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn ports(listeners: &[SocketAddr]) -> String {
    let ports: Vec<_> = listeners.iter().map(|address| address.port().to_string()).collect();
    ports.join(", ")
}

/// Runs a script in the namespace of the test.
fn here(script: &str) {
    run(Command::new("sh").args(["-c", script]), script);
}

fn run(command: &mut Command, script: &str) {
    let output = command.output().expect("the shell runs");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}
