//! Morello's memory accesses (DDI 0606, chapter 4.4): capabilities in every addressing form, the alternate-base forms of
//! ordinary accesses, swaps, exclusives, tags.

use super::access::{Base, LOAD, STORE, store_permissions};
use super::bus::Bus;
use super::core::{Core, Exclusive, Step, permission};
use super::decode::{Row, bit, bits, ra, rd, rm, rn, row, signed};
use super::integer::extend;
use super::memory::{Kind, Transfer};
use capability::morello::Capability;

/// Bytes of a capability.
const SIZE: u64 = 16;
/// Bytes whose tags LDCT and STCT handle.
const TAGS_SIZE: u64 = 64;

/// Everything that accesses memory.
pub(super) const INSTRUCTIONS: &[Row] = &[
    row!("0010 0010 0.1. .... .... .... .... ....", exclusive_pair),
    row!("0010 0010 0.0. .... .... .... .... ....", exclusive_single),
    row!("0100 0010 0... .... .... .... .... ....", ordered),
    row!("0110 0010 0... .... .... .... .... ....", pair_offset),
    row!("0010 0010 1... .... .... .... .... ....", pair_post_index),
    row!("0110 0010 1... .... .... .... .... ....", pair_pre_index),
    row!("0100 0010 1... .... .... .... .... ....", pair_offset),
    row!("1110 0010 ..0. .... .... .... .... ....", alternate_unscaled),
    row!("1110 0010 ..1. .... .... .... .... ....", alternate_unscaled_vector),
    row!("1010 0010 1.1. .... .111 11.. .... ....", compare_and_swap),
    row!("1010 0010 0011 1111 1100 00.. .... ....", load_acquire_weak),
    row!("1000 0010 00.. .... .... .... .... ....", load_literal),
    row!("1010 0010 0.0. .... .... .... .... ....", immediate),
    row!("1100 0010 0... .... .... .... .... ....", unsigned_offset),
    row!("1010 0010 0.1. .... .1.. 10.. .... ....", register_offset),
    row!("1100 0010 1100 0100 10.1 00.. .... ....", tags),
    row!("1010 0010 ..1. .... 1000 00.. .... ....", swap),
    row!("1000 0010 01.. .... .... .... .... ....", alternate_offset),
    row!("1100 0010 111. .... .1.. .1.. .... ....", alternate_register_capability),
    row!("1000 0010 1... .... .1.. .... .... ....", alternate_register),
    row!(
        "1100 0010 100. .... .... .... .... ....",
        super::system::capability_register
    ),
];

impl Core {
    /// Loads capability register `t` through base register `n`.
    fn load_to(&mut self, bus: &mut Bus, base: Base, n: u32, t: u32, address: u64, user: bool) -> Step {
        self.check_sp(n)?;
        let address = self.authorise(base, n, address, SIZE, LOAD)?;
        self.check_alignment(address, SIZE, false)?;
        let authority = self.authority(base, n);
        let value = self.load_capability(bus, address, &authority, user)?;
        self.set_c(t, value);
        Ok(())
    }

    /// Stores capability register `t` through base register `n`.
    fn store_from(&mut self, bus: &mut Bus, base: Base, n: u32, t: u32, address: u64, user: bool) -> Step {
        self.check_sp(n)?;
        let value = self.c(t);
        let address = self.authorise(base, n, address, SIZE, store_permissions(&value))?;
        self.check_alignment(address, SIZE, true)?;
        self.store_capability(bus, address, &value, user)
    }

    fn move_capability(&mut self, bus: &mut Bus, load: bool, base: Base, word: u32, address: u64) -> Step {
        let user = self.user();
        if load {
            self.load_to(bus, base, rn(word), rd(word), address, user)
        } else {
            self.store_from(bus, base, rn(word), rd(word), address, user)
        }
    }

    fn move_capability_pair(&mut self, bus: &mut Bus, word: u32, address: u64) -> Step {
        let (n, t, t2) = (rn(word), rd(word), ra(word));
        self.check_sp(n)?;
        let user = self.user();
        if bit(word, 22) {
            let address = self.authorise(Base::Normal, n, address, 2 * SIZE, LOAD)?;
            self.check_alignment(address, SIZE, false)?;
            let authority = self.authority(Base::Normal, n);
            let one = self.load_capability(bus, address, &authority, user)?;
            let two = self.load_capability(bus, address.wrapping_add(SIZE), &authority, user)?;
            self.set_c(t2, two);
            self.set_c(t, one);
            return Ok(());
        }
        let (one, two) = (self.c(t), self.c(t2));
        let first = self.authorise(Base::Normal, n, address, SIZE, store_permissions(&one))?;
        self.check_alignment(first, SIZE, true)?;
        self.store_capability(bus, first, &one, user)?;
        let second = self.authorise(
            Base::Normal,
            n,
            address.wrapping_add(SIZE),
            SIZE,
            store_permissions(&two),
        )?;
        self.store_capability(bus, second, &two, user)
    }
}

