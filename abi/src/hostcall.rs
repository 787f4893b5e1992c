//! Hostcalls: what a cVM asks of the monitor. The reference with arguments, units and errors of each call.
//!
//! Convention: the number in `a7` (CHERI-RISC-V) or `x8` (Morello), up to six arguments in the argument registers, as
//! integers, or as capabilities in the same registers for a purecap cVM. The first result register holds the result or
//! a negated [`Errno`](crate::Errno), the next one a second value where a call defines one (otherwise it keeps its
//! contents). All other registers survive.
//!
//! A *pointer* argument is an address as the cVM sees it (hybrid: checked against its DDC) or a capability (purecap).
//! Any hostcall with a pointer returns `EFAULT` when the authority behind it does not cover the access; bytes before
//! the offending one may have been transferred.

/// Number of a hostcall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Hostcall {
    /// `null() -> 0`. Does nothing; for measuring the way in and out.
    Null = 0,
    /// `exit(code)`. Ends the cVM with `code` (an `i32`, 0 = success). Does not return, whatever a server answers to it.
    Exit = 1,
    /// `yield() -> 0`. Gives the rest of the time slice to the other threads of the same priority.
    Yield = 2,
    /// `write(stream, pointer, length) -> bytes written`. Streams 1 and 2 are the console. One call takes at most
    /// [`TRANSFER_LIMIT`] bytes, and ends with the line by which [`OUTPUT_LIMIT`] bytes have gone to the console: call
    /// again for the rest. `EBADF` for another stream, `EFAULT` for a bad buffer, `EINVAL` for
    /// a length above `isize::MAX`.
    Write = 3,
    /// `read(stream, pointer, length, flags) -> bytes read`. Stream 0 is the console. Waits until at least one byte is
    /// there, unless `flags` has [`READ_NONBLOCKING`], which gives `EAGAIN` instead. 0 = end of input. `EBADF`,
    /// `EFAULT`; `EINVAL` for an unknown flag or a length above `isize::MAX`.
    Read = 4,
    /// `nanosleep(nanoseconds) -> 0`. Sleeps for at least this time, rounded up to the resolution of the timer.
    /// `EINVAL` above [`SLEEP_LIMIT`].
    Nanosleep = 5,
    /// `clock() -> nanoseconds` since the monitor started: monotonic, the same for all cVMs.
    Clock = 6,
    /// `arguments(pointer, length) -> size of the start block in bytes`. Copies the first `length` bytes of the start
    /// block (see [`start`](crate::start)); with length 0 only its size is told. `EFAULT`, `EINVAL` for a length above
    /// `isize::MAX`.
    Arguments = 7,
    /// `info(pointer, length) -> size of the record in bytes`. Copies the first `length` bytes of the caller's
    /// [`CvmInfo`]. `EFAULT`, `EINVAL` for a length above `isize::MAX`.
    Info = 8,
    /// `heap() -> capability, bytes`. The capability over the caller's heap, and its size as the second value. `ENOMEM`
    /// when the manifest gives it none.
    Heap = 9,
    /// `capfile(name, length) -> capability, bytes`. A local capability over the buffer of the manifest whose name stands at the
    /// pointer `name` (`length` bytes, no NUL), with all that the caller may do with it, and its size as the second value. It
    /// carries data only, never capabilities. `ENOENT`, `EFAULT`; `EINVAL` for a length of 0 or above
    /// [`NAME_LIMIT`](crate::manifest::NAME_LIMIT); `EPERM`, `EAGAIN` as [`BufferMap`](Hostcall::BufferMap).
    Capfile = 10,
    /// `serve() -> 0`. The caller rests, and the hostcalls of the cVMs whose `callback-out` names it are delivered to its
    /// [`HANDLER`], one after the other. Its gates are open from then on, for this life. Returns when all cVMs that can call it have
    /// ended, at once when there are none. `EPERM` in a
    /// handler.
    Serve = 11,
    /// `reply(value, second, how)`. In a handler: ends the call that it serves; its caller gets `value` and, with
    /// [`WITH_SECOND`], `second`, both as integers. A raw client can also be given a stack pointer ([`WITH_STACK`]) and be
    /// ended ([`END_THREAD`], [`END_CVM`]). Does not return. `EPERM` outside of a handler.
    Reply = 12,
    /// `delegate()`. In a handler: the call that it serves goes on to the server's own server, or the monitor serves it,
    /// as if this server did not exist. Does not return. `EPERM` outside of a handler.
    Delegate = 13,
    /// `thread_create(entry, stack, thread_pointer, argument, priority) -> id`. Starts another thread of the caller's cVM, at
    /// `entry`, with these in its stack pointer, its thread pointer and its first argument register, as they are passed:
    /// integers or capabilities. An integer `entry` counts as the caller's own jumps do, and the thread has the caller's PCC
    /// and DDC; a capability `entry` is what it executes with. `EAGAIN` when the cVM has as many threads as its manifest
    /// allows; `EPERM` for a priority above the cVM's; `EFAULT` for an entry that cannot be executed.
    ThreadCreate = 14,
    /// `thread_exit(word, with_word)`. Ends the calling thread; does not return. When `with_word` is 1 and the aligned 32-bit
    /// word at the pointer `word` can be stored, it becomes 0 and all that wait for it wake, once nothing of the thread is
    /// left. `EPERM` in the main thread, which ends by `exit`, and in a handler.
    ThreadExit = 15,
    /// `thread_self() -> id`. The number of the calling thread in its cVM: 0 is the main thread. A number is not used again
    /// before its cVM has made 2^31 threads in one place.
    ThreadSelf = 16,
    /// `thread_priority(id, priority) -> 0`. Sets the priority of a thread of the same cVM. `ESRCH` when there is none of this
    /// number; `EPERM` for a handler, or for a priority above the cVM's.
    ThreadPriority = 17,
    /// `thread_end(id) -> 0`. Ends another thread of the same cVM, wherever it is; a hostcall that is being served for it is
    /// undone. `ESRCH` when there is none of this number; `EPERM` for the main thread, a handler and the caller itself.
    ThreadEnd = 18,
    /// `wait(word, expected, timeout) -> 0`. Waits until `wake` is called for the aligned 32-bit word at the pointer `word`,
    /// when it holds `expected`: the word is looked at and the wait begun in one step. `timeout` is in nanoseconds, or
    /// [`WAIT_FOREVER`]. `EAGAIN` when the word holds something else; `ETIMEDOUT`; `EFAULT` when it cannot be loaded; `EINVAL`
    /// for a word that is not aligned, an `expected` above 2^32 - 1 or a timeout above [`SLEEP_LIMIT`].
    Wait = 19,
    /// `wake(word, count) -> threads woken`. Wakes up to `count` of the threads, of whatever cVM, that wait for the word at the
    /// pointer `word`: the greatest priority first, then who waits longest. One call wakes at most [`WAKE_LIMIT`]: call again
    /// for the rest. `EFAULT` when the word cannot be loaded; `EINVAL` when it is not aligned.
    Wake = 20,
    /// `defer(nanoseconds, value) -> token`. In a handler: the call that it serves is answered later, by `answer` with this
    /// token, or when that many nanoseconds have passed, then with `value`; 0 = as long as the call's budget lasts. What was
    /// lent is gone when it returns. The handler goes on, on its own, until it ends by `reply`. `EPERM` when the caller serves
    /// no call.
    Defer = 21,
    /// `answer(token, value, second, how) -> 0`. Ends a deferred call of the caller's cVM as `reply` does, from any of
    /// its threads. `ENOENT` when no call with this token waits for an answer of this cVM: it was answered, its budget is
    /// used up, its client has ended, or it never was.
    Answer = 22,
    /// `buffer_find(name, length) -> number, bytes`. The number of the manifest's buffer whose name stands at the pointer `name`
    /// (`length` bytes, no NUL), and its size as the second value. `ENOENT` when there is none that the caller may read or
    /// write, or owns; `EFAULT`; `EINVAL` for a length of 0 or above [`NAME_LIMIT`](crate::manifest::NAME_LIMIT).
    BufferFind = 23,
    /// `buffer_create(bytes) -> number`. Makes a buffer of the caller's quota, all of it 0; the caller owns it and may read and
    /// write it. It is gone when the caller's cVM ends. `ENOMEM` when the quota has no room for it, or the cVM has
    /// [`BUFFERS`] already; `EINVAL` for 0 bytes or more than [`BUFFER_LIMIT`].
    BufferCreate = 24,
    /// `buffer_map(number, rights) -> capability, bytes`. A local capability over a buffer, to load when `rights` has
    /// [`BUFFER_READ`] and to store when it has [`BUFFER_WRITE`], as far as the caller may; and the buffer's size as the second
    /// value. `ENOENT`; `EPERM` when the caller may do nothing of what is asked; `EINVAL` for other rights; `EAGAIN` when so
    /// many threads hold something of the owner's already that a revocation would take too long.
    BufferMap = 25,
    /// `buffer_grant(number, cvm, rights) -> 0`. Lets the cVM of this number read or write a buffer of the caller's, besides
    /// what it may already. `ENOENT`; `EPERM` when the caller does not own the buffer; `EINVAL` for other rights, or when there
    /// is no such cVM.
    BufferGrant = 26,
    /// `buffer_revoke(number, cvm) -> 0`. From now on the cVM of this number may do nothing with a buffer of the caller's,
    /// nor any but the caller when `cvm` is [`BUFFER_ALL`]. When it returns, none of their families holds a capability over
    /// any of it, wherever it lay, and no server of theirs; hostcalls to which it was passed have ended with an error. A cVM
    /// around the caller, or within it, counts as the caller. `EAGAIN` when all of this is done, but a device may still use some of
    /// it: call again; `ENOENT`; `EPERM` when the caller does not own the buffer; `EINVAL` when there is no such cVM, or it is one
    /// of the caller's family.
    BufferRevoke = 27,
    /// `buffer_destroy(number) -> 0`. Revokes a buffer that the caller has made from everybody, the caller among them; its
    /// memory is the quota's again when no device uses it any more. `ENOENT`; `EPERM` when the caller has not made it.
    BufferDestroy = 28,
    /// `device_info(device) -> features, kind`. The features that a device of the caller offers (virtio's feature bits), and what
    /// it is as the second value: its [`DeviceKind`](crate::manifest::DeviceKind), and the version of its transport (1 =
    /// legacy) from bit 8 on. Devices are counted from 0 in the order of the caller's manifest entry. `ENOENT` when the
    /// caller has no device of this number.
    DeviceInfo = 29,
    /// `device_config(device, offset, width) -> value, generation`. Reads 1 or 4 aligned bytes of the device's configuration
    /// space; the second value counts its changes, where the transport tells. `ENOENT`; `EINVAL` for another width, and for an
    /// offset that is no multiple of it or not below [`DEVICE_CONFIG_LIMIT`].
    DeviceConfig = 30,
    /// `device_start(device, features) -> features, queues`. Resets the device, agrees with it on those of the `features` that it
    /// offers and the monitor allows, sets up its queues, of [`DEVICE_QUEUE_SIZE`] descriptors each, and starts it. What was in
    /// flight is dropped. The number of its queues is the second value. `ENOENT`; `EIO` when the device refuses.
    DeviceStart = 31,
    /// `device_submit(device, queue, segments, count) -> id`. Lets the device work on `count` (1 to [`SEGMENT_LIMIT`]) pieces of
    /// memory, which an array of [`Segment`] at the pointer `segments` names: those that the device reads first. The
    /// caller must be able to do there itself what the device may do. The id is the request's as long as it is in flight.
    /// `ENOENT` for no such device or queue; `EINVAL` for a wrong `count`, `flags`, order or length, or segments that are not
    /// aligned to 16; `EFAULT` for memory that the caller may not give; `EAGAIN` when too much is in flight; `EIO` when the
    /// device is not started.
    DeviceSubmit = 32,
    /// `device_take(device, queue) -> id, length`. A request that the device has finished, and how many bytes it has written, at
    /// most those that it was given to write, as the second value. `EAGAIN` when there is none; `ENOENT`; `EIO` when the device
    /// is not started, or has said what cannot be: it was reset then, and nothing is in flight any more.
    DeviceTake = 33,
    /// `device_wait(device, queues, timeout) -> 0`. Waits until the device has finished something in one of the `queues` (bit n =
    /// queue n), or has interrupted for something else: look with `device_take`. `timeout` is in nanoseconds, or
    /// [`WAIT_FOREVER`]. `ETIMEDOUT`; `ENOENT`; `EINVAL` for a timeout above [`SLEEP_LIMIT`]; `EIO` when the device is not started.
    DeviceWait = 34,
    /// `device_reset(device) -> 0`. Resets the device, as the end of its driver does: nothing is in flight any more, and who waits
    /// for it wakes. `ENOENT`; `EIO` when it does not confirm that.
    DeviceReset = 35,
    /// `clone(stack, thread_pointer, result, keep) -> place`. In a handler that serves a raw client: starts another thread of the
    /// client, with the registers that the calling thread had at its call, but for these three; with [`KEEP_STACK`] and
    /// [`KEEP_THREAD_POINTER`] in `keep` those stay, too. `place` is the new thread's among those of its cVM, from 1 on. `EPERM`
    /// when the caller serves no call of a raw client; `EAGAIN` when the client has as many threads as its manifest allows.
    Clone = 36,
    /// `wall_clock() -> nanoseconds` since 1970 (UTC), by the machine's real-time clock, which is read once at boot. It goes on as
    /// `clock` does. `ENOENT` when the machine has none.
    WallClock = 37,
    /// `gate(name, length) -> token`. What the caller calls the gate by whose name, `cVM.function`, stands at the pointer `name`
    /// (`length` bytes, no NUL). CHERI-RISC-V: a sealed pair, its code in the first result register and its data in the second.
    /// Morello: one sealed capability. Both are local. Waits until the gate's cVM rests in `serve` for the first time of its
    /// life. `ENOENT` when the caller's manifest entry names no such gate; `ECONNREFUSED` when its cVM has ended for good; `EFAULT`;
    /// `EINVAL` for a length of 0 or above [`GATE_NAME_LIMIT`](crate::manifest::GATE_NAME_LIMIT).
    Gate = 38,
    /// `holding(pointer, length, cvm, index) -> size of the record in bytes`. What a cVM has beside its own memory and what of it its
    /// family holds now, one thing a call: copies the first `length` bytes of the [`Holding`] with this index, from 0 on. The cVM
    /// is the caller's own or lies within it: `EPERM` for others; `ENOENT` when it has no more; `EFAULT`; `EINVAL` when there is no such
    /// cVM, or for a length above `isize::MAX`.
    Holding = 39,
    /// `text(client, address, length, executable) -> 0`. The whole pages of a raw client from `address` on, as the client sees it,
    /// become text when `executable` is 1 - executed, read and never written - and with 0 what all other memory is. Its
    /// PCC has to cover them. `ESRCH` when the caller serves no raw client of this number, within its own memory, that lives;
    /// `EINVAL` for what is no multiple of 4096 bytes, a length of 0 or above [`TEXT_LIMIT`], another `executable`; `EFAULT` when
    /// the client's PCC does not cover that.
    Text = 40,
    /// `registers(token, pointer, write) -> 0`. The integer registers of a thread of a raw client, whose call the caller serves
    /// (`token` 0) or has deferred: [`REGISTERS`] words at `pointer`, which are stored, or with `write` 1 loaded and become the
    /// thread's. No register that is written holds a capability afterwards. `ENOENT` when no such call waits; `EINVAL` for another
    /// `write`; `EFAULT` for a bad pointer, or for a program counter beyond the client's PCC.
    Registers = 41,
    /// `seize(client, place) -> token`. A thread of a raw client that computes stops where it is, as if it had made a call that
    /// was deferred. `ESRCH` as for `text`, or when there is no such thread; `EAGAIN` when the thread makes a call already, has
    /// not started, or ends.
    Seize = 42,
}

