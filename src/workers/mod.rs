//! Several processes for one server: the [`supervisor`], and the [`link`] between it and each worker. A worker's side is
//! `src/reactor/worker_link.rs`.

pub mod link;
pub mod supervisor;
