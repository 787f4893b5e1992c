//! The entropy device: random bytes that follow from a seed, so that a run can be repeated, or that the host gives.

use std::fs::File;
use std::io::{self, Read};

use chacha20::ChaCha12Rng;
pub(super) use chacha20::SerializedRngState as Mark;
use chacha20::rand_core::{Rng, SeedableRng};

use super::queue::{Malformed, Segment};
use super::transport::Work;

/// The most random bytes that one request gets.
const MOST: u64 = 1 << 16;

/// A virtio entropy device.
pub struct Entropy {
    generator: Box<ChaCha12Rng>,
}

impl Entropy {
    /// The bytes of this seed.
    pub fn seeded(seed: u64) -> Self {
        Entropy {
            generator: Box::new(ChaCha12Rng::seed_from_u64(seed)),
        }
    }

    /// Other bytes in every run.
    ///
    /// # Errors
    /// The host has no randomness to give.
    pub fn host() -> io::Result<Self> {
        let mut seed = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut seed)?;
        Ok(Entropy {
            generator: Box::new(ChaCha12Rng::from_seed(seed)),
        })
    }

    /// Where the random bytes stand, for [`Entropy::rewind`].
    pub(super) fn mark(&self) -> Mark {
        self.generator.serialize_state()
    }

    /// Gives the bytes after a mark again.
    pub(super) fn rewind(&mut self, mark: &Mark) {
        *self.generator = ChaCha12Rng::deserialize_state(mark);
    }

    pub(super) fn serve(&mut self, mut work: Work<'_>) -> Result<(), Malformed> {
        while let Some(chain) = work.take()? {
            let room = chain.writable.length();
            if room == 0 {
                return Err(chain.short("to write", room, 1));
            }
            let length = room.min(MOST);
            for Segment { offset, length } in chain.writable.part(0, length) {
                let mut bytes = vec![0; length];
                self.generator.fill_bytes(&mut bytes);
                work.memory.fill(offset, &bytes);
            }
            work.give(&chain, length);
        }
        Ok(())
    }
}
