//! Atomic instructions, CSR instructions and the others that are neither plain integer nor capability arithmetic.

use capability::riscv::Capability;

use super::access::{Alignment, Authority, check};
use super::arithmetic;
use super::bus::Bus;
use super::execute::Flow;
use super::hart::{Hart, Privilege, Reservation, permission};
use super::operation::{Atomic, Kind, Operation};
use super::trap::{CapabilityCause, Trap};

/// Logarithm of the size of a capability.
const CAPABILITY: u8 = 4;

impl Hart {
    /// The authority of an atomic instruction and the address it works on.
    fn atomic_operand(&self, op: Operation) -> (Atomic, Authority, u64) {
        let atomic = Atomic::unpack(op.imm);
        let address = self.registers.integer(op.rs1);
        if atomic.by_capability {
            (atomic, self.register_authority(op.rs1), address)
        } else {
            (atomic, self.ddc_authority(), address.wrapping_add(self.ddc_relocation))
        }
    }

    pub(super) fn atomic(&mut self, bus: &mut Bus, op: Operation) -> Result<(), Trap> {
        let (atomic, authority, address) = self.atomic_operand(op);
        if atomic.size == CAPABILITY {
            return self.swap_capability(bus, op, &authority, address);
        }
        let size = 1 << atomic.size;
        let both = permission::LOAD | permission::STORE;
        if !atomic.by_capability {
            // Through DDC, missing permissions are reported where the first byte alone is in bounds.
            check(&authority, both, address, 1, Alignment::Any)?;
        }
        check(&authority, both, address, size, Alignment::Store)?;
        let operand = self.registers.integer(op.rs2);
        let word = atomic.size == 2;
        let old = self.load_sized(bus, address, atomic.size).map_err(as_store)?;
        let new = arithmetic::atomic(
            atomic.function,
            word,
            old,
            if word { operand as i32 as u64 } else { operand },
        );
        self.store_sized(bus, address, atomic.size, new)?;
        self.registers.set_integer(op.rd, old);
        Ok(())
    }

    /// The checks of the capability atomics that store: permission to store capabilities even for untagged values, and
    /// the register of the value named when it may not be stored because it is local.
    fn check_capability_store(
        &self,
        op: Operation,
        authority: &Authority,
        address: u64,
        also: u32,
    ) -> Result<Capability, Trap> {
        let value = self.registers.capability(op.rs2);
        let permissions = also | permission::STORE | permission::STORE_CAPABILITY;
        let local = value.tag() && !value.has_permission_bits(permission::GLOBAL);
        // Permissions come before bounds here: check them for an access to nothing.
        check(authority, permissions, authority.capability.base(), 0, Alignment::Any)?;
        if local && !authority.capability.has_permission_bits(permission::STORE_LOCAL) {
            return Err(Trap::capability(CapabilityCause::StoreLocal, op.rs2));
        }
        check(authority, permissions, address, 16, Alignment::Store)?;
        Ok(value)
    }

    fn swap_capability(
        &mut self,
        bus: &mut Bus,
        op: Operation,
        authority: &Authority,
        address: u64,
    ) -> Result<(), Trap> {
        let value = self.check_capability_store(op, authority, address, permission::LOAD)?;
        if self
            .reservation
            .is_some_and(|reservation| reservation.address == address)
        {
            self.reservation = None;
        }
        let old = self.read_capability(bus, authority, address)?;
        self.store_granule(bus, address, &value)?;
        self.registers.set_capability(op.rd, old);
        Ok(())
    }

    fn read_capability(&mut self, bus: &mut Bus, authority: &Authority, address: u64) -> Result<Capability, Trap> {
        let (low, high, tag) = self.load_granule(bus, address)?;
        let tag = tag && authority.capability.has_permission_bits(permission::LOAD_CAPABILITY);
        Ok(Capability::from_memory(low, high, tag))
    }

    pub(super) fn load_reserved(&mut self, bus: &mut Bus, op: Operation) -> Result<(), Trap> {
        let (atomic, authority, address) = self.atomic_operand(op);
        if atomic.size == CAPABILITY {
            // Both reference emulators report a misaligned LR.C as a store.
            check(&authority, permission::LOAD, address, 16, Alignment::Store)?;
            let value = self.read_capability(bus, &authority, address)?;
            let (low, high) = value.to_memory();
            self.reservation = Some(Reservation {
                address,
                size: CAPABILITY,
                low,
                high,
                tag: value.tag(),
            });
            self.registers.set_capability(op.rd, value);
            return Ok(());
        }
        check(&authority, permission::LOAD, address, 1 << atomic.size, Alignment::Load)?;
        let value = self.load_sized(bus, address, atomic.size)?;
        self.reservation = Some(Reservation {
            address,
            size: atomic.size,
            low: value,
            high: 0,
            tag: false,
        });
        self.registers.set_integer(op.rd, value);
        Ok(())
    }

