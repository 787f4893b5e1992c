//! The check of ELF programs.

use super::build::*;
use super::stored;
use crate::elf::{ElfError, Program};
use proptest::prelude::*;

fn refusal(bytes: &[u8]) -> ElfError {
    Program::check(stored(bytes)).expect_err("a refusal")
}

/// Two sound segments, with the second one's header changed.
fn second(header: Header) -> Vec<u8> {
    elf(
        3,
        0x1000,
        &[[LOAD, READ_EXECUTE, 0x200, 0x1000, 0x20, 0x20], header],
        &[],
        0x600,
    )
}

#[test]
fn a_sound_program_is_understood() {
    let bytes = program();
    let program = Program::check(stored(&bytes)).unwrap();
    assert!(program.relocatable);
    assert_eq!(
        (program.entry, program.extent.clone(), program.text.clone()),
        (0x1004, 0x1000..0x3000, 0x1000..0x2000)
    );
    let mut words = Vec::new();
    let all = program.words(stored(&bytes), 0, |address, addend| {
        words.push([address, addend]);
        None::<()>
    });
    assert_eq!((all, words), (None, vec![[0x2008, 0x1010]]));
    assert_eq!(
        program.words(stored(&bytes), 1, |_, _| Some(())),
        None,
        "behind the last"
    );
    assert!(!program.purecap && program.code == program.text);
    assert_eq!(program.segments[1].file, 0x400..0x4c0);
    assert_eq!(program.tls, None);
}

#[test]
fn a_header_that_lies_is_refused() {
    let change = |at: usize, bytes: &[u8]| {
        let mut program = program();
        program[at..at + bytes.len()].copy_from_slice(bytes);
        refusal(&program)
    };
    assert_eq!(refusal(&[]), ElfError::NotElf);
    assert_eq!(change(0, b"\x7fELG"), ElfError::NotElf);
    assert!(matches!(change(4, &[1]), ElfError::Header(_)), "ELF32");
    assert!(matches!(change(5, &[2]), ElfError::Header(_)), "big endian");
    let refused = ElfError::Header("flags of a program without registers of quadruple precision");
    assert_eq!(change(48, &[6]), refused);
    assert_eq!(
        change(18, &[62, 0]),
        ElfError::Machine {
            found: 62,
            expected: arch::ELF_MACHINE
        }
    );
    assert_eq!(change(16, &[1, 0]), ElfError::Kind(1));
    assert!(
        matches!(change(54, &[57, 0]), ElfError::Header(_)),
        "size of a program header"
    );
    assert_eq!(
        change(32, &u64::to_le_bytes(u64::MAX - 7)),
        ElfError::ProgramHeaders {
            offset: u64::MAX - 7,
            count: 3,
            file: 0x600
        }
    );
    assert_eq!(
        change(56, &[0xff, 0xff]),
        ElfError::ProgramHeaders {
            offset: 64,
            count: 0xffff,
            file: 0x600
        }
    );
    assert_eq!(
        change(24, &0x2000_u64.to_le_bytes()),
        ElfError::Entry(0x2000),
        "data is not executable"
    );
    assert_eq!(
        change(24, &0x1020_u64.to_le_bytes()),
        ElfError::Entry(0x1020),
        "one behind the end"
    );
}

#[test]
fn segments_that_lie_are_refused() {
    assert_eq!(
        refusal(&second([LOAD, READ_WRITE, 0x400, 0x2000, 0x201, 0x300])),
        ElfError::Truncated {
            segment: 1,
            end: 0x601,
            file: 0x600
        }
    );
    assert!(matches!(
        refusal(&second([LOAD, READ_WRITE, u64::MAX, 0x2000, 0x10, 0x300])),
        ElfError::Truncated { segment: 1, .. }
    ));
    assert_eq!(
        refusal(&second([LOAD, READ_WRITE, 0x400, 0x2000, 0x20, 0x10])),
        ElfError::FileSize {
            segment: 1,
            file: 0x20,
            memory: 0x10
        }
    );
    for (address, size) in [(0x2000, u64::MAX), (u64::MAX - 0xfff, 0x1000), (1 << 40, 1)] {
        assert_eq!(
            refusal(&second([LOAD, READ_WRITE, 0x400, address, 0x10, size])),
            ElfError::Extent {
                segment: 1,
                address,
                size
            }
        );
    }
    assert_eq!(
        refusal(&second([LOAD, READ_WRITE, 0x400, 0x1ff0, 0x10, 0x10])),
        ElfError::Overlap { segment: 1, other: 0 },
        "the same page"
    );
    assert_eq!(
        refusal(&second([LOAD, 7, 0x400, 0x2000, 0x10, 0x10])),
        ElfError::WriteExecute { segment: 1 }
    );
    assert_eq!(refusal(&elf(3, 0, &[], &[], 0x100)), ElfError::NoSegments);
    let many: Vec<Header> = (1..=65).map(|page| [LOAD, READ_EXECUTE, 0, page << 12, 0, 1]).collect();
    assert!(
        matches!(refusal(&elf(3, 0x1000, &many, &[], 0x2000)), ElfError::Header(_)),
        "too many segments"
    );
}

