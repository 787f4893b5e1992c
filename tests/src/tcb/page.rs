//! The page itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use tools::Architecture;
use tools::workspace::Workspace;

use super::libraries::{self, HARM, STANDARD};
use super::others::OTHERS;
use super::parts::{Class, OUTSIDE, PARTS, Part, part_of};
use super::reached::{by_package, reached};
use super::{Library, Result};
use crate::artifacts::built;
use crate::lines::{self, CRATES, Code, MODULES};

/// Where the page is, from the root of the work tree.
pub const PATH: &str = "docs/tcb.md";
/// Around what depends on the compiler, too.
const COMPILED: (&str, &str) = ("<!-- compiled -->", "<!-- /compiled -->");

/// Both architectures with the names of their own files and folders.
const COLUMNS: [(Architecture, &[&str]); 2] = [
    (Architecture::CheriRiscv, &["cheri_riscv", "riscv"]),
    (Architecture::Morello, &["morello", "efi"]),
];

/// What the monitor is made of, for one architecture: its code by file, and how many lines of each package are reached.
struct Column {
    files: BTreeMap<String, Code>,
    reached: BTreeMap<String, u64>,
    libraries: BTreeMap<String, Library>,
}

/// Lines and `unsafe` blocks of some files.
#[derive(Clone, Copy, Default)]
struct Sum {
    rust: u64,
    assembly: u64,
    blocks: u64,
}

impl Sum {
    fn of<'a>(codes: impl Iterator<Item = &'a Code>) -> Sum {
        codes.fold(Sum::default(), |sum, code| Sum {
            rust: sum.rust + code.rust,
            assembly: sum.assembly + code.assembly,
            blocks: sum.blocks + code.unsafe_blocks.len() as u64,
        })
    }
}

fn column(arch: Architecture, own: &[&str]) -> Result<Column> {
    let root = Workspace::locate()?.root;
    // `efi` is a file of one architecture that is not named for it.
    let all = MODULES.into_iter().chain(["efi"]);
    let foreign: Vec<&str> = all.filter(|name| !own.contains(name)).collect();
    let mut files = BTreeMap::new();
    for name in CRATES {
        for (path, code) in lines::files(&root.join(name).join("src"), &foreign)? {
            let path = path.strip_prefix(&root)?.to_string_lossy().into_owned();
            files.insert(path, code);
        }
    }
    Ok(Column {
        files,
        reached: by_package(&reached(&built(arch).monitor)?),
        libraries: libraries::libraries(arch)?,
    })
}

/// Says what is not judged yet: the page would leave it out.
fn check(columns: &[Column]) -> Result<()> {
    for column in columns {
        for (path, code) in &column.files {
            let part = part_of(path).ok_or_else(|| format!("{path}: no part of tests/src/tcb/parts.rs has it"))?;
            if code.unsafe_blocks.iter().any(String::is_empty) {
                return Err(format!("{path}: an unsafe block without a comment SAFETY").into());
            }
            let is_dangerous = code.assembly > 0 || !code.unsafe_blocks.is_empty();
            if part.class == Class::Availability && is_dangerous {
                let expected = "in tests/src/tcb/parts.rs: such a file can do anything, so that isolation rests on it";
                return Err(format!(
                    "{path}: assembly or unsafe in a part said to matter for availability only {expected}"
                )
                .into());
            }
        }
        for name in column.libraries.keys() {
            if !HARM.iter().any(|(known, _)| known == name) {
                return Err(format!("{name}: tests/src/tcb/libraries.rs does not say what it can do wrong").into());
            }
        }
    }
    let unused = |part: &&Part| {
        let mut paths = columns.iter().flat_map(|column| column.files.keys());
        !paths.any(|path| part_of(path).is_some_and(|of| of.path == part.path))
    };
    match PARTS.iter().find(unused) {
        Some(part) => Err(format!("{}: a part of tests/src/tcb/parts.rs without a file", part.path).into()),
        None => Ok(()),
    }
}

