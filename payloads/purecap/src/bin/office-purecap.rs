//! Lets another cVM calculate by gates, as the program `office` in Rust. Its exit code is the number of results that are wrong.

#![no_std]
#![no_main]

purecap::program!("gates.s", "report.s", "office.s");
