//! Loads and stores of SIMD&FP registers: single, pair, literal, structures (DDI 0487 C4.1.4).

use super::access::{Base, Direction, LOAD, STORE};
use super::bus::Bus;
use super::core::{Core, Step};
use super::decode::{Row, bit, bits, ra, rd, rm, rn, row, signed};
use super::exception::class;
use super::integer::extend;

/// Loads and stores with the V bit set.
pub(super) const INSTRUCTIONS: &[Row] = &[
    row!("0.01 1100 .... .... .... .... .... ....", load_literal),
    row!("1001 1100 .... .... .... .... .... ....", load_literal),
    row!("0110 110. .0.. .... .... .... .... ....", pair::<{ form_of(3, false) }>),
    row!("0110 110. .1.. .... .... .... .... ....", pair::<{ form_of(3, true) }>),
    row!("1010 110. .0.. .... .... .... .... ....", pair::<{ form_of(4, false) }>),
    row!("1010 110. .1.. .... .... .... .... ....", pair::<{ form_of(4, true) }>),
    row!("..10 110. .... .... .... .... .... ....", pair::<ANY>),
    row!("..11 1100 ..0. .... .... .0.. .... ....", unscaled),
    row!("..11 1100 ..0. .... .... .1.. .... ....", indexed),
    row!("..11 1100 ..1. .... .1.. 10.. .... ....", register_offset),
    row!(
        "0011 1101 10.. .... .... .... .... ....",
        unsigned_offset::<{ form_of(4, false) }>
    ),
    row!(
        "0011 1101 11.. .... .... .... .... ....",
        unsigned_offset::<{ form_of(4, true) }>
    ),
    row!(
        "1111 1101 00.. .... .... .... .... ....",
        unsigned_offset::<{ form_of(3, false) }>
    ),
    row!(
        "1111 1101 01.. .... .... .... .... ....",
        unsigned_offset::<{ form_of(3, true) }>
    ),
    row!("..11 1101 .... .... .... .... .... ....", unsigned_offset::<ANY>),
    row!("0.00 1100 0.00 0000 .... .... .... ....", multiple_structures),
    row!("0.00 1100 1.0. .... .... .... .... ....", multiple_structures),
    row!("0.00 1101 0..0 0000 .... .... .... ....", single_structure),
    row!("0.00 1101 1... .... .... .... .... ....", single_structure),
];

/// The form of which a function is made when it is not made for one: the instruction's fields say which.
const ANY: u32 = u32::MAX;

/// The form of a load or store by the binary logarithm of the size in bytes.
const fn form_of(size: u32, load: bool) -> u32 {
    size << 1 | load as u32
}

impl Core {
    /// Refuses SIMD&FP where CPACR, CPTR_EL2 or CPTR_EL3 switch it off.
    #[inline(always)]
    pub(super) fn require_fp(&mut self) -> Step {
        if self.registers.fp_enabled[usize::from(self.el)] {
            Ok(())
        } else {
            self.fp_is_disabled()
        }
    }

    #[cold]
    fn fp_is_disabled(&mut self) -> Step {
        /// Condition field of the syndrome: always, and valid.
        const CONDITION: u32 = 1 << 24 | 0xe << 20;
        match self.fp_disabled_by(self.el) {
            Some(target) => self.raise_at(target, class::FP_ACCESS, CONDITION),
            None => Ok(()),
        }
    }

    /// The level that disabled SIMD&FP at `el`, or `None` where it is enabled.
    pub(super) fn fp_disabled_by(&self, el: u8) -> Option<u8> {
        let registers = &self.registers;
        let (host, general) = (registers.hcr_el2 >> 34 & 1 == 1, registers.hcr_el2 >> 27 & 1 == 1);
        if el < 2 && !(self.el2_enabled() && host && general) {
            let disabled = match registers.cpacr_el1 >> 20 & 3 {
                0b11 => false,
                0b01 => el == 0,
                _ => true,
            };
            if disabled {
                return Some(if self.el2_enabled() && general { 2 } else { 1 });
            }
        }
        if el < 3 && self.el2_enabled() {
            let disabled = if host {
                match registers.cptr_el2 >> 20 & 3 {
                    0b11 => false,
                    0b01 => el == 0 && general,
                    _ => true,
                }
            } else {
                registers.cptr_el2 >> 10 & 1 == 1
            };
            if disabled {
                return Some(2);
            }
        }
        (self.levels.el3 && registers.cptr_el3 >> 10 & 1 == 1).then_some(3)
    }

