//! The cVM next to the attacks: keeps a secret in memory, in registers and as capabilities, looks again and again whether it
//! is still there, and says so.

use abi::Hostcall;
use tools::elf::synthesis::Elf;

use super::super::assembler::Assembler;
use super::super::assembler::Register::{Argument, Scratch, Stack};
use super::Attacker;
use crate::Platform;

/// The first word of the secret; each of the following ones differs from the one before by this, too.
pub const SECRET: u64 = 0x5ec2_e75e_c2e7_0001;
/// Words of the secret.
const WORDS: u32 = 128;
/// Where the capabilities are kept, from the start of the data, and how many.
const KEPT: i64 = 1024;
const CAPABILITIES: i64 = 8;
/// Where it has what it prints.
const MESSAGE: i64 = 2000;
/// What it prints at its end.
const INTACT: &[u8] = b"victim: intact\n";

/// What a victim does.
pub struct Victim {
    /// How often it looks.
    pub rounds: u32,
    /// Nanoseconds that it sleeps before each time.
    pub period: u64,
    /// Nanoseconds between two looks that are too many.
    pub patience: u64,
}

impl Victim {
    /// The program. Exit codes: 0 intact, 1 memory, 2 registers, 3 a capability, 4 it had to wait too long.
    pub fn elf(&self, platform: Platform) -> Elf {
        let mut code = Attacker::new(platform);
        let [data, ddc, rounds, pattern, pointer, count, value, time, secret] =
            std::array::from_fn(|index| Scratch(index as u32));
        code.data = vec![0; MESSAGE as usize];
        code.data.extend(INTACT);
        code.data_address(data).read_ddc(ddc);
        code.constant(rounds, self.rounds.into()).constant(secret, SECRET);
        code.add(pointer, data, 0).set(count, WORDS).set(pattern, 0);
        let fill = code.here();
        code.add_register(pattern, secret).store(pattern, pointer, 0);
        code.add(pointer, pointer, 8);
        code.count_down(count, fill);
        for index in 0..CAPABILITIES {
            code.store_capability(ddc, data, KEPT + 16 * index);
        }
        code.store_capability(ddc, Stack, -16);
        code.call(Hostcall::Clock, &[]).add(time, Argument(0), 0);

        let round = code.here();
        code.call(Hostcall::Nanosleep, &[self.period]);
        // The latest look was not too long ago: the difference has no bits above the patience.
        code.call(Hostcall::Clock, &[]).add(value, Argument(0), 0);
        code.subtract_register(value, time);
        code.add(time, Argument(0), 0);
        code.constant(count, self.patience).subtract_register(count, value);
        code.shift_right(count, 63).must_be_zero(count, 4);
        // The secret in memory.
        code.add(pointer, data, 0).set(count, WORDS).set(pattern, 0);
        let look = code.here();
        code.add_register(pattern, secret).load(value, pointer, 0);
        code.must_be_equal(value, pattern, 1).add(pointer, pointer, 8);
        code.count_down(count, look);
        // The one in registers.
        code.constant(value, SECRET).must_be_equal(value, secret, 2);
        code.data_address(value);
        code.must_be_equal(value, data, 2);
        // The capabilities: tag and bounds.
        let same = |code: &mut Assembler| {
            code.tag_of(pattern, value).add(pattern, pattern, -1);
            code.must_be_zero(pattern, 3);
            code.base_of(pattern, value).base_of(pointer, ddc);
            code.must_be_equal(pattern, pointer, 3);
            code.length_of(pattern, value).length_of(pointer, ddc);
            code.must_be_equal(pattern, pointer, 3);
        };
        code.read_ddc(value);
        same(&mut code);
        code.load_capability(value, Stack, -16);
        same(&mut code);
        code.add(pointer, data, KEPT);
        for index in 0..CAPABILITIES {
            code.load_capability(value, data, KEPT + 16 * index);
            same(&mut code);
        }
        code.add(rounds, rounds, -1);
        // Too far for a conditional branch.
        code.branch_not_zero(rounds, 8).jump(8);
        code.repeat(round);
        code.data_address(Argument(1)).add(Argument(1), Argument(1), MESSAGE);
        code.set(Argument(0), 1).set(Argument(2), INTACT.len() as u32);
        code.hostcall(Hostcall::Write).exit(0);
        code.elf()
    }
}
