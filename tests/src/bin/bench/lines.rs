//! How much code the monitor is.

use tests::lines::{CRATES, Code, MODULES, count};
use tools::workspace::Workspace;

use crate::Result;
use crate::measurement::Measurement;
use crate::platform::Platform;

const SECTION: &str = "Monitor (lines of code, without blank lines, comments and tests)";

/// Lines of the monitor by crate.
///
/// # Errors
/// A source file cannot be read.
pub(crate) fn measure(platform: &dyn Platform) -> Result<Vec<Measurement>> {
    let root = Workspace::locate()?.root;
    let own = platform.modules();
    let foreign: Vec<&str> = MODULES.into_iter().filter(|name| !own.contains(name)).collect();
    let mut measured = Vec::new();
    let mut sum = Code::default();
    for name in CRATES {
        let code = count(&root.join(name).join("src"), &foreign)?;
        measured.push(Measurement::count(SECTION, name, code.rust));
        sum.rust += code.rust;
        sum.assembly += code.assembly;
        sum.unsafe_blocks.extend(code.unsafe_blocks);
    }
    measured.extend([
        Measurement::count(SECTION, "sum of Rust", sum.rust),
        Measurement::count(SECTION, "assembly", sum.assembly),
        Measurement::count(SECTION, "`unsafe` blocks (number)", sum.unsafe_blocks.len() as u64),
    ]);
    Ok(measured)
}
