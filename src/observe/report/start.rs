//! What a server opens as it starts.

use crate::config::settings::ListenerSettings;
use crate::net::Address;
use log::{info, warn};

/// A listener is open.
pub fn listening(settings: &ListenerSettings, address: &Address) {
    info!(listener = settings.name.as_str(), protocol = settings.protocol.name(), address:% = address, backlog = settings.backlog, tls = settings.tls.is_some(); "listening");
}

/// The service manager has opened a socket that nobody asked for.
pub fn socket_unused(address: &Address) {
    warn!(
        address:%, advice = "clients connect to it and are not served: give a listener this address, or take it out of the \
        .socket unit";
        "socket_unused"
    );
}
