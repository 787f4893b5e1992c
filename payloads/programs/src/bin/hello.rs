//! Greets, then prints its arguments and the environment entry `GREETING`.

#![no_std]
#![no_main]

rt::entry!(main);

fn main() {
    let greeting = rt::var("GREETING").unwrap_or("hello");
    rt::println!("{greeting} from {}", rt::start_block().name());
    for (number, argument) in rt::args().enumerate().skip(1) {
        rt::println!("argument {number}: {argument}");
    }
}
