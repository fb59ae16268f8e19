//! One connection's life.
pub mod policy;
