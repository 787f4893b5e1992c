//! Instructions that derive, test and jump by capabilities, and the special capability registers.
//!
//! The two versions of the ISA differ in what an unsuitable operand does: v8 traps and changes nothing, v9 writes an untagged
//! result. The arithmetic of the format is the crate `capability`'s.

use capability::riscv::{Capability, OTYPE_FIRST_RESERVED, representable_length, representable_mask};

use super::csr::legal_trap_vector;
use super::execute::Flow;
use super::hart::{Hart, Privilege, permission, special};
use super::operation::{Kind, Operation};
use super::trap::{CapabilityCause as Cause, Trap};

/// The data capability's register after CInvoke.
const INVOKED_DATA: u8 = 31;

/// An otype that a sealing key can give.
fn is_ordinary(otype: u32) -> bool {
    otype < OTYPE_FIRST_RESERVED
}

impl Hart {
    /// In v8 traps; in v9 returns that the result is to be untagged.
    fn refuse(&self, cause: Cause, register: u8) -> Result<bool, Trap> {
        if self.traps_on_bad_operands() {
            Err(Trap::capability(cause, register))
        } else {
            Ok(false)
        }
    }

    /// The first of `conditions` that holds refuses the operands; none means they are valid.
    fn validate(&self, conditions: &[(bool, Cause, u8)]) -> Result<bool, Trap> {
        match conditions.iter().find(|(bad, ..)| *bad) {
            Some((_, cause, register)) => self.refuse(*cause, *register),
            None => Ok(true),
        }
    }

    /// A capability moved by `increment`, into `rd`.
    #[inline(always)]
    pub(super) fn increment(&mut self, rd: u8, rs1: u8, source: Capability, increment: u64) -> Result<(), Trap> {
        if source.tag() && source.is_sealed() {
            self.refuse(Cause::Seal, rs1)?;
        }
        self.registers.set_capability(rd, source.inc_offset(increment));
        Ok(())
    }

    /// Register 0 means DDC where an authority is expected.
    fn authority_or_ddc(&self, number: u8) -> Capability {
        if number == 0 {
            *self.ddc()
        } else {
            self.registers.capability(number)
        }
    }

    /// Executes the instructions that only read and write general registers.
    pub(super) fn derive(&mut self, op: Operation) -> Result<(), Trap> {
        let source = self.registers.capability(op.rs1);
        let operand = self.registers.integer(op.rs2);
        let integer = match op.kind {
            Kind::CGetPerm => u64::from(source.permission_bits()),
            Kind::CGetType => source.otype_sign_extended() as u64,
            Kind::CGetBase => source.base(),
            Kind::CGetLen => source.length(),
            Kind::CGetTag => u64::from(source.tag()),
            Kind::CGetSealed => u64::from(source.is_sealed()),
            Kind::CGetOffset => source.offset(),
            Kind::CGetFlags => source.flags(),
            Kind::CGetAddr => source.address(),
            Kind::CGetHigh => source.to_memory().1,
            Kind::Crrl => representable_length(source.address()),
            Kind::Cram => representable_mask(source.address()),
            Kind::CSub => source.address().wrapping_sub(operand),
            Kind::CSeqx => u64::from(source == self.registers.capability(op.rs2)),
            Kind::CTestSubset => {
                let inner = self.registers.capability(op.rs2);
                u64::from(inner.is_subset_of(&self.authority_or_ddc(op.rs1)))
            }
            Kind::CToPtr => {
                let authority = self.authority_or_ddc(op.rs2);
                if !authority.tag() {
                    self.refuse(Cause::Tag, op.rs2)?;
                }
                if source.tag() {
                    source.address().wrapping_sub(authority.base())
                } else {
                    0
                }
            }
            _ => {
                let result = self.derived(op, source, operand)?;
                self.registers.set_capability(op.rd, result);
                return Ok(());
            }
        };
        self.registers.set_integer(op.rd, integer);
        Ok(())
    }

