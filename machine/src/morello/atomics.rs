//! Exclusive, ordered and atomic accesses to general registers (DDI 0487 C4.1.4, LSE included). All of them fault when
//! misaligned. There is one order of memory operations here, so that acquire and release need nothing more.

use super::access::{Base, LOAD, STORE};
use super::bus::Bus;
use super::core::{Core, Exclusive, Step};
use super::decode::{Row, bit, bits, ra, rd, rm, rn, row, signed};

/// Exclusives, load-acquire, store-release, compare and swap, atomic operations.
pub(super) const INSTRUCTIONS: &[Row] = &[
    row!("..00 1000 000. .... .... .... .... ....", store_exclusive),
    row!("..00 1000 010. .... .... .... .... ....", load_exclusive),
    row!("1.00 1000 001. .... .... .... .... ....", store_exclusive_pair),
    row!("1.00 1000 011. .... .... .... .... ....", load_exclusive_pair),
    row!("0.00 1000 0.1. .... .111 11.. .... ....", compare_and_swap_pair),
    row!("..00 1000 1.0. .... .... .... .... ....", ordered),
    row!("..00 1000 1.1. .... .111 11.. .... ....", compare_and_swap),
    row!("..11 1000 ..1. .... 0... 00.. .... ....", atomic_operation),
    row!("..11 1000 ..1. .... 1000 00.. .... ....", swap),
    row!("..11 1000 1011 1111 1100 00.. .... ....", load_acquire_weak),
    row!("..01 1001 ..0. .... .... 00.. .... ....", ordered_unscaled),
];

fn address_of(core: &mut Core, word: u32, size: u64, permissions: u32) -> Step<u64> {
    core.check_sp(rn(word))?;
    let address = core.x_or_sp(rn(word));
    let address = core.authorise(Base::Normal, rn(word), address, size, permissions)?;
    core.check_alignment(address, size, permissions & LOAD == 0)?;
    Ok(address)
}

/// LDAR, LDLAR, STLR, STLLR.
fn ordered(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let size = bits(word, 30, 2);
    let load = bit(word, 22);
    let address = address_of(core, word, 1 << size, if load { LOAD } else { STORE })?;
    let user = core.user();
    if load {
        let value = core.load_sized(bus, address, size, user)?;
        core.set_x(rd(word), value);
        Ok(())
    } else {
        let value = core.x(rd(word));
        core.store_sized(bus, address, size, value, user)
    }
}

/// LDAPR.
fn load_acquire_weak(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let size = bits(word, 30, 2);
    let address = address_of(core, word, 1 << size, LOAD)?;
    let user = core.user();
    let value = core.load_sized(bus, address, size, user)?;
    core.set_x(rd(word), value);
    Ok(())
}

/// LDAPUR, STLUR.
fn ordered_unscaled(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let (size, opc) = (bits(word, 30, 2), bits(word, 22, 2));
    if opc == 3 && size >= 2 || opc == 2 && size == 3 {
        return core.undefined();
    }
    let load = opc != 0;
    core.check_sp(rn(word))?;
    let address = core.x_or_sp(rn(word)).wrapping_add_signed(signed(word, 12, 9));
    let address = core.authorise(
        Base::Normal,
        rn(word),
        address,
        1 << size,
        if load { LOAD } else { STORE },
    )?;
    let user = core.user();
    if !load {
        let value = core.x(rd(word));
        return core.store_sized(bus, address, size, value, user);
    }
    let value = core.load_sized(bus, address, size, user)?;
    let unused = 64 - (8 << size);
    let extended = ((value << unused) as i64 >> unused) as u64;
    core.set_x(
        rd(word),
        [value, value, extended, u64::from(extended as u32)][opc as usize],
    );
    Ok(())
}

fn remember(core: &mut Core, bus: &mut Bus, address: u64, size: u64, content: [(u64, u64, bool); 2]) -> Step {
    let user = core.user();
    let physical = core.physical(bus, address, user)?;
    core.exclusive = Some(Exclusive {
        physical,
        size,
        content,
    });
    Ok(())
}

fn load_exclusive(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let size = bits(word, 30, 2);
    let address = address_of(core, word, 1 << size, LOAD)?;
    let user = core.user();
    let value = core.load_sized(bus, address, size, user)?;
    remember(core, bus, address, 1 << size, [(value, 0, false), (0, 0, false)])?;
    core.set_x(rd(word), value);
    Ok(())
}

fn load_exclusive_pair(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let size = bits(word, 30, 2);
    let address = address_of(core, word, 2 << size, LOAD)?;
    let user = core.user();
    let one = core.load_sized(bus, address, size, user)?;
    let two = core.load_sized(bus, address + (1 << size), size, user)?;
    remember(core, bus, address, 2 << size, [(one, two, false), (0, 0, false)])?;
    core.set_x(rd(word), one);
    core.set_x(ra(word), two);
    Ok(())
}

