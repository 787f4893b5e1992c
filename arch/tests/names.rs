//! The wall has no holes: every architecture module defines the same names, so that the kernel compiles on each of them
//! without knowing which it is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Types whose methods are part of the wall.
const TYPES: [&str; 2] = ["Frame", "Slot"];
/// What the host's stand-in has besides, for the tests that look into it.
const HOST_ONLY: [&str; 3] = ["stand_in", "Slot::root", "Frame::set_hostcall"];

fn directory(module: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(module)
}

fn source(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The name that a line defines for everybody, when it stands at this indentation; `kind` of a module is `mod`.
fn public(line: &str, indentation: &str) -> Option<(&'static str, String)> {
    let item = line.strip_prefix(indentation)?.strip_prefix("pub ")?;
    let kinds = [
        "const fn",
        "extern \"C\" fn",
        "fn",
        "const",
        "static",
        "type",
        "struct",
        "mod",
    ];
    let (kind, rest) = kinds
        .iter()
        .find_map(|kind| Some((*kind, item.strip_prefix(kind)?.strip_prefix(' ')?)))?;
    let end = rest
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    Some((kind, rest[..end].to_owned()))
}

/// The names in `pub use path::{a, b};` or `pub use path::a;`.
fn reexported(text: &str) -> Vec<String> {
    let uses = text
        .split("\npub use ")
        .skip(1)
        .map(|rest| &rest[..rest.find(';').unwrap()]);
    let leaves = uses.flat_map(|path| {
        let list = path
            .split_once('{')
            .map_or_else(|| path.rsplit("::").next().unwrap(), |(_, list)| list);
        list.split(',')
            .map(|name| name.trim_matches(|c: char| c.is_whitespace() || c == '}').to_owned())
    });
    leaves.filter(|name| !name.is_empty()).collect()
}

/// Everything that a module offers: its names, those in its public modules, the public methods of [`TYPES`].
fn names(module: &str) -> BTreeSet<String> {
    let directory = directory(module);
    let root = source(&directory.join("mod.rs"));
    let mut found: BTreeSet<String> = reexported(&root).into_iter().collect();
    let mut file_modules = Vec::new();
    for (kind, name) in root.lines().filter_map(|line| public(line, "")) {
        if kind == "mod" && !root.contains(&format!("pub mod {name} {{")) {
            file_modules.push(name.clone());
        }
        found.insert(name);
    }
    for name in file_modules.iter().filter(|name| !HOST_ONLY.contains(&name.as_str())) {
        let text = source(&directory.join(format!("{name}.rs")));
        found.extend(
            text.lines()
                .filter_map(|line| public(line, ""))
                .map(|(_, inner)| format!("{name}::{inner}")),
        );
    }
    let files = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
        let mut context: Option<String> = None;
        for line in source(&file).lines() {
            if line == "}" {
                context = None;
            } else if let Some(name) = TYPES.iter().find(|name| line == format!("impl {name} {{")) {
                context = Some((*name).to_owned());
            } else if let Some(("mod", name)) = public(line, "").filter(|_| line.ends_with('{')) {
                context = Some(name);
            } else if let (Some(context), Some((_, name))) = (&context, public(line, "    ")) {
                found.insert(format!("{context}::{name}"));
            }
        }
    }
    found
}

#[test]
fn every_architecture_defines_the_same_names() {
    let reference = names("cheri_riscv");
    for name in [
        "Frame::start",
        "Slot::derive",
        "console::put",
        "protection::open",
        "virtio::read",
        "ELF_MACHINE",
    ] {
        assert!(reference.contains(name), "{name} is not seen in {reference:?}");
    }
    let morello = names("morello");
    let difference: Vec<_> = reference.symmetric_difference(&morello).collect();
    assert!(difference.is_empty(), "in cheri_riscv or morello only: {difference:?}");
    let host: BTreeSet<_> = names("host")
        .into_iter()
        .filter(|name| !HOST_ONLY.contains(&name.as_str()))
        .collect();
    let difference: Vec<_> = reference.symmetric_difference(&host).collect();
    assert!(
        difference.is_empty(),
        "in cheri_riscv or the host's stand-in only: {difference:?}"
    );
}

#[test]
fn the_kernel_names_no_architecture() {
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel/src")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text = source(&path);
            let code = text
                .lines()
                .map(|line| line.split("//").next().unwrap().to_ascii_lowercase());
            for (number, line) in (1..).zip(code) {
                for word in ["target_arch", "morello", "aarch64", "riscv", "asm!"] {
                    assert!(!line.contains(word), "{}:{number}: {line}", path.display());
                }
            }
        }
    }
}
