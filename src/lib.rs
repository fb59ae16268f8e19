//! linger: the connection server that knows when and why every client left, and always closes last.

pub mod config;
pub mod conn;
pub mod end;
pub mod net;
pub mod table;
pub mod time;
pub mod timer;
