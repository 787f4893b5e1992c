//! Tells the packages that depend on this crate how a cVM is linked: their build scripts find the linker arguments in
//! `DEP_CVM_LINK_ARGS`, separated by the character U+001F.

use std::{env, error::Error, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let script = Path::new(&env::var("CARGO_MANIFEST_DIR")?)
        .join("../../linker/cvm.ld")
        .canonicalize()?;
    let script = script.to_str().ok_or("the path of linker/cvm.ld is not UTF-8")?;
    println!("cargo::rerun-if-changed={script}");
    let arguments = [
        &format!("-T{script}"),
        // A position-independent file without an interpreter: the monitor relocates it.
        "-pie",
        "--no-dynamic-linker",
        "-z",
        "text",
        "-z",
        "rodynamic",
        "-z",
        "norelro",
        "-z",
        "max-page-size=4096",
        "--gc-sections",
        "--build-id=none",
        "--discard-locals",
        // Symbols stay for the monitor's backtraces, line tables do not travel with the image.
        "--strip-debug",
    ];
    println!("cargo::metadata=link_args={}", arguments.join("\u{1f}"));
    Ok(())
}
