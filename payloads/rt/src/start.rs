//! From the first instruction to `main`, and what the start block told.

use core::sync::atomic::{AtomicU64, Ordering};
use core::{fmt::Debug, slice};

use crate::{
    arch,
    block::{StartBlock, Strings},
    heap, hostcall,
    sync::OnceLock,
};
use abi::start::StartHeader;

static BLOCK: OnceLock<StartBlock<'static>> = OnceLock::new();
/// The main thread's thread pointer.
static MAIN_POINTER: AtomicU64 = AtomicU64::new(0);

unsafe extern "Rust" {
    /// What [`entry!`](crate::entry) defines: the program.
    safe fn cvm_main() -> i32;
}

/// Where the assembly at `_start` goes.
///
/// # Safety
/// Called once, by `_start`, with the start block that the monitor made.
#[unsafe(no_mangle)]
unsafe extern "C" fn rt_start(block: *const u8, size: usize) -> ! {
    // SAFETY: the monitor promises a start block of `size` bytes that nobody changes.
    let bytes = unsafe { slice::from_raw_parts(block, size) };
    let Some(block) = StartBlock::parse(bytes) else {
        panic!("the monitor's start block is malformed");
    };
    MAIN_POINTER.store(arch::thread_pointer(), Ordering::Relaxed);
    let StartHeader { heap, heap_size, .. } = *BLOCK.get_or_init(|| block).header();
    // SAFETY: the monitor gives this memory to the heap alone, and this is the only call.
    unsafe { heap::init(heap as usize as *mut u8, heap_size as usize) };
    hostcall::exit(cvm_main())
}

/// Whether the caller is a handler: it shares the main thread's storage, but not its stack.
pub(crate) fn in_handler() -> bool {
    let here = 0_u8;
    let StartHeader { stack, stack_size, .. } = *start_block().header();
    arch::thread_pointer() == MAIN_POINTER.load(Ordering::Relaxed)
        && !(stack..stack + stack_size).contains(&(core::ptr::from_ref(&here).addr() as u64))
}

/// Makes a function the cVM's program. It takes nothing and returns what implements [`Termination`]: `()`, an exit code
/// as `i32`, or a `Result` of these.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "Rust" fn cvm_main() -> i32 {
            $crate::Termination::exit_code($main())
        }
    };
}

/// What the function of [`entry!`](crate::entry) may return.
pub trait Termination {
    /// The exit code that the value stands for.
    fn exit_code(self) -> i32;
}

impl Termination for () {
    fn exit_code(self) -> i32 {
        0
    }
}

impl Termination for i32 {
    fn exit_code(self) -> i32 {
        self
    }
}

/// An error is printed and gives exit code 1.
impl<T: Termination, E: Debug> Termination for Result<T, E> {
    fn exit_code(self) -> i32 {
        match self {
            Ok(value) => value.exit_code(),
            Err(error) => {
                crate::eprintln!("error: {error:?}");
                1
            }
        }
    }
}

/// The start block: the cVM's name and number, its memory, heap and stack.
///
/// # Panics
/// Never after `main` was entered.
pub fn start_block() -> &'static StartBlock<'static> {
    BLOCK.get().expect("the runtime has not started")
}

/// The arguments, the runtime's name first.
pub fn args() -> Strings<'static> {
    start_block().arguments()
}

/// The environment as pairs of key and value. An entry without `=` is a key with an empty value.
pub fn env() -> impl Iterator<Item = (&'static str, &'static str)> {
    start_block()
        .environment()
        .map(|entry| entry.split_once('=').unwrap_or((entry, "")))
}

/// The value of an environment entry.
pub fn var(key: &str) -> Option<&'static str> {
    env().find_map(|(name, value)| (name == key).then_some(value))
}
