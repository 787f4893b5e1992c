//! Makes 100000 hostcalls with random numbers and arguments; the last argument tells `dice-server` what to do with each.

#![no_std]
#![no_main]

purecap::program!("dice_client.s");
