//! Programs whose symbols a debugger loads by itself: the monitor's as linked, a cVM's when the monitor has said on the console
//! where it lies.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use object::{Object as _, ObjectSegment as _, SegmentFlags, elf};

/// Granularity of what is executable.
const PAGE: u64 = 4096;
/// What the ledger in the boot log calls the capability over all memory of a cVM: of a hybrid one, of a purecap one.
const WHOLE: [&str; 2] = [" data: ", " memory: "];

/// A program with symbols: `FILE` as linked, or `NAME+OFFSET=FILE`, the program of a cVM with its text this far behind the
/// start of its data, or of its memory when it is purecap, in the boot log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbols {
    /// Name of the cVM, and where in its memory the program's first executable page lies.
    cvm: Option<(String, u64)>,
    /// An ELF file.
    file: PathBuf,
}

impl Symbols {
    /// A program that lies where it is linked.
    pub fn as_linked(file: impl Into<PathBuf>) -> Symbols {
        Symbols {
            cvm: None,
            file: file.into(),
        }
    }

    /// The program of a cVM; `text`: its first executable page, counted likewise.
    pub fn of_cvm(name: &str, text: u64, file: impl Into<PathBuf>) -> Symbols {
        Symbols {
            cvm: Some((name.to_owned(), text)),
            file: file.into(),
        }
    }
}

impl FromStr for Symbols {
    type Err = String;

    fn from_str(text: &str) -> Result<Symbols, String> {
        let fail = || format!("{text:?}: expected FILE, or NAME+0xOFFSET=FILE for the program of a cVM");
        let Some((place, file)) = text.split_once('=') else {
            return Ok(Symbols::as_linked(text));
        };
        let (name, offset) = place.rsplit_once("+0x").ok_or_else(fail)?;
        let offset = u64::from_str_radix(offset, 16).map_err(|_| fail())?;
        if name.is_empty() || file.is_empty() {
            return Err(fail());
        }
        Ok(Symbols::of_cvm(name, offset, file))
    }
}

/// As on the command line.
impl std::fmt::Display for Symbols {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some((name, text)) = &self.cvm {
            write!(f, "{name}+{text:#x}=")?;
        }
        write!(f, "{}", self.file.display())
    }
}

/// Where a file is linked.
struct Linked {
    /// Its first segment.
    first: u64,
    /// The page of its first executable segment.
    text: u64,
}

impl Linked {
    fn read(file: &Path) -> Result<Linked, String> {
        let fail = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let bytes = std::fs::read(file).map_err(|error| fail(&error))?;
        let program = object::File::parse(&*bytes).map_err(|error| fail(&error))?;
        let executable = |flags| matches!(flags, SegmentFlags::Elf { p_flags } if p_flags & elf::PF_X != 0);
        let first = program.segments().next().map(|segment| segment.address());
        let text = program.segments().find(|segment| executable(segment.flags()));
        Ok(Linked {
            first: first.ok_or_else(|| fail(&"no segment to load"))?,
            text: text.ok_or_else(|| fail(&"no executable segment"))?.address() & !(PAGE - 1),
        })
    }
}

/// A program and, as soon as it is known, where its first segment lies.
struct Library {
    symbols: Symbols,
    linked: Linked,
    address: Option<u64>,
}

/// The programs of a session.
pub(super) struct Libraries {
    list: Vec<Library>,
    /// The console's line that has not ended yet.
    line: Vec<u8>,
}

