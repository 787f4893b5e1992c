//! Offers functions that other cVMs call by gates, as the program `calculator` in Rust: `add`, `mean` and `squares`.

#![no_std]
#![no_main]

purecap::program!("gates.s", "calculator.s");
