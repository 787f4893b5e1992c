//! Loads and stores of general registers (DDI 0487 C4.1.4). In C64 the base is a capability register, in A64 DDC authorises.

use super::access::{Base, LOAD, STORE};
use super::bus::Bus;
use super::core::{Core, Step};
use super::decode::{Row, bit, bits, ra, rd, rm, rn, row, signed};
use super::integer::extend;

/// Loads and stores of single registers and pairs, and literals.
pub(super) const INSTRUCTIONS: &[Row] = &[
    row!("0.01 1000 .... .... .... .... .... ....", load_literal),
    row!("1001 1000 .... .... .... .... .... ....", load_literal),
    row!("1101 1000 .... .... .... .... .... ....", prefetch),
    row!("..10 1000 0... .... .... .... .... ....", pair_no_allocate),
    row!(
        "1010 1000 10.. .... .... .... .... ....",
        pair_post_index::<{ pair(2, false) }>
    ),
    row!(
        "1010 1000 11.. .... .... .... .... ....",
        pair_post_index::<{ pair(2, true) }>
    ),
    row!(
        "1010 1001 00.. .... .... .... .... ....",
        pair_offset::<{ pair(2, false) }>
    ),
    row!(
        "1010 1001 01.. .... .... .... .... ....",
        pair_offset::<{ pair(2, true) }>
    ),
    row!(
        "1010 1001 10.. .... .... .... .... ....",
        pair_pre_index::<{ pair(2, false) }>
    ),
    row!(
        "1010 1001 11.. .... .... .... .... ....",
        pair_pre_index::<{ pair(2, true) }>
    ),
    row!("..10 1000 1... .... .... .... .... ....", pair_post_index::<ANY>),
    row!("..10 1001 0... .... .... .... .... ....", pair_offset::<ANY>),
    row!("..10 1001 1... .... .... .... .... ....", pair_pre_index::<ANY>),
    row!("1011 1000 000. .... .... 00.. .... ....", unscaled::<{ single(2, 0) }>),
    row!("1011 1000 010. .... .... 00.. .... ....", unscaled::<{ single(2, 1) }>),
    row!("1111 1000 000. .... .... 00.. .... ....", unscaled::<{ single(3, 0) }>),
    row!("1111 1000 010. .... .... 00.. .... ....", unscaled::<{ single(3, 1) }>),
    row!("..11 1000 ..0. .... .... 00.. .... ....", unscaled::<ANY>),
    row!(
        "0011 1000 000. .... .... 01.. .... ....",
        post_index::<{ single(0, 0) }>
    ),
    row!(
        "0011 1000 010. .... .... 01.. .... ....",
        post_index::<{ single(0, 1) }>
    ),
    row!("..11 1000 ..0. .... .... 01.. .... ....", post_index::<ANY>),
    row!("..11 1000 ..0. .... .... 10.. .... ....", unprivileged),
    row!("0011 1000 010. .... .... 11.. .... ....", pre_index::<{ single(0, 1) }>),
    row!("1111 1000 000. .... .... 11.. .... ....", pre_index::<{ single(3, 0) }>),
    row!("..11 1000 ..0. .... .... 11.. .... ....", pre_index::<ANY>),
    row!(
        "0011 1000 011. .... .1.. 10.. .... ....",
        register_offset::<{ single(0, 1) }>
    ),
    row!(
        "1011 1000 011. .... .1.. 10.. .... ....",
        register_offset::<{ single(2, 1) }>
    ),
    row!(
        "1111 1000 011. .... .1.. 10.. .... ....",
        register_offset::<{ single(3, 1) }>
    ),
    row!("..11 1000 ..1. .... .1.. 10.. .... ....", register_offset::<ANY>),
    row!(
        "0011 1001 00.. .... .... .... .... ....",
        unsigned_offset::<{ single(0, 0) }>
    ),
    row!(
        "0011 1001 01.. .... .... .... .... ....",
        unsigned_offset::<{ single(0, 1) }>
    ),
    row!(
        "0111 1001 01.. .... .... .... .... ....",
        unsigned_offset::<{ single(1, 1) }>
    ),
    row!(
        "1011 1001 00.. .... .... .... .... ....",
        unsigned_offset::<{ single(2, 0) }>
    ),
    row!(
        "1011 1001 01.. .... .... .... .... ....",
        unsigned_offset::<{ single(2, 1) }>
    ),
    row!(
        "1111 1001 00.. .... .... .... .... ....",
        unsigned_offset::<{ single(3, 0) }>
    ),
    row!(
        "1111 1001 01.. .... .... .... .... ....",
        unsigned_offset::<{ single(3, 1) }>
    ),
    row!("..11 1001 .... .... .... .... .... ....", unsigned_offset::<ANY>),
];

