//! The hostcalls. [`abi::hostcall`] is the reference; these wrappers turn buffers into pointers and results into
//! `Result`.

use core::pin::Pin;
use core::sync::atomic::AtomicU32;
use core::time::Duration;

use abi::hostcall::{CvmInfo, Holding, Hostcall, READ_NONBLOCKING, REGISTERS, SLEEP_LIMIT, Segment, WAIT_FOREVER};

use crate::{CapBuffer, Errno, arch};

/// Makes any hostcall: `number`, up to six arguments; returns the first and the second result register as they are.
///
/// # Safety
/// When the call writes to memory that the arguments name, the caller owns that memory.
#[inline]
pub unsafe fn raw(number: u64, arguments: [u64; 6]) -> (u64, u64) {
    arch::hostcall(number, arguments)
}

/// The first result register as a `Result`.
///
/// # Errors
/// The [`Errno`] that it stands for.
#[inline]
pub fn result(first: u64) -> Result<u64, Errno> {
    match Errno::from_result(first) {
        Some(errno) => Err(errno),
        None => Ok(first),
    }
}

fn call<const COUNT: usize>(call: Hostcall, values: [u64; COUNT]) -> Result<u64, Errno> {
    let mut arguments = [0; 6];
    arguments[..COUNT].copy_from_slice(&values);
    result(arch::hostcall(call as u64, arguments).0)
}

/// Does nothing; for measuring the way into the monitor and back.
///
/// # Errors
/// None is defined.
pub fn null() -> Result<(), Errno> {
    call(Hostcall::Null, []).map(|_| ())
}

/// Ends the cVM with `code`, 0 for success. Output that is still in the line buffers is written first.
pub fn exit(code: i32) -> ! {
    crate::console::flush_at_exit();
    loop {
        arch::hostcall(Hostcall::Exit as u64, [code as u64, 0, 0, 0, 0, 0]);
    }
}

/// Gives the rest of the time slice to the others.
pub fn yield_now() {
    arch::hostcall(Hostcall::Yield as u64, [0; 6]);
}

/// Writes to a stream and returns how many bytes were taken, at most [`abi::hostcall::TRANSFER_LIMIT`]. Bypasses the
/// line buffer of [`println!`](crate::println).
///
/// # Errors
/// `EBADF` for a stream other than 1 and 2.
pub fn write(stream: u64, bytes: &[u8]) -> Result<usize, Errno> {
    call(
        Hostcall::Write,
        [stream, bytes.as_ptr().addr() as u64, bytes.len() as u64],
    )
    .map(|count| count as usize)
}

/// Writes all of `bytes` to a stream.
///
/// # Errors
/// As [`write`]; `EIO` when the stream takes nothing any more.
pub fn write_all(stream: u64, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let count = write(stream, bytes)?;
        if count == 0 {
            return Err(Errno::EIO);
        }
        bytes = bytes.get(count..).ok_or(Errno::EIO)?;
    }
    Ok(())
}

/// Waits for input on a stream and returns how many bytes of `buffer` it filled, 0 at the end of input.
///
/// # Errors
/// `EBADF` for a stream other than 0.
pub fn read(stream: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    call(
        Hostcall::Read,
        [stream, buffer.as_mut_ptr().addr() as u64, buffer.len() as u64, 0],
    )
    .map(|count| count as usize)
}

/// As [`read`], without waiting.
///
/// # Errors
/// `EAGAIN` when no input is there now; `EBADF` for a stream other than 0.
pub fn try_read(stream: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    call(
        Hostcall::Read,
        [
            stream,
            buffer.as_mut_ptr().addr() as u64,
            buffer.len() as u64,
            READ_NONBLOCKING,
        ],
    )
    .map(|count| count as usize)
}

/// Sleeps for at least this many nanoseconds.
///
/// # Errors
/// `EINVAL` above [`abi::hostcall::SLEEP_LIMIT`].
pub fn nanosleep(nanoseconds: u64) -> Result<(), Errno> {
    call(Hostcall::Nanosleep, [nanoseconds]).map(|_| ())
}

/// Nanoseconds since the monitor started.
pub fn clock() -> u64 {
    arch::hostcall(Hostcall::Clock as u64, [0; 6]).0
}

/// What [`clock`] returns, without a hostcall: from the counter that every cVM can read.
#[inline]
pub fn counted_clock() -> u64 {
    crate::start_block().header().nanoseconds(arch::counter())
}

