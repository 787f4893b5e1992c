//! Capability instructions. Their encodings are those of the CHERI ISAv9 (appendix B) and of the Morello supplement.

use super::super::assembler::{Assembler, Register};

/// An instruction with a result and two sources, or a result, a source and a selector.
fn riscv(function: u32, to: u32, one: u32, other: u32) -> u32 {
    function << 25 | other << 20 | one << 15 | to << 7 | 0x5b
}

/// Defines operations with a result and two sources: name, what it does, CHERI-RISC-V function, Morello opcode.
macro_rules! two_sources {
    ($($(#[$doc:meta])* $name:ident: $function:literal, $opcode:literal;)+) => {
        impl Assembler {$(
            $(#[$doc])*
            pub fn $name(&mut self, to: Register, one: Register, other: Register) -> &mut Assembler {
                let [to, one, other] = [to, one, other].map(|register| self.number(register));
                self.word(riscv($function, to, one, other), $opcode | other << 16 | one << 5 | to)
            }
        )+}
    };
}

/// Defines operations with a result and a source: name, what it does, CHERI-RISC-V selector, Morello opcode.
macro_rules! one_source {
    ($($(#[$doc:meta])* $name:ident: $selector:literal, $opcode:literal;)+) => {
        impl Assembler {$(
            $(#[$doc])*
            pub fn $name(&mut self, to: Register, from: Register) -> &mut Assembler {
                let [to, from] = [to, from].map(|register| self.number(register));
                self.word(riscv(0x7f, to, from, $selector), $opcode | from << 5 | to)
            }
        )+}
    };
}

two_sources! {
    /// CSetAddr, SCVALUE.
    set_address: 0x10, 0xc2c0_4000;
    /// CIncOffset, ADD (capability, extended register).
    offset: 0x11, 0xc2a0_6000;
    /// CSetBounds, SCBNDS.
    set_bounds: 0x08, 0xc2c0_0000;
    /// CSetBoundsExact, SCBNDSE.
    set_bounds_exact: 0x09, 0xc2c0_2000;
    /// CSeal, SEAL: the third register is the key.
    seal: 0x0b, 0xc2c0_0800;
    /// CUnseal, UNSEAL: the third register is the key.
    unseal: 0x0c, 0xc2c0_4800;
    /// CCSeal, CSEAL: the third register is the key.
    seal_conditionally: 0x1f, 0xc2c0_4400;
    /// CCopyType, CPYTYPE.
    copy_type: 0x1e, 0xc2c0_2400;
}

one_source! {
    /// CGetTag, GCTAG.
    tag_of: 4, 0xc2c0_9000;
    /// CGetBase, GCBASE.
    base_of: 2, 0xc2c0_1000;
    /// CGetLen, GCLEN.
    length_of: 3, 0xc2c0_3000;
    /// CGetPerm, GCPERM.
    permissions_of: 0, 0xc2c0_d000;
    /// CGetAddr, GCVALUE.
    address_of: 15, 0xc2c0_5000;
    /// CMove, CPY.
    copy: 10, 0xc2c1_d000;
    /// CSealEntry, SEAL RB: a sentry.
    seal_entry: 17, 0xc2c3_3000;
    /// CLoadTags at a capability, LDCT at an address.
    load_tags: 18, 0xc2c4_b000;
}

impl Assembler {
    /// CBuildCap, BUILD: `to` = the bits of `bits` with the tag, if `authority` covers them.
    pub fn build(&mut self, to: Register, authority: Register, bits: Register) -> &mut Assembler {
        let [to, authority, bits] = [to, authority, bits].map(|register| self.number(register));
        self.word(
            riscv(0x1d, to, authority, bits),
            0xc2c0_0400 | authority << 16 | bits << 5 | to,
        )
    }

    /// CAndPerm, CLRPERM: `to` = `from` without the permissions of `other`, a mask of what to keep on CHERI-RISC-V and of
    /// what to clear on Morello.
    pub fn restrict(&mut self, to: Register, from: Register, other: Register) -> &mut Assembler {
        let [to, from, other] = [to, from, other].map(|register| self.number(register));
        self.word(riscv(0x0d, to, from, other), 0xc2c0_a000 | other << 16 | from << 5 | to)
    }

    /// A register with a capability = 0 when that is not sealed.
    pub fn seal_of(&mut self, register: Register) -> &mut Assembler {
        let number = self.number(register);
        self.word(riscv(0x7f, number, number, 5), 0xc2c0_b000 | number << 5 | number) // CGetSealed, GCSEAL
    }

    /// DDC = `from`.
    pub fn write_ddc(&mut self, from: Register) -> &mut Assembler {
        let from = self.number(from);
        self.word(riscv(1, 0, from, 1), 0xc28b_4120 | from) // CSpecialRW, MSR
    }

    /// `to` = the tag of DDC.
    pub fn tag_in_ddc(&mut self, to: Register) -> &mut Assembler {
        self.read_ddc(to).tag_of(to, to)
    }

    /// DDC = NULL.
    pub fn clear_ddc(&mut self) -> &mut Assembler {
        // CSpecialRW with c0 as source only reads.
        self.set(super::SPARE, 0);
        self.write_ddc(super::SPARE)
    }

    /// Goes where a capability points.
    pub fn jump_to_capability(&mut self, target: Register) -> &mut Assembler {
        let target = self.number(target);
        self.word(riscv(0x7f, 0, target, 12), 0xc2c2_1000 | target << 5) // CJALR, BR
    }

    /// 8 bytes where a capability points = `from`.
    pub fn store_through(&mut self, from: Register, base: Register) -> &mut Assembler {
        let [from, base] = [from, base].map(|register| self.number(register));
        self.word(riscv(0x7c, 11, base, from), 0x8240_0c00 | base << 5 | from) // SD.CAP, ASTR
    }

    /// `to` = the capability where a capability points.
    pub fn load_capability_through(&mut self, to: Register, base: Register) -> &mut Assembler {
        let [to, base] = [to, base].map(|register| self.number(register));
        self.word(riscv(0x7d, to, base, 31), 0x8260_0000 | base << 5 | to) // LC.CAP, ALDR
    }

    /// The capability where a capability points = `from`.
    pub fn store_capability_through(&mut self, from: Register, base: Register) -> &mut Assembler {
        let [from, base] = [from, base].map(|register| self.number(register));
        self.word(riscv(0x7c, 12, base, from), 0x8240_0000 | base << 5 | from) // SC.CAP, ASTR
    }

    /// The word at an integer address, and `to` = what was there: AMOSWAP.D, SWP.
    pub fn exchange(&mut self, to: Register, from: Register, base: Register) -> &mut Assembler {
        let [to, from, base] = [to, from, base].map(|register| self.number(register));
        self.word(atomic(1, 3, to, from, base), 0xf820_8000 | from << 16 | base << 5 | to)
    }

    /// Adds to the word at an integer address, and `to` = what was there: AMOADD.D, LDADD.
    pub fn fetch_and_add(&mut self, to: Register, from: Register, base: Register) -> &mut Assembler {
        let [to, from, base] = [to, from, base].map(|register| self.number(register));
        self.word(atomic(0, 3, to, from, base), 0xf820_0000 | from << 16 | base << 5 | to)
    }

    /// LR.D, LDXR.
    pub fn load_reserved(&mut self, to: Register, base: Register) -> &mut Assembler {
        let [to, base] = [to, base].map(|register| self.number(register));
        self.word(atomic(2, 3, to, 0, base), 0xc85f_7c00 | base << 5 | to)
    }

    /// SC.D, STXR: `to` = 0 when it was stored.
    pub fn store_conditional(&mut self, to: Register, from: Register, base: Register) -> &mut Assembler {
        let [to, from, base] = [to, from, base].map(|register| self.number(register));
        self.word(atomic(3, 3, to, from, base), 0xc800_7c00 | to << 16 | base << 5 | from)
    }

    /// The capability at an integer address, and `to` = what was there: AMOSWAP.C, SWP.
    pub fn exchange_capability(&mut self, to: Register, from: Register, base: Register) -> &mut Assembler {
        let [to, from, base] = [to, from, base].map(|register| self.number(register));
        self.word(atomic(1, 4, to, from, base), 0xa220_8000 | from << 16 | base << 5 | to)
    }

    /// LR.C, LDXR (capability).
    pub fn load_reserved_capability(&mut self, to: Register, base: Register) -> &mut Assembler {
        let [to, base] = [to, base].map(|register| self.number(register));
        self.word(atomic(2, 4, to, 0, base), 0x225f_7c00 | base << 5 | to)
    }

    /// SC.C, STXR (capability): `to` = 0 when it was stored.
    pub fn store_conditional_capability(&mut self, to: Register, from: Register, base: Register) -> &mut Assembler {
        let [to, from, base] = [to, from, base].map(|register| self.number(register));
        self.word(atomic(3, 4, to, from, base), 0x2200_7c00 | to << 16 | base << 5 | from)
    }

    /// The byte at an integer address = `from`.
    pub fn store_byte(&mut self, from: Register, base: Register, offset: u32) -> &mut Assembler {
        let [from, base] = [from, base].map(|register| self.number(register));
        self.word(
            from << 20 | base << 15 | offset << 7 | 0x23,
            0x3900_0000 | offset << 10 | base << 5 | from,
        )
    }

    /// `to` = the byte at an integer address.
    pub fn load_byte(&mut self, to: Register, base: Register, offset: u32) -> &mut Assembler {
        let [to, base] = [to, base].map(|register| self.number(register));
        self.word(
            offset << 20 | base << 15 | 4 << 12 | to << 7 | 0x03,
            0x3940_0000 | offset << 10 | base << 5 | to,
        )
    }
}

/// An instruction of the A extension; the fourth width is that of a capability.
fn atomic(function: u32, width: u32, to: u32, from: u32, base: u32) -> u32 {
    function << 27 | from << 20 | base << 15 | width << 12 | to << 7 | 0x2f
}
