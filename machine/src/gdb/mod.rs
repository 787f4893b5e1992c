//! A server for gdb and whatever else speaks its remote protocol: registers, memory, breakpoints, watchpoints that see
//! tags, stepping.
//!
//! Capabilities are registers of 128 bits, as they stand in memory, under the names that gdb's CHERI builds give them;
//! `tags` has the tag of each as one bit. Their types are integers, so that a gdb that knows nothing of capabilities
//! takes the description, too; what they say in words is told by `monitor capability NAME`. Addresses are physical.

mod guest;
mod libraries;
mod morello;
mod riscv;
mod target;

pub use guest::{Guest, Kind, Register};
pub use libraries::Symbols;

use std::net::{Ipv4Addr, TcpListener};

use gdbstub::stub::{DisconnectReason, GdbStub};

use crate::stop::Stop;
use libraries::Libraries;
use target::{Loop, Session};

/// Runs the program `cheri-machine` under a debugger.
///
/// # Errors
/// A message for the user when the board has more than one processor, or as [`serve`].
pub(crate) fn command<G: Guest>(
    board: &mut G,
    port: u16,
    processors: usize,
    symbols: &[Symbols],
) -> Result<Stop, String> {
    if processors != 1 {
        return Err(format!("--gdb works with one hart or CPU, not with {processors}"));
    }
    serve(board, port, symbols, |port| {
        eprintln!("cheri-machine: waiting for a debugger: target remote localhost:{port}");
    })
}

/// Waits for a debugger on a TCP port of the loopback interface (0: any that is free; `announce` is told which), and
/// runs the board as it says until it kills the run or leaves; then the board runs on its own. The board begins stopped.
/// `symbols`: programs whose symbols it loads.
///
/// # Errors
/// A message when a file with symbols cannot be read, the port cannot be had or the connection breaks.
pub fn serve<G: Guest>(
    board: &mut G,
    port: u16,
    symbols: &[Symbols],
    announce: impl FnOnce(u16),
) -> Result<Stop, String> {
    let libraries = Libraries::new(symbols)?;
    let fail = |error: &dyn std::fmt::Display| format!("debugger on port {port}: {error}");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| fail(&error))?;
    announce(listener.local_addr().map_err(|error| fail(&error))?.port());
    let (connection, _) = listener.accept().map_err(|error| fail(&error))?;
    let mut session = Session::new(board, libraries);
    let reason = GdbStub::new(connection)
        .run_blocking::<Loop<G>>(&mut session)
        .map_err(|error| fail(&error))?;
    Ok(match reason {
        DisconnectReason::Kill => Stop::Quit,
        DisconnectReason::Disconnect | DisconnectReason::TargetExited(_) | DisconnectReason::TargetTerminated(_) => {
            session.end()
        }
    })
}
