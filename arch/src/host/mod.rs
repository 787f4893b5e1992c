//! The software stand-in: the kernel's unit tests run on it under plain `cargo test`. Capabilities behave as those of
//! CHERI-RISC-V ISAv9, computed by `capability`; memory, console and time belong to the thread that runs the test, and
//! [`stand_in`] lets the test look at them and change them.

mod frame;
pub(crate) mod reach;
mod slot;
pub mod stand_in;
pub(crate) mod switcher;

pub use frame::Frame;
pub(crate) use reach::load_word;
pub use slot::{Slot, address_base, representable};
pub(crate) use slot::{faithful, privileged};

use crate::types::{DeriveError, Description, Device, Fault, Kind, Platform, Relocation, VIRTIO_LIMIT, Window};
use abi::{FaultKind, elf};
use capability::Decoded;

/// ELF machine number of cVMs (EM_RISCV).
pub const ELF_MACHINE: u16 = 243;
/// ELF header flags that mark a purecap program.
pub const ELF_PURECAP_FLAGS: u32 = elf::EF_RISCV_CHERIABI | elf::EF_RISCV_CAP_MODE;
/// Whether ELF header flags ask for what a cVM does not have (EF_RISCV_FLOAT_ABI_QUAD).
pub fn refuses_elf_flags(flags: u32) -> bool {
    flags & 0x6 == 0x6
}
/// Whether those flags say what a program does.
pub const FLOAT_IS_SAID: bool = true;
/// Whether ELF header flags ask for floating point registers (EF_RISCV_FLOAT_ABI).
pub fn wants_float(flags: u32) -> bool {
    flags & 0x6 != 0
}
/// Bytes between the thread pointer and the TLS block, hybrid and purecap.
pub const TLS_OFFSET: [u64; 2] = [0, 0];
/// Offset of a return address from the frame pointer.
pub const BACKTRACE_RETURN: i64 = -8;
/// Offset of the caller's frame pointer from the frame pointer.
pub const BACKTRACE_PREVIOUS: i64 = -16;

/// What an ELF relocation type means: those of CHERI-RISC-V, and Morello's fragment besides, so that tests reach it.
pub fn relocation(kind: u32) -> Option<Relocation> {
    match kind {
        elf::R_RISCV_RELATIVE | elf::R_RISCV_FUNC_RELATIVE => Some(Relocation::Relative),
        elf::R_RISCV_CHERI_CAPABILITY | elf::R_RISCV_CHERI_CAPABILITY_CODE => Some(Relocation::Symbol),
        elf::R_MORELLO_RELATIVE => Some(Relocation::Fragment),
        _ => None,
    }
}

static ROOT: Slot = Slot::root();
static WINDOWS: [Slot; Device::COUNT] = [const { Slot::null() }; Device::COUNT];

/// What happens with a trap out of a frame: the handler returns the frame to resume. There is one for hostcalls - the frame
/// points behind the instruction then - and another one, which asks [`Frame::trap`] what it was.
pub type Handler = extern "C" fn(&'static Frame) -> &'static Frame;
/// What the kernel does when the monitor itself faults.
pub type FatalHandler = fn(&'static Frame) -> !;

/// Nothing to prepare here.
///
/// # Errors
/// None here.
pub fn init(_bias: u64) -> Result<(), DeriveError> {
    Ok(())
}

/// No trap ever comes on the host.
pub fn install(_fatal: FatalHandler, _hostcall: Handler, _handler: Handler) {}

/// There is nothing to run on the host.
pub fn resume(_frame: &'static Frame) -> ! {
    panic!("a thread was resumed on the host")
}

/// The slot of the root capability.
pub fn root() -> &'static Slot {
    &ROOT
}

/// The monitor's own data capability has no meaning on the host.
pub fn set_data(_data: &Slot) {}

/// The address of the monitor's data capability.
pub fn data_origin(base: u64) -> u64 {
    base
}

/// The monitor's code capability: the root, for want of a better one.
pub fn text() -> Decoded {
    ROOT.decoded()
}

/// The stand-in does not relocate.
pub fn relocates() -> bool {
    false
}

/// Name of the stand-in for the log.
pub fn isa() -> &'static str {
    "the host's stand-in"
}

/// Physical address of something that belongs to the monitor.
pub fn physical<T: ?Sized>(thing: *const T) -> u64 {
    thing.cast::<u8>() as u64
}

/// Pointer of the monitor to a physical address.
pub fn pointer(physical: u64) -> *mut u8 {
    physical as *mut u8
}

/// No backtrace of the host's own stack.
pub fn caller(_frame_pointer: u64) -> Option<[u64; 2]> {
    None
}

/// No frame pointer to start from.
pub fn frame_pointer() -> u64 {
    0
}

/// The fault that the test put into the frame.
pub fn describe(frame: &Frame) -> Fault {
    Fault {
        kind: FaultKind::Unknown,
        pc: frame.pc(),
        access: None,
        address: None,
        authority: None,
        instruction: None,
        raw: [("cause", 0), ("value", 0)],
    }
}

/// The slot of a device window.
pub fn window(device: Device) -> &'static Slot {
    &WINDOWS[device as usize]
}

/// The host has no devices.
pub const USUAL_WINDOWS: [Window; 0] = [];

/// A console and an interrupt controller are known.
pub fn known(compatible: &[u8]) -> Option<Kind> {
    match compatible {
        b"ns16550a" => Some(Kind::Console),
        b"riscv,plic0" => Some(Kind::Plic),
        b"virtio,mmio" => Some(Kind::Virtio),
        _ => None,
    }
}

/// What a tree must have.
pub const NEEDED: [(Device, &str); 1] = [(Device::Console, "ns16550a")];

