//! The image as firmware sees it.

use capability::{Decoded, Permissions, Seal};
use machine::Stop;
use machine::morello::{Board, Config, Firmware, Kind, Until};
use object::pe::{IMAGE_FILE_MACHINE_ARM64, IMAGE_SUBSYSTEM_EFI_APPLICATION, ImageNtHeaders64};
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader, PeFile64};
use object::{LittleEndian, Object, ObjectSection, SectionKind};
use tests::outcome::Ending;
use tests::report::{LedgerEntry, ledger};
use tests::{Platform, Scenario, cvm, qemu};
use tools::manifest::CvmSpec;

use crate::reserved::{Way, tree};

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
    let mut loaded = end;
    for (section, kind) in file.sections().zip([SectionKind::Text, SectionKind::Data]) {
        assert_eq!((section.address(), section.kind()), (end, kind));
        let (start, bytes) = section.file_range().unwrap();
        assert_eq!(
            (start, loaded),
            (end, end),
            "nothing is missing before the last section's end"
        );
        assert!(section.address().is_multiple_of(4096));
        loaded += bytes;
        end += section.size();
    }
    assert_eq!(file.sections().count(), 2);
    assert_eq!(loaded, image.len() as u64, "all of the file is loaded");
    let memory = u64::from_le_bytes(*image[16..].first_chunk().unwrap());
    assert_eq!(end, memory, "and there is memory for what its end is moved out of");
    assert_eq!(u64::from(optional.size_of_image()), memory.next_multiple_of(4096));
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
    let disk = tools::esp::build(&image, &[]).unwrap();
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
        // The firmware keeps something in the middle of the memory, so that there are several regions.
        assert!(console.matches(" cVM pool: ").count() > 1, "{console}");
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
fn edk2_with_acpi_alone_starts_what_brings_its_device_tree() {
    let platform = Platform::QemuMorello;
    let image = Scenario::new([cvm("from-image", "hello", &[])]).image(platform);
    let archive = Scenario::new([cvm("from-disk", "hello", &[])]).archive(platform);
    let tree = qemu::device_tree(platform, "virt", 512);
    let further: [(&str, &[u8]); 2] = [(tools::esp::TREE, &tree), (tools::esp::ARCHIVE, &archive)];
    let disk = tools::esp::build(&image, &further).unwrap();
    let drive = "file={disk},format=raw,if=none,id=stick";
    let (ending, console) = on_firmware(
        "virt",
        &[("disk", &disk)],
        &["-drive", drive, "-device", "virtio-blk-device,drive=stick"],
        &[],
    );
    assert_eq!(ending, Ending::Exit(0), "{console}");
    assert!(console.contains("[from-disk] hello from from-disk\r\n"), "{console}");
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
    let message = "intravisor:  error: no device tree: the firmware has none, perhaps ACPI only, nor is there \\EFI\\BOOT\\BOARD.DTB\r\n";
    assert!(console.starts_with(message), "{console}");
    assert!(
        console[message.len()..].starts_with("BdsDxe: failed to load"),
        "{console}"
    );
}

/// The embedded machine's Morello SoC, without semihosting: what powers it off is its firmware.
fn soc(image: Vec<u8>, firmware: Firmware) -> Config {
    Config {
        kind: Kind::MorelloSoc,
        firmware,
        semihosting: false,
        ..Config::new(image)
    }
}

/// Runs a board to its end; the console.
fn end_of(board: &mut Board) -> String {
    let stop = board.run(Until::exit(1_000_000_000));
    let console = board.console().text();
    assert_eq!(stop, Stop::Exit(0), "{stop}\n{console}");
    console
}

#[test]
fn the_morello_soc_runs_the_demo_started_by_a_boot_loader() {
    let image = Scenario::example(Platform::MachineMorello, "demo").image(Platform::MachineMorello);
    let console = end_of(&mut Board::new(soc(image, Firmware::None)).unwrap());
    for line in [
        " console: 0x2a400000 [0x2a400000-0x2a401000) rwG (device window, from 0)\r\n",
        " interrupt controller: 0x30000000 [0x30000000-0x30010000) rwG (device window, from 0)\r\n",
        " interrupt interface: 0x300c0000 [0x300c0000-0x300e0000) rwG (device window, from 0)\r\n",
        "[hello] argument 2: two\r\n",
        "[monitor] rogue: restart 1 of 1\r\n",
        "[clock] tick 5 of 5\r\n",
        "[spinner] spun for 150 ms\r\n",
        "[monitor] power off, status 0\r\n",
    ] {
        assert!(console.contains(line), "{line:?}\n{console}");
    }
}

