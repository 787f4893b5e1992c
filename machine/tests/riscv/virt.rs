//! The board as QEMU's `virt`: boot state, device tree, devices, several harts, and the ways to run it.

use std::cell::RefCell;
use std::rc::Rc;

use capability::riscv::Capability;
use fdt::Fdt;
use machine::Stop;
use machine::riscv::{Board, BuildError, Config, Privilege, Until, special};

use crate::lab::{DATA, FENCE_I, Lab, START, STAY, WFI, addi, b, csr, i, image, jal, s};

const TEST_DEVICE: u64 = 0x10_0000;
const UART: u64 = 0x1000_0000;

/// Stores `value` (12 bits, signed) in the word at the address in `base`.
fn store_word(value: u32, base: u32) -> u32 {
    s(2, value, base, 0)
}

fn board(words: &[u32]) -> Board {
    Board::new(Config::new(image(words))).unwrap()
}

/// Ends the run with success: lui x5, 0x100; lui x6, 0x5; addi x6, x6, 0x555; sw x6, 0(x5).
const SUCCESS: [u32; 4] = [0x0010_02b7, 0x0000_5337, 0x5553_0313, 0x0062_a023];

#[test]
fn every_hart_starts_with_its_number_the_tree_and_all_authority() {
    let mut board = Board::new(Config {
        harts: 3,
        ..Config::new(image(&[STAY]))
    })
    .unwrap();
    board.run(Until::exit(10_000));
    for hart in 0..3 {
        assert_eq!(board.pc(hart), START);
        assert_eq!(board.privilege(hart), Privilege::Machine);
        assert_eq!(board.register(hart, 10).address(), hart as u64);
        assert_eq!(board.register(hart, 11).address(), 0x8700_0000);
        assert_eq!(board.register(hart, 12).address(), 0x1028);
        assert_eq!(board.special_register(hart, special::DDC), Capability::ROOT);
        assert_eq!(
            board.special_register(hart, special::PCC),
            Capability::ROOT.set_address(START)
        );
        assert_eq!(board.special_register(hart, special::MTDC), Capability::NULL);
        let names: Vec<_> = board.tagged_registers(hart).map(|(name, _)| name).collect();
        assert_eq!(names, ["pcc", "ddc", "utcc", "uepcc", "stcc", "sepcc", "mtcc", "mepcc"]);
    }
}

#[test]
fn the_device_tree_lies_where_the_reference_puts_it() {
    for (megabytes, address) in [
        (64, 0x8300_0000u64),
        (128, 0x8700_0000),
        (192, 0x8b00_0000),
        (1024, 0xbf00_0000),
    ] {
        let config = Config {
            memory: megabytes << 20,
            ..Config::new(image(&[STAY]))
        };
        let mut board = Board::new(config).unwrap();
        board.run_to(START, 10).unwrap();
        assert_eq!(board.register(0, 11).address(), address, "{megabytes} MiB");
        assert_eq!(board.read_memory(address, 4).unwrap(), [0xd0, 0x0d, 0xfe, 0xed]);
    }
}

#[test]
fn the_device_tree_describes_the_board() {
    let config = Config {
        harts: 2,
        initrd: Some(b"archive".to_vec()),
        append: "log=debug".to_owned(),
        ..Config::new(image(&[STAY]))
    };
    let board = Board::new(config).unwrap();
    let tree = Fdt::new(board.read_memory(0x8700_0000, 0x4000).unwrap()).unwrap();
    assert_eq!(tree.chosen().bootargs(), Some("log=debug"));
    assert_eq!(tree.chosen().stdout().unwrap().name, "uart@10000000");
    assert_eq!(tree.cpus().count(), 2);
    assert_eq!(tree.cpus().next().unwrap().timebase_frequency(), 10_000_000);
    let memory = tree.memory().regions().next().unwrap();
    assert_eq!((memory.starting_address as u64, memory.size), (START, Some(128 << 20)));
    let chosen = tree.find_node("/chosen").unwrap();
    let cell = |name| chosen.property(name).unwrap().as_usize().unwrap();
    assert_eq!(
        (cell("linux,initrd-start"), cell("linux,initrd-end")),
        (0x8400_0000, 0x8400_0007)
    );
    assert_eq!(board.read_memory(0x8400_0000, 7).unwrap(), b"archive");
    for compatible in ["riscv,clint0", "riscv,plic0", "ns16550a", "sifive,test0", "virtio,mmio"] {
        assert!(tree.find_compatible(&[compatible]).is_some(), "{compatible}");
    }
}

#[test]
fn a_board_that_cannot_be_built_says_why() {
    let config = Config::new(image(&[STAY]));
    assert!(matches!(
        Board::new(Config {
            harts: 9,
            ..config.clone()
        }),
        Err(BuildError::Harts(9))
    ));
    assert!(matches!(
        Board::new(Config {
            memory: 5,
            ..config.clone()
        }),
        Err(BuildError::Memory(5))
    ));
    let big = Config {
        initrd: Some(vec![0; 128 << 20]),
        ..config
    };
    let message = Board::new(big).err().unwrap().to_string();
    assert!(
        message.starts_with("initrd: 0x8000000 bytes at 0x84000000 do not fit"),
        "{message}"
    );
}

