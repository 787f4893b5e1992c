//! Programs that lie. The tool would refuse them; here they go into the archive as they are, and the monitor refuses
//! them with a message of its own before anything is started.

use object::elf::{
    DT_JMPREL, DT_NEEDED, DT_RELA, DT_RELASZ, EM_X86_64, ET_REL, PF_R, PF_W, PF_X, PT_INTERP, PT_TLS,
    R_AARCH64_JUMP_SLOT, R_AARCH64_RELATIVE, R_RISCV_JUMP_SLOT, R_RISCV_RELATIVE,
};
use tests::{Platform, Scenario, code, cvm, on_every_platform};
use tools::Architecture;
use tools::elf::synthesis::{Elf, Load};

on_every_platform!(
    the_synthetic_program_runs_as_it_is,
    a_truncated_file_is_refused_at_every_length,
    a_wrong_header_is_refused,
    segments_that_lie_are_refused,
    what_wants_a_dynamic_linker_is_refused,
    relocations_that_lie_are_refused,
    a_program_at_fixed_addresses_needs_its_place,
    one_bad_program_stops_the_boot,
);

/// The relocation types for a relative address and for a function of a library.
fn relocation_types(platform: Platform) -> (u32, u32) {
    match platform.arch() {
        Architecture::CheriRiscv => (R_RISCV_RELATIVE, R_RISCV_JUMP_SLOT),
        Architecture::Morello => (R_AARCH64_RELATIVE, R_AARCH64_JUMP_SLOT),
    }
}

/// Boots `file` as the only cVM's program and asserts that the monitor refuses it, saying `message` about it.
fn assert_refused(platform: Platform, file: Vec<u8>, message: &str) {
    let outcome = Scenario::new([cvm("liar", "liar.elf", &[])])
        .member("liar.elf", file)
        .boot(platform);
    outcome.assert_status(1);
    let expected = format!("error: cVM liar: liar.elf: {message}");
    assert_eq!(outcome.monitor().last(), Some(&expected.as_str()), "{outcome}");
}

/// A change to the program that exits at once, and what the monitor says of the result.
type Case<'a> = (&'a dyn Fn(&mut Elf), &'a str);

