//! Damaged files are refused or reported, never a panic: whatever bytes change in a program, an archive or an image.

use proptest::prelude::*;
use tools::archive::{self, Member};
use tools::elf::purecap::{FRAGMENT_DATA, R_MORELLO_CAPINIT, R_MORELLO_RELATIVE, R_RISCV_CHERI_CAPABILITY, Wanted};
use tools::elf::synthesis::{CapReloc, DynamicSymbol, Elf, Fragment, Purecap, Rela};
use tools::elf::{Facts, functions, strip};
use tools::manifest::{self, CvmSpec};
use tools::run::Isa;
use tools::{Architecture, audit, config, image, inspect};

fn program() -> Vec<u8> {
    let mut elf = Elf::program(Architecture::CheriRiscv, &[0x13; 64]);
    elf.functions = vec![(0x1000, 32, "_start".into()), (0x1020, 32, "_ZN3foo3barE".into())];
    elf.debug = vec![0xdb; 64];
    elf.with_relocations(0x8000, &[(0x2000, 3)]).to_bytes()
}

/// A purecap program with relocations of all kinds.
fn purecap(arch: Architecture) -> Vec<u8> {
    let mut purecap = Purecap::new(arch, &[0x13; 64]);
    purecap.table_space = 0x1000;
    let first = purecap.slot(0);
    let slot = |number: u64| first + 16 * number;
    let relocation = |number: u64, kind, symbol| Rela {
        location: slot(number),
        kind,
        symbol,
        addend: 0,
    };
    let (symbol, fragment) = match arch {
        Architecture::CheriRiscv => (R_RISCV_CHERI_CAPABILITY, object::elf::R_RISCV_RELATIVE),
        Architecture::Morello => (R_MORELLO_CAPINIT, R_MORELLO_RELATIVE),
    };
    let data = purecap.data_address();
    purecap.relocations = vec![relocation(0, symbol, 1), relocation(1, fragment, 0)];
    purecap.fragments = vec![Fragment {
        location: slot(1),
        start: data,
        length: 16,
        permissions: FRAGMENT_DATA,
    }];
    purecap.cap_relocs = vec![CapReloc {
        location: slot(2),
        object: data,
        size: 32,
        ..CapReloc::default()
    }];
    purecap.symbols = vec![DynamicSymbol::new("object", object::elf::STT_OBJECT, data, 16)];
    purecap.to_bytes()
}

/// The bytes that matter, the padding between parts left out.
fn damage(file: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let places: Vec<usize> = (0..file.len())
        .filter(|index| file[index & !63..].iter().take(64).any(|b| *b != 0))
        .collect();
    let values = prop_oneof![Just(0), Just(0x7f), Just(0x80), Just(0xff), any::<u8>()];
    let changes = prop::collection::vec((prop::sample::select(places), values), 1..6);
    (changes, 0..=file.len()).prop_map(move |(changes, cut)| {
        let mut damaged = file.clone();
        for (place, value) in changes {
            damaged[place] = value;
        }
        // Half of the cases keep their length.
        if cut % 2 == 0 {
            damaged.truncate(cut);
        }
        damaged
    })
}

/// A damaged purecap program and its architecture.
fn damaged_purecap() -> impl Strategy<Value = (Architecture, Vec<u8>)> {
    let of = |arch| damage(purecap(arch)).prop_map(move |file| (arch, file));
    prop_oneof![of(Architecture::CheriRiscv), of(Architecture::Morello)]
}

fn sample_archive() -> Vec<u8> {
    let cvms = [
        CvmSpec {
            args: vec!["x".into()],
            ..CvmSpec::new("a", "hello")
        },
        CvmSpec {
            callback_out: "a".into(),
            within: Some("a".into()),
            ..CvmSpec::new("b", "hello")
        },
    ];
    let manifest = Member::new("manifest.dtb", manifest::encode(&cvms).unwrap());
    archive::write(&[manifest, Member::new("hello", program())]).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_program_is_refused_or_stays_what_it_was_after_stripping(file in damage(program())) {
        if let Ok(facts) = Facts::read(&file) {
            let errors = facts.check(Architecture::CheriRiscv);
            let stripped = strip(&file);
            if let (true, Ok(stripped)) = (errors.is_empty(), stripped) {
                let after = Facts::read(&stripped).expect("a stripped program is a program");
                prop_assert_eq!(&after.segments, &facts.segments);
                prop_assert_eq!(&after.relocations, &facts.relocations);
                prop_assert_eq!(after.check(Architecture::CheriRiscv), vec![]);
            }
        }
        let _ = functions(&file);
        let _ = image::build(&file, Architecture::CheriRiscv, None);
    }

    #[test]
    fn a_damaged_purecap_program_is_refused_or_makes_no_authority_beyond_itself(
        (arch, file) in damaged_purecap()
    ) {
        let Ok(facts) = Facts::read(&file) else { return Ok(()) };
        if !facts.check(arch).is_empty() {
            return Ok(());
        }
        for relocation in &facts.purecap_relocations {
            let object = match &relocation.wanted {
                Wanted::Entry { object, size, permissions, .. } if permissions >> 63 == 0 && *object != 0 => (*object, *size),
                Wanted::Symbol { symbol: Some(symbol), .. } if symbol.defined && symbol.kind != object::elf::STT_FUNC => {
                    (symbol.value, symbol.size)
                }
                _ => continue,
            };
            let inside = |segment: &tools::elf::Segment| {
                object.0 >= segment.address && object.0 + object.1 <= segment.address + segment.memory_size
            };
            prop_assert!(facts.segments.iter().any(inside), "{relocation:?}");
        }
    }

    #[test]
    fn a_damaged_archive_is_reported(file in damage(sample_archive())) {
        if let Ok(report) = inspect::inspect(&file) {
            prop_assert!(report.to_string().starts_with("archive: "));
        }
        if let Ok(audit) = audit::audit(&file, Isa::V8) {
            prop_assert!(audit.cvms.iter().all(|cvm| !cvm.capabilities.is_empty()));
        }
    }

    #[test]
    fn any_text_is_yaml_or_an_error(text in "[a-zA-Z:\\-\\[\\]{}&*!|>'\" \n\t0-9~#?,]{0,60}") {
        let config = config::parse(std::path::Path::new("x.yaml"), &text);
        prop_assert!(config.has_errors() || !config.cvms.is_empty());
    }
}
