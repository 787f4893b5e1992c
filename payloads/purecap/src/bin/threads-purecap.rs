//! Lets three threads add, each on a stack and with a record of its own and no authority over another's, and prints the sum; `threads: 4` is
//! what it wants. With the argument `beyond` a thread stores below its stack, which is the program's fault.

#![no_std]
#![no_main]

purecap::program!("report.s", "threads.s");
