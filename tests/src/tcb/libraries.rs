//! Which libraries the image is made of, and what each can do wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value as Json;
use tools::Architecture;
use tools::workspace::Workspace;

use super::Result;
use crate::lines::CRATES;

/// A package that the image is made of, besides the project's own.
pub struct Library {
    /// Its version, its licence and where its sources are, as cargo knows them.
    pub version: String,
    /// SPDX expression.
    pub license: String,
    /// Path of its `Cargo.toml`.
    pub manifest: String,
}

/// What of the standard library is in the image, and what can go wrong in it.
pub(super) const STANDARD: [(&str, &str); 3] = [
    (
        "core",
        "anything: slices, formatting, integers, everywhere in the monitor",
    ),
    (
        "alloc",
        "anything: vectors of cVMs, threads, frames; the memory of the tables",
    ),
    (
        "compiler_builtins",
        "`memcpy` and the like, of the monitor's own memory only: corrupts it",
    ),
];

/// What each library can do wrong; a library that is not here has not been judged.
pub(super) const HARM: [(&str, &str); 8] = [
    (
        "bitflags",
        "permissions of a printed or planned capability confused: macros over integers, no `unsafe` of its own reached",
    ),
    ("byteorder", "nothing: hash maps, which need it, are not used"),
    ("hash32", "nothing: hash maps, which need it, are not used"),
    (
        "heapless",
        "vectors of fixed capacity for names, devices, lines: an index wrong there is memory of the monitor corrupted",
    ),
    (
        "linked_list_allocator",
        "the heap: two tables in one piece of memory, and so the record of who may what",
    ),
    ("log", "lines of the log lost"),
    (
        "spin",
        "a lock given twice: two `&mut` of one record; one hart runs, with interrupts masked",
    ),
    ("stable_deref_trait", "nothing: a trait without code"),
];

/// What `boot` needs at run time, by name; the project's own crates left out.
///
/// # Errors
/// Cargo does not tell.
pub fn libraries(arch: Architecture) -> Result<BTreeMap<String, Library>> {
    let root = Workspace::locate()?.root;
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform"])
        .arg(arch.triple())
        .current_dir(&root)
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    of_metadata(&serde_json::from_slice(&output.stdout)?)
}

fn of_metadata(metadata: &Json) -> Result<BTreeMap<String, Library>> {
    let packages = metadata["packages"].as_array().ok_or("cargo metadata: no packages")?;
    let nodes = metadata["resolve"]["nodes"]
        .as_array()
        .ok_or("cargo metadata: no graph")?;
    let package = |id: &str| packages.iter().find(|package| package["id"] == id);
    let boot = packages.iter().find(|package| package["name"] == "boot");
    let mut open: Vec<&str> = boot.and_then(|boot| boot["id"].as_str()).into_iter().collect();
    let mut seen = BTreeSet::new();
    let mut found = BTreeMap::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let package = package(id).ok_or_else(|| format!("cargo metadata: no package {id}"))?;
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let is_macro = package["targets"].to_string().contains("\"proc-macro\"");
        if is_macro {
            continue;
        }
        if !CRATES.contains(&text("name").as_str()) {
            let library = Library {
                version: text("version"),
                license: text("license"),
                manifest: text("manifest_path"),
            };
            found.insert(text("name"), library);
        }
        let node = nodes.iter().find(|node| node["id"] == id);
        let dependencies = node.and_then(|node| node["deps"].as_array()).into_iter().flatten();
        for dependency in dependencies {
            let kinds = dependency["dep_kinds"].as_array().into_iter().flatten();
            // A dependency without a kind is one at run time.
            if kinds.clone().any(|kind| kind["kind"].is_null())
                && let Some(id) = dependency["pkg"].as_str()
            {
                open.push(id);
            }
        }
    }
    Ok(found)
}
