//! One cVM: its memory, its capabilities, its life from start to end and over again.

pub(crate) mod id;
pub(crate) mod loader;
pub(crate) mod queue;
pub(crate) mod service;
pub(crate) mod short;
pub(crate) mod thread;

use crate::authority::ledger::{AuthorityError, EntryId, Ledger, pool};
use crate::elf::{File, PAGE, Program};
use crate::measure::Digest;
use crate::plan::layout::Layout;
use crate::plan::manifest::CvmSpec;
use crate::report::console::Lines;
use crate::report::symbols::Functions;
use abi::start::StartHeader;
use abi::{Errno, FaultKind};
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use arch::{Derivation, DeriveError, Frame, Register, Slot, user};
use capability::Permissions;
use core::mem::offset_of;
use core::ops::Range;
use id::{CvmId, ThreadId};
use loader::{Home, Load, LoadError, Place, Source};
use service::Service;
use short::{Line, NOBODY, Short};

/// Bytes at the top of the stack of a hybrid handler that take local capabilities.
const LOCAL_AREA: u64 = 1024;

/// How a life of a cVM ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By the exit hostcall.
    Exited(i32),
    /// By a fault.
    Faulted(FaultKind),
    /// It could not be started again.
    Failed,
    /// Its server has ended, without which a raw client can do nothing.
    Orphaned,
}

/// What a cVM is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Loaded, but an earlier cVM of the list has `wait`.
    Waiting,
    /// Its thread exists.
    Alive,
    /// It will be started again at this tick.
    Restarting { at: u64, ended: End },
    /// It stays ended.
    Ended(End),
}

/// The capabilities that a cVM starts with, pinned. What its kind or its manifest entry does not need is NULL.
pub(crate) struct Authority {
    /// What PCC is derived from.
    pub(crate) code: Slot,
    /// Its memory and that of the cVMs within. Hybrid: DDC. Purecap: kept by the monitor.
    pub(crate) data: Slot,
    /// Stack of the main thread, its address at the end; purecap.
    stack: Slot,
    /// The start block, read only; purecap.
    block: Slot,
    /// Thread-local storage; purecap.
    tls: Slot,
    /// Stack of the handler, its address at the end: it takes local capabilities.
    pub(crate) service_stack: Slot,
    /// The local area, which takes local capabilities.
    pub(crate) local: Slot,
    /// The stacks of its gates, which take local capabilities.
    pub(crate) gate_stacks: Slot,
    /// Where the loader makes a capability before it stores it.
    pub(crate) made: Slot,
}

impl Authority {
    const fn none() -> Authority {
        Authority {
            code: Slot::null(),
            data: Slot::null(),
            stack: Slot::null(),
            block: Slot::null(),
            tls: Slot::null(),
            service_stack: Slot::null(),
            local: Slot::null(),
            gate_stacks: Slot::null(),
            made: Slot::null(),
        }
    }

    /// Gives up all of it.
    pub(crate) fn clear(&self) {
        let Authority {
            code,
            data,
            stack,
            block,
            tls,
            service_stack,
            local,
            gate_stacks,
            made,
        } = self;
        for slot in [code, data, stack, block, tls, service_stack, local, gate_stacks, made] {
            slot.clear();
        }
    }
}

/// One of a cVM's capabilities, as it is derived from its pool.
struct Part<'a> {
    slot: &'a Slot,
    name: &'static str,
    reason: &'static str,
    range: Range<u64>,
    permissions: Permissions,
    address: u64,
}

