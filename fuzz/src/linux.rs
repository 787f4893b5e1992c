//! Two Linux programs with two threads and more, and processes, which do anything to their library OS.

use library_os::Who;
use library_os::model::{CARD, DATA, FILE, HEAP, HOST, Model, SEEN, SIZE};

use crate::source::Source;

/// Most moves of a run.
const MOVES: usize = 400;
/// Bytes of a program's data that arguments point to, in pieces of so many.
const PIECES: u64 = 32;
const PIECE: u64 = 32;
/// Another machine.
const PEER: [u8; 4] = [10, 0, 2, 2];
/// What can be found there.
const TEXTS: [&str; 14] = [
    FILE,
    "/proc/self/exe",
    "/",
    "/tmp",
    "/tmp/a",
    "/tmp/b",
    "a",
    "a/b",
    "..",
    "../a",
    "/dev/zero",
    "/dev/urandom",
    "/dev/console",
    "/tmp/a/",
];

fn piece(source: &mut Source<'_>) -> u64 {
    u64::from(source.byte()) % PIECES * PIECE
}

fn argument(source: &mut Source<'_>) -> u64 {
    match source.byte() {
        0..=89 => u64::from(source.byte() % 12),
        90..=159 => DATA + piece(source),
        160..=174 => HEAP + u64::from(source.byte() % 5) * 4096,
        175..=184 => SEEN + SIZE - u64::from(source.byte()),
        185..=204 => 1 << (source.byte() % 64),
        205..=214 => (1_u64 << (source.byte() % 64)) | (1 << (source.byte() % 64)),
        // Relative to the folder that the program is in.
        215..=229 => -100_i64 as u64,
        230..=239 => u64::from(source.byte()).wrapping_neg(),
        _ => source.number(),
    }
}

/// Structures that calls read, and texts.
fn poke(model: &mut Model, client: usize, source: &mut Source<'_>) {
    let at = DATA - SEEN + piece(source);
    let kind = source.byte() % 8;
    let mut words = |count: usize| -> Vec<u8> { (0..count).flat_map(|_| argument(source).to_le_bytes()).collect() };
    match kind {
        0 | 1 => {
            let mut text = source.of(&TEXTS).as_bytes().to_vec();
            text.push(0);
            model.poke(client, at, &text);
        }
        // A vector, a span of time, a word.
        2 => model.poke(client, at, &words(4)),
        3 => model.poke(client, at, &words(1)),
        // An address of a socket: family, port, host.
        4 => {
            let family = source.of_numbers(&[1, 2, 10]) as u8;
            let host = if source.byte().is_multiple_of(2) {
                [127, 0, 0, 1]
            } else {
                PEER
            };
            let bytes = [&[family, 0, 0, source.byte() % 4], host.as_slice(), &[0; 8]].concat();
            model.poke(client, at, &bytes);
        }
        // What a poll asks: descriptor, events.
        5 => {
            let bytes = [source.byte() % 12, 0, 0, 0, source.byte(), 0, 0, 0];
            model.poke(client, at, &bytes);
        }
        6 => model.poke(client, at, &u64::from(source.byte() % 32).to_le_bytes()),
        _ => {
            let bytes: Vec<u8> = (0..PIECE).map(|_| source.byte()).collect();
            model.poke(client, at, &bytes);
        }
    }
}

/// A frame of another machine: a segment of TCP, or anything.
fn frame(model: &mut Model, source: &mut Source<'_>) {
    if source.byte() > 240 {
        let bytes: Vec<u8> = (0..source.byte()).map(|_| source.byte()).collect();
        return model.frame(&bytes);
    }
    let ethernet = [&CARD, [2, 0, 0, 0, 0, 2].as_slice(), &[8, 0]].concat();
    let data: Vec<u8> = (0..source.byte() % 16).map(|_| source.byte()).collect();
    let length = 40 + data.len() as u8;
    let internet = [&[0x45, 0, 0, length, 0, 0, 0, 0, 64, 6, 0, 0], PEER.as_slice(), &HOST].concat();
    // From port 7 or a program's, to a small one or one that is given to who asks for none.
    let from = [0, source.byte() % 4];
    let to = if source.byte().is_multiple_of(2) {
        [0, source.byte() % 4]
    } else {
        [0xc0, source.byte() % 4 + 1]
    };
    let numbers = [source.byte() % 4, source.byte(), source.byte() % 4, source.byte()];
    let [sequence, low, acknowledged, lower] = numbers;
    let segment = [
        from.as_slice(),
        &to,
        &[0, 0, sequence, low],
        &[0, 0, acknowledged, lower],
        &[0x50, source.byte() % 32, 16, 0, 0, 0, 0, 0],
    ]
    .concat();
    model.frame(&[ethernet, internet, segment, data].concat());
}

/// Whatever programs ask, their library OS touches nothing but their own memory, and keeps nothing of those that have ended.
pub fn linux(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let mut model = Model::new();
    for _ in 0..MOVES {
        if source.is_empty() {
            break;
        }
        let who = source.byte();
        let client = usize::from(who & 1 | who >> 4 & 2);
        match who >> 1 & 0xf {
            0 => model.pass(u64::from(source.byte()) << (source.byte() % 32)),
            1 if source.byte() >= 250 => model.begin(client),
            2 => frame(&mut model, &mut source),
            1..=5 => poke(&mut model, client, &mut source),
            _ => {
                let who = Who {
                    client: client as u32,
                    thread: u16::from(who >> 6),
                };
                // The table of all architectures ends below 512.
                let number = match source.byte() {
                    255 => source.number(),
                    low => u64::from(low) + if source.byte() >= 240 { 255 } else { 0 },
                };
                let arguments = std::array::from_fn(|_| argument(&mut source));
                model.call(who, number, arguments);
            }
        }
    }
    model.finish();
}
