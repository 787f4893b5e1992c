//! The generic interrupt controller, version 2 (IHI 0048) or 3 (IHI 0069) without security extension: distributor, CPU
//! interfaces, redistributors and the system register interface. No virtualisation, no ITS.
//!
//! Version 2 knows one group here, signalled as IRQ. Version 3 signals group 1 as IRQ and group 0 as FIQ, and has affinity
//! routing always on, as the device tree of a machine without EL3 promises.

use super::gic_registers::Register;

/// Interrupts 0 to 15 come from software, 16 to 31 are private to a core, the others are shared.
const LINES: usize = 288;
const PRIVATE: usize = 32;
const SOFTWARE: usize = 16;
/// What acknowledging returns when nothing is pending.
const SPURIOUS: u32 = 1023;
const IDLE: u8 = 0xff;

/// Which interrupt controller a board has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// GICv2: memory-mapped CPU interface.
    V2,
    /// GICv3: redistributors and system registers.
    V3,
}

/// One interrupt of one core, or a shared one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Interrupt {
    enabled: bool,
    /// Pending because of an edge, software or a register.
    latched: bool,
    active: bool,
    line: bool,
    edge: bool,
    group1: bool,
    priority: u8,
    /// Version 2: cores that may take it. Version 3: affinity of the one that takes it.
    target: u8,
    /// Version 2 software interrupts: cores that sent it.
    sources: u8,
}

impl Interrupt {
    fn pending(&self) -> bool {
        self.latched || self.sources != 0 || self.line && !self.edge
    }
}

/// The interface of one core.
#[derive(Clone, Debug)]
struct Interface {
    control: u32,
    mask: u8,
    binary_point: u8,
    group0: bool,
    group1: bool,
    /// Priorities of the interrupts that were acknowledged and not ended, the running one last.
    running: Vec<(u8, u32)>,
    /// End of interrupt only drops the priority.
    split: bool,
    waker: u32,
}

/// The controller.
#[derive(Clone)]
pub(super) struct Gic {
    version: Version,
    control: u32,
    shared: Vec<Interrupt>,
    private: Vec<[Interrupt; PRIVATE]>,
    interfaces: Vec<Interface>,
}

impl Gic {
    /// A controller in its reset state.
    pub(super) fn new(version: Version, cores: usize) -> Self {
        let mut private = [Interrupt::default(); PRIVATE];
        for interrupt in &mut private[..SOFTWARE] {
            (interrupt.enabled, interrupt.edge) = (version == Version::V2, true);
        }
        let interface = Interface {
            control: 0,
            mask: 0,
            binary_point: 0,
            group0: false,
            group1: false,
            running: Vec::new(),
            split: false,
            waker: 6,
        };
        let shared = Interrupt {
            target: u8::from(version == Version::V2),
            ..Interrupt::default()
        };
        Self {
            version,
            control: if version == Version::V3 { 0x50 } else { 0 },
            shared: vec![shared; LINES - PRIVATE],
            private: vec![private; cores],
            interfaces: vec![interface; cores],
        }
    }