/// A cVM.
pub(crate) struct Cvm {
    pub(crate) spec: CvmSpec,
    pub(crate) elf: File,
    pub(crate) program: &'static Program,
    pub(crate) layout: Layout,
    pub(crate) place: Place,
    /// Its memory and that of the cVMs within, physical.
    pub(crate) bounds: Range<u64>,
    pub(crate) block: Vec<u8>,
    pub(crate) authority: Box<Authority>,
    /// Its own memory, and that of the cVMs within, by addresses.
    homes: &'static [Home],
    /// Ledger entry of the first of its capabilities; the others follow.
    pub(crate) entries: EntryId,
    pub(crate) life: Life,
    pub(crate) lines: Lines,
    pub(crate) restarts: u32,
    pub(crate) short: &'static Short,
    /// The cVM that serves its hostcalls.
    pub(crate) server: Option<CvmId>,
    /// Its threads follow each other: the main thread, workers, handlers.
    pub(crate) first_thread: ThreadId,
    pub(crate) threads: u16,
    /// Where the functions of its gates are, as linked.
    pub(crate) gates: Vec<u64>,
    /// All memory that takes local capabilities, when its threads are made.
    pub(crate) areas: Vec<Range<u64>>,
    /// Whether they can be called, in this life; whether somebody is left who could.
    pub(crate) gates_open: bool,
    pub(crate) is_reached: bool,
    /// Whether it offers or calls any gate; whether vector registers are open there.
    pub(crate) is_linked: bool,
    pub(crate) vector_gates: bool,
    /// What it does for others, and the short way to it.
    pub(crate) service: Option<Box<Service>>,
    pub(crate) line: Option<&'static Line>,
    /// Where its devices are among all, in the order of its manifest entry.
    pub(crate) devices: Range<usize>,
    /// The load that has to be finished before the cVM runs.
    pub(crate) loading: Option<Load>,
    /// Tick of the first start.
    pub(crate) first_started: Option<u64>,
    pub(crate) last_fault: Option<FaultKind>,
    /// Of its program, when that was measured; else zeros.
    pub(crate) digest: Digest,
}

impl Cvm {
    /// A cVM at the start of `bounds`. Nothing is loaded yet.
    pub(crate) fn new(
        id: usize,
        spec: CvmSpec,
        elf: File,
        program: &'static Program,
        layout: Layout,
        bounds: Range<u64>,
        homes: &'static [Home],
    ) -> Cvm {
        let base = bounds.start;
        // Where the processor relocates, the addresses of hybrid code start at 0; capabilities are absolute everywhere.
        let seen = if program.purecap {
            base
        } else {
            arch::address_base(base)
        };
        let place = Place { base, seen };
        Cvm {
            short: &NOBODY,
            server: spec.server.map(CvmId::new),
            first_thread: ThreadId::NONE,
            threads: 0,
            gates: Vec::new(),
            areas: Vec::new(),
            gates_open: false,
            is_reached: false,
            is_linked: false,
            vector_gates: false,
            service: None,
            line: None,
            block: loader::start_block(id, &spec, &layout, place),
            spec,
            elf,
            program,
            layout,
            place,
            bounds,
            authority: Box::new(Authority::none()),
            homes,
            entries: Ledger::ROOT,
            life: Life::Waiting,
            lines: Lines::default(),
            restarts: 0,
            devices: 0..0,
            loading: None,
            first_started: None,
            last_fault: None,
            digest: Digest::default(),
        }
    }

    /// The thread that it starts with.
    #[inline]
    pub(crate) fn main(&self) -> ThreadId {
        self.first_thread
    }

    /// All threads that it can have, in order.
    pub(crate) fn all_threads(&self) -> impl Iterator<Item = ThreadId> + use<> {
        let first = self.first_thread.index();
        (first..first + self.threads as usize).map(ThreadId::new)
    }

    /// The threads of its handlers, in order.
    pub(crate) fn handlers(&self) -> impl Iterator<Item = ThreadId> + use<> {
        let handlers = self.service.as_ref().map_or(0, |service| service.handlers.len());
        self.all_threads().skip(self.threads as usize - handlers)
    }

    /// Hostcalls that it has made, restarts included.
    pub(crate) fn hostcalls(&self) -> u64 {
        self.short.hostcalls()
    }

    /// The cVM's own memory, physical.
    pub(crate) fn memory(&self) -> Range<u64> {
        self.place.base..self.place.base + self.layout.size
    }

    /// Physical addresses of a part of its memory.
    fn physical(&self, part: &Range<u64>) -> Range<u64> {
        self.place.base + part.start..self.place.base + part.end
    }