#[test]
fn firmware_starts_the_image_and_hands_over() {
    let platform = Platform::MachineMorello;
    let image = Scenario::new([cvm("from-image", "hello", &[])]).image(platform);
    let initrd = Scenario::new([cvm("from-initrd", "hello", &[])]).member("filler", vec![0; 8 << 20]);
    // At EL2 on the SoC, at EL1 and EL2 on the other board.
    for (kind, virtualization, uart, letters) in [
        (Kind::MorelloSoc, false, 0x2a40_0000, "dip21mzrnt"),
        (Kind::Virt, false, 0x0900_0000, "dip1mzrnt"),
        (Kind::Virt, true, 0x0900_0000, "dip21mzrnt"),
    ] {
        let config = Config {
            kind,
            virtualization,
            initrd: Some(initrd.archive(platform)),
            append: format!("log=debug earlycon=pl011,{uart:#x}"),
            ..soc(image.clone(), Firmware::Efi)
        };
        let console = end_of(&mut Board::new(config).unwrap());
        let start = format!("intravisor: {letters}\r\n[monitor] Intravisor on bare metal, Morello, ");
        assert!(console.starts_with(&start), "{console}");
        assert!(
            console.contains("[from-initrd] hello from from-initrd\r\n"),
            "{console}"
        );
        assert!(!console.contains("[from-image]"), "{console}");
        assert!(
            console.contains(" bytes of the monitor's heap in use\r\n"),
            "log=debug\n{console}"
        );
    }
}

#[test]
fn what_firmware_has_beyond_the_first_map_is_within_reach() {
    // Firmware hands memory out from above, here from beyond 512 GiB.
    let platform = Platform::MachineMorello;
    let image = Scenario::new([cvm("from-image", "hello", &[])]).image(platform);
    let initrd = Scenario::new([cvm("from-initrd", "hello", &[])]);
    let config = Config {
        memory: 3 << 30,
        initrd: Some(initrd.archive(platform)),
        ..soc(image, Firmware::Efi)
    };
    let mut board = Board::new(config).unwrap();
    assert!(
        board.pc(0) > 1 << 39,
        "the firmware has loaded the image at {:#x}",
        board.pc(0)
    );
    let console = end_of(&mut board);
    assert!(
        console.contains("[from-initrd] hello from from-initrd\r\n"),
        "{console}"
    );
}

/// The second region of the SoC, beyond 512 GiB.
const HIGH: u64 = 0x80_8000_0000;

/// The entries of the ledger on a console.
fn entries_of(console: &str) -> Vec<LedgerEntry> {
    let lines = console.split("\r\n").filter_map(|line| line.strip_prefix("[monitor] "));
    ledger(&lines.collect::<Vec<_>>())
}

#[test]
fn both_regions_of_the_morello_soc_are_used() {
    const MEBIBYTE: u64 = 1 << 20;
    let heap = |name: &str, isolation_base| CvmSpec {
        heap: 48 * MEBIBYTE,
        isolation_base,
        ..cvm(name, "hello", &[])
    };
    for firmware in [Firmware::None, Firmware::Efi] {
        // Without firmware the tree reserves so much of the first region that one of the cVMs does not fit; with it, that one
        // asks for its place.
        let base = (firmware == Firmware::Efi).then_some(HIGH + 64 * MEBIBYTE);
        let image = Scenario::new([heap("low", None), heap("high", base)]).image(Platform::MachineMorello);
        let config = Config {
            memory: 0xff00_0000,
            ..soc(image, firmware)
        };
        let mut board = tests::Board::Morello(Box::new(Board::new(config).unwrap()));
        if firmware == Firmware::None {
            let (address, mut changed) = tree(&board);
            let start = board.memory().base() + 96 * MEBIBYTE;
            let end = board.memory().base() + board.memory().size() as u64;
            changed.reserve(Way::Node, start, end - start - 16 * MEBIBYTE);
            board.write_memory(address, &changed.to_bytes());
        }
        let stop = board.run_to_pattern(1_000_000_000, "cVMs started");
        let console = board.console().text();
        assert_eq!(stop, Stop::Pattern, "{console}");
        let entries = entries_of(&console);
        for name in ["low data", "low code", "high data", "high code"] {
            let entry = entries.iter().find(|entry| entry.name == name).expect("an entry");
            let parent = entries.iter().find(|other| Some(other.index) == entry.parent);
            let pool = parent.expect("a parent");
            assert!(
                pool.name == "cVM pool" && entry.what.is_subset_of(&pool.what),
                "{name}: {console}"
            );
            assert_eq!(entry.what.base >= HIGH, name.starts_with("high"), "{name}: {console}");
        }
        // Nothing spans what is between; but what is sealed for the firmware.
        let registers = board.tagged_registers(0).into_iter().map(|(_, what)| what);
        let held = board.tagged_memory().into_iter().map(|(_, what)| what).chain(registers);
        for what in held.filter(|what| !what.seal.is_sealed()) {
            assert!(what.top <= 0xff00_0000 || what.base >= HIGH, "{what}\n{console}");
        }
        let stop = board.run(4_000_000_000);
        let console = board.console().text();
        assert_eq!(stop, Stop::Exit(0), "{console}");
        for name in ["low", "high"] {
            let greeting = format!("[{name}] hello from {name}\r\n");
            assert!(console.contains(&greeting), "{console}");
        }
    }
}

