//! An image that runs no cVM, but the contract of `arch` on the board itself, says what holds, and powers off.

use arch::{BootInfo, Derivation, Frame};
use core::fmt::Write as _;
use kernel::Heap;

#[path = "../../arch/contract/mod.rs"]
mod checks;

use checks::SIZE;

#[repr(align(4096))]
struct Memory(#[expect(dead_code, reason = "only by capabilities")] [u8; SIZE as usize]);

static mut MEMORY: Memory = Memory([0; SIZE as usize]);

struct Console;

impl core::fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        arch::console::put_all(text.as_bytes());
        Ok(())
    }
}

/// A trap out of a cVM: there is none.
extern "C" fn trapped(_frame: &'static Frame) -> &'static Frame {
    panic!("a trap, and no cVM")
}

fn faulted(frame: &'static Frame) -> ! {
    panic!("the monitor faulted at {:#x}", frame.pc())
}

/// Runs every check. One that does not hold panics, which ends the run with a failing status.
pub(crate) fn start(boot: BootInfo, _heap: &'static Heap) -> ! {
    let Ok(()) = arch::init(boot.bias) else {
        arch::power_off(false)
    };
    arch::install(faulted, trapped, trapped);
    for window in &arch::USUAL_WINDOWS {
        let request = Derivation {
            base: window.base,
            length: window.size,
            permissions: arch::device_permissions(),
            address: window.base,
        };
        let derived = arch::window(window.device).derive(arch::root(), &request);
        assert!(derived.is_ok(), "{:?}: {derived:?}", window.device);
    }
    let memory = arch::physical(&raw const MEMORY);
    for (promise, check) in checks::ALL {
        check(memory);
        // The console takes everything.
        let _ = write!(Console, "contract: {promise}\r\n");
    }
    arch::power_off(true)
}
