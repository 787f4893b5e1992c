//! Does the deed that its argument names.
//!
//! `read-`, `write-`, `below-` and a place (`stack`, `local`, `global`, `constant`, `heap`, `tls`, `start`) use the last byte of the
//! place (`below-`: the first), print `inside`, and go one byte further. `pcc-store`, `write-slots`, `write-code`,
//! `execute-data`, `open-function`, `forged-load` and `integer-load` must end in a fault. Whoever survives prints `survived`,
//! exit code 66. `hostcalls` prints the result of each hostcall with a pointer that must not work, `authority` what the program
//! was given, `function-pointer` calls a function by a relocation, and `stale` leaves a capability in its memory and looks for
//! it when it was restarted.

#![no_std]
#![no_main]

purecap::program!("report.s", "checks.s");
