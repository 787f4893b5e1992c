//! The general registers of a hart or core: integers that become capabilities only when one is written.

use capability::{morello, riscv};

/// Where an instruction writes whose destination is the register that is always zero: a register that nobody reads.
pub(crate) const DISCARD: u8 = 32;

/// Room for 32 registers and [`DISCARD`], and for every other number of eight bits, so that no index has to be checked.
const SLOTS: usize = 256;
/// The same for capabilities, where an index is masked: a power of two.
const CAPABILITIES: usize = 64;

/// A capability of either architecture.
pub(crate) trait Capability: Copy {
    /// NULL with a value.
    fn from_integer(value: u64) -> Self;
    /// The value.
    fn address(&self) -> u64;
}

impl Capability for riscv::Capability {
    #[inline(always)]
    fn from_integer(value: u64) -> Self {
        Self::from_integer(value)
    }

    #[inline(always)]
    fn address(&self) -> u64 {
        self.address()
    }
}

impl Capability for morello::Capability {
    #[inline(always)]
    fn from_integer(value: u64) -> Self {
        Self::from_integer(value)
    }

    #[inline(always)]
    fn address(&self) -> u64 {
        self.address()
    }
}

/// The register file. An integer write costs two stores; the capability beside it goes stale.
#[derive(Clone)]
pub(crate) struct Registers<C> {
    integers: [u64; SLOTS],
    capabilities: Box<[C; CAPABILITIES]>,
    /// Whether a register was last written as a capability.
    written_as_capability: [bool; SLOTS],
}

impl<C: Capability> Registers<C> {
    pub(crate) fn new() -> Self {
        Registers {
            integers: [0; SLOTS],
            capabilities: Box::new([C::from_integer(0); CAPABILITIES]),
            written_as_capability: [false; SLOTS],
        }
    }

    /// The address of the capability, which is the integer value.
    #[inline(always)]
    pub(crate) fn integer(&self, number: u8) -> u64 {
        self.integers[usize::from(number)]
    }

    #[inline(always)]
    pub(crate) fn set_integer(&mut self, number: u8, value: u64) {
        self.integers[usize::from(number)] = value;
        self.written_as_capability[usize::from(number)] = false;
    }

    #[inline(always)]
    pub(crate) fn capability(&self, number: u8) -> C {
        let number = usize::from(number);
        if self.written_as_capability[number] {
            self.capabilities[number % CAPABILITIES]
        } else {
            C::from_integer(self.integers[number])
        }
    }

    #[inline(always)]
    pub(crate) fn set_capability(&mut self, number: u8, value: C) {
        let number = usize::from(number);
        self.integers[number] = value.address();
        self.capabilities[number % CAPABILITIES] = value;
        self.written_as_capability[number] = true;
    }

    /// The capability if the register was written as one: what can possibly authorise an access.
    #[inline(always)]
    pub(crate) fn authority(&self, number: u8) -> Option<&C> {
        let number = usize::from(number);
        self.written_as_capability[number].then(|| &self.capabilities[number % CAPABILITIES])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capability::riscv::Capability;

    #[test]
    fn an_integer_write_turns_a_capability_into_a_null_derived_one() {
        let mut registers = Registers::new();
        registers.set_capability(5, Capability::ROOT);
        assert!(registers.capability(5).tag());
        registers.set_integer(5, 7);
        assert_eq!(registers.capability(5), Capability::from_integer(7));
        assert!(registers.authority(5).is_none());
    }

    #[test]
    fn register_zero_stays_null_when_writes_go_to_the_discard_slot() {
        let mut registers = Registers::new();
        registers.set_capability(DISCARD, Capability::ROOT);
        registers.set_integer(DISCARD, 9);
        assert_eq!(registers.capability(0), Capability::NULL);
    }
}
