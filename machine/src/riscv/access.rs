//! Loads, stores and fetches: the checks of capabilities, alignment and PMP, and the windows that make most of them one
//! comparison.

use capability::riscv::Capability;

use crate::memory::GRANULE;

use super::bus::Bus;
use super::hart::{Hart, Privilege, Window, permission};
use super::pmp;
use super::trap::{CapabilityCause, REGISTER_DDC, REGISTER_PCC, Trap};

/// The widest access of the windows.
const WIDEST: u64 = GRANULE as u64;

/// What a misaligned address does to an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alignment {
    /// Misaligned addresses are fine.
    Any,
    /// Cause 4 unless aligned to the size.
    Load,
    /// Cause 6 unless aligned to the size.
    Store,
}

/// What authorises an access: a capability and the number by which a fault names its register.
#[derive(Clone, Copy)]
pub(super) struct Authority {
    pub(super) capability: Capability,
    pub(super) register: u8,
}

/// Checks tag, seal, permissions, bounds and then alignment, in the order in which faults are reported. Where loads and
/// stores are both needed, bounds are reported before missing permissions to store.
pub(super) fn check(
    authority: &Authority,
    need: u32,
    address: u64,
    size: u64,
    alignment: Alignment,
) -> Result<(), Trap> {
    let Authority { capability, register } = authority;
    let fault = |cause| Err(Trap::capability(cause, *register));
    let missing = need & !capability.permission_bits();
    let in_bounds = capability.in_bounds(address, size);
    if !capability.tag() {
        return fault(CapabilityCause::Tag);
    }
    if capability.is_sealed() {
        return fault(CapabilityCause::Seal);
    }
    if missing & permission::LOAD != 0 {
        return fault(CapabilityCause::Load);
    }
    if missing & permission::LOAD_CAPABILITY != 0 {
        return fault(CapabilityCause::LoadCapability);
    }
    if need & permission::LOAD == 0 || in_bounds {
        for (bit, cause) in [
            (permission::STORE, CapabilityCause::Store),
            (permission::STORE_CAPABILITY, CapabilityCause::StoreCapability),
            (permission::STORE_LOCAL, CapabilityCause::StoreLocal),
        ] {
            if missing & bit != 0 {
                return fault(cause);
            }
        }
    }
    if !in_bounds {
        return fault(CapabilityCause::Length);
    }
    match alignment {
        Alignment::Load if !address.is_multiple_of(size) => Err(Trap::load_misaligned(address)),
        Alignment::Store if !address.is_multiple_of(size) => Err(Trap::store_misaligned(address)),
        _ => Ok(()),
    }
}

/// The permissions that storing `value` needs.
pub(super) fn permissions_to_store(value: &Capability) -> u32 {
    match (value.tag(), value.has_permission_bits(permission::GLOBAL)) {
        (false, _) => permission::STORE,
        (true, true) => permission::STORE | permission::STORE_CAPABILITY,
        (true, false) => permission::STORE | permission::STORE_CAPABILITY | permission::STORE_LOCAL,
    }
}

impl Hart {
    pub(super) fn ddc_authority(&self) -> Authority {
        Authority {
            capability: *self.ddc(),
            register: REGISTER_DDC,
        }
    }

    pub(super) fn register_authority(&self, number: u8) -> Authority {
        Authority {
            capability: self.registers.capability(number),
            register: number,
        }
    }

    /// Loads `N` bytes from an address that the caller has checked against a capability.
    #[inline(always)]
    pub(super) fn load<const N: usize>(&mut self, bus: &mut Bus, address: u64) -> Result<[u8; N], Trap> {
        if self.admitted.load.contains(address) {
            return Ok(bus.memory.read(address.wrapping_sub(bus.memory.base()) as usize));
        }
        self.load_slowly(bus, address)
    }

    #[cold]
    #[inline(never)]
    fn load_slowly<const N: usize>(&mut self, bus: &mut Bus, address: u64) -> Result<[u8; N], Trap> {
        self.check_pmp(address, N as u64, pmp::READ)
            .map_err(|()| Trap::load_access(address))?;
        if let Some(offset) = bus.memory.offset(address, N) {
            self.admitted.load = self.window_around(bus, address, WIDEST);
            return Ok(bus.memory.read(offset));
        }
        self.pause();
        let now = self.now(bus);
        let value = bus
            .read_outside_ram(address, N, now)
            .ok_or(Trap::load_access(address))?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(&value.to_le_bytes()[..N]);
        Ok(bytes)
    }