/// A form of which a function is made when it is not made for one: the instruction's fields say which.
const ANY: u32 = u32::MAX;

/// The form of a load or store of one register, by its fields size and opc. The functions for the most frequent ones are made
/// each on its own: what they do has no branches by the form, which the host's processor would have to guess.
const fn single(size: u32, opc: u32) -> u32 {
    size << 2 | opc
}

/// The form of a load or store of a pair, by its field opc and whether it loads.
const fn pair(opc: u32, load: bool) -> u32 {
    opc << 1 | load as u32
}

/// What a transfer of one register does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transfer {
    /// Binary logarithm of the size in bytes.
    pub(super) size: u32,
    /// What happens.
    pub(super) kind: Kind,
}

/// The direction of a transfer, and the extension of what is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Store,
    Load,
    LoadSigned,
    LoadSigned32,
    Prefetch,
}

impl Transfer {
    /// From the size and opc fields that most encodings share.
    #[inline(always)]
    const fn from_fields(size: u32, opc: u32) -> Option<Self> {
        let kind = match (opc, size) {
            (0, _) => Kind::Store,
            (1, _) => Kind::Load,
            (2, 3) => Kind::Prefetch,
            (2, _) => Kind::LoadSigned,
            (3, 0 | 1) => Kind::LoadSigned32,
            _ => return None,
        };
        Some(Self { size, kind })
    }

    /// From the form for which a function is made, or the fields.
    #[inline(always)]
    fn of<const FORM: u32>(word: u32) -> Option<Self> {
        match FORM {
            ANY => Self::from_fields(bits(word, 30, 2), bits(word, 22, 2)),
            form => Self::from_fields(form >> 2, form & 3),
        }
    }

    /// What a register holds after `value` was loaded.
    #[inline(always)]
    const fn extend(self, value: u64) -> u64 {
        let unused = 64 - (8 << self.size);
        match self.kind {
            Kind::LoadSigned => ((value << unused) as i64 >> unused) as u64,
            Kind::LoadSigned32 => ((value << unused) as i64 >> unused) as u32 as u64,
            _ => value,
        }
    }

    const fn permissions(self) -> u32 {
        match self.kind {
            Kind::Store => STORE,
            _ => LOAD,
        }
    }
}

impl Core {
    /// The low bytes of a register's worth of memory.
    #[inline(always)]
    pub(super) fn load_sized(&mut self, bus: &mut Bus, address: u64, size: u32, user: bool) -> Step<u64> {
        Ok(match size {
            0 => self.load::<1>(bus, address, user)?[0].into(),
            1 => u16::from_le_bytes(self.load(bus, address, user)?).into(),
            2 => u32::from_le_bytes(self.load(bus, address, user)?).into(),
            _ => u64::from_le_bytes(self.load(bus, address, user)?),
        })
    }

    /// Stores the low bytes of `value`.
    #[inline(always)]
    pub(super) fn store_sized(&mut self, bus: &mut Bus, address: u64, size: u32, value: u64, user: bool) -> Step {
        match size {
            0 => self.store(bus, address, [value as u8], user),
            1 => self.store(bus, address, (value as u16).to_le_bytes(), user),
            2 => self.store(bus, address, (value as u32).to_le_bytes(), user),
            _ => self.store(bus, address, value.to_le_bytes(), user),
        }
    }

    /// Transfers register `t` at `address`, which base register `n` authorises.
    #[inline(always)]
    pub(super) fn transfer(
        &mut self,
        bus: &mut Bus,
        what: Transfer,
        base: Base,
        (n, t): (u32, u32),
        address: u64,
        user: bool,
    ) -> Step {
        if what.kind == Kind::Prefetch {
            return Ok(());
        }
        self.remember_direct();
        self.check_sp(n)?;
        let address = self.authorise(base, n, address, 1 << what.size, what.permissions())?;
        if what.kind == Kind::Store {
            let value = self.x(t);
            return self.store_sized(bus, address, what.size, value, user);
        }
        let value = self.load_sized(bus, address, what.size, user)?;
        self.set_x(t, what.extend(value));
        Ok(())
    }

