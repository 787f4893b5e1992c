//! The monitor's heap. What was allocated last can be given back, and grows where it is; other blocks wait for the next one of
//! their size, or to be divided. So an allocation takes about the same time however many there have been. The monitor allocates
//! until the first cVM runs, and no more. Why `unsafe` here: Rust asks for it of every allocator.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr;
use spin::Mutex;

/// Sizes and addresses of blocks are multiples of this.
const GRANULE: usize = 16;
/// Blocks below so many granules wait for the next one of their size, longer ones in one list, to be divided.
const SIZES: usize = 64;
/// How many of these are looked at.
const LOOKS: usize = 8;

struct Blocks {
    start: *mut u8,
    /// Where the next block begins.
    next: *mut u8,
    end: *mut u8,
    /// Free blocks by their granules; each begins with the address of the next one.
    free: [*mut u8; SIZES],
    /// Longer free blocks; each begins with the address of the next one, and its bytes.
    long: *mut u8,
}

// SAFETY: the memory belongs to whoever has this value.
unsafe impl Send for Blocks {}

/// Bytes of a block for a layout.
fn size_of(size: usize) -> usize {
    size.max(1).next_multiple_of(GRANULE)
}

impl Blocks {
    /// A block, or null when there is no room for it.
    fn take(&mut self, layout: Layout) -> *mut u8 {
        let (size, alignment) = (size_of(layout.size()), layout.align().max(GRANULE));
        if let Some(first) = self.free.get_mut(size / GRANULE).filter(|_| alignment == GRANULE)
            && !first.is_null()
        {
            let block = *first;
            // SAFETY: a free block is nobody's, aligned, and begins with an address.
            *first = unsafe { block.cast::<*mut u8>().read() };
            return block;
        }
        if alignment == GRANULE
            && let Some(block) = self.divide(size)
        {
            return block;
        }
        let room = self.end.addr() - self.next.addr();
        let skipped = self.next.addr().wrapping_neg() % alignment;
        if room < skipped || room - skipped < size {
            return ptr::null_mut();
        }
        let block = self.next.wrapping_add(skipped);
        self.next = block.wrapping_add(size);
        block
    }

    /// So many bytes of a long free block, when one of the first has them.
    fn divide(&mut self, size: usize) -> Option<*mut u8> {
        let mut link: *mut *mut u8 = &raw mut self.long;
        for _ in 0..LOOKS {
            // SAFETY: the link is that of this list, or the beginning of a free block.
            let block = unsafe { link.read() };
            if block.is_null() {
                return None;
            }
            // SAFETY: a long free block is nobody's, aligned, and begins with an address and a number.
            let (next, length) = unsafe { (block.cast::<*mut u8>().read(), block.cast::<usize>().add(1).read()) };
            if let Some(rest) = length.checked_sub(size) {
                // SAFETY: as above.
                unsafe { link.write(next) };
                if rest > 0 {
                    self.give_back(block.wrapping_add(size), rest);
                }
                return Some(block);
            }
            link = block.cast();
        }
        None
    }

    /// Whether a block of so many bytes is the last one.
    fn is_last(&self, block: *mut u8, size: usize) -> bool {
        block.addr() + size == self.next.addr()
    }

    fn give_back(&mut self, block: *mut u8, size: usize) {
        let size = size_of(size);
        if self.is_last(block, size) {
            self.next = block;
        } else if let Some(first) = self.free.get_mut(size / GRANULE) {
            // SAFETY: the block was handed out with at least this size, is aligned, and nobody's any more.
            unsafe { block.cast::<*mut u8>().write(*first) };
            *first = block;
        } else {
            // SAFETY: the same; it is long enough for both.
            unsafe {
                block.cast::<*mut u8>().write(self.long);
                block.cast::<usize>().add(1).write(size);
            }
            self.long = block;
        }
    }

    /// Gives a block another size where it is, if that can be.
    fn resize(&mut self, block: *mut u8, old: usize, new: usize) -> bool {
        let (old, new) = (size_of(old), size_of(new));
        if self.is_last(block, old) && new <= self.end.addr() - block.addr() {
            self.next = block.wrapping_add(new);
            return true;
        }
        new == old
    }
}

/// A heap: empty until the boot has found out which memory it gets.
pub struct Heap(Mutex<Blocks>);

impl Heap {
    /// A heap without memory.
    pub const fn empty() -> Heap {
        Heap(Mutex::new(Blocks {
            start: ptr::null_mut(),
            next: ptr::null_mut(),
            end: ptr::null_mut(),
            free: [ptr::null_mut(); SIZES],
            long: ptr::null_mut(),
        }))
    }

    /// Gives the heap its memory.
    ///
    /// # Safety
    /// `size` bytes at `start` are nobody else's, now and later, and this happens once.
    pub(crate) unsafe fn init(&self, start: *mut u8, size: usize) {
        let mut blocks = self.0.lock();
        (blocks.start, blocks.next, blocks.end) = (start, start, start.wrapping_add(size));
    }

