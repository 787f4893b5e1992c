//! Thread-local storage: the block that every thread has (variant I of the ELF specification for TLS), and
//! [`thread_local!`](crate::thread_local), which keeps values behind one word of it.

use core::cell::UnsafeCell;
use core::ptr::{self, NonNull};
use core::slice;

use crate::alloc::boxed::Box;
use crate::arch;

/// What `linker/cvm.ld` says of the program's thread-local storage.
#[repr(C)]
struct Linked {
    /// Distance from this record to the first byte of the initialised part.
    image: isize,
    /// Bytes of the initialised part.
    file_size: usize,
    /// Bytes of all of it.
    memory_size: usize,
    /// Alignment in bytes.
    alignment: usize,
}

unsafe extern "C" {
    static rt_thread_local: Linked;
}

/// How a thread's storage begins.
pub(crate) struct Template {
    image: &'static [u8],
    /// Distance of the storage from the thread pointer, in bytes.
    pub(crate) offset: usize,
    /// Bytes of the storage.
    pub(crate) size: usize,
    /// Alignment of thread pointer and storage, in bytes.
    pub(crate) alignment: usize,
}

/// The program's template.
pub(crate) fn template() -> Template {
    // SAFETY: the linker script defines it, with these four words.
    let linked = unsafe { &rt_thread_local };
    let record = ptr::from_ref(linked).cast::<u8>();
    // SAFETY: the linker says that the initialised part lies there.
    let image = unsafe { slice::from_raw_parts(record.offset(linked.image), linked.file_size) };
    let alignment = linked.alignment.max(1);
    Template {
        image,
        offset: arch::THREAD_CONTROL_BLOCK.next_multiple_of(alignment),
        size: linked.memory_size,
        alignment,
    }
}

impl Template {
    /// Makes the storage of a thread whose thread pointer will be `to`.
    ///
    /// # Safety
    /// `to` has room for `offset + size` bytes that belong to the caller.
    pub(crate) unsafe fn copy_to(&self, to: NonNull<u8>) {
        // SAFETY: the caller gives the room; the image is not longer than the size.
        unsafe {
            to.write_bytes(0, self.offset + self.size);
            let storage = to.add(self.offset);
            storage.copy_from_nonoverlapping(NonNull::from(self.image).cast(), self.image.len());
        }
    }
}

/// A value that each thread has for itself, made when the thread asks for it first and dropped when the thread ends. Made by
/// [`thread_local!`](crate::thread_local).
pub struct LocalKey<T: 'static> {
    make: fn() -> T,
    /// Gives every key an address of its own.
    _place: UnsafeCell<u8>,
}

// SAFETY: the key is only its address and a function; the values are reached by their threads alone.
unsafe impl<T> Sync for LocalKey<T> {}

/// A value of a thread, in the list of all of them.
#[repr(C)]
struct Node<T> {
    head: Head,
    value: T,
}

/// What all nodes begin with.
#[repr(C)]
struct Head {
    next: *mut Head,
    /// Address of the key.
    key: usize,
    /// Drops the node that this is the head of.
    free: unsafe fn(*mut Head),
}

impl<T: 'static> LocalKey<T> {
    #[doc(hidden)]
    pub const fn new(make: fn() -> T) -> LocalKey<T> {
        LocalKey {
            make,
            _place: UnsafeCell::new(0),
        }
    }

    /// Gives `use_value` the calling thread's value.
    ///
    /// # Panics
    /// In a handler: it runs on a thread of the monitor's making, which has no storage of its own.
    pub fn with<R>(&'static self, use_value: impl FnOnce(&T) -> R) -> R {
        assert!(
            !crate::start::in_handler(),
            "a handler has no thread-local storage of its own"
        );
        let key = ptr::from_ref(self).addr();
        let word = arch::locals().cast::<*mut Head>();
        // SAFETY: the word belongs to this thread, and nodes live until it ends.
        let mut head = unsafe { word.read() };
        while !head.is_null() {
            // SAFETY: as above.
            let node = unsafe { &*head };
            if node.key == key {
                // SAFETY: the key's address says that this node was made for a `T`.
                return use_value(unsafe { &(*head.cast::<Node<T>>()).value });
            }
            head = node.next;
        }
        // What it is made with may ask for other keys: the list is looked at again.
        let value = (self.make)();
        // SAFETY: as above.
        let next = unsafe { word.read() };
        let node = Box::into_raw(Box::new(Node {
            head: Head {
                next,
                key,
                free: free::<T>,
            },
            value,
        }));
        // SAFETY: as above.
        unsafe { word.write(node.cast()) };
        // SAFETY: the node lives until the thread ends.
        use_value(unsafe { &(*node).value })
    }
}

/// Drops a node of a `T`.
///
/// # Safety
/// The head is that of a `Node<T>` from a `Box`, in no list any more.
unsafe fn free<T>(head: *mut Head) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(head.cast::<Node<T>>()) });
}

/// Drops the values of the calling thread, which is about to end.
pub(crate) fn drop_all() {
    let word = arch::locals().cast::<*mut Head>();
    loop {
        // SAFETY: the word belongs to this thread. A value that is dropped may make others.
        let head = unsafe { word.read() };
        if head.is_null() {
            return;
        }
        // SAFETY: it is the first node of the list, which it leaves before it is dropped.
        unsafe {
            word.write((*head).next);
            ((*head).free)(head);
        }
    }
}

/// Declares values that each thread has for itself: `thread_local! { static COUNT: Cell<u32> = Cell::new(0); }`.
#[macro_export]
macro_rules! thread_local {
    ($($(#[$attribute:meta])* $visible:vis static $name:ident: $type:ty = $value:expr;)*) => {
        $($(#[$attribute])* $visible static $name: $crate::LocalKey<$type> = {
            fn make() -> $type {
                $value
            }
            $crate::LocalKey::new(make)
        };)*
    };
}