    /// Range of the code capability. Purecap: as it was laid out. Hybrid: the text, or from the start of the cVM to its
    /// end where the processor counts code addresses from there; rounded outwards to representable bounds.
    fn code_range(&self) -> Range<u64> {
        let memory = self.memory();
        let Range { mut start, end } = self.physical(&self.layout.code);
        if self.program.purecap {
            return start..end;
        }
        if arch::relocates() {
            start = memory.start;
        }
        loop {
            let (length, alignment) = arch::representable(end - start);
            if start % alignment == 0 {
                return if start + length <= memory.end {
                    start..start + length
                } else {
                    memory
                };
            }
            start -= start % alignment;
            if start < memory.start {
                return memory;
            }
        }
    }

    /// So many bytes at an offset in its memory, if its PCC covers them and it is hybrid.
    pub(crate) fn code_pages(&self, offset: u64, length: u64) -> Option<Range<u64>> {
        let start = self.memory().start.checked_add(offset)?;
        let pages = start..start.checked_add(length)?;
        let code = self.code_range();
        (!self.program.purecap && code.start <= pages.start && pages.end <= code.end).then_some(pages)
    }

    /// Where its data capability begins. Where a null pointer would be an address in its memory, that is behind the first page, if
    /// nothing lies there and bounds can say so.
    fn data_start(&self) -> u64 {
        let Range { start, end } = self.bounds.clone();
        let length = end - start - PAGE;
        let (rounded, alignment) = arch::representable(length);
        let guarded = self.place.seen == 0 && self.layout.first() >= PAGE && rounded == length && alignment <= PAGE;
        if guarded { start + PAGE } else { start }
    }

    /// The capabilities that the cVM starts with, in the order of the ledger.
    fn parts(&self) -> [Option<Part<'_>>; 8] {
        let (purecap, layout, authority) = (self.program.purecap, &self.layout, &*self.authority);
        let whole = |slot, name, reason, range: Range<u64>, permissions| {
            Some(Part {
                slot,
                name,
                reason,
                permissions,
                address: range.start,
                range,
            })
        };
        let part = |slot, name, reason, range: &Range<u64>, permissions| {
            let part = whole(slot, name, reason, self.physical(range), permissions);
            part.filter(|part| !part.range.is_empty())
        };
        let stack = |slot, name, reason, range, permissions| {
            let part = part(slot, name, reason, range, permissions);
            part.map(|part| Part {
                address: part.range.end,
                ..part
            })
        };
        let (data, reason) = match (purecap, self.bounds == self.memory()) {
            (true, _) => ("memory", "its memory, kept by the monitor"),
            (false, true) => ("data", "its memory, DDC"),
            (false, false) => ("data", "its memory and that of the cVMs within, DDC"),
        };
        let (writable, constant) = (arch::data_permissions(), arch::read_only_permissions());
        let Authority { block, tls, .. } = authority;
        let none = 0..0;
        let [own_stack, own_block, own_tls] =
            [&layout.stack, &layout.start_block, &layout.tls].map(|range| if purecap { range } else { &none });
        [
            Some(Part {
                slot: &authority.data,
                name: data,
                reason,
                range: self.data_start()..self.bounds.end,
                permissions: writable,
                address: self.bounds.start,
            }),
            whole(
                &authority.code,
                "code",
                "its text, PCC",
                self.code_range(),
                arch::code_permissions(),
            ),
            stack(
                &authority.stack,
                "stack",
                "stack of its main thread",
                own_stack,
                writable,
            ),
            part(block, "start block", "what it starts with", own_block, constant),
            part(tls, "tls", "its thread-local storage", own_tls, writable),
            stack(
                &authority.service_stack,
                "service stack",
                "stack of its handler",
                &layout.service_stack,
                arch::service_stack_permissions(),
            ),
            part(
                &authority.local,
                "local area",
                "what takes local capabilities",
                &layout.local,
                arch::service_stack_permissions(),
            ),
            part(
                &authority.gate_stacks,
                "gate stacks",
                "stacks of those who call its gates",
                &layout.gate_stacks,
                arch::service_stack_permissions(),
            ),
        ]
    }

