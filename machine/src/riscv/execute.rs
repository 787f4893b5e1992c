//! The interpreter's loop: the frequent instructions in place, the others by a call.

use super::access::Alignment;
use super::arithmetic;
use super::bus::Bus;
use super::code::{self, Code};
use super::hart::{Hart, permission};
use super::operation::{Kind, Operation};
use super::trace::TrapRecord;
use super::trap::{CapabilityCause, REGISTER_PCC, Trap};

/// Where the hart goes after an instruction that the loop does not execute itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// To the next instruction.
    Next,
    /// To the next instruction, by way of the outer loop because something changed that the inner one relies on.
    Leave,
    /// To `self.pc`, which has been set.
    Jump,
    /// Nowhere: the operation has to be decoded first.
    Decode,
}

impl Hart {
    /// Executes until `steps` reaches `end`, which an instruction may lower: device accesses, WFI and changes to interrupt
    /// enables return to the caller after they are done.
    pub(super) fn run(&mut self, bus: &mut Bus, code: &mut Code) {
        while self.steps < self.end {
            code.forget_changed(&mut bus.memory);
            if !self.fetch_window.contains(self.pc) && !self.refill_fetch_window(bus) {
                self.step_uncached(bus, code);
                continue;
            }
            match &code.coverage {
                Some(coverage) if coverage.counts(self) => self.run_page::<true>(bus, code),
                _ => self.run_page::<false>(bus, code),
            }
        }
    }

    /// One instruction from where the decode cache cannot help: across pages, at the edge of PCC, from ROM, or nowhere.
    fn step_uncached(&mut self, bus: &mut Bus, code: &mut Code) {
        self.steps += 1;
        let executed = self.fetch(bus).and_then(|word| {
            let operation = code::decode(word, self.capability_mode());
            if let Some(coverage) = code.coverage.as_mut().filter(|coverage| coverage.counts(self)) {
                coverage.count(operation.kind);
            }
            let next = self.pc.wrapping_add(u64::from(operation.length));
            self.execute_any(bus, &operation, next)
        });
        if let Err(trap) = executed {
            self.trap(trap, bus);
        }
    }

    /// Executes one instruction of any kind, by way of a page that holds nothing else.
    fn execute_any(&mut self, bus: &mut Bus, operation: &Operation, next: u64) -> Result<(), Trap> {
        let mut pc = self.pc;
        match self.execute_one(bus, operation, &mut pc, next)? {
            Flow::Jump => {}
            Flow::Next | Flow::Leave => self.pc = pc,
            Flow::Decode => unreachable!("the decoder returns no undecoded operation"),
        }
        Ok(())
    }

    /// Executes from the page that holds `pc` until control leaves the fetch window or something else needs the outer loop.
    fn run_page<const COUNTED: bool>(&mut self, bus: &mut Bus, code: &mut Code) {
        let mut pc = self.pc;
        let window = self.fetch_window;
        let ram = bus.memory.base();
        let capability_mode = self.capability_mode();
        let page = code.pages.page(pc.wrapping_sub(ram) as usize, capability_mode);
        while self.steps < self.end && window.contains(pc) {
            let slot = pc as usize % code::PAGE / 2;
            let operation = &page[slot];
            self.steps += 1;
            if COUNTED
                && operation.kind != Kind::Undecoded
                && let Some(coverage) = &mut code.coverage
            {
                coverage.count(operation.kind);
            }
            let next = pc.wrapping_add(u64::from(operation.length));
            let at = pc;
            match self.execute_one(bus, operation, &mut pc, next) {
                Ok(Flow::Next) => {}
                Ok(Flow::Leave) => {
                    self.pc = pc;
                    return;
                }
                Ok(Flow::Jump) => return,
                Ok(Flow::Decode) => {
                    self.steps -= 1;
                    code::fill(page, &mut bus.memory, pc.wrapping_sub(ram) as usize, capability_mode);
                }
                Err(trap) => {
                    self.pc = at;
                    self.trap(trap, bus);
                    return;
                }
            }
        }
        self.pc = pc;
    }

    fn trap(&mut self, trap: Trap, bus: &Bus) {
        let half = |offset| u32::from(bus.fetch(self.pc.wrapping_add(offset)).unwrap_or(0));
        let instruction = half(0) | half(2) << 16;
        self.take_trap(TrapRecord::new(self, trap, instruction));
        if self.pause_on_trap || self.trap_loop {
            self.pause();
        }
    }

