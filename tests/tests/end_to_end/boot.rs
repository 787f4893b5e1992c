//! The boot itself: where the archive comes from, how many cVMs, how many harts, and that a run can be repeated.

use std::collections::BTreeSet;

use capability::Permissions;
use machine::Stop;
use tests::code::{Assembler, Register};
use tests::{Platform, Scenario, cvm, on_every_platform, on_machine};
use tools::Architecture;
use tools::manifest::CvmSpec;

on_every_platform!(
    an_initrd_overrides_the_archive_of_the_image,
    a_bad_initrd_is_refused,
    the_same_image_gives_the_same_output_everywhere,
    a_hundred_cvms_run_at_once,
    other_harts_are_parked,
);
on_machine!(
    a_large_archive_boots,
    a_program_of_24_mebibytes_boots,
    a_program_of_60_mebibytes_boots,
    an_archive_without_room_is_named,
    a_thousand_cvms_boot_in_128_mebibytes,
    a_run_can_be_repeated_to_the_instruction,
    parked_harts_stay_asleep,
    an_initrd_that_loaders_put_near_the_image_makes_room,
    an_exhausted_heap_stops_the_boot_with_a_backtrace,
);

fn an_initrd_overrides_the_archive_of_the_image(platform: Platform) {
    let other = Scenario::new([cvm("from-initrd", "hello", &[])]);
    let outcome = Scenario::new([cvm("from-image", "hello", &[])])
        .initrd(platform, &other)
        .boot(platform);
    outcome.assert_status(0);
    assert_eq!(outcome.of("from-initrd"), ["hello from from-initrd"], "{outcome}");
    assert!(outcome.of("from-image").is_empty(), "{outcome}");
    // An image without an archive lives on the initrd alone.
    let outcome = Scenario::with_archive([]).initrd(platform, &other).boot(platform);
    outcome.assert_status(0);
    assert_eq!(outcome.of("from-initrd"), ["hello from from-initrd"], "{outcome}");
}

fn a_bad_initrd_is_refused(platform: Platform) {
    let bad = Scenario::with_archive([b'x'; 200]);
    let outcome = Scenario::new([cvm("hello", "hello", &[])])
        .initrd(platform, &bad)
        .boot(platform);
    outcome.assert_status(1);
    let message = "error: archive: at offset 0x0: expected the magic number 070701 or 070702 of a newc archive, at a \
                   multiple of 4";
    assert_eq!(
        outcome.monitor().last(),
        Some(&message),
        "the archive of the image is no way out\n{outcome}"
    );
}

fn the_same_image_gives_the_same_output_everywhere(platform: Platform) {
    for example in ["demo", "hello"] {
        let scenario = Scenario::example(platform, example);
        let (here, reference) = (scenario.boot(platform), scenario.boot(platform.reference()));
        assert_eq!(here.ending, reference.ending, "{here}\nand\n{reference}");
        assert_eq!(here.summary().len(), reference.summary().len(), "{here}");
        for row in reference.summary() {
            assert_eq!(here.of(&row.name), reference.of(&row.name), "{here}\nand\n{reference}");
            assert_eq!(here.row(&row.name).state, row.state, "{here}\nand\n{reference}");
        }
    }
}

fn a_hundred_cvms_run_at_once(platform: Platform) {
    let names: Vec<String> = (0..100).map(|number| format!("cvm-{number}")).collect();
    let cvms: Vec<_> = names
        .iter()
        .map(|name| CvmSpec {
            isolation_size: Some(1 << 20),
            ..cvm(name, "idle", &["20"])
        })
        .collect();
    let outcome = Scenario::new(cvms).boot(platform);
    outcome.assert_status(0);
    assert!(
        outcome
            .monitor()
            .iter()
            .any(|line| line.starts_with("100 of 100 cVMs started")),
        "{outcome}"
    );
    let rows = outcome.summary();
    assert_eq!(
        rows.iter().map(|row| &row.name).collect::<Vec<_>>(),
        names.iter().collect::<Vec<_>>(),
        "{outcome}"
    );
    // Nobody ends before everybody has yielded once, so all are there at the same time.
    for row in &rows {
        assert_eq!((row.state.as_str(), row.hostcalls), ("exited 0", 22), "{outcome}");
        assert_eq!(outcome.of(&row.name), ["yielded 20 times"], "{outcome}");
    }
    let memory: Vec<_> = outcome
        .ledger()
        .into_iter()
        .filter(|entry| entry.name.ends_with(" data"))
        .collect();
    let ranges: BTreeSet<_> = memory.iter().map(|entry| (entry.what.base, entry.what.top)).collect();
    assert_eq!(ranges.len(), 101, "the monitor's and a hundred\n{outcome}");
    for pair in ranges.iter().collect::<Vec<_>>().windows(2) {
        assert!(pair[0].1 <= u128::from(pair[1].0), "{pair:x?} overlap\n{outcome}");
    }
}

