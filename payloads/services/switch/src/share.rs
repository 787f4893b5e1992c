//! Who may use how much of a queue that several fill: nobody more than what is still free. So a source that floods fills half of it
//! at most, two fill two thirds, and one that sends little always finds room: what is dropped is the flood's.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

/// A queue of frames, first in, first out, by the bytes of each and where they came from.
#[derive(Clone, Debug)]
pub struct Shares {
    /// Source and bytes of each frame in the queue.
    frames: VecDeque<(u8, u32)>,
    total: u32,
    /// Bytes of each source.
    of: Vec<u32>,
}

impl Shares {
    /// A queue that so many sources fill, 256 at most.
    pub fn new(sources: usize) -> Shares {
        Shares {
            frames: VecDeque::new(),
            total: 0,
            of: vec![0; sources],
        }
    }

    /// Whether a source may put so many bytes more into the queue, of which `used` are filled now and `free` are not.
    pub fn admits(&mut self, source: usize, bytes: u32, (used, free): (u32, u32)) -> bool {
        // Those that were taken out are in front.
        while let Some((source, bytes)) = self
            .frames
            .front()
            .copied()
            .filter(|(_, bytes)| self.total - bytes >= used)
        {
            self.frames.pop_front();
            self.total -= bytes;
            self.of[usize::from(source)] -= bytes;
        }
        bytes <= free && self.of[source] + bytes <= free
    }

    /// So many bytes of a source were put into the queue.
    pub fn enter(&mut self, source: usize, bytes: u32) {
        self.frames.push_back((source as u8, bytes));
        self.total += bytes;
        self.of[source] += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: u32 = 1200;

    /// Puts in what it may, and tells whether it might.
    fn put(shares: &mut Shares, source: usize, bytes: u32, used: &mut u32) -> bool {
        let admitted = shares.admits(source, bytes, (*used, ROOM - *used));
        if admitted {
            shares.enter(source, bytes);
            *used += bytes;
        }
        admitted
    }

    #[test]
    fn a_flood_leaves_room_for_others() {
        let (mut shares, mut used) = (Shares::new(3), 0);
        while put(&mut shares, 0, 100, &mut used) {}
        assert_eq!(used, ROOM / 2);
        while put(&mut shares, 1, 100, &mut used) {}
        assert!(used <= ROOM * 3 / 4 && put(&mut shares, 2, 100, &mut used));
    }

    #[test]
    fn what_was_taken_out_counts_no_more() {
        let (mut shares, mut used) = (Shares::new(2), 0);
        for round in 0..50 {
            while put(&mut shares, 0, 100, &mut used) {}
            assert!(put(&mut shares, 1, 60, &mut used), "round {round}");
            // The reader takes all, or the first ones.
            used = if round % 2 == 0 { 0 } else { used - 100 };
        }
        used = 0;
        shares.admits(0, 0, (used, ROOM));
        assert_eq!((shares.total, &shares.of[..], shares.frames.len()), (0, &[0, 0][..], 0));
    }

    #[test]
    fn a_reader_that_says_that_it_has_read_less_hurts_itself() {
        let mut shares = Shares::new(1);
        shares.enter(0, 100);
        assert!(!shares.admits(0, 100, (ROOM, 0)));
        assert!(shares.admits(0, 100, (0, ROOM)));
    }
}