#[test]
fn the_test_device_ends_the_run_with_the_guests_status() {
    for (word, stop) in [
        (0x5555u64, Stop::Exit(0)),
        (0x2a_3333, Stop::Exit(42)),
        (0x7777, Stop::Reset),
    ] {
        let mut lab = Lab::v9(&[store_word(6, 5), STAY]).set(5, TEST_DEVICE).set(6, word);
        assert_eq!(lab.board.run(Until::exit(10)), stop);
    }
}

#[test]
fn a_reset_begins_anew() {
    let mut board = board(&SUCCESS);
    assert_eq!(board.run(Until::exit(100)), Stop::Exit(0));
    let (instructions, time) = (board.instructions(0), board.time());
    board.write_memory(START, &[0; 4]).unwrap();
    board.reset().unwrap();
    assert_eq!((board.instructions(0), board.time()), (0, 0));
    assert_eq!(board.run(Until::exit(100)), Stop::Exit(0));
    assert_eq!((board.instructions(0), board.time()), (instructions, time));
}

#[test]
fn semihosting_exits_and_refuses_everything_else_by_name() {
    let call = [0x01f0_1013, 0x0010_0073, 0x4070_5013, STAY];
    let mut lab = Lab::v9(&call).set(10, 0x20).set(11, DATA);
    let block: Vec<u8> = [0x2_0026u64, 37].iter().flat_map(|word| word.to_le_bytes()).collect();
    lab.board.write_memory(DATA, &block).unwrap();
    assert_eq!(lab.board.run(Until::exit(10)), Stop::Exit(37));
    let mut lab = Lab::v9(&call).set(10, 0x05);
    let message = lab.board.run(Until::exit(10)).to_string();
    assert!(
        message.contains("semihosting operation 0x5") && message.contains("0x80000004"),
        "{message}"
    );
}

/// Prints x7 for ever.
const PRINT: [u32; 3] = [s(0, 7, 5, 0), addi(7, 7, 1), jal(0, -8)];

#[test]
fn a_run_stops_at_a_pattern_a_limit_a_breakpoint_or_a_condition() {
    let mut lab = Lab::v9(&PRINT).set(5, UART).set(7, u64::from(b'a'));
    assert_eq!(lab.board.run(Until::exit(1000).or_pattern("def")), Stop::Pattern);
    assert_eq!(lab.board.console().text(), "abcdef");
    assert_eq!(lab.board.run(Until::exit(6)), Stop::Limit);
    assert_eq!(lab.board.console().text(), "abcdefgh");
    let stop = lab.board.run(Until::exit(6).or_breakpoints(&[START + 4]));
    assert_eq!(
        stop,
        Stop::Breakpoint {
            address: START + 4,
            core: 0
        }
    );
    let mut condition = |board: &Board| board.register(0, 7).address() == u64::from(b'm');
    let stop = lab.board.run(Until {
        condition: Some(&mut condition),
        ..Until::exit(1000)
    });
    assert_eq!(stop, Stop::Condition);
    assert_eq!(lab.board.console().text(), "abcdefghijkl");
}

#[test]
fn instructions_between_two_addresses_are_counted() {
    let mut lab = Lab::v9(&[addi(3, 0, 10), addi(3, 3, -1), b(1, 3, 0, -4), STAY]);
    assert_eq!(lab.board.count_between(START + 4, START + 12, 1000), Ok(20));
    assert_eq!(lab.board.run_to(START, 100), Err(Stop::Limit));
}

#[test]
fn console_input_arrives_by_polling_one_character_at_a_time() {
    // Waits for data ready, reads it into x8, twice.
    let poll = [
        i(0x03, 4, 6, 5, 5),
        i(0x13, 7, 6, 6, 1),
        b(0, 6, 0, -8),
        i(0x03, 4, 8, 5, 0),
    ];
    let program: Vec<_> = poll
        .iter()
        .chain(&[addi(9, 8, 0)])
        .chain(&poll)
        .chain(&[STAY])
        .copied()
        .collect();
    let mut lab = Lab::v9(&program).set(5, UART);
    assert_eq!(lab.board.run(Until::exit(50)), Stop::Limit);
    assert_eq!(lab.get(8), 0);
    lab.board.inject_input(b"xy");
    lab.board.run(Until::exit(50));
    assert_eq!((lab.get(9), lab.get(8)), (u64::from(b'x'), u64::from(b'y')));
}

#[test]
fn console_input_interrupts_a_waiting_hart() {
    // IER = 1, priority of source 10 = 1, enable it, mie.MEIE, wfi, claim into x8.
    let program = [
        s(0, 6, 5, 1),
        s(2, 6, 20, 40),
        s(2, 7, 21, 0),
        csr(1, 0, 0x304, 9),
        WFI,
        i(0x03, 2, 8, 22, 4),
        STAY,
    ];
    let mut lab = Lab::v9(&program)
        .set(5, UART)
        .set(6, 1)
        .set(7, 1 << 10)
        .set(9, 1 << 11)
        .set(20, 0xc00_0000)
        .set(21, 0xc00_2000)
        .set(22, 0xc20_0000);
    assert_eq!(lab.board.run(Until::exit(100)), Stop::Idle);
    assert!(lab.board.is_waiting(0));
    lab.board.inject_input(b"!");
    assert_eq!(lab.board.run(Until::exit(10)), Stop::Limit);
    assert_eq!((lab.get(8), lab.board.is_waiting(0)), (10, false));
}

