//! Memory as instructions see it: the capability check, then alignment, then translation, then RAM or a device.
//!
//! The order of the checks is the order in which their faults win (DDI 0606, VACheckAddress and CheckCapability): tag, seal,
//! load permission, bounds, store permission for something that loads; permission before bounds for a store.

use super::bus::Bus;
use super::core::{Core, Step, permission};
use super::exception::status;
use super::mmu::Access;
use capability::morello::Capability;

const PAGE: u64 = 4096;
const ENTRIES: usize = 512;
const CODE_ENTRIES: usize = 64;
/// No page of code.
const NO_CODE: (u64, usize) = (u64::MAX, 0);

/// What a translation allows and how capabilities behave there.
pub(super) mod attribute {
    pub(crate) const READ: u8 = 1;
    pub(crate) const WRITE: u8 = 1 << 1;
    pub(crate) const RAM: u8 = 1 << 2;
    /// Loaded tags are cleared.
    pub(crate) const LOAD_CLEARS: u8 = 1 << 3;
    /// Loading a tag faults.
    pub(crate) const LOAD_FAULTS: u8 = 1 << 4;
    /// Any capability load faults.
    pub(crate) const LOAD_ALWAYS_FAULTS: u8 = 1 << 5;
    /// Storing a tag faults.
    pub(crate) const STORE_FAULTS: u8 = 1 << 6;
    /// Instructions may be fetched.
    pub(crate) const EXECUTE: u8 = 1 << 7;
}

/// One remembered page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Number of the virtual page; all ones: empty.
    page: u64,
    /// Address of the page where it is of the first RAM and may be read, else of none.
    read: u64,
    /// Address of the page where it is of the first RAM and may be written, else of none.
    written: u64,
    /// Offset of the page in its RAM, or its physical address when it is no RAM.
    pub(super) place: u64,
    /// Which RAM.
    pub(super) ram: u8,
    /// Bits of [`attribute`].
    pub(super) attributes: u8,
}

/// No address of a page.
const NOWHERE: u64 = u64::MAX;

const EMPTY: Entry = Entry {
    page: u64::MAX,
    read: NOWHERE,
    written: NOWHERE,
    place: 0,
    ram: 0,
    attributes: 0,
};

/// Of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Load,
    Store,
}

/// Remembered translations: of data, and of instructions, which end at their decoded page; one set each for unprivileged
/// accesses, one for the others.
#[derive(Clone)]
pub(super) struct Tlb {
    /// Those for privileged accesses, then those for unprivileged ones.
    data: Box<[Entry; 2 * ENTRIES]>,
    code: [[(u64, usize); CODE_ENTRIES]; 2],
    used: bool,
}

impl Default for Tlb {
    fn default() -> Self {
        Self {
            data: Box::new([EMPTY; 2 * ENTRIES]),
            code: [[NO_CODE; CODE_ENTRIES]; 2],
            used: false,
        }
    }
}

impl Tlb {
    /// Forgets everything.
    pub(super) fn flush(&mut self) {
        if self.used {
            self.data.fill(EMPTY);
            self.code = [[NO_CODE; CODE_ENTRIES]; 2];
            self.used = false;
        }
    }

    /// The place of an address among the remembered pages.
    #[inline(always)]
    fn index(address: u64, user: bool) -> usize {
        (address / PAGE) as usize % ENTRIES + ENTRIES * usize::from(user)
    }

    /// The place in the first RAM of `length` bytes at `address`, a multiple of `alignment`, that may be accessed so.
    #[inline(always)]
    pub(super) fn direct_place(
        &self,
        address: u64,
        length: u64,
        alignment: u64,
        direction: Direction,
        user: bool,
    ) -> Option<usize> {
        let entry = &self.data[Self::index(address, user)];
        let page = match direction {
            Direction::Load => entry.read,
            Direction::Store => entry.written,
        };
        let within = address % PAGE;
        // What is aligned to its length lies within one page.
        let fits = length <= alignment || within <= PAGE - length;
        (address & (!(PAGE - 1) | (alignment - 1)) == page && fits).then_some((entry.place + within) as usize)
    }

