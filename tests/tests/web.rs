//! The example `web` as a browser meets it: pages from a disk through a network card, and a count of visitors that outlives the
//! machine.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use machine::Stop;
use machine::net::UserNetwork;
use machine::virtio::{Block, Network, Version};
use tests::{Platform, Scenario, Served, on_every_platform, on_machine};
use tools::run::DeviceArguments;

on_every_platform!(
    pages_are_served,
    pages_are_served_by_modern_devices,
    many_visitors_are_served_without_an_error,
);
on_machine!(
    drivers_that_are_killed_cost_no_visitor,
    a_server_that_is_killed_goes_on_counting,
);

/// Connections at a time.
const CONNECTIONS: usize = 16;
/// Requests of all of them, unless the environment says how many: `INTRAVISOR_SOAK=10000`.
const REQUESTS: usize = 640;
const SOAK: &str = "INTRAVISOR_SOAK";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often somebody is killed.
const KILLS: u64 = 110;

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

/// A machine that runs the example, until it is dropped.
fn serve(platform: Platform, virtio: Version, disk: &Path, image: &Path, capture: Option<&Path>) -> Served {
    let capture = capture.map_or(String::new(), |file| format!(",capture={}", file.display()));
    let devices = DeviceArguments {
        disks: vec![disk.display().to_string()],
        virtio,
        ..DeviceArguments::default()
    };
    Served::start(platform, image, devices, 80, &capture, "listening on")
}

fn connect(port: u16) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(BufReader::new(stream))
}

/// Asks for a page: the status line, and the body.
fn ask(stream: &mut BufReader<TcpStream>, path: &str) -> io::Result<(String, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    stream.get_mut().write_all(request.as_bytes())?;
    let mut line = || {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok(line.trim_end().to_owned())
    };
    let (status, mut length) = (line()?, 0);
    loop {
        let header = line()?;
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("Content-Length: ") {
            length = value.parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((status, String::from_utf8(body).expect("text")))
}

/// As [`ask`], where nothing may go wrong.
fn get(stream: &mut BufReader<TcpStream>, path: &str) -> (String, String) {
    ask(stream, path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Visits the front page so often, over one connection.
fn visit(port: u16, requests: usize) {
    let mut stream = connect(port).expect("a connection");
    for _ in 0..requests {
        let (status, body) = get(&mut stream, "/");
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(body.starts_with("<p>visitor "), "{body}");
    }
}

fn image(platform: Platform, directory: &Path) -> PathBuf {
    let image = directory.join("image");
    std::fs::write(&image, Scenario::example(platform, "web").image(platform)).expect("the image");
    image
}

fn pages_are_served(platform: Platform) {
    pages_are_served_and_visitors_counted(platform, Version::Legacy);
}

fn pages_are_served_by_modern_devices(platform: Platform) {
    pages_are_served_and_visitors_counted(platform, Version::Modern);
}

fn pages_are_served_and_visitors_counted(platform: Platform, virtio: Version) {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let disk = disk(directory.path());
    let image = image(platform, directory.path());
    let server = serve(platform, virtio, &disk.0, &image, None);
    let mut stream = connect(server.port).expect("a connection");
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
    // The next machine goes on where that one stood.
    let server = serve(platform, virtio, &disk.0, &image, None);
    visit(server.port, 2);
    assert_eq!(visits_on(&disk), 5);
    drop(server);
}

fn many_visitors_are_served_without_an_error(platform: Platform) {
    let requests = std::env::var(SOAK).map_or(REQUESTS, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{SOAK}={text}: expected a number of requests"))
    });
    let directory = tempfile::tempdir().expect("a temporary folder");
    let disk = disk(directory.path());
    let capture = directory.path().join("capture.pcap");
    let image = image(platform, directory.path());
    let server = serve(platform, Version::Modern, &disk.0, &image, Some(&capture));
    let each = requests.div_ceil(CONNECTIONS);
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| visit(server.port, each));
        }
    });
    assert_eq!(
        visits_on(&disk),
        (CONNECTIONS * each) as u64,
        "every one was counted once"
    );
    drop(server);
    let frames = check_capture(&capture);
    assert!(frames > 2 * requests, "only {frames} frames");
}

/// Bytes of a capture's own header, and of that of a frame.
const FILE_HEADER: usize = 24;
const FRAME_HEADER: usize = 16;

