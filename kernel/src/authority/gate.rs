//! What gates are made of: memory outside of all cVMs, taken at boot, that the switcher works on and nobody else reaches but
//! the monitor. `arch::gate` says how it is laid out.

use crate::authority::ledger::{AuthorityError, Lack, Ledger};
use crate::authority::pool::Pool;
use crate::cvm::id::CvmId;
use crate::elf::PAGE;
use abi::manifest::GATE_NAME_LIMIT;
use alloc::boxed::Box;
use alloc::vec::Vec;
use arch::{Derivation, Slot, gate, user};
use core::ops::Range;

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
    /// Authority over all memory of the region that they are in.
    memory: Option<&'static Slot>,
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

impl Gates {
    /// Takes the memory of all gates, and puts the switcher there.
    ///
    /// # Errors
    /// [`AuthorityError`] says what is missing.
    pub(crate) fn place(
        &mut self,
        wanted: &Wanted,
        pool: &mut Pool,
        ledger: &mut Ledger,
    ) -> Result<(), AuthorityError> {
        let count: usize = wanted.gates.iter().map(|(_, _, callers, _)| *callers as usize).sum();
        let first_gate = gate::PAGES;
        let first_seat = first_gate + wanted.gates.len() as u64 * gate::GATE;
        let first_record = first_seat + count as u64 * gate::SEAT_SIZE;
        let size = first_record + wanted.threads as u64 * gate::RECORD;
        let (stock, bounds, taken) = pool.take("gates", size)?;
        let (base, memory) = (bounds.start, &stock.slot);
        let code = base..base + PAGE;
        arch::protection::reserve(base..base + taken);
        arch::protection::reserve(code.clone());
        arch::protection::loading(base..base + taken);
        let filled = user::zero(memory, base, taken as usize).and_then(|()| user::copy_out(gate::code(), memory, base));
        filled.map_err(|_| AuthorityError::new("gates", Lack::Write))?;
        arch::protection::loaded(base..base + taken);
        arch::protection::executable(code.clone());
        arch::protection::publish(code, memory);
        let (reason, board) = ("what the switcher works on", Slot::null());
        let permissions = arch::monitor_data_permissions();
        let whole = Derivation::over(base..bounds.end, permissions);
        stock.derive(ledger, &board, ("gates", reason), whole)?;
        board.clear();
        let switcher = Box::new(Slot::null());
        let request = Derivation::over(base..base + gate::PAGES, gate::switcher_permissions());
        let narrowed = switcher.derive(&stock.switcher, &request);
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
            let made = gate::make_token(&token, memory, at, (&switcher, *vector), &pool.key);
            made.map_err(|error| AuthorityError::new("gates", Lack::Part("a token", error)))?;
            self.list.push(Gate {
                server: *server,
                place: *place,
                at,
                token,
                seats,
            });
        }
        self.first_seat = base + first_seat;
        self.next_record = base + first_record;
        (self.memory, self.switcher) = (Some(memory), Some(switcher));
        Ok(())
    }

    /// Authority over all that the switcher works on.
    pub(crate) fn memory(&self) -> &'static Slot {
        match self.memory {
            Some(memory) => memory,
            None => panic!("a thread has a record, and there are no gates"),
        }
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