    /// Loads 1 to 16 bytes (`1 << size`), zero-extended.
    pub(super) fn load_vector(&mut self, bus: &mut Bus, address: u64, size: u32, user: bool) -> Step<u128> {
        if size == 4 {
            self.check_strict_alignment(address, 16, false)?;
            let low = u64::from_le_bytes(self.load(bus, address, user)?);
            let high = u64::from_le_bytes(self.load(bus, address.wrapping_add(8), user)?);
            return Ok(u128::from(high) << 64 | u128::from(low));
        }
        Ok(self.load_sized(bus, address, size, user)?.into())
    }

    /// Stores the low `1 << size` bytes.
    pub(super) fn store_vector(&mut self, bus: &mut Bus, address: u64, size: u32, value: u128, user: bool) -> Step {
        if size == 4 {
            // Alignment is looked at before any translation, that of the last byte included.
            self.check_strict_alignment(address, 16, true)?;
            self.probe_store(bus, address.wrapping_add(15), user)?;
            self.store(bus, address, (value as u64).to_le_bytes(), user)?;
            return self.store(bus, address.wrapping_add(8), ((value >> 64) as u64).to_le_bytes(), user);
        }
        self.store_sized(bus, address, size, value as u64, user)
    }

    /// Transfers `COUNT` registers of the form's size that follow each other in memory, the short way; whether it has.
    #[inline(always)]
    fn vectors_direct<const FORM: u32, const COUNT: usize>(
        &mut self,
        bus: &mut Bus,
        registers: [u32; COUNT],
        n: u32,
        address: u64,
    ) -> bool {
        if FORM == ANY || !self.registers.fp_enabled[usize::from(self.el)] || self.direct_base(n).is_none() {
            return false;
        }
        let (size, load) = (FORM >> 1, FORM & 1 == 1);
        let direction = if load { Direction::Load } else { Direction::Store };
        let Some(place) = self.direct_place(address, (COUNT as u64) << size, 1 << size, direction) else {
            return false;
        };
        // Where both are the same register, the first is loaded, as on the long way.
        for (number, register) in registers.into_iter().enumerate().rev() {
            let (register, place, ram) = (register as usize % 32, place + (number << size), &mut bus.ram[0]);
            match (load, size) {
                (true, 4) => self.v[register] = u128::from_le_bytes(ram.read(place)),
                (true, _) => self.v[register] = u64::from_le_bytes(ram.read(place)).into(),
                (false, 4) => self.write_aligned(ram, place, self.v[register].to_le_bytes()),
                (false, _) => self.write_aligned(ram, place, (self.v[register] as u64).to_le_bytes()),
            }
        }
        true
    }

    /// Transfers V`t` at `address`, which base register `n` authorises.
    pub(super) fn transfer_vector(
        &mut self,
        bus: &mut Bus,
        load: bool,
        size: u32,
        base: Base,
        (n, t): (u32, u32),
        address: u64,
    ) -> Step {
        self.require_fp()?;
        self.remember_direct();
        self.check_sp(n)?;
        let address = self.authorise(base, n, address, 1 << size, if load { LOAD } else { STORE })?;
        let user = self.user();
        if load {
            self.v[t as usize] = self.load_vector(bus, address, size, user)?;
            Ok(())
        } else {
            let value = self.v[t as usize];
            self.store_vector(bus, address, size, value, user)
        }
    }
}

/// Size and direction from the fields that the single-register forms share.
fn form(core: &mut Core, word: u32) -> Step<(u32, bool)> {
    let (size, opc) = (bits(word, 30, 2), bits(word, 22, 2));
    if opc & 2 == 0 {
        Ok((size, opc == 1))
    } else if size == 0 {
        Ok((4, opc == 3))
    } else {
        core.undefined()
    }
}

fn unsigned_offset<const FORM: u32>(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let start = core.x_or_sp(rn(word));
    let offset = u64::from(bits(word, 10, 12));
    if core.vectors_direct::<FORM, 1>(bus, [rd(word)], rn(word), start.wrapping_add(offset << (FORM >> 1 & 7))) {
        return Ok(());
    }
    unsigned_offset_checked(core, bus, word)
}

