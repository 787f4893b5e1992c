//! The example `web` as a browser meets it: pages from a disk through a network card, and a count of visitors that outlives the
//! machine.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::thread;

use tests::{Platform, Scenario, Served};

/// Connections at a time, and requests of each.
const CONNECTIONS: usize = 16;
const REQUESTS: usize = 40;

/// Bytes of a file's header in an archive, and of the blocks that follow.
const BLOCK: usize = 512;

/// A file of an archive as `tar --format=ustar` writes it.
fn member(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut header = vec![0; BLOCK];
    let mut field = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    field(0, name);
    field(124, &format!("{:011o}", bytes.len()));
    field(148, "        ");
    field(156, "0");
    field(257, "ustar\x0000");
    let sum: usize = header.iter().map(|byte| usize::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header.extend_from_slice(bytes);
    header.resize(header.len().next_multiple_of(BLOCK), 0);
    header
}

/// A disk with a page, and no visitor yet. Where the count stands.
fn disk(directory: &Path) -> (PathBuf, usize) {
    let page = member("index.html", b"<p>visitor {visits}.</p>\n");
    let counter = page.len() + BLOCK;
    let long = vec![b'x'; 60_000];
    let archive = [
        page,
        member("visits", b"                  0\n"),
        member("long.txt", &long),
    ];
    let mut bytes = archive.concat();
    bytes.resize(bytes.len() + 2 * BLOCK, 0);
    let path = directory.join("web.img");
    std::fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (path, counter)
}

fn visits_on(disk: &(PathBuf, usize)) -> u64 {
    let bytes = std::fs::read(&disk.0).expect("the disk");
    let text = std::str::from_utf8(&bytes[disk.1..disk.1 + 20]).expect("a number");
    text.trim().parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

/// A machine that runs the example.
fn start(platform: Platform, version: &str, disk: &Path, image: &Path) -> Served {
    let disk = disk.to_str().expect("a path of UTF-8");
    let more = ["--virtio", version, "--disk", disk];
    Served::start(platform, image, 80, "listening on", &more)
}

/// Asks for a page: the status line, and the body.
fn get(stream: &mut BufReader<TcpStream>, path: &str) -> (String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    stream.get_mut().write_all(request.as_bytes()).expect("a request");
    let mut line = || {
        let mut line = String::new();
        stream.read_line(&mut line).expect("a line of the answer");
        line.trim_end().to_owned()
    };
    let (status, mut length) = (line(), 0);
    loop {
        let header = line();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("Content-Length: ") {
            length = value.parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("the body");
    (status, String::from_utf8(body).expect("text"))
}

fn pages_are_served_and_visitors_counted(platform: Platform, version: &str) {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let disk = disk(directory.path());
    let image = directory.path().join("image");
    std::fs::write(&image, Scenario::example(platform, "web").image(platform)).expect("the image");
    let server = start(platform, version, &disk.0, &image);
    let mut stream = server.connect();
    for visitor in 1..=3 {
        let (status, body) = get(&mut stream, "/");
        assert_eq!(
            (status.as_str(), body),
            ("HTTP/1.1 200 OK", format!("<p>visitor {visitor}.</p>\n"))
        );
        // It was flushed before the answer was sent.
        assert_eq!(visits_on(&disk), visitor);
    }
    assert_eq!(get(&mut stream, "/nothing").0, "HTTP/1.1 404 Not Found");
    assert_eq!(get(&mut stream, "/long.txt?x").1.len(), 60_000);
    drop(server);
    // The next machine goes on where that one stood, with many visitors at a time.
    let server = start(platform, version, &disk.0, &image);
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut stream = server.connect();
                for _ in 0..REQUESTS {
                    let (status, body) = get(&mut stream, "/");
                    assert_eq!(status, "HTTP/1.1 200 OK");
                    assert!(body.starts_with("<p>visitor "), "{body}");
                }
            });
        }
    });
    assert_eq!(
        visits_on(&disk),
        3 + (CONNECTIONS * REQUESTS) as u64,
        "every one was counted once"
    );
    drop(server);
}

#[test]
fn pages_are_served_on_cheri_riscv() {
    pages_are_served_and_visitors_counted(Platform::MachineV9, "legacy");
}

#[test]
fn pages_are_served_on_cheri_riscv_by_modern_devices() {
    pages_are_served_and_visitors_counted(Platform::MachineV9, "modern");
}

#[test]
fn pages_are_served_on_morello() {
    pages_are_served_and_visitors_counted(Platform::MachineMorello, "legacy");
}

#[test]
fn pages_are_served_on_morello_by_modern_devices() {
    pages_are_served_and_visitors_counted(Platform::MachineMorello, "modern");
}
