//! One CPU: its registers, the fetch loop, and the cache of decoded instructions.
//!
//! An instruction is decoded once, into the function that executes it, and kept beside the word it came from. While
//! execution stays in one page and inside PCC's bounds, an instruction costs one lookup and one indirect call; whatever may
//! end that (a branch out of the page, another PCC, a change of the translation, a store into decoded code) empties the
//! fetch window, and the next instruction is fetched the long way with all its checks.

use super::access::Tlb;
use super::bus::Bus;
use super::coverage::Coverage;
use super::decode;
use super::exception::Pending;
use super::registers::SystemRegisters;
use super::timer::{FREQUENCY, Timers};
use crate::stays::Stays;
use capability::morello::Capability;
use std::collections::HashMap;

/// An exception was recorded in the core and is taken as soon as the instruction is left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raised;

/// What executing (a part of) an instruction comes to.
pub(super) type Step<T = ()> = Result<T, Raised>;

/// The function that executes one kind of instruction.
pub(super) type Handler = fn(&mut Core, &mut Bus, u32) -> Step;

/// Numbers of the permission bits that the CPU looks at, as masks.
pub(super) mod permission {
    pub(crate) const GLOBAL: u32 = 1 << 0;
    pub(crate) const EXECUTIVE: u32 = 1 << 1;
    pub(crate) const MUTABLE_LOAD: u32 = 1 << 6;
    pub(crate) const BRANCH_SEALED_PAIR: u32 = 1 << 8;
    pub(crate) const SYSTEM: u32 = 1 << 9;
    pub(crate) const UNSEAL: u32 = 1 << 10;
    pub(crate) const SEAL: u32 = 1 << 11;
    pub(crate) const STORE_LOCAL: u32 = 1 << 12;
    pub(crate) const STORE_CAPABILITY: u32 = 1 << 13;
    pub(crate) const LOAD_CAPABILITY: u32 = 1 << 14;
    pub(crate) const EXECUTE: u32 = 1 << 15;
    pub(crate) const STORE: u32 = 1 << 16;
    pub(crate) const LOAD: u32 = 1 << 17;
}

/// Bits of CCTLR.
pub(super) mod cctlr {
    pub(crate) const DDCBO: u64 = 1 << 2;
    pub(crate) const PCCBO: u64 = 1 << 3;
    pub(crate) const ADRDPB: u64 = 1 << 4;
    pub(crate) const C64E: u64 = 1 << 5;
    pub(crate) const PERMVCT: u64 = 1 << 6;
    pub(crate) const SBL: u64 = 1 << 7;
}

/// The bank of SP and DDC that Restricted code uses, at whatever exception level.
pub(super) const RESTRICTED: usize = 4;

/// Which exception levels beside EL0 and EL1 exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// EL2 exists.
    pub el2: bool,
    /// EL3 exists.
    pub el3: bool,
}

impl Levels {
    /// The highest exception level.
    pub(super) fn highest(self) -> u8 {
        match (self.el3, self.el2) {
            (true, _) => 3,
            (false, true) => 2,
            (false, false) => 1,
        }
    }
}

/// What a core does between instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    Running,
    /// In WFI or WFE until an interrupt or an event.
    Waiting,
    /// Powered down until PSCI starts it.
    Off,
}

/// Addresses that can be fetched without any further check, and where their decoded instructions are.
#[derive(Clone, Copy, Debug)]
struct Window {
    first: u64,
    /// One past the last address at which an instruction may start.
    end: u64,
    page: usize,
}

const CLOSED: Window = Window {
    first: 1,
    end: 0,
    page: 0,
};

