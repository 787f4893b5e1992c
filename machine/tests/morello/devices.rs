use crate::lab::{CODE, DATA, Lab};
use capability::morello::Capability;
use machine::Stop;
use machine::morello::{Board, Config, Kind, Until, Version};

const UART: u64 = 0x0900_0000;

#[test]
fn the_uart_prints_without_any_setup_and_receives() {
    let mut lab = Lab::new(&[
        0x3900_0020, /* strb w0, [x1] */
        0xb940_1822, /* ldr w2, [x1, #24] */
        0xb940_0023, /* ldr w3, [x1] */
        0xb940_1824, /* ldr w4, [x1, #24] */
    ]);
    lab.set(0, u64::from(b'!'));
    lab.set(1, UART);
    lab.board.inject_input(b"k");
    lab.run();
    assert_eq!(lab.board.console().text(), "!");
    assert_eq!((lab.x(2) & 0x10, lab.x(3), lab.x(4) & 0x10), (0, u64::from(b'k'), 0x10));
}

/// Programs the virtual timer for 100 ticks and waits.
const WAIT_FOR_TIMER: &[u32] = &[
    0xd503_42ff, /* msr daifclr, #2 */
    0xd51b_e301, /* msr cntv_tval_el0, x1 */
    0xd51b_e322, /* msr cntv_ctl_el0, x2 */
    0xd503_207f, /* wfi */
    0xd503_201f, /* nop */
    0xd503_201f, /* nop */
];

fn waits_for_timer(gic: Version, setup: &[u32], registers: &[(u8, u64)]) -> Board {
    let enable = [
        0xd2a0_0789, /* movz x9, #0x3c, lsl #16 */
        0xd518_1049, /* msr cpacr_el1, x9 */
        0xd503_3fdf, /* isb */
        0xc288_c00a, /* msr cvbar_el1, c10 */
    ];
    let kernel = enable
        .iter()
        .chain(setup)
        .chain(WAIT_FOR_TIMER)
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let mut board = Board::new(Config {
        gic,
        ..Config::new(kernel)
    })
    .expect("the board");
    board.set_register(0, 10, Capability::ROOT.set_address(DATA));
    for (number, value) in registers {
        board.set_register(0, *number, Capability::from_integer(*value));
    }
    board
}

#[test]
fn the_timer_wakes_a_waiting_core_through_gic_v2() {
    let setup = [
        0xb900_0062, /* str w2, [x3] */
        0xb901_0064, /* str w4, [x3, #0x100] */
        0xb900_04c5, /* str w5, [x6, #4] */
        0xb900_00c2, /* str w2, [x6] */
    ];
    let registers = [
        (1, 100),
        (2, 1),
        (3, 0x0800_0000),
        (4, 1 << 27),
        (5, 0xff),
        (6, 0x0801_0000),
    ];
    let mut board = waits_for_timer(Version::V2, &setup, &registers);
    assert_eq!(board.run_to(DATA + 0x280, 1000), Ok(()));
    assert!(board.time() >= 1600, "100 ticks are 1600 instructions long");
    assert!(board.instructions(0) < 30, "the time was not spent executing");
}

#[test]
fn the_timer_wakes_a_waiting_core_through_gic_v3() {
    let setup = [
        0xb900_0065, /* str w5, [x3] */
        0xb901_00c4, /* str w4, [x6, #0x100] */
        0xb900_80c4, /* str w4, [x6, #0x80] */
        0xd518_4607, /* msr S3_0_C4_C6_0, x7 */
        0xd518_cce2, /* msr S3_0_C12_C12_7, x2 */
    ];
    let registers = [
        (1, 100),
        (2, 1),
        (3, 0x0800_0000),
        (4, 1 << 27),
        (5, 2),
        (6, 0x080b_0000),
        (7, 0xff),
    ];
    let mut board = waits_for_timer(Version::V3, &setup, &registers);
    assert_eq!(board.run_to(DATA + 0x280, 1000), Ok(()));
}

#[test]
fn waiting_for_nothing_ends_the_run() {
    let mut lab = Lab::new(&[0xd503_207f /* wfi */]);
    assert_eq!(lab.board.run(Until::exit(100)), Stop::Idle);
}

