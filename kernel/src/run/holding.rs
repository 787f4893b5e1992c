//! Who holds what now: counted, not remembered. Whatever is foreign lies in registers and local areas
//! (`kernel::authority::sweep`), so what a search would take can be counted instead.

use crate::authority::sweep;
use crate::cvm::id::CvmId;
use crate::report::console::say;
use crate::run::monitor::Monitor;
use abi::Errno;
use abi::hostcall::{BUFFER_READ, BUFFER_WRITE, Holding, HoldingKind};
use arch::Slot;
use core::cell::Cell;
use core::ops::Range;

/// A thing that a cVM has, before it is counted.
enum Thing {
    Buffer(usize),
    Passed(CvmId),
    /// Of a handler, the number of what was lent.
    Lent(usize, usize),
    Offered(usize),
    Called(CvmId, usize),
    Device(usize),
}

impl Monitor {
    /// The capabilities that reach a range, in the registers and local areas of a family.
    fn held(&self, family: CvmId, range: &Range<u64>) -> u64 {
        let count = Cell::new(0);
        let see = |_: &Slot| {
            count.set(count.get() + 1);
            false
        };
        for member in &self.families[family.index()] {
            for id in self.cvms[member.index()].all_threads() {
                if self.scheduler[id].calls.is_none() {
                    sweep::registers(self.scheduler[id].frame, range, Some(&see));
                }
            }
        }
        for id in self.callers.iter().copied() {
            let calls = self.scheduler[id].calls.as_ref();
            for saved in self.saved_of(id, family).take(calls.map_or(0, |calls| calls.level)) {
                sweep::area(saved, range, Some(&see));
            }
            if self.family(self.scheduler[id].cvm) == family {
                sweep::registers(self.scheduler[id].frame, range, Some(&see));
            }
        }
        for holder in &self.holders[family.index()] {
            for area in &self.cvms[holder.index()].areas {
                sweep::area(area.clone(), range, Some(&see));
            }
        }
        count.get()
    }

    /// How many calls of a gate are under way.
    fn under_way(&self, server: CvmId, place: usize) -> u64 {
        let levels = self.callers.iter().flat_map(|id| {
            let calls = self.scheduler[*id].calls.as_ref();
            calls
                .into_iter()
                .flat_map(|calls| (1..=calls.level).map(|level| (calls.record, level)))
        });
        levels
            .filter(|(record, level)| self.gate_of(record, *level) == (server, place))
            .count() as u64
    }

    /// What a cVM has, in this order.
    fn thing(&self, id: CvmId, index: usize) -> Option<Thing> {
        let (cvm, family) = (&self.cvms[id.index()], self.family(id));
        let linked = self.linked[family.index()].iter().filter(|linked| **linked != family);
        let handlers = cvm
            .service
            .iter()
            .flat_map(|service| service.handlers.iter().enumerate());
        let lent = handlers.flat_map(|(handler, own)| (0..own.lent.len()).map(move |lent| Thing::Lent(handler, lent)));
        let called = cvm
            .spec
            .calls
            .iter()
            .map(|(server, place)| Thing::Called(CvmId::new(*server), *place));
        self.buffers
            .concerning(id.index())
            .map(Thing::Buffer)
            .chain(
                linked
                    .flat_map(|linked| &self.families[linked.index()])
                    .copied()
                    .map(Thing::Passed),
            )
            .chain(lent)
            .chain((0..cvm.spec.gates.len()).map(Thing::Offered))
            .chain(called)
            .chain((0..cvm.spec.devices.len()).map(Thing::Device))
            .nth(index)
    }

    /// `holding(cvm, index, ...)`, for a cVM that may know.
    pub(crate) fn holding(&self, id: CvmId, index: usize) -> Option<Holding> {
        let family = self.family(id);
        let made = |kind: HoldingKind, cvm: Option<usize>, number: u64, memory: Range<u64>, rights: u64| Holding {
            kind: kind as u32,
            cvm: cvm.map_or(Holding::NOBODY, |cvm| cvm as u32),
            number,
            size: memory.end - memory.start,
            rights,
            held: if memory.is_empty() {
                0
            } else {
                self.held(family, &memory)
            },
        };
        Some(match self.thing(id, index)? {
            Thing::Buffer(index) => {
                let buffer = self.buffers.get(index);
                let (number, memory) = (self.buffers.number(index), buffer.memory.clone());
                made(
                    HoldingKind::Buffer,
                    buffer.owner,
                    number,
                    memory,
                    buffer.may(id.index()),
                )
            }
            Thing::Passed(linked) => {
                let memory = self.cvms[linked.index()].memory();
                made(
                    HoldingKind::Passed,
                    Some(linked.index()),
                    0,
                    memory,
                    BUFFER_READ | BUFFER_WRITE,
                )
            }
            Thing::Lent(handler, lent) => {
                let handler = &self.cvms[id.index()].service.as_ref()?.handlers[handler];
                let (lent, caller) = (&handler.lent[lent], self.served_by(handler.thread));
                let rights = (u64::from(lent.load) * BUFFER_READ) | (u64::from(lent.store) * BUFFER_WRITE);
                made(
                    HoldingKind::Lent,
                    caller.map(CvmId::index),
                    0,
                    lent.range.clone(),
                    rights,
                )
            }
            Thing::Offered(place) => Holding {
                held: self.under_way(id, place),
                ..made(HoldingKind::Offered, Some(id.index()), place as u64, 0..0, 0)
            },
            Thing::Called(server, place) => made(HoldingKind::Called, Some(server.index()), place as u64, 0..0, 0),
            Thing::Device(number) => {
                let device = self.devices.get(self.cvms[id.index()].devices.start + number)?;
                Holding {
                    held: device.requests_in_flight(),
                    ..made(HoldingKind::Device, None, number as u64, 0..0, 0)
                }
            }
        })
    }

    /// Whether a cVM may know what another one holds: it is that one, or lies around it.
    pub(crate) fn may_know(&self, id: CvmId, about: u64) -> Result<CvmId, Errno> {
        let about = self.numbered(about)?;
        let around = core::iter::successors(Some(about), |id| self.cvms[id.index()].spec.within.map(CvmId::new));
        let known = around.into_iter().any(|outer| outer == id);
        known.then_some(about).ok_or(Errno::EPERM)
    }

    /// Prints what everybody has that is somebody else's, or that somebody else can have.
    pub(crate) fn tell_holdings(&self) {
        if log::max_level() < log::Level::Debug {
            return;
        }
        for (id, cvm) in self.cvms.iter().enumerate() {
            for holding in (0..).map_while(|index| self.holding(CvmId::new(id), index)) {
                let kind = ["buffer", "passed", "lent", "gate offered", "gate called", "device"];
                let kind = kind[holding.kind as usize - 1];
                let of = self
                    .cvms
                    .get(holding.cvm as usize)
                    .map_or("nobody", |cvm| &cvm.spec.name);
                let rights = ["", " r", " w", " rw"][holding.rights as usize & 3];
                let Holding { number, size, held, .. } = holding;
                let name = &cvm.spec.name;
                say!(
                    Debug,
                    "{name} has {kind} {number:#x} of {of}: {size:#x} bytes{rights}, {held} held"
                );
            }
        }
    }
}
