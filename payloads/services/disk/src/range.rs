//! The range of blocks that a client has, and what of a request lies within.

use core::fmt;

use rt::Errno;
use rt::disk::{FLUSH, READ, WRITE};

/// Blocks of the disk, one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    start: u64,
    blocks: u64,
    writable: bool,
}

/// A client and its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share<'a> {
    /// Name of the client's cVM.
    pub client: &'a str,
    /// What it has.
    pub range: Range,
}

/// What is wrong with an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It has another form.
    Form,
    /// The range does not lie on the disk, which has so many blocks.
    Beyond(u64),
    /// It overlaps a range before it, and one of the two can be written.
    Overlap,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Form => f.write_str("expected CLIENT,START,BLOCKS,ACCESS such as web,0,2048,write"),
            Problem::Beyond(blocks) => write!(f, "the disk has {blocks} blocks, expected a range of them"),
            Problem::Overlap => f.write_str("expected blocks that no other client has where one of the two writes"),
        }
    }
}

impl<'a> Share<'a> {
    /// Reads an argument, for a disk of so many blocks.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(argument: &'a str, blocks_of_disk: u64) -> Result<Share<'a>, Problem> {
        let mut words = argument.split(',');
        let mut word = || words.next().ok_or(Problem::Form);
        let (client, start, blocks, access) = (word()?, word()?, word()?, word()?);
        let writable = match access {
            "write" => true,
            "read" => false,
            _ => return Err(Problem::Form),
        };
        if client.is_empty() || words.next().is_some() {
            return Err(Problem::Form);
        }
        let start: u64 = start.parse().map_err(|_| Problem::Form)?;
        let beyond = Problem::Beyond(blocks_of_disk);
        let rest = blocks_of_disk.checked_sub(start).ok_or(beyond)?;
        let blocks = match blocks {
            "rest" => rest,
            number => number.parse().map_err(|_| Problem::Form)?,
        };
        if !(1..=rest).contains(&blocks) {
            return Err(beyond);
        }
        let range = Range {
            start,
            blocks,
            writable,
        };
        Ok(Share { client, range })
    }
}

/// What to do of a request that is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Nothing: there is nothing that it could change.
    Nothing,
    /// The device does it, from this sector of the disk on.
    Device(u64),
}

impl Range {
    /// How many blocks there are.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Whether its client may only read.
    pub fn is_read_only(&self) -> bool {
        !self.writable
    }

    /// Whether its client and that of another range can reach each other by them.
    pub fn conflicts(&self, other: &Range) -> bool {
        let overlaps = self.start < other.start + other.blocks && other.start < self.start + self.blocks;
        overlaps && (self.writable || other.writable)
    }

    /// What becomes of a request: its kind, first sector, and count, of which the buffer has room for `room`.
    ///
    /// # Errors
    /// `EINVAL` for what is no request within the range; `EPERM` for one that may only be read.
    pub fn check(&self, (kind, sector, count): (u32, u64, u32), room: u32) -> Result<Task, Errno> {
        match kind {
            FLUSH if self.is_read_only() => return Ok(Task::Nothing),
            FLUSH => return Ok(Task::Device(0)),
            READ => {}
            WRITE if self.is_read_only() => return Err(Errno::EPERM),
            WRITE => {}
            _ => return Err(Errno::EINVAL),
        }
        let end = sector.checked_add(count.into()).ok_or(Errno::EINVAL)?;
        if !(1..=room).contains(&count) || end > self.blocks {
            return Err(Errno::EINVAL);
        }
        // The range lies on the disk: no overflow.
        Ok(Task::Device(self.start + sector))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(argument: &str) -> Range {
        Share::parse(argument, 100).unwrap().range
    }

    #[test]
    fn arguments_are_read_and_what_is_none_is_refused() {
        let share = Share::parse("web,10,90,write", 100).unwrap();
        assert_eq!((share.client, share.range.blocks()), ("web", 90));
        assert_eq!(range("a,40,rest,read").blocks(), 60);
        for wrong in [
            "",
            "web",
            "web,0,1",
            "web,0,1,write,",
            ",0,1,read",
            "a,x,1,read",
            "a,0,-1,read",
            "a,0,1,all",
        ] {
            assert_eq!(Share::parse(wrong, 100), Err(Problem::Form), "{wrong}");
        }
        for beyond in [
            "a,0,101,read",
            "a,100,1,read",
            "a,100,rest,read",
            "a,101,rest,read",
            "a,0,0,read",
            "a,1,18446744073709551615,read",
        ] {
            assert_eq!(Share::parse(beyond, 100), Err(Problem::Beyond(100)), "{beyond}");
        }
    }

    #[test]
    fn a_request_reaches_its_range_and_nothing_else() {
        let range = range("a,10,20,write");
        let device = |sector| Ok(Task::Device(sector));
        assert_eq!(range.check((READ, 0, 1), 8), device(10));
        assert_eq!(range.check((WRITE, 12, 8), 8), device(22));
        assert_eq!(range.check((FLUSH, 9999, 9999), 8), device(0));
        let refused = [
            (READ, 12, 9),
            (READ, 20, 1),
            (READ, 13, 8),
            (READ, 0, 0),
            (READ, u64::MAX, 1),
            (WRITE, u64::MAX - 9, 1),
            (WRITE, u64::MAX, 2),
            (READ, 0, u32::MAX),
            (2, 0, 1),
            (8, 0, 0),
            (11, 0, 1),
            (13, 0, 1),
        ];
        for request in refused {
            assert_eq!(range.check(request, 8), Err(Errno::EINVAL), "{request:?}");
        }
    }

    #[test]
    fn who_reads_does_not_write() {
        let range = range("a,10,20,read");
        assert_eq!(range.check((READ, 19, 1), 8), Ok(Task::Device(29)));
        assert_eq!(range.check((WRITE, 0, 1), 8), Err(Errno::EPERM));
        assert_eq!(range.check((FLUSH, 0, 0), 8), Ok(Task::Nothing));
    }

    #[test]
    fn ranges_are_shared_among_readers_only() {
        let first = range("a,10,20,write");
        assert!(first.conflicts(&range("b,29,1,read")) && range("b,0,11,read").conflicts(&first));
        assert!(!first.conflicts(&range("b,30,1,write")) && !first.conflicts(&range("b,0,10,write")));
        assert!(!range("a,10,20,read").conflicts(&range("b,10,20,read")));
    }
}
