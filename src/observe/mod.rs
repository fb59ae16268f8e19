//! What the server counts and says of itself: [`metrics`], the log's sentences ([`report`]), and who writes them
//! ([`logging`]).

pub mod audit;
pub mod logging;
pub mod metrics;
pub mod report;
