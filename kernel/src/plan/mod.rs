//! From archive, manifest and device tree to a checked plan: who exists, with what memory, where.

pub(crate) mod archive;
pub(crate) mod layout;
pub(crate) mod manifest;
pub(crate) mod placement;
pub(crate) mod tree;