fn unsigned_offset(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let address = core
        .x_or_sp(rn(word))
        .wrapping_add(u64::from(bits(word, 10, 12)) * SIZE);
    core.move_capability(bus, bit(word, 22), Base::Normal, word, address)
}

/// LDUR/STUR, LDTR/STTR, post-indexed and pre-indexed forms.
fn immediate(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let (start, offset) = (core.x_or_sp(rn(word)), signed(word, 12, 9));
    let load = bit(word, 22);
    let scaled = start.wrapping_add_signed(offset * SIZE as i64);
    match bits(word, 10, 2) {
        0 => core.move_capability(bus, load, Base::Normal, word, start.wrapping_add_signed(offset)),
        1 => {
            core.move_capability(bus, load, Base::Normal, word, start)?;
            core.write_back(rn(word), scaled);
            Ok(())
        }
        2 => {
            let user = core.unprivileged_access();
            if load {
                core.load_to(bus, Base::Normal, rn(word), rd(word), scaled, user)
            } else {
                core.store_from(bus, Base::Normal, rn(word), rd(word), scaled, user)
            }
        }
        _ => {
            core.move_capability(bus, load, Base::Normal, word, scaled)?;
            core.write_back(rn(word), scaled);
            Ok(())
        }
    }
}

fn offset_by_register(core: &Core, word: u32, scale: u32) -> u64 {
    let amount = if bit(word, 12) { scale } else { 0 };
    let offset = extend(core.x(rm(word)), bits(word, 13, 3), amount);
    core.x_or_sp(rn(word)).wrapping_add(offset)
}

fn register_offset(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let address = offset_by_register(core, word, 4);
    core.move_capability(bus, bit(word, 22), Base::Normal, word, address)
}

fn alternate_register_capability(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let address = offset_by_register(core, word, 4);
    core.move_capability(bus, bit(word, 11), Base::Alternate, word, address)
}

/// LDR (literal): PCC authorises, the address is rounded down to a capability.
fn load_literal(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let address = core.pc.wrapping_add_signed(signed(word, 5, 17) * SIZE as i64) & !(SIZE - 1);
    let authority = core.pcc;
    core.check_capability(&authority, address, SIZE, LOAD)?;
    let user = core.user();
    let value = core.load_capability(bus, address, &authority, user)?;
    core.set_c(rd(word), value);
    Ok(())
}

fn pair_immediate(word: u32) -> i64 {
    signed(word, 15, 7) * SIZE as i64
}

fn pair_offset(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let address = core.x_or_sp(rn(word)).wrapping_add_signed(pair_immediate(word));
    core.move_capability_pair(bus, word, address)
}

fn pair_post_index(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let address = core.x_or_sp(rn(word));
    core.move_capability_pair(bus, word, address)?;
    core.write_back(rn(word), address.wrapping_add_signed(pair_immediate(word)));
    Ok(())
}

fn pair_pre_index(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let address = core.x_or_sp(rn(word)).wrapping_add_signed(pair_immediate(word));
    core.move_capability_pair(bus, word, address)?;
    core.write_back(rn(word), address);
    Ok(())
}

/// LDAR, STLR and their alternate-base forms for capabilities, bytes and words.
fn ordered(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    if bits(word, 16, 5) != 31 || ra(word) != 31 {
        return core.undefined();
    }
    core.require_capabilities()?;
    let (load, narrow, o2) = (bit(word, 22), bit(word, 21), bit(word, 15));
    let base = if narrow || !o2 { Base::Alternate } else { Base::Normal };
    let address = core.x_or_sp(rn(word));
    if !narrow {
        return core.move_capability(bus, load, base, word, address);
    }
    let what = Transfer {
        size: if o2 { 2 } else { 0 },
        kind: if load { Kind::Load } else { Kind::Store },
    };
    core.check_sp(rn(word))?;
    let checked = core.authorise(base, rn(word), address, 1 << what.size, if load { LOAD } else { STORE })?;
    core.check_alignment(checked, 1 << what.size, !load)?;
    let user = core.user();
    core.transfer(bus, what, base, (rn(word), rd(word)), address, user)
}

fn load_acquire_weak(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let address = core.x_or_sp(rn(word));
    core.move_capability(bus, true, Base::Normal, word, address)
}

