//! What the server counts and says of itself: [`metrics`], the last endings ([`history`]), what happens now ([`events`]), what
//! its admin interface answers ([`answers`]), the log's sentences ([`report`]), and who writes them ([`logging`]). Endings and
//! events are kept in a [`ring`], as records whose bytes have one [`layout`].

pub mod answers;
pub mod audit;
pub mod events;
pub mod history;
pub mod layout;
pub mod logging;
pub mod metrics;
pub mod report;
pub mod ring;
