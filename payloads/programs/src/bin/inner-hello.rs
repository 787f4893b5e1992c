//! The inner one of two layers: greets, by a hostcall that the outer one serves.

#![no_std]
#![no_main]

rt::entry!(main);

fn main() {
    rt::println!("hello world from inner");
}
