//! What `intravisor` is made of: from a YAML file and ELF programs to the archive, from the archive and the monitor to
//! the image, and back to something a person can read.
//!
//! The library is also for tests: [`manifest`], [`archive`], [`elf::synthesis`] and [`image`] write what they are told,
//! well-formed or not; only [`config`], [`elf::Facts::check`] and [`pack`] judge.

pub mod arch;
pub mod archive;
pub mod audit;
pub mod config;
pub mod diagnostic;
pub mod elf;
pub mod esp;
pub mod image;
pub mod inspect;
pub mod manifest;
pub mod pack;
pub mod quantity;
mod root;
pub mod run;
pub mod sign;
pub mod workspace;
pub mod yaml;

pub use arch::Architecture;
