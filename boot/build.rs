//! Links the image with the linker script of its ISA.

use std::env;

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR") + "/..";
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");
    let script = match architecture.as_str() {
        "riscv64" => "cheri-riscv.ld",
        "aarch64" => "morello.ld",
        other => panic!("the image has no linker script for target architecture '{other}': riscv64 or aarch64"),
    };
    println!("cargo:rerun-if-changed={root}/linker/{script}");
    println!("cargo:rerun-if-changed={root}/arch/src/cheri_riscv/instructions.S");
    for argument in [
        format!("-T{root}/linker/{script}"),
        "-pie".into(),
        "--no-dynamic-linker".into(),
        "--build-id=none".into(),
        "-zmax-page-size=4096".into(),
        "-znorelro".into(),
        "--pack-dyn-relocs=relr".into(),
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