    /// Transfers register `t` at an integer address the short way; whether it has.
    #[inline(always)]
    fn transfer_direct(&mut self, bus: &mut Bus, what: Transfer, t: u32, address: u64) -> bool {
        let value = self.x(t);
        let loaded = match (what.kind, what.size) {
            (Kind::Prefetch, _) => None,
            (Kind::Store, 0) => return self.store_direct(bus, address, [value as u8]),
            (Kind::Store, 1) => return self.store_direct(bus, address, (value as u16).to_le_bytes()),
            (Kind::Store, 2) => return self.store_direct(bus, address, (value as u32).to_le_bytes()),
            (Kind::Store, _) => return self.store_direct(bus, address, value.to_le_bytes()),
            (_, 0) => self.load_direct(bus, address).map(|[byte]| u64::from(byte)),
            (_, 1) => self
                .load_direct(bus, address)
                .map(|bytes| u16::from_le_bytes(bytes).into()),
            (_, 2) => self
                .load_direct(bus, address)
                .map(|bytes| u32::from_le_bytes(bytes).into()),
            _ => self.load_direct(bus, address).map(u64::from_le_bytes),
        };
        let Some(value) = loaded else { return false };
        self.set_x(t, what.extend(value));
        true
    }

    /// Writes a new address to base register `n`: moves the capability in C64, leaves an integer in A64.
    #[inline(always)]
    pub(super) fn write_back(&mut self, n: u32, address: u64) {
        if self.c64 {
            let base = self.c_or_sp(n);
            self.set_c_or_sp(n, base.inc_offset(address.wrapping_sub(base.address())));
        } else {
            self.set_x_or_sp(n, address);
        }
    }
}

fn transfer_of(core: &mut Core, word: u32) -> Step<Transfer> {
    match Transfer::of::<ANY>(word) {
        Some(transfer) => Ok(transfer),
        None => core.undefined(),
    }
}

/// The long way of a transfer that leaves its base register alone.
#[cold]
fn transfer_checked(core: &mut Core, bus: &mut Bus, word: u32, address: u64) -> Step {
    let what = transfer_of(core, word)?;
    let user = core.user();
    core.transfer(bus, what, Base::Normal, (rn(word), rd(word)), address, user)
}

/// The long way of a transfer that then writes `base` to its base register.
#[cold]
fn transfer_checked_and_move(core: &mut Core, bus: &mut Bus, word: u32, address: u64, base: u64) -> Step {
    let what = transfer_of(core, word)?;
    if what.kind == Kind::Prefetch {
        return core.undefined();
    }
    let user = core.user();
    core.transfer(bus, what, Base::Normal, (rn(word), rd(word)), address, user)?;
    core.write_back(rn(word), base);
    Ok(())
}

/// Transfers at an address that is made from the base and the size.
#[inline(always)]
fn transfer_at<const FORM: u32>(core: &mut Core, bus: &mut Bus, word: u32, address: impl Fn(u64, u32) -> u64) -> Step {
    if let Some(what) = Transfer::of::<FORM>(word)
        && let Some(base) = core.direct_base(rn(word))
        && core.transfer_direct(bus, what, rd(word), address(base, what.size))
    {
        return Ok(());
    }
    let address = address(core.x_or_sp(rn(word)), bits(word, 30, 2));
    transfer_checked(core, bus, word, address)
}

/// Transfers at the base, or at the sum of it and the offset that becomes the new base.
#[inline(always)]
fn transfer_and_move<const FORM: u32>(core: &mut Core, bus: &mut Bus, word: u32, before: bool) -> Step {
    let start = core.x_or_sp(rn(word));
    let moved = start.wrapping_add_signed(signed(word, 12, 9));
    let address = if before { moved } else { start };
    if let Some(what) = Transfer::of::<FORM>(word)
        && core.direct_base(rn(word)).is_some()
        && core.transfer_direct(bus, what, rd(word), address)
    {
        core.set_x_or_sp(rn(word), moved);
        return Ok(());
    }
    transfer_checked_and_move(core, bus, word, address, moved)
}

fn unsigned_offset<const FORM: u32>(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    transfer_at::<FORM>(core, bus, word, |base, size| {
        base.wrapping_add(u64::from(bits(word, 10, 12)) << size)
    })
}

fn unscaled<const FORM: u32>(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    transfer_at::<FORM>(core, bus, word, |base, _| base.wrapping_add_signed(signed(word, 12, 9)))
}

fn unprivileged(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let what = transfer_of(core, word)?;
    if what.kind == Kind::Prefetch {
        return core.undefined();
    }
    let address = core.x_or_sp(rn(word)).wrapping_add_signed(signed(word, 12, 9));
    let user = core.unprivileged_access();
    core.transfer(bus, what, Base::Normal, (rn(word), rd(word)), address, user)
}

impl Core {
    /// Whether LDTR and STTR access memory as EL0 does.
    pub(super) fn unprivileged_access(&self) -> bool {
        let host = self.el == 2 && self.registers.hcr_el2 >> 34 & 1 == 1 && self.registers.hcr_el2 >> 27 & 1 == 1;
        self.el == 0 || !self.uao && (self.el == 1 || host)
    }
}

fn post_index<const FORM: u32>(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    transfer_and_move::<FORM>(core, bus, word, false)
}

