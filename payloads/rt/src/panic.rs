//! A panic ends the cVM with a message and [`EXIT_CODE`].

use core::panic::PanicInfo;

use crate::{console, hostcall};

/// Exit code of a cVM that panicked, as a Rust program on an operating system has it.
const EXIT_CODE: i32 = 101;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // An error of the console has nowhere to go any more.
    let _ = match info.location() {
        Some(place) => console::try_print_error(format_args!("panicked at {place}: {}\n", info.message())),
        None => console::try_print_error(format_args!("panicked: {}\n", info.message())),
    };
    hostcall::exit(EXIT_CODE)
}
