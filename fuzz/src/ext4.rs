//! The file system on a disk that is damaged anywhere: mounted, used, cut off from its power, and mounted again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use library_os::Error;
use library_os::ext4::{Disk, Ext4, Name, Number, ROOT, SECTOR};

use crate::source::Source;

/// What `mke2fs` makes, each sector that is not zero behind its number of four bytes, and how many sectors there are: blocks of 1 KiB
/// in small groups, of 2 KiB in the form before 64 bits, both without checksums; of 4 KiB with them.
const MADE: [(&[u8], u64); 3] = [
    (include_bytes!("../images/ext4-1k"), 8 * 2048),
    (include_bytes!("../images/ext4-2k"), 8 * 2048),
    (include_bytes!("../images/ext4-4k"), 16 * 2048),
];
/// Lives of a disk, operations of each, and what an operation may read and write of it in sectors: all of it several times, as nothing on
/// it is larger.
const LIVES: usize = 3;
const STEPS: usize = 48;
const WORK: u64 = 1 << 20;
/// Most places where a disk is damaged at a time.
const DAMAGES: usize = 8;
/// The disk's bytes in the superblock.
const SUPERBLOCK: u64 = 2;
const NAMES: [&str; 8] = [
    "a",
    "b",
    "folder",
    "sparse",
    "link",
    "long",
    "..",
    "a-name-that-is-longer-than-others-are",
];

type Sectors = BTreeMap<u64, [u8; SECTOR]>;

/// A disk to begin with: its sectors that are not zero, and how many it has.
struct Base {
    sectors: Sectors,
    numbers: Vec<u64>,
    size: u64,
}

impl Base {
    fn new(sectors: Sectors, size: u64) -> Arc<Base> {
        let numbers = sectors.keys().copied().collect();
        Arc::new(Base { sectors, numbers, size })
    }
}

/// What a disk holds, where it is not as it was at first: now, what has outlived its power so far, and what was written since.
struct Contents {
    base: Arc<Base>,
    now: Sectors,
    safe: Sectors,
    pending: Vec<(u64, [u8; SECTOR])>,
    read_only: bool,
    work: u64,
}

/// A disk, seen by the file system and by who looks.
#[derive(Clone)]
struct Shared(Arc<Mutex<Contents>>);

impl Shared {
    fn new(base: &Arc<Base>, read_only: bool) -> Shared {
        Shared(Arc::new(Mutex::new(Contents {
            base: Arc::clone(base),
            now: Sectors::new(),
            safe: Sectors::new(),
            pending: Vec::new(),
            read_only,
            work: 0,
        })))
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().expect("who panics ends the run")
    }

    /// The power goes: of what was not flushed, some is lost.
    fn cut(&self, source: &mut Source<'_>) {
        let mut contents = self.contents();
        let mut left = std::mem::take(&mut contents.safe);
        for (sector, bytes) in std::mem::take(&mut contents.pending) {
            if source.byte().is_multiple_of(2) {
                left.insert(sector, bytes);
            }
        }
        contents.now.clone_from(&left);
        contents.safe = left;
    }

    /// Writes a number somewhere, mostly where something is.
    fn damage(&self, source: &mut Source<'_>) {
        let mut contents = self.contents();
        let sector = match source.byte() {
            0..=79 => SUPERBLOCK + u64::from(source.byte() % 2),
            80..=169 => *source.pick(&contents.base.numbers),
            170..=249 if !contents.now.is_empty() => {
                let index = source.below(contents.now.len());
                contents.now.keys().nth(index).copied().unwrap_or_default()
            }
            _ => source.below(contents.base.size as usize) as u64,
        };
        let (kind, place) = (source.byte(), usize::from(source.byte()) * 2);
        let number = source.number();
        let bytes = if kind & 8 == 0 {
            number.to_le_bytes()
        } else {
            number.to_be_bytes()
        };
        let width = 1 << (kind % 4);
        let bytes = if kind & 8 == 0 {
            &bytes[..width]
        } else {
            &bytes[8 - width..]
        };
        let place = (place + usize::from(kind >> 4 & 1)).min(SECTOR - width);
        let mut changed = contents.sector(sector);
        changed[place..place + width].copy_from_slice(bytes);
        contents.now.insert(sector, changed);
        contents.safe = contents.now.clone();
        contents.pending.clear();
    }

    fn mount(&self, now: u64) -> Result<Ext4, library_os::ext4::Problem> {
        self.contents().work = 0;
        Ext4::mount(Box::new(self.clone()), now).map(|(mounted, _)| mounted)
    }
}

impl Contents {
    fn sector(&self, number: u64) -> [u8; SECTOR] {
        let found = self.now.get(&number).or_else(|| self.base.sectors.get(&number));
        found.copied().unwrap_or([0; SECTOR])
    }