fn pre_index<const FORM: u32>(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    transfer_and_move::<FORM>(core, bus, word, true)
}

fn register_offset<const FORM: u32>(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let offset = core.x(rm(word));
    transfer_at::<FORM>(core, bus, word, |base, size| {
        let amount = if bit(word, 12) { size } else { 0 };
        base.wrapping_add(extend(offset, bits(word, 13, 3), amount))
    })
}

fn prefetch(_: &mut Core, _: &mut Bus, _: u32) -> Step {
    Ok(())
}

/// Loads relative to PCC, which authorises them.
fn load_literal(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let address = core.pc.wrapping_add_signed(signed(word, 5, 19) * 4);
    let size = if bits(word, 30, 2) == 1 { 3 } else { 2 };
    let pcc = core.pcc;
    core.check_capability(&pcc, address, 1 << size, LOAD)?;
    let user = core.user();
    let value = core.load_sized(bus, address, size, user)?;
    core.set_x(
        rd(word),
        if bits(word, 30, 2) == 2 {
            value as i32 as u64
        } else {
            value
        },
    );
    Ok(())
}

fn pair_no_allocate(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    if bits(word, 30, 2) == 1 {
        return core.undefined();
    }
    pair_offset::<ANY>(core, bus, word)
}

fn pair_offset<const FORM: u32>(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let address = core.x_or_sp(rn(word)).wrapping_add_signed(pair_immediate(word));
    if pair_direct::<FORM>(core, bus, word, address) {
        return Ok(());
    }
    pair_checked(core, bus, word, address)
}

fn pair_pre_index<const FORM: u32>(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let moved = core.x_or_sp(rn(word)).wrapping_add_signed(pair_immediate(word));
    if pair_direct::<FORM>(core, bus, word, moved) {
        core.set_x_or_sp(rn(word), moved);
        return Ok(());
    }
    pair_checked(core, bus, word, moved)?;
    core.write_back(rn(word), moved);
    Ok(())
}

fn pair_post_index<const FORM: u32>(core: &mut Core, bus: &mut Bus, word: u32) -> Step {
    let start = core.x_or_sp(rn(word));
    let moved = start.wrapping_add_signed(pair_immediate(word));
    if pair_direct::<FORM>(core, bus, word, start) {
        core.set_x_or_sp(rn(word), moved);
        return Ok(());
    }
    pair_checked(core, bus, word, start)?;
    core.write_back(rn(word), moved);
    Ok(())
}

fn pair_immediate(word: u32) -> i64 {
    signed(word, 15, 7) << if bit(word, 31) { 3 } else { 2 }
}

/// Transfers a pair of words the short way; whether it has.
#[inline(always)]
fn pair_direct<const FORM: u32>(core: &mut Core, bus: &mut Bus, word: u32, address: u64) -> bool {
    if FORM == ANY || core.direct_base(rn(word)).is_none() {
        return false;
    }
    if FORM == pair(2, false) {
        let words = [core.x(rd(word)), core.x(ra(word))];
        return core.store_words_direct(bus, address, words);
    }
    let Some([one, two]) = core.load_words_direct(bus, address) else {
        return false;
    };
    core.set_x(rd(word), one);
    core.set_x(ra(word), two);
    true
}

/// The long way of a pair.
#[cold]
fn pair_checked(core: &mut Core, bus: &mut Bus, word: u32, address: u64) -> Step {
    let (opc, load) = (bits(word, 30, 2), bit(word, 22));
    if opc == 3 || opc == 1 && !load {
        return core.undefined();
    }
    let size = if opc == 2 { 3 } else { 2 };
    core.remember_direct();
    core.check_sp(rn(word))?;
    let address = core.authorise(
        Base::Normal,
        rn(word),
        address,
        2 << size,
        if load { LOAD } else { STORE },
    )?;
    let user = core.user();
    let second = address.wrapping_add(1 << size);
    if opc == 2 && load {
        let [one, two] = core.load_words(bus, address, user)?;
        core.set_x(rd(word), one);
        core.set_x(ra(word), two);
        Ok(())
    } else if opc == 2 {
        let words = [core.x(rd(word)), core.x(ra(word))];
        core.store_words(bus, address, words, user)
    } else if load {
        let one = core.load_sized(bus, address, size, user)?;
        let two = core.load_sized(bus, second, size, user)?;
        let (one, two) = if opc == 1 {
            (one as i32 as u64, two as i32 as u64)
        } else {
            (one, two)
        };
        core.set_x(rd(word), one);
        core.set_x(ra(word), two);
        Ok(())
    } else {
        let (one, two) = (core.x(rd(word)), core.x(ra(word)));
        core.store_sized(bus, address, size, one, user)?;
        core.store_sized(bus, second, size, two, user)
    }
}
