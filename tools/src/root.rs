//! What Linux programs see as `/`: a tar file as it is, or a folder as the tar file that it would be.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use object::elf;
use tar::{Builder, EntryType, Header, HeaderMode};

use crate::Architecture;
use crate::elf::Facts;
use crate::elf::synthesis::{Elf, Load};

/// Reads a tar file, or packs a folder: the same files give the same bytes, whoever they belong to.
///
/// # Errors
/// What cannot be read, or what a program could not see: devices, sockets, pipes.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let named = |error: io::Error| format!("{}: {error}", path.display());
    let metadata = fs::metadata(path).map_err(named)?;
    if !metadata.is_dir() {
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

/// The program of cVMs for processes: an ELF header, a page of instructions that call a handler of signals and return from it, a
/// segment of so many bytes for programs, and a page of text behind it, so that PCC covers what is between. The library OS
/// loads programs there.
pub(crate) fn place(arch: Architecture, size: u64) -> Vec<u8> {
    let text = |address, words: &[u32]| {
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        Load::new(address, &code, elf::PF_R | elf::PF_X)
    };
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
    let words = match arch {
        Architecture::CheriRiscv => RISCV.to_vec(),
        Architecture::Morello => arm(),
    };
    let program = Elf {
        loads: vec![
            header,
            text(TRAMPOLINE, &words),
            room,
            text(PLACE + size, &words[words.len() - 1..]),
        ],
        ..Elf::program(arch, &[])
    };
    program.to_bytes()
}

/// Bytes of an ELF header and four program headers, and where the parts are linked.
const HEADER: u64 = 64 + 4 * 56;
const TRAMPOLINE: u64 = 0x1000;
const PLACE: u64 = 0x1_0000;

/// `jalr t0`, `li a7, 139`, `ecall`: call the handler, and `rt_sigreturn`.
const RISCV: [u32; 3] = [0x0002_80e7, 0x08b0_0893, 0x0000_0073];

/// The same; vector registers are saved around it, for whatever was interrupted may use them.
fn arm() -> Vec<u32> {
    let sp = 31 << 5;
    // stp or ldp qN, qN+1, [sp, #16 * N]
    let pairs = |instruction: u32| {
        (0..32)
            .step_by(2)
            .map(move |n| instruction | n << 15 | (n + 1) << 10 | sp | n)
    };
    // str or ldr x9, [sp, #512]; x10, [sp, #520]
    let states = |instruction: u32| [(64, 9), (65, 10)].map(|(place, n)| instruction | place << 10 | sp | n);
    let mut words = vec![0xd108_43ff]; // sub sp, sp, #528
    words.extend(pairs(0xad00_0000));
    words.extend([0xd53b_4409, 0xd53b_442a]); // mrs x9, fpcr; mrs x10, fpsr
    words.extend(states(0xf900_0000));
    words.push(0xd63f_0200); // blr x16
    words.extend(states(0xf940_0000));
    words.extend([0xd51b_4409, 0xd51b_442a]); // msr fpcr, x9; msr fpsr, x10
    words.extend(pairs(0xad40_0000));
    words.extend([0x9108_43ff, 0xd280_1168, 0xd400_0001]); // add sp, sp, #528; mov x8, #139; svc #0
    words
}

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
    use std::io::Read as _;

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
