//! The general registers: integers that become capabilities only when one is written.

use capability::riscv::Capability;

/// Where an instruction with destination `x0` writes: a register that nobody reads.
pub(super) const DISCARD: u8 = 32;

/// Room for 32 registers and [`DISCARD`], and for every other number of eight bits, so that no index has to be checked.
const SLOTS: usize = 256;
/// The same for capabilities, where an index is masked: a power of two.
const CAPABILITIES: usize = 64;

/// The register file. An integer write costs two stores; the capability beside it goes stale.
#[derive(Clone)]
pub(super) struct Registers {
    integers: [u64; SLOTS],
    capabilities: Box<[Capability; CAPABILITIES]>,
    /// Whether a register was last written as a capability.
    written_as_capability: [bool; SLOTS],
}

impl Registers {
    pub(super) fn new() -> Self {
        Registers {
            integers: [0; SLOTS],
            capabilities: Box::new([Capability::NULL; CAPABILITIES]),
            written_as_capability: [false; SLOTS],
        }
    }

    /// The address of the capability, which is the integer value.
    #[inline(always)]
    pub(super) fn integer(&self, number: u8) -> u64 {
        self.integers[usize::from(number)]
    }

    #[inline(always)]
    pub(super) fn set_integer(&mut self, number: u8, value: u64) {
        self.integers[usize::from(number)] = value;
        self.written_as_capability[usize::from(number)] = false;
    }

    #[inline(always)]
    pub(super) fn capability(&self, number: u8) -> Capability {
        let number = usize::from(number);
        if self.written_as_capability[number] {
            self.capabilities[number % CAPABILITIES]
        } else {
            Capability::from_integer(self.integers[number])
        }
    }

    #[inline(always)]
    pub(super) fn set_capability(&mut self, number: u8, value: Capability) {
        let number = usize::from(number);
        self.integers[number] = value.address();
        self.capabilities[number % CAPABILITIES] = value;
        self.written_as_capability[number] = true;
    }

    /// The capability if the register was written as one: what can possibly authorise an access.
    #[inline(always)]
    pub(super) fn authority(&self, number: u8) -> Option<&Capability> {
        let number = usize::from(number);
        self.written_as_capability[number].then(|| &self.capabilities[number % CAPABILITIES])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