fn exclusive_single(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    if ra(word) != 31 || bit(word, 22) && rm(word) != 31 {
        return core.undefined();
    }
    exclusive(core, bus, word, false)
}

fn exclusive_pair(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    if bit(word, 22) && rm(word) != 31 {
        return core.undefined();
    }
    exclusive(core, bus, word, true)
}

fn exclusive(core: &mut Core, bus: &mut Bus, word: u32, pair: bool) -> Step {
    core.require_capabilities()?;
    core.check_sp(rn(word))?;
    let size = if pair { 2 * SIZE } else { SIZE };
    if bit(word, 22) {
        load_exclusive(core, bus, word, size)
    } else {
        store_exclusive(core, bus, word, size)
    }
}

fn load_exclusive(core: &mut Core, bus: &mut Bus, word: u32, size: u64) -> Step {
    let n = rn(word);
    let address = core.x_or_sp(n);
    let address = core.authorise(Base::Normal, n, address, size, LOAD)?;
    core.check_alignment(address, size, false)?;
    let (authority, user) = (core.authority(Base::Normal, n), core.user());
    let one = core.load_capability(bus, address, &authority, user)?;
    let mut content = [core.load_granule(bus, address, user)?.0, (0, 0, false)];
    let mut two = None;
    if size > SIZE {
        two = Some(core.load_capability(bus, address + SIZE, &authority, user)?);
        content[1] = core.load_granule(bus, address + SIZE, user)?.0;
    }
    let physical = core.physical(bus, address, user)?;
    core.exclusive = Some(Exclusive {
        physical,
        size,
        content,
    });
    if let Some(two) = two {
        core.set_c(ra(word), two);
    }
    core.set_c(rd(word), one);
    Ok(())
}

fn store_exclusive(core: &mut Core, bus: &mut Bus, word: u32, size: u64) -> Step {
    let n = rn(word);
    let start = core.x_or_sp(n);
    let (one, two) = (core.c(rd(word)), core.c(ra(word)));
    let address = core.authorise(Base::Normal, n, start, SIZE, store_permissions(&one))?;
    if size > SIZE {
        core.authorise(Base::Normal, n, start.wrapping_add(SIZE), SIZE, store_permissions(&two))?;
    }
    core.check_alignment(address, size, true)?;
    let user = core.user();
    let monitor = core.take_exclusive(bus, address, size, user)?;
    let unchanged = match monitor {
        Some(monitor) => {
            let mut now = [core.load_granule(bus, address, user)?.0, (0, 0, false)];
            if size > SIZE {
                now[1] = core.load_granule(bus, address + SIZE, user)?.0;
            }
            now == monitor.content
        }
        None => false,
    };
    if unchanged {
        core.store_capability(bus, address, &one, user)?;
        if size > SIZE {
            core.store_capability(bus, address + SIZE, &two, user)?;
        }
    }
    core.set_x(rm(word), u64::from(!unchanged));
    Ok(())
}

/// Checks a swap of `new`, loads what is there, and hands over to `decide` whether it is replaced.
fn exchange(
    core: &mut Core,
    bus: &mut Bus,
    word: u32,
    new: Capability,
    decide: impl FnOnce(&Capability) -> bool,
) -> Step<Capability> {
    core.require_capabilities()?;
    let n = rn(word);
    core.check_sp(n)?;
    let address = core.x_or_sp(n);
    let address = core.authorise(Base::Normal, n, address, SIZE, LOAD | store_permissions(&new))?;
    core.check_alignment(address, SIZE, false)?;
    let (authority, user) = (core.authority(Base::Normal, n), core.user());
    if new.tag() {
        core.probe_store_tag(bus, address, user)?;
    }
    let old = core.load_capability(bus, address, &authority, user)?;
    if decide(&old) {
        core.store_capability(bus, address, &new, user)?;
    } else {
        core.probe_store(bus, address, user)?;
    }
    Ok(old)
}

fn compare_and_swap(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let (new, expected) = (core.c(rd(word)), core.c(rm(word)));
    let old = exchange(core, bus, word, new, |old| *old == expected)?;
    core.set_c(rm(word), old);
    Ok(())
}

fn swap(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let new = core.c(rm(word));
    let old = exchange(core, bus, word, new, |_| true)?;
    core.set_c(rd(word), old);
    Ok(())
}

