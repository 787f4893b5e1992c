//! The global allocator: first fit over the heap that the start block names.

use core::{
    alloc::{GlobalAlloc, Layout},
    ptr::{self, NonNull},
};

use linked_list_allocator::Heap;

use crate::sync::Mutex;

struct LockedHeap(Mutex<Heap>);

#[global_allocator]
static HEAP: LockedHeap = LockedHeap(Mutex::new(Heap::empty()));

/// Gives the allocator its memory.
///
/// # Safety
/// `size` bytes at `start` belong to the caller, are used by nobody else and stay so for the life of the program; it is
/// called once.
pub(crate) unsafe fn init(start: *mut u8, size: usize) {
    // A heap too small for one list entry is no heap; every allocation then fails.
    if size >= 2 * size_of::<usize>() {
        // SAFETY: the caller hands the memory over.
        unsafe { HEAP.0.lock().init(start, size) }
    }
}

// SAFETY: the blocks come from a heap behind a lock, which never gives out overlapping blocks; no method unwinds.
unsafe impl GlobalAlloc for LockedHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0
            .lock()
            .allocate_first_fit(layout)
            .map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller promises that the block came from `alloc` with this layout.
            unsafe { self.0.lock().deallocate(block, layout) }
        }
    }
}
