//! What is left of a connection, by the kernel's own tables of both hosts: seen from outside, the same way for any
//! server.

use crate::core::tcp::{TcpState, TcpStates};
use crate::net::{Fatal, Progress, SocketQuery, SocketRow};
use crate::sys::SocketTable;
use crate::sys::process::Namespace;
use std::net::SocketAddr;

/// The tables of both hosts.
#[derive(Debug)]
pub struct Tables {
    server: SocketTable,
    client: SocketTable,
}

/// All rows of both, at a moment.
#[derive(Debug, Default)]
pub struct Sight {
    server: Vec<SocketRow>,
    client: Vec<SocketRow>,
}

impl Tables {
    /// Opens them.
    ///
    /// # Errors
    /// When that is not permitted.
    pub fn open(server: &Namespace, client: &Namespace) -> Result<Self, Fatal> {
        Ok(Self {
            server: SocketTable::open_in(&server.path())?,
            client: SocketTable::open_in(&client.path())?,
        })
    }

    /// Looks.
    ///
    /// # Errors
    /// When the kernel stops telling.
    pub fn look(&mut self) -> Result<Sight, Fatal> {
        Ok(Sight { server: rows(&mut self.server)?, client: rows(&mut self.client)? })
    }
}

fn rows(table: &mut SocketTable) -> Result<Vec<SocketRow>, Fatal> {
    let mut rows = Vec::new();
    table.start(&SocketQuery { ports: Vec::new(), states: TcpStates::ALL, evidence: false })?;
    while table.read(&mut rows)? == Progress::More {}
    Ok(rows)
}

impl Sight {
    /// The server's end of a connection.
    pub fn at_server(&self, server: SocketAddr, client: SocketAddr) -> Option<&SocketRow> {
        self.server.iter().find(|row| row.local == server && row.remote == client)
    }

    /// The client's end.
    pub fn at_client(&self, server: SocketAddr, client: SocketAddr) -> Option<&SocketRow> {
        self.client.iter().find(|row| row.local == client && row.remote == server)
    }

    /// Whether somebody listens on a port of the server.
    pub fn listens(&self, port: u16) -> bool {
        self.server.iter().any(|row| row.state == TcpState::Listen && row.local.port() == port)
    }

    /// The names of the states of both ends; nothing for an end that is gone.
    pub fn states(&self, server: SocketAddr, client: SocketAddr) -> [&'static str; 2] {
        let name = |row: Option<&SocketRow>| row.map_or("", |row| row.state.name());
        [name(self.at_server(server, client)), name(self.at_client(server, client))]
    }
}
