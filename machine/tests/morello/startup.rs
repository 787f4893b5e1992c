use capability::morello::Capability;
use machine::Stop;
use machine::morello::{Board, BuildError, Config, Firmware, Kind, Special, Until, Version};

/// An arm64 Image of one page.
fn image(text_offset: u64, size: u64) -> Vec<u8> {
    let mut bytes = vec![0u8; 4096];
    bytes[8..16].copy_from_slice(&text_offset.to_le_bytes());
    bytes[16..24].copy_from_slice(&size.to_le_bytes());
    bytes[0x38..0x3c].copy_from_slice(b"ARM\x64");
    bytes
}

fn pc(kernel: Vec<u8>) -> u64 {
    Board::new(Config::new(kernel)).expect("the board").pc(0)
}

#[test]
fn images_are_placed_as_their_header_asks() {
    assert_eq!(pc(image(0, 0x1000)), 0x4020_0000);
    assert_eq!(pc(image(0x20_0000, 0x1000)), 0x4020_0000);
    assert_eq!(pc(image(0x30_0000, 0x1000)), 0x4030_0000);
    assert_eq!(pc(image(0x30_0000, 0)), 0x4008_0000, "a header without a size");
    assert_eq!(pc(vec![0; 16]), 0x4008_0000);
}

#[test]
fn x0_points_to_the_device_tree_behind_the_initial_ram_disk() {
    let config = Config {
        memory: 1 << 30,
        initrd: Some(vec![0xaa; 5000]),
        append: "loglevel=debug".to_owned(),
        ..Config::new(image(0, 0x1000))
    };
    let board = Board::new(config).expect("the board");
    assert_eq!(board.register(0, 0).address(), 0x4820_0000);
    assert_eq!(board.read_memory(0x4800_0000, 4), Some(&[0xaa; 4][..]));
    let tree = board.read_memory(0x4820_0000, 0x4000).expect("RAM");
    assert_eq!(tree[..4], [0xd0, 0x0d, 0xfe, 0xed]);
    let contains = |text: &[u8]| tree.windows(text.len()).any(|window| window == text);
    assert!(contains(b"loglevel=debug\0") && contains(b"linux,initrd-start\0") && contains(b"arm,morello\0"));
    assert!(contains(b"/pl011@9000000\0") && contains(b"arm,cortex-a15-gic\0") && contains(b"hvc\0"));
    let without = Board::new(Config {
        memory: 1 << 30,
        ..Config::new(image(0, 0x1000))
    })
    .expect("the board");
    assert_eq!(without.register(0, 0).address(), 0x4800_0000);
}

#[test]
fn every_start_has_the_root_in_pcc_and_the_ddcs_and_nowhere_else() {
    for (virtualization, el) in [(false, 1), (true, 2)] {
        let config = Config {
            virtualization,
            gic: Version::V3,
            ..Config::new(vec![0; 4])
        };
        let board = Board::new(config).expect("the board");
        assert_eq!(board.exception_level(0), el);
        let mut names: Vec<String> = board.tagged_registers(0).map(|(name, _)| name).collect();
        names.retain(|name| name != "DDC_EL2");
        assert_eq!(names, ["PCC", "DDC_EL0", "DDC_EL1", "RDDC_EL0"]);
        let pcc = board.special_register(0, Special::Pcc);
        assert_eq!(pcc, Capability::ROOT.set_address(0x4008_0000));
        assert_eq!(board.tagged_capabilities().count(), 0);
        assert_eq!(board.pstate(0) & 0x3cf, 0x3c1 | u32::from(el) << 2);
    }
}

#[test]
fn unsuitable_configurations_are_named() {
    let memory = Board::new(Config {
        memory: 12345,
        ..Config::new(vec![])
    });
    assert!(matches!(memory, Err(BuildError::Memory(12345))));
    assert!(matches!(
        Board::new(Config {
            cores: 9,
            ..Config::new(vec![])
        }),
        Err(BuildError::Cores(9))
    ));
    let secure = Board::new(Config {
        secure: true,
        ..Config::new(image(0, 0x1000))
    });
    assert!(matches!(secure, Err(BuildError::SecureImage(name)) if name == "kernel"));
}

