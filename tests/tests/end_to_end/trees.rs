//! Boards whose device tree is another than the usual one: other devices, some missing.

use machine::Stop;
use tests::{Ending, Platform, Scenario, cvm, on_machine};
use tools::Architecture;

use crate::reserved::{Tree, tree};

on_machine!(
    a_device_that_is_missing_is_named_with_what_was_looked_for,
    without_a_power_device_the_machine_stays_on_and_the_end_says_so,
);

fn hello() -> Scenario {
    Scenario::new([cvm("hello", "hello", &[])])
}

/// Makes of every node with this `compatible` string one that nobody knows.
fn hide(tree: &mut Tree, compatible: &str) {
    let places: Vec<usize> = (tree.nodes.windows(compatible.len()).enumerate())
        .filter(|(_, bytes)| *bytes == compatible.as_bytes())
        .map(|(place, _)| place)
        .collect();
    assert!(!places.is_empty(), "{compatible}");
    for place in places {
        tree.nodes[place..place + compatible.len()].fill(b'x');
    }
}

/// Boots with a changed tree; how the run ended, and the console.
fn boot(platform: Platform, change: impl FnOnce(&mut Tree)) -> (Stop, String) {
    let mut running = hello().on_board(platform);
    let (address, mut changed) = tree(&running.board);
    change(&mut changed);
    running.board.write_memory(address, &changed.to_bytes());
    let stop = running.board.run(1_000_000_000);
    (stop, running.board.console().text())
}

fn a_device_that_is_missing_is_named_with_what_was_looked_for(platform: Platform) {
    let cases: &[(&[&str], &str)] = match platform.arch() {
        Architecture::CheriRiscv => &[
            (
                &["riscv,plic0", "sifive,plic-1.0.0"],
                "no usable interrupt controller: looked for compatible riscv,plic0 or sifive,plic-1.0.0",
            ),
            (
                &["riscv,clint0", "sifive,clint0"],
                "no usable timer: looked for compatible riscv,clint0, sifive,clint0 or riscv,aclint-mtimer",
            ),
        ],
        Architecture::Morello => &[(
            &["arm,cortex-a15-gic"],
            "no usable interrupt controller: looked for compatible ",
        )],
    };
    for (hidden, message) in cases {
        let (stop, console) = boot(platform, |tree| {
            for compatible in *hidden {
                if tree
                    .nodes
                    .windows(compatible.len())
                    .any(|bytes| bytes == compatible.as_bytes())
                {
                    hide(tree, compatible);
                }
            }
        });
        assert_eq!(stop, Stop::Exit(1), "{hidden:?}: {console}");
        assert!(
            console.contains(&format!("device tree: {message}")),
            "{hidden:?}: {console}"
        );
    }
}

fn without_a_power_device_the_machine_stays_on_and_the_end_says_so(platform: Platform) {
    // On Morello, PSCI is no device.
    if platform.arch() == Architecture::Morello {
        return;
    }
    let (stop, console) = boot(platform, |tree| hide(tree, "sifive,test0"));
    assert_eq!(stop, Stop::Limit, "{console}");
    assert!(console.contains("[hello] hello from hello"), "{console}");
    let end = "[monitor] no device ends the run: the machine stays on and waits\r\n";
    assert!(console.ends_with(end), "{console}");
}

/// QEMU's board with the timer and software interrupts of ACLINT.
#[test]
#[cfg_attr(
    not(qemu_riscv64xcheri),
    ignore = "qemu-system-riscv64xcheri is not on PATH and INTRAVISOR_QEMU_RISCV64XCHERI is not set"
)]
fn aclint_is_driven() {
    let cvms = [cvm("hello", "hello", &[]), cvm("clock", "clock", &["3", "2"])];
    let outcome = Scenario::new(cvms)
        .qemu_board("virt,aclint=on")
        .boot(Platform::QemuXcheri);
    outcome.assert_status(0);
    assert_eq!(outcome.of("hello"), ["hello from hello"], "{outcome}");
    assert_eq!(outcome.of("clock").last().copied(), Some("tick 3 of 3"), "{outcome}");
}

/// QEMU's board with the advanced interrupt architecture, whose controllers the monitor does not drive.
#[test]
#[cfg_attr(
    not(qemu_riscv64xcheri),
    ignore = "qemu-system-riscv64xcheri is not on PATH and INTRAVISOR_QEMU_RISCV64XCHERI is not set"
)]
fn aplic_is_named() {
    for board in ["virt,aia=aplic", "virt,aia=aplic-imsic", "virt,aclint=on,aia=aplic"] {
        let (ending, console) = hello().qemu_board(board).console_of_qemu(Platform::QemuXcheri);
        assert_eq!(ending, Ending::Exit(1), "{board}: {console}");
        let message = "no usable interrupt controller: looked for compatible riscv,plic0 or sifive,plic-1.0.0";
        assert!(console.contains(message), "{board}: {console}");
    }
}
