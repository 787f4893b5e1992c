//! A server that answers, or fails, in the way that its argument names.
//!
//! `exit` is always delegated, and so is `write` to stream 2, so that a client can end and report. All other calls get what the
//! argument says: `answer` (42, second value 43), `fault`, `bounds` (reads one byte beyond the buffer that is argument 1), `exit`
//! (code 3), `spin`, `sleep`, `twice` (replies twice), `serve` (calls `serve` in the handler, replies its result), `keep` (stores
//! the lent argument 1 in its memory), `hide` and `after` (looks for what the call before left on the stack or in a register;
//! replies how much it found), `fill` (writes the buffer that is argument 1), `pass` (passes on as its own), `lie` (replies
//! numbers that are no result: -14, then 2^62, then -4096), `delegate`.
//!
//! `main-exit`, `main-fault`, `main-spin` and `main-sleep` never serve. Instead of `serve`, `outside` calls `reply` and `delegate`
//! outside of a handler and exits with 0 when both are refused.

#![no_std]
#![no_main]

purecap::program!("report.s", "server.s");
