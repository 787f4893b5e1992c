//! How much code the monitor is.

use tests::lines::{CRATES, Code, MODULES, count, files};
use tools::workspace::Workspace;

use crate::Result;
use crate::measurement::{Bar, Measurement};
use crate::platform::Platform;

const SECTION: &str = "Monitor (lines of code, without blank lines, comments and tests)";

/// The files of the kernel in which the queues of devices are, and the most lines of these.
const QUEUES: [&str; 2] = ["run/device.rs", "hostcall/device.rs"];
const QUEUES_BAR: u64 = 500;

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
    let kernel = files(&root.join("kernel/src"), &foreign)?;
    let queues = kernel
        .iter()
        .filter(|(path, _)| QUEUES.iter().any(|queue| path.ends_with(queue)));
    let queues = queues.map(|(_, code)| code.rust).sum();
    measured.extend([
        Measurement::count(SECTION, "  of the kernel, queues of devices", queues).bar(Bar::at_most(QUEUES_BAR)),
        Measurement::count(SECTION, "sum of Rust", sum.rust),
        Measurement::count(SECTION, "assembly", sum.assembly),
        Measurement::count(SECTION, "`unsafe` blocks (number)", sum.unsafe_blocks.len() as u64),
    ]);
    Ok(measured)
}