    /// Lets its start block say how time is counted.
    pub(crate) fn set_counter(&mut self, frequency: u64, start: u64) {
        let words = self.block[offset_of!(StartHeader, counter_frequency)..]
            .as_chunks_mut()
            .0;
        for (word, value) in words.iter_mut().zip([frequency, start]) {
            *word = value.to_le_bytes();
        }
    }

    /// Enters the cVM's capabilities in the ledger. It holds none yet.
    ///
    /// # Errors
    /// [`AuthorityError`] names what could not be derived.
    pub(crate) fn enter(&mut self, ledger: &mut Ledger) -> Result<(), AuthorityError> {
        self.entries = ledger.next();
        for part in self.parts().into_iter().flatten() {
            let name = format!("{} {}", self.spec.name, part.name);
            let request = Derivation {
                base: part.range.start,
                length: part.range.end - part.range.start,
                permissions: part.permissions,
                address: part.address,
            };
            ledger.derive_from_pool(part.slot, (&name, part.reason), request)?;
        }
        self.authority.clear();
        let edges = |range: Range<u64>| arch::protection::reserve(range);
        edges(self.bounds.clone());
        edges(self.memory());
        let origin = self.place.base.wrapping_add(self.layout.bias);
        for segment in self.program.segments.iter().filter(|segment| segment.executable) {
            let Range { start, end } = segment.pages();
            edges(origin.wrapping_add(start)..origin.wrapping_add(end));
        }
        // Any page of a raw client's code may become text.
        if self.spec.raw != 0 {
            let Range { start, end } = self.code_range();
            let step = loader::STEP_PROTECTION;
            let inside = (start / step..end.div_ceil(step)).map(|region| region * step + PAGE);
            inside.for_each(|edge| edges(edge..edge));
        }
        Ok(())
    }

    /// Begins a life: fresh capabilities, as the ledger has them, and a load of fresh memory that [`Cvm::load`] carries out.
    /// Nothing is allocated.
    ///
    /// # Errors
    /// What could not be derived.
    pub(crate) fn begin(&mut self, ledger: &Ledger, now: u64) -> Result<(), arch::DeriveError> {
        for (part, entry) in self.parts().into_iter().flatten().zip(self.entries.following()) {
            ledger.derive_again(part.slot, entry)?;
        }
        self.reload();
        self.life = Life::Alive;
        self.first_started.get_or_insert(now);
        Ok(())
    }

    /// Lets its load begin from the start.
    pub(crate) fn reload(&mut self) {
        self.homes[0].take_overwritten();
        self.loading = Some(Load::new(self.bounds.start));
    }

    /// A life is over: its memory is a part of that of the cVM that it is within, like any other.
    pub(crate) fn leave(&self) {
        self.homes[0].set_alive(false);
    }

    /// Does the next step of the load, and after the last one prepares the registers.
    ///
    /// # Errors
    /// What could not be written or derived.
    pub(crate) fn load(&mut self, frame: &Frame) -> Result<(), LoadError> {
        if self.homes[0].take_overwritten() {
            self.loading = Some(Load::new(self.bounds.start));
        }
        let Some(load) = &mut self.loading else { return Ok(()) };
        let source = Source {
            elf: self.elf,
            program: self.program,
            layout: &self.layout,
            block: &self.block,
            authority: &self.authority,
            place: self.place,
            bounds: &self.bounds,
            homes: self.homes,
            shared: self.spec.within.is_some(),
        };
        if !load.step(&source)? {
            return Ok(());
        }
        self.loading = None;
        // A cVM around it that is loaded from now on leaves it alone; until now it made this memory fresh with its own.
        self.homes[0].set_alive(true);
        self.homes[1..].iter().for_each(loader::Home::overwrite);
        let Authority { stack, block, .. } = &*self.authority;
        frame
            .start(&self.first(self.program.entry, (&self.layout.stack, stack)))
            .map_err(LoadError::Entry)?;
        let start_block = if self.program.purecap {
            Register::Capability(block)
        } else {
            Register::Integer(self.place.seen + self.layout.start_block.start)
        };
        frame.set_argument(0, start_block);
        frame.set_argument(1, Register::Integer(self.block.len() as u64));
        Ok(())
    }

