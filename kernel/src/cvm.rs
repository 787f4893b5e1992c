//! One cVM: its memory, its capabilities, its life from start to end and over again.

use crate::console::Lines;
use crate::elf::{PAGE, Program};
use crate::layout::{self, Layout};
use crate::loader::{self, Load, Place, Source};
use crate::manifest::CvmSpec;
use crate::pool::Pool;
use crate::root::{CarveError, EntryId, Ledger, POOL};
use abi::FaultKind;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use arch::{Frame, Register, Slot};
use core::ops::Range;

/// How a life of a cVM ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By the exit hostcall.
    Exited(i32),
    /// By a fault.
    Faulted(FaultKind),
    /// It could not be started again.
    Failed,
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

/// The capabilities that a cVM starts with, pinned.
pub(crate) struct Authority {
    pub(crate) code: Slot,
    pub(crate) data: Slot,
}

/// A cVM.
pub(crate) struct Cvm {
    pub(crate) id: usize,
    pub(crate) spec: CvmSpec,
    pub(crate) elf: &'static [u8],
    pub(crate) program: Program,
    pub(crate) layout: Layout,
    pub(crate) place: Place,
    pub(crate) block: Vec<u8>,
    pub(crate) authority: Box<Authority>,
    /// Ledger entries of data and code, once carved.
    entries: Option<[EntryId; 2]>,
    pub(crate) life: Life,
    pub(crate) lines: Lines,
    pub(crate) restarts: u32,
    pub(crate) hostcalls: u64,
    /// The load that has to be finished before the cVM runs.
    pub(crate) loading: Option<Load>,
    /// Tick of the first start.
    pub(crate) first_started: Option<u64>,
    pub(crate) last_fault: Option<FaultKind>,
}

impl Cvm {
    /// Plans a cVM and takes its memory from the pool. Nothing is loaded yet.
    ///
    /// # Errors
    /// A message that names the key and what was expected.
    pub(crate) fn place(id: usize, spec: CvmSpec, elf: &'static [u8], pool: &mut Pool) -> Result<Cvm, String> {
        let program = Program::check(elf).map_err(|error| format!("{}: {error}", spec.runtime))?;
        let unplaced = Place { base: 0, seen: 0 };
        let block_size = loader::start_block(id, &spec, None, unplaced).len() as u64;
        // Where the processor relocates, a cVM's addresses start at 0 wherever it lies.
        let seen = if arch::relocates() {
            Some(0)
        } else {
            spec.isolation_base
        };
        let planned = layout::plan(&program, seen, block_size, spec.stack, spec.heap, spec.isolation_size)
            .map_err(|error| format!("{}: {error}", spec.runtime))?;
        let (size, alignment) = arch::representable(planned.size);
        let (size, alignment) = (size.next_multiple_of(PAGE), alignment.max(PAGE));
        let base = match spec.isolation_base {
            Some(base) if base % alignment != 0 => {
                return Err(format!(
                    "isolation base {base:#x}: expected a multiple of {alignment:#x} for {size:#x} bytes"
                ));
            }
            Some(base) if !pool.take(base, size) => {
                return Err(format!(
                    "isolation base {base:#x}, size {size:#x}: that memory does not exist or is in use"
                ));
            }
            Some(base) => base,
            None => pool
                .allocate(size, alignment)
                .ok_or_else(|| format!("needs {size:#x} bytes of memory, {:#x} are free", pool.free_bytes()))?,
        };
        let place = Place {
            base,
            seen: arch::address_base(base),
        };
        let layout = Layout { size, ..planned };
        let block = loader::start_block(id, &spec, Some(&layout), place);
        Ok(Cvm {
            id,
            spec,
            elf,
            program,
            layout,
            place,
            block,
            authority: Box::new(Authority {
                code: Slot::null(),
                data: Slot::null(),
            }),
            entries: None,
            life: Life::Waiting,
            lines: Lines::default(),
            restarts: 0,
            hostcalls: 0,
            loading: None,
            first_started: None,
            last_fault: None,
        })
    }

    /// The cVM's whole memory, physical.
    pub(crate) fn memory(&self) -> Range<u64> {
        self.place.base..self.place.base + self.layout.size
    }

