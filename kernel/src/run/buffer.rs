//! Buffers among those that run: who asks, whose families hold what, and taking it back.

use crate::authority::buffer;
use crate::cvm::id::CvmId;
use crate::run::monitor::{Monitor, Outcome};
use crate::run::{device, recall};
use abi::Errno;
use abi::hostcall::BUFFER_ALL;
use arch::{Frame, Slot};
use core::ops::Range;

impl Monitor {
    /// The outermost cVM around one.
    pub(super) fn family(&self, cvm: CvmId) -> CvmId {
        self.scheduler[self.cvms[cvm.index()].main()].family
    }

    /// The cVM of this number.
    pub(super) fn numbered(&self, number: u64) -> Result<CvmId, Errno> {
        let number = usize::try_from(number).ok().filter(|number| *number < self.cvms.len());
        number.map(CvmId::new).ok_or(Errno::EINVAL)
    }

    /// `buffer_map(number, rights)`.
    pub(crate) fn map_buffer(
        &mut self,
        cvm: CvmId,
        frame: &Frame,
        [number, rights]: [u64; 2],
    ) -> Result<Outcome, Errno> {
        static MADE: Slot = Slot::null();
        let index = self.buffers.find(number)?;
        let rights = buffer::valid(rights)?;
        let family = self.family(cvm);
        let who = (cvm.index(), family.index(), self.weights[family.index()]);
        let size = self.buffers.map(index, who, rights, &MADE)?;
        frame.set_result_capability(&MADE);
        frame.set_second(size);
        MADE.clear();
        Ok(Outcome::Set)
    }

    /// `buffer_grant(number, cvm, rights)`.
    pub(crate) fn grant_buffer(&mut self, owner: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
        let index = self.buffers.owned(frame.argument(0), owner.index())?;
        let (cvm, rights) = (self.numbered(frame.argument(1))?, buffer::valid(frame.argument(2))?);
        self.buffers.grant(index, cvm.index(), rights);
        Ok(Outcome::Value(0))
    }

    /// `buffer_revoke(number, cvm)`.
    pub(crate) fn revoke_buffer(&mut self, owner: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
        let index = self.buffers.owned(frame.argument(0), owner.index())?;
        let (region, memory) = (self.buffers.get(index).region, self.buffers.get(index).memory.clone());
        let own = self.family(owner);
        if frame.argument(1) == BUFFER_ALL {
            self.buffers.deny(index, None);
            self.take_from_all(region, &memory, Some(own));
        } else {
            let cvm = self.numbered(frame.argument(1))?;
            let family = self.family(cvm);
            if family == own {
                return Err(Errno::EINVAL);
            }
            self.buffers.deny(index, Some(cvm.index()));
            let held = &self.buffers.regions[region].held;
            // What one of those holds that are linked by gates, any may have been passed.
            if self.linked[family.index()]
                .iter()
                .any(|linked| held.contains(linked.index()))
            {
                self.take_from_linked(family, &memory, Some(own));
            }
        }
        self.taken(&memory)
    }

    /// `buffer_destroy(number)`.
    pub(crate) fn destroy_buffer(&mut self, owner: CvmId, frame: &Frame) -> Result<Outcome, Errno> {
        let index = self.buffers.owned(frame.argument(0), owner.index())?;
        if self.buffers.is_named(index) {
            return Err(Errno::EPERM);
        }
        let (region, memory) = (self.buffers.get(index).region, self.buffers.get(index).memory.clone());
        self.buffers.forget(index);
        self.take_from_all(region, &memory, None);
        self.taken(&memory).or(Ok(Outcome::Value(0)))
    }

    /// Nobody holds a range any more; what a device may still use comes back later. A handler that takes from its caller what
    /// that has lent it has ended its own call.
    fn taken(&self, memory: &Range<u64>) -> Result<Outcome, Errno> {
        match self.scheduler.current() {
            None => Ok(Outcome::Switch),
            Some(_) if device::in_flight(&self.devices, memory) => Err(Errno::EAGAIN),
            Some(_) => Ok(Outcome::Value(0)),
        }
    }

    /// A cVM's life is over: the buffers that it has made are gone.
    pub(crate) fn end_buffers(&mut self, owner: CvmId) {
        if let Some(region) = self.buffers.region_of(owner.index()) {
            let memory = self.buffers.regions[region].memory.clone();
            self.take_from_all(region, &memory, None);
            self.buffers.empty(region);
        }
    }

    /// Takes memory of a region from all families that may hold something of it, but for one.
    fn take_from_all(&mut self, region: usize, memory: &Range<u64>, but: Option<CvmId>) {
        let mut next = 0;
        while let Some(family) = self.buffers.regions[region].held.next(next) {
            next = family + 1;
            let linked = self.linked[family].len() > 1;
            if linked || Some(CvmId::new(family)) != but {
                self.take_from_linked(CvmId::new(family), memory, but);
            }
        }
    }

    /// What to look for something in a family takes at most, by its outermost cVM, in units of about an instruction.
    pub(crate) fn weigh_families(&mut self) {
        self.weights.resize(self.cvms.len(), 0);
        for index in 0..self.cvms.len() {
            let cvm = &self.cvms[index];
            let areas: u64 = cvm.local_areas().map(|area| area.end - area.start).sum();
            let family = self.family(CvmId::new(index)).index();
            // The registers of a thread, and those that it has left behind in calls by gates.
            let frames = u32::from(cvm.threads) * if cvm.spec.calls.is_empty() { 1 } else { 8 };
            self.weights[family] += recall::weight(frames, areas);
        }
        let alone = self.weights.clone();
        for (weight, linked) in self.weights.iter_mut().zip(&self.linked) {
            let all = linked.iter().map(|family| alone[family.index()]);
            *weight = all.fold(0, u32::saturating_add);
        }
        // What a client has lent of it is looked for among its servers, call by call.
        let alone = self.weights.clone();
        for index in 0..self.cvms.len() {
            let family = self.family(CvmId::new(index)).index();
            let mut at = index;
            while let Some(server) = self.cvms[at].server {
                at = server.index();
                let handlers = self.cvms[at]
                    .service
                    .as_ref()
                    .map_or(0, |service| service.handlers.len());
                let calls = u32::from(self.cvms[index].threads).min(handlers as u32);
                let each = recall::CALL.saturating_add(alone[self.family(server).index()]);
                self.weights[family] = self.weights[family].saturating_add(calls.saturating_mul(each));
            }
        }
    }
}
