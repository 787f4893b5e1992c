//! The example `valkey` as its clients meet it: an unmodified server behind a network card.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use machine::virtio::Version;
use tests::{Platform, Scenario, Served, on_every_platform};
use tools::run::DeviceArguments;

on_every_platform!(clients_are_served);

/// Connections at a time, and requests of each.
const CONNECTIONS: usize = 20;
const REQUESTS: usize = 30;
/// Requests of each kind that `redis-benchmark` makes, unless the environment says how many: `INTRAVISOR_SOAK=20000`.
const BENCHMARK: usize = 400;
const SOAK: &str = "INTRAVISOR_SOAK";

/// A client: RESP, version 2.
struct Client(BufReader<TcpStream>);

impl Client {
    /// Sends a command; the answer on one line, elements of lists with blanks between them.
    fn ask(&mut self, command: &str) -> String {
        self.send(&[command]);
        self.answer()
    }

    fn send(&mut self, commands: &[&str]) {
        let mut request = String::new();
        for command in commands {
            let words: Vec<&str> = command.split(' ').collect();
            request += &format!("*{}\r\n", words.len());
            for word in words {
                request += &format!("${}\r\n{word}\r\n", word.len());
            }
        }
        self.0.get_mut().write_all(request.as_bytes()).expect("a request");
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer");
        let (kind, rest) = line.trim_end().split_at_checked(1).expect("the connection is there");
        match kind {
            "+" | "-" | ":" => rest.to_owned(),
            "$" if rest == "-1" => "nil".to_owned(),
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>().expect("a length") + 2];
                self.0.read_exact(&mut bytes).expect("so many bytes");
                bytes.truncate(bytes.len() - 2);
                String::from_utf8(bytes).expect("text")
            }
            "*" => {
                let count = rest.parse().expect("a count");
                let elements: Vec<String> = (0..count).map(|_| self.answer()).collect();
                elements.join(" ")
            }
            other => panic!("{other:?} begins no answer"),
        }
    }
}

fn clients_are_served(platform: Platform) {
    if tests::linux_program(platform, "valkey").is_none() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary folder");
    let image = directory.path().join("image");
    std::fs::write(&image, Scenario::example(platform, "valkey").image(platform)).expect("the image");
    let server = Served::start(
        platform,
        &image,
        DeviceArguments {
            virtio: if platform.relocates() {
                Version::Modern
            } else {
                Version::Legacy
            },
            ..DeviceArguments::default()
        },
        6379,
        "",
        "Ready to accept connections",
    );
    let client = || Client(server.connect());
    let mut one = client();
    let expected = [
        ("PING", "PONG"),
        ("SET text hello", "OK"),
        ("APPEND text -world", "11"),
        ("GET text", "hello-world"),
        ("GET nothing", "nil"),
        ("INCRBY number 41", "41"),
        ("INCR number", "42"),
        ("RPUSH list a b c", "3"),
        ("LRANGE list 0 -1", "a b c"),
        ("HSET hash one 1 two 2", "2"),
        ("HGET hash two", "2"),
        ("SADD set x y x", "2"),
        ("SISMEMBER set y", "1"),
        ("ZADD ranks 2 b 1 a", "2"),
        ("ZRANGE ranks 0 -1", "a b"),
        (
            "LPUSH text x",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        ("SET brief x PX 300", "OK"),
        ("EXISTS brief", "1"),
    ];
    for (command, answer) in expected {
        assert_eq!(one.ask(command), answer, "{command}");
    }
    // By the machine's time, which is the host's.
    let begin = Instant::now();
    while one.ask("EXISTS brief") == "1" {
        assert!(begin.elapsed() < Duration::from_secs(30), "it does not expire");
    }
    // Who waits is woken by somebody else.
    let mut waits = client();
    waits.send(&["BLPOP queue 0"]);
    while !one.ask("INFO clients").contains("blocked_clients:1") {
        assert!(begin.elapsed() < Duration::from_secs(60), "nobody waits");
    }
    assert_eq!(one.ask("RPUSH queue job"), "1");
    assert_eq!(waits.answer(), "queue job");
    // Larger than all buffers on the way, there and back.
    let large = "z".repeat(300_000);
    assert_eq!(one.ask(&format!("SET large {large}")), "OK");
    assert!(one.ask("GET large") == large, "it comes back as it went");
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut client = client();
                for _ in 0..REQUESTS {
                    client.send(&["INCR visits", "INCR visits"]);
                    let _ = (client.answer(), client.answer());
                }
            });
        }
    });
    assert_eq!(one.ask("GET visits"), (2 * CONNECTIONS * REQUESTS).to_string());
    let port = server.port.to_string();
    let requests = std::env::var(SOAK).unwrap_or_else(|_| BENCHMARK.to_string());
    // QEMU's user network keeps a queue of one for connections, and who finds it full waits for seconds, or is reset.
    let clients = if platform.is_machine() { "20" } else { "2" };
    let mut benchmark = Command::new("redis-benchmark");
    benchmark.args([
        "-p",
        &port,
        "-t",
        "set,get,lpush,lrange",
        "-n",
        &requests,
        "-c",
        clients,
        "-q",
    ]);
    match benchmark.output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && !said.contains("rror"), "{said}");
            // LRANGE of four lengths, and the list for it.
            assert_eq!(said.matches("requests per second").count(), 8, "{said}");
        }
        Err(error) => eprintln!("left out: redis-benchmark: {error}"),
    }
    // Nobody has said that it failed meanwhile.
    assert_eq!(one.ask("PING"), "PONG");
}
