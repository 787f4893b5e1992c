//! The driver of a disk and its clients, on disks that fail and under a driver that is killed: what was flushed is there, what
//! was not asked for is not.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use machine::Stop;
use machine::virtio::{Block, Mischief, Storage};
use tests::scenario::Running;
use tests::{Outcome, Platform, Scenario, on_machine};

const SECTOR: usize = 512;
/// Sectors of the disk.
const SECTORS: usize = 400;
/// What sectors hold that are nobody's.
const NOBODYS: u8 = 0xee;
on_machine!(
    every_client_has_its_own_blocks,
    a_hostile_client_reaches_its_own_blocks_only,
    a_disk_that_fails_loses_nothing_that_was_flushed,
    a_device_that_breaks_the_rules_loses_nothing_that_was_flushed,
    a_driver_that_is_killed_loses_nothing_that_was_flushed,
);

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

/// What a disk holds: what was written, and what outlives the machine.
struct Contents {
    written: Vec<u8>,
    flushed: Vec<u8>,
    /// How many requests in a thousand fail, and after what the next one follows.
    faults: u64,
    random: Random,
    failed: u64,
}

/// A disk, seen from the machine and from the test.
#[derive(Clone)]
struct Disk(Arc<Mutex<Contents>>);

impl Disk {
    /// With zeros in the sectors that clients have.
    fn new(clients: &[std::ops::Range<usize>], faults: u64, seed: u64) -> Disk {
        let mut written = vec![NOBODYS; SECTORS * SECTOR];
        for range in clients {
            written[range.start * SECTOR..range.end * SECTOR].fill(0);
        }
        Disk(Arc::new(Mutex::new(Contents {
            flushed: written.clone(),
            written,
            faults,
            random: Random(seed),
            failed: 0,
        })))
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().expect("no test has failed with it")
    }
}

impl Contents {
    /// How many of these sectors are done before the request fails; all of them when it does not.
    fn done(&mut self, sectors: usize) -> usize {
        if self.random.below(1000) >= self.faults {
            return sectors;
        }
        self.failed += 1;
        self.random.below(sectors as u64) as usize
    }
}

