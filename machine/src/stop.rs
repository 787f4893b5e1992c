//! How a run ends.

use std::fmt;

/// Why a board stopped running. After anything but [`Stop::Exit`] the board can be run on from where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The guest ended the run (power-off device, PSCI or semihosting) with this status.
    Exit(u8),
    /// The guest asked for a reset of the board; the board has been left as it was when it asked.
    Reset,
    /// The instruction at a breakpoint is the next one that this core would execute.
    Breakpoint {
        /// Address of the instruction.
        address: u64,
        /// Number of the hart or CPU.
        core: usize,
    },
    /// The instruction limit of this run is used up.
    Limit,
    /// The pattern has just appeared on the console.
    Pattern,
    /// The condition given by the caller has become true.
    Condition,
    /// The first instruction of a trap handler traps: this core would do that for ever.
    TrapLoop {
        /// Address of the handler.
        address: u64,
        /// Number of the hart or CPU.
        core: usize,
    },
    /// The person at the console ended the run.
    Quit,
    /// Every core waits for an interrupt, no timer is set, and the console's input is at its end.
    Idle,
    /// The firmware cannot go on: what the guest did to it, in words.
    Firmware(String),
    /// The guest did something that the architecture allows and this emulator does not implement.
    Unsupported(Unsupported),
}

/// Below this address lie the trap handlers of a core whose guest has set none.
const RESET_VECTORS: u64 = 0x1000;

impl Stop {
    /// The guest's exit status, or `None` when the run ended otherwise.
    pub fn status(&self) -> Option<u8> {
        match self {
            Stop::Exit(status) => Some(*status),
            _ => None,
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Exit(status) => write!(f, "the guest exited with status {status}"),
            Stop::Reset => f.write_str("the guest asked for a reset"),
            Stop::Breakpoint { address, core } => write!(f, "breakpoint at {address:#x} on core {core}"),
            Stop::Limit => f.write_str("the instruction limit is reached"),
            Stop::Pattern => f.write_str("the console pattern appeared"),
            Stop::Condition => f.write_str("the condition became true"),
            Stop::TrapLoop { address, core } => {
                write!(
                    f,
                    "core {core} traps at the first instruction of its trap handler at {address:#x}, for ever{}",
                    if *address < RESET_VECTORS {
                        "; no handler has been set: expected a kernel for this board"
                    } else {
                        ""
                    }
                )
            }
            Stop::Quit => f.write_str("ended from the console"),
            Stop::Idle => f.write_str(
                "every core waits for an interrupt, but no timer is set and the console's input is at its end",
            ),
            Stop::Firmware(what) => f.write_str(what),
            Stop::Unsupported(what) => what.fmt(f),
        }
    }
}

/// What the emulator cannot do, and where the guest asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Address of the instruction.
    pub address: u64,
    /// The instruction word.
    pub instruction: u32,
    /// What is missing, in words.
    pub what: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not supported by this emulator: {} (instruction {:#010x} at {:#x})",
            self.what, self.instruction, self.address
        )
    }
}