impl Hostcall {
    /// All hostcalls, in the order of their numbers.
    pub const ALL: [Hostcall; 43] = [
        Hostcall::Null,
        Hostcall::Exit,
        Hostcall::Yield,
        Hostcall::Write,
        Hostcall::Read,
        Hostcall::Nanosleep,
        Hostcall::Clock,
        Hostcall::Arguments,
        Hostcall::Info,
        Hostcall::Heap,
        Hostcall::Capfile,
        Hostcall::Serve,
        Hostcall::Reply,
        Hostcall::Delegate,
        Hostcall::ThreadCreate,
        Hostcall::ThreadExit,
        Hostcall::ThreadSelf,
        Hostcall::ThreadPriority,
        Hostcall::ThreadEnd,
        Hostcall::Wait,
        Hostcall::Wake,
        Hostcall::Defer,
        Hostcall::Answer,
        Hostcall::BufferFind,
        Hostcall::BufferCreate,
        Hostcall::BufferMap,
        Hostcall::BufferGrant,
        Hostcall::BufferRevoke,
        Hostcall::BufferDestroy,
        Hostcall::DeviceInfo,
        Hostcall::DeviceConfig,
        Hostcall::DeviceStart,
        Hostcall::DeviceSubmit,
        Hostcall::DeviceTake,
        Hostcall::DeviceWait,
        Hostcall::DeviceReset,
        Hostcall::Clone,
        Hostcall::WallClock,
        Hostcall::Gate,
        Hostcall::Holding,
        Hostcall::Text,
        Hostcall::Registers,
        Hostcall::Seize,
    ];