fn compiler() -> Result<String> {
    let output = Command::new("rustc").arg("-V").output()?;
    let version = String::from_utf8(output.stdout)?;
    // Without the date: the version says it.
    Ok(version.split(" (").next().unwrap_or_default().to_owned())
}

/// The page as the work tree makes it.
///
/// # Errors
/// Something cannot be read or built, or is not judged.
pub fn page() -> Result<String> {
    let columns: Vec<Column> = COLUMNS
        .iter()
        .map(|(arch, own)| column(*arch, own))
        .collect::<Result<_>>()?;
    check(&columns)?;
    let mut text = String::new();
    text += "# The trusted computing base\n\n";
    text += "Made by `scripts/tcb`, which renews this page; a test compares it with the sources. The judgements in it are in `tests/src/tcb`.\n\n";
    text += "A line counts when something stands on it that is neither a comment nor a test. Assembly is the lines of `.S` files and the \
             strings of `asm!`, `naked_asm!` and `global_asm!`, and the table of instructions, which do not count as Rust. An `unsafe impl` counts as an `unsafe` block. Code \
             of cargo features that are off, signed archives among them, does not count. Both \
             columns are one image each, with all its devices and firmware.\n\n";
    summary(&mut text, &columns);
    parts(&mut text, &columns);
    text += "## What need not be right\n\n| | |\n|---|---|\n";
    for (what, why) in OUTSIDE {
        writeln!(text, "| {what} | {why} |")?;
    }
    text += "\nAnd what is not in this repository and is trusted: the processor or emulator, firmware where there is one, `rustc` with LLVM, and \
             the linker with the scripts in `linker/`. What each is trusted for stands in [threat-model.md](threat-model.md).\n\n";
    library_table(&mut text, &columns)?;
    unsafe_list(&mut text, &columns);
    others(&mut text, &columns)?;
    Ok(text)
}

fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn row(text: &mut String, label: &str, sums: &[Sum]) {
    let numbers = |number: fn(&Sum) -> u64| sums.iter().map(number).map(grouped).collect::<Vec<_>>().join(" | ");
    let (rust, assembly, blocks) = (
        numbers(|sum| sum.rust),
        numbers(|sum| sum.assembly),
        numbers(|sum| sum.blocks),
    );
    *text += &format!("| {label} | {rust} | {assembly} | {blocks} |\n");
}

fn of_class(columns: &[Column], class: Option<Class>) -> Vec<Sum> {
    let fits = |path: &str| class.is_none() || part_of(path).map(|part| part.class) == class;
    let sum = |column: &Column| Sum::of(column.files.iter().filter(|(path, _)| fits(path)).map(|(_, code)| code));
    columns.iter().map(sum).collect()
}

fn summary(text: &mut String, columns: &[Column]) {
    *text += "| | Rust, CHERI-RISC-V | Morello | assembly, CHERI-RISC-V | Morello | `unsafe`, CHERI-RISC-V | Morello |\n|---|--:|--:|--:|--:|--:|--:|\n";
    row(text, "isolation rests on", &of_class(columns, Some(Class::Isolation)));
    row(text, "availability only", &of_class(columns, Some(Class::Availability)));
    row(text, "**the monitor**", &of_class(columns, None));
    *text += "\n*Isolation*: wrong code there can let a cVM read, write, run or keep what is not its own. *Availability*: wrong code there \
              can stop or delay something, or say something wrong. It has no `unsafe` and no assembly (checked when this page is made), so \
              that the compiler holds it to its own memory, and it neither derives a capability nor writes to a cVM's \
              memory. What is in doubt counts as isolation.\n\n";
}

