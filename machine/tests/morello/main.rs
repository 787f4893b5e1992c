//! The Morello boards, instruction group by instruction group, and the board itself. Instructions are given as words, with what
//! they are in assembly beside them.

mod atomics;
mod branches;
mod capability_memory;
mod capability_operations;
mod devices;
mod exceptions;
mod floating_point;
mod integer;
mod lab;
mod memory;
mod short_way;
mod simd;
mod startup;
mod translation;