fn a_large_archive_boots(platform: Platform) {
    let scenario = Scenario::new([cvm("hello", "hello", &[])]).member("filler", vec![0; 12 << 20]);
    let outcome = scenario.boot(platform);
    outcome.assert_status(0);
    assert_eq!(outcome.of("hello"), ["hello from hello"], "{outcome}");
}

fn other_harts_are_parked(platform: Platform) {
    let scenario = Scenario::new([cvm("hello", "hello", &[]), cvm("clock", "clock", &["3", "2"])]);
    let (one, four) = (scenario.clone().boot(platform), scenario.harts(4).boot(platform));
    four.assert_status(0);
    for name in ["hello", "clock"] {
        assert_eq!(four.of(name), one.of(name), "{four}");
    }
    assert_eq!(four.summary().len(), 2, "{four}");
}

fn a_run_can_be_repeated_to_the_instruction(platform: Platform) {
    let run = || {
        let mut running = Scenario::new([
            cvm("clock", "clock", &["9", "1"]),
            cvm("spinner", "spinner", &["20"]),
            cvm("rogue", "rogue", &["read-monitor"]),
        ])
        .on_board(platform);
        let stop = running.board.run(1_000_000_000);
        (
            stop,
            running.board.total_instructions(),
            running.board.time(),
            running.board.console().text(),
        )
    };
    let first = run();
    assert_eq!(first.0, Stop::Exit(1));
    assert_eq!(first, run());
}

fn parked_harts_stay_asleep(platform: Platform) {
    let mut running = Scenario::new([cvm("clock", "clock", &["5", "5"])])
        .harts(4)
        .on_board(platform);
    running.until("cVMs started");
    let asleep = [1, 2, 3].map(|core| running.board.instructions(core));
    running.until("tick 5 of 5");
    for core in 1..4 {
        assert!(!running.board.in_user_mode(core), "core {core}");
        assert_eq!(running.board.instructions(core), asleep[core - 1], "core {core}");
        assert!(asleep[core - 1] < 200, "core {core}: {}", asleep[core - 1]);
    }
    running.finish().assert_status(0);
}

fn an_initrd_that_loaders_put_near_the_image_makes_room(platform: Platform) {
    // The image is so long that the monitor's heap behind it would reach the initrd, in the middle of the memory.
    let initrd = Scenario::new([cvm("hello", "hello", &[])]);
    let scenario = Scenario::new([cvm("clock", "clock", &["1", "1"])])
        .member("filler", vec![0; 11 << 20])
        .initrd(platform, &initrd)
        .memory(24 << 20);
    let outcome = scenario.boot(platform);
    outcome.assert_status(0);
    assert_eq!(outcome.of("hello"), ["hello from hello"], "{outcome}");
}

fn an_exhausted_heap_stops_the_boot_with_a_backtrace(platform: Platform) {
    // A megabyte of arguments on a board where the monitor's heap is small.
    let long = "x".repeat(16_000);
    let cvms: Vec<_> = (0..60)
        .map(|number| cvm(&format!("cvm-{number}"), "idle", &[&long]))
        .collect();
    let console = boot_to_a_panic(platform, &Scenario::new(cvms).memory(32 << 20));
    assert!(console.contains("memory allocation of "), "{console}");
    assert!(console.contains(" kernel::start::start+0x"), "{console}");
    assert!(console.contains(" boot_main+0x"), "{console}");
}

/// Boots what makes the monitor panic; returns the console.
fn boot_to_a_panic(platform: Platform, scenario: &Scenario) -> String {
    let mut running = scenario.on_board(platform);
    let stop = running.board.run(100_000_000);
    let console = running.board.console().text();
    assert_eq!(stop, Stop::Exit(1), "{console}");
    assert!(console.contains("[monitor] error: the monitor panicked"), "{console}");
    console
}

