//! A driver and its device, which both do anything.

use std::sync::LazyLock;

use abi::manifest::RestartPolicy;
use kernel::fuzz::devices::{Move, Way, drive};
use tools::Architecture;
use tools::archive::{self, Member};
use tools::elf::synthesis::Elf;
use tools::manifest::{CvmSpec, Manifest};

use crate::source::Source;

/// Most moves of a run.
const MOVE_LIMIT: usize = 200;

static ARCHIVE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut driver = CvmSpec {
        heap: 0x8_0000,
        devices: vec!["block0".to_owned()],
        ..CvmSpec::new("driver", "program")
    };
    driver.restart.policy = RestartPolicy::Always;
    driver.restart.limit = u32::MAX;
    let manifest = Manifest::new(&[driver]).encode().expect("a plain manifest");
    let program = Elf::program(Architecture::CheriRiscv, &[0x13; 16]).to_bytes();
    let members = [
        Member::new(abi::manifest::MEMBER, manifest),
        Member::new("program", program),
    ];
    archive::write(&members).expect("a plain archive")
});

fn number(source: &mut Source<'_>, bytes: usize) -> u64 {
    (0..bytes).fold(0, |value, _| value << 8 | u64::from(source.byte()))
}

fn segment(source: &mut Source<'_>) -> [u64; 3] {
    let pointer = match source.byte() {
        0..=199 => 0x1000 + number(source, 2),
        200..=219 => number(source, 3),
        220..=239 => number(source, 1).wrapping_neg(),
        _ => number(source, 8),
    };
    let length = match source.byte() {
        0..=199 => 1 + number(source, 1),
        200..=239 => number(source, 3),
        _ => number(source, 8),
    };
    let flags = match source.byte() {
        0..=119 => 0,
        120..=239 => 1,
        _ => number(source, 8),
    };
    [pointer, length, flags]
}

fn next(source: &mut Source<'_>) -> Move {
    let queue = |byte: u8| u64::from(if byte > 240 { byte } else { byte % 2 });
    let way = |byte: u8| if byte & 2 == 0 { Way::Short } else { Way::Long };
    match source.byte() {
        0..=15 => Move::Start(number(source, 8)),
        16..=95 => {
            let count = if source.byte() > 240 { 17 } else { 1 + source.byte() % 4 };
            let mut segments: Vec<_> = (0..count).map(|_| segment(source)).collect();
            // As it should be, most of the time.
            if source.byte() < 200 {
                segments.sort_by_key(|segment| segment[2]);
            }
            let byte = source.byte();
            Move::Submit(queue(byte), segments, way(byte))
        }
        96..=159 => {
            let byte = source.byte();
            Move::Take(queue(byte), way(byte))
        }
        160..=169 => Move::Look(source.byte().into()),
        170..=173 => Move::Reset,
        174..=175 => Move::End,
        176..=235 => {
            let id = if source.byte() > 230 {
                number(source, 4) as u32
            } else {
                u32::from(source.byte() % 24)
            };
            Move::Finish(usize::from(source.byte() % 2), id, number(source, 4) as u32)
        }
        236..=241 => Move::Index(usize::from(source.byte() % 2), number(source, 2) as u16),
        _ => Move::Say(
            usize::from(source.byte() % 2),
            source.byte().into(),
            source.byte().into(),
            source.byte().into(),
        ),
    }
}

/// Whatever a driver and its device do, the device gets what is the driver's, and the driver what is in flight.
pub fn queues(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let version = 1 + u32::from(source.byte() % 2);
    let count = MOVE_LIMIT.min(bytes.len());
    let moves: Vec<Move> = (0..count).map(|_| next(&mut source)).collect();
    drive(&ARCHIVE, version, &moves);
}
