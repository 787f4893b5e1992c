//! The rest of the trusted computing base: the libraries in the image and how much code each is. The standard library's
//! `core` and `alloc` are in it, too, and not counted.

use std::path::Path;

use tests::lines;
use tests::tcb::libraries;

use crate::Result;
use crate::measurement::Measurement;
use crate::platform::Platform;

const SECTION: &str = "Libraries in the image (lines of Rust, without tests)";
/// Tests and the like of a library.
const NOT_IN_THE_IMAGE: [&str; 4] = ["tests", "test", "benches", "examples"];

/// Lines of the libraries that the image depends on.
///
/// # Errors
/// Cargo does not tell, or a source file cannot be read.
pub(crate) fn measure(platform: &dyn Platform) -> Result<Vec<Measurement>> {
    let mut measured = Vec::new();
    let mut sum = 0;
    for (name, library) in libraries(platform.arch())? {
        let source = Path::new(&library.manifest).with_file_name("src");
        let code = lines::count(&source, &NOT_IN_THE_IMAGE).map_err(|error| format!("{name}: {error}"))?;
        sum += code.rust;
        measured.push(Measurement::count(SECTION, name, code.rust));
    }
    measured.push(Measurement::count(SECTION, "sum of the libraries", sum));
    Ok(measured)
}