    /// The family that a manifest allows or denies it by.
    #[inline]
    pub const fn family(self) -> Family {
        match self {
            Hostcall::Null
            | Hostcall::Exit
            | Hostcall::Yield
            | Hostcall::Arguments
            | Hostcall::Info
            | Hostcall::Holding => Family::Process,
            Hostcall::Write | Hostcall::Read => Family::Console,
            Hostcall::Nanosleep | Hostcall::Clock | Hostcall::WallClock => Family::Time,
            Hostcall::Heap => Family::Memory,
            Hostcall::Capfile => Family::Capfile,
            Hostcall::Serve
            | Hostcall::Reply
            | Hostcall::Delegate
            | Hostcall::Defer
            | Hostcall::Answer
            | Hostcall::Clone
            | Hostcall::Text
            | Hostcall::Registers
            | Hostcall::Seize => Family::Service,
            Hostcall::ThreadCreate
            | Hostcall::ThreadExit
            | Hostcall::ThreadSelf
            | Hostcall::ThreadPriority
            | Hostcall::ThreadEnd => Family::Thread,
            Hostcall::Wait | Hostcall::Wake => Family::Sync,
            Hostcall::BufferFind
            | Hostcall::BufferCreate
            | Hostcall::BufferMap
            | Hostcall::BufferGrant
            | Hostcall::BufferRevoke
            | Hostcall::BufferDestroy => Family::Buffer,
            Hostcall::DeviceInfo
            | Hostcall::DeviceConfig
            | Hostcall::DeviceStart
            | Hostcall::DeviceSubmit
            | Hostcall::DeviceTake
            | Hostcall::DeviceWait
            | Hostcall::DeviceReset => Family::Device,
            Hostcall::Gate => Family::Gate,
        }
    }

