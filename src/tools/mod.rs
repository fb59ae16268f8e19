//! Commands beside the server: each is a feature of its own, and the server knows none of them.

#[cfg(feature = "audit")]
pub mod audit;
#[cfg(feature = "doctor")]
pub mod doctor;
#[cfg(feature = "lab")]
pub mod lab;
#[cfg(feature = "load")]
pub mod load;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