    /// Counts what is done, which ends.
    fn worked(&mut self, sector: u64, bytes: usize) {
        let count = (bytes / SECTOR) as u64;
        assert!(bytes.is_multiple_of(SECTOR) && sector.checked_add(count).is_some_and(|end| end <= self.base.size));
        self.work += count;
        assert!(self.work < WORK, "it does not come to an end");
    }
}

impl Disk for Shared {
    fn sectors(&self) -> u64 {
        self.contents().base.size
    }

    fn is_read_only(&self) -> bool {
        self.contents().read_only
    }

    fn read(&mut self, sector: u64, to: &mut [u8]) -> Result<(), Error> {
        let mut contents = self.contents();
        contents.worked(sector, to.len());
        for (number, part) in (sector..).zip(to.chunks_mut(SECTOR)) {
            part.copy_from_slice(&contents.sector(number));
        }
        Ok(())
    }

    fn write(&mut self, sector: u64, from: &[u8]) -> Result<(), Error> {
        let mut contents = self.contents();
        contents.worked(sector, from.len());
        assert!(!contents.read_only, "a disk is written that can only be read");
        for (number, part) in (sector..).zip(from.chunks(SECTOR)) {
            let bytes = part.try_into().expect("whole sectors");
            contents.now.insert(number, bytes);
            contents.pending.push((number, bytes));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        let mut contents = self.contents();
        for (sector, bytes) in std::mem::take(&mut contents.pending) {
            contents.safe.insert(sector, bytes);
        }
        Ok(())
    }
}

/// Disks to begin with: with files on them, in order, and with the same in the journal only.
fn disks() -> &'static [Arc<Base>] {
    static DISKS: OnceLock<Vec<Arc<Base>>> = OnceLock::new();
    DISKS.get_or_init(|| {
        let made = MADE.iter().map(|(bytes, size)| {
            let sectors = bytes.chunks_exact(4 + SECTOR).map(|part| {
                let (number, bytes) = part.split_at(4);
                let number = u32::from_le_bytes(number.try_into().expect("four bytes"));
                (u64::from(number), bytes.try_into().expect("a sector"))
            });
            Base::new(sectors.collect(), *size)
        });
        let filled = made.flat_map(|made| {
            [true, false].map(|in_order| {
                let disk = Shared::new(&made, false);
                let mut mounted = disk.mount(1).expect("what mke2fs makes");
                fill(&mut mounted).expect("there is room");
                mounted.commit(1).expect("the disk works");
                if in_order {
                    mounted.finish(1).expect("the disk works");
                }
                drop(mounted);
                let mut sectors = made.sectors.clone();
                sectors.extend(&disk.contents().now);
                Base::new(sectors, made.size)
            })
        });
        filled.collect()
    })
}

/// Files of all kinds.
fn fill(mounted: &mut Ext4) -> Result<(), Error> {
    let at = |folder, name: &'static str| Name {
        folder,
        name: name.as_bytes(),
    };
    let folder = mounted.make(at(ROOT, "folder"), 0o040_755, b"", 1)?;
    for index in 0..40 {
        let name = format!("file-with-a-name-{index}");
        let place = Name {
            folder,
            name: name.as_bytes(),
        };
        let number = mounted.make(place, 0o100_644, b"", 1)?;
        mounted.write(number, 0, &[index; 100], 1)?;
    }
    // With more pieces than an inode tells of.
    let sparse = mounted.make(at(ROOT, "sparse"), 0o100_644, b"", 1)?;
    for piece in 0..24 {
        mounted.write(sparse, piece * 20_000, &[7; 3000], 1)?;
    }
    mounted.make(at(ROOT, "link"), 0o120_777, b"folder", 1)?;
    mounted.make(at(ROOT, "long"), 0o120_777, &[b'x'; 200], 1)?;
    let open = mounted.make(at(ROOT, "a"), 0o100_644, b"", 1)?;
    mounted.write(open, 0, &[1; 5000], 1)?;
    mounted.link(open, at(folder, "b"), 1)?;
    let gone = mounted.make(at(ROOT, "b"), 0o100_644, b"", 1)?;
    mounted.write(gone, 0, &[2; 5000], 1)?;
    mounted.remove(at(ROOT, "b"), false, true, 1)
}

/// What is known while a disk is mounted.
struct Life<'a> {
    mounted: &'a mut Ext4,
    disk: &'a Shared,
    numbers: Vec<Number>,
    /// Nothing was damaged.
    sound: bool,
    now: u64,
}

