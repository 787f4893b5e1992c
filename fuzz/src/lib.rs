//! What the fuzz targets do with the bytes that the fuzzer makes up: one function each. A function that returns has found
//! nothing; one that panics has found a bug.

mod archive;
mod capability;
mod elf;
mod ext4;
mod hostcalls;
mod image;
mod linux;
mod manifest;
mod queues;
mod source;
mod virtio;

pub use crate::archive::{archive, tree};
pub use crate::capability::capability;
pub use crate::elf::{elf, loader, program};
pub use crate::ext4::ext4;
pub use crate::hostcalls::hostcalls;
pub use crate::image::image;
pub use crate::linux::linux;
pub use crate::manifest::{manifest, yaml};
pub use crate::queues::queues;
pub use crate::virtio::virtio;
