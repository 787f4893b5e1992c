//! Threads of this cVM, as many as `threads` in its manifest says, the main thread included. They share its memory, and run
//! in turn or by priority, preemptively.
//!
//! A thread's stack and its thread-local storage come from the heap. It must not outgrow its stack: below lies other memory
//! of the heap, which nothing protects.

use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::alloc::alloc::{alloc, dealloc};
use crate::alloc::boxed::Box;
use crate::alloc::sync::Arc;
use crate::alloc::vec::Vec;
use crate::sync::Mutex;
use crate::{Errno, arch, hostcall, local, sys};

/// Bytes of stack when none are given.
pub const STACK_DEFAULT: usize = 16 * 1024;
/// Alignment of a stack in bytes.
const STACK_ALIGNMENT: usize = 16;

/// The thread has not ended.
const RUNNING: u32 = 1;

/// What a thread is started with.
#[derive(Clone, Copy, Debug)]
pub struct Builder {
    stack_size: usize,
    priority: Option<u32>,
}

impl Builder {
    /// A stack of [`STACK_DEFAULT`] bytes, the cVM's priority.
    pub const fn new() -> Builder {
        Builder {
            stack_size: STACK_DEFAULT,
            priority: None,
        }
    }

    /// With a stack of so many bytes, rounded up to 16.
    #[must_use]
    pub const fn stack_size(self, stack_size: usize) -> Builder {
        Builder { stack_size, ..self }
    }

    /// With this priority, not above the cVM's.
    #[must_use]
    pub const fn priority(self, priority: u32) -> Builder {
        Builder {
            priority: Some(priority),
            ..self
        }
    }

    /// Starts a thread that runs `body`. Without its handle nobody learns what it returns; it goes on all the same.
    ///
    /// # Errors
    /// `EAGAIN` when the cVM has as many threads as its manifest allows, `ENOMEM` when the heap has no room for the stack, `EPERM`
    /// for a priority above the cVM's, or when the manifest does not allow the family `thread`.
    pub fn spawn<T: Send + 'static>(self, body: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>, Errno> {
        let shared = Arc::new(Shared::new());
        let result = Arc::clone(&shared);
        let body = Box::new(move || {
            let value = body();
            // SAFETY: nobody looks at the result before the thread has ended, and this is its only write.
            unsafe { *result.value.get() = Some(value) }
        });
        let (id, memory) = self.start(body, &shared.state)?;
        Ok(JoinHandle {
            shared,
            id,
            memory: Some(memory),
        })
    }

    /// Starts a thread that runs `body`; `state` becomes 0 when nothing of the thread is left.
    fn start(self, body: Box<dyn FnOnce() + Send + '_>, state: &AtomicU32) -> Result<(u64, Memory), Errno> {
        reap();
        let memory = Memory::new(self.stack_size)?;
        let priority = match self.priority {
            Some(priority) => priority,
            None => hostcall::info()?.priority,
        };
        // SAFETY: the thread is over before what `body` borrows is: `spawn` has nothing borrowed, a scope waits.
        let body = unsafe { core::mem::transmute::<Box<dyn FnOnce() + Send + '_>, Box<dyn FnOnce() + Send>>(body) };
        let start = Box::into_raw(Box::new(Start {
            body,
            state: NonNull::from(state),
        }));
        state.store(RUNNING, Relaxed);
        // SAFETY: `rt_thread_start` is the entry of a thread; the stack and the storage are this thread's alone; `start`
        // is what `thread_main` takes back.
        let id = unsafe {
            hostcall::thread_create(
                arch::thread_entry(),
                memory.stack_top(),
                memory.pointer,
                start.addr() as u64,
                priority,
            )
        };
        match id {
            Ok(id) => Ok((id, memory)),
            Err(errno) => {
                // SAFETY: no thread has come to be that would take it.
                drop(unsafe { Box::from_raw(start) });
                state.store(0, Relaxed);
                Err(errno)
            }
        }
    }
}

impl Default for Builder {
    fn default() -> Builder {
        Builder::new()
    }
}

/// Starts a thread with the default stack and the cVM's priority.
///
/// # Errors
/// As [`Builder::spawn`].
pub fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>, Errno> {
    Builder::new().spawn(body)
}

/// The number of the calling thread in its cVM, 0 for the main thread.
pub fn current() -> u64 {
    hostcall::thread_self()
}

/// What a thread and who waits for it share.
struct Shared<T> {
    /// [`RUNNING`], and 0 when it has ended: the monitor writes it.
    state: AtomicU32,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value is written by the thread before it ends, and taken by whoever waited for that.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    const fn new() -> Shared<T> {
        Shared {
            state: AtomicU32::new(0),
            value: UnsafeCell::new(None),
        }
    }
}

/// Waits until `state` says that its thread has ended.
fn wait_for_end(state: &AtomicU32) {
    while state.load(Acquire) == RUNNING {
        sys::wait(state, RUNNING, None);
    }
}

/// A thread that can be waited for. Dropped, the thread goes on.
pub struct JoinHandle<T: Send + 'static> {
    shared: Arc<Shared<T>>,
    id: u64,
    memory: Option<Memory>,
}