    /// Stores `N` bytes at an address that the caller has checked against a capability.
    #[inline(always)]
    pub(super) fn store<const N: usize>(&mut self, bus: &mut Bus, address: u64, value: [u8; N]) -> Result<(), Trap> {
        if self.admitted.store.contains(address) {
            bus.memory
                .write(address.wrapping_sub(bus.memory.base()) as usize, value);
            return Ok(());
        }
        self.store_slowly(bus, address, value)
    }

    #[cold]
    #[inline(never)]
    fn store_slowly<const N: usize>(&mut self, bus: &mut Bus, address: u64, value: [u8; N]) -> Result<(), Trap> {
        self.check_pmp(address, N as u64, pmp::WRITE)
            .map_err(|()| Trap::store_access(address))?;
        if let Some(offset) = bus.memory.offset(address, N) {
            self.admitted.store = self.window_around(bus, address, WIDEST);
            bus.memory.write(offset, value);
            return Ok(());
        }
        self.pause();
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(&value);
        let now = self.now(bus);
        bus.write_outside_ram(address, N, u64::from_le_bytes(bytes), now)
            .ok_or(Trap::store_access(address))
    }

    /// Loads an aligned granule from an address that the caller has checked; outside RAM there are no tags.
    pub(super) fn load_granule(&mut self, bus: &mut Bus, address: u64) -> Result<(u64, u64, bool), Trap> {
        if self.admitted.load.contains(address) {
            return Ok(bus
                .memory
                .read_granule(address.wrapping_sub(bus.memory.base()) as usize));
        }
        self.check_pmp(address, WIDEST, pmp::READ)
            .map_err(|()| Trap::load_access(address))?;
        if let Some(offset) = bus.memory.offset(address, GRANULE) {
            self.admitted.load = self.window_around(bus, address, WIDEST);
            return Ok(bus.memory.read_granule(offset));
        }
        let low = u64::from_le_bytes(self.load_slowly(bus, address)?);
        let high = u64::from_le_bytes(self.load_slowly(bus, address.wrapping_add(8))?);
        Ok((low, high, false))
    }

    /// Stores an aligned granule at an address that the caller has checked; outside RAM the tag is lost.
    pub(super) fn store_granule(&mut self, bus: &mut Bus, address: u64, value: &Capability) -> Result<(), Trap> {
        let (low, high) = value.to_memory();
        if self.admitted.store.contains(address) {
            let offset = address.wrapping_sub(bus.memory.base()) as usize;
            bus.memory.write_granule(offset, low, high, value.tag());
            return Ok(());
        }
        self.check_pmp(address, WIDEST, pmp::WRITE)
            .map_err(|()| Trap::store_access(address))?;
        if let Some(offset) = bus.memory.offset(address, GRANULE) {
            self.admitted.store = self.window_around(bus, address, WIDEST);
            bus.memory.write_granule(offset, low, high, value.tag());
            return Ok(());
        }
        self.store_slowly(bus, address.wrapping_add(8), high.to_le_bytes())?;
        self.store_slowly(bus, address, low.to_le_bytes())
    }

    fn now(&self, bus: &Bus) -> u64 {
        bus.time_base.wrapping_add(self.steps)
    }

    fn check_pmp(&self, address: u64, size: u64, need: u8) -> Result<(), ()> {
        let machine = self.data_privilege() == Privilege::Machine;
        let last = address.checked_add(size - 1).ok_or(())?;
        if self.pmp.allows(address, last, need, machine) {
            Ok(())
        } else {
            Err(())
        }
    }

    /// The part of RAM around `address` in which PMP answers as it does for `address`, for accesses of up to `size` bytes.
    fn window_around(&self, bus: &Bus, address: u64, size: u64) -> Window {
        let (start, last) = self.pmp.uniform_around(
            address,
            bus.memory.base(),
            bus.memory.base() + (bus.memory.size() - 1) as u64,
        );
        Window::new(start, last + 1, size)
    }

    /// Loads `N` bytes through DDC. The caller has relocated `address`.
    #[inline(always)]
    pub(super) fn load_by_ddc<const N: usize>(&mut self, bus: &mut Bus, address: u64) -> Result<[u8; N], Trap> {
        if self.ddc_load.contains(address) {
            return Ok(bus.memory.read(address.wrapping_sub(bus.memory.base()) as usize));
        }
        self.load_by_ddc_slowly(bus, address)
    }