/// Looks whether the frames of a capture are what they say, checksums included; how many there are.
fn check_capture(path: &Path) -> usize {
    let mut bytes = std::fs::read(path).expect("the capture");
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes")) as usize;
    assert_eq!((word(0), word(20)), (0xa1b2_c3d4, 1), "microseconds, Ethernet");
    let (mut at, mut count) = (FILE_HEADER, 0);
    // The plug was pulled: the last one may be cut off.
    while at + FRAME_HEADER <= bytes.len() && at + FRAME_HEADER + word(at + 8) <= bytes.len() {
        let (length, whole) = (word(at + 8), word(at + 12));
        assert_eq!(length, whole, "frame {count} was cut off");
        let frame = &bytes[at + FRAME_HEADER..at + FRAME_HEADER + length];
        check_frame(frame).unwrap_or_else(|problem| panic!("frame {count}: {problem}: {frame:02x?}"));
        at += FRAME_HEADER + length;
        count += 1;
    }
    bytes.truncate(at);
    std::fs::write(path, bytes).expect("the capture, of whole frames");
    match tshark(path) {
        Some(wrong) => assert_eq!(wrong, "", "tshark finds these malformed"),
        None => println!("left out: tshark is not there; {count} frames were looked at without"),
    }
    count
}

/// The frames that tshark finds malformed, or with a wrong checksum; none when it is not there.
fn tshark(path: &Path) -> Option<String> {
    let filter =
        "_ws.malformed || ip.checksum.status == Bad || tcp.checksum.status == Bad || udp.checksum.status == Bad";
    let checks = [
        "ip.check_checksum:TRUE",
        "tcp.check_checksum:TRUE",
        "udp.check_checksum:TRUE",
    ];
    let mut command = Command::new("tshark");
    command.arg("-r").arg(path).args(["-Y", filter]);
    command.args(checks.iter().flat_map(|check| ["-o", check]));
    match command.output() {
        Ok(output) if output.status.success() => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => panic!("tshark: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => panic!("tshark: {error}"),
    }
}

/// By a library that neither guest nor gateway uses: whoever makes a mistake shall not be the one that looks for it.
fn check_frame(bytes: &[u8]) -> Result<(), String> {
    let packet = SlicedPacket::from_ethernet(bytes).map_err(|error| error.to_string())?;
    let ip = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => ip,
        Some(NetSlice::Arp(arp)) if arp.operation().0 <= 2 => return Ok(()),
        other => return Err(format!("nobody speaks {other:?}")),
    };
    let (header, payload) = (ip.header(), ip.payload().payload);
    let addresses = [header.source(), header.destination()].concat();
    let pseudo = [0, header.protocol().0]
        .into_iter()
        .chain((payload.len() as u16).to_be_bytes());
    let pseudo = [addresses, pseudo.collect()].concat();
    let (what, sums): (_, &[&[u8]]) = match &packet.transport {
        Some(TransportSlice::Tcp(_)) => ("TCP", &[&pseudo, payload]),
        // Who has not counted says 0.
        Some(TransportSlice::Udp(udp)) if udp.checksum() == 0 => ("UDP", &[&[0xff, 0xff]]),
        Some(TransportSlice::Udp(_)) => ("UDP", &[&pseudo, payload]),
        Some(TransportSlice::Icmpv4(_)) => ("ICMP", &[payload]),
        other => return Err(format!("nobody speaks {other:?}")),
    };
    for (what, parts) in [("IPv4", &[header.slice()] as &[&[u8]]), (what, sums)] {
        if sum(parts) != 0xffff {
            return Err(format!("{what}: a wrong checksum"));
        }
    }
    Ok(())
}

/// The sum by which the Internet's protocols check (RFC 1071), of parts of which only the last one may be odd: all ones for what
/// holds its own.
fn sum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let words = words.map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let folded = words.fold(0_u32, |sum, word| {
        let sum = sum + word;
        (sum & 0xffff) + (sum >> 16)
    });
    folded as u16
}

/// The looks at captures see what is wrong.
#[test]
fn a_capture_with_a_bit_changed_is_seen() {
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 2, 2], [10, 0, 2, 15], 64);
    let mut frame = Vec::new();
    let written = builder.tcp(1000, 80, 7, 1024).write(&mut frame, b"GET / HTTP/1.1");
    written.expect("a packet");
    assert_eq!(check_frame(&frame), Ok(()));
    // All but the addresses of Ethernet are looked at.
    for at in 12..frame.len() {
        let mut wrong = frame.clone();
        wrong[at] ^= 4;
        assert!(check_frame(&wrong).is_err(), "byte {at}: {wrong:02x?}");
    }
    for length in 0..frame.len() {
        assert!(check_frame(&frame[..length]).is_err(), "{length} bytes");
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % limit
    }
}

