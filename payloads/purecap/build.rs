//! Links the programs as purecap cVMs.

use std::{env, error::Error, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let script = Path::new(&env::var("CARGO_MANIFEST_DIR")?)
        .join("../../linker/cvm-purecap.ld")
        .canonicalize()?;
    let script = script
        .to_str()
        .ok_or("the path of linker/cvm-purecap.ld is not UTF-8")?;
    println!("cargo::rerun-if-changed={script}");
    let arguments = [
        &format!("-T{script}"),
        // All addresses are link-time ones: what the monitor relocates are the capabilities in their tables, which the
        // linker knows nothing of. `intravisor build` then marks the file as position-independent and purecap.
        "--no-pie",
        "-z",
        "norelro",
        "-z",
        "max-page-size=4096",
        "--gc-sections",
        "--build-id=none",
        "--discard-locals",
        "--strip-debug",
    ];
    for argument in arguments {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    println!("cargo::rerun-if-changed=asm");
    Ok(())
}