    /// The decoded page from which an address is fetched, if it was translated before.
    pub(super) fn code(&self, address: u64, user: bool) -> Option<usize> {
        let page = address / PAGE;
        let (found, place) = self.code[usize::from(user)][page as usize % CODE_ENTRIES];
        (found == page).then_some(place)
    }

    /// Remembers where an address is fetched from.
    pub(super) fn set_code(&mut self, address: u64, user: bool, place: usize) {
        let page = address / PAGE;
        self.code[usize::from(user)][page as usize % CODE_ENTRIES] = (page, place);
        self.used = true;
    }
}

/// A base register with what it authorises: a capability in C64, DDC in A64; alternate-base forms the other way round.
#[derive(Clone, Copy)]
pub(super) enum Base {
    /// The usual one of the current instruction set.
    Normal,
    /// The other one.
    Alternate,
}

/// Kinds of access, as the permissions that they need.
pub(super) const LOAD: u32 = permission::LOAD;
pub(super) const STORE: u32 = permission::STORE;

/// The permissions that storing `value` needs.
pub(super) fn store_permissions(value: &Capability) -> u32 {
    match (value.tag(), value.has_permission_bits(permission::GLOBAL)) {
        (false, _) => STORE,
        (true, true) => STORE | permission::STORE_CAPABILITY,
        (true, false) => STORE | permission::STORE_CAPABILITY | permission::STORE_LOCAL,
    }
}

/// Whether `authority` allows an access of `size` bytes at `address`.
#[inline(always)]
fn allows(authority: &Capability, address: u64, size: u64, needed: u32) -> bool {
    authority.tag()
        && !authority.is_sealed()
        && authority.has_permission_bits(needed)
        && authority.in_bounds(address, size)
}

impl Core {
    /// Whether accesses of the current instruction are unprivileged.
    pub(super) fn user(&self) -> bool {
        self.el == 0
    }

    /// Whether `base` means a capability register.
    #[inline(always)]
    pub(super) fn capability_base(&self, base: Base) -> bool {
        self.c64 != matches!(base, Base::Alternate)
    }

    /// Checks that SP, when it is the base, is aligned.
    #[inline(always)]
    pub(super) fn check_sp(&mut self, n: u32) -> Step {
        if n & 31 == 31 && self.sp[self.bank].address() & 15 != 0 {
            let bit = if self.el == 0 { 4 } else { 3 };
            if self.registers.sctlr[usize::from(self.el.max(1))] >> bit & 1 == 1 {
                return self.sp_alignment_fault();
            }
        }
        Ok(())
    }

    /// Checks an access of `size` bytes at `address`, reached through base register `n`, for `permissions`. Returns the virtual
    /// address, which DDC may have moved.
    #[inline(always)]
    pub(super) fn authorise(&mut self, base: Base, n: u32, address: u64, size: u64, permissions: u32) -> Step<u64> {
        if self.capability_base(base) {
            let authority = self.c_or_sp(n);
            self.check_capability(&authority, address, size, permissions)?;
            return Ok(address);
        }
        let address = address.wrapping_add(self.ddc_offset());
        // It is looked at where it lies: copied when it refuses only.
        if !allows(&self.ddc[self.bank], address, size, permissions) {
            let ddc = self.ddc[self.bank];
            self.refuse(&ddc, address, size, permissions)?;
        }
        Ok(address)
    }

    /// The capability that authorises accesses through base register `n`.
    pub(super) fn authority(&self, base: Base, n: u32) -> Capability {
        if self.capability_base(base) {
            self.c_or_sp(n)
        } else {
            *self.current_ddc()
        }
    }

    /// Checks an access of `size` bytes at `address` against `authority`.
    #[inline(always)]
    pub(super) fn check_capability(&mut self, authority: &Capability, address: u64, size: u64, needed: u32) -> Step {
        if allows(authority, address, size, needed) {
            Ok(())
        } else {
            self.refuse(authority, address, size, needed)
        }
    }

