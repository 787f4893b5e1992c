//! What Linux programs see as `/`: a tar file as it is, or a folder as the tar file that it would be.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use abi::manifest as names;
use object::elf;
use tar::{Builder, EntryType, Header, HeaderMode};

use crate::Architecture;
use crate::elf::Facts;
use crate::elf::synthesis::{Elf, Load};
use crate::quantity::format_size;

/// Reads a tar file, or packs a folder: the same files give the same bytes, whoever they belong to.
///
/// # Errors
/// What cannot be read, what a program could not see - devices, sockets, pipes - and more than a buffer can begin with.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let named = |error: io::Error| format!("{}: {error}", path.display());
    let metadata = fs::metadata(path).map_err(named)?;
    if !metadata.is_dir() {
        check_size(metadata.len())?;
        let bytes = fs::read(path).map_err(named)?;
        if bytes.len() % 512 != 0 || bytes.get(257..262) != Some(b"ustar".as_slice()) {
            return Err(format!(
                "{}: expected a folder, or a tar file (ustar, GNU or pax; not compressed)",
                path.display()
            ));
        }
        return Ok(bytes);
    }
    let mut builder = Builder::new(Vec::new());
    builder.mode(HeaderMode::Deterministic);
    builder.follow_symlinks(false);
    add(&mut builder, path, Path::new(""))?;
    builder.into_inner().map_err(named)
}

/// Whether a buffer can begin with so many bytes.
///
/// # Errors
/// It cannot.
pub(crate) fn check_size(bytes: u64) -> Result<(), String> {
    let limit = names::BUFFER_SIZE_LIMIT;
    if bytes > limit {
        let (size, limit) = (format_size(bytes), format_size(limit));
        return Err(format!("{size} of files, expected at most {limit}"));
    }
    Ok(())
}

/// What the program of a cVM for processes is called: a place for others.
pub(crate) const PROCESS: &str = "linux-process";

/// A tar file with more files in `/bin`, which can be executed.
///
/// # Errors
/// What is no tar file.
pub(crate) fn with_programs(archive: Vec<u8>, programs: &[(String, Vec<u8>)]) -> io::Result<Vec<u8>> {
    let mut end = 0;
    for entry in tar::Archive::new(archive.as_slice()).entries()? {
        let entry = entry?;
        end = (entry.raw_file_position() + entry.size()).next_multiple_of(512) as usize;
    }
    let mut whole = archive;
    whole.truncate(end);
    let mut builder = Builder::new(whole);
    for (name, bytes) in programs {
        let mut header = Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, format!("bin/{name}"), bytes.as_slice())?;
    }
    builder.into_inner()
}

/// Bytes of memory that the largest executable file of a tar file takes.
///
/// # Errors
/// What is no tar file.
pub(crate) fn largest(archive: &[u8]) -> io::Result<u64> {
    let mut largest = 0;
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        // What is none is no matter here: it is refused when somebody executes it.
        if let Ok(facts) = Facts::read(&bytes) {
            largest = largest.max(facts.end());
        }
    }
    Ok(largest)
}

/// The program of cVMs for processes: an ELF header, a segment of so many bytes for programs, and a page of text behind it, so that
/// PCC covers what is before. The library OS loads programs there; nothing executes what is here.
pub(crate) fn place(arch: Architecture, size: u64) -> Vec<u8> {
    let header = Load {
        offset: Some(0),
        file_size: Some(HEADER),
        memory_size: HEADER,
        ..Load::new(0, &[], elf::PF_R)
    };
    let room = Load {
        memory_size: size,
        ..Load::new(PLACE, &[], elf::PF_R | elf::PF_W)
    };
    let text = Load::new(PLACE + size, &[0; 4], elf::PF_R | elf::PF_X);
    let program = Elf {
        entry: PLACE + size,
        loads: vec![header, room, text],
        ..Elf::program(arch, &[])
    };
    program.to_bytes()
}

/// Bytes of an ELF header and three program headers, and where the place is linked.
const HEADER: u64 = 64 + 3 * 56;
const PLACE: u64 = 0x1_0000;

/// Adds what is in a folder, in the order of the names.
fn add(builder: &mut Builder<Vec<u8>>, folder: &Path, inside: &Path) -> Result<(), String> {
    let named = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| format!("{}: {error}", path.display())
    };
    let entries = fs::read_dir(folder).map_err(named(folder))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<io::Result<_>>().map_err(named(folder))?;
    paths.sort();
    for path in paths {
        let name = inside.join(path.file_name().unwrap_or_default());
        let kind = fs::symlink_metadata(&path).map_err(named(&path))?.file_type();
        if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(named(&path))?;
            let mut header = Header::new_gnu();
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            builder.append_link(&mut header, &name, target).map_err(named(&path))?;
        } else if kind.is_dir() || kind.is_file() {
            let size = fs::metadata(&path).map_err(named(&path))?.len();
            // Before it is read: what is too large may be larger than memory.
            check_size((builder.get_ref().len() as u64).saturating_add(size))?;
            builder.append_path_with_name(&path, &name).map_err(named(&path))?;
            if kind.is_dir() {
                add(builder, &path, &name)?;
            }
        } else {
            return Err(format!(
                "{}: expected a regular file, a folder or a symbolic link",
                path.display()
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_folder_is_packed_whole_and_always_the_same() {
        let folder = std::env::temp_dir().join(format!("intravisor-root-{}", std::process::id()));
        fs::create_dir_all(folder.join("etc/deep")).unwrap();
        fs::write(folder.join("etc/deep/name"), "value").unwrap();
        fs::write(folder.join("a"), "").unwrap();
        std::os::unix::fs::symlink("etc/deep", folder.join("link")).unwrap();
        let bytes = read(&folder).unwrap();
        assert_eq!(bytes, read(&folder).unwrap());
        let mut found = BTreeMap::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let link = entry.link_name().unwrap().map(|link| link.display().to_string());
            found.insert(entry.path().unwrap().display().to_string(), link.unwrap_or(text));
        }
        let expected = [
            ("a", ""),
            ("etc", ""),
            ("etc/deep", ""),
            ("etc/deep/name", "value"),
            ("link", "etc/deep"),
        ];
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(name, text)| (name.trim_end_matches('/'), text.as_str()))
            .collect();
        assert_eq!(found, expected);
        let file = folder.join("a.tar");
        fs::write(&file, &bytes).unwrap();
        assert_eq!(read(&file).unwrap(), bytes);
        fs::write(&file, b"no tar file").unwrap();
        assert!(read(&file).unwrap_err().contains("expected a folder, or a tar file"));
        assert!(read(&folder.join("none")).unwrap_err().contains("none: "));
        fs::remove_dir_all(folder).unwrap();
    }
}
