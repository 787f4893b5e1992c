//! How large the image is.

use abi::image::ImageHeader;
use tests::sizes;
use tools::image::Image;

use crate::Result;
use crate::measurement::{Bar, Measurement};
use crate::packing::Setup;
use crate::platform::Platform;

const SECTION: &str = "Image (bytes of the file)";
/// Most bytes of an image without payloads.
const BAR: u64 = 192 * 1024;

/// Bytes of the image by part.
///
/// # Errors
/// The image cannot be built.
pub(crate) fn measure(platform: &dyn Platform) -> Result<Vec<Measurement>> {
    let sizes = sizes::of(platform.arch())?;
    let demo = Setup::example(platform.arch(), "demo")?.image(platform.arch())?;
    let ImageHeader { archive_size, .. } = Image::parse(&demo)?.header;
    let row = |label: &str, bytes: u64| Measurement::count(SECTION, label, bytes);
    let mut measured: Vec<_> = sizes.parts.iter().map(|(label, bytes)| row(label, *bytes)).collect();
    measured.push(row("total without payloads", sizes.file).bar(Bar::at_most(BAR)));
    measured.extend(
        sizes
            .memory
            .map(|(label, bytes)| row(&format!("  in memory alone: {label}"), bytes)),
    );
    measured.push(row("archive of the example demo", archive_size));
    measured.push(row("total of the example demo", demo.len() as u64));
    Ok(measured)
}