    #[cold]
    fn refuse(&mut self, authority: &Capability, address: u64, size: u64, needed: u32) -> Step {
        let loads = needed & LOAD != 0;
        let in_bounds = authority.in_bounds(address, size);
        let missing = needed & !authority.permission_bits();
        if !authority.tag() {
            return self.capability_abort(address, status::CAPABILITY_TAG, !loads);
        }
        if authority.is_sealed() {
            return self.capability_abort(address, status::CAPABILITY_SEAL, !loads);
        }
        if missing & LOAD != 0 {
            return self.capability_abort(address, status::CAPABILITY_PERMISSION, false);
        }
        if missing != 0 && (!loads || in_bounds) {
            return self.capability_abort(address, status::CAPABILITY_PERMISSION, true);
        }
        self.capability_abort(address, status::CAPABILITY_BOUNDS, !loads)
    }

    /// Raises an alignment fault unless `address` is a multiple of `size`.
    #[inline(always)]
    pub(super) fn check_alignment(&mut self, address: u64, size: u64, write: bool) -> Step {
        if address & (size - 1) != 0 {
            return self.data_abort(address, status::ALIGNMENT, write);
        }
        Ok(())
    }

    /// Checks the alignment of an ordinary access, which SCTLR.A demands.
    #[inline(always)]
    pub(super) fn check_strict_alignment(&mut self, address: u64, size: u64, write: bool) -> Step {
        if address & (size - 1) != 0 && self.registers.sctlr[usize::from(self.el.max(1))] & 2 != 0 {
            return self.data_abort(address, status::ALIGNMENT, write);
        }
        Ok(())
    }

    #[inline(always)]
    fn entry(&mut self, bus: &mut Bus, address: u64, access: Access, user: bool) -> Step<Entry> {
        let page = address / PAGE;
        let entry = self.tlb.data[Tlb::index(address, user)];
        let needed = if matches!(access, Access::Write) {
            attribute::WRITE
        } else {
            attribute::READ
        };
        if entry.page == page && entry.attributes & needed != 0 {
            return Ok(entry);
        }
        self.fill(bus, address, access, user)
    }

    #[cold]
    fn fill(&mut self, bus: &mut Bus, address: u64, access: Access, user: bool) -> Step<Entry> {
        let page = address / PAGE;
        let found = self.translate(bus, address, access, user)?;
        let physical = found.physical & !(PAGE - 1);
        let entry = match bus.ram_at(physical) {
            Some((ram, place)) => {
                let where_allowed = |attribute| {
                    if ram == 0 && found.attributes & attribute != 0 {
                        page * PAGE
                    } else {
                        NOWHERE
                    }
                };
                Entry {
                    page,
                    read: where_allowed(attribute::READ),
                    written: where_allowed(attribute::WRITE),
                    place,
                    ram,
                    attributes: found.attributes | attribute::RAM,
                }
            }
            None => Entry {
                page,
                place: physical,
                attributes: found.attributes & !attribute::RAM,
                ..EMPTY
            },
        };
        self.tlb.used = true;
        self.tlb.data[Tlb::index(address, user)] = entry;
        Ok(entry)
    }

    /// Loads `N` bytes (a power of two up to 16) at a virtual address that has been authorised.
    #[inline(always)]
    pub(super) fn load<const N: usize>(&mut self, bus: &mut Bus, address: u64, user: bool) -> Step<[u8; N]> {
        if address & (N as u64 - 1) != 0 {
            return self.load_misaligned(bus, address, user);
        }
        let entry = self.entry(bus, address, Access::Read, user)?;
        if entry.attributes & attribute::RAM != 0 {
            return Ok(bus.ram[usize::from(entry.ram)].read(entry.place as usize + (address % PAGE) as usize));
        }
        self.load_device(bus, address, entry.place + address % PAGE)
    }

    /// Loads two words that follow each other, authorised together: where they lie in one page of RAM, which is looked for once.
    #[inline(always)]
    pub(super) fn load_words(&mut self, bus: &mut Bus, address: u64, user: bool) -> Step<[u64; 2]> {
        let within = (address % PAGE) as usize;
        if address.is_multiple_of(8) && within <= PAGE as usize - 16 {
            let entry = self.entry(bus, address, Access::Read, user)?;
            if entry.attributes & attribute::RAM != 0 {
                let ram = &bus.ram[usize::from(entry.ram)];
                let place = entry.place as usize + within;
                return Ok([ram.read(place), ram.read(place + 8)].map(u64::from_le_bytes));
            }
        }
        let one = self.load(bus, address, user)?;
        Ok([one, self.load(bus, address.wrapping_add(8), user)?].map(u64::from_le_bytes))
    }

