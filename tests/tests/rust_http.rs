//! The example `rust-http` as its visitors meet it: an unmodified program of Rust's standard library, with threads and floating-point
//! numbers, behind a network card.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::thread;

use machine::virtio::Version;
use tests::{Platform, Scenario, Served, on_every_platform};
use tools::run::DeviceArguments;

on_every_platform!(visitors_are_served);

/// Visitors at a time, and requests of each.
const VISITORS: usize = 12;
const REQUESTS: usize = 8;

/// Asks on a connection that stays open; status line and text.
fn ask(connection: &mut BufReader<TcpStream>, path: &str) -> (String, String) {
    write!(connection.get_mut(), "GET {path} HTTP/1.1\r\nHost: it\r\n\r\n").expect("a request");
    let mut line = || {
        let mut line = String::new();
        connection.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    };
    let status = line();
    let mut length = 0;
    loop {
        let header = line();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("Content-Length: ") {
            length = value.parse().expect("a length");
        }
    }
    let mut text = vec![0; length];
    connection.read_exact(&mut text).expect("so many bytes");
    (status, String::from_utf8(text).expect("text"))
}

fn visitors_are_served(platform: Platform) {
    if tests::linux_program(platform, "rust-http").is_none() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary folder");
    let image = directory.path().join("image");
    std::fs::write(&image, Scenario::example(platform, "rust-http").image(platform)).expect("the image");
    let virtio = if platform.relocates() {
        Version::Modern
    } else {
        Version::Legacy
    };
    let arguments = DeviceArguments {
        virtio,
        ..DeviceArguments::default()
    };
    let server = Served::start(platform, &image, arguments, 80, "", "listens on 0.0.0.0:80");
    let mut first = server.connect();
    let (status, text) = ask(&mut first, "/");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(text.starts_with("request 1, after none, "), "{text}");
    assert_eq!(ask(&mut first, "/nothing").0, "HTTP/1.1 404 Not Found");
    // One after the other, because QEMU's user network keeps a queue of one, and resets whoever finds it full.
    let mut connections: [_; VISITORS] = std::array::from_fn(|_| {
        let mut connection = server.connect();
        assert_eq!(ask(&mut connection, "/").0, "HTTP/1.1 200 OK");
        connection
    });
    // All at the same time, each with a thread that makes threads.
    thread::scope(|scope| {
        for (visitor, connection) in connections.iter_mut().enumerate() {
            scope.spawn(move || {
                for request in 0..REQUESTS {
                    let terms = 1000 * (1 + visitor * REQUESTS + request);
                    let sum: f64 = (0..terms)
                        .map(|n| (if n % 2 == 0 { 4.0 } else { -4.0 }) / (2 * n + 1) as f64)
                        .sum();
                    let (status, text) = ask(connection, &format!("/pi/{terms}"));
                    assert_eq!((status.as_str(), text), ("HTTP/1.1 200 OK", format!("{sum:.6}\n")));
                    assert_eq!(ask(connection, "/").0, "HTTP/1.1 200 OK");
                }
            });
        }
    });
    let (_, text) = ask(&mut first, "/");
    let count = 2 + VISITORS * (1 + REQUESTS);
    assert!(text.starts_with(&format!("request {count}, after /, ")), "{text}");
    let address = format!("http://127.0.0.1:{}/pi/1", server.port);
    match Command::new("curl")
        .args(["--silent", "--show-error", "--fail", &address])
        .output()
    {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "4.000000\n", "{output:?}"),
        Err(error) => eprintln!("left out: curl: {error}"),
    }
}