    /// The registers of a thread that starts at a linked address.
    fn first<'a>(&'a self, entry: u64, (stack, capability): (&Range<u64>, &'a Slot)) -> arch::Start<'a> {
        let Authority { code, data, tls, .. } = &*self.authority;
        let seen = |offset: u64| self.place.seen + offset;
        let (data, stack, thread) = if self.program.purecap {
            (None, Register::Capability(capability), Register::Capability(tls))
        } else {
            let stack = Register::Integer(seen(stack.end) & !15);
            (Some(data), stack, Register::Integer(seen(self.layout.tls.start)))
        };
        arch::Start {
            code,
            entry: self.place.base.wrapping_add(self.layout.bias).wrapping_add(entry),
            data,
            stack,
            thread,
        }
    }

    /// The stack of a handler, physical.
    fn service_stack(&self, handler: usize) -> Range<u64> {
        let Range { start, end } = self.physical(&self.layout.service_stack);
        let handlers = self.service.as_ref().map_or(1, |service| service.handlers.len());
        // Bounds and tags want multiples; the layout begins at one.
        let alignment = arch::representable(end - start).1.max(64);
        let size = ((end - start) / handlers as u64) & !(alignment - 1);
        start + handler as u64 * size..start + (handler as u64 + 1) * size
    }

    /// The part of a handler's stack that takes local capabilities: all of it where the stack pointer is a capability,
    /// otherwise its top.
    pub(crate) fn local_area(&self, handler: usize) -> Range<u64> {
        self.top_of(self.service_stack(handler))
    }

    /// All memory that takes local capabilities: of each handler's stack, in their order, and the local area.
    pub(crate) fn local_areas(&self) -> impl Iterator<Item = Range<u64>> {
        let handlers = self.service.as_ref().map_or(0, |service| service.handlers.len());
        let own = self.physical(&self.layout.local);
        let stacks = (0..handlers).map(|handler| self.local_area(handler));
        let seats: u32 = self.spec.gates.iter().map(|gate| gate.callers).sum();
        let gates = (0..seats as usize).map(|place| self.gate_area(place));
        stacks
            .chain([own].into_iter().filter(|area| !area.is_empty()))
            .chain(gates)
    }

    /// Whether a range lies within its memory and that of the cVMs within.
    pub(crate) fn covers(&self, range: &Range<u64>) -> bool {
        self.bounds.start <= range.start && range.end <= self.bounds.end
    }

    /// One of the stacks that its gates run on, physical.
    fn gate_stack(&self, place: usize) -> Range<u64> {
        let mut start = self.physical(&self.layout.gate_stacks).start;
        let mut left = place as u64;
        for gate in &self.spec.gates {
            let callers = u64::from(gate.callers);
            if left < callers {
                start += left * gate.stack;
                return start..start + gate.stack;
            }
            left -= callers;
            start += callers * gate.stack;
        }
        start..start
    }

    /// The part of such a stack that takes local capabilities, as [`Cvm::local_area`].
    pub(crate) fn gate_area(&self, place: usize) -> Range<u64> {
        self.top_of(self.gate_stack(place))
    }

    fn top_of(&self, Range { start, end }: Range<u64>) -> Range<u64> {
        if self.program.purecap {
            start..end
        } else {
            start.max(end.saturating_sub(LOCAL_AREA))..end
        }
    }

    /// What the function of a gate runs with.
    ///
    /// # Errors
    /// As `with`.
    pub(crate) fn with_gate(
        &self,
        place: usize,
        with: impl FnOnce(&arch::Start<'_>) -> Result<(), DeriveError>,
    ) -> Result<(), DeriveError> {
        // The stack is the seat's.
        with(&self.first(self.gates[place], (&(0..0), &self.authority.made)))
    }

    /// What is the stack pointer on one of the stacks of its gates, and what is in the spare register.
    ///
    /// # Errors
    /// When the capability over its local part cannot be derived.
    pub(crate) fn with_seat(
        &self,
        place: usize,
        with: impl FnOnce(Register<'_>, Option<&Slot>),
    ) -> Result<(), DeriveError> {
        let (stack, area, made) = (self.gate_stack(place), self.gate_area(place), &self.authority.made);
        let request = Derivation {
            base: area.start,
            length: area.end - area.start,
            permissions: arch::service_stack_permissions(),
            address: stack.end,
        };
        made.derive(&self.authority.gate_stacks, &request)?;
        if self.program.purecap {
            with(Register::Capability(made), None);
        } else {
            let top = self.place.seen + (stack.end - self.place.base);
            with(Register::Integer(top & !15), Some(made));
        }
        made.clear();
        Ok(())
    }

    /// Clears every tag in one of its local areas. With the pool's authority: a cVM around it reaches it when it has ended.
    pub(crate) fn clear_local_area(&self, index: usize) {
        if let Some(area) = self.local_areas().nth(index) {
            self.clear_tags((area.start, area.end - area.start));
        }
    }

    /// Clears every tag in such a part of its local areas, of so many bytes. With the pool's authority.
    pub(crate) fn clear_tags(&self, area: (u64, u64)) {
        self.clear_tags_by(pool(area.0), area);
    }

    /// The same, when it is known which pool that is.
    #[inline]
    pub(crate) fn clear_tags_by(&self, pool: &Slot, (start, length): (u64, u64)) {
        let cleared = user::clear_tags(pool, start, length);
        assert!(cleared.is_ok(), "{}: its local area cannot be cleared", self.spec.name);
    }

    /// Prepares what a handler starts every call with: its function, on its empty stack.
    ///
    /// # Errors
    /// When the function's address cannot be represented.
    pub(crate) fn prepare_handler(&self, handler: usize, frame: &Frame) -> Result<(), DeriveError> {
        let Some(entry) = self.program.handler else {
            return Ok(());
        };
        let Range { start, end } = self.service_stack(handler);
        let area = self.local_area(handler);
        let request = Derivation {
            base: area.start,
            length: area.end - area.start,
            permissions: arch::service_stack_permissions(),
            address: end,
        };
        let made = &self.authority.made;
        let offsets = start - self.place.base..end - self.place.base;
        let prepared = made.derive(&self.authority.service_stack, &request).and_then(|()| {
            let start = self.first(entry, (&offsets, made));
            frame.prepare(&start, (!self.program.purecap).then_some(made))
        });
        made.clear();
        prepared
    }

    /// Makes `slot` hold the capability over the heap; returns its bytes.
    ///
    /// # Errors
    /// `ENOMEM` when it has none.
    pub(crate) fn heap(&self, slot: &Slot) -> Result<u64, Errno> {
        let heap = self.physical(&self.layout.heap);
        if heap.is_empty() {
            return Err(Errno::ENOMEM);
        }
        let request = Derivation {
            base: heap.start,
            length: heap.end - heap.start,
            permissions: arch::data_permissions(),
            address: heap.start,
        };
        let derived = slot.derive(&self.authority.data, &request);
        derived.map_err(|_| Errno::ENOMEM)?;
        Ok(request.length)
    }

    /// What an absolute address in this cVM is in its ELF.
    pub(crate) fn linked(&self, address: u64) -> Option<u64> {
        let inside = self.memory().contains(&address);
        inside.then(|| (address - self.place.base).wrapping_sub(self.layout.bias))
    }

    /// The functions that hold absolute addresses, as far as the ELF has symbols.
    pub(crate) fn functions(&self, addresses: impl Iterator<Item = u64>) -> Functions {
        Functions::find(self.elf, addresses.filter_map(|address| self.linked(address)))
    }
}