/// Takes note of the windows.
pub fn note_device(platform: &mut Platform, kind: Kind, what: &Description<'_>) {
    let [Some((base, size)), _] = what.regions else { return };
    match kind {
        Kind::Virtio => platform.virtio_slot(base, what.interrupts.first_chunk().copied().map(u32::from_be_bytes)),
        Kind::Console => platform.window(Device::Console, base, size),
        _ => platform.window(Device::InterruptController, base, size),
    }
}

/// The host's clock is the test's: it shows what the tree says for its address.
pub fn wall_clock(platform: &Platform) -> Option<u64> {
    platform.wall_clock
}

/// The host has no firmware.
pub fn keep_for_firmware() -> Option<Decoded> {
    None
}

/// Ends the test by a panic that tells the status.
pub fn power_off(success: bool) -> ! {
    panic!("power off, {}", if success { "success" } else { "failure" })
}

/// The second line of defence: none on the host.
pub mod protection {
    use super::Slot;
    use core::ops::Range;

    /// Most regions of memory for cVMs.
    pub const REGIONS: usize = 4;
    /// Memory from here on is out of reach.
    pub const END: u64 = 1 << 56;

    /// Opens memory to cVMs.
    pub fn open(_regions: &[Range<u64>]) {}

    /// Opens the archive to the monitor.
    pub fn readable(_archive: Range<u64>) {}

    /// Opens the memory of a cVM to the loader.
    pub fn loading(_memory: Range<u64>) {}

    /// Gives memory to its cVM.
    pub fn loaded(_memory: Range<u64>) {}

    /// Makes room for the protection of a range.
    pub fn reserve(_range: Range<u64>) {}

    /// Makes memory text.
    pub fn executable(_text: Range<u64>) {}

    /// Makes what was loaded what is executed.
    pub fn publish(_text: Range<u64>, _data: &Slot) {}

    /// Whether cVMs can reach pages: all but those that the test has closed to writes.
    pub fn is_open(pages: Range<u64>, written: bool) -> bool {
        let read_only = super::stand_in::WORLD.with_borrow(|world| world.read_only.clone());
        !written || pages.end <= read_only.start || read_only.end <= pages.start
    }
}

/// The console: what the monitor sends is collected, what it receives comes from the test.
pub mod console {
    use super::stand_in::WORLD;

    /// Sends a byte.
    pub fn put(byte: u8) {
        WORLD.with_borrow_mut(|world| world.output.push(byte));
    }

    /// Sends bytes.
    pub fn put_all(bytes: &[u8]) {
        WORLD.with_borrow_mut(|world| world.output.extend(bytes));
    }

    /// The next byte that the test has typed.
    pub fn get() -> Option<u8> {
        WORLD.with_borrow_mut(|world| world.input.pop_front())
    }

    /// Whether input that the test has typed is pending as an interrupt.
    pub fn set_interrupt(enabled: bool) {
        WORLD.with_borrow_mut(|world| world.interrupt = enabled);
    }
}

/// The slots for virtio devices: what the test has put into them answers.
pub mod virtio {
    use super::{Slot, VIRTIO_LIMIT, stand_in};

    static WINDOWS: [Slot; VIRTIO_LIMIT] = [const { Slot::null() }; VIRTIO_LIMIT];

    /// The window of a slot.
    pub fn window(slot: usize) -> &'static Slot {
        &WINDOWS[slot]
    }

    /// Reads a register.
    pub fn read(slot: usize, offset: u64) -> u32 {
        stand_in::access(slot, offset, None)
    }

    /// Reads a byte.
    pub fn read_byte(slot: usize, offset: u64) -> u8 {
        stand_in::access(slot, offset, None) as u8
    }

    /// Writes a register.
    pub fn write(slot: usize, offset: u64, value: u32) {
        stand_in::access(slot, offset, Some(value));
    }
}

/// Interrupts: pending while there is input, and when the test says so.
pub mod interrupts {
    use super::Platform;
    use super::stand_in::WORLD;

    /// Nothing to open.
    pub fn init(_platform: &Platform) {}

    /// Nothing to prepare.
    pub fn prepare(_number: u32) {}

    /// Lets a device's interrupt through, once.
    pub fn open(number: u32) {
        WORLD.with_borrow_mut(|world| world.open.insert(number));
    }

    /// Services what is pending: a device, or input.
    pub fn service(serve: impl FnOnce(Option<u32>)) {
        let device = WORLD.with_borrow_mut(|world| {
            let pending = world.pending.intersection(&world.open).next().copied();
            pending.inspect(|number| {
                world.pending.remove(number);
                world.open.remove(number);
            })
        });
        let input = WORLD.with_borrow(|world| world.interrupt && !world.input.is_empty());
        if device.is_some() || input {
            serve(device);
        }
    }

    /// Moves time to the deadline.
    ///
    /// # Panics
    /// Without a deadline: nothing would ever happen again.
    pub fn wait() {
        WORLD.with_borrow_mut(|world| {
            let deadline = world.deadline.expect("the monitor waits for an event that cannot come");
            world.now = world.now.max(deadline);
        });
    }
}

/// Time: stands still but for what the test and `interrupts::wait` do.
pub mod timer {
    use super::Platform;
    use super::stand_in::WORLD;

    /// Ticks a second.
    pub fn frequency(_platform: &Platform) -> Option<u64> {
        Some(10_000_000)
    }

    /// Ticks since the test began.
    pub fn now() -> u64 {
        WORLD.with_borrow(|world| world.now)
    }

    /// Sets or removes the deadline.
    pub fn set_deadline(deadline: Option<u64>) {
        WORLD.with_borrow_mut(|world| world.deadline = deadline);
    }
}