impl Libraries {
    pub(super) fn new(symbols: &[Symbols]) -> Result<Libraries, String> {
        let library = |symbols: &Symbols| {
            let linked = Linked::read(&symbols.file)?;
            Ok(Library {
                address: symbols.cvm.is_none().then_some(linked.first),
                linked,
                symbols: symbols.clone(),
            })
        };
        Ok(Libraries {
            list: symbols.iter().map(library).collect::<Result<_, String>>()?,
            line: Vec::new(),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether a program's place is still to be found.
    pub(super) fn are_looking(&self) -> bool {
        self.list.iter().any(|library| library.address.is_none())
    }

    /// Reads on what the guest has printed; whether a program was found.
    pub(super) fn listen(&mut self, printed: &[u8]) -> bool {
        let mut found = false;
        for byte in printed {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                found |= self.hear(&String::from_utf8_lossy(&line));
            } else {
                self.line.push(*byte);
            }
        }
        found
    }

    /// `[monitor] ledger 8 hello data: 0x80460000 [0x80460000-0x8047a000) rwRWGI (…)`
    fn hear(&mut self, line: &str) -> bool {
        let entry = line
            .strip_prefix("[monitor] ledger ")
            .and_then(|rest| rest.split_once(' '));
        let whole = entry.and_then(|(_, entry)| WHOLE.iter().find_map(|name| entry.split_once(name)));
        let Some((name, capability)) = whole else {
            return false;
        };
        let base = capability
            .split_once("[0x")
            .and_then(|(_, bounds)| bounds.split_once('-'));
        let Some(base) = base.and_then(|(base, _)| u64::from_str_radix(base, 16).ok()) else {
            return false;
        };
        let mut found = false;
        for library in &mut self.list {
            if let Some((cvm, text)) = &library.symbols.cvm
                && cvm == name
            {
                let moved = base.wrapping_add(*text).wrapping_sub(library.linked.text);
                library.address = Some(library.linked.first.wrapping_add(moved));
                found = true;
            }
        }
        found
    }

    /// The list as gdb reads it (GDB manual, "Library List Format").
    pub(super) fn xml(&self) -> String {
        let mut xml = String::from("<library-list version=\"1.0\">");
        for library in &self.list {
            let Some(address) = library.address else {
                continue;
            };
            // A debugger looks from a folder of its own.
            let file = std::path::absolute(&library.symbols.file).unwrap_or_else(|_| library.symbols.file.clone());
            let name = file.to_string_lossy();
            let name = name.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
            // Writing to a string cannot fail.
            let _ = write!(
                xml,
                "<library name=\"{name}\"><segment address=\"{address:#x}\"/></library>"
            );
        }
        xml + "</library-list>"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(name: &str, text: u64, linked: Linked) -> Library {
        Library {
            symbols: Symbols::of_cvm(name, text, "/x"),
            linked,
            address: None,
        }
    }

    #[test]
    fn the_boot_log_tells_where_a_program_lies() {
        let linked = || Linked {
            first: 0x100,
            text: 0x3000,
        };
        let mut libraries = Libraries {
            list: vec![library("hello", 0x5000, linked()), library("first", 0x7000, linked())],
            line: Vec::new(),
        };
        let quiet = b"[monitor] ledger 7 cVM pool: 0x1 [0x1-0x2) rwx (from 0)\r\n[hello] ledger 8 hello data: 0x1 [0x1-0x2)\r\n";
        assert!(!libraries.listen(quiet));
        assert!(!libraries.listen(b"[monitor] ledger 8 hello data: 0x80460000 [0x80460000-0x8047a000) "));
        assert!(libraries.listen(b"rwRWGI (its memory, DDC, from 7)\r\n"));
        assert!(libraries.are_looking());
        assert_eq!(libraries.list[0].address, Some(0x8046_2100));
        assert!(libraries.listen(b"[monitor] ledger 9 first memory: 0x1000 [0x1000-0x9000) rwRWGIM (from 7)\r\n"));
        assert!(!libraries.are_looking());
        assert!(
            libraries
                .xml()
                .contains("<library name=\"/x\"><segment address=\"0x80462100\"/>")
        );
    }

    #[test]
    fn symbols_are_read_as_they_are_printed() {
        for text in ["/a/boot", "hello+0x5000=/a/b=c"] {
            assert_eq!(
                text.parse::<Symbols>().map(|symbols| symbols.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in ["hello=/a", "+0x1=/a", "hello+0x1=", "hello+0xg=/a"] {
            assert!(text.parse::<Symbols>().is_err(), "{text}");
        }
    }
}
