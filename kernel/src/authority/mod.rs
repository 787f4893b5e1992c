//! Who may what: every derivation and its entry in the ledger, the pool of cVM memory, buffers, the search for
//! what has to be given back.

pub(crate) mod buffer;
pub(crate) mod gate;
pub(crate) mod ledger;
pub(crate) mod pool;
pub(crate) mod sweep;