#[test]
fn memory_that_firmware_keeps_is_nobodys() {
    let image = Scenario::example(Platform::MachineMorello, "demo").image(Platform::MachineMorello);
    let mut board = Board::new(soc(image, Firmware::Efi)).unwrap();
    let (base, size) = (board.memory().base(), board.memory().size() as u64);
    // The machine's firmware keeps these; it has filled them.
    let kept = [base, base + size / 2, base + size - 0x1_0000].map(|start| start..start + 0x1_0000);
    let stop = board.run(Until::exit(1_000_000_000).or_pattern("tick 3 of 5"));
    assert_eq!(stop, Stop::Pattern, "{}", board.console().text());
    let held = (board.tagged_capabilities().map(|(_, what)| what))
        .chain(board.tagged_registers(0).map(|(_, what)| what))
        .map(|what| what.decode())
        .filter(|what| !what.seal.is_sealed());
    for what in held {
        for range in &kept {
            assert!(
                what.top <= u128::from(range.start) || what.base >= range.end,
                "{what} reaches {range:x?}\n{}",
                board.console().text()
            );
        }
    }
    let console = end_of(&mut board);
    for range in kept {
        let bytes = board.read_memory(range.start, 0x1_0000).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0x5a), "{range:x?}\n{console}");
    }
}

#[test]
fn all_memory_is_within_reach_of_the_call_that_powers_off_alone() {
    let image = Scenario::example(Platform::MachineMorello, "demo").image(Platform::MachineMorello);
    let mut board = Board::new(soc(image, Firmware::None)).unwrap();
    let stop = board.run(Until::exit(1_000_000_000).or_pattern("tick 3 of 5"));
    assert_eq!(stop, Stop::Pattern, "{}", board.console().text());
    let memory: Vec<_> = board.tagged_capabilities().map(|(_, what)| what.decode()).collect();
    let registers: Vec<_> = board.tagged_registers(0).map(|(_, what)| what.decode()).collect();
    let reaches_all = |what: &&Decoded| what.top > u128::from(u64::MAX);
    let found: Vec<_> = memory.iter().chain(&registers).filter(reaches_all).collect();
    let [data] = found[..] else {
        panic!("one capability reaches all memory: {found:?}")
    };
    assert_eq!(
        data.permissions,
        Permissions::LOAD | Permissions::STORE | Permissions::INVOKE | Permissions::GLOBAL
    );
    let console = board.console().text();
    let entry = format!("firmware: {data} (sealed, for the firmware to power off, from 0)");
    assert!(console.contains(&entry), "{entry}\n{console}");
    // Its like alone can use it, which is code of a few instructions; nobody can unseal either.
    let Seal::Otype(otype) = data.seal else {
        panic!("{data} is not sealed")
    };
    let same = |what: &&Decoded| matches!(what.seal, Seal::Otype(other) if other == otype);
    let code: Vec<_> = memory
        .iter()
        .chain(&registers)
        .filter(same)
        .filter(|what| *what != data)
        .collect();
    let [code] = code[..] else {
        panic!("one capability has the type of {data}: {code:?}")
    };
    assert!(
        code.permissions.contains(Permissions::EXECUTE) && code.length() < 64,
        "{code}"
    );
    for what in memory.iter().chain(&registers) {
        assert!(
            !what.permissions.contains(Permissions::UNSEAL) || what.seal.is_sealed(),
            "{what}"
        );
    }
    end_of(&mut board);
}

#[test]
fn firmware_without_a_device_tree_is_told_so() {
    let image = Scenario::new([cvm("hello", "hello", &[])]).image(Platform::MachineMorello);
    let mut board = Board::new(soc(image, Firmware::EfiAcpi)).unwrap();
    let stop = board.run(Until::exit(100_000_000));
    let message = "the application returned to the firmware with status 0x8000000000000001, a load error";
    assert_eq!(stop, Stop::Firmware(message.into()));
    let message = "intravisor:  error: no device tree: the firmware has none, perhaps ACPI only, nor is there \\EFI\\BOOT\\BOARD.DTB\r\n";
    assert_eq!(board.console().text(), message);
}

#[test]
#[cfg_attr(
    not(qemu_riscv64cheri),
    ignore = "qemu-system-riscv64cheri is not on PATH and INTRAVISOR_QEMU_RISCV64CHERI is not set"
)]
fn firmware_in_machine_mode_is_refused_on_the_console() {
    for platform in [Platform::QemuV9, Platform::QemuV8] {
        let image = Scenario::new([cvm("hello", "hello", &[])]).image(platform);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        std::fs::write(&path, image).unwrap();
        // OpenSBI, which comes with the emulator.
        let extra = ["-bios", "opensbi-riscv64-generic-fw_dynamic.bin"].map(Into::into);
        let (ending, console) = qemu::run(platform, &path, &extra, &[], &[]);
        assert_eq!(ending, Ending::Exit(0), "{console}");
        assert!(console.contains("OpenSBI"), "{console}");
        let message =
            "intravisor: started in S-mode by SBI firmware; the monitor needs M-mode and no firmware: -bios none";
        assert_eq!(console.matches(message).count(), 1, "{console}");
        assert!(!console.contains("[monitor]"), "{console}");
    }
}
