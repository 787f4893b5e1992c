//! Does with every hostcall what its sixth argument says: answers, delegates, passes on, keeps, faults, never answers, …

#![no_std]
#![no_main]

purecap::program!("dice_server.s");