    /// Bytes that are used up: by blocks, and by free ones among them.
    pub(crate) fn used(&self) -> usize {
        let blocks = self.0.lock();
        blocks.next.addr() - blocks.start.addr()
    }
}

// SAFETY: a block is behind all others or a free one of its size, so that no two overlap, and the lock lets one caller in at a
// time.
unsafe impl GlobalAlloc for Heap {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().take(layout)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.0.lock().give_back(block, layout.size());
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if self.0.lock().resize(block, layout.size(), size) {
            return block;
        }
        // SAFETY: the caller's promise: the size, rounded up to the alignment, is that of an object.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both blocks are as long as that, and apart; the old one was handed out with this layout.
            unsafe {
                ptr::copy_nonoverlapping(block, new, layout.size().min(size));
                self.dealloc(block, layout);
            }
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOM: usize = 16 * 1024;

    proptest! {
        #[test]
        fn blocks_are_apart_aligned_and_keep_what_they_hold(
            steps in prop::collection::vec((0_u8..5, 0_usize..2000, 0_u32..7, any::<prop::sample::Index>()), 1..200),
        ) {
            let heap = Heap::empty();
            let memory = Box::leak(vec![0_u64; ROOM / 8].into_boxed_slice());
            // SAFETY: the memory is leaked for it.
            unsafe { heap.init(memory.as_mut_ptr().cast(), ROOM) };
            let mut held: Vec<(*mut u8, Layout, u8)> = Vec::new();
            for (number, (kind, size, alignment, which)) in steps.into_iter().enumerate() {
                let layout = Layout::from_size_align(size + 1, 1 << alignment).unwrap();
                let mark = number as u8;
                if kind < 3 || held.is_empty() {
                    // SAFETY: the layout has bytes.
                    let block = unsafe { heap.alloc(layout) };
                    if !block.is_null() {
                        // SAFETY: the block has this size.
                        unsafe { block.write_bytes(mark, layout.size()) };
                        held.push((block, layout, mark));
                    }
                } else if kind == 3 {
                    let (block, layout, _) = held.swap_remove(which.index(held.len()));
                    // SAFETY: it was handed out with this layout, and is forgotten.
                    unsafe { heap.dealloc(block, layout) };
                } else {
                    let (block, old, mark) = held.swap_remove(which.index(held.len()));
                    // SAFETY: it was handed out with this layout, and what is not moved is kept below.
                    let moved = unsafe { heap.realloc(block, old, layout.size()) };
                    let (block, size) = if moved.is_null() { (block, old.size()) } else { (moved, layout.size()) };
                    // SAFETY: the block has at least what it had before, or its new size.
                    let kept = unsafe { core::slice::from_raw_parts(block, size.min(old.size())) };
                    prop_assert!(kept.iter().all(|byte| *byte == mark));
                    // SAFETY: the block has this size.
                    unsafe { block.write_bytes(mark, size) };
                    held.push((block, Layout::from_size_align(size, old.align()).unwrap(), mark));
                }
                let memory = memory.as_ptr().addr()..memory.as_ptr().addr() + ROOM;
                for (block, layout, mark) in &held {
                    prop_assert!(block.addr().is_multiple_of(layout.align()));
                    prop_assert!(memory.start <= block.addr() && block.addr() + layout.size() <= memory.end);
                    // SAFETY: the block has this size and was written.
                    let bytes = unsafe { core::slice::from_raw_parts(*block, layout.size()) };
                    prop_assert!(bytes.iter().all(|byte| byte == mark), "a block was overwritten");
                }
            }
            for (block, layout, _) in held {
                // SAFETY: it was handed out with this layout.
                unsafe { heap.dealloc(block, layout) };
            }
        }
    }

    #[test]
    fn what_is_given_back_is_used_again_and_the_last_block_grows_where_it_is() {
        let heap = Heap::empty();
        let memory = Box::leak(vec![0_u64; ROOM / 8].into_boxed_slice());
        let layout = |size| Layout::from_size_align(size, 8).unwrap();
        // SAFETY: the memory is leaked for it; the blocks are handed out with these layouts.
        unsafe {
            heap.init(memory.as_mut_ptr().cast(), ROOM);
            let [first, second] = [heap.alloc(layout(40)), heap.alloc(layout(40))];
            assert_eq!(heap.used(), 96);
            assert_eq!(heap.realloc(second, layout(40), 200), second);
            heap.dealloc(first, layout(40));
            assert_eq!(heap.alloc(layout(33)), first);
            heap.dealloc(second, layout(200));
            assert_eq!(heap.used(), 48);
            assert!(heap.alloc(layout(ROOM)).is_null());
            let [long, _] = [heap.alloc(layout(2048)), heap.alloc(layout(16))];
            heap.dealloc(long, layout(2048));
            assert_eq!(heap.alloc(layout(1000)), long);
            assert_eq!(heap.alloc(layout(500)).addr(), long.addr() + 1008);
        }
    }
}