    /// The buffer that the call names by a pointer and a length, if it does.
    pub const fn buffer(self) -> Option<Buffer> {
        let (pointer, written) = match self {
            Hostcall::Write => (1, false),
            Hostcall::Read => (1, true),
            Hostcall::Arguments | Hostcall::Info | Hostcall::Holding => (0, true),
            Hostcall::Capfile | Hostcall::BufferFind | Hostcall::Gate => (0, false),
            _ => return None,
        };
        Some(Buffer { pointer, written })
    }

    /// The hostcall with this number, if there is one.
    #[inline]
    pub fn from_number(number: u64) -> Option<Hostcall> {
        Hostcall::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

/// A family of hostcalls: what a manifest allows or denies together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Family {
    /// The cVM itself: `null`, `exit`, `yield`, `arguments`, `info`, `holding`. Always allowed.
    Process = 0,
    /// `write`, `read`.
    Console = 1,
    /// `nanosleep`, `clock`, `wall_clock`.
    Time = 2,
    /// `heap`.
    Memory = 3,
    /// `capfile`.
    Capfile = 4,
    /// `serve`, `reply`, `delegate`, `defer`, `answer`, `clone`, `text`, `registers`, `seize`.
    Service = 5,
    /// `thread_create`, `thread_exit`, `thread_self`, `thread_priority`, `thread_end`.
    Thread = 6,
    /// `wait`, `wake`.
    Sync = 7,
    /// `buffer_find`, `buffer_create`, `buffer_map`, `buffer_grant`, `buffer_revoke`, `buffer_destroy`.
    Buffer = 8,
    /// `device_info`, `device_config`, `device_start`, `device_submit`, `device_take`, `device_wait`, `device_reset`.
    Device = 9,
    /// `gate`.
    Gate = 10,
}

impl Family {
    /// All families, in the order of their numbers.
    pub const ALL: [Family; 11] = [
        Family::Process,
        Family::Console,
        Family::Time,
        Family::Memory,
        Family::Capfile,
        Family::Service,
        Family::Thread,
        Family::Sync,
        Family::Buffer,
        Family::Device,
        Family::Gate,
    ];