/// A program with `count` times 2 to the power of `shift` bytes of data that ends with status 0 when the last word of them is
/// what it should be.
fn large(platform: Platform, count: usize, shift: u32) -> Vec<u8> {
    let size = count << shift;
    let mut code = Assembler::new(platform.arch());
    let [at, step, byte, expected] = [0, 1, 2, 3].map(Register::Scratch);
    code.data_address(at).set(step, 1);
    for _ in 0..shift {
        code.add_register(step, step);
    }
    for _ in 0..count {
        code.add_register(at, step);
    }
    code.load(byte, at, -8).set(expected, 0x55);
    code.subtract_register(byte, expected);
    code.when_not_zero(byte, |code| {
        code.exit(1);
    });
    code.exit(0);
    let mut data = vec![0xa5; size];
    data[size - 8..].copy_from_slice(&0x55_u64.to_le_bytes());
    let mut elf = code.elf(&data);
    elf.loads[1].memory_size = size as u64;
    elf.to_bytes()
}

/// Boots a large program from the image and from an initrd, and looks at the capability through
/// which the monitor reads it.
fn boot_large(platform: Platform, program: &[u8], memory: u64, from_initrd: bool) {
    let inside = Scenario::new([CvmSpec::new("large", "large")])
        .member("large", program.to_vec())
        .memory(memory);
    let outside = Scenario::with_archive([]).initrd(platform, &inside).memory(memory);
    for scenario in [Some(inside), from_initrd.then_some(outside)].into_iter().flatten() {
        let outcome = scenario.boot(platform);
        outcome.assert_status(0);
        let entries = outcome.ledger();
        let of = |name: &str| &entries.iter().find(|entry| entry.name == name).expect("an entry").what;
        let (archive, data) = (of("archive"), of("monitor data"));
        assert_eq!(
            archive.permissions,
            Permissions::GLOBAL | Permissions::LOAD,
            "{outcome}"
        );
        let size = archive.top as u64 - archive.base;
        let more = size - program.len() as u64;
        assert!(more < size / 256, "{more:#x} bytes more than the program\n{outcome}");
        for entry in entries.iter().filter(|entry| entry.name.starts_with("large ")) {
            let apart = entry.what.top <= u128::from(archive.base) || archive.top <= u128::from(entry.what.base);
            assert!(apart, "{}\n{outcome}", entry.what);
        }
        assert!(data.top as u64 - data.base < 16 << 20, "{outcome}");
    }
}

fn a_program_of_24_mebibytes_boots(platform: Platform) {
    let program = large(platform, 3, 23);
    // In 64 MiB, the board of CHERI-RISC-V puts the device tree where this initrd would lie.
    let board_can = platform.arch() == Architecture::Morello;
    boot_large(platform, &program, 64 << 20, board_can);
    boot_large(platform, &program, 128 << 20, true);
}

fn a_program_of_60_mebibytes_boots(platform: Platform) {
    boot_large(platform, &large(platform, 15, 22), 256 << 20, true);
}

fn an_archive_without_room_is_named(platform: Platform) {
    let scenario = Scenario::new([CvmSpec::new("large", "large")])
        .member("large", large(platform, 5, 23))
        .memory(64 << 20);
    let mut running = scenario.on_board(platform);
    assert_eq!(running.board.run(100_000_000), Stop::Exit(1));
    let console = running.board.console().text();
    // As far as the monitor's data can reach, an archive may stay where it is; then there is no room for the program.
    let expected = [
        "65536 KiB of memory have no room for an archive of 409",
        "cVM large: needs 0x28",
    ];
    assert!(expected.iter().any(|text| console.contains(text)), "{console}");
}

fn a_thousand_cvms_boot_in_128_mebibytes(platform: Platform) {
    let mut code = Assembler::new(platform.arch());
    let program = code.exit(0).elf(&[]).to_bytes();
    let cvms: Vec<_> = (0..1000)
        .map(|number| CvmSpec::new(format!("cvm-{number}"), "small"))
        .collect();
    let outcome = Scenario::new(cvms)
        .member("small", program)
        .memory(128 << 20)
        .append("log=warn")
        .boot(platform);
    outcome.assert_status(0);
    assert!(outcome.monitor().is_empty(), "{outcome}");
}