/// The long way.
#[cold]
fn unsigned_offset_checked(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let (size, load) = form(core, word)?;
    let address = core
        .x_or_sp(rn(word))
        .wrapping_add(u64::from(bits(word, 10, 12)) << size);
    core.transfer_vector(bus, load, size, Base::Normal, (rn(word), rd(word)), address)
}

fn unscaled(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    if bits(word, 10, 2) != 0 {
        return core.undefined();
    }
    let (size, load) = form(core, word)?;
    let address = core.x_or_sp(rn(word)).wrapping_add_signed(signed(word, 12, 9));
    core.transfer_vector(bus, load, size, Base::Normal, (rn(word), rd(word)), address)
}

/// Post-indexed and pre-indexed.
fn indexed(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let (size, load) = form(core, word)?;
    let start = core.x_or_sp(rn(word));
    let moved = start.wrapping_add_signed(signed(word, 12, 9));
    let address = if bit(word, 11) { moved } else { start };
    core.transfer_vector(bus, load, size, Base::Normal, (rn(word), rd(word)), address)?;
    core.write_back(rn(word), moved);
    Ok(())
}

fn register_offset(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let (size, load) = form(core, word)?;
    let offset = extend(
        core.x(rm(word)),
        bits(word, 13, 3),
        if bit(word, 12) { size } else { 0 },
    );
    let address = core.x_or_sp(rn(word)).wrapping_add(offset);
    core.transfer_vector(bus, load, size, Base::Normal, (rn(word), rd(word)), address)
}

fn load_literal(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    core.require_fp()?;
    let size = 2 + bits(word, 30, 2);
    let address = core.pc.wrapping_add_signed(signed(word, 5, 19) * 4);
    let pcc = core.pcc;
    core.check_capability(&pcc, address, 1 << size, LOAD)?;
    let user = core.user();
    core.v[rd(word) as usize] = core.load_vector(bus, address, size, user)?;
    Ok(())
}

fn pair<const FORM: u32>(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let (n, mode) = (rn(word), bits(word, 23, 2));
    let start = core.x_or_sp(n);
    let moved = start.wrapping_add_signed(signed(word, 15, 7) << (FORM >> 1 & 7));
    let first = if mode == 1 { start } else { moved };
    if core.vectors_direct::<FORM, 2>(bus, [rd(word), ra(word)], n, first) {
        if mode & 1 == 1 {
            core.set_x_or_sp(n, moved);
        }
        return Ok(());
    }
    pair_checked(core, bus, word)
}

/// The long way of a pair.
#[cold]
fn pair_checked(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let opc = bits(word, 30, 2);
    if opc == 3 {
        return core.undefined();
    }
    core.require_fp()?;
    let size = 2 + opc;
    let (n, load, mode) = (rn(word), bit(word, 22), bits(word, 23, 2));
    let start = core.x_or_sp(n);
    let moved = start.wrapping_add_signed(signed(word, 15, 7) << size);
    core.remember_direct();
    core.check_sp(n)?;
    let first = if mode == 1 { start } else { moved };
    let address = core.authorise(Base::Normal, n, first, 2 << size, if load { LOAD } else { STORE })?;
    let user = core.user();
    let second = address.wrapping_add(1 << size);
    if load {
        let one = core.load_vector(bus, address, size, user)?;
        core.v[ra(word) as usize] = core.load_vector(bus, second, size, user)?;
        core.v[rd(word) as usize] = one;
    } else {
        let (one, two) = (core.v[rd(word) as usize], core.v[ra(word) as usize]);
        core.store_vector(bus, address, size, one, user)?;
        core.store_vector(bus, second, size, two, user)?;
    }
    if mode & 1 == 1 {
        core.write_back(n, moved);
    }
    Ok(())
}

/// Replaces element `index` of `1 << size` bytes.
pub(super) fn insert(vector: u128, index: u32, size: u32, value: u64) -> u128 {
    let at = index * (8 << size);
    let mask = u128::from(u64::MAX >> (64 - (8 << size)));
    vector & !(mask << at) | (u128::from(value) & mask) << at
}

