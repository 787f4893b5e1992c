//! Fills the vector registers and the floating-point control register, lets others run, and looks whether they are as
//! they were; before that, whether anybody else's are in them.
//!
//! Arguments: a number from 0 to 3 that makes the contents differ from those of other cVMs; `--fault-once`: the first
//! life ends with an illegal instruction. On an architecture without these registers there is nothing to look at.

#![no_std]
#![no_main]

rt::entry!(main);

#[cfg(target_arch = "riscv64")]
fn main() {
    rt::println!("no vector registers");
}

#[cfg(target_arch = "aarch64")]
fn main() -> i32 {
    registers::main()
}

#[cfg(target_arch = "aarch64")]
mod registers {
    use core::arch::asm;

    const ROUNDS: u64 = 100;

    /// V0 to V31 in memory.
    #[repr(C, align(16))]
    #[derive(PartialEq)]
    struct Vectors([u64; 64]);

    impl Vectors {
        fn store(&mut self) {
            // SAFETY: stores all 512 bytes of `self`. The compiler uses no vector register on this target.
            unsafe {
                asm!(
                    ".set register, 0",
                    ".rept 16",
                    ".inst 0xad000000 | register << 15 | (register + 1) << 10 | register", // stp q(r), q(r+1), [x0, #16*r]
                    ".set register, register + 2",
                    ".endr",
                    in("x0") self.0.as_mut_ptr(),
                    options(nostack),
                );
            }
        }

        fn load(&self) {
            // SAFETY: loads all 512 bytes of `self`. The compiler uses no vector register on this target.
            unsafe {
                asm!(
                    ".set register, 0",
                    ".rept 16",
                    ".inst 0xad400000 | register << 15 | (register + 1) << 10 | register", // ldp q(r), q(r+1), [x0, #16*r]
                    ".set register, register + 2",
                    ".endr",
                    in("x0") self.0.as_ptr(),
                    options(nostack, readonly),
                );
            }
        }
    }

    fn control() -> u64 {
        let value: u64;
        // SAFETY: reads FPCR.
        unsafe { asm!("mrs {value}, S3_3_C4_C4_0", value = out(reg) value, options(nostack, nomem)) };
        value
    }

    fn set_control(value: u64) {
        // SAFETY: writes the rounding mode in FPCR, which nothing else here looks at.
        unsafe { asm!("msr S3_3_C4_C4_0, {value}", value = in(reg) value, options(nostack, nomem)) };
    }

    pub(super) fn main() -> i32 {
        let mut found = Vectors([1; 64]);
        found.store();
        if found.0.iter().any(|word| *word != 0) || control() != 0 {
            rt::println!("found what another one left behind");
            return 1;
        }
        let number: u64 = rt::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
        let rounding = (number & 3) << 22;
        for round in 0..ROUNDS {
            let mut mine = Vectors([0; 64]);
            for (index, word) in mine.0.iter_mut().enumerate() {
                *word = number << 48 | round << 16 | index as u64 | 1 << 63;
            }
            mine.load();
            set_control(rounding);
            // Others run after a yield, or when the slice is over in the middle of this.
            if round % 3 == 0 {
                (0..20_000).for_each(|step| _ = core::hint::black_box(step));
            } else {
                rt::yield_now();
            }
            found.store();
            if found != mine || control() != rounding {
                rt::println!("lost them in round {round}");
                return 2;
            }
        }
        let first_life = rt::info().is_ok_and(|info| info.restarts == 0);
        if first_life && rt::args().any(|argument| argument == "--fault-once") {
            // SAFETY: ends this life; nothing follows.
            unsafe { asm!("udf #0", options(noreturn)) };
        }
        rt::println!("kept them through {ROUNDS} rounds");
        0
    }
}