fn parts(text: &mut String, columns: &[Column]) {
    for (class, title) in [
        (Class::Isolation, "What isolation rests on"),
        (Class::Availability, "What only availability rests on"),
    ] {
        *text += &format!(
            "## {title}\n\n| | Rust, CHERI-RISC-V | Morello | assembly, CHERI-RISC-V | Morello | `unsafe`, CHERI-RISC-V | Morello | when wrong |\n\
             |---|--:|--:|--:|--:|--:|--:|---|\n"
        );
        for part in PARTS.iter().filter(|part| part.class == class) {
            let belongs = |path: &str| part_of(path).is_some_and(|of| of.path == part.path);
            let sum = |column: &Column| {
                Sum::of(
                    column
                        .files
                        .iter()
                        .filter(|(path, _)| belongs(path))
                        .map(|(_, code)| code),
                )
            };
            let mut line = String::new();
            row(
                &mut line,
                &format!("`{}`", part.path),
                &columns.iter().map(sum).collect::<Vec<_>>(),
            );
            *text += &format!("{} {} |\n", line.trim_end(), part.harm);
        }
        *text += "\nA folder's row has the files that no other row has.\n\n";
    }
}

fn library_table(text: &mut String, columns: &[Column]) -> Result<()> {
    *text += "## Libraries in the image\n\n| | licence | when wrong |\n|---|---|---|\n";
    let all: BTreeMap<&String, &Library> = columns.iter().flat_map(|column| &column.libraries).collect();
    for (name, library) in &all {
        let harm = HARM
            .iter()
            .find(|(known, _)| known == name)
            .map_or("", |(_, harm)| harm);
        writeln!(text, "| `{name}` {} | {} | {harm} |", library.version, library.license)?;
    }
    for (name, harm) in STANDARD {
        writeln!(text, "| `{name}` | MIT OR Apache-2.0 | {harm} |")?;
    }
    *text += "\nLines *reached* have code in the image, by its debug information; inlined code counts. Beside them all lines of the package. The \
              rest of a package is in no image. Reached lines are the compiler's doing, too: another version gives other numbers, and then only these \
              are not compared.\n\n";
    writeln!(text, "{}\n{}:\n", COMPILED.0, compiler()?)?;
    *text += "| | reached, CHERI-RISC-V | Morello | of lines |\n|---|--:|--:|--:|\n";
    let reached = |name: &str| {
        let lines = columns
            .iter()
            .map(|column| grouped(column.reached.get(name).copied().unwrap_or(0)));
        lines.collect::<Vec<_>>().join(" | ")
    };
    for name in CRATES {
        let lines: BTreeMap<&String, u64> = columns
            .iter()
            .flat_map(|column| &column.files)
            .filter(|(path, _)| path.split('/').next() == Some(name))
            .map(|(path, code)| (path, code.rust))
            .collect();
        writeln!(
            text,
            "| {name} | {} | {} |",
            reached(name),
            grouped(lines.values().sum())
        )?;
    }
    for (name, library) in &all {
        let source = Path::new(&library.manifest).with_file_name("src");
        let lines = lines::count(&source, &["tests", "test", "benches", "examples"])?.rust;
        writeln!(
            text,
            "| `{name}` | {} | {} |",
            reached(&format!("{name}-{}", library.version)),
            grouped(lines)
        )?;
    }
    for (name, _) in STANDARD {
        writeln!(text, "| `{name}` | {} | – |", reached(name))?;
    }
    let known = |package: &str| {
        let library = all
            .iter()
            .any(|(name, library)| package == format!("{name}-{}", library.version));
        library || CRATES.contains(&package) || STANDARD.iter().any(|(name, _)| *name == package)
    };
    let unknown = columns
        .iter()
        .flat_map(|column| column.reached.keys())
        .find(|package| !known(package));
    if let Some(package) = unknown {
        return Err(format!("{package}: code of it is in the image, and no table has it").into());
    }
    writeln!(text, "{}\n", COMPILED.1)?;
    Ok(())
}

