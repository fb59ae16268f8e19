//! Identities that connections get: by their own word, or by that of the application that a gateway relays them to. What
//! follows is the same: an older connection of that identity is replaced, and those who watch it are told.
//!
//! A gateway does not decode what its client sends, so the client cannot name itself. The application knows the connection
//! by the key in the PROXY header, and names it. From then on the client is a member of the hub. Messages to its identity
//! are written to it without any framing.

use super::Reactor;
use super::connection::{Connection, Session};
use super::context::{Conn, Context};
use super::parts::effect::Effect;
use super::parts::named::Named;
use super::parts::pairs::Pair;
use super::work::cost;
use crate::core::end::Leg;
use crate::core::table::Key;
use crate::hub::{Identified, Membership, Name};
use crate::net::Kernel;
use crate::observe::events::What;
use crate::protocol::clients::GlobalKey;
use crate::protocol::presence::Event;
use crate::protocol::server::{Contract, Refusal};
use crate::protocol::{EncodeDirect, Identity, Naming, ProtocolError, Raw};
use crate::transport::Layer;

impl<K: Kernel> Reactor<K> {
    /// Gives a client an identity by the word of the application that it is relayed to.
    pub(super) fn name_client(&mut self, key: Key, identity: Identity<'_>) -> Naming {
        self.cx.work.charge(cost::NAME);
        let Some(conn) = self.table.get_mut(key) else { return Naming::Gone };
        self.cx.name_client(key, conn, identity)
    }
}

impl<K: Kernel> Context<K> {
    /// A client names itself, and makes a contract.
    pub(super) fn identify(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        identity: Identity<'_>,
        Contract { beat, server_ping, token }: Contract<'_>,
    ) -> Result<(), Refusal> {
        check_stays(conn)?;
        if conn.layer().and_then(Layer::identity).is_some_and(|proved| proved != identity.as_str()) {
            return Err(Refusal::Proved);
        }
        self.check_supervisor()?;
        let id = identity.as_str().as_bytes();
        let client = conn.client_mut().expect("who names itself has a session");
        let identified = self.hub.identify(&mut client.membership, key, id)?;
        client.beat_ms = beat.map_or(0, |beat| u32::try_from(beat.as_millis()).unwrap_or(u32::MAX));
        if server_ping || !token.is_empty() || client.cold.is_some() {
            let cold = client.cold.get_or_insert_default();
            (cold.server_ping, cold.consent) = (server_ping, token.into());
        }
        self.on_identified(key, conn, id, identified);
        // The contract may be stricter than the one that the wheel is armed for.
        self.schedule(key, conn);
        Ok(())
    }

    /// A client has proved by its certificate who it is.
    pub(super) fn identify_by_layer(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        name: &str,
    ) -> Result<(), ProtocolError> {
        if name.is_empty() {
            let text =
                "the client's certificate has no name where tls.identity says, or one of more than 256 bytes";
            return Err(ProtocolError::tls(text.to_owned(), None));
        }
        let refused = |why: &dyn std::fmt::Display| {
            ProtocolError::tls(format!("the name {name:?} in the client's certificate: {why}"), None)
        };
        let identity = Identity::new(name.as_bytes());
        let identity =
            identity.ok_or_else(|| refused(&"an identity is 1 to 128 bytes of UTF-8 without blanks"))?;
        if conn.client().is_some() {
            return self
                .identify(key, conn, identity, Contract::default())
                .map_err(|refusal| refused(&refusal));
        }
        let Some(raw) = self.listener_of(conn).protocol.raw() else { return Ok(()) };
        self.name_raw(key, conn, raw, identity).map_err(|refusal| refused(&refusal))
    }

    fn name_client(&mut self, key: Key, conn: &mut Conn<K>, identity: Identity<'_>) -> Naming {
        if conn.leg == Some(Leg::Upstream) {
            let worker = self.worker.number();
            let Key { index, generation } = self.gateway.pairs.of(key).map_or(key, Pair::name);
            return Naming::Upstream(GlobalKey { worker, index, generation });
        }
        let protocol = self.listener_of(conn).protocol;
        let Some(raw) = protocol.raw().filter(|_| conn.leg.is_some()) else {
            let can_name_itself = conn.client().is_some();
            return if can_name_itself { Naming::NamesItself } else { Naming::NotRelayed };
        };
        if conn.is_ending() {
            return Naming::Gone;
        }
        self.name_raw(key, conn, raw, identity).map_or_else(Naming::Refused, |()| Naming::Done)
    }

    /// Names a client that has no session of its own.
    fn name_raw(
        &mut self,
        key: Key,
        conn: &mut Conn<K>,
        raw: Raw,
        identity: Identity<'_>,
    ) -> Result<(), Refusal> {
        let id = identity.as_str().as_bytes();
        self.check_supervisor()?;
        let membership = conn.named_mut(raw).map(|named| &mut named.membership);
        let identified = self.hub.identify(membership.ok_or(Refusal::Ending)?, key, id)?;
        self.on_identified(key, conn, id, identified);
        Ok(())
    }