/// The same for each of a list of changes.
fn assert_all_refused(platform: Platform, cases: &[Case<'_>]) {
    for (change, message) in cases {
        let mut elf = code::minimal(platform.arch());
        change(&mut elf);
        assert_refused(platform, elf.to_bytes(), message);
    }
}

fn the_synthetic_program_runs_as_it_is(platform: Platform) {
    // Without this, every refusal below could be for another reason than the one that is tested.
    let (relative, _) = relocation_types(platform);
    let elves = [
        code::minimal(platform.arch()),
        code::minimal(platform.arch()).with_relocations(0x4000, &[(0x2000, relative)]),
        Elf {
            loads: vec![code::minimal(platform.arch()).loads[0].clone()],
            ..code::minimal(platform.arch())
        },
    ];
    for elf in elves {
        let outcome = Scenario::new([cvm("minimal", "minimal", &[])])
            .member("minimal", elf.to_bytes())
            .boot(platform);
        outcome.assert_status(0);
    }
}

fn a_truncated_file_is_refused_at_every_length(platform: Platform) {
    let whole = code::minimal(platform.arch()).to_bytes();
    let size = whole.len();
    let cut = |length: usize| whole[..length].to_vec();
    assert_refused(platform, Vec::new(), "not an ELF file");
    assert_refused(platform, cut(63), "not an ELF file");
    assert_refused(
        platform,
        cut(64),
        "2 program headers at 0x40, but the file has 64 bytes",
    );
    assert_refused(
        platform,
        cut(175),
        "2 program headers at 0x40, but the file has 175 bytes",
    );
    assert_refused(
        platform,
        cut(176),
        "segment 0 ends at file offset 0x100c, but the file has 176 bytes",
    );
    assert_refused(
        platform,
        cut(0x100b),
        "segment 0 ends at file offset 0x100c, but the file has 4107 bytes",
    );
    assert!(size > 0x100c, "the rest are sections, which nobody loads");
}

fn a_wrong_header_is_refused(platform: Platform) {
    let patched = |offset: usize, bytes: &[u8]| {
        let mut file = code::minimal(platform.arch()).to_bytes();
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
        file
    };
    const ELF64: &str = "ELF header: expected ELF64, little endian, version 1";
    const TABLE: &str = "program headers at 0xfffffffffffffff8, but the file has";
    assert_refused(platform, patched(0, b"\x7fELG"), "not an ELF file");
    assert_refused(platform, patched(4, &[1]), ELF64);
    assert_refused(platform, patched(5, &[2]), ELF64);
    assert_refused(platform, patched(6, &[0]), ELF64);
    assert_refused(
        platform,
        patched(54, &[32, 0]),
        "ELF header: expected program headers of 56 bytes",
    );
    assert_refused(
        platform,
        patched(32, &[0x41]),
        "ELF header: expected a program header table at a multiple of 8",
    );
    let size = patched(0, b"\x7f").len();
    assert_refused(
        platform,
        patched(32, &(-8_i64).to_le_bytes()),
        &format!("2 {TABLE} {size} bytes"),
    );
    let many = format!("65535 program headers at 0x40, but the file has {size} bytes");
    assert_refused(platform, patched(56, &[0xff, 0xff]), &many);
    assert_refused(platform, patched(56, &[0, 0]), "no segment to load");

    let native = platform.arch().elf_machine();
    let foreign = Architecture::ALL
        .map(Architecture::elf_machine)
        .into_iter()
        .find(|machine| *machine != native);
    let foreign = foreign.expect("another architecture");
    let machine = |machine: u16| format!("machine {machine}, expected {native}");
    assert_all_refused(
        platform,
        &[
            (&|elf| elf.machine = foreign, &machine(foreign)),
            (&|elf| elf.machine = EM_X86_64, &machine(EM_X86_64)),
            (
                &|elf| elf.kind = ET_REL,
                "ELF type 1, expected ET_DYN (3) or ET_EXEC (2)",
            ),
        ],
    );
}

fn segments_that_lie_are_refused(platform: Platform) {
    let data = |elf: &mut Elf, address: u64| {
        elf.loads.push(Load {
            memory_size: 16,
            ..Load::new(address, &[], PF_R)
        })
    };
    let thread_local = |memory_size: u64| Load {
        kind: PT_TLS,
        memory_size,
        ..Load::new(0x2000, &[], PF_R)
    };
    const TLS: &str = "TLS segment: expected one at most, within a loaded segment";
    let size = code::minimal(platform.arch()).to_bytes().len();
    let truncated = |end: &str| format!("segment 0 ends at file offset {end}, but the file has {size} bytes");
    assert_all_refused(
        platform,
        &[
            (&|elf| data(elf, 0x1800), "segments 0 and 2 share a page"),
            (&|elf| data(elf, 0x2ff0), "segments 1 and 2 share a page"),
            (&|elf| elf.loads[1].address = 0x1000, "segments 0 and 1 share a page"),
            (
                &|elf| elf.entry = 0,
                "entry point 0x0 is outside every executable segment",
            ),
            (
                &|elf| elf.entry = 0x100c,
                "entry point 0x100c is outside every executable segment",
            ),
            (
                &|elf| elf.entry = 0x2000,
                "entry point 0x2000 is outside every executable segment",
            ),
            (
                &|elf| elf.loads[1].memory_size = u64::MAX,
                "segment 1 has 0xffffffffffffffff bytes at 0x2000, expected to end below 2^40",
            ),
            (
                &|elf| elf.loads[1].address = u64::MAX,
                "segment 1 has 0x1000 bytes at 0xffffffffffffffff, expected to end below 2^40",
            ),
            (
                &|elf| elf.loads[0].file_size = Some(0x2000),
                "segment 0 has 0x2000 bytes in the file but 0xc in memory",
            ),
            (
                &|elf| (elf.loads[0].file_size, elf.loads[0].memory_size) = (Some(1 << 33), 1 << 33),
                &truncated("0x200001000"),
            ),
            (
                &|elf| elf.loads[0].offset = Some(u64::MAX),
                &truncated("0xffffffffffffffff"),
            ),
            (
                &|elf| elf.loads[1].flags = PF_R | PF_W | PF_X,
                "segment 1 is writable and executable",
            ),
            (&|elf| elf.loads.clear(), "no segment to load"),
            (
                &|elf| (0..200).for_each(|page| data(elf, 0x4000 + page * 0x1000)),
                "ELF header: expected at most 64 loadable segments",
            ),
            (&|elf| elf.loads.extend([thread_local(1), thread_local(1)]), TLS),
            (&|elf| elf.loads.push(thread_local(1 << 41)), TLS),
        ],
    );
    // More than there is: refused when it is placed.
    let mut huge = code::minimal(platform.arch());
    huge.loads[1].memory_size = 1 << 39;
    let outcome = Scenario::new([cvm("huge", "huge", &[])])
        .member("huge", huge.to_bytes())
        .boot(platform);
    outcome.assert_status(1);
    let last = *outcome.monitor().last().unwrap();
    assert!(last.starts_with("error: cVM huge: needs 0x80"), "{outcome}");
}

fn what_wants_a_dynamic_linker_is_refused(platform: Platform) {
    let dynamic = |tag: u32| move |elf: &mut Elf| *elf = elf.clone().with_dynamic(0x4000, &[(tag, 0x2000)]);
    let interpreter = |elf: &mut Elf| {
        elf.loads.push(Load {
            kind: PT_INTERP,
            ..Load::new(0x5000, b"/lib/ld.so\0", PF_R)
        });
    };
    assert_all_refused(
        platform,
        &[
            (
                &interpreter,
                "dynamically linked: needs the interpreter /lib/ld.so, expected a static program",
            ),
            (
                &dynamic(DT_NEEDED),
                "dynamically linked: needs (without a name), expected a static program",
            ),
            (
                &dynamic(DT_JMPREL),
                "dynamically linked (DT_JMPREL), expected a static program",
            ),
        ],
    );
}

fn relocations_that_lie_are_refused(platform: Platform) {
    let (relative, jump_slot) = relocation_types(platform);
    let relocations = |list: Vec<(u64, u32)>| move |elf: &mut Elf| *elf = elf.clone().with_relocations(0x4000, &list);
    let table = |address: u64, size: u64| {
        move |elf: &mut Elf| {
            *elf = elf
                .clone()
                .with_dynamic(0x4000, &[(DT_RELA, address), (DT_RELASZ, size)])
        }
    };
    const TABLE: &str = "the relocation table is not within a loaded segment's file data";
    assert_all_refused(
        platform,
        &[
            (
                &relocations(vec![(0x2000, relative), (0x2008, jump_slot)]),
                &format!("relocation 1 has type {jump_slot}, expected a relative one"),
            ),
            (
                &relocations(vec![(0x2000, 0)]),
                "relocation 0 has type 0, expected a relative one",
            ),
            (
                &relocations(vec![(0x2ff9, relative)]),
                "relocation 0 changes 0x2ff9, outside of every segment",
            ),
            (
                &relocations(vec![(0, relative)]),
                "relocation 0 changes 0x0, outside of every segment",
            ),
            (
                &relocations(vec![(u64::MAX, relative)]),
                "relocation 0 changes 0xffffffffffffffff, outside of every segment",
            ),
            (&table(0x1000, 24), TABLE),
            (&table(0x2000, 24), TABLE),
            (&table(u64::MAX, 24), TABLE),
            (&table(0x1000, u64::MAX / 24 * 24), TABLE),
            (
                &table(0x1000, 23),
                "a relocation table with entries of 24 bytes is not within a loaded segment's file data",
            ),
        ],
    );
}

fn a_program_at_fixed_addresses_needs_its_place(platform: Platform) {
    // ET_EXEC at an address that ISAv9 cannot have without a base, and that ISAv8 counts from 0.
    let elf = Elf {
        kind: object::elf::ET_EXEC,
        ..code::minimal(platform.arch())
    };
    let scenario = Scenario::new([cvm("fixed", "fixed", &[])]).member("fixed", elf.to_bytes());
    let outcome = scenario.boot(platform);
    if platform.relocates() {
        outcome.assert_status(0);
    } else {
        outcome.assert_status(1);
        let expected = "error: cVM fixed: fixed: linked at fixed addresses: isolation base is needed";
        assert_eq!(outcome.monitor().last(), Some(&expected), "{outcome}");
    }
}

fn one_bad_program_stops_the_boot(platform: Platform) {
    let cvms = [cvm("hello", "hello", &[]), cvm("bad", "bad", &[])];
    let outcome = Scenario::new(cvms).member("bad", *b"#!/bin/sh\n").boot(platform);
    outcome.assert_status(1);
    assert_eq!(
        outcome.monitor().last(),
        Some(&"error: cVM bad: bad: not an ELF file"),
        "{outcome}"
    );
    assert!(outcome.of("hello").is_empty(), "nobody runs beside it\n{outcome}");
}