    /// Range of the code capability: the text, or from the start of the cVM to its end where the processor counts code
    /// addresses from there. Rounded outwards to representable bounds.
    fn code_range(&self) -> Range<u64> {
        let memory = self.memory();
        let linked = |address: u64| self.place.base.wrapping_add(self.layout.bias).wrapping_add(address);
        let (mut start, end) = (linked(self.program.text.start), linked(self.program.text.end));
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

    /// Derives the cVM's capabilities: entered in the ledger the first time, exactly the same ones for every later life.
    fn carve(&mut self, ledger: &mut Ledger, pool: EntryId) -> Result<(), CarveError> {
        let Authority { code, data } = &*self.authority;
        if let Some([data_entry, code_entry]) = self.entries {
            ledger.derive_again(data, data_entry, &POOL)?;
            return ledger.derive_again(code, code_entry, &POOL);
        }
        let from = (pool, &POOL);
        let name = format!("{} data", self.spec.name);
        let what = (name.as_str(), "its memory, DDC");
        let data_entry = ledger.derive(data, from, what, self.memory(), arch::data_permissions())?;
        let name = format!("{} code", self.spec.name);
        let what = (name.as_str(), "its text, PCC");
        let code_entry = ledger.derive(code, from, what, self.code_range(), arch::code_permissions())?;
        self.entries = Some([data_entry, code_entry]);
        Ok(())
    }

    /// Begins a life: fresh capabilities, and a load of fresh memory that [`Cvm::load`] carries out.
    ///
    /// # Errors
    /// A message that names what could not be derived.
    pub(crate) fn begin(&mut self, ledger: &mut Ledger, pool: EntryId, now: u64) -> Result<(), String> {
        self.carve(ledger, pool).map_err(|error| format!("{error}"))?;
        arch::protection::loading(self.memory());
        self.loading = Some(Load::new());
        self.life = Life::Alive;
        self.first_started.get_or_insert(now);
        Ok(())
    }

    /// Does the next step of the load, and after the last one prepares the registers.
    ///
    /// # Errors
    /// A message that names what could not be written or derived.
    pub(crate) fn load(&mut self, frame: &Frame) -> Result<(), String> {
        let Some(load) = &mut self.loading else { return Ok(()) };
        let source = Source {
            elf: self.elf,
            program: &self.program,
            layout: &self.layout,
            block: &self.block,
            data: &self.authority.data,
            place: self.place,
        };
        let done = load.step(&source);
        if !done.map_err(|refused| format!("the memory refused a write after {} bytes", refused.copied))? {
            return Ok(());
        }
        self.loading = None;
        let Authority { code, data } = &*self.authority;
        let origin = self.place.base.wrapping_add(self.layout.bias);
        arch::protection::loaded(self.memory());
        for pages in self.program.executable_pages() {
            let text = origin.wrapping_add(pages.start)..origin.wrapping_add(pages.end);
            arch::protection::executable(text, data);
        }
        let seen = |offset: u64| self.place.seen + offset;
        frame
            .start(&arch::Start {
                code,
                entry: origin.wrapping_add(self.program.entry),
                data: Some(data),
                stack: Register::Integer(seen(self.layout.stack.end) & !15),
                thread: Register::Integer(seen(self.layout.tls.start)),
            })
            .map_err(|error| format!("entry point: {error}"))?;
        frame.set_argument(0, Register::Integer(seen(self.layout.start_block.start)));
        frame.set_argument(1, Register::Integer(self.block.len() as u64));
        Ok(())
    }

    /// Prepares a frame for a call of the handler.
    pub(crate) fn start_handler(&self, _frame: &Frame) -> Result<(), String> {
        Err("not yet".into())
    }

    /// Clears every tag in the stack of the handler.
    pub(crate) fn clear_service_stack(&self) {}

    /// Derives the capability over the heap; returns its size.
    pub(crate) fn heap(&self, _slot: &Slot) -> Result<u64, String> {
        Err("not yet".into())
    }

    /// Name of the function that holds an absolute address, when it lies in this cVM and the ELF has symbols.
    pub(crate) fn symbol(&self, address: u64) -> Option<(&str, u64)> {
        if !self.memory().contains(&address) {
            return None;
        }
        let linked = (address - self.place.base).wrapping_sub(self.layout.bias);
        crate::symbols::of_elf(self.elf, linked)
    }
}
