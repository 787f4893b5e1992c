//! The example `sqlite` and its disk when the power goes: at random instants, with what the disk had not flushed lost in part.
//! The host's tools judge what is left, and the example goes on with it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use machine::Stop;
use machine::virtio::{Block, Storage};
use tests::{Platform, Scenario, ext4, on_machine};

const SECTOR: usize = 512;
/// Instants at which the power goes, unless the environment says how many: `INTRAVISOR_SOAK=200`.
const INSTANTS: usize = 24;
const SOAK: &str = "INTRAVISOR_SOAK";
/// Rows that the program inserts, each in a transaction of its own.
const ROWS: usize = 40;

on_machine!(power_that_goes_at_any_instant_costs_no_committed_row);

/// What a disk holds: what outlives the machine, and what was written since.
#[derive(Debug, Default)]
struct Contents {
    flushed: Vec<u8>,
    written: Vec<(usize, Vec<u8>)>,
}

/// A disk with a cache, seen from the machine and from the test.
#[derive(Clone, Debug)]
struct Disk(Arc<Mutex<Contents>>);

impl Disk {
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().expect("no test has failed with it")
    }
}

impl Storage for Disk {
    fn size(&self) -> u64 {
        self.contents().flushed.len() as u64
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let contents = self.contents();
        let start = offset as usize;
        bytes.copy_from_slice(&contents.flushed[start..start + bytes.len()]);
        for (at, sector) in &contents.written {
            if (start..start + bytes.len()).contains(at) {
                bytes[at - start..at - start + SECTOR].copy_from_slice(sector);
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let sectors = bytes.chunks(SECTOR).enumerate();
        let sectors = sectors.map(|(index, sector)| (offset as usize + index * SECTOR, sector.to_vec()));
        self.contents().written.extend(sectors);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut contents = self.contents();
        for (at, sector) in std::mem::take(&mut contents.written) {
            contents.flushed[at..at + SECTOR].copy_from_slice(&sector);
        }
        Ok(())
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

/// A program that inserts rows, and says how many there are after each.
fn scenario(platform: Platform, rows: usize) -> Scenario {
    let mut yaml =
        "cVMs:\n- name: sqlite\n  linux: {program: sqlite, memory: 8MiB}\n  devices: [block0]\n  args:\n  - \
                    /disk/it.db\n  - pragma synchronous = extra\n  - create table if not exists t(number integer primary key, text)\n"
            .to_owned();
    for _ in 0..rows {
        yaml += "  - insert into t(text) values(hex(randomblob(700)))\n  - select 'rows', count(*) from t\n";
    }
    yaml += "  - pragma integrity_check\n";
    Scenario::yaml(platform, &yaml)
}

/// The last number of rows that the program has told.
fn told(console: &str) -> usize {
    let last = console.rsplit_once("rows|").map(|(_, rest)| rest);
    let digits = last.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn power_that_goes_at_any_instant_costs_no_committed_row(platform: Platform) {
    let Some(image) = ext4::image(8 * 1024) else { return };
    if tests::linux_program(platform, "sqlite").is_none() || ext4::tool("sqlite3").is_none() {
        return;
    }
    let instants = std::env::var(SOAK).map_or(INSTANTS, |text| text.parse().expect("a number of instants"));
    let disk = Disk(Arc::new(Mutex::new(Contents {
        flushed: image,
        written: Vec::new(),
    })));
    let mut running = scenario(platform, ROWS).on_board(platform);
    running.board.attach(Block::new(disk.clone())).expect("a slot");
    running.until("rows|1");
    let begun = running.board.instructions(0);
    running.until("rows|2");
    let row = running.board.instructions(0) - begun;
    let mut random = Random(instants as u64);
    // The power goes at each of them: what is on the disk then, and how many rows the program had told.
    let mut cuts = Vec::new();
    while cuts.len() < instants {
        let stop = running
            .board
            .run(1 + random.below(2 * row * (ROWS as u64 - 3) / instants as u64));
        if stop != Stop::Limit {
            break;
        }
        let contents = disk.contents();
        let mut bytes = contents.flushed.clone();
        for (at, sector) in &contents.written {
            if random.below(2) == 0 {
                bytes[*at..at + SECTOR].copy_from_slice(sector);
            }
        }
        cuts.push((told(&running.board.console().text()), bytes));
    }
    assert!(
        cuts.len() * 2 > instants,
        "the program was over after {} instants",
        cuts.len()
    );
    for (number, (told, bytes)) in cuts.iter().enumerate() {
        let files = ext4::files(bytes);
        let database = files.path().join("it.db").display().to_string();
        let sql = "pragma integrity_check; select count(*) from t;";
        let (code, text) = ext4::run("sqlite3", &[database.as_str(), sql]).expect("it was there");
        let rows: usize = text.lines().nth(1).and_then(|line| line.parse().ok()).unwrap_or(0);
        assert!(code == 0 && text.starts_with("ok\n"), "instant {number}: {text}");
        assert!(
            rows == *told || rows == told + 1,
            "instant {number}: {rows} rows, told {told}"
        );
    }
    // And the example goes on with what one of them has left.
    let (told, bytes) = cuts.swap_remove(cuts.len() / 2);
    let mut again = scenario(platform, 1).on_board(platform);
    let disk = Disk(Arc::new(Mutex::new(Contents {
        flushed: bytes,
        written: Vec::new(),
    })));
    again.board.attach(Block::new(disk.clone())).expect("a slot");
    let outcome = again.finish();
    outcome.assert_status(0);
    let said = outcome.of("sqlite");
    assert_eq!(said.last(), Some(&"ok"), "{outcome}");
    let rows = [told + 1, told + 2].map(|rows| format!("rows|{rows}"));
    assert!(
        rows.iter().any(|rows| said.contains(&rows.as_str())),
        "{told} rows: {outcome}"
    );
    assert_eq!(disk.contents().written.len(), 0, "what is not flushed at the end");
}