impl Life<'_> {
    fn number(&self, source: &mut Source<'_>) -> Number {
        match source.byte() {
            0..=239 => *source.pick(&self.numbers),
            _ if self.sound => ROOT,
            _ => source.number() as Number,
        }
    }

    /// Looks through a folder.
    fn list(&mut self, folder: Number) -> Result<(), Error> {
        let (mut from, mut count) = (0, 0);
        while let Some(entry) = self.mounted.entry(folder, from)? {
            assert!(entry.next > from, "no way forward");
            from = entry.next;
            count += 1;
            assert!(count < 1 << 20, "a folder without an end");
            // Numbers that nothing has are the caller's mistake.
            if self.numbers.len() < 200 && !self.numbers.contains(&entry.number) {
                self.numbers.push(entry.number);
            }
        }
        Ok(())
    }

    /// Looks for all that has a name.
    fn walk(&mut self) {
        let mut at = 0;
        while let Some(number) = self.numbers.get(at).copied() {
            let listed = self.list(number);
            assert!(matches!(listed, Ok(()) | Err(Error::ENOTDIR)), "{number}: {listed:?}");
            at += 1;
        }
    }

    /// One operation, which may fail; then nothing of it is left.
    fn step(&mut self, source: &mut Source<'_>) {
        self.disk.contents().work = 0;
        self.now += u64::from(source.byte()) << 24;
        let (now, kind) = (self.now, source.byte());
        let number = self.number(source);
        let names = [source.of(&NAMES), source.of(&NAMES)];
        let place = Name {
            folder: number,
            name: names[0].as_bytes(),
        };
        let before = self.mounted.room();
        let open = source.byte().is_multiple_of(8);
        let done = match kind % 16 {
            0 | 1 => self.list(number),
            2 => self.mounted.facts(number).map(|_| ()),
            3 => self.mounted.target(number).map(|_| ()),
            4 => {
                let found = self.mounted.lookup(number, names[0].as_bytes());
                found.map(|found| self.numbers.extend(found))
            }
            5 | 6 => {
                let (offset, length) = (source.number(), source.below(20_000));
                self.mounted.read(number, offset, &mut vec![0; length]).map(|_| ())
            }
            7 | 8 => {
                let (offset, length) = (source.number() >> (source.byte() % 64), source.below(20_000));
                self.mounted.write(number, offset, &vec![kind; length], now)
            }
            9 => self
                .mounted
                .resize(number, source.number() >> (source.byte() % 64), now),
            10 => {
                let mode = source.of_numbers(&[0o100_644, 0o040_755, 0o120_777]);
                let target = if mode == 0o120_777 {
                    vec![b't'; source.below(100)]
                } else {
                    Vec::new()
                };
                let made = self.mounted.make(place, mode, &target, now);
                made.map(|made| self.numbers.push(made))
            }
            11 => {
                let other = self.number(source);
                self.mounted.link(other, place, now)
            }
            12 => self.mounted.remove(place, !kind.is_multiple_of(32), open, now),
            13 => {
                let to = Name {
                    folder: self.number(source),
                    name: names[1].as_bytes(),
                };
                self.mounted.rename(place, to, kind >= 128, open, now)
            }
            14 if kind >= 128 && !self.sound => self.mounted.release(number, now),
            14 => self.mounted.permit(number, source.byte().into(), now),
            _ => self.mounted.commit(now),
        };
        let Err(error) = done else {
            if self.sound && matches!(kind % 16, 12 | 13) {
                // What has no name any more is in use no more.
                self.numbers = vec![ROOT];
                self.walk();
            }
            return;
        };
        assert!(
            !self.sound || error != Error::EIO,
            "damage is found where none was done"
        );
        if let (Ok(before), Ok(after)) = (before, self.mounted.room()) {
            assert_eq!(before, after, "something is left of what has failed: {error:?}");
        }
    }
}

/// Whatever a disk holds, nothing but errors comes of it; and nothing at all goes wrong with one that holds what belongs there, whenever
/// its power goes.
pub fn ext4(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let base = source.pick(disks());
    let choices = source.byte();
    let disk = Shared::new(base, choices >= 240);
    let sound = choices.is_multiple_of(4);
    for life in 0..LIVES {
        if !sound {
            (0..=source.below(DAMAGES)).for_each(|_| disk.damage(&mut source));
        }
        let mut mounted = match disk.mount(1) {
            Ok(mounted) => mounted,
            Err(problem) => {
                // A journal with something in it has to be replayed first.
                assert!(!sound || choices >= 240, "{problem}");
                return;
            }
        };
        let mut life = Life {
            mounted: &mut mounted,
            disk: &disk,
            numbers: vec![ROOT],
            sound,
            now: life as u64 * (1 << 40),
        };
        for _ in 0..STEPS {
            if source.is_empty() {
                break;
            }
            life.step(&mut source);
        }
        let now = life.now;
        disk.contents().work = 0;
        let end = source.byte();
        if end % 4 < 2 && mounted.finish(now).is_err() {
            assert!(!sound, "a disk fails that works");
        }
        drop(mounted);
        if !end.is_multiple_of(4) {
            disk.cut(&mut source);
        }
        if source.is_empty() {
            break;
        }
    }
}
