//! Who has floating-point registers: derived again here, from the rules by which the monitor opens them.

use abi::manifest::{FLOAT_NO, FLOAT_YES};
use serde::Serialize;

use super::Planned;
use crate::Architecture;

/// Whether the threads of a cVM have floating-point registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Float {
    /// They have.
    pub open: bool,
    /// By whose word.
    pub why: &'static str,
}

/// What cVM number `index` has.
pub(super) fn float(arch: Architecture, cvms: &[Planned<'_>], index: usize) -> Float {
    let Planned { spec, facts, .. } = &cvms[index];
    let vectors = spec.gate_vectors(cvms.iter().map(|cvm| cvm.spec));
    let (open, why) = match spec.float {
        _ if vectors.contains(&false) => (false, "its gates are without vector"),
        FLOAT_NO => (false, "the manifest says so"),
        FLOAT_YES => (true, "the manifest says so"),
        _ if arch == Architecture::Morello => (true, "every program has them"),
        _ if facts.uses_vectors() => (true, "its program's header asks for them"),
        _ if vectors.contains(&true) => (true, "its gates are with vector"),
        _ if spec.raw != 0 => (true, "it is a raw client"),
        _ => (false, "its program's header asks for none"),
    };
    Float { open, why }
}
