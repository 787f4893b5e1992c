//! Who runs: the monitor's state, threads and time, calls between cVMs.

pub(crate) mod call;
pub(crate) mod monitor;
pub(crate) mod thread;
