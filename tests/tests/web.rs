//! The example `web` as a browser meets it: pages from a disk through a network card, and a count of visitors that outlives the
//! machine.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use tests::{Platform, Scenario};
use tools::workspace::Workspace;

/// Connections at a time, and requests of each.
const CONNECTIONS: usize = 16;
const REQUESTS: usize = 40;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// A machine that runs the example, until it is killed.
struct Server {
    machine: Child,
    port: u16,
    _console: BufReader<ChildStdout>,
}

impl Server {
    fn start(platform: Platform, version: &str, disk: &Path, image: &Path) -> Server {
        // Somebody else might take it in between, and the machine would say so.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let port = port.expect("a free port").port();
        let workspace = Workspace::locate().unwrap_or_else(|error| panic!("{error}"));
        let machine = workspace.build_machine(None).unwrap_or_else(|error| panic!("{error}"));
        let mut command = Command::new(machine);
        command.args(["--arch", &platform.arch().to_string(), "--virtio", version]);
        command.args(["--net", &format!("forward={port}:80")]);
        command.arg("--disk").arg(disk).arg("--kernel").arg(image);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut machine = command.spawn().expect("the machine starts");
        let mut console = BufReader::new(machine.stdout.take().expect("a console"));
        let (mut seen, mut line) = (String::new(), String::new());
        while !line.contains("listening on") {
            line.clear();
            let count = console.read_line(&mut line).expect("the console");
            assert!(count > 0, "the machine ended: {seen}");
            seen += &line;
        }
        Server {
            machine,
            port,
            _console: console,
        }
    }

    fn connect(&self) -> BufReader<TcpStream> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        BufReader::new(stream)
    }

    /// Pulls the plug.
    fn kill(mut self) {
        self.machine.kill().expect("it was there");
        self.machine.wait().expect("its end");
    }
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
    let server = Server::start(platform, version, &disk.0, &image);
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
    server.kill();
    // The next machine goes on where that one stood, with many visitors at a time.
    let server = Server::start(platform, version, &disk.0, &image);
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
    server.kill();
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