impl<T: Send + 'static> JoinHandle<T> {
    /// The thread's number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.shared.state.load(Acquire) != RUNNING
    }

    /// Waits for the end of the thread; what its body returned.
    pub fn join(mut self) -> T {
        wait_for_end(&self.shared.state);
        drop(self.memory.take());
        // SAFETY: the thread has ended, and this handle alone takes the value.
        match unsafe { (*self.shared.value.get()).take() } {
            Some(value) => value,
            // Its body has run to the end: nothing else ends a thread of this cVM without ending the cVM.
            None => unreachable!("a thread that has ended left its result"),
        }
    }
}

impl<T: Send + 'static> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            let shared = Arc::clone(&self.shared);
            LEFT.lock()
                .push((Box::new(move || shared.state.load(Acquire) != RUNNING), memory));
        }
    }
}

/// Memory of threads that nobody waits for, each with the question whether its thread has ended.
type Left = Vec<(Box<dyn Fn() -> bool + Send>, Memory)>;
static LEFT: Mutex<Left> = Mutex::new(Vec::new());

/// Gives back the memory of threads that have ended and that nobody waited for.
fn reap() {
    LEFT.lock().retain(|(has_ended, _)| !has_ended());
}

/// Stack and thread-local storage of a thread.
struct Memory {
    block: NonNull<u8>,
    layout: Layout,
    stack_size: usize,
    /// The thread pointer.
    pointer: u64,
}

// SAFETY: it is memory, owned like a `Box`.
unsafe impl Send for Memory {}

impl Memory {
    fn new(stack_size: usize) -> Result<Memory, Errno> {
        let stack_size = stack_size
            .checked_next_multiple_of(STACK_ALIGNMENT)
            .ok_or(Errno::ENOMEM)?;
        let template = local::template();
        let storage = Layout::from_size_align(template.offset + template.size, template.alignment.max(STACK_ALIGNMENT));
        let stack = Layout::from_size_align(stack_size, STACK_ALIGNMENT).map_err(|_| Errno::ENOMEM)?;
        let (layout, at) = stack
            .extend(storage.map_err(|_| Errno::ENOMEM)?)
            .map_err(|_| Errno::ENOMEM)?;
        // SAFETY: the size is not 0: the storage has at least the word of `local`.
        let block = NonNull::new(unsafe { alloc(layout) }).ok_or(Errno::ENOMEM)?;
        // SAFETY: the storage lies in the block, behind the stack.
        let storage = unsafe { block.add(at) };
        // SAFETY: it has room for the offset and the template.
        unsafe { template.copy_to(storage) };
        Ok(Memory {
            block,
            layout,
            stack_size,
            pointer: storage.addr().get() as u64,
        })
    }

    fn stack_top(&self) -> u64 {
        (self.block.addr().get() + self.stack_size) as u64
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the block came from `alloc` with this layout, and its thread has ended.
        unsafe { dealloc(self.block.as_ptr(), self.layout) }
    }
}

/// What a new thread finds in its first argument register.
struct Start {
    body: Box<dyn FnOnce() + Send>,
    state: NonNull<AtomicU32>,
}

/// Where the assembly at `rt_thread_start` goes.
///
/// # Safety
/// Called once a thread, with what [`Builder::start`] gave it.
#[unsafe(no_mangle)]
unsafe extern "C" fn rt_thread_main(start: *mut Start) -> ! {
    // SAFETY: the caller gives what `Builder::start` made.
    let Start { body, state } = *unsafe { Box::from_raw(start) };
    body();
    local::drop_all();
    hostcall::thread_exit(state.as_ptr())
}

/// Threads that may borrow what lives longer than the scope. See [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    started: Mutex<Vec<(Arc<AtomicU32>, Memory)>>,
    scope: PhantomData<&'scope mut &'scope ()>,
    environment: PhantomData<&'env mut &'env ()>,
}

/// Runs `body`, which may start threads that borrow from around the scope; returns when all of them have ended.
pub fn scope<'env, T>(body: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T) -> T {
    let scope = Scope {
        started: Mutex::new(Vec::new()),
        scope: PhantomData,
        environment: PhantomData,
    };
    let value = body(&scope);
    // A thread of the scope may start another one while its own end is waited for.
    while let Some((state, memory)) = { scope.started.lock().pop() } {
        wait_for_end(&state);
        drop(memory);
    }
    value
}

impl<'scope> Scope<'scope, '_> {
    /// Starts a thread of the scope with the default stack and the cVM's priority.
    ///
    /// # Errors
    /// As [`Builder::spawn`].
    pub fn spawn(&'scope self, body: impl FnOnce() + Send + 'scope) -> Result<(), Errno> {
        self.spawn_with(Builder::new(), body)
    }

    /// Starts a thread of the scope.
    ///
    /// # Errors
    /// As [`Builder::spawn`].
    pub fn spawn_with(&'scope self, builder: Builder, body: impl FnOnce() + Send + 'scope) -> Result<(), Errno> {
        let state = Arc::new(AtomicU32::new(0));
        let (_, memory) = builder.start(Box::new(body), &state)?;
        self.started.lock().push((state, memory));
        Ok(())
    }
}
