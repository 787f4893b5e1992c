//! The short way to RAM, for integer addresses with nothing left to check: DDC is known to allow what lies around them, their
//! page is known to be RAM that may be accessed so, and they are aligned.
//!
//! It is taken or it is not: `None` and `false` say that nothing has happened, and that the long way, which makes every check
//! in its order, is to be gone. What the long way finds out about DDC is remembered here until something changes on which it
//! depends: DDC, which of its banks is in use, CCTLR, the exception level, the instruction set.

use super::access::{Direction, LOAD, STORE};
use super::bus::Bus;
use super::core::Core;
use crate::memory::TaggedMemory;

/// Most bytes that are accessed at once.
const MOST: u64 = 32;

/// What DDC is known to allow. Nothing where capabilities are the base of accesses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Direct {
    /// Added to an integer address before it is checked.
    relocation: u64,
    /// The first address that DDC allows.
    first: u64,
    /// So many addresses from there on lie far enough below the top to load any number of bytes from, or to store.
    loads: u64,
    stores: u64,
    /// Accesses are unprivileged.
    user: bool,
}

impl Direct {
    /// Nothing is known.
    pub(super) const NONE: Self = Self {
        relocation: 0,
        first: 0,
        loads: 0,
        stores: 0,
        user: false,
    };
}

impl Core {
    /// Forgets what DDC allows.
    pub(super) fn forget_direct(&mut self) {
        self.direct = Direct::NONE;
    }

    /// Remembers what DDC allows.
    pub(super) fn remember_direct(&mut self) {
        let ddc = self.current_ddc();
        if self.c64 || !ddc.tag() || ddc.is_sealed() || !ddc.bounds_valid() {
            return;
        }
        let span = ddc.top().saturating_sub(u128::from(ddc.base()) + u128::from(MOST - 1));
        let allowed = |permission| {
            if ddc.has_permission_bits(permission) {
                span as u64
            } else {
                0
            }
        };
        self.direct = Direct {
            relocation: self.ddc_offset(),
            first: ddc.base(),
            loads: allowed(LOAD),
            stores: allowed(STORE),
            user: self.user(),
        };
    }

    /// The integer in base register `n`; none in an SP that is not aligned.
    #[inline(always)]
    pub(super) fn direct_base(&self, n: u32) -> Option<u64> {
        let base = self.x_or_sp(n);
        (n & 31 != 31 || base & 15 == 0).then_some(base)
    }

    /// The place in the first RAM of `length` bytes at an integer address that is a multiple of `alignment`.
    #[inline(always)]
    pub(super) fn direct_place(
        &self,
        address: u64,
        length: u64,
        alignment: u64,
        direction: Direction,
    ) -> Option<usize> {
        let known = &self.direct;
        let address = address.wrapping_add(known.relocation);
        let allowed = match direction {
            Direction::Load => known.loads,
            Direction::Store => known.stores,
        };
        if address.wrapping_sub(known.first) >= allowed {
            return None;
        }
        self.tlb.direct_place(address, length, alignment, direction, known.user)
    }

    /// Loads `N` bytes, a power of two.
    #[inline(always)]
    pub(super) fn load_direct<const N: usize>(&self, bus: &Bus, address: u64) -> Option<[u8; N]> {
        let place = self.direct_place(address, N as u64, N as u64, Direction::Load)?;
        Some(bus.ram[0].read(place))
    }

    /// Loads two words.
    #[inline(always)]
    pub(super) fn load_words_direct(&self, bus: &Bus, address: u64) -> Option<[u64; 2]> {
        let place = self.direct_place(address, 16, 8, Direction::Load)?;
        let ram = &bus.ram[0];
        Some([ram.read(place), ram.read(place + 8)].map(u64::from_le_bytes))
    }

    /// Stores `N` bytes, a power of two.
    #[inline(always)]
    pub(super) fn store_direct<const N: usize>(&mut self, bus: &mut Bus, address: u64, bytes: [u8; N]) -> bool {
        let Some(place) = self.direct_place(address, N as u64, N as u64, Direction::Store) else {
            return false;
        };
        self.write_aligned(&mut bus.ram[0], place, bytes);
        true
    }

    /// Stores two words.
    #[inline(always)]
    pub(super) fn store_words_direct(&mut self, bus: &mut Bus, address: u64, words: [u64; 2]) -> bool {
        let Some(place) = self.direct_place(address, 16, 8, Direction::Store) else {
            return false;
        };
        let [one, two] = words.map(u64::to_le_bytes);
        self.write_aligned(&mut bus.ram[0], place, one);
        self.write_aligned(&mut bus.ram[0], place + 8, two);
        true
    }

    /// Writes `N` bytes, a power of two, at an aligned place in the first RAM.
    #[inline(always)]
    pub(super) fn write_aligned<const N: usize>(&mut self, ram: &mut TaggedMemory, place: usize, bytes: [u8; N]) {
        if ram.write_aligned(place, bytes) {
            self.close_window();
        }
    }
}