/// Nanoseconds since 1970 (UTC).
///
/// # Errors
/// `ENOENT` when the machine has no clock that knows.
pub fn wall_clock() -> Result<u64, Errno> {
    call(Hostcall::WallClock, [])
}

/// Copies the beginning of the start block into `buffer` and returns the size of the whole block in bytes.
///
/// # Errors
/// None for a buffer of this program's own.
pub fn arguments(buffer: &mut [u8]) -> Result<usize, Errno> {
    call(
        Hostcall::Arguments,
        [buffer.as_mut_ptr().addr() as u64, buffer.len() as u64],
    )
    .map(|size| size as usize)
}

/// What the monitor knows about this cVM.
///
/// # Errors
/// None is expected; `EIO` when the monitor's record is shorter than the one this program was built with.
pub fn info() -> Result<CvmInfo, Errno> {
    let mut bytes = [0; CvmInfo::SIZE];
    let size = call(Hostcall::Info, [bytes.as_mut_ptr().addr() as u64, bytes.len() as u64])?;
    if size < CvmInfo::SIZE as u64 {
        return Err(Errno::EIO);
    }
    Ok(CvmInfo::from_bytes(&bytes))
}

/// The thing with this index of what a cVM, this one or one within it, has beside its own memory, and how much of it is held now.
///
/// # Errors
/// `ENOENT` when it has no more; `EPERM` for another cVM; `EINVAL` when there is none of this number; `EIO` when the monitor's record is
/// shorter than the one this program was built with.
pub fn holding(cvm: u32, index: u64) -> Result<Holding, Errno> {
    let mut bytes = [0; Holding::SIZE];
    let place = [bytes.as_mut_ptr().addr() as u64, bytes.len() as u64];
    let size = call(Hostcall::Holding, [place[0], place[1], cvm.into(), index])?;
    if size < Holding::SIZE as u64 {
        return Err(Errno::EIO);
    }
    Ok(Holding::from_bytes(&bytes))
}

/// Puts the capability over this cVM's heap into `place` and returns the heap's size in bytes. The heap is also what `alloc`
/// hands out: two names of the same memory.
///
/// # Errors
/// `ENOMEM` when the manifest gives no heap.
pub fn heap(place: Pin<&mut CapBuffer>) -> Result<u64, Errno> {
    let (first, second) = arch::hostcall_for_capability(Hostcall::Heap as u64, [0; 2], place.slot());
    place.filled(first, second)
}

/// Serves the hostcalls of the cVMs whose `callback_out` names this one, by the function of [`handler!`](crate::handler),
/// until all of them have ended.
///
/// # Errors
/// `EPERM` in a handler.
pub fn serve() -> Result<(), Errno> {
    call(Hostcall::Serve, []).map(|_| ())
}

/// Starts another thread of this cVM at the address `entry`, with these in its stack pointer, its thread pointer and its first
/// argument register; returns its number. [`thread`](crate::thread) is the comfortable way.
///
/// # Safety
/// `entry` is the first instruction of a thread, `stack` the end of memory that is its alone, 16-byte aligned.
///
/// # Errors
/// `EAGAIN` when the manifest allows no more threads; `EPERM` for a priority above the cVM's; `EFAULT` for an entry that cannot
/// be executed.
pub unsafe fn thread_create(entry: u64, stack: u64, pointer: u64, argument: u64, priority: u32) -> Result<u64, Errno> {
    call(
        Hostcall::ThreadCreate,
        [entry, stack, pointer, argument, priority.into()],
    )
}

/// Ends the calling thread, which is not the main thread. When nothing of it is left, `word` becomes 0 and those that wait for
/// it wake.
pub(crate) fn thread_exit(word: *const AtomicU32) -> ! {
    arch::hostcall(Hostcall::ThreadExit as u64, [word.addr() as u64, 1, 0, 0, 0, 0]);
    // Only the main thread comes back.
    exit(i32::from(u8::MAX))
}

/// The number of the calling thread in its cVM: 0 is the main thread.
pub fn thread_self() -> u64 {
    arch::hostcall(Hostcall::ThreadSelf as u64, [0; 6]).0
}

/// Sets the priority of a thread of this cVM.
///
/// # Errors
/// `ESRCH` when none has this number; `EPERM` for a handler, or for a priority above the cVM's.
pub fn thread_priority(id: u64, priority: u32) -> Result<(), Errno> {
    call(Hostcall::ThreadPriority, [id, priority.into()]).map(|_| ())
}

