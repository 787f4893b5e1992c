//! ELF programs.

use tools::Architecture;
use tools::archive::Member;
use tools::elf::Facts;
use tools::manifest::{CvmSpec, Manifest};

/// The monitor's stand-in on the host takes programs of this architecture.
const ARCH: Architecture = Architecture::CheriRiscv;

/// What the tools would put into an archive of a program.
fn packed(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let facts = Facts::read(bytes).map_err(|error| error.to_string())?;
    match facts.check(ARCH).as_slice() {
        [] => tools::elf::strip(bytes).map_err(|error| error.to_string()),
        [error, ..] => Err(error.to_string()),
    }
}

/// What the tools alone look at: tables of sections and symbols, alignments, the address of TLS, and bounds, which the
/// monitor looks at when it places a cVM.
const TOOLS_ONLY: [&str; 4] = ["malformed ELF", "alignment", "TLS segment at", "be said exactly"];

/// What the tools pack, the monitor accepts, and what it accepts, they pack, but for what the tools alone look at.
pub fn elf(bytes: &[u8]) {
    let monitor = kernel::fuzz::elf(bytes);
    match packed(bytes) {
        Ok(packed) => {
            if let Err(error) = kernel::fuzz::elf(&packed) {
                panic!("the tools pack what the monitor refuses: {error}");
            }
        }
        Err(error) => assert!(
            monitor.is_err() || TOOLS_ONLY.iter().any(|what| error.contains(what)) || has_empty_segment(bytes),
            "the monitor accepts what the tools refuse: {error}"
        ),
    }
}

fn has_empty_segment(bytes: &[u8]) -> bool {
    Facts::read(bytes).is_ok_and(|facts| facts.segments.iter().any(|segment| segment.memory_size == 0))
}

/// A cVM with this program ends up with memory and registers of its own and nothing else, or is refused.
pub fn loader(bytes: &[u8]) {
    let cvm = CvmSpec {
        stack: 4096,
        heap: 4096,
        ..CvmSpec::new("cvm", "program")
    };
    let manifest = Manifest::new(&[cvm]).encode().expect("a plain manifest");
    let members = [
        Member::new(abi::manifest::MEMBER, manifest),
        Member::new("program", bytes),
    ];
    let archive = tools::archive::write(&members).expect("a plain archive");
    kernel::fuzz::boot(&archive, &[]);
}

/// A program of any architecture: the tools read, check, strip and show it, and stripping changes nothing that counts.
pub fn program(bytes: &[u8]) {
    let _ = tools::elf::functions(bytes);
    let Ok(facts) = Facts::read(bytes) else { return };
    let stripped = tools::elf::strip(bytes);
    for arch in Architecture::ALL {
        if !facts.check(arch).is_empty() {
            continue;
        }
        // What lies outside of the loaded segments may be worse than what was checked.
        let Ok(stripped) = &stripped else { continue };
        let after = Facts::read(stripped).unwrap_or_else(|error| panic!("cannot be read when stripped: {error}"));
        let errors = after.check(arch);
        assert!(errors.is_empty(), "cannot run when stripped: {errors:?}");
        assert_eq!(
            (after.entry, after.kind, after.span()),
            (facts.entry, facts.kind, facts.span())
        );
        assert_eq!(after.relocations, facts.relocations);
    }
    if let Ok(archive) = tools::archive::write(&[Member::new("program", bytes)])
        && let Ok(report) = tools::inspect::inspect(&archive)
    {
        let _ = report.to_string();
    }
}