#[test]
fn psci_turns_cores_on_and_the_machine_off() {
    let words: &[u32] = &[
        0xd400_0002, /* hvc #0 */
        // CPU_ON, context 7
        0xf940_0085, /* ldr x5, [x4] */
        0xb4ff_ffe5, /* cbz x5, #-4 */
        0xaa06_03e0, /* mov x0, x6 */
        0xd400_0002, /* hvc #0 */
        // SYSTEM_OFF
        0xf900_0020, /* str x0, [x1] */
        // the other core, x0: the context
        0x1400_0000, /* b #0 */
    ];
    let kernel = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut board = Board::new(Config {
        cores: 2,
        ..Config::new(kernel)
    })
    .expect("the board");
    for (number, value) in [
        (0, 0xc400_0003),
        (1, 1),
        (2, 0x4008_0014),
        (3, 7),
        (4, 8 + DATA),
        (6, 0x8400_0008),
    ] {
        board.set_register(0, number, Capability::from_integer(value));
    }
    assert_eq!(board.run_to(0x4008_0014, 100), Ok(()));
    assert_eq!(board.register(1, 0).address(), 7);
    assert_eq!(board.register(0, 0).address(), 0, "success");
    board.set_register(1, 1, Capability::from_integer(DATA + 8));
    assert_eq!(board.run(Until::exit(10_000)), Stop::Exit(0));
}

#[test]
fn semihosting_hands_over_an_exit_status() {
    let mut lab = Lab::new(&[0xd45e_0000 /* hlt #0xf000 */]);
    lab.write(DATA, &[0x2_0026u64.to_le_bytes(), 37u64.to_le_bytes()].concat());
    lab.set(0, 0x18);
    lab.set(1, DATA);
    assert_eq!(lab.board.run(Until::exit(100)), Stop::Exit(37));
}

#[test]
fn empty_virtio_slots_say_so() {
    let mut lab = Lab::new(&[
        0xb940_0020, /* ldr w0, [x1] */
        0xb940_0822, /* ldr w2, [x1, #8] */
    ]);
    lab.set(1, 0x0a00_3e00);
    lab.run();
    assert_eq!((lab.x(0), lab.x(2)), (0x7472_6976, 0));
}

/// A minimal ELF file: one segment with `words` at `address`.
fn elf(address: u64, words: &[u32]) -> Vec<u8> {
    let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for half in [2u16, 183] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1u32.to_le_bytes());
    for word in [address, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    for word in [1u32, 5] {
        file.extend(word.to_le_bytes());
    }
    for word in [120, address, address, code.len() as u64, code.len() as u64, 4] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file
}

#[test]
fn the_tube_prints_and_its_end_mark_decides_the_status() {
    let words = [
        0x3840_1402, /* ldrb w2, [x0], #1 */
        0x3900_0022, /* strb w2, [x1] */
        0x17ff_fffe, /* b #-8 */
    ];
    for (text, status) in [("OK\n\u{4}", 0), ("FAILED\n\u{4}", 1)] {
        let config = Config {
            kind: Kind::Bare,
            ..Config::new(elf(0x1030_0000, &words))
        };
        let mut board = Board::new(config).expect("the board");
        board.write_memory(0x1000, text.as_bytes()).expect("RAM");
        board.set_register(0, 0, Capability::from_integer(0x1000));
        board.set_register(0, 1, Capability::from_integer(0x1300_0000));
        assert_eq!(board.exception_level(0), 3);
        assert_eq!(board.run(Until::exit(1000)), Stop::Exit(status));
        assert_eq!(board.console().text(), text.trim_end_matches('\u{4}'));
    }
}

#[test]
fn code_that_is_overwritten_is_decoded_again() {
    let mut lab = Lab::new(&[
        0xd280_0020, /* movz x0, #1 */
        0xb900_0041, /* str w1, [x2] */
        0x17ff_fffe, /* b #-8 */
    ]);
    lab.set(1, 0xd280_0040 /* movz x0, #2 */);
    lab.set(2, CODE);
    assert_eq!(lab.board.run(Until::exit(4)), Stop::Limit);
    assert_eq!(lab.x(0), 2);
}
