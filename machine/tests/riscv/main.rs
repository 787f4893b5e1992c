//! The CHERI-RISC-V board from outside: instruction by instruction, and as a whole.

mod capabilities;
mod chaos;
mod float_programs;
mod floating_point;
mod floating_state;
mod integer;
mod lab;
mod traps;
mod virt;
