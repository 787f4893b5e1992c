//! The rest of the trusted computing base: the libraries in the image and how much code each is. The standard library's
//! `core` and `alloc` are in it, too, and not counted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;
use tools::workspace::Workspace;

use crate::Result;
use crate::lines::{self, CRATES};
use crate::measurement::Measurement;
use crate::platform::Platform;

const SECTION: &str = "Libraries in the image (lines of Rust, without tests)";
/// Tests and the like of a library.
const NOT_IN_THE_IMAGE: [&str; 4] = ["tests", "test", "benches", "examples"];

/// Lines of the libraries that the image depends on.
///
/// # Errors
/// Cargo does not tell, or a source file cannot be read.
pub(crate) fn measure(platform: &dyn Platform) -> Result<Vec<Measurement>> {
    let root = Workspace::locate()?.root;
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform"])
        .arg(platform.arch().triple())
        .current_dir(&root)
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: Json = serde_json::from_slice(&output.stdout)?;
    let mut measured = Vec::new();
    let mut sum = 0;
    for (name, manifest) in libraries(&metadata)? {
        let source = Path::new(&manifest).with_file_name("src");
        let code = lines::count(&source, &NOT_IN_THE_IMAGE).map_err(|error| format!("{name}: {error}"))?;
        sum += code.rust;
        measured.push(Measurement::count(SECTION, name, code.rust));
    }
    measured.push(Measurement::count(SECTION, "sum of the libraries", sum));
    Ok(measured)
}

/// Names and manifests of what `boot` needs at run time, the project's own crates left out.
fn libraries(metadata: &Json) -> Result<BTreeMap<String, String>> {
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
            found.insert(text("name"), text("manifest_path"));
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