/// Waits until `wake` is called for `word`, when it holds `expected`; `None` = as long as that takes.
///
/// # Errors
/// `EAGAIN` when it holds something else; `ETIMEDOUT`; `EPERM` when the manifest does not allow the family `sync`.
pub fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> Result<(), Errno> {
    let place = core::ptr::from_ref(word).addr() as u64;
    call(Hostcall::Wait, [place, expected.into(), nanoseconds(timeout)]).map(|_| ())
}

/// Number and size of the manifest's buffer of this name.
///
/// # Errors
/// `ENOENT` when there is none that this cVM may do something with; `EINVAL` for a name that none can have.
pub fn buffer_find(name: &str) -> Result<(u64, u64), Errno> {
    let arguments = [name.as_ptr().addr() as u64, name.len() as u64, 0, 0, 0, 0];
    let (number, size) = arch::hostcall(Hostcall::BufferFind as u64, arguments);
    Errno::from_result(number).map_or(Ok((number, size)), Err)
}

/// Makes a buffer of this cVM's quota, all of it 0; returns its number. [`Buffer`](crate::Buffer) maps it.
///
/// # Errors
/// `ENOMEM` when the quota has no room for it; `EINVAL` for 0 bytes or too many.
pub fn buffer_create(bytes: u64) -> Result<u64, Errno> {
    call(Hostcall::BufferCreate, [bytes])
}

/// Lets another cVM, by its number, read or write a buffer of this cVM's.
///
/// # Errors
/// `ENOENT`; `EPERM` when this cVM does not own it; `EINVAL` when there is no such cVM.
pub fn buffer_grant(number: u64, cvm: u64, rights: u64) -> Result<(), Errno> {
    call(Hostcall::BufferGrant, [number, cvm, rights]).map(|_| ())
}

/// Takes a buffer of this cVM's back from another one, or from all others: [`BUFFER_ALL`](abi::hostcall::BUFFER_ALL).
///
/// # Errors
/// `ENOENT`; `EPERM` when this cVM does not own it; `EINVAL` when there is no such cVM.
pub fn buffer_revoke(number: u64, cvm: u64) -> Result<(), Errno> {
    call(Hostcall::BufferRevoke, [number, cvm]).map(|_| ())
}

/// Takes a buffer that this cVM has made back from all, this cVM among them, and its memory back into the quota.
///
/// # Errors
/// `ENOENT`; `EPERM` when this cVM has not made it.
pub fn buffer_destroy(number: u64) -> Result<(), Errno> {
    call(Hostcall::BufferDestroy, [number]).map(|_| ())
}

/// Wakes up to `count` of the threads that wait for `word`, at most [`abi::hostcall::WAKE_LIMIT`] in one call; returns how many.
///
/// # Errors
/// `EPERM` when the manifest does not allow the family `sync`.
pub fn wake(word: &AtomicU32, count: u64) -> Result<u64, Errno> {
    call(Hostcall::Wake, [core::ptr::from_ref(word).addr() as u64, count])
}

/// In a handler: the call that it serves is answered later, with `late` when that takes more than so many nanoseconds (0 = as
/// long as its budget lasts). Returns the token for [`answer`].
///
/// # Errors
/// `EPERM` when the caller serves no call.
pub(crate) fn defer(nanoseconds: u64, late: u64) -> Result<u64, Errno> {
    call(Hostcall::Defer, [nanoseconds, late])
}

/// In a handler: starts another thread of the raw client that it serves.
///
/// # Errors
/// `EPERM` when it serves none; `EAGAIN` when the client has as many threads as its manifest allows.
pub(crate) fn clone(stack: u64, thread_pointer: u64, result: u64, keep: u64) -> Result<u16, Errno> {
    call(Hostcall::Clone, [stack, thread_pointer, result, keep]).map(|place| place as u16)
}

/// Makes whole pages of a raw client text, or memory like any other; `address` is as the client sees it.
///
/// # Errors
/// `ESRCH`, `EINVAL`, `EFAULT`: see [`Hostcall::Text`].
pub fn text(client: u64, address: u64, length: u64, executable: bool) -> Result<(), Errno> {
    call(Hostcall::Text, [client, address, length, executable.into()]).map(|_| ())
}

/// The registers of a thread of a raw client: of the one whose call the calling handler serves (token 0), or of one that waits.
///
/// # Errors
/// `ENOENT` when nobody waits with this token.
pub(crate) fn registers(token: u64) -> Result<[u64; REGISTERS], Errno> {
    let mut words = [0; REGISTERS];
    call(
        Hostcall::Registers,
        [token, words.as_mut_ptr().expose_provenance() as u64, 0],
    )?;
    Ok(words)
}