    fn derived(&mut self, op: Operation, source: Capability, operand: u64) -> Result<Capability, Trap> {
        let sealed = source.tag() && source.is_sealed();
        let unless_sealed = [(sealed, Cause::Seal, op.rs1)];
        let tagged_unsealed = [(!source.tag(), Cause::Tag, op.rs1), (sealed, Cause::Seal, op.rs1)];
        Ok(match op.kind {
            Kind::CClearTag => source.clear_tag(),
            Kind::CSealEntry => {
                let valid = self.validate(&tagged_unsealed)?;
                source.seal_entry().with_tag(source.tag() && valid)
            }
            Kind::CIncOffset => {
                self.validate(&unless_sealed)?;
                source.inc_offset(operand)
            }
            Kind::CSetOffset => {
                self.validate(&unless_sealed)?;
                source.inc_offset(operand.wrapping_sub(source.offset()))
            }
            Kind::CSetAddr => {
                self.validate(&unless_sealed)?;
                source.set_address(operand)
            }
            Kind::CSetFlags => {
                self.validate(&unless_sealed)?;
                source.set_flags(operand)
            }
            Kind::CAndPerm => {
                self.validate(&tagged_unsealed)?;
                source.and_permissions(operand as u32)
            }
            Kind::CSetHigh => source.set_high(operand),
            Kind::CSetBounds => self.set_bounds(op.rs1, source, operand, false)?,
            Kind::CSetBoundsExact => self.set_bounds(op.rs1, source, operand, true)?,
            Kind::CSetBoundsImm => self.set_bounds(op.rs1, source, op.imm as u64, false)?,
            Kind::CSeal => self.seal(op, source, false)?,
            Kind::CCSeal => self.seal(op, source, true)?,
            Kind::CUnseal => self.unseal(op, source)?,
            Kind::CBuildCap => self.build(op)?,
            Kind::CCopyType => self.copy_type(op, source)?,
            Kind::CFromPtr => {
                let authority = self.authority_or_ddc(op.rs1);
                if operand == 0 {
                    return Ok(Capability::NULL);
                }
                self.validate(&[
                    (!authority.tag(), Cause::Tag, op.rs1),
                    (authority.is_sealed(), Cause::Seal, op.rs1),
                ])?;
                authority.set_address(authority.base().wrapping_add(operand))
            }
            _ => return Err(Trap::illegal()),
        })
    }

    fn set_bounds(&self, rs1: u8, source: Capability, length: u64, must_be_exact: bool) -> Result<Capability, Trap> {
        if self.traps_on_bad_operands() {
            self.validate(&[
                (!source.tag(), Cause::Tag, rs1),
                (source.is_sealed(), Cause::Seal, rs1),
                (!source.in_bounds(source.address(), length), Cause::Length, rs1),
            ])?;
        }
        let (result, exact) = source.set_bounds(length);
        let valid = self.validate(&[(must_be_exact && !exact, Cause::InexactBounds, rs1)])?;
        Ok(result.with_tag(result.tag() && valid))
    }

    fn seal(&self, op: Operation, source: Capability, conditional: bool) -> Result<Capability, Trap> {
        let key = self.registers.capability(op.rs2);
        let otype = key.address();
        let in_bounds = key.in_bounds(otype, 1);
        if conditional {
            let nothing_to_do = !key.tag() || source.tag() && (source.is_sealed() || !in_bounds || otype == u64::MAX);
            if nothing_to_do {
                return Ok(source);
            }
        }
        let valid = self.validate(&[
            (!key.tag(), Cause::Tag, op.rs2),
            (!source.tag(), Cause::Tag, op.rs1),
            (source.is_sealed(), Cause::Seal, op.rs1),
            (key.is_sealed(), Cause::Seal, op.rs2),
            (!key.has_permission_bits(permission::SEAL), Cause::PermitSeal, op.rs2),
            (!in_bounds, Cause::Length, op.rs2),
            (otype >= u64::from(OTYPE_FIRST_RESERVED), Cause::Length, op.rs2),
        ])?;
        Ok(source.seal(otype as u32).with_tag(source.tag() && valid))
    }

    fn unseal(&self, op: Operation, source: Capability) -> Result<Capability, Trap> {
        let key = self.registers.capability(op.rs2);
        let valid = self.validate(&[
            (!source.tag(), Cause::Tag, op.rs1),
            (!key.tag(), Cause::Tag, op.rs2),
            (!source.is_sealed(), Cause::Seal, op.rs1),
            (key.is_sealed(), Cause::Seal, op.rs2),
            (!is_ordinary(source.otype()), Cause::Type, op.rs1),
            (key.address() != u64::from(source.otype()), Cause::Type, op.rs2),
            (
                !key.has_permission_bits(permission::UNSEAL),
                Cause::PermitUnseal,
                op.rs2,
            ),
            (!key.in_bounds(key.address(), 1), Cause::Length, op.rs2),
        ])?;
        let tag = source.tag() && valid;
        let unsealed = source.unseal();
        let global = if key.has_permission_bits(permission::GLOBAL) {
            u32::MAX
        } else {
            !permission::GLOBAL
        };
        Ok(unsealed.and_permissions(global).with_tag(tag))
    }

    fn build(&self, op: Operation) -> Result<Capability, Trap> {
        let authority = self.authority_or_ddc(op.rs1);
        let bits = self.registers.capability(op.rs2);
        let beyond = !authority.has_permission_bits(bits.permission_bits());
        self.validate(&[
            (!authority.tag(), Cause::Tag, op.rs1),
            (authority.is_sealed(), Cause::Seal, op.rs1),
            (bits.base() < authority.base(), Cause::Length, op.rs1),
            (bits.top() > authority.top(), Cause::Length, op.rs1),
            (u128::from(bits.base()) > bits.top(), Cause::Length, op.rs2),
            (beyond, Cause::UserDefined, op.rs1),
            (bits.has_reserved_bits(), Cause::Length, op.rs2),
        ])?;
        Ok(authority.build(&bits))
    }

