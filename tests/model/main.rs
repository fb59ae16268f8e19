//! Without a server process: the sources themselves, properties on random bytes, the reactor on the simulated kernel, and
//! the simulated kernel beside the real one.

mod layers;
mod models;
mod parity;
#[path = "../properties/mod.rs"]
mod properties;
mod sim;
