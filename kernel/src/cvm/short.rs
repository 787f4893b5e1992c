//! A cVM's part in the shortest way through the monitor: what a hostcall looks at before anything is locked.

use crate::plan::manifest::CvmSpec;
use abi::Hostcall;
use abi::hostcall::Family;
use core::sync::atomic::{AtomicU64, Ordering};

/// See above.
pub(crate) struct Short {
    /// The hostcalls that the monitor serves it without more ado, bit n = number n: its manifest allows them, and no other
    /// cVM serves it.
    direct: u64,
    /// The hostcalls that its server serves, and which cVM that is.
    served: u64,
    pub(crate) server: usize,
    /// Ticks that a served hostcall may take.
    pub(crate) budget: u64,
    /// Hostcalls that it has made.
    hostcalls: AtomicU64,
}

/// What is short for nobody.
pub(crate) static NOBODY: Short = Short {
    direct: 0,
    served: 0,
    server: 0,
    budget: 0,
    hostcalls: AtomicU64::new(0),
};

impl Short {
    /// For a cVM whose served hostcalls may take so many ticks.
    pub(crate) fn new(spec: &CvmSpec, budget: u64) -> Short {
        let of = |wanted: &dyn Fn(&Hostcall) -> bool| {
            let numbers = Hostcall::ALL.into_iter().filter(wanted);
            numbers.map(|hostcall| 1 << hostcall as u64).sum::<u64>()
        };
        let direct = of(&|hostcall| spec.server.is_none() && spec.allows(*hostcall));
        // What concerns a cVM's own role as a server stays with the monitor; what is no hostcall goes to the server.
        let kept = of(&|hostcall| hostcall.family() == Family::Service || !spec.allows(*hostcall));
        Short {
            direct,
            served: if spec.server.is_some() { !kept } else { 0 },
            server: spec.server.unwrap_or(0),
            budget,
            hostcalls: AtomicU64::new(0),
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

    /// Whether the monitor serves this number without more ado.
    #[inline]
    pub(crate) fn is_direct(&self, number: u64) -> bool {
        number < 64 && self.direct >> number & 1 == 1
    }

    /// Whether its server serves this number.
    #[inline]
    pub(crate) fn is_served(&self, number: u64) -> bool {
        self.served >> number.min(63) & 1 == 1
    }
}