#[test]
fn an_injected_interrupt_reaches_the_controller() {
    let program = [
        s(2, 6, 20, 12),
        s(2, 7, 21, 0),
        csr(1, 0, 0x304, 9),
        WFI,
        i(0x03, 2, 8, 22, 4),
        STAY,
    ];
    let mut lab = Lab::v9(&program)
        .set(6, 7)
        .set(7, 1 << 3)
        .set(9, 1 << 11)
        .set(20, 0xc00_0000)
        .set(21, 0xc00_2000)
        .set(22, 0xc20_0000);
    assert_eq!(lab.board.run(Until::exit(100)), Stop::Idle);
    lab.board.inject_interrupt(3);
    lab.board.run(Until::exit(10));
    assert_eq!(lab.get(8), 3);
}

#[test]
fn harts_wake_each_other_and_take_turns() {
    // Hart 1 waits for a software interrupt, then stores 1 at DATA; hart 0 sends it and spins until it sees the store.
    let hart1 = [csr(5, 0, 0x304, 8), WFI, s(2, 6, 7, 0), WFI];
    let hart0 = [
        s(2, 6, 5, 4),
        i(0x03, 2, 8, 7, 0),
        b(0, 8, 0, -4),
        SUCCESS[0],
        SUCCESS[1],
        SUCCESS[2],
        SUCCESS[3],
    ];
    let mut program = vec![
        addi(6, 0, 1),
        0x0200_02b7, // lui x5, 0x2000 (CLINT)
        0x8010_03b7, // lui x7, 0x80100 (DATA, sign-extended)
        0x0203_9393, // slli x7, x7, 32
        0x0203_d393, // srli x7, x7, 32
        b(0, 10, 0, 4 * (1 + hart1.len() as i32)),
    ];
    program.extend(hart1);
    program.extend(hart0);
    let run = || {
        let mut board = Board::new(Config {
            harts: 2,
            ..Config::new(image(&program))
        })
        .unwrap();
        assert_eq!(board.run(Until::exit(100_000)), Stop::Exit(0));
        (board.instructions(0), board.instructions(1), board.time())
    };
    let first = run();
    assert_eq!(first, run(), "a run is reproducible to the instruction");
    assert!(first.1 < 100, "a hart in WFI executes nothing: {first:?}");
}

#[test]
fn a_trace_shows_instructions_and_what_they_changed() {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let sink = Rc::clone(&lines);
    let mut lab = Lab::v9(&[addi(3, 0, 5), 0x2101_81db, 0x0001_b203, STAY])
        .set_special(special::DDC, Capability::ROOT.set_address(DATA).set_bounds(16).0);
    lab.board
        .set_trace(move |step| sink.borrow_mut().push(step.to_string()));
    let mut lab = lab.step(3);
    lab.board.clear_trace();
    let lab = lab.step(2);
    assert!(lab.board.instructions(0) > 0);
    let lines = lines.borrow();
    assert_eq!(lines.len(), 3);
    assert!(
        lines[0].contains("addi x3, x0, 5") && lines[0].ends_with("x3=0x5"),
        "{}",
        lines[0]
    );
    assert!(
        lines[2].contains("ld x4, 0(x3)") && lines[2].contains("=> length violation of ddc"),
        "{}",
        lines[2]
    );
}

#[test]
fn a_trap_record_says_what_was_tried_and_by_what() {
    let narrow = Capability::ROOT.set_address(DATA).set_bounds(16).0;
    let lab = Lab::v9(&[i(0x03, 3, 4, 3, 8)])
        .set(3, DATA + 8)
        .set_special(special::DDC, narrow)
        .step(1);
    let record = lab.board.last_trap(0).unwrap();
    assert_eq!(record.culprit, Some(narrow));
    let text = record.to_string();
    assert!(
        text.contains("ld x4, 8(x3) tried to load 8 bytes at 0x80100010 by 0x80100000"),
        "{text}"
    );
}

#[test]
fn a_flipped_tag_makes_the_guest_fault() {
    let program = [s(4, 2, 1, 0), FENCE_I, i(0x0f, 2, 3, 1, 0), 0xfab1_825b];
    let lab = Lab::v9(&program)
        .set(1, DATA)
        .set_capability(2, Capability::ROOT.set_address(DATA));
    assert_eq!(lab.step(4).trap(), None);
    let mut lab = Lab::v9(&program)
        .set(1, DATA)
        .set_capability(2, Capability::ROOT.set_address(DATA))
        .step(2);
    lab.board.memory_mut().set_tag(0x10_0000, false);
    assert_eq!(lab.step(2).capability_fault(), 0x62);
}
