//! What a file system should hold, and random operations on both.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use library_os::Error;
use library_os::ext4::{Ext4, Name, Number, ROOT};

const FILE: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;
const LINK: u32 = 0o120_000;
const KIND: u32 = 0o170_000;

/// A small generator of numbers, the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let index = self.below(from.len().max(1) as u64) as usize;
        from.get(index)
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
enum Content {
    File(Vec<u8>),
    Folder(BTreeMap<Vec<u8>, Number>),
    Link(Vec<u8>),
}

/// What there should be, by number.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub(crate) struct Model {
    inodes: BTreeMap<Number, (Content, u32)>,
    /// What is open and has no name.
    open: Vec<Number>,
}

impl Model {
    /// What is in a file system.
    pub(crate) fn of(disk: &mut Ext4) -> Result<Model, Error> {
        let mut inodes = BTreeMap::new();
        let mut left = vec![ROOT];
        while let Some(number) = left.pop() {
            if inodes.contains_key(&number) {
                continue;
            }
            let facts = disk.facts(number)?;
            let content = match facts.mode & KIND {
                FILE => {
                    let mut bytes = vec![0; usize::try_from(facts.size).unwrap()];
                    let count = disk.read(number, 0, &mut bytes)?;
                    assert_eq!(count, bytes.len());
                    Content::File(bytes)
                }
                FOLDER => {
                    let mut names = BTreeMap::new();
                    let mut from = 0;
                    while let Some(entry) = disk.entry(number, from)? {
                        from = entry.next;
                        if entry.name == b"." || entry.name == b".." {
                            continue;
                        }
                        assert_eq!(disk.lookup(number, &entry.name)?, Some(entry.number));
                        left.push(entry.number);
                        assert_eq!(names.insert(entry.name, entry.number), None, "a name twice");
                    }
                    Content::Folder(names)
                }
                LINK => Content::Link(disk.target(number)?),
                other => panic!("a file of kind {other:o}"),
            };
            inodes.insert(number, (content, facts.links));
        }
        Ok(Model { inodes, open: vec![] })
    }

    /// A number for all that has a name.
    pub(crate) fn hash_of_named(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.named().inodes.hash(&mut hasher);
        hasher.finish()
    }

    /// Without what has no name.
    pub(crate) fn named(&self) -> Model {
        let mut named = self.clone();
        named.open.clear();
        named.inodes.retain(|number, _| !self.open.contains(number));
        named
    }

    fn folders(&self) -> Vec<Number> {
        let folders = self.inodes.iter();
        let folders = folders.filter(|(_, (content, _))| matches!(content, Content::Folder(_)));
        let numbers: Vec<Number> = folders.map(|(number, _)| *number).collect();
        numbers
            .into_iter()
            .filter(|number| !self.open.contains(number))
            .collect()
    }

    fn files(&self) -> Vec<Number> {
        let files = self.inodes.iter();
        files
            .filter(|(_, (content, _))| matches!(content, Content::File(_)))
            .map(|(number, _)| *number)
            .collect()
    }

    fn names(&mut self, folder: Number) -> &mut BTreeMap<Vec<u8>, Number> {
        match self.inodes.get_mut(&folder) {
            Some((Content::Folder(names), _)) => names,
            other => panic!("no folder: {other:?}"),
        }
    }

    fn is_folder(&self, number: Number) -> bool {
        matches!(self.inodes.get(&number), Some((Content::Folder(_), _)))
    }

    fn is_full(&self, number: Number) -> bool {
        matches!(self.inodes.get(&number), Some((Content::Folder(names), _)) if !names.is_empty())
    }

    fn is_above(&self, above: Number, folder: Number) -> bool {
        let below = |number: &Number| match self.inodes.get(number) {
            Some((Content::Folder(names), _)) => names.values().copied().collect(),
            _ => vec![],
        };
        let mut left = vec![above];
        while let Some(number) = left.pop() {
            if number == folder {
                return true;
            }
            left.extend(below(&number));
        }
        false
    }

    fn unlinked(&mut self, number: Number, open: bool) {
        let folder = self.is_folder(number);
        let Some((_, links)) = self.inodes.get_mut(&number) else {
            return;
        };
        *links = if folder { 0 } else { *links - 1 };
        if *links == 0 && open {
            self.open.push(number);
        } else if *links == 0 {
            self.inodes.remove(&number);
        }
    }