impl Storage for Disk {
    fn size(&self) -> u64 {
        (SECTORS * SECTOR) as u64
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut contents = self.contents();
        let (sectors, offset) = (bytes.len() / SECTOR, offset as usize);
        let done = contents.done(sectors);
        bytes[..done * SECTOR].copy_from_slice(&contents.written[offset..offset + done * SECTOR]);
        if done < sectors {
            Err(io::ErrorKind::Other.into())
        } else {
            Ok(())
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut contents = self.contents();
        let (sectors, offset) = (bytes.len() / SECTOR, offset as usize);
        let done = contents.done(sectors);
        contents.written[offset..offset + done * SECTOR].copy_from_slice(&bytes[..done * SECTOR]);
        if done < sectors {
            Err(io::ErrorKind::Other.into())
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut contents = self.contents();
        if contents.done(1) == 0 {
            return Err(io::ErrorKind::Other.into());
        }
        contents.flushed = contents.written.clone();
        Ok(())
    }
}

/// The driver, restarted as often as it takes, and two clients, whose blocks lie far apart.
fn scenario(platform: Platform, rounds: u64, seed: u64) -> Scenario {
    Scenario::yaml(
        platform,
        &format!(
            "cVMs:
- {{name: storage, runtime: disk, devices: block0, restart: {{policy: on-fault, limit: 10000}}}}
- name: first
  runtime: disk-check
  args: [{rounds}, {seed}, 200]
  heap: 256KiB
  disk: {{of: storage, start: 10, blocks: 180, access: write}}
- name: second
  runtime: disk-check
  args: [{rounds}, {}, 100]
  heap: 256KiB
  disk: {{of: storage, start: 190, blocks: 20, access: write}}
",
            seed + 1
        ),
    )
}

/// Blocks of the clients.
const RANGES: [(&str, std::ops::Range<usize>); 2] = [("first", 10..190), ("second", 190..210)];

fn disk(faults: u64, seed: u64) -> Disk {
    Disk::new(&RANGES.map(|(_, range)| range), faults, seed)
}

/// By which write of a client a sector was written, whose number among the client's this is.
fn version(sector: &[u8], number: usize) -> u64 {
    let word = |at: usize| u64::from_le_bytes(sector[at..at + 8].try_into().expect("8 bytes"));
    let version = word(8);
    if version > 0 {
        assert_eq!(word(0), number as u64, "a sector in another's place");
        assert!(
            sector[16..].iter().all(|byte| *byte == version as u8),
            "a sector in pieces"
        );
    } else {
        assert!(sector.iter().all(|byte| *byte == 0), "a sector in pieces");
    }
    version
}

/// What was flushed, by the clients' word, is there, and nothing else has changed.
fn check(disk: &Disk, outcome: &Outcome) {
    let contents = disk.contents();
    let mut nobodys = contents.flushed.clone();
    for (client, range) in RANGES {
        let lines = outcome.of(client);
        let mut flushed = lines.iter().filter_map(|line| line.strip_prefix("flushed "));
        let flushed = flushed.next_back().map_or(0, |text| text.parse().expect("a number"));
        for (number, sector) in range.clone().enumerate() {
            let bytes = |all: &[u8]| all[sector * SECTOR..(sector + 1) * SECTOR].to_vec();
            let last = version(&bytes(&contents.written), number);
            let stable = version(&bytes(&contents.flushed), number);
            // What was written last before the flush is there, or something later.
            assert!(
                stable == last || stable <= last,
                "{client}: sector {number} goes back: {outcome}"
            );
            assert!(
                stable == last || last > flushed,
                "{client}: sector {number} has {stable} and not {last}, flushed were {flushed}: {outcome}"
            );
        }
        nobodys[range.start * SECTOR..range.end * SECTOR].fill(NOBODYS);
    }
    assert!(
        nobodys.iter().all(|byte| *byte == NOBODYS),
        "blocks that are nobody's were written"
    );
}

/// What a client says at its end: requests done, and failed.
fn counts(outcome: &Outcome, client: &str) -> (u64, u64) {
    let lines = outcome.of(client);
    let last = lines.last().unwrap_or_else(|| panic!("{outcome}"));
    let words: Vec<&str> = last.split(' ').collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse().ok());
    match (number(0), number(3)) {
        (Some(done), Some(failed)) => (done, failed),
        _ => panic!("{client}: {last:?}: {outcome}"),
    }
}

/// Runs until everybody waits: the driver for requests of clients that have ended.
fn finish(running: Running) -> Outcome {
    let outcome = running.finish();
    let ending = format!("{:?}", outcome.ending);
    assert!(ending.contains("wait"), "{outcome}");
    outcome
}

fn every_client_has_its_own_blocks(platform: Platform) {
    let disk = disk(0, 1);
    let mut running = scenario(platform, 200, 11).on_board(platform);
    running.board.attach(Block::new(disk.clone())).expect("a slot");
    let outcome = finish(running);
    for (client, _) in RANGES {
        assert_eq!(counts(&outcome, client), (200, 0), "{outcome}");
    }
    check(&disk, &outcome);
    let lines = outcome.of("second");
    assert_eq!(lines[0], "found 0 on 20 of 20 sectors", "{outcome}");
}

fn a_hostile_client_reaches_its_own_blocks_only(platform: Platform) {
    let scenario = Scenario::yaml(
        platform,
        "cVMs:
- {name: storage, runtime: disk, devices: block0}
- name: writer
  runtime: disk-rogue
  args: [100, write]
  threads: 2
  heap: 64KiB
  local: 1
  disk: {of: storage, start: 100, blocks: 50, access: write}
- name: reader
  runtime: disk-rogue
  args: [150, read]
  threads: 2
  heap: 64KiB
  local: 1
  disk: {of: storage, start: 150, blocks: 50}
- name: victim
  runtime: disk-check
  args: [300, 5, 100]
  heap: 256KiB
  disk: {of: storage, start: 200, blocks: 20, access: write}
",
    );
    let disk = Disk::new(std::slice::from_ref(&(100..220)), 0, 1);
    let mut running = scenario.on_board(platform);
    running.board.attach(Block::new(disk.clone())).expect("a slot");
    let outcome = finish(running);
    for rogue in ["writer", "reader"] {
        let said = outcome.of(rogue);
        assert_eq!(said.len(), 1, "{outcome}");
        assert!(said[0].ends_with(" requests refused"), "{outcome}");
    }
    assert_eq!(counts(&outcome, "victim"), (300, 0), "{outcome}");
    assert!(outcome.faults().is_empty(), "{outcome}");
    // The writer has overwritten nothing but its own blocks, and the reader nothing.
    let contents = disk.contents();
    let is = |range: std::ops::Range<usize>, byte: u8| {
        let bytes = &contents.written[range.start * SECTOR..range.end * SECTOR];
        bytes.iter().all(|found| *found == byte)
    };
    assert!(
        is(0..100, NOBODYS) && is(220..SECTORS, NOBODYS),
        "nobody's blocks were written"
    );
    assert!(is(100..200, 0), "what only reads has written");
    for sector in 200..220 {
        version(&contents.written[sector * SECTOR..(sector + 1) * SECTOR], sector - 200);
    }
}

fn a_disk_that_fails_loses_nothing_that_was_flushed(platform: Platform) {
    for seed in 0..3 {
        let disk = disk(60, seed);
        let mut running = scenario(platform, 250, 100 * seed).on_board(platform);
        running
            .board
            .attach(Block::new(disk.clone()).with_latency(20_000))
            .expect("a slot");
        let outcome = finish(running);
        let failed: u64 = RANGES.iter().map(|(client, _)| counts(&outcome, client).1).sum();
        assert!(failed > 5, "only {failed} requests failed: {outcome}");
        check(&disk, &outcome);
    }
}

fn a_device_that_breaks_the_rules_loses_nothing_that_was_flushed(platform: Platform) {
    let mischiefs = [
        Mischief::Id(0x1_0000),
        Mischief::Id(127),
        Mischief::Id(u32::MAX),
        Mischief::Length(0),
        Mischief::Length(u32::MAX),
        Mischief::Times(2),
        Mischief::Times(200),
        Mischief::Status(1),
        Mischief::Status(0xff),
        Mischief::Breakdown,
    ];
    for latency in [0, 30_000] {
        let disk = disk(0, 5);
        let mut running = scenario(platform, 250, 900 + latency).on_board(platform);
        let (mut random, mut next) = (Random(latency + 3), 0);
        let block = Block::new(disk.clone()).with_latency(latency).misbehaving(move || {
            let wrong = random.below(12) == 0;
            next += usize::from(wrong);
            wrong.then(|| mischiefs[next % mischiefs.len()])
        });
        running.board.attach(block).expect("a slot");
        let outcome = finish(running);
        check(&disk, &outcome);
        for (client, _) in RANGES {
            let (done, failed) = counts(&outcome, client);
            assert!(
                done > 200 && done + failed == 250,
                "{client}: {done} done, {failed} failed: {outcome}"
            );
        }
    }
}

/// Where the text of a cVM lies, by the ledger.
fn text_of(running: &Running, cvm: &str) -> std::ops::Range<u64> {
    let console = running.board.console().text();
    let entry = console.split_once(&format!(" {cvm} code: ")).map(|(_, rest)| rest);
    let bounds = entry.and_then(|rest| rest.split_once('[')?.1.split_once(')'));
    let ends = bounds.and_then(|(bounds, _)| bounds.split_once('-'));
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("a number");
    let (start, end) = ends.unwrap_or_else(|| panic!("no text of {cvm}: {console}"));
    number(start)..number(end)
}

/// How often the driver is killed.
const KILLS: u32 = 100;

fn a_driver_that_is_killed_loses_nothing_that_was_flushed(platform: Platform) {
    let disk = disk(0, 9);
    let mut running = scenario(platform, 4000, 77).on_board(platform);
    running
        .board
        .attach(Block::new(disk.clone()).with_latency(5_000))
        .expect("a slot");
    running.until("first] found 0");
    let text = text_of(&running, "storage");
    let zeros = vec![0; (text.end - text.start) as usize];
    let mut random = Random(4);
    for kill in 0..KILLS {
        // No instruction of either architecture: it faults wherever it goes on.
        running.board.write_memory(text.start, &zeros);
        running.until(&format!("storage: restart {} of", kill + 1));
        let stop = running.board.run(100_000 + random.below(400_000));
        assert_eq!(stop, Stop::Limit, "the clients are done after {kill} kills");
    }
    let outcome = finish(running);
    for (client, _) in RANGES {
        assert_eq!(counts(&outcome, client), (4000, 0), "{outcome}");
    }
    check(&disk, &outcome);
}