    /// A branch or jump of the integer instruction set: refused at the branch when its target is not in PCC's bounds.
    #[inline(always)]
    fn jump(&self, pc: &mut u64, target: u64) -> Result<Flow, Trap> {
        if !self.fetch_window.contains(target) && !self.pcc.in_bounds(target, 1) {
            return Err(Trap::capability(CapabilityCause::Length, REGISTER_PCC));
        }
        *pc = target;
        Ok(Flow::Next)
    }

    #[inline(always)]
    fn execute_one(&mut self, bus: &mut Bus, op: &Operation, pc: &mut u64, next: u64) -> Result<Flow, Trap> {
        macro_rules! a {
            () => {
                self.registers.integer(op.rs1)
            };
        }
        macro_rules! b {
            () => {
                self.registers.integer(op.rs2)
            };
        }
        macro_rules! write {
            ($value:expr) => {{
                let value = $value;
                self.registers.set_integer(op.rd, value)
            }};
        }
        macro_rules! branch {
            ($taken:expr) => {
                if $taken {
                    return self.jump(pc, pc.wrapping_add(op.imm as u64));
                }
            };
        }
        macro_rules! load_ddc {
            ($type:ty, $extended:ty) => {{
                let address = a!().wrapping_add(op.imm as u64).wrapping_add(self.ddc_relocation);
                write!(<$type>::from_le_bytes(self.load_by_ddc(bus, address)?) as $extended as u64)
            }};
        }
        macro_rules! store_ddc {
            ($type:ty) => {{
                let address = a!().wrapping_add(op.imm as u64).wrapping_add(self.ddc_relocation);
                let value = b!() as $type;
                self.store_by_ddc(bus, address, value.to_le_bytes())?
            }};
        }
        macro_rules! load_cap {
            ($type:ty, $extended:ty) => {
                write!(<$type>::from_le_bytes(self.load_by_register(bus, op.rs1, op.imm)?) as $extended as u64)
            };
        }
        macro_rules! store_cap {
            ($type:ty) => {{
                let value = b!() as $type;
                self.store_by_register(bus, op.rs1, op.imm, value.to_le_bytes())?
            }};
        }
        let imm = op.imm as u64;
        match op.kind {
            Kind::Addi => write!(a!().wrapping_add(imm)),
            Kind::Add => write!(a!().wrapping_add(b!())),
            Kind::Lui => write!(imm),
            Kind::LdDdc => load_ddc!(u64, u64),
            Kind::LwDdc => load_ddc!(i32, i64),
            Kind::LbuDdc => load_ddc!(u8, u64),
            Kind::LbDdc => load_ddc!(i8, i64),
            Kind::LhDdc => load_ddc!(i16, i64),
            Kind::LhuDdc => load_ddc!(u16, u64),
            Kind::LwuDdc => load_ddc!(u32, u64),
            Kind::SdDdc => store_ddc!(u64),
            Kind::SwDdc => store_ddc!(u32),
            Kind::ShDdc => store_ddc!(u16),
            Kind::SbDdc => store_ddc!(u8),
            Kind::Beq => branch!(a!() == b!()),
            Kind::Bne => branch!(a!() != b!()),
            Kind::Blt => branch!((a!() as i64) < b!() as i64),
            Kind::Bge => branch!(a!() as i64 >= b!() as i64),
            Kind::Bltu => branch!(a!() < b!()),
            Kind::Bgeu => branch!(a!() >= b!()),
            Kind::Jal => {
                let flow = self.jump(pc, pc.wrapping_add(imm))?;
                write!(next.wrapping_sub(self.pcc_relocation()));
                return Ok(flow);
            }
            Kind::Jalr | Kind::JalrPcc => {
                let target = a!().wrapping_add(imm).wrapping_add(self.pcc_relocation()) & !1;
                let flow = self.jump(pc, target)?;
                write!(next.wrapping_sub(self.pcc_relocation()));
                return Ok(flow);
            }
            Kind::Auipc => write!(pc.wrapping_add(imm).wrapping_sub(self.pcc_relocation())),
            Kind::LdCap => load_cap!(u64, u64),
            Kind::LwCap => load_cap!(i32, i64),
            Kind::LbuCap => load_cap!(u8, u64),
            Kind::LbCap => load_cap!(i8, i64),
            Kind::LhCap => load_cap!(i16, i64),
            Kind::LhuCap => load_cap!(u16, u64),
            Kind::LwuCap => load_cap!(u32, u64),
            Kind::SdCap => store_cap!(u64),
            Kind::SwCap => store_cap!(u32),
            Kind::ShCap => store_cap!(u16),
            Kind::SbCap => store_cap!(u8),
            Kind::ClcCap => {
                let address = a!().wrapping_add(imm);
                self.load_capability(bus, op.rd, self.register_authority(op.rs1), address, Alignment::Load)?;
            }
            Kind::CscCap => {
                let address = a!().wrapping_add(imm);
                self.store_capability(bus, op.rs2, &self.register_authority(op.rs1), address)?;
            }
            Kind::ClcDdc => {
                let address = a!().wrapping_add(imm).wrapping_add(self.ddc_relocation);
                self.load_capability(bus, op.rd, self.ddc_authority(), address, Alignment::Load)?;
            }
            Kind::CscDdc => {
                let address = a!().wrapping_add(imm).wrapping_add(self.ddc_relocation);
                self.store_capability(bus, op.rs2, &self.ddc_authority(), address)?;
            }
            Kind::Slti => write!(u64::from((a!() as i64) < imm as i64)),
            Kind::Sltiu => write!(u64::from(a!() < imm)),
            Kind::Xori => write!(a!() ^ imm),
            Kind::Ori => write!(a!() | imm),
            Kind::Andi => write!(a!() & imm),
            Kind::Slli => write!(a!() << (imm & 63)),
            Kind::Srli => write!(a!() >> (imm & 63)),
            Kind::Srai => write!((a!() as i64 >> (imm & 63)) as u64),
            Kind::Addiw => write!(a!().wrapping_add(imm) as i32 as u64),
            Kind::Slliw => write!(((a!() as u32) << (imm & 31)) as i32 as u64),
            Kind::Srliw => write!((a!() as u32 >> (imm & 31)) as i32 as u64),
            Kind::Sraiw => write!((a!() as i32 >> (imm & 31)) as u64),
            Kind::Sub => write!(a!().wrapping_sub(b!())),
            Kind::Sll => write!(a!() << (b!() & 63)),
            Kind::Slt => write!(u64::from((a!() as i64) < b!() as i64)),
            Kind::Sltu => write!(u64::from(a!() < b!())),
            Kind::Xor => write!(a!() ^ b!()),
            Kind::Srl => write!(a!() >> (b!() & 63)),
            Kind::Sra => write!((a!() as i64 >> (b!() & 63)) as u64),
            Kind::Or => write!(a!() | b!()),
            Kind::And => write!(a!() & b!()),
            Kind::Addw => write!(a!().wrapping_add(b!()) as i32 as u64),
            Kind::Subw => write!(a!().wrapping_sub(b!()) as i32 as u64),
            Kind::Sllw => write!(((a!() as u32) << (b!() & 31)) as i32 as u64),
            Kind::Srlw => write!((a!() as u32 >> (b!() & 31)) as i32 as u64),
            Kind::Sraw => write!((a!() as i32 >> (b!() & 31)) as u64),
            Kind::Mul => write!(a!().wrapping_mul(b!())),
            Kind::Mulw => write!((a!() as i32).wrapping_mul(b!() as i32) as u64),
            Kind::Mulh
            | Kind::Mulhsu
            | Kind::Mulhu
            | Kind::Div
            | Kind::Divu
            | Kind::Rem
            | Kind::Remu
            | Kind::Divw
            | Kind::Divuw
            | Kind::Remw
            | Kind::Remuw => write!(arithmetic::multiply_divide(op.kind, a!(), b!())),
            Kind::Fence | Kind::Nop => {}
            Kind::Undecoded => return Ok(Flow::Decode),
            Kind::CIncOffsetImm => {
                let source = self.registers.capability(op.rs1);
                self.increment(op.rd, op.rs1, source, imm)?;
            }
            Kind::Auipcc => {
                let target = self.pcc.with_address_unchecked(*pc).set_address(pc.wrapping_add(imm));
                self.registers.set_capability(op.rd, target);
            }
            Kind::CMove => {
                let source = self.registers.capability(op.rs1);
                self.registers.set_capability(op.rd, source);
            }
            _ => {
                self.pc = *pc;
                let flow = self.execute_rare(bus, *op, next)?;
                if flow != Flow::Jump {
                    *pc = next;
                }
                return Ok(flow);
            }
        }
        *pc = next;
        Ok(Flow::Next)
    }

