//! The image as firmware sees it.

use object::pe::{IMAGE_FILE_MACHINE_ARM64, IMAGE_SUBSYSTEM_EFI_APPLICATION, ImageNtHeaders64};
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader, PeFile64};
use object::{LittleEndian, Object, ObjectSection, SectionKind};
use tests::outcome::Ending;
use tests::{Platform, Scenario, cvm, qemu};

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

/// Starts firmware with `files` written beside each other, and arguments that name them by `{NAME}`.
fn on_firmware(
    machine: &str,
    files: &[(&str, &[u8])],
    arguments: &[&str],
    input: &[(String, Vec<u8>)],
) -> (Ending, String) {
    let directory = tempfile::tempdir().unwrap();
    let mut arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    for (name, bytes) in files {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        for argument in &mut arguments {
            *argument = argument.replace(&format!("{{{name}}}"), path.to_str().unwrap());
        }
    }
    let arguments: Vec<_> = arguments.into_iter().map(Into::into).collect();
    qemu::run_firmware(machine, &arguments, input)
}

#[test]
#[cfg_attr(
    not(all(qemu_morello, efi_aarch64)),
    ignore = "qemu-system-morello or EFI firmware (qemu-efi-aarch64, INTRAVISOR_EFI_AARCH64) is not there"
)]
fn edk2_starts_the_demo_from_a_disk() {
    let image = Scenario::example(Platform::QemuMorello, "demo").image(Platform::QemuMorello);
    let disk = tools::esp::build(&image).unwrap();
    for machine in ["virt,acpi=off", "virt,acpi=off,gic-version=3"] {
        let drive = "file={disk},format=raw,if=none,id=stick";
        let (ending, console) = on_firmware(
            machine,
            &[("disk", &disk)],
            &["-drive", drive, "-device", "virtio-blk-device,drive=stick"],
            &[],
        );
        assert_eq!(ending, Ending::Exit(0), "{console}");
        assert!(
            console.starts_with("intravisor: dip\r\n[monitor] Intravisor on bare metal, Morello, "),
            "{console}"
        );
        for line in [
            "[hello] argument 2: two\r\n",
            "[monitor] rogue: restart 1 of 1\r\n",
            "[clock] tick 5 of 5\r\n",
        ] {
            assert!(console.contains(line), "{line:?}\n{console}");
        }
    }
}

#[test]
#[cfg_attr(
    not(all(qemu_morello, efi_aarch64)),
    ignore = "qemu-system-morello or EFI firmware (qemu-efi-aarch64, INTRAVISOR_EFI_AARCH64) is not there"
)]
fn edk2_hands_over_command_line_and_initrd() {
    let platform = Platform::QemuMorello;
    let image = Scenario::new([cvm("from-image", "hello", &[])]).image(platform);
    let initrd = Scenario::new([cvm("from-initrd", "hello", &[])]).member("filler", vec![0; 8 << 20]);
    let (ending, console) = on_firmware(
        "virt,acpi=off",
        &[("image", &image), ("initrd", &initrd.archive(platform))],
        &[
            "-kernel",
            "{image}",
            "-initrd",
            "{initrd}",
            "-append",
            "log=debug earlycon=pl011,0x9000000",
        ],
        &[],
    );
    assert_eq!(ending, Ending::Exit(0), "{console}");
    assert!(
        console.starts_with("intravisor: dip1mzrnt\r\n[monitor] Intravisor "),
        "{console}"
    );
    assert!(
        console.contains("[from-initrd] hello from from-initrd\r\n"),
        "{console}"
    );
    assert!(
        console.contains(" bytes of the monitor's heap in use\r\n"),
        "log=debug\n{console}"
    );
    assert!(!console.contains("[from-image]"), "{console}");
}

#[test]
#[cfg_attr(
    not(all(qemu_morello, efi_aarch64)),
    ignore = "qemu-system-morello or EFI firmware (qemu-efi-aarch64, INTRAVISOR_EFI_AARCH64) is not there"
)]
fn edk2_without_a_device_tree_is_told_so_and_goes_on() {
    let platform = Platform::QemuMorello;
    let image = Scenario::new([cvm("hello", "hello", &[])]).image(platform);
    // Then the firmware looks for something else to start, for minutes: C-a x ends the emulator.
    let quit = [("BdsDxe: failed to load".to_owned(), b"\x01x".to_vec())];
    let (ending, console) = on_firmware("virt", &[("image", &image)], &["-kernel", "{image}"], &quit);
    assert_eq!(ending, Ending::Exit(0), "{console}");
    let message =
        "intravisor:  error: the firmware has no device tree, perhaps ACPI only; its set-up may offer one\r\n";
    assert!(console.starts_with(message), "{console}");
    assert!(
        console[message.len()..].starts_with("BdsDxe: failed to load"),
        "{console}"
    );
}