    #[cold]
    #[inline(never)]
    fn load_by_ddc_slowly<const N: usize>(&mut self, bus: &mut Bus, address: u64) -> Result<[u8; N], Trap> {
        check(
            &self.ddc_authority(),
            permission::LOAD,
            address,
            N as u64,
            Alignment::Any,
        )?;
        let value = self.load(bus, address)?;
        self.ddc_load = self.narrow_to_ddc(self.admitted.load);
        Ok(value)
    }

    /// Stores `N` bytes through DDC. The caller has relocated `address`.
    #[inline(always)]
    pub(super) fn store_by_ddc<const N: usize>(
        &mut self,
        bus: &mut Bus,
        address: u64,
        value: [u8; N],
    ) -> Result<(), Trap> {
        if self.ddc_store.contains(address) {
            bus.memory
                .write(address.wrapping_sub(bus.memory.base()) as usize, value);
            return Ok(());
        }
        self.store_by_ddc_slowly(bus, address, value)
    }

    #[cold]
    #[inline(never)]
    fn store_by_ddc_slowly<const N: usize>(&mut self, bus: &mut Bus, address: u64, value: [u8; N]) -> Result<(), Trap> {
        check(
            &self.ddc_authority(),
            permission::STORE,
            address,
            N as u64,
            Alignment::Any,
        )?;
        self.store(bus, address, value)?;
        self.ddc_store = self.narrow_to_ddc(self.admitted.store);
        Ok(())
    }

    /// The part of `window` that is in DDC's bounds, for a DDC that has just authorised such an access.
    fn narrow_to_ddc(&self, window: Window) -> Window {
        if window.span == 0 {
            return Window::EMPTY;
        }
        let ddc = self.ddc();
        let end = u128::from(window.start) + u128::from(window.span) + u128::from(WIDEST - 1);
        let end = end.min(ddc.top()).min(u128::from(u64::MAX)) as u64;
        Window::new(window.start.max(ddc.base()), end, WIDEST)
    }

    /// Loads `N` bytes through the capability in register `number`.
    #[inline(always)]
    pub(super) fn load_by_register<const N: usize>(
        &mut self,
        bus: &mut Bus,
        number: u8,
        offset: i32,
    ) -> Result<[u8; N], Trap> {
        let address = self.registers.integer(number).wrapping_add(offset as u64);
        match self.registers.authority(number) {
            Some(authority) if admits(authority, permission::LOAD, address, N as u64) => self.load(bus, address),
            _ => Err(self.refusal(number, permission::LOAD, address, N as u64)),
        }
    }

    /// Stores `N` bytes through the capability in register `number`.
    #[inline(always)]
    pub(super) fn store_by_register<const N: usize>(
        &mut self,
        bus: &mut Bus,
        number: u8,
        offset: i32,
        value: [u8; N],
    ) -> Result<(), Trap> {
        let address = self.registers.integer(number).wrapping_add(offset as u64);
        match self.registers.authority(number) {
            Some(authority) if admits(authority, permission::STORE, address, N as u64) => {
                self.store(bus, address, value)
            }
            _ => Err(self.refusal(number, permission::STORE, address, N as u64)),
        }
    }

    /// The fault of an access that [`admits`] refused.
    #[cold]
    fn refusal(&self, number: u8, need: u32, address: u64, size: u64) -> Trap {
        check(&self.register_authority(number), need, address, size, Alignment::Any)
            .expect_err("both checks follow the same rules")
    }

    /// Fetches the instruction at `pc`, slowly and without the decode cache. The low half is enough for a compressed one.
    pub(super) fn fetch(&self, bus: &Bus) -> Result<u32, Trap> {
        let fault = |cause| Err(Trap::capability(cause, REGISTER_PCC));
        if !self.pcc.tag() {
            return fault(CapabilityCause::Tag);
        }
        if self.pcc.is_sealed() {
            return fault(CapabilityCause::Seal);
        }
        if !self.pcc.has_permission_bits(permission::EXECUTE) {
            return fault(CapabilityCause::Execute);
        }
        if !self.pcc.in_bounds(self.pc, 2) {
            return fault(CapabilityCause::Length);
        }
        let low = self.fetch_half(bus, self.pc)?;
        if low & 3 != 3 {
            return Ok(u32::from(low));
        }
        if !self.pcc.in_bounds(self.pc, 4) {
            return fault(CapabilityCause::Length);
        }
        let high = self.fetch_half(bus, self.pc.wrapping_add(2))?;
        Ok(u32::from(low) | u32::from(high) << 16)
    }

