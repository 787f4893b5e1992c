//! Reads, writes and flushes its blocks of a disk at random, and compares what it reads with what it has written. What a failed
//! request has done is one of two things until it is read.
//!
//! Arguments: how many requests, a number from which they follow, and most sectors that are used.

#![no_std]
#![no_main]

use core::str::FromStr;

use rt::Errno;
use rt::alloc::vec;
use rt::alloc::vec::Vec;
use rt::disk::{Disk, SECTOR};

rt::entry!(main);

/// Most sectors of a request.
const MOST: u64 = 160;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % limit
    }
}

/// A sector as this program writes it: its number, the number of the write, and bytes that follow from the latter.
fn fill(bytes: &mut [u8], sector: u64, version: u64) {
    bytes.fill(version as u8);
    bytes[..8].copy_from_slice(&sector.to_le_bytes());
    bytes[8..16].copy_from_slice(&version.to_le_bytes());
}

/// By which write a sector was written; none for one that is damaged.
fn version(bytes: &[u8], sector: u64) -> Option<u64> {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[8..16]);
    let version = u64::from_le_bytes(number);
    let mut expected = [0; SECTOR];
    if version > 0 {
        fill(&mut expected, sector, version);
    }
    (bytes == expected).then_some(version)
}

fn argument<T: FromStr>(number: usize) -> Result<T, Errno> {
    let argument = rt::args().nth(number).and_then(|text| text.parse().ok());
    argument.ok_or(Errno::EINVAL)
}

fn main() -> Result<(), Errno> {
    let (rounds, seed, most): (u64, u64, u64) = (argument(1)?, argument(2)?, argument(3)?);
    let mut random = Random(seed);
    let mut disk = Disk::open()?;
    let sectors = disk.sectors().min(most);
    let mut bytes = vec![0; sectors.min(MOST) as usize * SECTOR];
    // What each sector may hold: versions.
    let mut model: Vec<Vec<u64>> = vec![Vec::new(); sectors as usize];
    let mut last = 0;
    for sector in 0..sectors {
        while disk.read(sector, &mut bytes[..SECTOR]).is_err() {}
        let found = version(&bytes[..SECTOR], sector).ok_or(Errno::EIO)?;
        model[sector as usize].push(found);
        last = last.max(found);
    }
    rt::println!("found {last} on {sectors} of {} sectors", disk.sectors());
    let (mut done, mut failed) = (0_u64, 0_u64);
    for _ in 0..rounds {
        let sector = random.below(sectors);
        let count = 1 + random.below((sectors - sector).min(MOST));
        let part = &mut bytes[..count as usize * SECTOR];
        let pieces = (sector..sector + count).zip(part.chunks_exact_mut(SECTOR));
        let outcome = match random.below(8) {
            0..3 => {
                last += 1;
                pieces.for_each(|(sector, bytes)| fill(bytes, sector, last));
                let outcome = disk.write(sector, part);
                for may in &mut model[sector as usize..(sector + count) as usize] {
                    if outcome.is_ok() {
                        may.clear();
                    }
                    may.push(last);
                }
                outcome
            }
            3..6 => {
                let outcome = disk.read(sector, part);
                if outcome.is_ok() {
                    for (sector, bytes) in (sector..).zip(part.chunks_exact(SECTOR)) {
                        let (found, may) = (version(bytes, sector), &mut model[sector as usize]);
                        let found = found.filter(|found| may.contains(found));
                        let Some(found) = found else {
                            rt::println!("sector {sector}: expected version {may:?}, found {:?}", &bytes[..24]);
                            return Err(Errno::EIO);
                        };
                        *may = vec![found];
                    }
                }
                outcome
            }
            _ => {
                let outcome = disk.flush();
                if outcome.is_ok() {
                    rt::println!("flushed {last}");
                }
                outcome
            }
        };
        match outcome {
            Ok(()) => done += 1,
            Err(Errno::EIO) => failed += 1,
            Err(errno) => return Err(errno),
        }
    }
    rt::println!("{done} requests done, {failed} failed");
    Ok(())
}