/// Element `index` of `1 << size` bytes, zero-extended.
pub(super) fn element(vector: u128, index: u32, size: u32) -> u64 {
    (vector >> (index * (8 << size))) as u64 & u64::MAX >> (64 - (8 << size))
}

/// The new value of the base after a structure access of `total` bytes.
fn structure_write_back(core: &mut Core, word: u32, start: u64, total: u64) {
    if bit(word, 23) {
        let increment = if rm(word) == 31 { total } else { core.x(rm(word)) };
        core.write_back(rn(word), start.wrapping_add(increment));
    }
}

/// LD1 to LD4 and ST1 to ST4 of whole registers.
fn multiple_structures(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let (repeat, interleave) = match bits(word, 12, 4) {
        0b0000 => (1, 4),
        0b0010 => (4, 1),
        0b0100 => (1, 3),
        0b0110 => (3, 1),
        0b0111 => (1, 1),
        0b1000 => (1, 2),
        0b1010 => (2, 1),
        _ => return core.undefined(),
    };
    let (size, full) = (bits(word, 10, 2), bit(word, 30));
    if size == 3 && !full && interleave != 1 {
        return core.undefined();
    }
    core.require_fp()?;
    core.check_sp(rn(word))?;
    let (load, register_bytes) = (bit(word, 22), if full { 16u64 } else { 8 });
    let total = register_bytes * repeat * interleave;
    let start = core.x_or_sp(rn(word));
    let mut address = core.authorise(Base::Normal, rn(word), start, total, if load { LOAD } else { STORE })?;
    let user = core.user();
    let elements = (register_bytes >> size) as u32;
    let mut loaded = [0u128; 4];
    for r in 0..repeat {
        for e in 0..elements {
            for s in 0..interleave {
                let number = (r + s) as usize;
                let register = (rd(word) as usize + number) % 32;
                if load {
                    let value = core.load_sized(bus, address, size, user)?;
                    loaded[number] = insert(loaded[number], e, size, value);
                } else {
                    let value = element(core.v[register], e, size);
                    core.store_sized(bus, address, size, value, user)?;
                }
                address = address.wrapping_add(1 << size);
            }
        }
    }
    if load {
        for (number, value) in loaded.into_iter().take((repeat * interleave) as usize).enumerate() {
            core.v[(rd(word) as usize + number) % 32] = value;
        }
    }
    structure_write_back(core, word, start, total);
    Ok(())
}

/// LD1 to LD4 and ST1 to ST4 of one element, and the replicating loads.
fn single_structure(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let (opcode, size_field, full, s) = (bits(word, 13, 3), bits(word, 10, 2), bit(word, 30), bits(word, 12, 1));
    let count = (opcode & 1) << 1 | bits(word, 21, 1);
    let q = u32::from(full);
    let (size, index, replicate) = match (opcode >> 1, size_field) {
        (0, _) => (0, q << 3 | s << 2 | size_field, false),
        (1, 0 | 2) => (1, q << 2 | s << 1 | size_field >> 1, false),
        (2, 0) => (2, q << 1 | s, false),
        (2, 1) if s == 0 => (3, q, false),
        (3, _) if s == 0 && bit(word, 22) => (size_field, 0, true),
        _ => return core.undefined(),
    };
    core.require_fp()?;
    core.check_sp(rn(word))?;
    let load = bit(word, 22);
    let total = u64::from(count + 1) << size;
    let start = core.x_or_sp(rn(word));
    let mut address = core.authorise(Base::Normal, rn(word), start, total, if load { LOAD } else { STORE })?;
    let user = core.user();
    for number in 0..=count {
        let register = ((rd(word) + number) % 32) as usize;
        if replicate {
            let value = core.load_sized(bus, address, size, user)?;
            let elements = (if full { 16 } else { 8 }) >> size;
            core.v[register] = (0..elements).fold(0, |vector, e| insert(vector, e, size, value));
        } else if load {
            let value = core.load_sized(bus, address, size, user)?;
            core.v[register] = insert(core.v[register], index, size, value);
        } else {
            let value = element(core.v[register], index, size);
            core.store_sized(bus, address, size, value, user)?;
        }
        address = address.wrapping_add(1 << size);
    }
    structure_write_back(core, word, start, total);
    Ok(())
}