    /// The name in YAML and manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Family::Process => "process",
            Family::Console => "console",
            Family::Time => "time",
            Family::Memory => "memory",
            Family::Capfile => "capfile",
            Family::Service => "service",
            Family::Thread => "thread",
            Family::Sync => "sync",
            Family::Buffer => "buffer",
            Family::Device => "device",
            Family::Gate => "gate",
        }
    }

    /// The family with this name.
    pub fn from_name(name: &str) -> Option<Family> {
        Family::ALL.into_iter().find(|family| family.name() == name)
    }
}

/// A buffer among a hostcall's arguments; its length is the argument behind the pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Number of the argument that points to it.
    pub pointer: usize,
    /// Whether the call writes it; otherwise it reads it.
    pub written: bool,
}

/// Name of the function that a server exports: where the hostcalls of the cVMs that it serves arrive. At its entry the
/// argument registers 0 to 5 hold the caller's arguments: integers, or capabilities that are lent for the duration of the
/// call (data only, local, no longer loadable from anywhere when the call has ended). Argument register 6 holds the number
/// of the calling cVM, argument register 7 the hostcall's number, which the hostcall number register holds too. The stack
/// pointer is that of the service stack. A handler does not return: it ends by `reply` or `delegate`.
pub const HANDLER: &str = "syscall_handler";
/// How `reply` and `answer` end a call: with the second value, too.
pub const WITH_SECOND: u64 = 1;
/// How `reply` and `answer` end a call of a raw client: `second` becomes its stack pointer.
pub const WITH_STACK: u64 = 2;
/// How `reply` and `answer` end a call of a raw client: its thread ends; a main thread's end is that of its cVM, `value` the
/// exit code.
pub const END_THREAD: u64 = 3;
/// How `reply` and `answer` end a call of a raw client: its cVM ends, `value` is the exit code.
pub const END_CVM: u64 = 4;
/// How `answer` does not end a deferred call of a raw client: it waits on, for `second` nanoseconds from now (0 = for ever),
/// and then gets `value`.
pub const WAIT_ON: u64 = 5;
/// `clone`: the new thread keeps the stack pointer of the calling one.
pub const KEEP_STACK: u64 = 1;
/// `clone`: the new thread keeps the thread pointer of the calling one.
pub const KEEP_THREAD_POINTER: u64 = 2;
/// Most bytes whose pages one `text` changes.
pub const TEXT_LIMIT: u64 = 65536;
/// Bytes right below a raw client's position-independent program that its PCC covers, too: a page that is memory until its server
/// makes it text.
pub const RAW_TEXT: u64 = 4096;
/// Words that `registers` moves. CHERI-RISC-V: `pc`, `x1` to `x31`, two of no meaning. Morello: `x0` to `x30`, `sp`, `pc`, and the
/// condition flags as in PSTATE.
pub const REGISTERS: usize = 34;
/// Number of the call that the monitor makes for a raw client before its first instruction. Arguments: the lowest address of
/// the client's memory as the client sees it, its bytes, the same address as the server sees it (0 = the memory does not lie
/// within the server's), the address of the start block as the client sees it, what is added to linked addresses.
pub const START: u64 = u64::MAX;
/// Stream number of console input.
pub const STREAM_INPUT: u64 = 0;
/// Stream number of console output.
pub const STREAM_OUTPUT: u64 = 1;
/// Stream number of console output for errors; the same device.
pub const STREAM_ERROR: u64 = 2;
/// Most bytes that one `write` or `read` moves; a longer buffer is served in part.
pub const TRANSFER_LIMIT: usize = 4096;
/// Bytes that the console is given, labels included, by the line with which a `write` ends at the latest. The console is
/// slow and the monitor does not let others run in the middle of a line.
pub const OUTPUT_LIMIT: usize = 512;
/// Flag of `read`: return `EAGAIN` instead of waiting.
pub const READ_NONBLOCKING: u64 = 1;
/// Longest sleep, in nanoseconds: about 292 years.
pub const SLEEP_LIMIT: u64 = i64::MAX as u64;
/// Timeout of a `wait` that only a `wake` ends.
pub const WAIT_FOREVER: u64 = u64::MAX;
/// Most threads that one `wake` wakes.
pub const WAKE_LIMIT: u64 = 64;
/// Right to a buffer: to read it.
pub const BUFFER_READ: u64 = 1;
/// Right to a buffer: to write it.
pub const BUFFER_WRITE: u64 = 2;
/// To revoke a buffer from all but its owner.
pub const BUFFER_ALL: u64 = u64::MAX;
/// Most bytes of a buffer that a cVM makes.
pub const BUFFER_LIMIT: u64 = 1 << 20;
/// Most buffers that one cVM has made at a time.
pub const BUFFERS: usize = 16;

