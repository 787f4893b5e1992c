//! Injects faults into the embedded machine while the monitor runs: allocations that fail, interrupts that come at every
//! instruction, late or never, tags that flip. What then happens is told in `docs/fuzzing.md`.

mod allocations;
mod inject;
mod interrupts;
mod tags;
mod timers;