#[test]
fn what_needs_a_dynamic_loader_is_refused() {
    assert_eq!(
        refusal(&second([INTERP, 4, 0x400, 0x2000, 0x10, 0x10])),
        ElfError::Interpreter("(without a name)".into())
    );
    for (tag, name) in [(17, "DT_REL"), (23, "DT_JMPREL"), (36, "DT_RELR")] {
        let mut bytes = program();
        bytes[0x460..0x468].copy_from_slice(&u64::to_le_bytes(tag));
        assert_eq!(refusal(&bytes), ElfError::Dynamic(name));
    }
}

#[test]
fn a_dynamic_section_without_bytes_says_nothing_wherever_it_stands() {
    let empty = [DYNAMIC, 4, 0x13_1313_1313, 0, 0, 0];
    let segments = [[LOAD, READ_EXECUTE, 0x200, 0x1000, 0x20, 0x20], empty];
    assert!(Program::check(stored(&elf(3, 0x1000, &segments, &[], 0x600))).is_ok());
}

#[test]
fn sections_may_be_missing_and_may_have_no_names() {
    let purecap = |offset: u64, count: u16, names: u16| {
        let mut bytes = program();
        bytes[48..52].copy_from_slice(&arch::ELF_PURECAP_FLAGS.to_le_bytes());
        bytes[40..48].copy_from_slice(&offset.to_le_bytes());
        bytes[60..62].copy_from_slice(&count.to_le_bytes());
        bytes[62..64].copy_from_slice(&names.to_le_bytes());
        Program::check(stored(&bytes))
    };
    let sections = |error| matches!(error, Err(ElfError::Sections { .. }));
    let (none, unnamed) = (purecap(0, 32, 1), purecap(0x500, 2, 0));
    assert!(!sections(none.clone()), "{none:?}");
    assert!(!sections(unnamed.clone()), "{unnamed:?}");
    assert!(sections(purecap(0x500, 32, 0)), "beyond the file");
    assert!(sections(purecap(0x500, 2, 2)), "names in a section that is not there");
}

#[test]
fn what_a_dynamic_program_needs_is_named() {
    let needing = |offset: u64, strings: [u64; 2], headers: &[Header]| {
        let dynamic = words(&[1, offset, 5, strings[0], 10, strings[1], 0, 0]);
        let mut all = vec![
            [LOAD, READ_EXECUTE, 0x200, 0x1000, 0x20, 0x20],
            [LOAD, READ_WRITE, 0x400, 0x2000, 0x100, 0x100],
            [DYNAMIC, 4, 0x480, 0x2080, 0x40, 0x40],
        ];
        all.extend(headers);
        let names = b"\0libc.so\0evil\x1b[2J\n\0";
        refusal(&elf(3, 0x1000, &all, &[(0x480, &dynamic), (0x400, names)], 0x600))
    };
    let needed = |name: &str| ElfError::Needed(name.into());
    let interpreter = [INTERP, 4, 0x401, 0x2001, 8, 8];
    assert_eq!(needing(1, [0x2000, 0x20], &[]), needed("libc.so"));
    assert_eq!(
        needing(1, [0x2000, 0x20], &[interpreter]),
        needed("libc.so"),
        "rather than the interpreter"
    );
    assert_eq!(
        needing(9, [0x2000, 0x20], &[]),
        needed("evil?[2J?"),
        "nothing that a terminal acts on"
    );
    assert_eq!(
        needing(1, [0x2000, 5], &[]),
        needed("libc"),
        "no farther than the strings"
    );
    for (offset, strings) in [
        (0x20, [0x2000, 0x20]),
        (u64::MAX, [0x2000, 0x20]),
        (1, [0x3000, 0x20]),
        (1, [0x2000, u64::MAX]),
    ] {
        assert_eq!(needing(offset, strings, &[]), needed("(without a name)"));
    }
    assert_eq!(
        refusal(&elf(
            3,
            0x1000,
            &[
                [LOAD, READ_EXECUTE, 0x200, 0x1000, 0x20, 0x20],
                [INTERP, 4, 0x210, 0x1010, 11, 11]
            ],
            &[(0x210, b"/lib/ld.so\0")],
            0x300
        )),
        ElfError::Interpreter("/lib/ld.so".into())
    );
    assert_eq!(
        needed("libc.so").to_string(),
        "dynamically linked: needs libc.so, expected a static program"
    );
}