/// Descriptors of a device's queue: segments that are in flight at a time.
pub const DEVICE_QUEUE_SIZE: usize = 128;
/// Bytes of a device's configuration space that can be read.
pub const DEVICE_CONFIG_LIMIT: u64 = 256;
/// Most segments of one `device_submit`.
pub const SEGMENT_LIMIT: usize = 16;
/// Most bytes of one segment.
pub const SEGMENT_BYTES_LIMIT: u64 = 256 * 1024;
/// Flag of a segment: the device writes it; otherwise it reads it.
pub const SEGMENT_WRITTEN: u64 = 1;

/// A piece of memory that a device is given. It stands in memory as four words: the pointer, an integer with a word that
/// means nothing behind it or a capability, then the length in bytes, 1 to [`SEGMENT_BYTES_LIMIT`], and the flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct Segment {
    /// The pointer.
    pub pointer: [u64; 2],
    /// Bytes.
    pub length: u64,
    /// 0 or [`SEGMENT_WRITTEN`].
    pub flags: u64,
}

/// What `info` tells a cVM about itself. Fields are only ever added at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct CvmInfo {
    /// Number of the cVM, its position in the manifest.
    pub id: u32,
    /// How often it was restarted.
    pub restarts: u32,
    /// Priority; a greater number runs first.
    pub priority: u32,
    /// [`FaultKind`](crate::FaultKind) that ended its previous life, 0 = none.
    pub last_fault: u32,
    /// Lowest address of its memory, as the cVM sees it.
    pub base: u64,
    /// Bytes of its memory.
    pub size: u64,
    /// Time it has run, in nanoseconds, restarts included.
    pub run_time: u64,
    /// Hostcalls it has made, restarts included.
    pub hostcalls: u64,
    /// SHA-256 of its program, when the monitor was booted with the argument `measure`; else zeros.
    pub program: [u8; 32],
}