/// Sets them.
///
/// # Errors
/// `ENOENT`; `EFAULT` for a program counter beyond its PCC.
pub(crate) fn set_registers(token: u64, words: &[u64; REGISTERS]) -> Result<(), Errno> {
    call(
        Hostcall::Registers,
        [token, words.as_ptr().expose_provenance() as u64, 1],
    )
    .map(|_| ())
}

/// Stops a thread of a raw client where it computes; the token by which it waits from now on.
///
/// # Errors
/// `ESRCH` when there is no such thread; `EAGAIN` when it makes a call.
pub(crate) fn seize(client: u64, place: u16) -> Result<u64, Errno> {
    call(Hostcall::Seize, [client, place.into()])
}

/// Ends a deferred call.
///
/// # Errors
/// `ENOENT` when no call with this token waits for an answer.
pub(crate) fn answer(token: u64, [value, second, how]: [u64; 3]) -> Result<(), Errno> {
    call(Hostcall::Answer, [token, value, second, how]).map(|_| ())
}

/// What device `number` of this cVM offers, by virtio's feature bits; what it is, and the version of its transport.
///
/// # Errors
/// `ENOENT` when the manifest gives this cVM no device of this number; `EPERM` when it does not allow the family `device`.
pub fn device_info(number: u64) -> Result<(u64, u64), Errno> {
    call_for_two(Hostcall::DeviceInfo, [number, 0, 0, 0])
}

/// Reads `width` (1 or 4) bytes of a device's configuration space; and how often that has changed.
///
/// # Errors
/// `ENOENT`; `EINVAL` for an offset that is no multiple of the width or too large.
pub fn device_config(number: u64, offset: u64, width: u64) -> Result<(u64, u64), Errno> {
    call_for_two(Hostcall::DeviceConfig, [number, offset, width, 0])
}

/// Resets a device and starts it with these of its features; those that it has agreed on, and the number of its queues.
///
/// # Errors
/// `ENOENT`; `EIO` when the device refuses.
pub fn device_start(number: u64, features: u64) -> Result<(u64, u64), Errno> {
    call_for_two(Hostcall::DeviceStart, [number, features, 0, 0])
}

/// Lets a device work on memory; returns the request's id.
///
/// # Safety
/// What the device writes is this program's to write, and stays that until the request was taken or the device was reset;
/// what it reads does not change meanwhile.
///
/// # Errors
/// `EAGAIN` when too much is in flight; `EFAULT` for memory that is not this cVM's; `EIO` when the device is not started.
pub unsafe fn device_submit(number: u64, queue: u64, segments: &[Segment]) -> Result<u64, Errno> {
    let pointer = segments.as_ptr().addr() as u64;
    call(Hostcall::DeviceSubmit, [number, queue, pointer, segments.len() as u64])
}

/// Takes a finished request: its id, and how many bytes the device has written.
///
/// # Errors
/// `EAGAIN` when there is none; `EIO` when the device is not started any more.
pub fn device_take(number: u64, queue: u64) -> Result<(u64, u64), Errno> {
    call_for_two(Hostcall::DeviceTake, [number, queue, 0, 0])
}

/// Waits until there may be something to take from `queues`, a bit each; `None` = as long as that takes.
///
/// # Errors
/// `ETIMEDOUT`; `EIO` when the device is not started any more.
pub fn device_wait(number: u64, queues: u64, timeout: Option<Duration>) -> Result<(), Errno> {
    call(Hostcall::DeviceWait, [number, queues, nanoseconds(timeout)]).map(|_| ())
}

/// Resets a device: it uses no memory any more.
///
/// # Errors
/// `EIO` when it does not confirm that.
pub fn device_reset(number: u64) -> Result<(), Errno> {
    call(Hostcall::DeviceReset, [number]).map(|_| ())
}

/// A timeout as the monitor takes it.
pub(crate) fn nanoseconds(timeout: Option<Duration>) -> u64 {
    timeout.map_or(WAIT_FOREVER, |timeout| {
        u64::try_from(timeout.as_nanos()).map_or(SLEEP_LIMIT, |nanoseconds| nanoseconds.min(SLEEP_LIMIT))
    })
}

fn call_for_two(call: Hostcall, [a0, a1, a2, a3]: [u64; 4]) -> Result<(u64, u64), Errno> {
    let (first, second) = arch::hostcall(call as u64, [a0, a1, a2, a3, 0, 0]);
    Ok((result(first)?, second))
}
