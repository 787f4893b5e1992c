//! What is in the image: a library more is a decision, not an accident, and every byte is somebody's.

use std::process::Command;

use tests::sizes;
use tools::Architecture;
use tools::workspace::Workspace;

/// The project's own crates, and the libraries.
const EXPECTED: [&str; 12] = [
    "abi",
    "arch",
    "bitflags",
    "boot",
    "byteorder",
    "capability",
    "hash32",
    "heapless",
    "kernel",
    "log",
    "spin",
    "stable_deref_trait",
];

#[test]
fn the_image_is_made_of_these_crates() {
    for arch in [Architecture::CheriRiscv, Architecture::Morello] {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--locked", "--package=boot", "--edges=normal", "--prefix=none"])
            .args(["--format={p}", "--target", arch.triple()])
            .current_dir(Workspace::locate().unwrap().root)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let mut found: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, EXPECTED, "{}", arch.name());
    }
}

#[test]
fn every_byte_of_the_image_is_in_the_table_of_its_sizes() {
    for arch in [Architecture::CheriRiscv, Architecture::Morello] {
        let sizes = sizes::of(arch).unwrap_or_else(|error| panic!("{}: {error}", arch.name()));
        let sum: u64 = sizes.parts.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(sum, sizes.file, "{}: {:?}", arch.name(), sizes.parts);
        let of = |name: &str| {
            sizes
                .parts
                .iter()
                .find(|(part, _)| part == name)
                .map_or(0, |(_, bytes)| *bytes)
        };
        // Up to the file's multiple of 512 bytes, and between sections.
        assert!(of("alignment") < 1024, "{}: {:?}", arch.name(), sizes.parts);
        for room in ["start", "hostcall", "run", "cvm", "plan", "authority", "elf", "report"] {
            assert!(
                of(&format!("text: kernel::{room}")) > 0,
                "{}: {room}: {:?}",
                arch.name(),
                sizes.parts
            );
        }
    }
}