/// LDCT, STCT: four tags at once.
fn tags(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let load = bit(word, 13);
    if !load && core.el == 0 {
        return core.undefined();
    }
    core.require_capabilities()?;
    let n = rn(word);
    core.check_sp(n)?;
    let address = core.x_or_sp(n);
    let user = core.user();
    if load {
        let address = core.authorise(Base::Normal, n, address, TAGS_SIZE, LOAD)?;
        core.check_alignment(address, TAGS_SIZE, false)?;
        let authority = core.authority(Base::Normal, n);
        let mut result = 0;
        for index in 0..4 {
            let loaded = core.load_capability(bus, address + index * SIZE, &authority, user)?;
            result |= u64::from(loaded.tag()) << index;
        }
        core.set_x(rd(word), result);
        return Ok(());
    }
    let value = if core.may_set_tags() { core.x(rd(word)) & 15 } else { 0 };
    let needed = if value == 0 {
        STORE
    } else {
        STORE | permission::STORE_CAPABILITY
    };
    let address = core.authorise(Base::Normal, n, address, TAGS_SIZE, needed)?;
    core.check_alignment(address, TAGS_SIZE, true)?;
    if value != 0 {
        core.probe_store_tag(bus, address, user)?;
    }
    for index in 0..4 {
        core.store_tag(bus, address + index * SIZE, value >> index & 1 == 1, user)?;
    }
    Ok(())
}

/// ALDUR and ASTUR of integers, and of capabilities.
fn alternate_unscaled(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let (op1, op2) = (bits(word, 22, 2), bits(word, 10, 2));
    if op1 == 3 && op2 == 2 {
        return core.undefined();
    }
    core.require_capabilities()?;
    let address = core.x_or_sp(rn(word)).wrapping_add_signed(signed(word, 12, 9));
    if op2 == 3 && op1 >= 2 {
        return core.move_capability(bus, op1 == 3, Base::Alternate, word, address);
    }
    let kind = [Kind::Store, Kind::Load, Kind::LoadSigned, Kind::LoadSigned32][op2 as usize];
    let user = core.user();
    core.transfer(
        bus,
        Transfer { size: op1, kind },
        Base::Alternate,
        (rn(word), rd(word)),
        address,
        user,
    )
}

/// ALDUR and ASTUR of SIMD&FP registers.
fn alternate_unscaled_vector(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let (op1, op2) = (bits(word, 22, 2), bits(word, 10, 2));
    if op1 != 0 && op2 > 1 {
        return core.undefined();
    }
    core.require_capabilities()?;
    let size = if op2 & 2 != 0 { 4 } else { op1 };
    let address = core.x_or_sp(rn(word)).wrapping_add_signed(signed(word, 12, 9));
    core.transfer_vector(bus, op2 & 1 == 1, size, Base::Alternate, (rn(word), rd(word)), address)
}

/// ALDR and ASTR with an unsigned offset: capability, byte, word, doubleword.
fn alternate_offset(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let size = [4, 0, 2, 3][bits(word, 10, 2) as usize];
    let load = bit(word, 21);
    let address = core
        .x_or_sp(rn(word))
        .wrapping_add(u64::from(bits(word, 12, 9)) << size);
    if size == 4 {
        return core.move_capability(bus, load, Base::Alternate, word, address);
    }
    let kind = if load { Kind::Load } else { Kind::Store };
    let user = core.user();
    core.transfer(
        bus,
        Transfer { size, kind },
        Base::Alternate,
        (rn(word), rd(word)),
        address,
        user,
    )
}

/// ALDR and ASTR with a register offset: bytes to doublewords and SIMD&FP registers.
fn alternate_register(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    core.require_capabilities()?;
    let load = bit(word, 22);
    let kind = if load { Kind::Load } else { Kind::Store };
    let signed_kind = if load { Kind::LoadSigned32 } else { Kind::LoadSigned };
    let (what, vector) = match bits(word, 21, 1) << 2 | bits(word, 10, 2) {
        0 => (Transfer { size: 0, kind }, false),
        1 => (
            Transfer {
                size: 0,
                kind: signed_kind,
            },
            false,
        ),
        2 => (
            Transfer {
                size: 1,
                kind: signed_kind,
            },
            false,
        ),
        3 => (Transfer { size: 1, kind }, false),
        4 => (Transfer { size: 2, kind }, false),
        5 => (Transfer { size: 3, kind }, false),
        6 => (Transfer { size: 3, kind }, true),
        _ => (Transfer { size: 2, kind }, true),
    };
    let address = offset_by_register(core, word, what.size);
    if vector {
        return core.transfer_vector(bus, load, what.size, Base::Alternate, (rn(word), rd(word)), address);
    }
    let user = core.user();
    core.transfer(bus, what, Base::Alternate, (rn(word), rd(word)), address, user)
}