    /// A connection has taken an identity, or has it already: what follows for others.
    fn on_identified(&mut self, key: Key, conn: &Conn<K>, id: &[u8], identified: Identified) {
        self.claim_identity(key, conn, id, &identified);
        if identified.fresh {
            self.note_event(key, conn, What::Identified);
        }
        if let Some(id) = identified.left {
            let origin = self.origin(key, conn);
            self.effects.push_back(Effect::Presence { id, event: Event::Offline(None), origin });
        }
        if let Some(older) = identified.replaced {
            let by = self.by(key, conn);
            self.post_replaced(older, id, by);
        }
        if identified.fresh {
            let (id, origin) = (Name::new(id), self.origin(key, conn));
            self.effects.push_back(Effect::Presence { id, event: Event::Online, origin });
        }
    }
}

impl<S> Connection<S> {
    /// Its part in the hub, if it can have one.
    pub(super) fn membership(&self) -> Option<&Membership> {
        match self.session.as_deref() {
            Some(Session::Client(client)) => Some(&client.membership),
            Some(Session::Named(named)) => Some(&named.membership),
            Some(Session::Http(_) | Session::Refused) | None => None,
        }
    }

    /// Takes it out, with what the connection named when it began to beat for another.
    pub(super) fn take_membership(&mut self) -> Option<(Membership, Box<[u8]>)> {
        match self.session.as_deref_mut() {
            Some(Session::Client(client)) => {
                let cold = client.cold.as_mut();
                let token = cold.map(|cold| std::mem::take(&mut cold.beats_with)).unwrap_or_default();
                Some((std::mem::take(&mut client.membership), token))
            }
            Some(Session::Named(named)) => Some((std::mem::take(&mut named.membership), Box::default())),
            Some(Session::Http(_) | Session::Refused) | None => None,
        }
    }

    /// Whether it is a client that goes on, whatever it speaks: one that somebody who names it by its key can mean.
    pub(super) fn can_be_named(&self) -> bool {
        let is_client = match self.session.as_deref() {
            Some(Session::Http(_) | Session::Refused) => false,
            Some(Session::Client(_) | Session::Named(_)) | None => self.leg != Some(Leg::Upstream),
        };
        is_client && (!self.is_ending() || self.is_half_closed())
    }

    /// What is remembered of it as a client that the application has named, if it was.
    pub(super) fn named(&self) -> Option<&Named> {
        match self.session.as_deref() {
            Some(Session::Named(named)) => Some(named),
            Some(Session::Client(_) | Session::Http(_) | Session::Refused) | None => None,
        }
    }

    /// The same, for it to be named now.
    fn named_mut(&mut self, raw: Raw) -> Option<&mut Named> {
        let fresh = || {
            let membership = Membership::default();
            Box::new(Session::Named(Named { membership, raw, messages_out: 0, direct: None }))
        };
        match &mut **self.session.get_or_insert_with(fresh) {
            Session::Named(named) => Some(named),
            Session::Client(_) | Session::Http(_) | Session::Refused => None,
        }
    }

    /// Appends a message to its identity in the form that it takes. False: it takes none.
    pub(super) fn encode_direct(&self, identity: &str, payload: &[u8], out: &mut Vec<u8>) -> bool {
        match self.session.as_deref() {
            Some(Session::Client(client)) => client.encoding.direct(identity, payload, out),
            Some(Session::Named(named)) => named.raw.direct(identity, payload, out),
            Some(Session::Http(_) | Session::Refused) | None => return false,
        }
        true
    }

    /// It is about to be sent messages by its identity, or by channels that it listens to, behind all that waits for it.
    pub(super) fn count_delivered(&mut self, messages: usize, bytes: usize) {
        let taken = self.life.bytes_out;
        let at = taken + self.pending_output() as u64;
        match self.session.as_deref_mut() {
            Some(Session::Client(client)) => client.messages_out += messages as u64,
            Some(Session::Named(named)) => {
                named.messages_out += messages as u64;
                named.direct.get_or_insert_default().add(at, bytes, taken);
            }
            Some(Session::Http(_) | Session::Refused) | None => {}
        }
    }

    /// Of what it has taken, the bytes that it was sent by its identity: they are not of its server.
    pub(super) fn direct_bytes_out(&self) -> u64 {
        self.named().map_or(0, |named| named.direct_among(self.life.bytes_out))
    }
}

/// A connection that is ending is still read, but one that was replaced must not take the identity back.
pub(super) fn check_stays<S>(conn: &Connection<S>) -> Result<(), Refusal> {
    if conn.is_ending() { Err(Refusal::Ending) } else { Ok(()) }
}