impl CvmInfo {
    /// Size of the record in bytes.
    pub const SIZE: usize = 80;

    /// The record as it is copied to the cVM.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        for (slot, word) in bytes
            .chunks_exact_mut(4)
            .zip([self.id, self.restarts, self.priority, self.last_fault])
        {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        for (slot, word) in bytes[16..]
            .chunks_exact_mut(8)
            .zip([self.base, self.size, self.run_time, self.hostcalls])
        {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        bytes[48..].copy_from_slice(&self.program);
        bytes
    }

    /// The record from what `info` copied.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> CvmInfo {
        let small = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let large = |at: usize| u64::from(small(at)) | u64::from(small(at + 4)) << 32;
        CvmInfo {
            id: small(0),
            restarts: small(4),
            priority: small(8),
            last_fault: small(12),
            base: large(16),
            size: large(24),
            run_time: large(32),
            hostcalls: large(40),
            program: core::array::from_fn(|at| bytes[48 + at]),
        }
    }
}

/// What `holding` tells. Fields are only ever added at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Holding {
    /// A [`HoldingKind`].
    pub kind: u32,
    /// The cVM that it is of: who owns the buffer, offers the gate, has lent it, may have passed something; [`Holding::NOBODY`] = none.
    pub cvm: u32,
    /// The buffer's number, the gate's place among those of its cVM, the device's among its driver's.
    pub number: u64,
    /// Its bytes, where it is memory.
    pub size: u64,
    /// [`BUFFER_READ`] and [`BUFFER_WRITE`], as far as the cVM may.
    pub rights: u64,
    /// How many capabilities that reach it lie in registers and local areas of the cVM's family now; of an offered gate: how many
    /// calls of it are under way; of a device: how many requests are in flight.
    pub held: u64,
}

