//! A cVM's part in the shortest way through the monitor: what a hostcall looks at before anything is locked.

use crate::cvm::Cvm;
use crate::plan::manifest::CvmSpec;
use abi::Hostcall;
use abi::hostcall::{Family, START};
use arch::Frame;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

/// See above.
pub(crate) struct Short {
    /// The hostcalls that the monitor serves it without more ado, bit n = number n: its manifest allows them, and no other
    /// cVM serves it.
    direct: u64,
    /// The hostcalls that its server serves, and the short way there, when there is one: a cVM that serves others itself calls
    /// its own server the long way.
    served: u64,
    pub(crate) line: Option<&'static Line>,
    /// Those whose arguments name a buffer, which is lent.
    pub(crate) buffers: u64,
    /// Its number.
    pub(crate) id: u64,
    /// Only its server knows what its hostcalls mean.
    pub(crate) raw: bool,
    /// Ticks that a served hostcall may take.
    pub(crate) budget: u64,
    /// Hostcalls that it has made.
    hostcalls: AtomicU64,
}

/// The hostcalls whose arguments name a buffer.
pub(crate) const NAME_BUFFERS: u64 = {
    let (mut bits, mut index) = (0, 0);
    while index < Hostcall::ALL.len() {
        if Hostcall::ALL[index].buffer().is_some() {
            bits |= 1 << Hostcall::ALL[index] as u64;
        }
        index += 1;
    }
    bits
};

/// The hostcalls of each family, bit n = number n.
const OF_FAMILY: [u64; Family::ALL.len()] = {
    let (mut families, mut index) = ([0; Family::ALL.len()], 0);
    while index < Hostcall::ALL.len() {
        families[Hostcall::ALL[index].family() as usize] |= 1 << Hostcall::ALL[index] as u64;
        index += 1;
    }
    families
};

/// The hostcalls of a set of families.
fn hostcalls_of(families: u32) -> u64 {
    let wanted = OF_FAMILY.iter().enumerate();
    wanted.fold(0, |all, (family, of)| {
        all | if families >> family & 1 == 1 { *of } else { 0 }
    })
}

/// What is short for nobody.
pub(crate) static NOBODY: Short = Short {
    direct: 0,
    served: 0,
    line: None,
    buffers: 0,
    id: 0,
    raw: false,
    budget: 0,
    hostcalls: AtomicU64::new(0),
};

impl Short {
    /// For a cVM whose served hostcalls may take so many ticks.
    pub(crate) fn new((id, spec): (usize, &CvmSpec), budget: u64, line: Option<&'static Line>) -> Short {
        let allowed = hostcalls_of(spec.families);
        // Where its threads may be in others, nothing is short.
        let is_short = spec.server.is_none() && spec.calls.is_empty();
        let direct = if is_short { allowed } else { 0 };
        // What concerns a cVM's own role as a server stays with the monitor; what is no hostcall goes to the server.
        let raw = spec.raw != 0;
        let kept = match raw {
            true => 0,
            false => hostcalls_of(!spec.families) | OF_FAMILY[Family::Service as usize],
        };
        Short {
            direct,
            served: if spec.server.is_some() { !kept } else { 0 },
            line,
            buffers: if raw { 0 } else { NAME_BUFFERS },
            id: id as u64,
            raw,
            budget: if raw { u64::MAX } else { budget },
            hostcalls: AtomicU64::new(0),
        }
    }

    /// What its server is told of who calls: its number, and of a raw client the thread's place.
    #[inline]
    pub(crate) fn caller(&self, place: u16) -> u64 {
        if self.raw {
            self.id | u64::from(place) << 32
        } else {
            self.id
        }
    }

    /// Hostcalls so far.
    pub(crate) fn hostcalls(&self) -> u64 {
        self.hostcalls.load(Ordering::Relaxed)
    }

