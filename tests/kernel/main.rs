//! What the kernel does, and what the server makes of it: endings of every kind, broken networks, folklore. Most of these
//! tests need root and a network namespace of their own (`scripts/ci.sh --step namespace`).

#[path = "../common/mod.rs"]
mod common;

mod audit_cli;
mod close;
mod folklore;
mod ghosts_netns;
mod liveness_netns;
mod situations;
