//! Whose code is in the image: a library more is a decision, not an accident.

use std::process::Command;

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