#[test]
fn two_runs_of_the_same_board_are_equal_to_the_instruction() {
    let words: [u32; 6] = [
        0xd53b_e040, /* mrs x0, cntvct_el0 */
        0x8b00_0021, /* add x1, x1, x0 */
        0xf13f_fc3f, /* cmp x1, #4095 */
        0x54ff_ffa3, /* b.lo #-12 */
        0xd53b_e022, /* mrs x2, cntpct_el0 */
        0x1400_0000, /* b #0 */
    ];
    let run = || {
        let kernel = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut board = Board::new(Config::new(kernel)).expect("the board");
        board.run_to(0x4008_0014, 100_000).expect("the end");
        (board.register(0, 1), board.register(0, 2), board.total_instructions())
    };
    assert_eq!(run(), run());
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn the_morello_soc_starts_at_el2_with_its_own_map() {
    let config = Config {
        kind: Kind::MorelloSoc,
        cores: 4,
        memory: 3 << 30,
        ..Config::new(image(0, 0x1000))
    };
    let board = Board::new(config).expect("the board");
    assert_eq!((board.pc(0), board.exception_level(0)), (0x8020_0000, 2));
    assert_eq!(board.memory().size(), 0x7f00_0000, "the end is the secure firmware's");
    assert_eq!(board.read_memory(0x80_8000_0000, 4), Some(&[0; 4][..]));
    assert_eq!(board.read_memory(0x80_8000_0000 + 0x4100_0000, 1), None);
    let tree = board
        .read_memory(board.register(0, 0).address(), 0x1000)
        .expect("the device tree");
    let contains = |text: &[u8]| tree.windows(text.len()).any(|window| window == text);
    assert!(contains(b"arm,morello\0") && contains(b"uart@2a400000\0") && contains(b"memory@8080000000\0"));
    assert!(contains(b"cpu3@10100\0") && contains(b"smc\0") && contains(b"secure-firmware@ff000000\0"));
}

#[test]
fn the_morello_soc_has_its_uart_affinities_and_frequency() {
    let kernel = words(&[
        0xd2a5_4800, /* movz x0, #0x2a40, lsl #16 */
        0x5280_0821, /* movz w1, #0x41 */
        0xb900_0001, /* str w1, [x0] */
        0xd538_00a2, /* mrs x2, mpidr_el1 */
        0xd53b_e003, /* mrs x3, cntfrq_el0 */
        0xd2a1_2000, /* movz x0, #0x0900, lsl #16 */
        0xb900_0001, /* str w1, [x0]: nothing there */
    ]);
    let mut board = Board::new(Config {
        kind: Kind::MorelloSoc,
        ..Config::new(kernel)
    })
    .expect("the board");
    board.run_to(0x8008_0018, 100).expect("the last store");
    assert_eq!(board.console().text(), "A");
    assert_eq!(board.register(0, 2).address(), 0x8100_0000);
    assert_eq!(board.register(0, 3).address(), 50_000_000);
    board.run(Until::exit(1));
    let exception = board.last_exception(0).expect("an abort");
    assert_eq!((exception.to, exception.far), (2, Some(0x0900_0000)));
}

#[test]
fn firmware_of_the_morello_soc_needs_ddc_el0() {
    let call = [
        0x52b0_8000, /* movz w0, #0x8400, lsl #16 */
        0x7280_0100, /* movk w0, #8 */
        0xd400_0003, /* smc #0 */
    ];
    let run = |first: &[u32]| {
        let config = Config {
            kind: Kind::MorelloSoc,
            ..Config::new(words(&[first, &call].concat()))
        };
        Board::new(config).expect("the board").run(Until::exit(100))
    };
    assert_eq!(run(&[]), Stop::Exit(0), "as it is at reset");
    let without = run(&[0xc288_413f /* msr ddc_el0, czr */]);
    assert!(matches!(&without, Stop::Firmware(what) if what.starts_with("the firmware at EL3 works with DDC_EL0")));
}

#[test]
fn the_morello_soc_refuses_what_it_cannot_be() {
    let soc = |change: fn(&mut Config)| {
        let mut config = Config {
            kind: Kind::MorelloSoc,
            ..Config::new(vec![0; 64])
        };
        change(&mut config);
        Board::new(config).err().expect("refused").to_string()
    };
    assert_eq!(
        soc(|config| config.cores = 5),
        "5 cores asked for; the Morello SoC has 1 to 4"
    );
    let secure = "the Morello SoC starts below EL3, which is its firmware's; expected no --secure";
    assert_eq!(soc(|config| config.secure = true), secure);
    let message = "firmware: kernel: not an EFI application for arm64";
    assert_eq!(soc(|config| config.firmware = Firmware::Efi), message);
}
