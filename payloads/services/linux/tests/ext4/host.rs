//! The host's tools for ext4, and disks in memory.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use library_os::Error;
use library_os::ext4::{Disk, Ext4, Problem, SECTOR};

/// What has been done to a disk.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Write(u64, Vec<u8>),
    Flush,
}

/// What a disk holds.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) bytes: Vec<u8>,
    /// All that has been done, where it is to be known.
    pub(crate) log: Option<Vec<Event>>,
    /// After so many writes there are none any more.
    pub(crate) writes: Option<u64>,
}

/// A disk in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(pub(crate) Arc<Mutex<Contents>>);

impl Memory {
    pub(crate) fn new(bytes: Vec<u8>) -> Memory {
        let contents = Contents {
            bytes,
            ..Contents::default()
        };
        Memory(Arc::new(Mutex::new(contents)))
    }

    pub(crate) fn logging(bytes: Vec<u8>) -> Memory {
        let disk = Memory::new(bytes);
        disk.0.lock().unwrap().log = Some(Vec::new());
        disk
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().bytes.clone()
    }

    pub(crate) fn mount(&self) -> Result<(Ext4, bool), Problem> {
        Ext4::mount(Box::new(self.clone()), 1)
    }
}

impl Disk for Memory {
    fn sectors(&self) -> u64 {
        (self.0.lock().unwrap().bytes.len() / SECTOR) as u64
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read(&mut self, sector: u64, to: &mut [u8]) -> Result<(), Error> {
        let contents = self.0.lock().unwrap();
        let start = usize::try_from(sector).unwrap() * SECTOR;
        // A disk has nothing beyond its end, and a file system has no business there.
        to.copy_from_slice(&contents.bytes[start..start + to.len()]);
        Ok(())
    }

    fn write(&mut self, sector: u64, from: &[u8]) -> Result<(), Error> {
        let mut contents = self.0.lock().unwrap();
        if let Some(left) = &mut contents.writes {
            *left = left.checked_sub(1).ok_or(Error::EIO)?;
        }
        let start = usize::try_from(sector).unwrap() * SECTOR;
        contents.bytes[start..start + from.len()].copy_from_slice(from);
        if let Some(log) = &mut contents.log {
            log.push(Event::Write(sector, from.to_vec()));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        let mut contents = self.0.lock().unwrap();
        if let Some(log) = &mut contents.log {
            log.push(Event::Flush);
        }
        Ok(())
    }
}

/// A tool of e2fsprogs, which are not always on the path.
fn tool(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&paths).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|path| path.exists())
}

/// Whether the host has the tools; says so where it does not.
pub(crate) fn has_tools() -> bool {
    let has = ["mke2fs", "e2fsck", "debugfs"].iter().all(|name| tool(name).is_some());
    if !has {
        eprintln!("left out: the host has no mke2fs, e2fsck and debugfs (Debian's package e2fsprogs)");
    }
    has
}

/// A file of its own for an image.
struct File(PathBuf);

impl File {
    fn new(bytes: &[u8]) -> File {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ext4-{}-{number}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        File(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // Who cannot delete it leaves it to the host.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Lets a tool work on an image; its exit code and what it printed.
pub(crate) fn run(name: &str, arguments: &[&str], bytes: &mut Vec<u8>) -> (i32, String) {
    let file = File::new(bytes);
    let mut command = Command::new(tool(name).unwrap());
    let done = command.args(arguments).arg(&file.0).output().unwrap();
    *bytes = std::fs::read(&file.0).unwrap();
    let text = [done.stdout, done.stderr].concat();
    (
        done.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// A new file system of so many KiB.
pub(crate) fn make(kibibytes: usize, options: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0; kibibytes * 1024];
    let (code, text) = run("mke2fs", &[&["-q", "-F", "-t", "ext4"], options].concat(), &mut bytes);
    assert_eq!(code, 0, "{text}");
    bytes
}

/// The host's opinion: nothing is wrong.
pub(crate) fn check(bytes: &[u8], when: &str) {
    let (code, text) = run("e2fsck", &["-fn"], &mut bytes.to_vec());
    assert_eq!(code, 0, "{when}: {text}");
}

/// The same after the host has replayed the journal, as it would before it mounts it.
pub(crate) fn check_after_replay(bytes: &[u8], when: &str) {
    let mut bytes = bytes.to_vec();
    let (code, text) = run("e2fsck", &["-p"], &mut bytes);
    assert!(code == 0 || code == 1, "{when}: {code}: {text}");
    check(&bytes, when);
}