    pub(super) fn store_conditional(&mut self, bus: &mut Bus, op: Operation) -> Result<(), Trap> {
        let (atomic, authority, address) = self.atomic_operand(op);
        let reserved = |hart: &mut Self| {
            let reservation = hart.reservation.take();
            reservation.filter(|reservation| reservation.address == address && reservation.size == atomic.size)
        };
        let succeeded = if atomic.size == CAPABILITY {
            let value = self.check_capability_store(op, &authority, address, 0)?;
            match reserved(self) {
                Some(reservation) => {
                    let current = self.read_capability(bus, &authority, address)?;
                    let unchanged =
                        current.to_memory() == (reservation.low, reservation.high) && current.tag() == reservation.tag;
                    if unchanged {
                        self.store_granule(bus, address, &value)?;
                    }
                    unchanged
                }
                None => false,
            }
        } else {
            check(
                &authority,
                permission::STORE,
                address,
                1 << atomic.size,
                Alignment::Store,
            )?;
            match reserved(self) {
                Some(reservation) => {
                    let unchanged = self.load_sized(bus, address, atomic.size).map_err(as_store)? == reservation.low;
                    if unchanged {
                        let value = self.registers.integer(op.rs2);
                        self.store_sized(bus, address, atomic.size, value)?;
                    }
                    unchanged
                }
                None => false,
            }
        };
        self.registers.set_integer(op.rd, u64::from(!succeeded));
        Ok(())
    }

    /// Loads 1 to 8 bytes, sign-extended.
    fn load_sized(&mut self, bus: &mut Bus, address: u64, size: u8) -> Result<u64, Trap> {
        Ok(match size {
            0 => i8::from_le_bytes(self.load(bus, address)?) as u64,
            1 => i16::from_le_bytes(self.load(bus, address)?) as u64,
            2 => i32::from_le_bytes(self.load(bus, address)?) as u64,
            _ => u64::from_le_bytes(self.load(bus, address)?),
        })
    }

    fn store_sized(&mut self, bus: &mut Bus, address: u64, size: u8, value: u64) -> Result<(), Trap> {
        match size {
            0 => self.store(bus, address, (value as u8).to_le_bytes()),
            1 => self.store(bus, address, (value as u16).to_le_bytes()),
            2 => self.store(bus, address, (value as u32).to_le_bytes()),
            _ => self.store(bus, address, value.to_le_bytes()),
        }
    }

    /// CLoadTags: the tags of four granules.
    pub(super) fn load_tags(&mut self, bus: &mut Bus, op: Operation) -> Result<(), Trap> {
        let authority = self.register_authority(op.rs1);
        let address = authority.capability.address();
        check(
            &authority,
            permission::LOAD | permission::LOAD_CAPABILITY,
            address,
            64,
            Alignment::Load,
        )?;
        let mut tags = 0;
        for granule in 0..4 {
            let (_, _, tag) = self.load_granule(bus, address + 16 * granule)?;
            tags |= u64::from(tag) << granule;
        }
        self.registers.set_integer(op.rd, tags);
        Ok(())
    }

    pub(super) fn csr(&mut self, bus: &Bus, op: Operation) -> Result<Flow, Trap> {
        let number = op.imm as u32;
        let immediate = matches!(op.kind, Kind::Csrrwi | Kind::Csrrsi | Kind::Csrrci);
        let operand = if immediate {
            u64::from(op.rs1)
        } else {
            self.registers.integer(op.rs1)
        };
        let swap = matches!(op.kind, Kind::Csrrw | Kind::Csrrwi);
        let write = swap || op.rs1 != 0;
        self.check_csr(number, write)?;
        let old = self.read_csr(number, bus);
        if number == super::csr::TIME {
            self.stays.look(self.steps);
        }
        if write {
            self.write_csr(
                number,
                match op.kind {
                    Kind::Csrrw | Kind::Csrrwi => operand,
                    Kind::Csrrs | Kind::Csrrsi => old | operand,
                    _ => old & !operand,
                },
            );
            // Interrupts may have become enabled.
            self.pause();
        }
        self.registers.set_integer(op.rd, old);
        Ok(if write { Flow::Leave } else { Flow::Next })
    }

    /// EBREAK: a breakpoint, or in machine mode between two marker instructions a semihosting call.
    pub(super) fn environment_break(&mut self, bus: &mut Bus) -> Result<Flow, Trap> {
        const ENTRY_MARK: u32 = 0x01f0_1013;
        const EXIT_MARK: u32 = 0x4070_5013;
        let word =
            |address: u64| Some(u32::from(bus.fetch(address)?) | u32::from(bus.fetch(address.wrapping_add(2))?) << 16);
        let marked = self.privilege == Privilege::Machine
            && word(self.pc.wrapping_sub(4)) == Some(ENTRY_MARK)
            && word(self.pc.wrapping_add(4)) == Some(EXIT_MARK);
        if !marked {
            return Err(Trap::breakpoint());
        }
        self.semihosting = true;
        self.pause();
        Ok(Flow::Leave)
    }
}

/// A fault of the load half of an atomic instruction is reported as one of the store.
fn as_store(trap: Trap) -> Trap {
    match trap.cause {
        5 => Trap::store_access(trap.value),
        _ => trap,
    }
}
