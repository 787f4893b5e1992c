//! Prints `hello second` and exits with 0, or with 1 when the line was not taken as a whole.

#![no_std]
#![no_main]

purecap::program!("second.s");