    /// Something random happens to both; they have to agree about what.
    pub(crate) fn step(&mut self, disk: &mut Ext4, random: &mut Random, names: u64, now: u64) {
        let folders = self.folders();
        let folder = *random.pick(&folders).unwrap();
        let length = random.below(40) as usize;
        let name = format!("{}-{}", random.below(names), "x".repeat(length)).into_bytes();
        let place = Name { folder, name: &name };
        let here = self.names(folder).get(&name).copied();
        let files = self.files();
        let file = random.pick(&files).copied();
        let what = random.below(20);
        let full = |result: &Result<(), Error>| matches!(result, Err(Error::ENOSPC));
        match what {
            0..=5 => {
                let kind = [FILE, FILE, FILE, FOLDER, LINK][random.below(5) as usize];
                let target = "t".repeat(1 + random.below(120) as usize).into_bytes();
                let made = disk.make(place, kind | 0o644, &target, now);
                if made == Err(Error::ENOSPC) {
                    return;
                }
                assert_eq!(made.is_ok(), here.is_none(), "{made:?}");
                let Ok(number) = made else { return };
                let content = match kind {
                    FILE => (Content::File(vec![]), 1),
                    FOLDER => (Content::Folder(BTreeMap::new()), 2),
                    _ => (Content::Link(target), 1),
                };
                self.names(folder).insert(name, number);
                if kind == FOLDER {
                    self.inodes.get_mut(&folder).unwrap().1 += 1;
                }
                assert_eq!(self.inodes.insert(number, content), None, "an inode that is in use");
            }
            6..=10 => {
                let Some(file) = file else { return };
                let far = if random.below(10) == 0 { 2_000_000 } else { 30_000 };
                let offset = random.below(far);
                let most = if random.below(4) == 0 { 20_000 } else { 3_000 };
                let first = random.next() as u8;
                let bytes: Vec<u8> = (0..random.below(most))
                    .map(|index| first.wrapping_add(index as u8))
                    .collect();
                let done = disk.write(file, offset, &bytes, now);
                if full(&done) {
                    return;
                }
                assert_eq!(done, Ok(()));
                let Some((Content::File(model), _)) = self.inodes.get_mut(&file) else {
                    unreachable!()
                };
                let end = offset as usize + bytes.len();
                if !bytes.is_empty() {
                    model.resize(model.len().max(end), 0);
                    model[offset as usize..end].copy_from_slice(&bytes);
                }
            }
            11 | 12 => {
                let Some(file) = file else { return };
                let length = random.below(40_000);
                let done = disk.resize(file, length, now);
                assert_eq!(done, Ok(()));
                let Some((Content::File(model), _)) = self.inodes.get_mut(&file) else {
                    unreachable!()
                };
                model.resize(length as usize, 0);
            }
            13 | 14 => {
                let existing: Vec<(Vec<u8>, Number)> = self.names(folder).clone().into_iter().collect();
                let Some((name, number)) = random.pick(&existing).cloned() else {
                    return;
                };
                let place = Name { folder, name: &name };
                let (is_folder, open) = (self.is_folder(number), random.below(3) == 0);
                let done = disk.remove(place, is_folder, open, now);
                if self.is_full(number) {
                    return assert_eq!(done, Err(Error::ENOTEMPTY));
                }
                assert_eq!(done, Ok(()));
                self.names(folder).remove(&name);
                if is_folder {
                    self.inodes.get_mut(&folder).unwrap().1 -= 1;
                }
                self.unlinked(number, open);
            }
            15 => {
                let Some(file) = file.filter(|file| !self.open.contains(file)) else {
                    return;
                };
                let done = disk.link(file, place, now);
                if full(&done) {
                    return;
                }
                assert_eq!(done.is_ok(), here.is_none(), "{done:?}");
                if done.is_ok() {
                    self.names(folder).insert(name, file);
                    self.inodes.get_mut(&file).unwrap().1 += 1;
                }
            }
            16 | 17 => {
                let other = *random.pick(&folders).unwrap();
                let existing: Vec<(Vec<u8>, Number)> = self.names(other).clone().into_iter().collect();
                let Some((old, number)) = random.pick(&existing).cloned() else {
                    return;
                };
                let open = random.below(3) == 0;
                let done = disk.rename(
                    Name {
                        folder: other,
                        name: &old,
                    },
                    place,
                    false,
                    open,
                    now,
                );
                self.renamed((other, old), (folder, name), number, here, open, done);
            }
            18 => {
                let Some(open) = self.open.pop() else { return };
                assert_eq!(disk.release(open, now), Ok(()));
                self.inodes.remove(&open);
            }
            _ => {
                let Some(file) = file else { return };
                assert_eq!(disk.touch(file, Some(now), None, now), Ok(()));
            }
        }
    }

    fn renamed(
        &mut self,
        from: (Number, Vec<u8>),
        to: (Number, Vec<u8>),
        number: Number,
        here: Option<Number>,
        open: bool,
        done: Result<(), Error>,
    ) {
        let moves = self.is_folder(number);
        let expected = match here {
            _ if done == Err(Error::ENOSPC) => return,
            Some(here) if here == number => return assert_eq!(done, Ok(())),
            _ if moves && self.is_above(number, to.0) => Err(Error::EINVAL),
            Some(here) if moves && !self.is_folder(here) => Err(Error::ENOTDIR),
            Some(here) if !moves && self.is_folder(here) => Err(Error::EISDIR),
            Some(here) if self.is_full(here) => Err(Error::ENOTEMPTY),
            _ => Ok(()),
        };
        assert_eq!(done, expected);
        if done.is_err() {
            return;
        }
        self.names(from.0).remove(&from.1);
        self.names(to.0).insert(to.1, number);
        if moves {
            self.inodes.get_mut(&from.0).unwrap().1 -= 1;
            self.inodes.get_mut(&to.0).unwrap().1 += 1;
        }
        if let Some(here) = here {
            if self.is_folder(here) {
                self.inodes.get_mut(&to.0).unwrap().1 -= 1;
            }
            self.unlinked(here, open);
        }
    }

    /// All that is open is closed.
    pub(crate) fn close(&mut self, disk: &mut Ext4, now: u64) {
        while let Some(open) = self.open.pop() {
            assert_eq!(disk.release(open, now), Ok(()));
            self.inodes.remove(&open);
        }
    }
}