    fn fetch_half(&self, bus: &Bus, address: u64) -> Result<u16, Trap> {
        let machine = self.privilege == Privilege::Machine;
        let allowed = address < u64::MAX && self.pmp.allows(address, address + 1, pmp::EXECUTE, machine);
        allowed
            .then(|| bus.fetch(address))
            .flatten()
            .ok_or(Trap::fetch_access(address))
    }

    /// The addresses of this page from which the decode cache may be used, if `pc` is one of them.
    pub(super) fn refill_fetch_window(&mut self, bus: &Bus) -> bool {
        const PAGE: u64 = super::code::PAGE as u64;
        let pcc = &self.pcc;
        let executable = pcc.tag() && !pcc.is_sealed() && pcc.has_permission_bits(permission::EXECUTE);
        if !executable || bus.memory.offset(self.pc, 4).is_none() {
            return false;
        }
        if !self.admitted.fetch.contains(self.pc) {
            let machine = self.privilege == Privilege::Machine;
            if !self.pmp.allows(self.pc, self.pc + 1, pmp::EXECUTE, machine) {
                return false;
            }
            self.admitted.fetch = self.window_around(bus, self.pc, 1);
        }
        let page = self.pc & !(PAGE - 1);
        let admitted = self.admitted.fetch;
        let start = page.max(admitted.start).max(pcc.base());
        let end = (page + PAGE).min(admitted.start + admitted.span);
        let end = u128::from(end).min(pcc.top()) as u64;
        self.fetch_window = Window::new(start, end, 4);
        self.fetch_window.contains(self.pc)
    }
}

/// The same verdict as [`check`] without alignment, quickly.
#[inline(always)]
fn admits(authority: &Capability, need: u32, address: u64, size: u64) -> bool {
    authority.tag()
        && !authority.is_sealed()
        && authority.has_permission_bits(need)
        && authority.in_bounds(address, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(permissions: u32) -> Authority {
        let capability = Capability::ROOT
            .set_address(0x1000)
            .set_bounds(0x100)
            .0
            .and_permissions(permissions);
        Authority {
            capability,
            register: 7,
        }
    }

    fn cause(authority: &Authority, need: u32, address: u64, alignment: Alignment) -> u64 {
        check(authority, need, address, 8, alignment).map_or_else(|trap| trap.value, |()| 0)
    }

    #[test]
    fn faults_are_reported_in_the_order_of_the_manual() {
        let untagged = Authority {
            capability: authority(0).capability.clear_tag(),
            register: 7,
        };
        assert_eq!(cause(&untagged, permission::LOAD, 0, Alignment::Load), 0xe2);
        let sealed = Authority {
            capability: authority(0).capability.seal_entry(),
            register: 7,
        };
        assert_eq!(cause(&sealed, permission::LOAD, 0, Alignment::Load), 0xe3);
        assert_eq!(cause(&authority(0), permission::LOAD, 0, Alignment::Load), 0xf2);
        assert_eq!(cause(&authority(0), permission::STORE, 0, Alignment::Store), 0xf3);
        let both = permission::LOAD | permission::STORE;
        assert_eq!(cause(&authority(permission::LOAD), both, 0, Alignment::Store), 0xe1);
        assert_eq!(
            cause(&authority(permission::LOAD), both, 0x1000, Alignment::Store),
            0xf3
        );
        assert_eq!(cause(&authority(both), both, 0x10f9, Alignment::Store), 0xe1);
        assert_eq!(
            check(&authority(both), both, 0x1001, 8, Alignment::Store),
            Err(Trap::store_misaligned(0x1001))
        );
        assert_eq!(check(&authority(both), both, 0x1001, 8, Alignment::Any), Ok(()));
    }

    #[test]
    fn storing_a_tagged_local_capability_needs_three_permissions() {
        let local = Capability::ROOT.and_permissions(!permission::GLOBAL);
        assert_eq!(permissions_to_store(&local).count_ones(), 3);
        assert_eq!(permissions_to_store(&Capability::ROOT).count_ones(), 2);
        assert_eq!(permissions_to_store(&local.clear_tag()), permission::STORE);
    }
}
