//! Buffers: shared as the manifest and their owners say, taken back wholly, and found nowhere but where foreign authority may be.

use abi::hostcall::Family;
use abi::manifest::MEMBER;
use abi::{Errno, Hostcall};
use machine::Stop;
use tests::code::assembler::Register::{Argument, Scratch};
use tests::code::attack::Attacker;
use tests::{Platform, Scenario, cvm, on_every_platform, on_machine};
use tools::archive::{self, Member};
use tools::manifest::{BufferSpec, CvmSpec, Manifest};

use crate::authority::Auditor;

on_every_platform!(
    the_example_shows_a_buffer_that_is_taken_back,
    the_example_shows_streams_through_three_cvms,
    the_families_capfile_and_buffer_are_two_ways_to_what_the_manifest_lets_a_cvm_have,
);

on_machine!(what_is_foreign_lies_in_registers_and_local_areas_only);

const FRAMES: [&str; 5] = [
    "frame 1, whole",
    "frame 2, whole",
    "frame 3, whole",
    "frame 4, whole",
    "frame 5, whole",
];

fn the_example_shows_a_buffer_that_is_taken_back(platform: Platform) {
    let outcome = Scenario::example(platform, "frames").boot(platform);
    outcome.assert_status(0);
    assert_eq!(outcome.of("camera"), ["revoked after 5 frames"], "{outcome}");
    let (told, gone) = (outcome.of("viewer"), "the buffer is gone: EFAULT");
    assert_eq!(told, [&FRAMES[..], &[gone]].concat(), "{outcome}");
}

fn the_example_shows_streams_through_three_cvms(platform: Platform) {
    let outcome = Scenario::example(platform, "pipeline").boot(platform);
    outcome.assert_status(0);
    let mut expected: Vec<String> = (1..=20).map(|number| format!("MESSAGE {number} OF 20")).collect();
    expected.push("the end".to_owned());
    assert_eq!(outcome.of("sink"), expected, "{outcome}");
}

/// The call that maps by a name is of its own family: denying `buffer` takes the others away, and neither gives more than the
/// manifest says of the buffer.
fn the_families_capfile_and_buffer_are_two_ways_to_what_the_manifest_lets_a_cvm_have(platform: Platform) {
    let program = |named: Result<(), Errno>, found: Result<(), Errno>| {
        let result = Scratch(0);
        let mut a = Attacker::new(platform);
        for (name, call, expected, code) in [
            (&b"ours"[..], Hostcall::Capfile, named, 10),
            (b"ours", Hostcall::BufferFind, found, 11),
            (b"theirs", Hostcall::Capfile, named.and(Err(Errno::ENOENT)), 12),
            (b"theirs", Hostcall::BufferFind, found.and(Err(Errno::ENOENT)), 13),
        ] {
            let start = a.data.len() as i64;
            a.data.extend_from_slice(name);
            a.data_address(Argument(0))
                .add(Argument(0), Argument(0), start)
                .set(Argument(1), name.len() as u32)
                .hostcall(call);
            match expected {
                Ok(()) if call == Hostcall::Capfile => _ = a.tag_of(result, Argument(0)).must_not_be_zero(result, code),
                Ok(()) => _ = a.must_be_zero(Argument(0), code), // its number
                Err(error) => {
                    _ = a
                        .constant(result, error.to_result())
                        .must_be_equal(Argument(0), result, code)
                }
            }
        }
        a.exit(0);
        a.elf().to_bytes()
    };
    let with = |name: &str, family: Family| CvmSpec {
        hostcalls: Some(vec![family]),
        ..cvm(name, name, &[])
    };
    let cvms = [
        with("named", Family::Capfile),
        with("found", Family::Buffer),
        cvm("other", "hello", &[]),
    ];
    let buffer = |name: &str, readers: &[&str]| BufferSpec {
        name: name.into(),
        size: 4096,
        readers: readers.iter().map(ToString::to_string).collect(),
        ..BufferSpec::default()
    };
    let buffers = [buffer("ours", &["named", "found"]), buffer("theirs", &["other"])];
    let manifest = Manifest::new(&cvms)
        .with_buffers(&buffers)
        .encode()
        .expect("a manifest");
    let hello = tests::artifacts::built(platform.arch()).program("hello");
    let members = [
        Member::new(MEMBER, manifest),
        Member::new("named", program(Ok(()), Err(Errno::EPERM))),
        Member::new("found", program(Err(Errno::EPERM), Ok(()))),
        Member::new("hello", hello),
    ];
    let outcome = Scenario::with_archive(archive::write(&members).expect("an archive")).boot(platform);
    outcome.assert_status(0);
}

fn what_is_foreign_lies_in_registers_and_local_areas_only(platform: Platform) {
    let mut running = Scenario::example(platform, "frames").on_board(platform);
    running.until("cVMs started");
    let mut auditor = Auditor::new(&running.board);
    let viewer = *auditor.entry("viewer data");
    let inside = |address: &u64| viewer.in_bounds(*address, 16);
    let mut looks = [0, 0];
    // A prime step meets monitor and cVMs at ever other places.
    while running.board.run(3_001) == Stop::Limit {
        let console = running.board.console().text();
        assert_eq!(auditor.violations(&running.board), Vec::<String>::new(), "{console}");
        let (memory, frames) = auditor.holders(&running.board, "camera buffers");
        let held = memory.iter().any(inside) || frames.contains(&"viewer");
        let revoked = console.contains("revoked after");
        assert!(!(held && revoked), "{memory:x?} {frames:?}\n{console}");
        looks[usize::from(revoked)] += usize::from(held || revoked);
    }
    assert!(looks.iter().all(|count| *count > 5), "held, and taken back: {looks:?}");
}