#[test]
fn relocations_stay_within_the_program() {
    let change = |at: usize, value: u64| {
        let mut bytes = program();
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        Program::check(stored(&bytes)).err()
    };
    assert_eq!(change(0x440, 0x2ff8), None, "the last word of bss");
    for address in [0x2ff9, 0x3000, 0x0ff8, u64::MAX - 3, 0x1019] {
        assert_eq!(
            change(0x440, address),
            Some(ElfError::RelocationTarget { index: 0, address })
        );
    }
    assert_eq!(change(0x448, 2), Some(ElfError::RelocationType { index: 0, found: 2 }));
    assert_eq!(
        change(0x448, 1 << 32 | 3),
        Some(ElfError::RelocationType { index: 0, found: 3 }),
        "with a symbol"
    );
    for (at, value) in [
        (0x468, 0x20b0),
        (0x468, 0xfff),
        (0x468, u64::MAX),
        (0x478, 25),
        (0x478, u64::MAX / 24 * 24),
        (0x488, 16),
    ] {
        assert!(
            matches!(change(at, value), Some(ElfError::DynamicRange(_))),
            "{at:#x} = {value:#x}"
        );
    }
}

#[test]
fn one_sound_tls_segment_is_accepted() {
    let tls = second([TLS, 4, 0x400, 0x1000, 0x10, 0x18]);
    assert_eq!(
        Program::check(stored(&tls))
            .unwrap()
            .tls
            .map(|tls| (tls.file, tls.memory_size)),
        Some((0x400..0x410, 0x18))
    );
    for (given, alignment) in [(0_u64, 1), (1, 1), (16, 16), (4096, 4096)] {
        let mut tls = tls.clone();
        tls[64 + 56 + 48..][..8].copy_from_slice(&given.to_le_bytes());
        assert_eq!(
            Program::check(stored(&tls)).unwrap().tls.map(|tls| tls.alignment),
            Some(alignment),
            "{given}"
        );
    }
    assert_eq!(refusal(&second([TLS, 4, 0x5f8, 0x1000, 0x10, 0x18])), ElfError::Tls);
    assert_eq!(refusal(&second([TLS, 4, 0x400, 0x1000, 0x20, 0x18])), ElfError::Tls);
    assert_eq!(
        Program::check(stored(&second([TLS, 4, 0x400, 0x1000, 0, 0])))
            .unwrap()
            .tls,
        None,
        "an empty one is none"
    );
    assert_eq!(refusal(&second([TLS, 4, 0x400, 0x1000, 0, u64::MAX])), ElfError::Tls);
}

proptest! {
    #[test]
    fn a_damaged_program_is_refused_or_stays_within_its_file_and_extent(
        pokes in proptest::collection::vec((any::<proptest::sample::Index>(), prop_oneof![any::<u64>(), 0_u64..0x3000, Just(u64::MAX)]), 1..4),
        length in any::<proptest::sample::Index>()
    ) {
        let mut bytes = program();
        for (index, value) in pokes {
            let at = index.index(0x4a0 / 4) * 4;
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        for bytes in [&bytes[..], &bytes[..length.index(bytes.len())]] {
            let Ok(program) = Program::check(stored(bytes)) else { continue };
            for segment in &program.segments {
                prop_assert!(segment.file.end <= bytes.len());
                prop_assert!(segment.file.len() as u64 <= segment.memory_size);
                prop_assert!(program.extent.start <= segment.address);
                prop_assert!(segment.address + segment.memory_size <= program.extent.end);
            }
            let outside = |address, _| (!program.extent.contains(&address)).then_some(address);
            prop_assert_eq!(program.words(stored(bytes), 0, outside), None);
        }
    }
}
