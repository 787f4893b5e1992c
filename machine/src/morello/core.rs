//! One CPU: its registers, the fetch loop, and the cache of decoded instructions.
//!
//! An instruction is decoded once, into the function that executes it, and kept beside the word it came from. While
//! execution stays in one page and inside PCC's bounds, an instruction costs one lookup and one indirect call; whatever may
//! end that (a branch out of the page, another PCC, a change of the translation, a store into decoded code) empties the
//! fetch window, and the next instruction is fetched the long way with all its checks.
//!
//! The address of the instruction and the clock are the loop's own while it goes on from one instruction to the next: it
//! tells core and bus, and asks neither.

use super::access::Tlb;
use super::bus::Bus;
use super::coverage::Coverage;
use super::decode;
use super::direct::Direct;
use super::exception::Pending;
use super::registers::SystemRegisters;
use super::timer::{FREQUENCY, Timers};
use crate::registers::{DISCARD, Registers};
use crate::stays::Stays;
use capability::morello::Capability;
use std::collections::HashMap;

/// Why execution does not simply go on with the instruction that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// An exception was recorded in the core and is taken as soon as the instruction is left.
    Raised,
    /// It goes on at `pc`, which has been set.
    Jumped,
    /// The instruction has to be decoded first.
    Undecoded,
}

/// What executing (a part of) an instruction comes to.
pub(super) type Step<T = ()> = Result<T, Leave>;

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

/// Instructions that can be fetched without any further check, and where they are decoded.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// Address of the first one.
    first: u64,
    count: usize,
    page: usize,
}

const CLOSED: Window = Window {
    first: 0,
    count: 0,
    page: 0,
};

/// The number of the instruction at `address`, counted from the one at `first`. Where the addresses do not differ by whole
/// instructions it is beyond all windows.
#[inline(always)]
fn number(first: u64, address: u64) -> usize {
    address.wrapping_sub(first).rotate_right(2) as usize
}

impl Window {
    #[inline(always)]
    fn holds(&self, address: u64) -> bool {
        number(self.first, address) < self.count
    }
}

