//! The example `rust-http` as its visitors meet it: an unmodified program of Rust's standard library, with threads and floating-point
//! numbers, behind a network card.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::thread;

use machine::virtio::Version;
use tests::{Platform, Scenario, Served, on_every_platform};
use tools::run::DeviceArguments;

on_every_platform!(visitors_are_served, visitors_come_through_a_switch);

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

/// A machine that runs the server, until it is dropped; none where there are no Linux programs.
fn serve(platform: Platform, scenario: impl FnOnce() -> Scenario) -> Option<Served> {
    tests::linux_program(platform, "rust-http")?;
    let directory = tempfile::tempdir().expect("a temporary folder");
    let image = directory.path().join("image");
    std::fs::write(&image, scenario().image(platform)).expect("the image");
    let virtio = if platform.relocates() {
        Version::Modern
    } else {
        Version::Legacy
    };
    let arguments = DeviceArguments {
        virtio,
        ..DeviceArguments::default()
    };
    let ready = "listens on 0.0.0.0:80";
    Some(Served::start(platform, &image, arguments, 80, "", ready))
}

/// One card for several: the server, and two more programs, each with a library OS of its own, that talk meanwhile.
fn visitors_come_through_a_switch(platform: Platform) {
    let talk = |name: &str, place: u32, arguments: &str| {
        format!(
            "- name: {name}\n  linux: {{program: linux-talk, memory: 2MiB}}\n  args: [{arguments}]\n  \
             net: {{of: lan, address: 10.0.2.{place}/24}}\n"
        )
    };
    let yaml = format!(
        "cVMs:\n- {{name: lan, runtime: switch, devices: net0}}\n\
         - {{name: web, linux: {{program: rust-http, memory: 16MiB}}, net: {{of: lan}}}}\n{}{}",
        talk("echo", 16, "\"7\", \"1\""),
        talk("talks", 17, "10.0.2.16, \"7\", \"20000000\""),
    );
    if tests::linux_program(platform, "linux-talk").is_none() {
        return;
    }
    let Some(server) = serve(platform, || Scenario::yaml(platform, &yaml)) else {
        return;
    };
    for visitor in 0..4 {
        let mut connection = server.connect();
        for request in 0..REQUESTS {
            let (status, text) = ask(&mut connection, "/");
            assert_eq!(status, "HTTP/1.1 200 OK");
            let count = 1 + visitor * REQUESTS + request;
            assert!(text.starts_with(&format!("request {count}, after ")), "{text}");
        }
    }
}

fn visitors_are_served(platform: Platform) {
    let Some(server) = serve(platform, || Scenario::example(platform, "rust-http")) else {
        return;
    };
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
