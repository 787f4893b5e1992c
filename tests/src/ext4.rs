//! File systems for disks, made and looked at by the host's e2fsprogs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program of the host, where it is; those of e2fsprogs are not always on the path.
pub fn tool(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&paths).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.exists());
    if found.is_none() {
        eprintln!("left out: the host has no {name}");
    }
    found
}

/// Runs a program of the host; its exit code and what it printed, none where it is not there.
///
/// # Panics
/// It cannot be started.
pub fn run<A: AsRef<OsStr>>(name: &str, arguments: &[A]) -> Option<(i32, String)> {
    let done = Command::new(tool(name)?).args(arguments).output();
    let done = done.unwrap_or_else(|error| panic!("{name}: {error}"));
    let text = [done.stdout, done.stderr].concat();
    Some((
        done.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&text).into_owned(),
    ))
}

/// An empty file system of so many KiB; none where the host has no tools for it.
///
/// # Panics
/// The tools fail.
pub fn image(kibibytes: usize) -> Option<Vec<u8>> {
    tool("e2fsck")?;
    tool("debugfs")?;
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("temporary directory: {error}"));
    let path = write(folder.path(), &vec![0; kibibytes * 1024]);
    let (code, text) = run(
        "mke2fs",
        &[
            OsStr::new("-q"),
            "-F".as_ref(),
            "-t".as_ref(),
            "ext4".as_ref(),
            path.as_ref(),
        ],
    )?;
    assert_eq!(code, 0, "{text}");
    Some(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

fn write(folder: &Path, bytes: &[u8]) -> PathBuf {
    let path = folder.join("image");
    std::fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

/// What the host finds on a disk, after it has replayed the journal: its files are in a folder.
///
/// # Panics
/// It does not find everything in order.
pub fn files(bytes: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("temporary directory: {error}"));
    let path = write(folder.path(), bytes);
    let image = path.display();
    let (code, text) = run("e2fsck", &["-p", &image.to_string()]).unwrap_or_default();
    assert!(code == 0 || code == 1, "e2fsck -p: {text}");
    let (code, text) = run("e2fsck", &["-fn", &image.to_string()]).unwrap_or_default();
    assert_eq!(code, 0, "e2fsck -fn: {text}");
    let command = format!("rdump / {}", folder.path().display());
    let (code, text) = run("debugfs", &["-R", &command, &image.to_string()]).unwrap_or_default();
    assert_eq!(code, 0, "debugfs: {text}");
    folder
}
