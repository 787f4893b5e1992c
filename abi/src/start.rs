//! The start block: what a cVM finds at its start. Its address (purecap: a capability over it) is the first argument
//! of the entry point, its size in bytes the second.
//!
//! Layout: [`StartHeader`], then the strings. Offsets count from the start of the block; strings are UTF-8 and end
//! with a NUL. The arguments follow one another from `arguments`, the environment entries (`KEY=value`) from
//! `environment`.

/// First eight bytes of a start block.
pub const MAGIC: u64 = u64::from_le_bytes(*b"cVMstart");

/// Version of this layout.
pub const VERSION: u32 = 1;

/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// Alignment of a start block in bytes.
pub const ALIGNMENT: usize = 16;

/// The fixed part of a start block. All addresses are as the cVM sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct StartHeader {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// Size of the whole block in bytes.
    pub size: u32,
    /// Number of the cVM.
    pub id: u32,
    /// Offset of the cVM's name.
    pub name: u32,
    /// Number of arguments, including argument 0 (the runtime's name).
    pub argument_count: u32,
    /// Offset of the first argument.
    pub arguments: u32,
    /// Number of environment entries.
    pub environment_count: u32,
    /// Offset of the first environment entry.
    pub environment: u32,
    /// Lowest address of the cVM's memory.
    pub base: u64,
    /// Bytes of the cVM's memory.
    pub memory_size: u64,
    /// Lowest address of the heap, 16-byte aligned.
    pub heap: u64,
    /// Bytes of the heap.
    pub heap_size: u64,
    /// Lowest address of the stack.
    pub stack: u64,
    /// Bytes of the stack.
    pub stack_size: u64,
    /// Lowest address of the local area, which is all that takes local capabilities.
    pub local: u64,
    /// Bytes of the local area; 0 = there is none.
    pub local_size: u64,
    /// Offset of the 16 bytes of the block in which the capability over the local area lies; 0 = there is none.
    pub local_slot: u64,
    /// Ticks a second of the counter that every cVM can read: `rdtime`, `CNTVCT_EL0`.
    pub counter_frequency: u64,
    /// What it showed when the monitor started.
    pub counter_start: u64,
}

impl StartHeader {
    /// Size of the header in bytes.
    pub const SIZE: usize = 128;

    /// The header as it stands in memory.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&self.magic.to_le_bytes());
        let words = [
            self.version,
            self.size,
            self.id,
            self.name,
            self.argument_count,
            self.arguments,
            self.environment_count,
            self.environment,
        ];
        for (slot, word) in bytes[8..40].chunks_exact_mut(4).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        let addresses = [
            self.base,
            self.memory_size,
            self.heap,
            self.heap_size,
            self.stack,
            self.stack_size,
            self.local,
            self.local_size,
            self.local_slot,
            self.counter_frequency,
            self.counter_start,
        ];
        for (slot, word) in bytes[40..].chunks_exact_mut(8).zip(addresses) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The header from memory; `None` when magic or version do not fit.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Option<StartHeader> {
        let small = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let large = |at: usize| u64::from(small(at)) | u64::from(small(at + 4)) << 32;
        let header = StartHeader {
            magic: large(0),
            version: small(8),
            size: small(12),
            id: small(16),
            name: small(20),
            argument_count: small(24),
            arguments: small(28),
            environment_count: small(32),
            environment: small(36),
            base: large(40),
            memory_size: large(48),
            heap: large(56),
            heap_size: large(64),
            stack: large(72),
            stack_size: large(80),
            local: large(88),
            local_size: large(96),
            local_slot: large(104),
            counter_frequency: large(112),
            counter_start: large(120),
        };
        (header.magic == MAGIC && header.version == VERSION).then_some(header)
    }

    /// Nanoseconds since the monitor started, when the counter shows this: what the hostcall `clock` returns.
    pub fn nanoseconds(&self, counter: u64) -> u64 {
        let ticks = counter.wrapping_sub(self.counter_start);
        let frequency = self.counter_frequency.max(1);
        let seconds = (ticks / frequency).wrapping_mul(SECOND);
        seconds.wrapping_add((ticks % frequency).wrapping_mul(SECOND) / frequency)
    }
}
