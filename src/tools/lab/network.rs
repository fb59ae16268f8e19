//! A network to break: the client in a namespace of its own, the server in another, and a switch between them in a
//! third. No namespace has a name, and none is the one the lab was started in: they end with the lab.
//!
//! The switch is what makes a pulled cable one: the client's port goes down, the client's link loses its carrier, and
//! the server's own link knows nothing of it. Rules are at the ingress of either side, never at an egress: a packet
//! dropped on its way out makes the sender's `sendmsg` path see an error, which no firewall ever did.
//!
//! Neighbours are entered by hand: between real hosts there is a router, which always answers for its own address.
//! Without it, a silent peer on the same wire would be found by ARP, as `lost.unreachable`, within seconds.

use super::case::Case;
use crate::net::Fatal;
use crate::sys::process::{Namespace, spawn_in};
use std::io::Write as _;
use std::process::{Command, Stdio};

/// The server's address.
pub const SERVER: &str = "10.77.0.2";
/// The client's address.
pub const CLIENT: &str = "10.77.0.1";

const CLIENT_HARDWARE: &str = "02:00:00:00:77:01";
const SERVER_HARDWARE: &str = "02:00:00:00:77:02";

/// Two hosts and a switch.
#[derive(Debug)]
pub struct Network {
    /// The client's namespace.
    pub client: Namespace,
    /// The server's.
    pub server: Namespace,
    switch: Namespace,
}

impl Network {
    /// Makes it.
    ///
    /// # Errors
    /// When namespaces are not permitted, or `ip` is not there.
    pub fn new() -> Result<Self, Fatal> {
        let network =
            Self { client: Namespace::new()?, server: Namespace::new()?, switch: Namespace::new()? };
        let port = |name: &str, namespace: &Namespace, address: &str| {
            format!(
                "link add name {name} type veth peer name eth0 address {address} netns {}\n\
                 link set dev {name} master switch up\n",
                namespace.path().display()
            )
        };
        let ports = port("client", &network.client, CLIENT_HARDWARE)
            + &port("server", &network.server, SERVER_HARDWARE);
        ip(&network.switch, &format!("link add name switch type bridge\nlink set dev switch up\n{ports}"))?;
        let host = |address: &str, other: &str, hardware: &str| {
            format!(
                "link set dev lo up\naddress add {address}/24 dev eth0\nlink set dev eth0 up\n\
                 neighbour replace {other} lladdr {hardware} dev eth0 nud permanent\n"
            )
        };
        ip(&network.client, &host(CLIENT, SERVER, SERVER_HARDWARE))?;
        ip(&network.server, &host(SERVER, CLIENT, CLIENT_HARDWARE))?;
        Ok(network)
    }

    /// What a case does to the network, if it does anything.
    ///
    /// # Errors
    /// When `ip` or `nft` fails.
    pub fn befall(&self, case: Case) -> Result<(), Fatal> {
        if matches!(case, Case::Cable | Case::CableFlight | Case::Outage) {
            self.pull()?;
        }
        if matches!(case, Case::DropFromClient | Case::DropBoth) {
            self.drop_from_client()?;
        }
        if matches!(case, Case::DropToClient | Case::DropBoth) {
            self.drop_to_client()?;
        }
        if case == Case::NatReset {
            self.drop_from_client_but_resets()?;
            self.reset_to_server()?;
        }
        Ok(())
    }

    /// The client's cable is pulled.
    fn pull(&self) -> Result<(), Fatal> {
        ip(&self.switch, "link set dev client down\n")
    }

    /// The client's cable is back.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn plug(&self) -> Result<(), Fatal> {
        ip(&self.switch, "link set dev client up\n")
    }

    /// What the client sends is dropped before the server's host sees it.
    fn drop_from_client(&self) -> Result<(), Fatal> {
        nft(&self.server, "prerouting", &format!("iifname eth0 ip saddr {CLIENT} drop"))
    }

    /// What the server sends is dropped before the client's host sees it.
    fn drop_to_client(&self) -> Result<(), Fatal> {
        nft(&self.client, "prerouting", &format!("iifname eth0 ip saddr {SERVER} drop"))
    }

    /// The same, but for the resets that [`reset_to_server`](Self::reset_to_server) makes in its name.
    fn drop_from_client_but_resets(&self) -> Result<(), Fatal> {
        nft(&self.server, "prerouting", &format!("iifname eth0 ip saddr {CLIENT} tcp flags & rst == 0 drop"))
    }

    /// What the server sends is answered by a reset, in the client's name.
    fn reset_to_server(&self) -> Result<(), Fatal> {
        nft(
            &self.client,
            "input",
            &format!("iifname eth0 ip saddr {SERVER} meta l4proto tcp reject with tcp reset"),
        )
    }
}

/// Whether the programs are there that a network takes, and work.
///
/// # Errors
/// Which is not, and what would help.
pub fn try_tools() -> Result<(), Fatal> {
    let missing = |package: &'static str| {
        move |Fatal { what, why }| Fatal { what, why: format!("{why}; the lab needs {package}") }
    };
    let network = Network::new().map_err(missing("ip (iproute2), and a kernel with veth and bridge"))?;
    network.drop_from_client().map_err(missing("nft (nftables), and a kernel with nf_tables"))
}

fn ip(namespace: &Namespace, commands: &str) -> Result<(), Fatal> {
    feed(namespace, "ip", &["-batch", "-"], commands)
}

fn nft(namespace: &Namespace, hook: &str, rule: &str) -> Result<(), Fatal> {
    let rules =
        format!("table ip lab {{ chain {hook} {{ type filter hook {hook} priority 0; {rule}; }}; }}\n");
    feed(namespace, "nft", &["-f", "-"], &rules)
}

/// Runs a program in a namespace with `input`.
fn feed(namespace: &Namespace, program: &str, arguments: &[&str], input: &str) -> Result<(), Fatal> {
    let failed =
        |why: String| Fatal { what: format!("{program}: {}", input.trim().replace('\n', "; ")), why };
    let mut child = spawn_in(
        namespace,
        Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped()),
    )?;
    // What a program that has failed did not read, its words and its status tell.
    let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(failed(said)) }
}
