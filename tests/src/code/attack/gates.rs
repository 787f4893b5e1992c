//! Gates: how a program gets at one, calls it, offers one, and returns from it.

use abi::Hostcall;

use super::Attacker;
use crate::code::assembler::Assembler;
use crate::code::assembler::Register::{self, Argument, Number, Scratch};

/// Where the token that was asked for last is kept: code and data, or the same register twice.
fn token(code: &Assembler) -> [Register; 2] {
    if code.is_riscv() {
        [Number(8), Number(9)]
    } else {
        [Number(27), Number(27)]
    }
}

impl Attacker {
    /// What follows is a gate's function.
    pub fn gate(&mut self, function: &str) -> &mut Attacker {
        let here = self.here();
        self.functions.push((here, function.to_owned()));
        self
    }

    /// Asks for the gate of this name, `cVM.function`, and keeps its token. The argument registers hold what came of it.
    pub fn ask(&mut self, name: &str) -> &mut Attacker {
        let at = self.data.len().next_multiple_of(16);
        self.data.resize(at, 0);
        self.data.extend(name.as_bytes());
        let start = self.here();
        self.data_address(Argument(0)).add(Argument(0), Argument(0), at as i64);
        self.set(Argument(1), name.len() as u32).hostcall(Hostcall::Gate);
        // 0: it has waited until the gates opened.
        self.tag_of(Scratch(9), Argument(0)).branch_not_zero(Scratch(9), 12);
        self.branch_not_zero(Argument(0), 8);
        let back = start - self.here();
        self.jump(back);
        let [code, data] = token(self);
        self.copy(code, Argument(0));
        if self.is_riscv() {
            self.copy(data, Argument(1));
        }
        self
    }
}

impl Assembler {
    /// The registers that [`Attacker::ask`] keeps the token in; on Morello the same one twice.
    pub fn token(&self) -> [Register; 2] {
        token(self)
    }

    /// The registers that a gate's function returns by: on CHERI-RISC-V a pair, on Morello the link twice.
    pub fn way_back(&self) -> [Register; 2] {
        [Register::Link, if self.is_riscv() { Number(7) } else { Register::Link }]
    }

    /// Calls the gate whose token was asked for last.
    pub fn call_gate(&mut self) -> &mut Assembler {
        let [code, data] = token(self);
        self.call_gate_by(code, data)
    }

    /// Calls a gate by its token.
    pub fn call_gate_by(&mut self, code: Register, data: Register) -> &mut Assembler {
        let (code, data, link) = (self.number(code), self.number(data), Register::Link);
        if self.is_riscv() {
            self.read_pcc(link).push(12 << 20 | 1 << 15 | 1 << 12 | 1 << 7 | 0x5b); // CIncOffsetImm c1, c1, 12
            self.push(0x7e << 25 | data << 20 | code << 15 | 1 << 7 | 0x5b) // CInvoke
        } else {
            self.push(0xc2c4_3000 | code << 5 | 29) // LDPBLR c29, [code]
        }
    }

    /// Returns from a gate's function, by the way back as it was at its entry.
    pub fn return_from_gate(&mut self) -> &mut Assembler {
        self.word(0x7e << 25 | 7 << 20 | 1 << 15 | 1 << 7 | 0x5b, 0xc2c2_53c0) // CInvoke c1, c7; RET c30
    }
}