/// Is raised at the latest when this is dropped, so that nobody goes on for a test that has failed.
struct Raised<'a>(&'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Where the text of a cVM lies, by the ledger.
fn text_of(console: &str, cvm: &str) -> std::ops::Range<u64> {
    let entry = console.split_once(&format!(" {cvm} code: ")).map(|(_, rest)| rest);
    let bounds = entry.and_then(|rest| rest.split_once('[')?.1.split_once(')'));
    let ends = bounds.and_then(|(bounds, _)| bounds.split_once('-'));
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("a number");
    let (start, end) = ends.unwrap_or_else(|| panic!("no text of {cvm}: {console}"));
    number(start)..number(end)
}

/// Runs the example, with visitors all the time, and kills these cVMs, the first one most often, by taking their instructions away. How many answers
/// the visitors got, how many of their requests failed, and the last number of a visitor on the disk.
fn kill(platform: Platform, victims: &[&str], kills: u64) -> (u64, u64, u64) {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let disk = disk(directory.path());
    let mut running = Scenario::example(platform, "web").on_board(platform);
    let mut wire = UserNetwork::new();
    let port = wire.forward(0, 80).expect("a port of the host");
    let block = Block::open(&disk.0, false).expect("the disk").with_latency(5_000);
    running.board.attach(block).expect("a slot");
    let card = Network::new([0x52, 0x54, 0, 0x12, 0x34, 0x56], wire);
    running.board.attach(card).expect("a slot");
    running.until("listening on");
    let (answers, failures) = (AtomicU64::new(0), AtomicU64::new(0));
    let (over, visitors) = (AtomicBool::new(false), AtomicU64::new(4));
    let stopped = AtomicBool::new(false);
    let visit = || {
        while !over.load(Ordering::Relaxed) {
            let Ok(mut stream) = connect(port) else { continue };
            while !over.load(Ordering::Relaxed) {
                match ask(&mut stream, "/") {
                    Ok((status, _)) if status == "HTTP/1.1 200 OK" => answers.fetch_add(1, Ordering::Relaxed),
                    _ => {
                        failures.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                };
            }
        }
        visitors.fetch_sub(1, Ordering::Relaxed);
    };
    thread::scope(|scope| {
        let _raised = [&over, &stopped].map(Raised);
        (0..4).for_each(|_| drop(scope.spawn(visit)));
        // A machine without visitors waits for one: it must not when the others have gone, until it is not run any more.
        scope.spawn(|| {
            while !stopped.load(Ordering::Relaxed) {
                let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
                thread::sleep(Duration::from_millis(20));
            }
        });
        let mut random = Random(5);
        let mut restarts = vec![0; victims.len()];
        for number in 0..kills {
            // The first one more often than the others.
            let which = if number % 10 == 0 {
                number as usize / 10 % victims.len()
            } else {
                0
            };
            let victim = victims[which];
            restarts[which] += 1;
            let text = text_of(&running.board.console().text(), victim);
            // No instruction of either architecture: it faults wherever it goes on. While it is loaded anew that hurts nobody.
            let nothing = vec![0; (text.end - text.start) as usize];
            let restart = format!("{victim}: restart {} of", restarts[which]);
            let mut kills = (0..10).map(|_| {
                running.board.write_memory(text.start, &nothing);
                running.board.run_to_pattern(20_000_000, &restart)
            });
            assert!(kills.any(|stop| stop == Stop::Pattern), "not killed: {restart}");
            let stop = running.board.run(1_000_000 + random.below(2_000_000));
            assert_eq!(stop, Stop::Limit);
        }
        over.store(true, Ordering::Relaxed);
        while visitors.load(Ordering::Relaxed) > 0 {
            assert_eq!(running.board.run(1_000_000), Stop::Limit);
        }
    });
    let visits = visits_on(&disk);
    (answers.into_inner(), failures.into_inner(), visits)
}

fn drivers_that_are_killed_cost_no_visitor(platform: Platform) {
    let (answers, failures, visits) = kill(platform, &["storage", "lan"], KILLS);
    assert!(answers > KILLS, "only {answers} answers");
    assert_eq!(
        (failures, visits),
        (0, answers),
        "failures, visitors on the disk, of {answers} answers"
    );
}

fn a_server_that_is_killed_goes_on_counting(platform: Platform) {
    let (answers, failures, visits) = kill(platform, &["web"], KILLS / 5);
    assert!(answers > 20 && failures > 0, "{answers} answers, {failures} failures");
    // Whoever got an answer was counted, and nobody who did not ask.
    let expected = answers..=answers + failures;
    assert!(
        expected.contains(&visits),
        "{visits} visitors on the disk, expected {expected:?}"
    );
}
