//! The image as firmware sees it.

use object::pe::{IMAGE_FILE_MACHINE_ARM64, IMAGE_SUBSYSTEM_EFI_APPLICATION, ImageNtHeaders64};
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader, PeFile64};
use object::{LittleEndian, Object, ObjectSection, SectionKind};
use tests::{Platform, Scenario, cvm};

#[test]
fn the_morello_image_is_an_efi_application_too() {
    let image = Scenario::new([cvm("hello", "hello", &[])]).image(Platform::MachineMorello);
    assert_eq!(image[0x38..0x3c], *b"ARM\x64");
    let file = PeFile64::parse(&*image).unwrap();
    let headers: &ImageNtHeaders64 = file.nt_headers();
    let optional = headers.optional_header();
    let machine = headers.file_header().machine.get(LittleEndian);
    assert_eq!(machine, IMAGE_FILE_MACHINE_ARM64);
    assert_eq!(optional.subsystem(), IMAGE_SUBSYSTEM_EFI_APPLICATION);
    assert!(file.is_64());
    assert_eq!(file.relative_address_base(), 0, "firmware may load it anywhere");
    // As firmware loads it, the file lies in memory as it is: text to execute, then what can be written, no gap.
    let mut end = u64::from(optional.size_of_headers());
    for (section, kind) in file.sections().zip([SectionKind::Text, SectionKind::Data]) {
        assert_eq!((section.address(), section.kind()), (end, kind));
        assert_eq!(section.file_range(), Some((end, section.size())));
        assert!(section.address().is_multiple_of(4096));
        end += section.size();
    }
    assert_eq!(file.sections().count(), 2);
    assert_eq!(end, image.len() as u64, "all of the file is loaded");
    assert_eq!(
        optional.size_of_image(),
        image.len().next_multiple_of(4096) as u32,
        "and nothing more"
    );
    let text = file.sections().next().unwrap();
    let entry = file.entry();
    assert!(
        entry >= text.address() && entry < text.address() + text.size(),
        "{entry:#x} is in the text"
    );
}
