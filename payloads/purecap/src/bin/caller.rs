//! A client. Makes one hostcall after the other and reports each result by `write` to stream 2; what it cannot report, because
//! even that fails, it leaves in the registers of an illegal instruction: s0 (x19) = the result of the report, s1 (x20) = the
//! result reported.
//!
//! With the argument `once` it only makes one `null`; without one it makes them all. At the end it exits with the number
//! of registers and buffers that a call has changed against the convention.

#![no_std]
#![no_main]

purecap::program!("report.s", "caller.s");
