//! What a capability says, free of any format, and its one printed form.
//!
//! ```text
//! 0x80200010 [0x80200000-0x80210000) rwRW sealed:5
//! ```
//!
//! Address, bounds (the top is exclusive), permissions, and only when they apply: the seal (`sentry`, `lpb`, `lb`,
//! `sealed:N`, `reserved:N`), `capmode` for a capability that executes in capability mode, `untagged`.
//!
//! | letter | permission                    | letter | permission                                        |
//! |--------|-------------------------------|--------|---------------------------------------------------|
//! | `r`    | load data                     | `S`    | seal                                              |
//! | `w`    | store data                    | `U`    | unseal                                            |
//! | `x`    | execute                       | `I`    | invoke (CInvoke, Morello's BranchSealedPair)      |
//! | `R`    | load capabilities             | `$`    | system registers                                  |
//! | `W`    | store capabilities            | `C`    | set the compartment id                            |
//! | `L`    | store local capabilities      | `M`    | loaded capabilities stay writable (MutableLoad)   |
//! | `G`    | global                        | `E`    | executive                                         |
//! |        |                               | `0`…`3`| defined by software                               |
//!
//! No permission at all is printed as `-`.

use core::fmt;

bitflags::bitflags! {
    /// Permissions by meaning, independent of where a format keeps them. A format has some of them only.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Permissions: u32 {
        /// May be stored anywhere; without it only through `STORE_LOCAL`.
        const GLOBAL = 1 << 0;
        /// Fetch instructions.
        const EXECUTE = 1 << 1;
        /// Load data.
        const LOAD = 1 << 2;
        /// Store data.
        const STORE = 1 << 3;
        /// Keep the tags of what is loaded.
        const LOAD_CAPABILITY = 1 << 4;
        /// Store tagged capabilities.
        const STORE_CAPABILITY = 1 << 5;
        /// Store tagged capabilities that are not global.
        const STORE_LOCAL = 1 << 6;
        /// Seal with an otype in bounds.
        const SEAL = 1 << 7;
        /// Take part in a branch to a sealed pair: CInvoke, Morello's BranchSealedPair.
        const INVOKE = 1 << 8;
        /// Unseal with an otype in bounds.
        const UNSEAL = 1 << 9;
        /// Access system registers: AccessSystemRegisters, Morello's System.
        const SYSTEM = 1 << 10;
        /// Set the compartment id: SetCID, Morello's CompartmentID.
        const COMPARTMENT_ID = 1 << 11;
        /// Morello: loaded capabilities keep their store permissions.
        const MUTABLE_LOAD = 1 << 12;
        /// Morello: code runs in the Executive bank.
        const EXECUTIVE = 1 << 13;
        /// Defined by software.
        const USER0 = 1 << 14;
        /// Defined by software.
        const USER1 = 1 << 15;
        /// Defined by software.
        const USER2 = 1 << 16;
        /// Defined by software.
        const USER3 = 1 << 17;
    }
}

/// The letters of the printed form, in the order in which they are printed.
const LETTERS: [(Permissions, u8); 18] = [
    (Permissions::LOAD, b'r'),
    (Permissions::STORE, b'w'),
    (Permissions::EXECUTE, b'x'),
    (Permissions::LOAD_CAPABILITY, b'R'),
    (Permissions::STORE_CAPABILITY, b'W'),
    (Permissions::STORE_LOCAL, b'L'),
    (Permissions::GLOBAL, b'G'),
    (Permissions::SEAL, b'S'),
    (Permissions::UNSEAL, b'U'),
    (Permissions::INVOKE, b'I'),
    (Permissions::SYSTEM, b'$'),
    (Permissions::COMPARTMENT_ID, b'C'),
    (Permissions::MUTABLE_LOAD, b'M'),
    (Permissions::EXECUTIVE, b'E'),
    (Permissions::USER0, b'0'),
    (Permissions::USER1, b'1'),
    (Permissions::USER2, b'2'),
    (Permissions::USER3, b'3'),
];

/// Bytes of the longest printed form up to the permissions.
const TEXT_LIMIT: usize = "0x [0x-0x) ".len() + 16 + 16 + 17 + LETTERS.len();

/// A text that is put together piece by piece and written at once: every boot and every report prints many. Aligned, it is
/// looked at word by word.
#[repr(C, align(8))]
struct Text {
    bytes: [u8; TEXT_LIMIT],
    length: usize,
}