    fn copy_type(&self, op: Operation, source: Capability) -> Result<Capability, Trap> {
        let typed = self.registers.capability(op.rs2);
        let otype = typed.otype();
        let has_type = is_ordinary(otype);
        let new_address = typed.otype_sign_extended() as u64;
        let valid = self.validate(&[
            (!source.tag(), Cause::Tag, op.rs1),
            (source.is_sealed(), Cause::Seal, op.rs1),
        ])?;
        if !has_type && self.traps_on_bad_operands() {
            return Ok(Capability::from_integer(new_address));
        }
        let out_of_bounds = !source.in_bounds(u64::from(otype), 1);
        let valid = valid && has_type && self.validate(&[(out_of_bounds, Cause::Length, op.rs1)])?;
        Ok(source.with_tag(source.tag() && valid).set_address(new_address))
    }

    /// CJALR and CJAL: to `target`, which `code` must authorise, leaving a sentry for the way back in `link`.
    pub(super) fn jump_to_capability(
        &mut self,
        link: u8,
        register: u8,
        code: Capability,
        target: u64,
        next: u64,
    ) -> Result<Flow, Trap> {
        let target = target & !1;
        let fault = |cause| Err(Trap::capability(cause, register));
        if !code.tag() {
            return fault(Cause::Tag);
        }
        if code.is_sealed() && !(code.is_sentry() && target == code.address()) {
            return fault(Cause::Seal);
        }
        if !code.has_permission_bits(permission::EXECUTE) {
            return fault(Cause::Execute);
        }
        if !code.has_permission_bits(permission::GLOBAL) {
            return fault(Cause::Global);
        }
        check_jump_target(&code, target, register)?;
        let way_back = self.pcc.with_address_unchecked(next).seal_entry();
        self.registers.set_capability(link, way_back);
        self.set_pcc(code.unseal().with_address_unchecked(target));
        Ok(Flow::Jump)
    }

    /// CInvoke: to the code capability of a sealed pair, with the data capability unsealed in c31.
    pub(super) fn invoke(&mut self, code_register: u8, data_register: u8) -> Result<Flow, Trap> {
        let code = self.registers.capability(code_register);
        let data = self.registers.capability(data_register);
        let conditions = [
            (!code.tag(), Cause::Tag, code_register),
            (!data.tag(), Cause::Tag, data_register),
            (!is_ordinary(code.otype()), Cause::Seal, code_register),
            (!is_ordinary(data.otype()), Cause::Seal, data_register),
            (code.otype() != data.otype(), Cause::Type, code_register),
            (
                !code.has_permission_bits(permission::INVOKE),
                Cause::Invoke,
                code_register,
            ),
            (
                !data.has_permission_bits(permission::INVOKE),
                Cause::Invoke,
                data_register,
            ),
            (
                !code.has_permission_bits(permission::EXECUTE),
                Cause::Execute,
                code_register,
            ),
            (
                data.has_permission_bits(permission::EXECUTE),
                Cause::Execute,
                data_register,
            ),
        ];
        if let Some((_, cause, register)) = conditions.into_iter().find(|(bad, ..)| *bad) {
            return Err(Trap::capability(cause, register));
        }
        check_jump_target(&code, code.address(), code_register)?;
        self.set_pcc(code.unseal());
        self.registers.set_capability(INVOKED_DATA, data.unseal());
        Ok(Flow::Jump)
    }

    /// CSpecialRW.
    pub(super) fn special_register(&mut self, op: Operation) -> Result<Flow, Trap> {
        let number = op.imm as u8;
        let write = op.rs1 != 0;
        if !special::ALL.contains(&number) || write && number == special::PCC {
            return Err(Trap::illegal());
        }
        // Numbers 0 to 3 are for everybody, 4 to 7 for user mode, 12 to 15 supervisor, 28 to 31 machine.
        let machine_only = number >= special::STCC;
        let permitted = number <= special::DDC || self.has_system_registers();
        if !permitted || machine_only && self.privilege != Privilege::Machine {
            return Err(Trap::capability(Cause::SystemRegisters, 32 + number));
        }
        let value = self.registers.capability(op.rs1);
        let old = match number {
            special::PCC => self.program_counter(),
            special::UEPCC | special::SEPCC | special::MEPCC => {
                let register = self.special[usize::from(number)];
                let aligned = register.address() & !1;
                if aligned == register.address() {
                    register
                } else {
                    register.set_address(aligned)
                }
            }
            _ => self.special[usize::from(number)],
        };
        self.registers.set_capability(op.rd, old);
        if !write {
            return Ok(Flow::Next);
        }
        match number {
            special::DDC => self.set_ddc(value),
            special::UTCC | special::STCC | special::MTCC => {
                let register = &mut self.special[usize::from(number)];
                *register = legal_trap_vector(self.isa, register, value);
            }
            _ => self.special[usize::from(number)] = value,
        }
        Ok(Flow::Next)
    }
}

fn check_jump_target(code: &Capability, target: u64, register: u8) -> Result<(), Trap> {
    if !code.in_bounds(target, 2) {
        return Err(Trap::capability(Cause::Length, register));
    }
    if !code.base().is_multiple_of(2) {
        return Err(Trap::capability(Cause::UnalignedBase, register));
    }
    Ok(())
}