fn unsafe_list(text: &mut String, columns: &[Column]) {
    *text += "## Every `unsafe` block, and why it is sound\n\nFile by file, in the order of the sources; *n ×*: so many blocks with the same argument.\n\n";
    let files: BTreeMap<&String, &Code> = columns.iter().flat_map(|column| &column.files).collect();
    for (path, code) in files.into_iter().filter(|(_, code)| !code.unsafe_blocks.is_empty()) {
        *text += &format!("`{path}`\n\n");
        let mut said = BTreeSet::new();
        for argument in &code.unsafe_blocks {
            if said.insert(argument) {
                let times = code.unsafe_blocks.iter().filter(|other| *other == argument).count();
                let times = if times > 1 {
                    format!("{times} × ")
                } else {
                    String::new()
                };
                *text += &format!("- {times}{argument}\n");
            }
        }
        *text += "\n";
    }
}

fn others(text: &mut String, columns: &[Column]) -> Result<()> {
    *text += "## Beside others\n\nCounted by `scripts/tcb --count FOLDER…`, which counts C, C++ and assembly as it counts Rust: a line with something on it \
              besides a comment. Fewer lines are not more trust: a line with a proof needs less of it than one without, and these systems do not do the same.\n\n";
    *text += "| | what was counted | C, C++, Rust | assembly | `unsafe` |\n|---|---|--:|--:|--:|\n";
    let all = of_class(columns, None);
    for ((arch, _), sum) in COLUMNS.iter().zip(all) {
        let (rust, assembly, blocks) = (grouped(sum.rust), grouped(sum.assembly), grouped(sum.blocks));
        writeln!(
            text,
            "| this monitor, {} | all of it, without libraries | {rust} | {assembly} | {blocks} |",
            arch.name()
        )?;
    }
    for other in OTHERS {
        let number = |number: Option<u64>| number.map_or_else(|| "–".to_owned(), grouped);
        let numbers = [other.lines, other.assembly, other.unsafe_blocks]
            .map(number)
            .join(" | ");
        writeln!(text, "| {} | {} | {numbers} |", other.name, other.what)?;
    }
    *text += "\n";
    for other in OTHERS {
        writeln!(text, "- **{}**: {}", other.name, other.how)?;
    }
    Ok(())
}

/// The first line in which a page is not what the work tree makes; what depends on the compiler counts only where the page was
/// made by the same version.
pub fn unlike(page: &str, made: &str) -> Option<String> {
    let compiler = |text: &str| {
        let mut lines = text.lines().skip_while(|line| *line != COMPILED.0);
        lines.nth(1).map(str::to_owned)
    };
    let is_compared = compiler(page) == compiler(made);
    let lines = |text: &str| -> Vec<String> {
        let mut compiled = false;
        let kept = text.lines().filter(|line| {
            compiled = (compiled || *line == COMPILED.0) && *line != COMPILED.1;
            is_compared || !compiled
        });
        kept.map(str::to_owned).collect()
    };
    let (page, made) = (lines(page), lines(made));
    let at = (0..page.len().max(made.len())).find(|at| page.get(*at) != made.get(*at))?;
    let shown = |lines: &[String]| lines.get(at).cloned().unwrap_or_else(|| "(its end)".to_owned());
    Some(format!(
        "{PATH} says\n  {}\nand the work tree is\n  {}\nscripts/tcb renews it",
        shown(&page),
        shown(&made)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_compiler_does_is_compared_when_it_is_the_same() {
        let page = |compiler: &str, lines: &str, reached: &str| {
            format!("{lines}\n{}\n{compiler}\n{reached}\n{}\nend\n", COMPILED.0, COMPILED.1)
        };
        let was = page("rustc 1", "10", "5");
        assert_eq!(unlike(&was, &was), None);
        assert_eq!(unlike(&was, &page("rustc 2", "10", "6")), None);
        assert!(unlike(&was, &page("rustc 1", "10", "6")).is_some());
        assert!(unlike(&was, &page("rustc 2", "11", "5")).is_some());
        assert!(unlike(&was, &(was.clone() + "more\n")).is_some());
    }
}
