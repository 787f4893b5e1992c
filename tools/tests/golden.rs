//! The audit of every example is a golden file: whatever changes in who may do what shows in a commit, and only on purpose.
//! `INTRAVISOR_GOLDEN=write cargo test -p tools --test golden` writes them anew.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use tools::audit::{Audit, audit, policy};
use tools::pack::pack;
use tools::run::Isa;
use tools::workspace::Workspace;
use tools::{Architecture, audit::Cvm};

/// Set to `write`, the golden files are written instead of compared.
const VARIABLE: &str = "INTRAVISOR_GOLDEN";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Names and YAML files of the examples, sorted.
fn examples(workspace: &Workspace) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(workspace.root.join("examples")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let yaml = paths.filter(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    let mut examples: Vec<_> = yaml
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), path))
        .collect();
    examples.sort();
    examples
}

fn audit_of(workspace: &Workspace, yaml: &Path, arch: Architecture) -> Audit {
    let packed = pack(yaml, arch, &[workspace.programs(arch)]).unwrap_or_else(|error| panic!("{error}"));
    audit(&packed.archive, Isa::V9).unwrap_or_else(|error| panic!("{}: {error}", yaml.display()))
}

/// What differs from the golden file, as far as its first line that does.
fn difference(path: &Path, found: &str) -> Option<String> {
    let expected = fs::read_to_string(path).unwrap_or_default();
    if expected == found {
        return None;
    }
    let mut lines = expected.lines().zip(found.lines()).enumerate();
    let first = lines.find(|(_, (expected, found))| expected != found);
    let place = match first {
        Some((number, (expected, found))) => format!("line {}: {expected:?} has become {found:?}", number + 1),
        None => "it has another length, or is not there".to_owned(),
    };
    Some(format!("{}: {place}", path.display()))
}

#[test]
fn the_audit_of_every_example_is_the_golden_one() {
    let workspace = Workspace::locate().unwrap();
    let write = env::var_os(VARIABLE).is_some_and(|value| value == "write");
    let mut differences = Vec::new();
    let mut count = 0;
    for arch in Architecture::ALL {
        workspace.build(arch, None).unwrap();
        for (name, yaml) in examples(&workspace) {
            let audit = audit_of(&workspace, &yaml, arch);
            let json = serde_json::to_string_pretty(&audit).unwrap() + "\n";
            for (ending, text) in [("txt", audit.to_string()), ("json", json)] {
                let path = directory().join(format!("{name}-{arch}.{ending}"));
                count += 1;
                if write {
                    fs::write(&path, text).unwrap();
                } else {
                    differences.extend(difference(&path, &text));
                }
            }
        }
    }
    assert!(count >= 24, "six examples at least");
    assert!(
        differences.is_empty(),
        "{}\n{VARIABLE}=write makes these the golden ones",
        differences.join("\n")
    );
}

#[test]
fn the_example_keeps_its_policy_and_would_break_it_without_its_server() {
    let workspace = Workspace::locate().unwrap();
    let path = workspace.root.join("examples/policies/two-pure.yaml");
    let policy = policy::parse(&path, &fs::read_to_string(&path).unwrap());
    assert_eq!(policy.diagnostics, []);
    for arch in Architecture::ALL {
        workspace.build(arch, None).unwrap();
        let mut audit = audit_of(&workspace, &workspace.root.join("examples/two-pure.yaml"), arch);
        assert_eq!(policy.check(&audit), []);
        let second = audit
            .cvms
            .iter_mut()
            .find(|cvm: &&mut Cvm| cvm.name == "second")
            .unwrap();
        second.calls = "monitor".to_owned();
        let violations = policy.check(&audit);
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert_eq!(violations[0].problem, "second calls monitor");
    }
}
