//! What every architecture module says in the same words: requests, refusals, traps, faults, devices.

use crate::Slot;
use abi::FaultKind;
use capability::{Decoded, Permissions};
use core::fmt;

/// A capability to be derived from another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Derivation {
    /// Lowest address.
    pub base: u64,
    /// Bytes; base and length must be representable.
    pub length: u64,
    /// Permissions to keep; the parent must have them all.
    pub permissions: Permissions,
    /// Address of the result.
    pub address: u64,
}

/// Why a derivation was refused. Nothing is written to the target then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeriveError {
    /// The parent has no tag.
    Untagged,
    /// The parent is sealed.
    Sealed,
    /// The bounds reach beyond the parent's.
    OutOfBounds,
    /// The parent lacks one of the permissions.
    Permissions,
    /// The bounds or the address cannot be represented.
    Unrepresentable,
}

impl fmt::Display for DeriveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeriveError::Untagged => "the parent capability has no tag",
            DeriveError::Sealed => "the parent capability is sealed",
            DeriveError::OutOfBounds => "the bounds reach beyond the parent's",
            DeriveError::Permissions => "the parent lacks a permission",
            DeriveError::Unrepresentable => "bounds or address are not representable",
        })
    }
}

/// What a register holds when a thread starts or goes on.
#[derive(Clone, Copy)]
pub enum Register<'a> {
    /// An integer, as the program sees addresses where it is one.
    Integer(u64),
    /// What the slot holds, tag included.
    Capability(&'a Slot),
}

/// The registers that a thread starts with; all others are NULL.
#[derive(Clone, Copy)]
pub struct Start<'a> {
    /// Bounds and permissions of the program counter.
    pub code: &'a Slot,
    /// Absolute address of the first instruction. Morello: bit 0 says that it is C64.
    pub entry: u64,
    /// The capability through which integer addresses go; `None` = a purecap program, which starts in capability mode.
    pub data: Option<&'a Slot>,
    /// Stack pointer.
    pub stack: Register<'a>,
    /// Thread pointer.
    pub thread: Register<'a>,
}

/// What a relocation of an ELF wants at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relocation {
    /// A 64-bit word: the load bias added to the addend.
    Relative,
    /// A capability to the relocation's symbol.
    Symbol,
    /// A capability to what the fragment says that stands at the place: a 64-bit address, a 56-bit length and 8 bits of
    /// permissions.
    Fragment,
}

/// Where a thread was that may be in the switcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Not in the switcher.
    Elsewhere,
    /// There, and it can go on.
    Inside,
    /// There, and its call cannot begin: something that it needs is not there.
    Refused,
}

/// Why the processor entered the monitor, when it was no hostcall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// The timer's deadline has passed.
    Timer,
    /// A device interrupt is pending.
    Interrupt,
    /// Nothing that concerns the kernel: it has been dealt with, and the program goes on.
    Settled,
    /// Anything else: the program did what it may not.
    Fault,
}

/// What a faulting access wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store or a read-modify-write.
    Write,
    /// An instruction fetch, a jump or a branch.
    Execute,
}

impl Access {
    /// The access as the log writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Access::Read => "read",
            Access::Write => "write",
            Access::Execute => "execute",
        }
    }
}

/// An instruction as it stands in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Its bits; those of a shorter one in the low half.
    pub word: u32,
    /// Its bytes: 2 or 4.
    pub size: usize,
}

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#0width$x}", self.word, width = 2 + 2 * self.size)
    }
}

/// A fault, decoded as far as the processor and the faulting instruction allow.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// What went wrong, in the words common to all ISAs.
    pub kind: FaultKind,
    /// Absolute address of the faulting instruction.
    pub pc: u64,
    /// What the access wanted, when it was one.
    pub access: Option<Access>,
    /// Absolute address of the access.
    pub address: Option<u64>,
    /// The capability that refused, and the register that holds it.
    pub authority: Option<(&'static str, Decoded)>,
    /// The instruction at `pc`, when it could be read.
    pub instruction: Option<Instruction>,
    /// The cause as the ISA encodes it: register names and values.
    pub raw: [(&'static str, u64); 2],
}

/// A copy from or to a cVM was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Bytes that were copied before the refusal.
    pub copied: usize,
}

/// A device window of the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Device {
    /// The UART behind the console.
    Console = 0,
    /// The timer, where it is a device.
    Timer = 1,
    /// The interrupt controller, its distributor where it has two parts.
    InterruptController = 2,
    /// The interrupt controller's part for one processor.
    InterruptInterface = 3,
    /// The device that ends the run.
    Power = 4,
}

impl Platform {
    /// Takes note of a device's window, unless there is one already.
    pub(crate) fn window(&mut self, device: Device, base: u64, size: u64) {
        self.windows[device as usize].get_or_insert(Window { device, base, size });
    }