/// One CPU.
#[derive(Clone)]
pub(super) struct Core {
    pub(super) number: usize,
    /// C0 to C30, and NULL as the thirty-first.
    pub(super) c: [Capability; 32],
    pub(super) v: [u128; 32],
    /// Address of the instruction that is executed.
    pub(super) pc: u64,
    /// Address of the instruction that follows it.
    pub(super) next: u64,
    /// PCC without its address, which is `pc`.
    pub(super) pcc: Capability,
    /// CSP of EL0 to EL3, and the restricted one.
    pub(super) sp: [Capability; 5],
    /// DDC of EL0 to EL3, and the restricted one.
    pub(super) ddc: [Capability; 5],
    /// Which of the five `sp` and `ddc` are in use.
    pub(super) bank: usize,
    /// N, Z, C, V in bits 31 to 28.
    pub(super) nzcv: u32,
    /// D, A, I, F in bits 9 to 6.
    pub(super) daif: u32,
    pub(super) el: u8,
    pub(super) sp_selected: bool,
    pub(super) c64: bool,
    pub(super) pan: bool,
    pub(super) uao: bool,
    /// Illegal execution state.
    pub(super) illegal: bool,
    pub(super) fpcr: u32,
    pub(super) fpsr: u32,
    pub(super) levels: Levels,
    pub(super) registers: SystemRegisters,
    pub(super) timers: Timers,
    pub(super) tlb: Tlb,
    pub(super) pending: Option<Pending>,
    pub(super) exclusive: Option<Exclusive>,
    pub(super) activity: Activity,
    /// An event for WFE is pending.
    pub(super) event: bool,
    /// Interrupt inputs may have changed: leave the fast loop and look.
    pub(super) look: bool,
    pub(super) instructions: u64,
    pub(super) stays: Stays,
    window: Window,
}

/// What a load-exclusive remembers: where, how much, and what was there (low, high, tag of up to two granules).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exclusive {
    pub(super) physical: u64,
    pub(super) size: u64,
    pub(super) content: [(u64, u64, bool); 2],
}

/// A decoded instruction.
#[derive(Clone, Copy)]
struct Slot {
    /// `None` until the instruction is executed for the first time.
    handler: Option<Handler>,
    word: u32,
}

/// Decoded instructions by physical page, shared by all cores.
#[derive(Default)]
pub(super) struct Code {
    pages: Vec<Box<[Slot; SLOTS]>>,
    index: HashMap<u64, usize>,
    /// Which instructions are counted, and how often they were executed.
    pub(super) coverage: Option<Box<Coverage>>,
}

const PAGE: u64 = 4096;
const SLOTS: usize = PAGE as usize / 4;
const UNDECODED: Slot = Slot { handler: None, word: 0 };

impl Code {
    fn page(&mut self, physical: u64) -> usize {
        let pages = &mut self.pages;
        *self.index.entry(physical & !(PAGE - 1)).or_insert_with(|| {
            pages.push(Box::new([UNDECODED; SLOTS]));
            pages.len() - 1
        })
    }

    /// Forgets what was decoded from the granule at `physical`.
    fn forget(&mut self, physical: u64) {
        if let Some(page) = self.index.get(&(physical & !(PAGE - 1))) {
            let first = ((physical % PAGE) as usize / 4) & !3;
            self.pages[*page][first..first + 4].fill(UNDECODED);
        }
    }

    /// Forgets everything that was decoded from granules that have been written.
    pub(super) fn forget_changed(&mut self, bus: &mut Bus) {
        for physical in bus.take_changed_code() {
            self.forget(physical);
        }
    }
}

impl Core {
    /// A core in its reset state at `entry` with the roots in PCC and every DDC.
    pub(super) fn new(number: usize, levels: Levels, entry: u64) -> Self {
        let el = levels.highest();
        let mut core = Self {
            number,
            c: [Capability::NULL; 32],
            v: [0; 32],
            pc: entry,
            next: entry,
            pcc: Capability::ROOT,
            sp: [Capability::NULL; 5],
            ddc: [Capability::ROOT; 5],
            bank: 0,
            nzcv: 0,
            daif: 0x3c0,
            el,
            sp_selected: true,
            c64: false,
            pan: false,
            uao: false,
            illegal: false,
            fpcr: 0,
            fpsr: 0,
            levels,
            registers: SystemRegisters::new(number),
            timers: Timers::new(FREQUENCY),
            tlb: Tlb::default(),
            pending: None,
            exclusive: None,
            activity: Activity::Running,
            event: false,
            look: true,
            instructions: 0,
            stays: Stays::default(),
            window: CLOSED,
        };
        // Levels that do not exist hold no authority either.
        for (el, exists) in [(2, levels.el2), (3, levels.el3)] {
            if !exists {
                core.ddc[el] = Capability::NULL;
            }
        }
        core.select_bank();
        core
    }