    /// Whether it differs from `other` in nothing but the interrupts that are pending or active.
    pub(super) fn same_settings(&self, other: &Gic) -> bool {
        let settings = |interrupt: &Interrupt| Interrupt {
            latched: false,
            active: false,
            line: false,
            sources: 0,
            ..*interrupt
        };
        let same = |one: &[Interrupt], other: &[Interrupt]| {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| settings(one) == settings(other))
        };
        let interfaces = self.interfaces.iter().zip(&other.interfaces).all(|(one, other)| {
            let settings = |of: &Interface| {
                (
                    of.control,
                    of.mask,
                    of.binary_point,
                    of.group0,
                    of.group1,
                    of.split,
                    of.waker,
                )
            };
            settings(one) == settings(other)
        });
        let private = self.private.iter().zip(&other.private);
        let private = private.into_iter().all(|(one, other)| same(one, other));
        self.control == other.control && interfaces && private && same(&self.shared, &other.shared)
    }

    /// Which version it is.
    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// Number of cores.
    pub(super) fn cores(&self) -> usize {
        self.interfaces.len()
    }

    fn interrupt(&mut self, core: usize, id: usize) -> Option<&mut Interrupt> {
        if id < PRIVATE {
            self.private[core].get_mut(id)
        } else {
            self.shared.get_mut(id - PRIVATE)
        }
    }

    fn peek(&self, core: usize, id: usize) -> Interrupt {
        if id < PRIVATE {
            self.private[core][id]
        } else {
            self.shared.get(id - PRIVATE).copied().unwrap_or_default()
        }
    }

    /// Sets the level of a private interrupt's line.
    pub(super) fn set_private(&mut self, core: usize, id: usize, level: bool) {
        let interrupt = &mut self.private[core][id];
        interrupt.latched |= level && !interrupt.line && interrupt.edge;
        interrupt.line = level;
    }

    /// Sets the level of a shared interrupt's line; `id` counts from 32.
    pub(super) fn set_shared(&mut self, id: usize, level: bool) {
        let interrupt = &mut self.shared[id - PRIVATE];
        interrupt.latched |= level && !interrupt.line && interrupt.edge;
        interrupt.line = level;
    }

    fn forwards(&self, core: usize, id: usize, interrupt: &Interrupt) -> bool {
        let interface = &self.interfaces[core];
        let targeted = id < PRIVATE
            || match self.version {
                Version::V2 => interrupt.target >> core & 1 == 1,
                Version::V3 => usize::from(interrupt.target) == core,
            };
        let group = match (self.version, interrupt.group1) {
            (Version::V2, _) => self.control & 1 == 1 && interface.control & 1 == 1,
            (Version::V3, true) => self.control & 2 == 2 && interface.group1,
            (Version::V3, false) => self.control & 1 == 1 && interface.group0,
        };
        targeted && group
    }

    /// The interrupt that `core` should take, with its group.
    fn best(&self, core: usize) -> Option<(usize, bool)> {
        let interface = &self.interfaces[core];
        let running = interface.running.last().map_or(IDLE, |(priority, _)| *priority);
        let private = self.private[core].iter().enumerate();
        let shared = self
            .shared
            .iter()
            .enumerate()
            .map(|(index, interrupt)| (index + PRIVATE, interrupt));
        private
            .chain(shared)
            .filter(|(_, interrupt)| interrupt.enabled && interrupt.pending() && !interrupt.active)
            .filter(|(id, interrupt)| self.forwards(core, *id, interrupt))
            .filter(|(_, interrupt)| interrupt.priority < interface.mask && interrupt.priority < running)
            .min_by_key(|(id, interrupt)| (interrupt.priority, *id))
            .map(|(id, interrupt)| (id, interrupt.group1))
    }

    /// Whether an IRQ, and whether an FIQ, is signalled to `core`.
    pub(super) fn signals(&self, core: usize) -> (bool, bool) {
        match self.best(core) {
            Some((_, group1)) => {
                let irq = self.version == Version::V2 || group1;
                (irq, !irq)
            }
            None => (false, false),
        }
    }

    fn acknowledge(&mut self, core: usize, group1: Option<bool>) -> u32 {
        let Some((id, _)) = self
            .best(core)
            .filter(|(_, group)| group1.is_none_or(|wanted| wanted == *group))
        else {
            return SPURIOUS;
        };
        let Some(interrupt) = self.interrupt(core, id) else {
            return SPURIOUS;
        };
        let priority = interrupt.priority;
        let mut value = id as u32;
        if interrupt.sources != 0 {
            let source = interrupt.sources.trailing_zeros();
            interrupt.sources &= !(1 << source);
            value |= source << 10;
        }
        interrupt.latched = false;
        interrupt.active = true;
        self.interfaces[core].running.push((priority, id as u32));
        value
    }

    fn end(&mut self, core: usize, value: u32) {
        let id = value & 0x3ff;
        let interface = &mut self.interfaces[core];
        if interface.running.last().is_some_and(|(_, running)| *running == id) {
            interface.running.pop();
        } else {
            interface.running.retain(|(_, running)| *running != id);
        }
        if !interface.split {
            self.deactivate(core, id);
        }
    }

    fn deactivate(&mut self, core: usize, id: u32) {
        if let Some(interrupt) = self.interrupt(core, (id & 0x3ff) as usize) {
            interrupt.active = false;
        }
    }

    /// Reads `size` bytes of the distributor.
    pub(super) fn distributor_read(&mut self, core: usize, offset: u64, size: usize) -> u64 {
        match offset {
            0x000 => self.control.into(),
            0x004 => {
                let lines = (LINES / 32 - 1) as u64;
                let cores = (self.interfaces.len() as u64 - 1) << 5;
                match self.version {
                    Version::V2 => lines | cores,
                    Version::V3 => lines | 1 << 24 | 9 << 19,
                }
            }
            0x008 => 0x43b,
            0x6000..0x8000 => {
                let id = (offset - 0x6000) as usize / 8;
                if offset & 7 == 0 {
                    self.peek(core, id).target.into()
                } else {
                    0
                }
            }
            0xffe8 => 0x30,
            _ => self.bank_read(core, offset, size),
        }
    }

    /// Writes `size` bytes of the distributor.
    pub(super) fn distributor_write(&mut self, core: usize, offset: u64, size: usize, value: u64) {
        match offset {
            0x000 => {
                self.control = match self.version {
                    Version::V2 => value as u32 & 1,
                    Version::V3 => value as u32 & 3 | 0x50,
                }
            }
            0x6000..0x8000 => {
                let id = (offset - 0x6000) as usize / 8;
                if offset & 7 == 0
                    && id >= PRIVATE
                    && let Some(interrupt) = self.interrupt(core, id)
                {
                    interrupt.target = value as u8;
                }
            }
            0xf00 if self.version == Version::V2 => self.generate(core, value as u32),
            _ => self.bank_write(core, offset, size, value),
        }
    }

    /// A software interrupt as GICD_SGIR describes it.
    fn generate(&mut self, core: usize, value: u32) {
        let id = (value & 15) as usize;
        let list = match value >> 24 & 3 {
            0 => value >> 16 & 0xff,
            1 => !(1 << core),
            _ => 1 << core,
        };
        for target in 0..self.interfaces.len() {
            if list >> target & 1 == 1 {
                self.private[target][id].sources |= 1 << core;
            }
        }
    }

    /// A software interrupt as ICC_SGI1R_EL1 describes it.
    fn generate_v3(&mut self, core: usize, value: u64) {
        let id = (value >> 24 & 15) as usize;
        let everybody_else = value >> 40 & 1 == 1;
        for target in 0..self.interfaces.len() {
            if everybody_else && target != core || !everybody_else && value >> target & 1 == 1 && target < 16 {
                self.private[target][id].latched = true;
            }
        }
    }

    /// The register banks that a distributor and a redistributor share.
    fn bank_read(&mut self, core: usize, offset: u64, size: usize) -> u64 {
        let bit_field = |first: u64, get: fn(&Interrupt) -> bool| {
            let start = (offset - first) as usize * 8;
            (0..size * 8).fold(0, |value, bit| {
                value | u64::from(get(&self.peek(core, start + bit))) << bit
            })
        };
        match offset {
            0x080..0x100 if self.version == Version::V3 => bit_field(0x080, |interrupt| interrupt.group1),
            0x100..0x180 => bit_field(0x100, |interrupt| interrupt.enabled),
            0x180..0x200 => bit_field(0x180, |interrupt| interrupt.enabled),
            0x200..0x280 => bit_field(0x200, Interrupt::pending),
            0x280..0x300 => bit_field(0x280, Interrupt::pending),
            0x300..0x380 => bit_field(0x300, |interrupt| interrupt.active),
            0x380..0x400 => bit_field(0x380, |interrupt| interrupt.active),
            0x400..0x800 => self.bytes(core, offset - 0x400, size, |interrupt, _| interrupt.priority),
            0x800..0xc00 if self.version == Version::V2 => {
                let own = 1 << core;
                self.bytes(core, offset - 0x800, size, move |interrupt, id| {
                    if id < PRIVATE { own } else { interrupt.target }
                })
            }
            0xc00..0xd00 => {
                let start = (offset - 0xc00) as usize * 4;
                (0..size * 4).fold(0, |value, index| {
                    value | u64::from(self.peek(core, start + index).edge) << (2 * index + 1)
                })
            }
            _ => 0,
        }
    }

    fn bytes(&self, core: usize, start: u64, size: usize, get: impl Fn(&Interrupt, usize) -> u8) -> u64 {
        (0..size).fold(0, |value, index| {
            let id = start as usize + index;
            value | u64::from(get(&self.peek(core, id), id)) << (8 * index)
        })
    }

    fn bank_write(&mut self, core: usize, offset: u64, size: usize, value: u64) {
        let first_bit = (offset & 0x7f) as usize * 8;
        let v2 = self.version == Version::V2;
        let mut for_bits = |change: fn(&mut Interrupt)| {
            for bit in (0..size * 8).filter(|bit| value >> bit & 1 == 1) {
                if let Some(interrupt) = self.interrupt(core, first_bit + bit) {
                    change(interrupt);
                }
            }
        };
        match offset {
            0x080..0x100 if !v2 => {
                for bit in 0..size * 8 {
                    if let Some(interrupt) = self.interrupt(core, first_bit + bit) {
                        interrupt.group1 = value >> bit & 1 == 1;
                    }
                }
            }
            0x100..0x180 => for_bits(|interrupt| interrupt.enabled = true),
            0x180..0x200 => for_bits(|interrupt| interrupt.enabled = false),
            0x200..0x280 => for_bits(|interrupt| interrupt.latched = true),
            0x280..0x300 => for_bits(|interrupt| interrupt.latched = false),
            0x300..0x380 => for_bits(|interrupt| interrupt.active = true),
            0x380..0x400 => for_bits(|interrupt| interrupt.active = false),
            0x400..0x800 => {
                for index in 0..size {
                    let id = (offset - 0x400) as usize + index;
                    if let Some(interrupt) = self.interrupt(core, id) {
                        interrupt.priority = (value >> (8 * index)) as u8 & 0xf8;
                    }
                }
            }
            0x800..0xc00 if v2 => {
                for index in 0..size {
                    let id = (offset - 0x800) as usize + index;
                    if id >= PRIVATE
                        && let Some(interrupt) = self.interrupt(core, id)
                    {
                        interrupt.target = (value >> (8 * index)) as u8;
                    }
                }
            }
            0xc00..0xd00 => {
                let start = (offset - 0xc00) as usize * 4;
                for index in 0..size * 4 {
                    if start + index >= SOFTWARE
                        && let Some(interrupt) = self.interrupt(core, start + index)
                    {
                        interrupt.edge = value >> (2 * index + 1) & 1 == 1;
                    }
                }
            }
            _ => (),
        }
    }

    /// Reads the memory-mapped CPU interface of version 2.
    pub(super) fn interface_read(&mut self, core: usize, offset: u64) -> u64 {
        match offset {
            0x00 => self.interfaces[core].control.into(),
            0x04 => self.interfaces[core].mask.into(),
            0x08 => self.interfaces[core].binary_point.into(),
            0x0c => self.acknowledge(core, None).into(),
            0x14 => self.running_priority(core),
            0x18 => self.best(core).map_or(SPURIOUS.into(), |(id, _)| id as u64),
            0xfc => 0x0202_043b,
            _ => 0,
        }
    }

    /// Writes the memory-mapped CPU interface of version 2.
    pub(super) fn interface_write(&mut self, core: usize, offset: u64, value: u64) {
        let interface = &mut self.interfaces[core];
        match offset {
            0x00 => {
                interface.control = value as u32 & 0x201;
                interface.split = value >> 9 & 1 == 1;
            }
            0x04 => interface.mask = value as u8 & 0xf8,
            0x08 => interface.binary_point = value as u8 & 7,
            0x10 => self.end(core, value as u32),
            0x1000 => self.deactivate(core, value as u32),
            _ => (),
        }
    }

    fn running_priority(&self, core: usize) -> u64 {
        self.interfaces[core]
            .running
            .last()
            .map_or(IDLE, |(priority, _)| *priority)
            .into()
    }

    /// Reads a redistributor of version 3; `frame` is the core it belongs to.
    pub(super) fn redistributor_read(&mut self, frame: usize, offset: u64, size: usize) -> u64 {
        let last = frame + 1 == self.interfaces.len();
        match offset {
            0x0004 => 0x43b,
            0x0008 => {
                let kind = (frame as u64) << 32 | (frame as u64) << 8 | u64::from(last) << 4;
                if size == 4 { kind & 0xffff_ffff } else { kind }
            }
            0x000c => frame as u64,
            0x0014 => self.interfaces[frame].waker.into(),
            0xffe8 => 0x30,
            0x1_0000.. => self.bank_read(frame, offset - 0x1_0000, size),
            _ => 0,
        }
    }

    /// Writes a redistributor of version 3.
    pub(super) fn redistributor_write(&mut self, frame: usize, offset: u64, size: usize, value: u64) {
        match offset {
            // Processor sleep, and the answer that the children sleep too.
            0x0014 => self.interfaces[frame].waker = if value & 2 == 0 { 0 } else { 6 },
            0x1_0000.. => self.bank_write(frame, offset - 0x1_0000, size, value),
            _ => (),
        }
    }

    /// Reads a system register of version 3.
    pub(super) fn register_read(&mut self, core: usize, register: Register) -> u64 {
        let interface = &self.interfaces[core];
        match register {
            Register::PriorityMask => interface.mask.into(),
            Register::Acknowledge0 => self.acknowledge(core, Some(false)).into(),
            Register::Acknowledge1 => self.acknowledge(core, Some(true)).into(),
            Register::Highest0 | Register::Highest1 => {
                let wanted = register == Register::Highest1;
                self.best(core)
                    .filter(|(_, group)| *group == wanted)
                    .map_or(SPURIOUS.into(), |(id, _)| id as u64)
            }
            Register::BinaryPoint0 | Register::BinaryPoint1 => interface.binary_point.into(),
            Register::Control => 0x400 | u64::from(interface.split) << 1,
            Register::SystemEnable => 7,
            Register::Group0 => interface.group0.into(),
            Register::Group1 => interface.group1.into(),
            Register::Running => self.running_priority(core),
            Register::End0
            | Register::End1
            | Register::Deactivate
            | Register::Generate0
            | Register::Generate1
            | Register::Active => 0,
        }
    }

    /// Writes a system register of version 3.
    pub(super) fn register_write(&mut self, core: usize, register: Register, value: u64) {
        let interface = &mut self.interfaces[core];
        match register {
            Register::PriorityMask => interface.mask = value as u8 & 0xf8,
            Register::BinaryPoint0 | Register::BinaryPoint1 => interface.binary_point = value as u8 & 7,
            Register::Control => interface.split = value >> 1 & 1 == 1,
            Register::Group0 => interface.group0 = value & 1 == 1,
            Register::Group1 => interface.group1 = value & 1 == 1,
            Register::End0 | Register::End1 => self.end(core, value as u32),
            Register::Deactivate => self.deactivate(core, value as u32),
            Register::Generate0 | Register::Generate1 => self.generate_v3(core, value),
            _ => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enabled_timer_interrupt_is_signalled_acknowledged_and_ended() {
        let mut gic = Gic::new(Version::V2, 1);
        gic.distributor_write(0, 0x000, 4, 1);
        gic.distributor_write(0, 0x100, 4, 1 << 27);
        gic.interface_write(0, 0x04, 0xff);
        gic.interface_write(0, 0x00, 1);
        assert_eq!(gic.signals(0), (false, false));
        gic.set_private(0, 27, true);
        assert_eq!(gic.signals(0), (true, false));
        assert_eq!(gic.interface_read(0, 0x0c), 27);
        assert_eq!(gic.signals(0), (false, false), "it is active");
        gic.set_private(0, 27, false);
        gic.interface_write(0, 0x10, 27);
        assert_eq!(gic.interface_read(0, 0x0c), 1023);
    }

    #[test]
    fn a_level_that_stays_high_is_taken_again_after_the_end() {
        let mut gic = Gic::new(Version::V2, 1);
        gic.distributor_write(0, 0x000, 4, 1);
        gic.distributor_write(0, 0x104, 4, 2);
        gic.interface_write(0, 0x04, 0xff);
        gic.interface_write(0, 0x00, 1);
        gic.set_shared(33, true);
        assert_eq!(gic.interface_read(0, 0x0c), 33);
        gic.interface_write(0, 0x10, 33);
        assert_eq!(gic.interface_read(0, 0x0c), 33);
    }

    #[test]
    fn a_software_interrupt_names_its_sender() {
        let mut gic = Gic::new(Version::V2, 2);
        gic.distributor_write(0, 0x000, 4, 1);
        gic.interface_write(1, 0x04, 0xff);
        gic.interface_write(1, 0x00, 1);
        gic.distributor_write(0, 0xf00, 4, 2 << 16 | 5);
        assert_eq!(gic.signals(1), (true, false));
        assert_eq!(gic.interface_read(1, 0x0c), 5);
        gic.distributor_write(1, 0xf00, 4, 2 << 24 | 6);
        gic.interface_write(1, 0x10, 5);
        assert_eq!(gic.interface_read(1, 0x0c), 1 << 10 | 6);
    }

    #[test]
    fn version_3_signals_group_1_as_irq_through_system_registers() {
        let mut gic = Gic::new(Version::V3, 1);
        gic.distributor_write(0, 0x000, 4, 3);
        gic.redistributor_write(0, 0x1_0080, 4, 0xffff_ffff);
        gic.redistributor_write(0, 0x1_0100, 4, 1 << 30);
        gic.register_write(0, Register::PriorityMask, 0xff);
        gic.set_private(0, 30, true);
        assert_eq!(gic.signals(0), (false, false), "the group is off");
        gic.register_write(0, Register::Group1, 1);
        assert_eq!(gic.signals(0), (true, false));
        assert_eq!(gic.register_read(0, Register::Acknowledge1), 30);
        gic.register_write(0, Register::End1, 30);
    }

    #[test]
    fn the_priority_mask_holds_back_what_is_not_more_urgent() {
        let mut gic = Gic::new(Version::V2, 1);
        gic.distributor_write(0, 0x000, 4, 1);
        gic.distributor_write(0, 0x100, 4, 1 << 27);
        gic.distributor_write(0, 0x400 + 27, 1, 0x80);
        gic.interface_write(0, 0x00, 1);
        gic.interface_write(0, 0x04, 0x80);
        gic.set_private(0, 27, true);
        assert_eq!(gic.signals(0), (false, false));
        gic.interface_write(0, 0x04, 0x88);
        assert_eq!(gic.signals(0), (true, false));
    }
}