    /// The instructions that are too rare or too long for the loop.
    #[inline(never)]
    fn execute_rare(&mut self, bus: &mut Bus, op: Operation, next: u64) -> Result<Flow, Trap> {
        match op.kind {
            Kind::Cjal => {
                let target = self.pc.wrapping_add(op.imm as u64);
                self.jump_to_capability(op.rd, REGISTER_PCC, self.program_counter(), target, next)
            }
            Kind::Cjalr => {
                let code = self.registers.capability(op.rs1);
                let target = code.address().wrapping_add(op.imm as u64);
                self.jump_to_capability(op.rd, op.rs1, code, target, next)
            }
            Kind::CInvoke => self.invoke(op.rs1, op.rs2),
            Kind::Csrrw | Kind::Csrrs | Kind::Csrrc | Kind::Csrrwi | Kind::Csrrsi | Kind::Csrrci => self.csr(bus, op),
            Kind::Amo => self.atomic(bus, op).map(|()| Flow::Next),
            Kind::Lr => self.load_reserved(bus, op).map(|()| Flow::Next),
            Kind::Sc => self.store_conditional(bus, op).map(|()| Flow::Next),
            Kind::CSpecialRw => self.special_register(op),
            Kind::FenceI => Ok(Flow::Leave),
            Kind::Ecall => Err(Trap::new(
                if self.privilege == super::hart::Privilege::Machine {
                    11
                } else {
                    8
                },
                0,
            )),
            Kind::Ebreak => self.environment_break(bus),
            Kind::Mret => {
                self.return_from_trap()?;
                self.pause();
                Ok(Flow::Jump)
            }
            Kind::Wfi => {
                self.waiting = true;
                // The steps do not go on meanwhile.
                self.stays.wait(self.steps);
                self.stays.resume(self.steps);
                self.pause();
                Ok(Flow::Leave)
            }
            Kind::SfenceVma if self.privilege == super::hart::Privilege::Machine => Ok(Flow::Next),
            Kind::SfenceVma | Kind::Illegal => Err(Trap::illegal()),
            Kind::CLoadTags => self.load_tags(bus, op).map(|()| Flow::Next),
            Kind::FldDdc | Kind::FlwDdc => self.load_float_by_ddc(bus, op).map(|()| Flow::Next),
            Kind::FsdDdc | Kind::FswDdc => self.store_float_by_ddc(bus, op).map(|()| Flow::Next),
            Kind::FldCap | Kind::FlwCap => self.load_float_by_register(bus, op).map(|()| Flow::Next),
            Kind::FsdCap | Kind::FswCap => self.store_float_by_register(bus, op).map(|()| Flow::Next),
            kind if kind.is_float() => self.float(op).map(|()| Flow::Next),
            _ => self.derive(op).map(|()| Flow::Next),
        }
    }

    /// Loads a capability into `rd`; without permission to load capabilities its tag is dropped.
    #[inline]
    pub(super) fn load_capability(
        &mut self,
        bus: &mut Bus,
        rd: u8,
        authority: super::access::Authority,
        address: u64,
        alignment: Alignment,
    ) -> Result<(), Trap> {
        super::access::check(&authority, permission::LOAD, address, 16, alignment)?;
        let (low, high, tag) = self.load_granule(bus, address)?;
        let tag = tag && authority.capability.has_permission_bits(permission::LOAD_CAPABILITY);
        self.registers
            .set_capability(rd, capability::riscv::Capability::from_memory(low, high, tag));
        Ok(())
    }

    /// Stores the capability in `rs2`.
    #[inline]
    fn store_capability(
        &mut self,
        bus: &mut Bus,
        rs2: u8,
        authority: &super::access::Authority,
        address: u64,
    ) -> Result<(), Trap> {
        let value = self.registers.capability(rs2);
        let need = super::access::permissions_to_store(&value);
        super::access::check(authority, need, address, 16, Alignment::Store)?;
        self.store_granule(bus, address, &value)
    }
}
