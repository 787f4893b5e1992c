//! Advanced SIMD (DDI 0487 C4.1.6).

use super::decode::Row;

/// Advanced SIMD.
pub(super) const INSTRUCTIONS: &[Row] = &[];
