//! Stage 1 translation with the 4 KiB granule (DDI 0487 D5) and Morello's LC and SC bits (DDI 0606, chapter 2.14).
//!
//! Two simplifications against the architecture, both those of the reference emulator: hardware update of the dirty state is
//! not implemented (CDBM is ignored), and memory types do not restrict alignment.

use super::access::attribute;
use super::bus::Bus;
use super::core::{Core, Step};
use super::exception::status;

/// What an address is translated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
    Fetch,
}

/// The result of a translation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Translation {
    pub(super) physical: u64,
    /// Bits of [`attribute`].
    pub(super) attributes: u8,
}

/// How a translation failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    /// The fault status code.
    pub(super) status: u32,
}

const PHYSICAL_BITS: u32 = 48;

impl Core {
    /// Translates a data address or raises the abort.
    pub(super) fn translate(&mut self, bus: &mut Bus, address: u64, access: Access, user: bool) -> Step<Translation> {
        match self.walk(bus, address, access, user) {
            Ok(found) => Ok(found),
            Err(fault) => self.data_abort(address, fault.status, access == Access::Write),
        }
    }

    /// Translates the address of an instruction or raises the abort.
    pub(super) fn translate_fetch(&mut self, bus: &mut Bus, address: u64) -> Step<u64> {
        match self.walk(bus, address, Access::Fetch, self.user()) {
            Ok(found) => Ok(found.physical),
            Err(fault) => self.instruction_abort(fault.status),
        }
    }

    /// Translates `address` in the regime of the current exception level.
    pub(super) fn walk(&self, bus: &Bus, address: u64, access: Access, user: bool) -> Result<Translation, Fault> {
        self.walk_for(bus, address, access, user, self.el.max(1))
    }

    /// Translates `address` in the regime of `el`.
    pub(super) fn walk_for(
        &self,
        bus: &Bus,
        address: u64,
        access: Access,
        user: bool,
        el: u8,
    ) -> Result<Translation, Fault> {
        let fault = |status| Fault { status };
        let regime = usize::from(el);
        let sctlr = self.registers.sctlr[regime];
        let tcr = self.registers.tcr[regime];
        let two_ranges = el == 1 || el == 2 && self.registers.hcr_el2 >> 34 & 1 == 1;
        let upper = two_ranges && address >> 55 & 1 == 1;
        let ignore_top_byte = match (two_ranges, upper) {
            (true, false) => tcr >> 37 & 1 == 1,
            (true, true) => tcr >> 38 & 1 == 1,
            _ => tcr >> 20 & 1 == 1,
        };
        let extended = ((address << 8) as i64 >> 8) as u64;
        if sctlr & 1 == 0 {
            let physical = if ignore_top_byte {
                address & ((1 << 56) - 1)
            } else {
                address
            };
            if physical >> PHYSICAL_BITS != 0 {
                return Err(fault(status::ADDRESS_SIZE));
            }
            let attributes = attribute::READ | attribute::WRITE | attribute::EXECUTE;
            return Ok(Translation { physical, attributes });
        }
        let (size_offset, walks_disabled, hierarchy_off, hardware_use) = match (two_ranges, upper) {
            (true, false) => (tcr & 63, tcr >> 7 & 1 == 1, tcr >> 41 & 1 == 1, tcr >> 43 & 15),
            (true, true) => (tcr >> 16 & 63, tcr >> 23 & 1 == 1, tcr >> 42 & 1 == 1, tcr >> 47 & 15),
            _ => (tcr & 63, false, tcr >> 24 & 1 == 1, tcr >> 25 & 15),
        };
        let input_bits = 64 - size_offset.clamp(16, 39) as u32;
        let canonical = if ignore_top_byte { extended } else { address };
        let above = canonical >> input_bits;
        let expected = if upper { u64::MAX >> input_bits } else { 0 };
        if above != expected || walks_disabled {
            return Err(fault(status::TRANSLATION));
        }
        let table = if upper {
            self.registers.ttbr1[regime]
        } else {
            self.registers.ttbr0[regime]
        };
        let first_level = 3 - (input_bits - 13) / 9;
        let mut descriptor_table = table & ((1 << PHYSICAL_BITS) - 2);
        let mut inherited = 0u64;
        for level in first_level..=3 {
            let shift = 12 + 9 * (3 - level);
            let bits = if level == first_level { input_bits - shift } else { 9 };
            let index = canonical >> shift & ((1 << bits) - 1);
            let at = (descriptor_table & !((1 << (bits + 3)) - 1)) + index * 8;
            let Some(descriptor) = bus.read_table(at) else {
                return Err(fault(status::EXTERNAL_ON_WALK + level));
            };
            let kind = descriptor & 3;
            if kind & 1 == 0 || kind == 1 && (level == 0 || level == 3) {
                return Err(fault(status::TRANSLATION + level));
            }
            if level < 3 && kind == 3 {
                descriptor_table = descriptor & 0x0000_ffff_ffff_f000;
                if !hierarchy_off {
                    inherited |= descriptor;
                }
                continue;
            }
            let offset_mask = (1u64 << shift) - 1;
            let physical = descriptor & 0x0000_ffff_ffff_f000 & !offset_mask | canonical & offset_mask;
            if descriptor >> 10 & 1 == 0 {
                return Err(fault(status::ACCESS_FLAG + level));
            }
            let attributes = self.page_attributes(descriptor, inherited, two_ranges, user, el);
            let needed = match access {
                Access::Read => attribute::READ,
                Access::Write => attribute::WRITE,
                Access::Fetch => attribute::EXECUTE,
            };
            if attributes & needed == 0 {
                return Err(fault(status::PERMISSION + level));
            }
            let use_bits = if hierarchy_off {
                hardware_use & descriptor >> 59
            } else {
                0
            };
            let generation = self.registers.cctlr[regime] >> u32::from(upper) & 1;
            let memory = self.registers.mair[regime] >> (8 * (descriptor >> 2 & 7)) & 0xff;
            let tags = tag_attributes(use_bits, generation, memory & 0xf0 == 0);
            return Ok(Translation {
                physical,
                attributes: attributes | tags,
            });
        }
        Err(fault(status::TRANSLATION + 3))
    }

