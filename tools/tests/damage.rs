//! Damaged files are refused or reported, never a panic: whatever bytes change in a program, an archive or an image.

use proptest::prelude::*;
use tools::archive::{self, Member};
use tools::elf::synthesis::Elf;
use tools::elf::{Facts, functions, strip};
use tools::manifest::{self, CvmSpec};
use tools::{Architecture, config, image, inspect};

fn program() -> Vec<u8> {
    let mut elf = Elf::program(Architecture::CheriRiscv, &[0x13; 64]);
    elf.functions = vec![(0x1000, 32, "_start".into()), (0x1020, 32, "_ZN3foo3barE".into())];
    elf.debug = vec![0xdb; 64];
    elf.with_relocations(0x8000, &[(0x2000, 3)]).to_bytes()
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

fn sample_archive() -> Vec<u8> {
    let cvms = [
        CvmSpec {
            args: vec!["x".into()],
            ..CvmSpec::new("a", "hello")
        },
        CvmSpec::new("b", "hello"),
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
    fn a_damaged_archive_is_reported(file in damage(sample_archive())) {
        if let Ok(report) = inspect::inspect(&file) {
            prop_assert!(report.to_string().starts_with("archive: "));
        }
    }

    #[test]
    fn any_text_is_yaml_or_an_error(text in "[a-zA-Z:\\-\\[\\]{}&*!|>'\" \n\t0-9~#?,]{0,60}") {
        let config = config::parse(std::path::Path::new("x.yaml"), &text);
        prop_assert!(config.has_errors() || !config.cvms.is_empty());
    }
}
