//! What the server counts and says of itself: [`metrics`], the last endings ([`history`]), what its admin interface answers
//! ([`answers`]), the log's sentences ([`report`]), and who writes them ([`logging`]).

pub mod answers;
pub mod audit;
pub mod history;
pub mod logging;
pub mod metrics;
pub mod report;