    fn page_attributes(&self, descriptor: u64, inherited: u64, two_ranges: bool, user: bool, el: u8) -> u8 {
        let sctlr = self.registers.sctlr[usize::from(el)];
        let read_only = (descriptor >> 7 | inherited >> 62) & 1 == 1;
        let unprivileged = descriptor >> 6 & 1 == 1 && inherited >> 61 & 1 == 0;
        let execute_never = descriptor >> 54 & 1 == 1 || inherited >> 60 & 1 == 1;
        let privileged_never = descriptor >> 53 & 1 == 1 || inherited >> 59 & 1 == 1;
        let mut attributes = 0;
        let data = if !two_ranges {
            true
        } else if user {
            unprivileged
        } else {
            !(unprivileged && self.pan)
        };
        if data {
            attributes |= attribute::READ;
            if !read_only {
                attributes |= attribute::WRITE;
            }
        }
        let never = if two_ranges && !user {
            privileged_never || unprivileged && !read_only
        } else {
            execute_never
        };
        let write_implies_never = sctlr >> 19 & 1 == 1 && attributes & attribute::WRITE != 0;
        if !never && !write_implies_never {
            attributes |= attribute::EXECUTE;
        }
        attributes
    }
}

/// What the SC (bit 1) and LC (bits 3:2) bits of a page mean under the current generation.
fn tag_attributes(use_bits: u64, generation: u64, device: bool) -> u8 {
    let mut attributes = 0;
    if use_bits >> 1 & 1 == 0 {
        attributes |= attribute::STORE_FAULTS;
    }
    match use_bits >> 2 & 3 {
        0 => attributes |= attribute::LOAD_CLEARS,
        2 if generation == 1 => attributes |= attribute::LOAD_FAULTS,
        3 if generation == 0 => attributes |= attribute::LOAD_FAULTS,
        _ => (),
    }
    if device && attributes & attribute::LOAD_FAULTS != 0 {
        attributes |= attribute::LOAD_ALWAYS_FAULTS;
    }
    attributes
}
