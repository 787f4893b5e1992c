//! Which programs a debugger can load symbols from, and where in the memory of their cVMs they lie.

use std::path::{Path, PathBuf};

use machine::gdb::Symbols;

use super::Isa;
use crate::audit::{AuditError, audit};
use crate::pack;

/// The monitor and the programs of an image, for `cheri-machine --symbols`. A program whose file is not found, or that the audit
/// does not place, has none.
///
/// # Errors
/// The image is damaged, or the monitor would refuse it.
pub fn symbols(
    image: &[u8],
    isa: Isa,
    monitor: &Path,
    yaml: &Path,
    directories: &[PathBuf],
) -> Result<Vec<Symbols>, AuditError> {
    let cvms = audit(image, isa)?.cvms;
    let programs = cvms.iter().filter_map(|cvm| {
        let text = cvm.memory.parts.iter().find(|part| part.name == "text")?;
        let file = pack::find(yaml, directories, &cvm.runtime).ok()?;
        // The boot log tells where this one begins: behind the first page, where that is nobody's.
        let whole = format!("{} data", cvm.name);
        let whole = cvm.capabilities.iter().find(|capability| capability.name == whole);
        let begin = whole.map_or(0, |capability| capability.start);
        Some(Symbols::of_cvm(&cvm.name, text.start - begin, file))
    });
    Ok([Symbols::as_linked(monitor)].into_iter().chain(programs).collect())
}
