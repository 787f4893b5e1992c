//! Carving: every capability of the system is derived from the root here or, for cVMs, from the pools carved here. Each
//! derivation is entered in the ledger. Then the root is destroyed.

use crate::authority::gate::Kept;
use crate::report::console::say;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use arch::protection::REGIONS;
use arch::{Derivation, DeriveError, Slot};
use capability::{Decoded, Permissions};
use core::fmt;
use core::ops::Range;

/// The monitor's data capability.
pub(crate) static MONITOR_DATA: Slot = Slot::null();
/// Authority over the memory of all cVMs: a pool for each region of memory, in ascending order. The address of each is its base.
static POOLS: [Slot; REGIONS] = [const { Slot::null() }; REGIONS];
/// Authority to read the archive, and nothing else.
pub(crate) static ARCHIVE: Slot = Slot::null();

/// Which pool holds an address that is in one.
pub(crate) fn pool_index(address: u64) -> usize {
    let others = POOLS[1..].iter().map(Slot::integer);
    others.filter(|base| (1..=address).contains(base)).count()
}

/// The pool that holds an address.
pub(crate) fn pool(address: u64) -> &'static Slot {
    &POOLS[pool_index(address)]
}

/// Entries that there is room for at first.
const EXPECTED: usize = 32;

/// Index of a ledger entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryId(usize);

impl EntryId {
    /// This entry and those behind it.
    pub(crate) fn following(self) -> impl Iterator<Item = EntryId> {
        (self.0..).map(EntryId)
    }
}

/// One derivation.
pub(crate) struct Entry {
    parent: Option<EntryId>,
    name: String,
    reason: &'static str,
    what: Decoded,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({}", self.name, self.what, self.reason)?;
        match self.parent {
            Some(EntryId(parent)) => write!(f, ", from {parent})"),
            None => write!(f, ")"),
        }
    }
}

/// What does not get the memory or the authority that it is to have, by its name in the ledger, and why. In one place in
/// memory, so that what may fail hands on no more than where that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuthorityError(Box<(String, Lack)>);

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// Not so much of the memory is free in one piece.
    Memory { needed: u64, free: u64 },
    /// Its memory refused a write.
    Write,
    /// What it is derived from is destroyed.
    Gone,
    /// The processor refused a derivation that the ledger would have.
    Derivation(Derivation, DeriveError),
    /// It refused another one.
    Part(&'static str, DeriveError),
}

impl AuthorityError {
    #[cold]
    #[inline(never)]
    pub(crate) fn new(name: &str, lack: Lack) -> AuthorityError {
        AuthorityError(Box::new((name.into(), lack)))
    }
}

impl fmt::Display for AuthorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, lack) = &*self.0;
        write!(f, "{name}: ")?;
        match lack {
            Lack::Memory { needed, free } => write!(f, "needs {needed:#x} bytes of memory, {free:#x} are free"),
            Lack::Write => f.write_str("its memory refused a write"),
            Lack::Gone => f.write_str("what it is made with is gone"),
            Lack::Derivation(request, error) => {
                let (base, length, permissions) = (request.base, request.length, request.permissions);
                write!(
                    f,
                    "cannot derive {length:#x} bytes at {base:#x} with {permissions}: {error}"
                )
            }
            Lack::Part(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

/// Who holds which authority, and where it came from.
pub(crate) struct Ledger {
    entries: Vec<Entry>,
    /// The entries of the pools.
    pools: Vec<EntryId>,
    /// What gates are made with, as long as they are not.
    pub(crate) kept: Option<Box<Kept>>,
}

impl Ledger {
    /// The entry of the root itself.
    pub(crate) const ROOT: EntryId = EntryId(0);

    /// A ledger that starts with the root as it is in its slot.
    pub(crate) fn new(root: &Slot) -> Ledger {
        let entry = Entry {
            parent: None,
            name: "root".into(),
            reason: "from reset, destroyed",
            what: root.decoded(),
        };
        let mut entries = Vec::with_capacity(EXPECTED);
        entries.push(entry);
        Ledger {
            entries,
            pools: Vec::new(),
            kept: None,
        }
    }

    /// Derives the next pool, which lies above those before it, over all of a range.
    pub(crate) fn open_pool(&mut self, range: Range<u64>) -> Result<(), AuthorityError> {
        let entry = self.derive(
            &POOLS[self.pools.len()],
            (Ledger::ROOT, arch::root()),
            ("cVM pool", "memory of cVMs"),
            range,
            arch::service_stack_permissions() | arch::code_permissions(),
        )?;
        self.pools.push(entry);
        Ok(())
    }

    /// What the pools cover.
    pub(crate) fn pools(&self) -> Vec<Range<u64>> {
        let entries = self.pools.iter().map(|EntryId(index)| &self.entries[*index].what);
        entries.map(|what| what.base..what.top as u64).collect()
    }

    /// Derives a capability from the pool that holds it.
    pub(crate) fn derive_from_pool(
        &mut self,
        slot: &Slot,
        what: (&str, &'static str),
        request: Derivation,
    ) -> Result<EntryId, AuthorityError> {
        let index = pool_index(request.base);
        let entry = self.pools.get(index).copied().unwrap_or(Ledger::ROOT);
        self.derive_at(slot, (entry, &POOLS[index]), what, request)
    }

    /// Derives a capability into `slot` and enters it. The address of the result is its base.
    pub(crate) fn derive(
        &mut self,
        slot: &Slot,
        (parent, from): (EntryId, &Slot),
        (name, reason): (&str, &'static str),
        range: Range<u64>,
        permissions: Permissions,
    ) -> Result<EntryId, AuthorityError> {
        let request = Derivation {
            base: range.start,
            length: range.end - range.start,
            permissions,
            address: range.start,
        };
        self.derive_at(slot, (parent, from), (name, reason), request)
    }

    /// As [`Ledger::derive`], with an address of its own.
    pub(crate) fn derive_at(
        &mut self,
        slot: &Slot,
        (parent, from): (EntryId, &Slot),
        (name, reason): (&str, &'static str),
        request: Derivation,
    ) -> Result<EntryId, AuthorityError> {
        let derived = slot.derive(from, &request);
        derived.map_err(|error| AuthorityError::new(name, Lack::Derivation(request, error)))?;
        Ok(self.enter(parent, name.into(), reason, slot.decoded()))
    }

    /// Enters a capability that already exists.
    pub(crate) fn enter(&mut self, parent: EntryId, name: String, reason: &'static str, what: Decoded) -> EntryId {
        self.entries.push(Entry {
            parent: Some(parent),
            name,
            reason,
            what,
        });
        EntryId(self.entries.len() - 1)
    }

    /// Derives a capability again from its pool, as its entry says: for the next life of a cVM.
    ///
    /// # Errors
    /// [`DeriveError`] when the pool is not what it was then.
    pub(crate) fn derive_again(&self, slot: &Slot, EntryId(index): EntryId) -> Result<(), DeriveError> {
        let entry = &self.entries[index];
        let request = Derivation {
            base: entry.what.base,
            length: (entry.what.top - u128::from(entry.what.base)) as u64,
            permissions: entry.what.permissions,
            address: entry.what.address,
        };
        slot.derive(pool(request.base), &request)
    }

    /// The entry that the next derivation will have.
    pub(crate) fn next(&self) -> EntryId {
        EntryId(self.entries.len())
    }

    /// Prints every entry.
    pub(crate) fn print(&self, entries: Range<usize>) {
        for (index, entry) in self.entries.iter().enumerate().skip(entries.start).take(entries.len()) {
            say!(Info, "ledger {index} {entry}");
        }
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}