    /// One more hostcall.
    #[inline]
    pub(crate) fn count(&self) {
        // One hart, with interrupts off.
        let hostcalls = self.hostcalls.load(Ordering::Relaxed) + 1;
        self.hostcalls.store(hostcalls, Ordering::Relaxed);
    }

    /// The last one was somebody else's.
    pub(crate) fn discount(&self) {
        let hostcalls = self.hostcalls.load(Ordering::Relaxed) - 1;
        self.hostcalls.store(hostcalls, Ordering::Relaxed);
    }

    /// Whether the monitor serves this number without more ado.
    #[inline]
    pub(crate) fn is_direct(&self, number: u64) -> bool {
        number < 64 && self.direct >> number & 1 == 1
    }

    /// Whether its server serves this number. The one that only the monitor's own calls have is nobody's to use.
    #[inline]
    pub(crate) fn is_served(&self, number: u64) -> bool {
        if number < 64 {
            self.served >> number & 1 == 1
        } else {
            self.served != 0 && number != START
        }
    }
}

/// The short way to a server with one handler. What is in it of a call is true while
/// the monitor has it for the usual call.
pub(crate) struct Line {
    /// Whether the handler is free, and nobody waits.
    pub(crate) open: AtomicBool,
    /// The server's number.
    pub(crate) server: usize,
    /// The server has no server.
    pub(crate) last: bool,
    /// The handler's registers.
    pub(crate) handler: &'static Frame,
    /// What takes local capabilities of the handler's stack: its start, and bytes.
    pub(crate) area: (u64, u64),
    /// No other stack of the family takes local capabilities.
    pub(crate) alone: bool,
    /// The server's own part.
    short: AtomicPtr<Short>,
    /// Who calls.
    caller: AtomicPtr<Frame>,
    client: AtomicPtr<Short>,
    /// Since when.
    pub(crate) called: AtomicU64,
    /// Whether something is lent.
    pub(crate) lent: AtomicBool,
    /// Ticks that the handler has spent for calls that were usual to their end.
    pub(crate) spent: AtomicU64,
}

impl Line {
    pub(crate) fn new((index, server): (usize, &Cvm), handler: &'static Frame, alone: bool) -> Line {
        let area = server.local_area(0);
        let nobody = ptr::from_ref(&NOBODY).cast_mut();
        Line {
            open: AtomicBool::new(false),
            server: index,
            last: server.server.is_none(),
            handler,
            area: (area.start, area.end - area.start),
            alone,
            short: AtomicPtr::new(nobody),
            caller: AtomicPtr::new(ptr::from_ref(handler).cast_mut()),
            client: AtomicPtr::new(nobody),
            called: AtomicU64::new(0),
            lent: AtomicBool::new(false),
            spent: AtomicU64::new(0),
        }
    }

    pub(crate) fn set_short(&self, short: &'static Short) {
        self.short.store(ptr::from_ref(short).cast_mut(), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn begin(&self, caller: &'static Frame, client: &'static Short, now: u64) {
        self.open.store(false, Ordering::Relaxed);
        self.caller.store(ptr::from_ref(caller).cast_mut(), Ordering::Relaxed);
        self.client.store(ptr::from_ref(client).cast_mut(), Ordering::Relaxed);
        self.called.store(now, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn end(&self, spent: u64) {
        self.open.store(true, Ordering::Relaxed);
        let before = self.spent.load(Ordering::Relaxed);
        self.spent.store(before + spent, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn short(&self) -> &'static Short {
        // SAFETY: what is stored is a reference to what lives for ever.
        unsafe { &*self.short.load(Ordering::Relaxed) }
    }

    #[inline]
    pub(crate) fn client(&self) -> &'static Short {
        // SAFETY: what is stored is a reference to what lives for ever.
        unsafe { &*self.client.load(Ordering::Relaxed) }
    }

    #[inline]
    pub(crate) fn caller(&self) -> &'static Frame {
        // SAFETY: what is stored is a reference to what lives for ever.
        unsafe { &*self.caller.load(Ordering::Relaxed) }
    }
}
