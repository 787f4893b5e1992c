//! The monitor's device queues, between a driver and a device that do anything: as many runs as fit into a test.

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
fn a_device_gets_what_is_its_drivers_and_a_driver_what_is_in_flight() {
    let mut random = Random(0x1234_5678_9abc_def1);
    for _ in 0..60 {
        fuzz::queues(&random.bytes(2000));
    }
}