    /// PCC with the address of the instruction that is executed.
    pub(super) fn current_pcc(&self) -> Capability {
        self.pcc.with_address_unchecked(self.pc)
    }

    /// X`n` as an operand; 31 is zero.
    #[inline(always)]
    pub(super) fn x(&self, n: u32) -> u64 {
        self.c[(n & 31) as usize].address()
    }

    /// Writes X`n`, which leaves no capability in it; 31 is dropped.
    #[inline(always)]
    pub(super) fn set_x(&mut self, n: u32, value: u64) {
        if n & 31 != 31 {
            self.c[(n & 31) as usize] = Capability::from_integer(value);
        }
    }

    /// X`n` as an operand; 31 is SP.
    #[inline(always)]
    pub(super) fn x_or_sp(&self, n: u32) -> u64 {
        self.c_or_sp(n).address()
    }

    /// Writes X`n`; 31 is SP.
    #[inline(always)]
    pub(super) fn set_x_or_sp(&mut self, n: u32, value: u64) {
        self.set_c_or_sp(n, Capability::from_integer(value));
    }

    /// C`n` as an operand; 31 is NULL.
    #[inline(always)]
    pub(super) fn c(&self, n: u32) -> Capability {
        self.c[(n & 31) as usize]
    }

    /// Writes C`n`; 31 is dropped.
    #[inline(always)]
    pub(super) fn set_c(&mut self, n: u32, value: Capability) {
        if n & 31 != 31 {
            self.c[(n & 31) as usize] = value;
        }
    }

    /// C`n` as an operand; 31 is CSP.
    #[inline(always)]
    pub(super) fn c_or_sp(&self, n: u32) -> Capability {
        if n & 31 == 31 {
            self.sp[self.bank]
        } else {
            self.c[(n & 31) as usize]
        }
    }

    /// Writes C`n`; 31 is CSP.
    #[inline(always)]
    pub(super) fn set_c_or_sp(&mut self, n: u32, value: Capability) {
        if n & 31 == 31 {
            self.sp[self.bank] = value;
        } else {
            self.c[(n & 31) as usize] = value;
        }
    }

    /// The DDC in use.
    #[inline(always)]
    pub(super) fn current_ddc(&self) -> &Capability {
        &self.ddc[self.bank]
    }

    /// Whether the code that runs has the Executive permission.
    pub(super) fn executive(&self) -> bool {
        self.pcc.has_permission_bits(permission::EXECUTIVE)
    }

    /// Whether the code that runs has the System permission.
    pub(super) fn system(&self) -> bool {
        self.pcc.has_permission_bits(permission::SYSTEM)
    }

    /// Chooses SP and DDC by exception level, SPSel and the Executive permission.
    pub(super) fn select_bank(&mut self) {
        self.bank = match (self.executive(), self.sp_selected) {
            (false, _) => RESTRICTED,
            (true, false) => 0,
            (true, true) => self.el.into(),
        };
    }

    /// CCTLR of the current exception level.
    #[inline(always)]
    pub(super) fn cctlr(&self) -> u64 {
        self.registers.cctlr[usize::from(self.el)]
    }

    /// What is added to an integer address before it is checked against DDC.
    #[inline(always)]
    pub(super) fn ddc_offset(&self) -> u64 {
        if self.cctlr() & cctlr::DDCBO != 0 {
            self.current_ddc().base()
        } else {
            0
        }
    }

    /// What lies between an integer code address and the address in PCC.
    #[inline(always)]
    pub(super) fn pcc_offset(&self) -> u64 {
        if self.cctlr() & cctlr::PCCBO != 0 {
            self.pcc.base()
        } else {
            0
        }
    }

    /// Goes on at `target` with the same PCC, which loses its tag when its bounds cannot follow.
    #[inline(always)]
    pub(super) fn branch(&mut self, target: u64) {
        if !self.pcc.in_bounds(target, 4) {
            self.set_pcc_bounds(self.current_pcc().set_address(target));
        }
        self.next = target;
    }

    /// Goes on at the address of `target` with `target` as PCC.
    pub(super) fn branch_to_capability(&mut self, target: Capability) {
        self.set_pcc_bounds(target);
        self.next = target.address();
    }