impl Text {
    const fn new() -> Text {
        Text {
            bytes: [0; TEXT_LIMIT],
            length: 0,
        }
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    /// Adds `before`, and a number of at most 65 bits with as many digits as it needs.
    fn hexadecimal(&mut self, before: &[u8], number: u128) {
        before.iter().for_each(|byte| self.push(*byte));
        let mut rest = number as u64;
        let mut digits = 16;
        if number >> 64 != 0 {
            self.push(b'1');
        } else {
            digits = 16 - ((rest | 1).leading_zeros() / 4) as usize;
        }
        for byte in self.bytes[self.length..self.length + digits].iter_mut().rev() {
            *byte = b"0123456789abcdef"[(rest & 0xf) as usize];
            rest >>= 4;
        }
        self.length += digits;
    }

    fn permissions(&mut self, permissions: Permissions) {
        let start = self.length;
        for (permission, letter) in &LETTERS {
            if permissions.contains(*permission) {
                self.push(*letter);
            }
        }
        if self.length == start {
            self.push(b'-');
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(core::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default())
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Text::new();
        text.permissions(*self);
        text.write(f)
    }
}

/// Whether and how a capability is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seal {
    /// Not sealed: may be used and changed.
    Unsealed,
    /// A sealed entry: usable only as a branch target (Morello: RB).
    Sentry,
    /// Morello LPB: a branch loads the pair of target and data it points to.
    LoadPairBranch,
    /// Morello LB: a branch loads the target it points to.
    LoadBranch,
    /// Sealed with an ordinary object type.
    Otype(u32),
    /// Sealed with an object type that the architecture keeps for itself.
    Reserved(u32),
}

impl Seal {
    /// Anything but [`Seal::Unsealed`].
    #[must_use]
    pub const fn is_sealed(self) -> bool {
        !matches!(self, Self::Unsealed)
    }
}

/// A capability as a plain value to look at. Copying it copies no authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decoded {
    /// Whether it is a capability at all; without the tag the rest is only bits.
    pub tag: bool,
    /// Where it points.
    pub address: u64,
    /// First byte of its bounds.
    pub base: u64,
    /// First byte after its bounds; up to 2^64 for a valid capability.
    pub top: u128,
    /// What it allows.
    pub permissions: Permissions,
    /// Whether it is sealed, and how.
    pub seal: Seal,
    /// As PCC, executes in capability mode (CHERI-RISC-V: flag bit 0; Morello: bit 0 of a sentry's address).
    pub capability_mode: bool,
}

impl Decoded {
    /// Bytes in bounds; 0 when an untagged bit pattern has its top below its base.
    #[must_use]
    pub const fn length(&self) -> u128 {
        self.top.saturating_sub(self.base as u128)
    }

    /// Whether all of `length` bytes from `address` are in bounds.
    #[must_use]
    pub const fn in_bounds(&self, address: u64, length: u64) -> bool {
        address >= self.base && address as u128 + length as u128 <= self.top
    }

    /// Whether the bounds of `other` are inside these.
    #[must_use]
    pub const fn contains(&self, other: &Self) -> bool {
        other.base >= self.base && other.top <= self.top
    }

    /// Whether it conveys no more than `other`: bounds inside, no further permission.
    #[must_use]
    pub const fn is_subset_of(&self, other: &Self) -> bool {
        other.contains(self) && other.permissions.contains(self.permissions)
    }
}

impl fmt::Display for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Text::new();
        text.hexadecimal(b"0x", self.address.into());
        text.hexadecimal(b" [0x", self.base.into());
        text.hexadecimal(b"-0x", self.top);
        text.push(b')');
        text.push(b' ');
        text.permissions(self.permissions);
        text.write(f)?;
        match self.seal {
            Seal::Unsealed => (),
            Seal::Sentry => f.write_str(" sentry")?,
            Seal::LoadPairBranch => f.write_str(" lpb")?,
            Seal::LoadBranch => f.write_str(" lb")?,
            Seal::Otype(otype) => write!(f, " sealed:{otype}")?,
            Seal::Reserved(otype) => write!(f, " reserved:{otype}")?,
        }
        if self.capability_mode {
            f.write_str(" capmode")?;
        }
        if !self.tag {
            f.write_str(" untagged")?;
        }
        Ok(())
    }
}
