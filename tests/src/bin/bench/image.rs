//! How large the image is.

use abi::image::ImageHeader;
use object::elf::{SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE};
use object::{Object, ObjectSection, SectionFlags};
use tests::artifacts::built;
use tools::image::Image;

use crate::Result;
use crate::measurement::{Bar, Measurement};
use crate::packing::{Setup, bare_image};
use crate::platform::Platform;

const SECTION: &str = "Image (bytes; in memory as in the file)";
/// Most bytes of an image without payloads.
const BAR: u64 = 192 * 1024;

/// What a section of the monitor counts as.
fn kind(name: &str, flags: u64) -> &'static str {
    let has = |flag: u32| flags & u64::from(flag) != 0;
    match name {
        ".stack" => "stacks",
        ".bss" => "bss",
        _ if has(SHF_EXECINSTR) => "text",
        ".relr.dyn" => "relocations",
        _ if has(SHF_WRITE) && name.starts_with(".data") => "data",
        _ => "rodata",
    }
}

/// Bytes of the image by part.
///
/// # Errors
/// The image cannot be built.
pub(crate) fn measure(platform: &dyn Platform) -> Result<Vec<Measurement>> {
    let monitor = &built(platform.arch()).monitor;
    let file = object::File::parse(&**monitor)?;
    let mut parts = ["text", "stacks", "rodata", "relocations", "data", "bss"].map(|kind| (kind, 0_u64));
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else {
            continue;
        };
        if sh_flags & u64::from(SHF_ALLOC) != 0 {
            let name = kind(section.name()?, sh_flags);
            for (_, bytes) in parts.iter_mut().filter(|(kind, _)| *kind == name) {
                *bytes += section.size();
            }
        }
    }
    let bare = bare_image(platform.arch())?;
    let demo = Setup::example(platform.arch(), "demo")?.image(platform.arch())?;
    let ImageHeader { symbols_size, .. } = Image::parse(&bare)?.header;
    let sum = parts.iter().map(|(_, bytes)| bytes).sum::<u64>() + symbols_size;
    let total = bare.len() as u64;
    let rows = parts.into_iter().chain([
        ("symbols for backtraces", symbols_size),
        ("alignment", total - sum),
        ("archive of the example demo", Image::parse(&demo)?.header.archive_size),
    ]);
    let mut measured: Vec<_> = rows
        .map(|(label, bytes)| Measurement::count(SECTION, label, bytes))
        .collect();
    measured.push(Measurement::count(SECTION, "total without payloads", total).bar(Bar::at_most(BAR)));
    measured.push(Measurement::count(
        SECTION,
        "total of the example demo",
        demo.len() as u64,
    ));
    Ok(measured)
}
