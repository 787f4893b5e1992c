//! Which lines of which sources have code in the image, from the line tables of its debug information.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use gimli::{EndianSlice, LittleEndian};
use object::{Object as _, ObjectSection as _};

use super::Result;

/// Numbers of lines with code, by source file. A file is named as the build names it: `/intravisor/PATH` in the work tree,
/// `/NAME-VERSION/PATH` of a package, `/rustc/HASH/library/PATH` of the standard library.
pub(super) type Reached = BTreeMap<String, BTreeSet<u64>>;

/// Reads the line tables of a linked program. A line counts when a row of a table says that instructions are its, inlined ones
/// too; line 0 is code that belongs to none.
///
/// # Errors
/// The file is no ELF file, or its debug information is not well-formed.
pub(super) fn reached(program: &[u8]) -> Result<Reached> {
    let file = object::File::parse(program)?;
    let section = |id: gimli::SectionId| -> Result<Cow<'_, [u8]>> {
        match file.section_by_name(id.name()) {
            Some(section) => Ok(section.uncompressed_data()?),
            None => Ok(Cow::Borrowed(&[])),
        }
    };
    let sections = gimli::DwarfSections::load(section)?;
    let dwarf = sections.borrow(|section| EndianSlice::new(section, LittleEndian));
    let mut reached = Reached::new();
    let mut units = dwarf.units();
    while let Some(header) = units.next()? {
        let unit = dwarf.unit(header)?;
        let Some(program) = unit.line_program.clone() else {
            continue;
        };
        let directory = unit
            .comp_dir
            .map(|dir| dir.to_string_lossy().into_owned())
            .unwrap_or_default();
        let mut rows = program.rows();
        while let Some((header, row)) = rows.next_row()? {
            let (Some(file), Some(line)) = (row.file(header), row.line()) else {
                continue;
            };
            if row.end_sequence() {
                continue;
            }
            let mut path = directory.clone();
            for part in [file.directory(header), Some(file.path_name())].into_iter().flatten() {
                let part = dwarf.attr_string(&unit, part)?;
                let part = part.to_string_lossy();
                path = if part.starts_with('/') {
                    part.into_owned()
                } else {
                    format!("{path}/{part}")
                };
            }
            reached.entry(path).or_default().insert(line.get());
        }
    }
    if reached.is_empty() {
        return Err("the program has no line tables".into());
    }
    Ok(reached)
}

/// How many lines of each package are reached: the project's crates, the libraries by name and version, the standard
/// library's crates by name.
pub(super) fn by_package(reached: &Reached) -> BTreeMap<String, u64> {
    let mut packages = BTreeMap::new();
    for (path, lines) in reached {
        *packages.entry(package(path)).or_default() += lines.len() as u64;
    }
    packages
}

/// Whose file it is.
fn package(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let name = match parts.as_slice() {
        ["intravisor", name, ..] => name,
        ["rustc", "library", rest @ ..] | ["rustc", _, "library", rest @ ..] => rest.first().unwrap_or(&"library"),
        [name, ..] => name,
        [] => path,
    };
    // The same sources are called otherwise in the standard library's tree.
    name.replace("compiler-builtins", "compiler_builtins")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_belongs_to_its_package() {
        for (path, name) in [
            ("/intravisor/kernel/src/run/call.rs", "kernel"),
            ("/spin-0.10.0/src/lib.rs", "spin-0.10.0"),
            ("/rustc/0123/library/core/src/fmt/mod.rs", "core"),
            ("/rustc/library/alloc/src/vec/mod.rs", "alloc"),
            (
                "/rustc/0123/library/compiler-builtins/compiler-builtins/src/mem/mod.rs",
                "compiler_builtins",
            ),
        ] {
            assert_eq!(package(path), name);
        }
    }
}