    /// Takes note of a virtio slot whose interrupt is one of a device.
    pub(crate) fn virtio_slot(&mut self, base: u64, interrupt: Option<u32>) {
        let free = self.virtio.iter_mut().find(|slot| slot.is_none());
        if let (Some(free), Some(interrupt)) = (free, interrupt) {
            *free = Some(VirtioSlot { base, interrupt });
        }
    }
}

impl Device {
    /// Number of variants.
    pub const COUNT: usize = 5;

    /// The name in ledger and log.
    pub const fn name(self) -> &'static str {
        match self {
            Device::Console => "console",
            Device::Timer => "timer",
            Device::InterruptController => "interrupt controller",
            Device::InterruptInterface => "interrupt interface",
            Device::Power => "power",
        }
    }
}

/// A device window as the platform's device tree describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Which device.
    pub device: Device,
    /// Physical base address.
    pub base: u64,
    /// Bytes that the monitor needs.
    pub size: u64,
}

/// What a node of the device tree is to the monitor, by its `compatible`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A UART.
    Console,
    /// A timer whose registers lie in a window with others: CLINT.
    Clint,
    /// A timer with windows of its own: the ACLINT's.
    AclintTimer,
    /// The generic timer, of system registers.
    GenericTimer,
    /// RISC-V's platform-level interrupt controller.
    Plic,
    /// RISC-V's advanced platform-level interrupt controller.
    Aplic,
    /// An interrupt controller with a memory-mapped processor interface.
    GicV2,
    /// An interrupt controller with a redistributor for each processor.
    GicV3,
    /// The device that ends the run.
    Power,
    /// A slot for a virtio device.
    Virtio,
    /// A clock that knows the date.
    WallClock,
}

/// What a node of the device tree says of a device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Description<'a> {
    /// Its first register regions: base, as the processor sees it, and bytes.
    pub regions: [Option<(u64, u64)>; 2],
    /// Its interrupts, as the tree encodes them.
    pub interrupts: &'a [u8],
    /// Where an interrupt controller leads, as the tree encodes it.
    pub extended: &'a [u8],
    /// Registers lie 2 to the power of this apart.
    pub register_shift: u32,
    /// Bytes of an access to a register; 0 = not said.
    pub register_width: u32,
}

/// Most slots for virtio devices; one more is not looked at.
pub const VIRTIO_LIMIT: usize = 32;
/// Bytes of the window of a virtio slot: the registers, and as much of the configuration space as a driver may read.
pub const VIRTIO_WINDOW: u64 = 0x200;

/// A slot for a virtio device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtioSlot {
    /// Physical base address of its window.
    pub base: u64,
    /// Number of its interrupt.
    pub interrupt: u32,
}

/// What the platform's device tree says of the devices that the monitor drives: of several of a kind, the first.
#[derive(Clone, Debug, Default)]
pub struct Platform {
    /// Where each is, by [`Device`].
    pub windows: [Option<Window>; Device::COUNT],
    /// Number of the console's interrupt.
    pub console_interrupt: Option<u32>,
    /// Number of the timer's interrupt, where it has one like a device.
    pub timer_interrupt: Option<u32>,
    /// Ticks a second of the timer, where the tree says it.
    pub frequency: Option<u64>,
    /// The slots for virtio devices, in the order of the tree; none behind the last one.
    pub virtio: [Option<VirtioSlot>; VIRTIO_LIMIT],
    /// Base of the registers of the clock that knows the date.
    pub wall_clock: Option<u64>,
}

/// What the boot code tells the kernel. Addresses are physical.
#[derive(Clone, Copy, Debug)]
pub struct BootInfo {
    /// Number of the hart that boots.
    pub hart: u64,
    /// Address of the platform's device tree.
    pub device_tree: u64,
    /// A console that is there before the device tree has been read, as the command line names it; 0 = none.
    pub early_console: u64,
    /// Memory that firmware has left, first address and address behind, in ascending order and apart from each other; empty
    /// when there was no firmware, and the device tree tells.
    pub memory: &'static [(u64, u64)],
    /// Bytes of memory that firmware has left, and that are not among them.
    pub memory_lost: u64,
    /// An initial RAM disk that is not in the device tree, first address and address behind.
    pub initrd: Option<(u64, u64)>,
    /// The command line, when it is not in the device tree.
    pub arguments: Option<&'static str>,
    /// What to add to a pointer of the monitor to get a physical address; 0 unless the processor relocates.
    pub bias: u64,
    /// The monitor's text.
    pub text: (u64, u64),
    /// The monitor's stack, constants and data, from the end of the text to the end of the monitor.
    pub data: (u64, u64),
    /// Where stacks and bss end, which begin where the text ends and are zeros in the image.
    pub zeros_end: u64,
    /// The table of relative relocations (`SHT_RELR` of the generic ELF ABI).
    pub relocations: (u64, u64),
}