impl Core {
    /// Whether the exclusive monitor still covers `size` bytes at `address`; it is cleared in any case.
    pub(super) fn take_exclusive(
        &mut self,
        bus: &mut Bus,
        address: u64,
        size: u64,
        user: bool,
    ) -> Step<Option<Exclusive>> {
        let physical = self.physical(bus, address, user)?;
        Ok(self
            .exclusive
            .take()
            .filter(|monitor| monitor.physical == physical && monitor.size == size))
    }
}

fn store_exclusive(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let size = bits(word, 30, 2);
    let address = address_of(core, word, 1 << size, STORE)?;
    let user = core.user();
    core.probe_store(bus, address, user)?;
    let monitor = core.take_exclusive(bus, address, 1 << size, user)?;
    let unchanged = match monitor {
        Some(monitor) => core.load_sized(bus, address, size, user)? == monitor.content[0].0,
        None => false,
    };
    if unchanged {
        let value = core.x(rd(word));
        core.store_sized(bus, address, size, value, user)?;
    }
    core.set_x(rm(word), u64::from(!unchanged));
    Ok(())
}

fn store_exclusive_pair(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let size = bits(word, 30, 2);
    let address = address_of(core, word, 2 << size, STORE)?;
    let user = core.user();
    core.probe_store(bus, address, user)?;
    let second = address + (1 << size);
    let monitor = core.take_exclusive(bus, address, 2 << size, user)?;
    let unchanged = match monitor {
        Some(monitor) => {
            let now = (
                core.load_sized(bus, address, size, user)?,
                core.load_sized(bus, second, size, user)?,
            );
            now == (monitor.content[0].0, monitor.content[0].1)
        }
        None => false,
    };
    if unchanged {
        let (one, two) = (core.x(rd(word)), core.x(ra(word)));
        core.store_sized(bus, address, size, one, user)?;
        core.store_sized(bus, second, size, two, user)?;
    }
    core.set_x(rm(word), u64::from(!unchanged));
    Ok(())
}

fn compare_and_swap(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let size = bits(word, 30, 2);
    let address = address_of(core, word, 1 << size, LOAD | STORE)?;
    let user = core.user();
    core.probe_store(bus, address, user)?;
    let old = core.load_sized(bus, address, size, user)?;
    let mask = u64::MAX >> (64 - (8 << size));
    if old == core.x(rm(word)) & mask {
        let new = core.x(rd(word));
        core.store_sized(bus, address, size, new, user)?;
    }
    core.set_x(rm(word), old);
    Ok(())
}

fn compare_and_swap_pair(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let (s, t) = (rm(word), rd(word));
    if (s | t) & 1 == 1 {
        return core.undefined();
    }
    let size = 2 + bits(word, 30, 1);
    let address = address_of(core, word, 2 << size, LOAD | STORE)?;
    let user = core.user();
    core.probe_store(bus, address, user)?;
    let second = address + (1 << size);
    let old = (
        core.load_sized(bus, address, size, user)?,
        core.load_sized(bus, second, size, user)?,
    );
    let mask = u64::MAX >> (64 - (8 << size));
    if old == (core.x(s) & mask, core.x(s + 1) & mask) {
        let (one, two) = (core.x(t), core.x(t + 1));
        core.store_sized(bus, address, size, one, user)?;
        core.store_sized(bus, second, size, two, user)?;
    }
    core.set_x(s, old.0);
    core.set_x(s + 1, old.1);
    Ok(())
}

fn read_modify_write(core: &mut Core, bus: &mut Bus, word: u32, operation: fn(u64, u64, u32) -> u64) -> Step {
    let size = bits(word, 30, 2);
    let address = address_of(core, word, 1 << size, LOAD | STORE)?;
    let user = core.user();
    core.probe_store(bus, address, user)?;
    let old = core.load_sized(bus, address, size, user)?;
    let new = operation(old, core.x(rm(word)), size);
    core.store_sized(bus, address, size, new, user)?;
    core.set_x(rd(word), old);
    Ok(())
}

fn swap(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    read_modify_write(core, bus, word, |_, operand, _| operand)
}

/// LDADD, LDCLR, LDEOR, LDSET, LDSMAX, LDSMIN, LDUMAX, LDUMIN and their store forms.
fn atomic_operation(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    fn extended(value: u64, size: u32) -> i64 {
        let unused = 64 - (8 << size);
        (value << unused) as i64 >> unused
    }
    fn cut(value: u64, size: u32) -> u64 {
        value & u64::MAX >> (64 - (8 << size))
    }
    let operation: fn(u64, u64, u32) -> u64 = match bits(word, 12, 3) {
        0 => |old, operand, _| old.wrapping_add(operand),
        1 => |old, operand, _| old & !operand,
        2 => |old, operand, _| old ^ operand,
        3 => |old, operand, _| old | operand,
        4 => |old, operand, size| extended(old, size).max(extended(operand, size)) as u64,
        5 => |old, operand, size| extended(old, size).min(extended(operand, size)) as u64,
        6 => |old, operand, size| old.max(cut(operand, size)),
        _ => |old, operand, size| old.min(cut(operand, size)),
    };
    read_modify_write(core, bus, word, operation)
}
