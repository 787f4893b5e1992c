//! What gates are made of: memory outside of all cVMs, taken at boot, that the switcher works on and nobody else reaches but
//! the monitor. `arch::gate` says how it is laid out.

use crate::authority::ledger::{self, AuthorityError, Lack, Ledger};
use crate::authority::pool::Pool;
use crate::cvm::id::CvmId;
use crate::elf::PAGE;
use abi::manifest::GATE_NAME_LIMIT;
use alloc::boxed::Box;
use alloc::vec::Vec;
use arch::protection::REGIONS;
use arch::{Derivation, Slot, gate, user};
use core::ops::Range;

/// Authority to execute in the memory of cVMs as the switcher does, for each region of memory, and to seal its tokens: from the
/// root's end until the gates of the manifest are made, or until it is clear that there are none.
pub(crate) struct Kept {
    switchers: [Slot; REGIONS],
    key: Slot,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.switchers.iter().for_each(Slot::clear);
        self.key.clear();
    }
}

/// One gate.
pub(crate) struct Gate {
    pub(crate) server: CvmId,
    /// Its place among its server's gates.
    pub(crate) place: usize,
    /// Where it is.
    pub(crate) at: u64,
    pub(crate) token: Box<[Slot; gate::TOKEN]>,
    /// Its seats among all seats.
    pub(crate) seats: Range<usize>,
}

/// All gates.
#[derive(Default)]
pub(crate) struct Gates {
    /// Executes as the switcher, and nothing but it.
    pub(crate) switcher: Option<Box<Slot>>,
    /// Those of a server follow each other.
    pub(crate) list: Vec<Gate>,
    /// Where the seats are.
    first_seat: u64,
    /// The gate of each seat.
    seats: Vec<u16>,
    next_record: u64,
}

/// What there is to make: of each gate, its server, its place there, and how many may call it at a time, and whether it may use
/// vector registers.
pub(crate) struct Wanted {
    pub(crate) gates: Vec<(CvmId, usize, u32, bool)>,
    /// Threads that can call.
    pub(crate) threads: usize,
}

/// What the switcher's authority is derived from the root for.
pub(crate) fn keep(root: &Slot, pools: &[Range<u64>]) -> Box<Kept> {
    let slots = Box::new(Kept {
        switchers: [const { Slot::null() }; REGIONS],
        key: Slot::null(),
    });
    let request = |base, length, permissions| Derivation {
        base,
        length,
        permissions,
        address: base,
    };
    let mut kept = slots.switchers.iter().zip(pools).try_for_each(|(switcher, pool)| {
        let whole = request(pool.start, pool.end - pool.start, gate::switcher_permissions());
        switcher.derive(root, &whole)
    });
    if let Some((first, count)) = gate::SEAL {
        kept = kept.and(
            slots
                .key
                .derive(root, &request(first, count, capability::Permissions::SEAL)),
        );
    }
    kept.unwrap_or_else(|error| panic!("the switcher's authority: {error}"));
    slots
}

