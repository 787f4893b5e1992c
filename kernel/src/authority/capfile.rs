//! Capfiles: named pieces of memory that the image's author shares among all cVMs. A cVM gets a capability over one by
//! the capfile hostcall; it carries data only, so that no authority goes from cVM to cVM through it.

use crate::authority::ledger::{Ledger, pool};
use crate::authority::pool::Pool;
use crate::elf::PAGE;
use crate::plan::manifest::CapfileSpec;
use abi::manifest::CapfileAccess;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use arch::{Derivation, Slot, user};
use capability::Permissions;

/// A capfile.
pub(crate) struct Capfile {
    pub(crate) name: String,
    /// Bytes, as the manifest says.
    pub(crate) size: u64,
    /// What a cVM gets.
    pub(crate) capability: Box<Slot>,
}

impl Capfile {
    /// Takes memory for a capfile and fills it.
    ///
    /// # Errors
    /// A message that says what is missing.
    pub(crate) fn place(spec: CapfileSpec, free: &mut Pool, ledger: &mut Ledger) -> Result<Capfile, String> {
        let CapfileSpec {
            name,
            size,
            data,
            access,
        } = spec;
        // The bounds may be wider than the size where they cannot be exact; those bytes are zero and nobody else's.
        let (bounds, alignment) = arch::representable(size);
        let taken = bounds.next_multiple_of(PAGE);
        let base = free.allocate(taken, alignment.max(PAGE)).ok_or_else(|| {
            format!(
                "capfile {name}: needs {taken:#x} bytes of memory, {:#x} are free",
                free.free_bytes()
            )
        })?;
        arch::protection::loading(base..base + taken);
        let pool = pool(base);
        let filled = user::zero(pool, base, taken as usize).and_then(|()| user::copy_out(&data, pool, base));
        filled.map_err(|_| format!("capfile {name}: its memory refused a write"))?;
        arch::protection::loaded(base..base + taken);
        let permissions = match access {
            CapfileAccess::Read => Permissions::GLOBAL | Permissions::LOAD,
            CapfileAccess::Write => Permissions::GLOBAL | Permissions::LOAD | Permissions::STORE,
        };
        let capability = Box::new(Slot::null());
        let entry = format!("capfile {name}");
        let what = (entry.as_str(), "for every cVM that asks");
        let request = Derivation {
            base,
            length: bounds,
            permissions,
            address: base,
        };
        let derived = ledger.derive_from_pool(&capability, what, request);
        derived.map_err(|error| format!("{error}"))?;
        Ok(Capfile { name, size, capability })
    }
}
