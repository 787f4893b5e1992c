//! The contract of `arch` over the host's stand-in; `tests/tests/contract.rs` runs the same on both boards.

#[path = "../contract/mod.rs"]
mod contract;

#[test]
fn the_stand_in_keeps_what_the_kernel_relies_on() {
    for (promise, check) in contract::ALL {
        println!("{promise}");
        check(0x8000_0000);
    }
    assert_eq!(contract::SIZE, 4096);
}
