//! Boards whose device tree is another than the usual one: other devices, some missing.

use machine::{Stop, riscv};
use tests::{Board, Ending, Platform, Scenario, cvm, on_machine};
use tools::Architecture;

use crate::reserved::{Tree, tree};

on_machine!(
    a_device_that_is_missing_is_named_with_what_was_looked_for,
    without_a_power_device_the_machine_stays_on_and_the_end_says_so,
    a_console_with_an_interrupt_that_cannot_be_has_none,
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
                "no usable interrupt controller: looked for compatible riscv,plic0, sifive,plic-1.0.0 or riscv,aplic,",
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

fn a_console_with_an_interrupt_that_cannot_be_has_none(platform: Platform) {
    // What the console's `interrupts` are, and the place of the number in them.
    let (usual, number): (&[u8], usize) = match platform.arch() {
        Architecture::CheriRiscv => (&[0, 0, 0, 10], 0),
        Architecture::Morello => (&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4], 4),
    };
    let (stop, console) = boot(platform, |tree| {
        let head = [0, 0, 0, 3, 0, 0, 0, usual.len() as u8];
        let length = head.len() + 4 + usual.len();
        let places: Vec<usize> = (0..=tree.nodes.len() - length)
            .filter(|place| tree.nodes[*place..].starts_with(&head) && tree.nodes[place + 12..].starts_with(usual))
            .collect();
        assert!(!places.is_empty());
        for place in places {
            tree.nodes[place + 12 + number..][..4].copy_from_slice(&0x7000_0000_u32.to_be_bytes());
        }
    });
    assert_eq!(stop, Stop::Exit(0), "{console}");
    assert!(console.contains("[hello] hello from hello"), "{console}");
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

/// QEMU's board with the advanced interrupt architecture: its controller in direct mode is driven, input and devices interrupt.
#[test]
#[cfg_attr(
    not(qemu_riscv64xcheri),
    ignore = "qemu-system-riscv64xcheri is not on PATH and INTRAVISOR_QEMU_RISCV64XCHERI is not set"
)]
fn aplic_in_direct_mode_is_driven() {
    for board in ["virt,aia=aplic", "virt,aclint=on,aia=aplic"] {
        let echo = Scenario::example(Platform::QemuXcheri, "echo")
            .input("quit ends", "through the controller\ragain\rquit\r")
            .qemu_board(board)
            .boot(Platform::QemuXcheri);
        echo.assert_status(0);
        for line in ["you said: through the controller", "you said: again", "goodbye"] {
            assert!(echo.of("echo").contains(&line), "{board}: {echo}");
        }
        let entropy = Scenario::example(Platform::QemuXcheri, "entropy")
            .entropy()
            .qemu_board(board)
            .boot(Platform::QemuXcheri);
        entropy.assert_status(0);
    }
}

/// The controller that sends messages is not driven, and named.
#[test]
#[cfg_attr(
    not(qemu_riscv64xcheri),
    ignore = "qemu-system-riscv64xcheri is not on PATH and INTRAVISOR_QEMU_RISCV64XCHERI is not set"
)]
fn aplic_with_messages_is_named() {
    let (ending, console) = hello()
        .qemu_board("virt,aia=aplic-imsic")
        .console_of_qemu(Platform::QemuXcheri);
    assert_eq!(ending, Ending::Exit(1), "{console}");
    let message = "no usable interrupt controller: looked for compatible riscv,plic0, sifive,plic-1.0.0 or riscv,aplic, which \
                   in direct mode leads to M-mode";
    assert!(console.contains(message), "{console}");
}

/// A UART whose registers lie four bytes apart and are accessed by words, as the tree says.
#[test]
fn a_uart_is_driven_by_the_layout_that_the_tree_tells() {
    let image = Scenario::example(Platform::MachineV9, "echo").image(Platform::MachineV9);
    for (shift, width) in [(0, 1), (2, 4), (2, 1), (4, 4)] {
        let config = riscv::Config {
            uart: riscv::UartLayout { shift, width },
            ..riscv::Config::new(image.clone())
        };
        let mut board = Board::CheriRiscv(Box::new(riscv::Board::new(config).unwrap()));
        board.run_to_pattern(100_000_000, "quit ends");
        board.inject_input(b"by any layout\rquit\r");
        let stop = board.run(1_000_000_000);
        let console = board.console().text();
        assert_eq!(stop, Stop::Exit(0), "{shift}, {width}: {console}");
        assert!(
            console.contains("[echo] you said: by any layout\r\n"),
            "{shift}, {width}: {console}"
        );
        let window = format!("[0x10000000-{:#x})", 0x1000_0000 + (8 << shift));
        assert!(console.contains(&window), "{shift}, {width}: {console}");
    }
}
