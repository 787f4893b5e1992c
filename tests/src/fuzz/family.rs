//! A fuzzed cVM with an accomplice: a cVM within it, to which its handler has handed what the client lends before the random
//! program begins.

use abi::Hostcall;
use abi::hostcall::HANDLER;

use super::case::back;
use super::programs::{DATA_PAGES, HANDLER_AT, program};
use crate::code::assembler::Register::{self, Argument, Scratch};
use crate::code::attack::Attacker;
use crate::platform::Platform;

/// Where both lie, from the start of the RAM, and bytes of either.
const OUTER: u64 = 24 << 20;
const INNER: u64 = OUTER + 0x2_0000;
pub(super) const OUTER_SIZE: u64 = 0x4_0000;
pub(super) const INNER_SIZE: u64 = 0x1_0000;
/// At the end of the inner one's memory: the outer one's DDC, where what was lent is, whether it was taken.
const MAILBOX: u64 = 64;
const DDC: i64 = 0;
const PLACE: i64 = 16;
const TAKEN: i64 = 24;

const A: Register = Scratch(0);
const B: Register = Scratch(1);
const C: Register = Scratch(2);
const KEPT: Register = Scratch(3);

/// Physical address of the outer one's memory.
pub(super) fn outer_base(platform: Platform) -> u64 {
    platform.ram() + OUTER
}

/// Physical address of the inner one's memory.
pub(super) fn inner_base(platform: Platform) -> u64 {
    platform.ram() + INNER
}

/// What the handler does before a random program begins.
fn handover(platform: Platform) -> Vec<u32> {
    let mut a = Attacker::new(platform);
    let stack = a.service_stack();
    a.constant(C, 16_u64.wrapping_neg())
        .offset(C, stack, C)
        .store_capability_through(Argument(1), C);
    let mailbox = inner_base(platform) + INNER_SIZE - MAILBOX;
    a.address(A, mailbox).read_ddc(B);
    // The inner one may begin in the middle, and its memory be cleared for that.
    let start = a.here();
    a.read_ddc(B)
        .store_capability(B, A, DDC)
        .address_of(B, C)
        .store(B, A, PLACE);
    a.hostcall(Hostcall::Yield).load(B, A, TAKEN);
    a.branch_not_zero(B, 8).repeat(start);
    a.words().to_vec()
}

/// Instruction of the handler at which a random program begins.
pub(super) fn start(platform: Platform) -> usize {
    HANDLER_AT + handover(platform).len()
}

/// The outer one, whose handler hands over what it is lent, spins, and comes back to that from everywhere.
pub(super) fn outer(platform: Platform) -> Vec<u8> {
    let arch = platform.arch();
    let start = start(platform);
    let mut words: Vec<u32> = (0..2048).map(|index| back(arch, index - start as i32)).collect();
    words[..2].copy_from_slice(&super::case::hostcall(arch, Hostcall::Serve as u32));
    for (place, word) in words[HANDLER_AT..].iter_mut().zip(handover(platform)) {
        *place = word;
    }
    let mut elf = program(arch, &words);
    let handler = elf.entry + 4 * HANDLER_AT as u64;
    elf.functions
        .push((handler, 4 * (words.len() - HANDLER_AT) as u64, HANDLER.to_owned()));
    elf.loads[1].memory_size = DATA_PAGES * 4096;
    elf.to_bytes()
}

/// The accomplice: takes what it is handed into a register, and keeps it.
pub(super) fn accomplice(platform: Platform) -> Vec<u8> {
    let mut a = Attacker::new(platform);
    a.end_of_memory(A).add(A, A, -(MAILBOX as i64));
    let wait = a.here();
    a.load(B, A, PLACE).branch_not_zero(B, 8).repeat(wait);
    a.load_capability(C, A, DDC)
        .set_address(C, C, B)
        .load_capability_through(KEPT, C);
    a.set(B, 1).store(B, A, TAKEN);
    let for_ever = a.here();
    a.repeat(for_ever);
    a.elf().to_bytes()
}
