//! The two 128-bit capability formats as pure functions: decode, encode, bounds, representability, permissions, printing.
//!
//! [`riscv`] holds the CHERI Concentrate format of CHERI-RISC-V ISAv9 (v8 uses the same bits), [`morello`] the Morello
//! one. Both offer a `Capability` of the same shape, made for register files of an emulator: the bounds are decoded once,
//! when the metadata changes, so that the check of every access is two comparisons. [`Decoded`] is what either turns into
//! when somebody only wants to look.
//!
//! Nothing here touches a machine: values of these types are *descriptions* of capabilities. Whether an operation is
//! allowed at all is the business of the instruction that asks for it; the functions here clear the tag where the formats
//! themselves demand it, and never set one.
#![no_std]

mod concentrate;
mod decoded;
mod error;
pub mod morello;
pub mod riscv;

pub use decoded::{Decoded, Permissions, Seal};
pub use error::Error;
