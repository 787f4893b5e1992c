//! The list in docs/attacks.md.