    fn set_pcc_bounds(&mut self, pcc: Capability) {
        let old = self.pcc;
        let same = old.to_memory().1 == pcc.to_memory().1
            && old.tag() == pcc.tag()
            && old.base() == pcc.base()
            && old.top() == pcc.top();
        if !same {
            self.window = CLOSED;
        }
        self.pcc = pcc;
        self.select_bank();
    }

    /// The next instruction is fetched the long way.
    pub(super) fn close_window(&mut self) {
        self.window = CLOSED;
    }

    /// Executes until `until` on the bus's clock, or until something wants to be looked at. The interrupt inputs have been
    /// dealt with by the caller.
    pub(super) fn run(&mut self, bus: &mut Bus, code: &mut Code, until: u64) {
        if code.coverage.is_some() {
            self.run_counting::<true>(bus, code, until);
        } else {
            self.run_counting::<false>(bus, code, until);
        }
    }

    fn run_counting<const COUNTED: bool>(&mut self, bus: &mut Bus, code: &mut Code, until: u64) {
        let start = bus.now;
        while bus.now < until && !self.look {
            let offset = self.pc.wrapping_sub(self.window.first);
            let slot = if self.pc < self.window.end && self.pc >= self.window.first && offset & 3 == 0 {
                code.pages[self.window.page][(self.pc as usize % PAGE as usize) / 4]
            } else {
                match self.open_window(bus, code) {
                    Ok(slot) => slot,
                    Err(Raised) => {
                        bus.now += 1;
                        self.take_pending(bus);
                        continue;
                    }
                }
            };
            bus.now += 1;
            if COUNTED && let Some(coverage) = code.coverage.as_mut().filter(|coverage| coverage.counts(self)) {
                // One that is not decoded yet is counted when it is.
                if let Some(handler) = slot.handler {
                    coverage.count(handler, slot.word);
                }
            }
            self.next = self.pc.wrapping_add(4);
            let result = match slot.handler {
                Some(handler) => handler(self, bus, slot.word),
                None => self.decode_here(bus, code),
            };
            match result {
                Ok(()) => self.pc = self.next,
                Err(Raised) => self.take_pending(bus),
            }
        }
        self.instructions += bus.now - start;
    }

    /// Decodes the instruction at `pc`, which lies in the window, and executes it.
    #[cold]
    fn decode_here(&mut self, bus: &mut Bus, code: &mut Code) -> Step {
        let physical = self.translate_fetch(bus, self.pc)?;
        let Some(word) = bus.fetch(physical) else {
            return self.external_fetch_abort();
        };
        let handler = decode::decode(word);
        code.pages[self.window.page][(self.pc % PAGE) as usize / 4] = Slot {
            handler: Some(handler),
            word,
        };
        if let Some(coverage) = code.coverage.as_mut().filter(|coverage| coverage.counts(self)) {
            coverage.count(handler, word);
        }
        handler(self, bus, word)
    }

    /// Fetches the long way: checks PCC, translates, and opens the window on the page.
    #[cold]
    fn open_window(&mut self, bus: &mut Bus, code: &mut Code) -> Step<Slot> {
        code.forget_changed(bus);
        self.check_state()?;
        // The reference reports what translation finds before what alignment and PCC say.
        let user = self.user();
        let page = match self.tlb.code(self.pc, user) {
            Some(page) => page,
            None => {
                let physical = self.translate_fetch(bus, self.pc)?;
                if bus.fetch(physical & !3).is_none() {
                    self.external_fetch_abort()?;
                }
                code.page(physical)
            }
        };
        self.check_fetch()?;
        self.tlb.set_code(self.pc, user, page);
        let start = self.pc & !(PAGE - 1);
        // The last address at which an instruction may start is four below both the page's end and the top.
        let first = start.max(self.pcc.base());
        let top = self.pcc.top().min(u128::from(start) + u128::from(PAGE));
        let end = u64::try_from(top).map_or(u64::MAX, |top| top.saturating_sub(3));
        self.window = Window {
            first: (first + 3) & !3,
            end,
            page,
        };
        Ok(code.pages[page][(self.pc % PAGE) as usize / 4])
    }
}
