//! Who may what: every derivation and its entry in the ledger, the pool of cVM memory, capfiles.

pub(crate) mod capfile;
pub(crate) mod ledger;
pub(crate) mod pool;
