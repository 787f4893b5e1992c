//! Looks for the QEMUs that the tests can use besides the embedded machine, and for clang. A test that wants one that is not
//! there is shown as ignored, with the reason.

use std::env;
use std::path::PathBuf;

/// Name of the condition, program, variable that may name another program.
const EMULATORS: [(&str, &str, &str); 3] = [
    (
        "qemu_riscv64cheri",
        "qemu-system-riscv64cheri",
        "INTRAVISOR_QEMU_RISCV64CHERI",
    ),
    (
        "qemu_riscv64xcheri",
        "qemu-system-riscv64xcheri",
        "INTRAVISOR_QEMU_RISCV64XCHERI",
    ),
    ("qemu_morello", "qemu-system-morello", "INTRAVISOR_QEMU_MORELLO"),
];

/// EFI firmware for the virt board of `qemu-system-morello`: a condition, the variable that may name it, and where the
/// distributions' packages have it.
const FIRMWARE: (&str, &str, [&str; 2]) = (
    "efi_aarch64",
    "INTRAVISOR_EFI_AARCH64",
    [
        "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd",
        "/usr/share/edk2/aarch64/QEMU_EFI.fd",
    ],
);

fn main() {
    let (condition, variable, usual) = FIRMWARE;
    println!("cargo::rustc-check-cfg=cfg({condition})");
    println!("cargo::rerun-if-env-changed={variable}");
    let named = env::var_os(variable).filter(|name| !name.is_empty()).map(PathBuf::from);
    let usual = || usual.map(PathBuf::from).into_iter().find(|path| path.is_file());
    if let Some(path) = named.or_else(usual) {
        println!("cargo::rustc-cfg={condition}");
        println!("cargo::rustc-env={variable}={}", path.display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PATH");
    let search_path = env::var_os("PATH").unwrap_or_default();
    for (condition, program, variable) in EMULATORS {
        println!("cargo::rustc-check-cfg=cfg({condition})");
        println!("cargo::rerun-if-env-changed={variable}");
        let named = env::var_os(variable).filter(|name| !name.is_empty()).map(PathBuf::from);
        let on_path = || env::split_paths(&search_path).map(|directory| directory.join(program));
        if let Some(path) = named.or_else(|| on_path().find(|path| path.is_file())) {
            println!("cargo::rustc-cfg={condition}");
            println!("cargo::rustc-env={variable}={}", path.display());
        }
    }
    // A compiler for the C programs of the documentation, and a debugger.
    println!("cargo::rustc-check-cfg=cfg(clang)");
    println!("cargo::rustc-check-cfg=cfg(gdb_multiarch)");
    let is_there = |program: &str| env::split_paths(&search_path).any(|directory| directory.join(program).is_file());
    if is_there("clang") && is_there("ld.lld") {
        println!("cargo::rustc-cfg=clang");
    }
    if is_there("gdb-multiarch") {
        println!("cargo::rustc-cfg=gdb_multiarch");
    }
}
