//! Without a server process: the sources themselves, properties on random bytes, and the reactor on the simulated
//! kernel.

mod guide;
mod layers;
mod models;
#[path = "../properties/mod.rs"]
mod properties;
mod sim;
mod words;
