//! The monitor's heap. Why `unsafe` here: Rust asks for it of every allocator.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use linked_list_allocator::Heap as List;
use spin::Mutex;

/// A heap: empty until the boot has found out which memory it gets.
pub struct Heap(Mutex<List>);

impl Heap {
    /// A heap without memory.
    pub const fn empty() -> Heap {
        Heap(Mutex::new(List::empty()))
    }

    /// Gives the heap its memory.
    ///
    /// # Safety
    /// `size` bytes at `start` are nobody else's, now and later, and this happens once.
    pub(crate) unsafe fn init(&self, start: *mut u8, size: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.0.lock().init(start, size) }
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> usize {
        self.0.lock().used()
    }
}

// SAFETY: the list hands out each byte once at a time, and the lock lets one caller in at a time.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let memory = self.0.lock().allocate_first_fit(layout);
        memory.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if let Some(memory) = NonNull::new(memory) {
            // SAFETY: the caller's promise: `alloc` gave it out with this layout.
            unsafe { self.0.lock().deallocate(memory, layout) }
        }
    }
}
