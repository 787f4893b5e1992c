//! What both sides of a wall must agree on: hostcall numbers and arguments, error numbers, the start block of a cVM,
//! the properties of the manifest, the fault report, the header of the image.
//!
//! There is no behaviour here beyond encoding and decoding. All integers in memory are little endian unless said
//! otherwise.

#![no_std]

pub mod elf;
pub mod error;
pub mod fault;
pub mod hostcall;
pub mod image;
pub mod manifest;
pub mod start;

pub use error::Errno;
pub use fault::FaultKind;
pub use hostcall::Hostcall;
