//! What the monitor says: console, fault reports, symbols, its own end.

pub(crate) mod console;
pub(crate) mod deceptive;
pub(crate) mod fault;
pub(crate) mod panic;
pub(crate) mod symbols;