/// What a [`Holding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum HoldingKind {
    /// A buffer that it may map, or owns.
    Buffer = 1,
    /// Memory of a cVM that is linked with it by gates, which can have passed it any part of that.
    Passed = 2,
    /// What was lent to one of its handlers, for a call that it serves.
    Lent = 3,
    /// A gate that it offers.
    Offered = 4,
    /// A gate that it calls.
    Called = 5,
    /// A device that it drives.
    Device = 6,
}

impl Holding {
    /// Size of the record in bytes.
    pub const SIZE: usize = 40;
    /// No cVM.
    pub const NOBODY: u32 = u32::MAX;

    /// The record as it is copied to the cVM.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let first = u64::from(self.kind) | u64::from(self.cvm) << 32;
        let words = [first, self.number, self.size, self.rights, self.held];
        for (slot, word) in bytes.chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The record from what `holding` copied.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Holding {
        let word = |at: usize| u64::from_le_bytes(core::array::from_fn(|index| bytes[8 * at + index]));
        Holding {
            kind: word(0) as u32,
            cvm: (word(0) >> 32) as u32,
            number: word(1),
            size: word(2),
            rights: word(3),
            held: word(4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holding_survives_its_encoding() {
        let holding = Holding {
            kind: HoldingKind::Device as u32,
            cvm: Holding::NOBODY,
            number: u64::MAX,
            size: 1 << 40,
            rights: 3,
            held: 7,
        };
        assert_eq!(Holding::from_bytes(&holding.to_bytes()), holding);
    }

    #[test]
    fn every_hostcall_is_found_by_its_number_and_no_other_number_is() {
        for (number, hostcall) in Hostcall::ALL.into_iter().enumerate() {
            assert_eq!(hostcall as u64, number as u64);
            assert_eq!(Hostcall::from_number(number as u64), Some(hostcall));
        }
        for number in [Hostcall::ALL.len() as u64, u64::from(u32::MAX) + 1, 1 << 32, u64::MAX] {
            assert_eq!(Hostcall::from_number(number), None);
        }
    }

    #[test]
    fn the_information_record_survives_its_encoding() {
        let info = CvmInfo {
            id: 1,
            restarts: 2,
            priority: 3,
            last_fault: 4,
            base: 1 << 40,
            size: 5,
            run_time: u64::MAX,
            hostcalls: 6,
            program: core::array::from_fn(|at| at as u8),
        };
        assert_eq!(CvmInfo::from_bytes(&info.to_bytes()), info);
    }
}
