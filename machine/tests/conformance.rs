//! Every conformance image that is at hand prints its expected output, byte for byte.
//!
//! The images are not part of the repository: they are looked for in the folder that `INTRAVISOR_SHARED` names, else in
//! `../shared` beside the workspace.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use machine::Stop;
use machine::riscv::{Board, Config, Isa, Until};

/// More than the longest image needs.
const LIMIT: u64 = 50_000_000;

fn folder() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let shared = std::env::var_os("INTRAVISOR_SHARED").map_or_else(|| workspace.join("../shared"), PathBuf::from);
    shared.join("conformance/cheri-riscv")
}

/// The names of the images for one ISA version; says so when there are none.
fn images(version: &str) -> Vec<(String, PathBuf)> {
    let folder = folder();
    let Ok(entries) = fs::read_dir(&folder) else {
        println!("skipped: no conformance images in {}", folder.display());
        return Vec::new();
    };
    let mut images: Vec<_> = entries
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter_map(|path| Some((path.file_name()?.to_str()?.strip_suffix(".bin.gz")?.to_owned(), path)))
        .filter(|(name, _)| name.starts_with(version))
        .collect();
    images.sort();
    assert!(!images.is_empty(), "{} has no {version} images", folder.display());
    images
}

/// Runs one image and says how its output differs from what is expected, if it does.
fn difference(isa: Isa, path: &Path) -> Option<String> {
    let mut kernel = Vec::new();
    let file = fs::File::open(path).expect("the image can be opened");
    GzDecoder::new(file)
        .read_to_end(&mut kernel)
        .expect("the image can be unpacked");
    let expected = path.with_extension("").with_extension("expected");
    let expected = fs::read_to_string(expected).expect("every image has its expected output");
    let mut board = Board::new(Config {
        isa,
        ..Config::new(kernel)
    })
    .expect("the image fits the board");
    let stop = board.run(Until::exit(LIMIT));
    let printed = board.console().text();
    let mut lines = printed.lines().zip(expected.lines()).enumerate();
    if let Some((number, (printed, expected))) = lines.find(|(_, (printed, expected))| printed != expected) {
        return Some(format!(
            "line {}: printed {printed:?}, expected {expected:?}",
            number + 1
        ));
    }
    if printed != expected {
        return Some(format!("printed {} bytes, expected {}", printed.len(), expected.len()));
    }
    (stop != Stop::Exit(0)).then(|| stop.to_string())
}

fn every_image_agrees(version: &str, isa: Isa) {
    let failures: Vec<_> = (images(version).iter())
        .filter_map(|(name, path)| difference(isa, path).map(|difference| format!("{name}: {difference}")))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_v9_image_prints_its_expected_output() {
    every_image_agrees("v9", Isa::V9);
}

#[test]
fn every_v8_image_prints_its_expected_output() {
    every_image_agrees("v8", Isa::V8);
}