impl Gates {
    /// Takes the memory of all gates, and puts the switcher there.
    ///
    /// # Errors
    /// [`AuthorityError`] says what is missing.
    pub(crate) fn place(
        &mut self,
        wanted: &Wanted,
        kept: &Kept,
        free: &mut Pool,
        ledger: &mut Ledger,
    ) -> Result<(), AuthorityError> {
        let count: usize = wanted.gates.iter().map(|(_, _, callers, _)| *callers as usize).sum();
        let first_gate = gate::PAGES;
        let first_seat = first_gate + wanted.gates.len() as u64 * gate::GATE;
        let first_record = first_seat + count as u64 * gate::SEAT_SIZE;
        let size = first_record + wanted.threads as u64 * gate::RECORD;
        let (bounds, alignment) = arch::representable(size);
        let taken = bounds.next_multiple_of(PAGE);
        let base = free.allocate(taken, alignment.max(PAGE)).ok_or_else(|| {
            let (needed, free) = (taken, free.free_bytes());
            AuthorityError::new("gates", Lack::Memory { needed, free })
        })?;
        let code = base..base + PAGE;
        arch::protection::reserve(base..base + taken);
        arch::protection::reserve(code.clone());
        arch::protection::loading(base..base + taken);
        let memory = ledger::pool(base);
        let filled = user::zero(memory, base, taken as usize).and_then(|()| user::copy_out(gate::code(), memory, base));
        filled.map_err(|_| AuthorityError::new("gates", Lack::Write))?;
        arch::protection::loaded(base..base + taken);
        arch::protection::executable(code.clone());
        arch::protection::publish(code, memory);
        let (reason, board) = ("what the switcher works on", Slot::null());
        let permissions = arch::monitor_data_permissions();
        let range = base + gate::PAGES..base + bounds;
        let whole = Derivation {
            base,
            length: bounds,
            permissions,
            address: base,
        };
        ledger.derive_from_pool(&board, ("gates", reason), whole)?;
        board.clear();
        let switcher = Box::new(Slot::null());
        let request = Derivation {
            base,
            length: gate::PAGES,
            permissions: gate::switcher_permissions(),
            address: base,
        };
        let narrowed = switcher.derive(&kept.switchers[ledger::pool_index(base)], &request);
        narrowed.map_err(|error| AuthorityError::new("gates", Lack::Part("the switcher", error)))?;
        ledger.enter(
            Ledger::ROOT,
            "switcher".into(),
            "from one cVM into another",
            switcher.decoded(),
        );
        let mut seat = 0;
        for (index, (server, place, callers, vector)) in wanted.gates.iter().enumerate() {
            let at = base + first_gate + index as u64 * gate::GATE;
            let token = Box::new([const { Slot::null() }; gate::TOKEN]);
            let seats = seat..seat + *callers as usize;
            seat = seats.end;
            self.seats.extend(seats.clone().map(|_| index as u16));
            let made = gate::make_token(&token, memory, at, (&switcher, *vector), &kept.key);
            made.map_err(|error| AuthorityError::new("gates", Lack::Part("a token", error)))?;
            self.list.push(Gate {
                server: *server,
                place: *place,
                at,
                token,
                seats,
            });
        }
        debug_assert!(range.end >= base + size);
        self.first_seat = base + first_seat;
        self.next_record = base + first_record;
        self.switcher = Some(switcher);
        Ok(())
    }

    /// Authority over all that the switcher works on.
    pub(crate) fn memory(&self) -> &'static Slot {
        ledger::pool(self.first_seat)
    }

    /// Makes the record of another thread that can call.
    ///
    /// # Errors
    /// When the authority over it cannot be derived.
    pub(crate) fn record(&mut self) -> Result<&'static Slot, AuthorityError> {
        let at = self.next_record;
        self.next_record += gate::RECORD;
        let record: &'static Slot = Box::leak(Box::new(Slot::null()));
        let made = gate::make_record(self.memory(), at, record);
        made.map_err(|error| AuthorityError::new("gates", Lack::Part("a record", error)))?;
        Ok(record)
    }

    /// Where a seat is.
    pub(crate) fn seat(&self, index: usize) -> u64 {
        self.first_seat + index as u64 * gate::SEAT_SIZE
    }

    /// The gate that a seat belongs to, and the seat's place among those of the gate.
    pub(crate) fn of_seat(&self, at: u64) -> (&Gate, usize) {
        let index = ((at - self.first_seat) / gate::SEAT_SIZE) as usize;
        let gate = &self.list[usize::from(self.seats[index])];
        (gate, index - gate.seats.start)
    }

    /// The gate at an address.
    pub(crate) fn at(&self, at: u64) -> Option<&Gate> {
        self.list.iter().find(|gate| gate.at == at)
    }

    /// The gates of a server.
    pub(crate) fn of_server(&self, server: CvmId) -> Range<usize> {
        let before = self.list.partition_point(|gate| gate.server.index() < server.index());
        let behind = self.list.partition_point(|gate| gate.server.index() <= server.index());
        before..behind
    }
}

/// A gate's name as its callers write it.
pub(crate) type Name = heapless::Vec<u8, GATE_NAME_LIMIT>;
