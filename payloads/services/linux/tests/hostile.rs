//! Random system calls of programs with random memory, against a platform that knows what belongs to whom: nothing outside of
//! a program's memory is ever touched, nothing panics, what a thread waits for is answered at most once, and nothing is left
//! of programs that have ended. `scripts/fuzz linux` does the same, guided by coverage.

use library_os::model::{DATA, HEAP, Model, NEAR, SEEN, SIZE};
use library_os::{Input, Who};
use proptest::prelude::*;

/// What programs pass: small numbers, addresses of their own, the edges of everything.
fn argument() -> impl Strategy<Value = u64> {
    let odd = [
        u64::MAX,
        1 << 63,
        i64::MAX as u64,
        1 << 32,
        4096,
        0x8000,
        NEAR[0],
        NEAR[1],
        -100_i64 as u64,
    ];
    prop_oneof![
        6 => 0_u64..12,
        6 => DATA..DATA + 0x400,
        3 => HEAP..SEEN + SIZE,
        2 => (0_u64..SIZE / 4096).prop_map(|page| HEAP + page * 4096),
        1 => SEEN + SIZE - 16..SEEN + SIZE + 16,
        1 => SEEN - 16..SEEN + 16,
        1 => prop::sample::select(odd.to_vec()),
        1 => any::<u64>(),
    ]
}

/// A system call; small numbers are the ones that exist.
fn call() -> impl Strategy<Value = (Who, u64, [u64; 6])> {
    let who = (0_u32..2, 0_u16..3).prop_map(|(client, thread)| Who { client, thread });
    let number = prop_oneof![9 => 0_u64..460, 1 => any::<u64>()];
    let arguments = [argument(), argument(), argument(), argument(), argument(), argument()];
    (who, number, arguments)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nothing_outside_of_a_programs_memory_is_touched(
        calls in prop::collection::vec(call(), 1..300),
        texts in prop::collection::vec(prop::sample::select(vec!["/tmp/a", "b", "/dev/zero", "..", "/tmp", "", "/dev/null"]), 8),
        noise in prop::collection::vec(any::<u8>(), 256),
    ) {
        let mut model = Model::new();
        for client in 0..2 {
            for (index, text) in texts.iter().enumerate() {
                model.poke(client, DATA - SEEN + 32 * index as u64, text.as_bytes());
            }
            model.poke(client, DATA - SEEN + 0x200, &noise);
        }
        for (who, number, arguments) in calls {
            model.pass(1000);
            match arguments[5] % 16 {
                1 => model.input(Input::Line(b"line\n")),
                2 => model.input(Input::End),
                3 => model.input(Input::Interrupt),
                _ => {}
            }
            model.call(who, number, arguments);
        }
        model.finish();
    }
}
