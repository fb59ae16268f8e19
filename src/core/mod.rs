//! What every other room builds on, pure: no descriptor, no clock, no mio. Plain values, and the state machines of a connection and of
//! the health of a server.

pub mod admission;
pub mod alert;
pub mod buf;
pub mod conn;
pub mod end;
pub mod escape;
pub mod event;
pub mod health;
pub mod mix;
pub(crate) mod named;
pub mod nearest;
pub mod proxied;
pub mod secret;
pub mod secured;
pub mod server_name;
pub mod setting;
pub mod table;
pub mod tcp;
pub mod time;
pub mod timer;
pub mod units;