/// One CPU.
#[derive(Clone)]
pub(super) struct Core {
    pub(super) number: usize,
    /// C0 to C30; the thirty-first stays NULL.
    c: Registers<Capability>,
    pub(super) v: [u128; 32],
    /// Address of the instruction that is executed; where a branch or an exception leads, from then on.
    pub(super) pc: u64,
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
    /// Interrupt inputs may have changed: the board is to look. Set by [`Core::pause`].
    pub(super) look: bool,
    /// Time at which the loop is left; zero as soon as something wants to be looked at.
    end: u64,
    pub(super) instructions: u64,
    pub(super) stays: Stays,
    window: Window,
    pub(super) direct: Direct,
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
    /// [`undecoded`] until the instruction is executed for the first time.
    handler: Handler,
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
const UNDECODED: Slot = Slot {
    handler: undecoded,
    word: 0,
};

fn undecoded(_: &mut Core, _: &mut Bus, _: u32) -> Step {
    Err(Leave::Undecoded)
}

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
            c: Registers::new(),
            v: [0; 32],
            pc: entry,
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
            end: 0,
            instructions: 0,
            stays: Stays::default(),
            window: CLOSED,
            direct: Direct::NONE,
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
        self.c.integer((n & 31) as u8)
    }

    /// Writes X`n`, which leaves no capability in it; 31 is dropped.
    #[inline(always)]
    pub(super) fn set_x(&mut self, n: u32, value: u64) {
        self.c.set_integer(destination(n), value);
    }

    /// X`n` as an operand; 31 is SP.
    #[inline(always)]
    pub(super) fn x_or_sp(&self, n: u32) -> u64 {
        if n & 31 == 31 {
            self.sp[self.bank].address()
        } else {
            self.x(n)
        }
    }

    /// Writes X`n`; 31 is SP.
    #[inline(always)]
    pub(super) fn set_x_or_sp(&mut self, n: u32, value: u64) {
        if n & 31 == 31 {
            self.sp[self.bank] = Capability::from_integer(value);
        } else {
            self.c.set_integer((n & 31) as u8, value);
        }
    }

    /// C`n` as an operand; 31 is NULL.
    #[inline(always)]
    pub(super) fn c(&self, n: u32) -> Capability {
        self.c.capability((n & 31) as u8)
    }

    /// Writes C`n`; 31 is dropped.
    #[inline(always)]
    pub(super) fn set_c(&mut self, n: u32, value: Capability) {
        self.c.set_capability(destination(n), value);
    }

    /// C`n` as an operand; 31 is CSP.
    #[inline(always)]
    pub(super) fn c_or_sp(&self, n: u32) -> Capability {
        if n & 31 == 31 { self.sp[self.bank] } else { self.c(n) }
    }

    /// Writes C`n`; 31 is CSP.
    #[inline(always)]
    pub(super) fn set_c_or_sp(&mut self, n: u32, value: Capability) {
        if n & 31 == 31 {
            self.sp[self.bank] = value;
        } else {
            self.c.set_capability((n & 31) as u8, value);
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
        self.direct = Direct::NONE;
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

    /// Branches to `target` with the same PCC, which loses its tag when its bounds cannot follow.
    #[inline(always)]
    pub(super) fn branch(&mut self, target: u64) -> Step {
        self.go_to(target);
        Err(Leave::Jumped)
    }

    /// Goes on at `target`, as [`Core::branch`] does.
    #[inline(always)]
    pub(super) fn go_to(&mut self, target: u64) {
        if !self.window.holds(target) && !self.pcc.in_bounds(target, 4) {
            self.set_pcc_bounds(self.current_pcc().set_address(target));
        }
        self.pc = target;
    }

    /// Goes on at the address of `target` with `target` as PCC.
    pub(super) fn go_to_capability(&mut self, target: Capability) {
        self.set_pcc_bounds(target);
        self.pc = target.address();
    }

    fn set_pcc_bounds(&mut self, pcc: Capability) {
        let old = self.pcc;
        let same = old.to_memory().1 == pcc.to_memory().1
            && old.tag() == pcc.tag()
            && old.base() == pcc.base()
            && old.top() == pcc.top();
        if !same {
            self.close_window();
        }
        self.pcc = pcc;
        self.select_bank();
    }

    /// The next instruction is fetched the long way, and the next access checked against DDC.
    pub(super) fn close_window(&mut self) {
        self.window = CLOSED;
        self.direct = Direct::NONE;
        self.end = 0;
    }

    /// Lets the board look at what may have changed, as soon as the instruction is done.
    pub(super) fn pause(&mut self) {
        self.look = true;
        self.end = 0;
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
            if !self.window.holds(self.pc) && self.open_window(bus, code).is_err() {
                bus.now += 1;
                self.take_pending(bus);
                continue;
            }
            self.end = until;
            let left = match self.run_window::<COUNTED>(bus, code) {
                Err(Leave::Undecoded) => self.decode_here(bus, code),
                left => left,
            };
            if left == Err(Leave::Raised) {
                bus.now += 1;
                self.take_pending(bus);
            }
        }
        self.instructions += bus.now - start;
    }

    /// Executes from the open window until control leaves it, time is up, or an instruction is not done.
    #[inline(always)]
    fn run_window<const COUNTED: bool>(&mut self, bus: &mut Bus, code: &mut Code) -> Step {
        let Window { first, count, page } = self.window;
        let slots = &code.pages[page][first as usize % PAGE as usize / 4..][..count];
        let (mut pc, mut now) = (self.pc, bus.now);
        let mut left = Ok(());
        // One behind the other until one jumps.
        'window: while let Some(behind) = slots.get(number(first, pc)..) {
            for slot in behind {
                self.pc = pc;
                now += 1;
                bus.now = now;
                let counts = COUNTED && code.coverage.as_ref().is_some_and(|coverage| coverage.counts(self));
                let done = (slot.handler)(self, bus, slot.word);
                if counts
                    && done != Err(Leave::Undecoded)
                    && let Some(coverage) = &mut code.coverage
                {
                    coverage.count(slot.handler, slot.word);
                }
                let jumped = done == Err(Leave::Jumped);
                match done {
                    Ok(()) => pc = pc.wrapping_add(4),
                    Err(Leave::Jumped) => pc = self.pc,
                    Err(_) => {
                        now -= 1;
                        left = done;
                        break 'window;
                    }
                }
                if now >= self.end {
                    break 'window;
                }
                if jumped {
                    continue 'window;
                }
            }
            break;
        }
        self.pc = pc;
        bus.now = now;
        left
    }

    /// Decodes the instruction at `pc`, which lies in the window.
    #[cold]
    fn decode_here(&mut self, bus: &mut Bus, code: &mut Code) -> Step {
        let physical = self.translate_fetch(bus, self.pc)?;
        let Some(word) = bus.fetch(physical) else {
            return self.external_fetch_abort();
        };
        let handler = decode::decode(word);
        code.pages[self.window.page][(self.pc % PAGE) as usize / 4] = Slot { handler, word };
        Ok(())
    }

    /// Checks PCC, translates, and opens the window on the page.
    #[inline(always)]
    fn open_window(&mut self, bus: &mut Bus, code: &mut Code) -> Step {
        let page = match self.tlb.code(self.pc, self.user()) {
            Some(page) if !self.illegal && !bus.code_has_changed() => page,
            _ => self.find_page(bus, code)?,
        };
        self.check_fetch()?;
        let start = self.pc & !(PAGE - 1);
        let first = (start.max(self.pcc.base()) + 3) & !3;
        // The last instruction ends at the page's end or at the top; that the one at `pc` does was checked.
        let top = self.pcc.top().min(u128::from(start) + u128::from(PAGE));
        let count = (top - u128::from(first)) as usize / 4;
        self.window = Window { first, count, page };
        Ok(())
    }

    /// The page of decoded instructions in which `pc` lies, the long way.
    #[cold]
    fn find_page(&mut self, bus: &mut Bus, code: &mut Code) -> Step<usize> {
        code.forget_changed(bus);
        self.check_state()?;
        let user = self.user();
        if let Some(page) = self.tlb.code(self.pc, user) {
            return Ok(page);
        }
        // The reference reports what translation finds before what alignment and PCC say.
        let physical = self.translate_fetch(bus, self.pc)?;
        if bus.fetch(physical & !3).is_none() {
            self.external_fetch_abort()?;
        }
        let page = code.page(physical);
        self.tlb.set_code(self.pc, user, page);
        Ok(page)
    }
}

/// The register in which a result for register `n` is kept; 31 is dropped.
#[inline(always)]
fn destination(n: u32) -> u8 {
    if n & 31 == 31 { DISCARD } else { (n & 31) as u8 }
}
