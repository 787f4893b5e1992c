//! The file system of a disk that is damaged: as many runs as fit into a test.

/// A generator of 64 bits (xorshift64*, Marsaglia and Vigna).
struct Random(u64);

impl Random {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut next = || {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
        };
        (0..count).map(|_| next()).collect()
    }
}

#[test]
fn a_disk_gives_errors_at_most_and_none_when_it_is_sound() {
    let mut random = Random(0x1234_5678_9abc_def1);
    for _ in 0..400 {
        let mut bytes = random.bytes(1500);
        fuzz::ext4(&bytes);
        // The second one says whether it is damaged.
        bytes[1] &= !3;
        fuzz::ext4(&bytes);
    }
}
