//! Scalar floating point (DDI 0487 C4.1.6). Results are those of IEEE 754 in round-to-nearest; FPSR collects no flags.

use super::decode::Row;

/// Scalar floating point.
pub(super) const INSTRUCTIONS: &[Row] = &[];
