//! Manifests, and the YAML files that they are made from.

use std::path::Path;

use abi::manifest::MEMBER;
use tools::archive::Member;
use tools::manifest::{DecodeError, Manifest};

/// What the monitor accepts, the tools can read, and show as the monitor understands it.
pub fn manifest(bytes: &[u8]) {
    let members = [
        Member::new(MEMBER, bytes),
        Member::new("program", *b"p"),
        Member::new("a", *b"a"),
    ];
    let archive = tools::archive::write(&members).expect("a plain archive");
    let read = tools::manifest::decode(bytes);
    if let Ok((cvms, capfiles)) = kernel::fuzz::manifest(&archive) {
        let read = match read {
            // Their parser is stricter with the shape of a tree, the sizes in its header above all.
            Err(DecodeError::Tree(_)) => return,
            read => read.unwrap_or_else(|error| panic!("the tools cannot read what the monitor accepts: {error}")),
        };
        assert!(cvms.iter().eq(read.cvms.iter().map(|cvm| &cvm.name)));
        assert!(capfiles.iter().eq(read.capfiles.iter().map(|capfile| &capfile.name)));
    }
}

/// What the tools make of a file that they accept, the monitor accepts.
pub fn yaml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let config = tools::config::parse(Path::new("fuzz.yaml"), text);
    for diagnostic in &config.diagnostics {
        let _ = diagnostic.to_string();
    }
    if config.has_errors() {
        return;
    }
    let mut cvms: Vec<_> = config.cvms.into_iter().map(|cvm| cvm.spec).collect();
    for cvm in &mut cvms {
        // Whatever the path, packing gives the program a name of its own in the archive.
        cvm.runtime = "program".to_owned();
    }
    let manifest = Manifest::new(&cvms).with_capfiles(&config.capfiles).encode();
    let manifest = manifest.expect("an accepted file can be encoded");
    let read = tools::manifest::decode(&manifest).expect("what was encoded");
    assert_eq!((&read.cvms, &read.capfiles), (&cvms, &config.capfiles));
    let archive = tools::archive::write(&[Member::new(MEMBER, manifest), Member::new("program", *b"p")]);
    match kernel::fuzz::manifest(&archive.expect("a plain archive")) {
        Ok((names, capfiles)) => {
            assert!(names.iter().eq(cvms.iter().map(|cvm| &cvm.name)));
            assert!(capfiles.iter().eq(config.capfiles.iter().map(|capfile| &capfile.name)));
        }
        Err(error) => panic!("the monitor refuses what the tools accept: {error}"),
    }
}