    /// Stores two words, as [`Core::load_words`] loads them.
    #[inline(always)]
    pub(super) fn store_words(&mut self, bus: &mut Bus, address: u64, words: [u64; 2], user: bool) -> Step {
        let (within, [one, two]) = ((address % PAGE) as usize, words.map(u64::to_le_bytes));
        if address.is_multiple_of(8) && within <= PAGE as usize - 16 {
            let entry = self.entry(bus, address, Access::Write, user)?;
            if entry.attributes & attribute::RAM != 0 {
                let ram = &mut bus.ram[usize::from(entry.ram)];
                let place = entry.place as usize + within;
                ram.write(place, one);
                ram.write(place + 8, two);
                if ram.has_changed() {
                    self.close_window();
                }
                return Ok(());
            }
        }
        self.store(bus, address, one, user)?;
        self.store(bus, address.wrapping_add(8), two, user)
    }

    #[cold]
    fn load_misaligned<const N: usize>(&mut self, bus: &mut Bus, address: u64, user: bool) -> Step<[u8; N]> {
        self.check_strict_alignment(address, N as u64, false)?;
        let mut bytes = [0; N];
        for (index, byte) in bytes.iter_mut().enumerate() {
            [*byte] = self.load::<1>(bus, address.wrapping_add(index as u64), user)?;
        }
        Ok(bytes)
    }

    #[cold]
    fn load_device<const N: usize>(&mut self, bus: &mut Bus, address: u64, physical: u64) -> Step<[u8; N]> {
        self.pause();
        let mut bytes = [0; N];
        for (index, part) in bytes.chunks_mut(8).enumerate() {
            let Some(value) = bus.device_read(self.number, physical + index as u64 * 8, part.len()) else {
                return self.data_abort(address, status::EXTERNAL, false);
            };
            part.copy_from_slice(&value.to_le_bytes()[..part.len()]);
        }
        Ok(bytes)
    }

    /// Stores `N` bytes (a power of two up to 16) at a virtual address that has been authorised.
    #[inline(always)]
    pub(super) fn store<const N: usize>(&mut self, bus: &mut Bus, address: u64, bytes: [u8; N], user: bool) -> Step {
        if address & (N as u64 - 1) != 0 {
            return self.store_misaligned(bus, address, bytes, user);
        }
        let entry = self.entry(bus, address, Access::Write, user)?;
        if entry.attributes & attribute::RAM != 0 {
            let ram = &mut bus.ram[usize::from(entry.ram)];
            ram.write(entry.place as usize + (address % PAGE) as usize, bytes);
            if ram.has_changed() {
                self.close_window();
            }
            return Ok(());
        }
        self.store_device(bus, address, entry.place + address % PAGE, bytes)
    }

    #[cold]
    fn store_misaligned<const N: usize>(&mut self, bus: &mut Bus, address: u64, bytes: [u8; N], user: bool) -> Step {
        self.check_strict_alignment(address, N as u64, true)?;
        // Both pages must be writable before anything is written.
        self.entry(bus, address, Access::Write, user)?;
        self.entry(bus, address.wrapping_add(N as u64 - 1), Access::Write, user)?;
        for (index, byte) in bytes.into_iter().enumerate() {
            self.store(bus, address.wrapping_add(index as u64), [byte], user)?;
        }
        Ok(())
    }

    #[cold]
    fn store_device<const N: usize>(&mut self, bus: &mut Bus, address: u64, physical: u64, bytes: [u8; N]) -> Step {
        self.pause();
        for (index, part) in bytes.chunks(8).enumerate() {
            let mut value = [0; 8];
            value[..part.len()].copy_from_slice(part);
            let place = physical + index as u64 * 8;
            if !bus.device_write(self.number, place, part.len(), u64::from_le_bytes(value)) {
                return self.data_abort(address, status::EXTERNAL, true);
            }
        }
        Ok(())
    }

    /// Raises the fault that a store at `address` would, without storing.
    pub(super) fn probe_store(&mut self, bus: &mut Bus, address: u64, user: bool) -> Step {
        self.entry(bus, address, Access::Write, user).map(|_| ())
    }

    /// Raises the fault that storing a tagged capability at `address` would, without storing.
    pub(super) fn probe_store_tag(&mut self, bus: &mut Bus, address: u64, user: bool) -> Step {
        let entry = self.entry(bus, address, Access::Write, user)?;
        if entry.attributes & attribute::STORE_FAULTS != 0 {
            return self.capability_abort(address, status::CAPABILITY_PAGE, true);
        }
        Ok(())
    }

    /// The granule at `address` as memory holds it, with the attributes of its page.
    pub(super) fn load_granule(&mut self, bus: &mut Bus, address: u64, user: bool) -> Step<((u64, u64, bool), u8)> {
        let entry = self.entry(bus, address, Access::Read, user)?;
        if entry.attributes & attribute::RAM == 0 {
            let bytes: [u8; 16] = self.load_device(bus, address, entry.place + address % PAGE)?;
            let value = u128::from_le_bytes(bytes);
            return Ok(((value as u64, (value >> 64) as u64, false), entry.attributes));
        }
        let ram = &bus.ram[usize::from(entry.ram)];
        Ok((
            ram.read_granule(entry.place as usize + (address % PAGE) as usize),
            entry.attributes,
        ))
    }

    /// Loads a capability from an aligned, authorised address; `authority` decides what is left of it.
    pub(super) fn load_capability(
        &mut self,
        bus: &mut Bus,
        address: u64,
        authority: &Capability,
        user: bool,
    ) -> Step<Capability> {
        let ((low, high, tag), attributes) = self.load_granule(bus, address, user)?;
        if attributes & attribute::LOAD_ALWAYS_FAULTS != 0 {
            return self.capability_abort(address, status::CAPABILITY_PAGE, false);
        }
        let cleared =
            attributes & attribute::LOAD_CLEARS != 0 || !authority.has_permission_bits(permission::LOAD_CAPABILITY);
        if !tag || cleared {
            return Ok(Capability::from_memory(low, high, false));
        }
        if attributes & attribute::LOAD_FAULTS != 0 {
            return self.capability_abort(address, status::CAPABILITY_PAGE, false);
        }
        let loaded = Capability::from_memory(low, high, true);
        if authority.has_permission_bits(permission::MUTABLE_LOAD) || loaded.is_sealed() {
            return Ok(loaded);
        }
        Ok(loaded.without_permissions(
            permission::MUTABLE_LOAD | permission::STORE_LOCAL | permission::STORE_CAPABILITY | permission::STORE,
        ))
    }

    /// Stores a capability at an aligned, authorised address.
    pub(super) fn store_capability(&mut self, bus: &mut Bus, address: u64, value: &Capability, user: bool) -> Step {
        if value.tag() {
            self.probe_store_tag(bus, address, user)?;
        }
        let entry = self.entry(bus, address, Access::Write, user)?;
        let (low, high) = value.to_memory();
        if entry.attributes & attribute::RAM == 0 {
            let bytes = (u128::from(high) << 64 | u128::from(low)).to_le_bytes();
            return self.store_device(bus, address, entry.place + address % PAGE, bytes);
        }
        let ram = &mut bus.ram[usize::from(entry.ram)];
        ram.write_granule(entry.place as usize + (address % PAGE) as usize, low, high, value.tag());
        if ram.has_changed() {
            self.close_window();
        }
        Ok(())
    }

    /// The physical address behind `address` for loading, to compare exclusives by.
    pub(super) fn physical(&mut self, bus: &mut Bus, address: u64, user: bool) -> Step<u64> {
        let entry = self.entry(bus, address, Access::Read, user)?;
        let base = if entry.attributes & attribute::RAM != 0 {
            bus.ram[usize::from(entry.ram)].base()
        } else {
            0
        };
        Ok(base + entry.place + address % PAGE)
    }

    /// Writes the tag at an aligned, authorised address and leaves the data alone.
    pub(super) fn store_tag(&mut self, bus: &mut Bus, address: u64, tag: bool, user: bool) -> Step {
        let entry = self.entry(bus, address, Access::Write, user)?;
        if entry.attributes & attribute::RAM != 0 {
            bus.ram[usize::from(entry.ram)].set_tag(entry.place as usize + (address % PAGE) as usize, tag);
        }
        Ok(())
    }
}
