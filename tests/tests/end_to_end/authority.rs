//! The root is gone. Whatever capability there is, in memory or in a register, lies within an entry of the ledger, and none
//! that a cVM holds reaches beyond that cVM's own entries.

use std::collections::BTreeMap;

use abi::FaultKind;
use abi::manifest::RestartPolicy;
use capability::Decoded;
use capability::riscv::Capability;
use machine::Stop;
use machine::riscv::{Board, Privilege, Until, special};
use tests::report::{LedgerEntry, ledger};
use tests::{Platform, Scenario, code, cvm, on_machine};
use tools::manifest::{CvmSpec, Restart};

on_machine!(
    the_root_is_gone_after_boot,
    the_scan_finds_what_it_looks_for,
    the_ledger_tells_where_everything_comes_from,
    the_second_line_of_defence_holds_without_the_first,
);

/// Granules at the start of a saved register frame that belong to the thread: the program counter, c1 to c31, DDC. The
/// two behind them are the monitor's.
const FRAME_REGISTERS: u64 = 33;

/// The ledger as the console shows it so far, and the frames seen so far.
struct Auditor {
    entries: Vec<LedgerEntry>,
    /// Address of the register frame of each cVM that was seen running.
    frames: BTreeMap<String, u64>,
}

impl Auditor {
    fn new(board: &Board) -> Auditor {
        let console = board.console().text();
        let lines: Vec<&str> = console
            .split("\r\n")
            .filter_map(|line| line.strip_prefix("[monitor] "))
            .collect();
        let entries = ledger(&lines);
        assert_eq!(entries[0].name, "root");
        assert_eq!(
            entries.iter().map(|entry| entry.index).collect::<Vec<_>>(),
            (0..entries.len()).collect::<Vec<_>>()
        );
        Auditor {
            entries,
            frames: BTreeMap::new(),
        }
    }

    fn entry(&self, name: &str) -> &Decoded {
        let found = self.entries.iter().find(|entry| entry.name == name);
        &found.unwrap_or_else(|| panic!("no ledger entry {name}")).what
    }

    /// Whether some entry other than the root covers a capability.
    fn is_entered(&self, what: &Decoded) -> bool {
        self.entries[1..].iter().any(|entry| what.is_subset_of(&entry.what))
    }

    /// Whether a capability is one that this cVM may hold.
    fn belongs_to(&self, what: &Decoded, cvm: &str) -> bool {
        what.is_subset_of(self.entry(&format!("{cvm} data"))) || what.is_subset_of(self.entry(&format!("{cvm} code")))
    }

    /// The cVM in whose memory an address lies.
    fn owner(&self, address: u64) -> Option<&str> {
        let memory = self
            .entries
            .iter()
            .filter_map(|entry| Some((entry.name.strip_suffix(" data")?, &entry.what)));
        memory
            .filter(|(name, what)| *name != "monitor" && what.in_bounds(address, 16))
            .map(|(name, _)| name)
            .next()
    }

    /// Everything that should not be there, in words.
    fn violations(&mut self, board: &Board) -> Vec<String> {
        let mut found = Vec::new();
        let mut check = |holds: bool, what: &Decoded, place: String| {
            if !holds {
                found.push(format!("{place} holds {what}"));
            }
        };
        for core in 0..board.cores() {
            // In U mode the registers are a cVM's; the machine's own special registers are out of its reach.
            let running = (board.privilege(core) == Privilege::User).then(|| {
                let code = board.special_register(core, special::PCC).decode();
                self.owner(code.base).expect("PCC in the memory of a cVM").to_owned()
            });
            if let Some(cvm) = &running {
                let frame = board.special_register(core, special::MSCRATCHC).decode();
                self.frames.insert(cvm.clone(), frame.base);
            }
            for (register, capability) in board.tagged_registers(core) {
                let what = capability.decode();
                check(
                    self.is_entered(&what),
                    &what,
                    format!("register {register} of hart {core}"),
                );
                if let Some(cvm) = running.as_ref().filter(|_| !is_machine_register(&register)) {
                    check(
                        self.belongs_to(&what, cvm),
                        &what,
                        format!("register {register} of {cvm}"),
                    );
                }
            }
        }
        let monitor = *self.entry("monitor data");
        for (address, capability) in board.tagged_capabilities() {
            let what = capability.decode();
            check(self.is_entered(&what), &what, format!("memory at {address:#x}"));
            match self.owner(address) {
                Some(cvm) => check(
                    self.belongs_to(&what, cvm),
                    &what,
                    format!("memory of {cvm} at {address:#x}"),
                ),
                None => check(
                    monitor.in_bounds(address, 16),
                    &what,
                    format!("memory of nobody at {address:#x}"),
                ),
            }
            for (cvm, frame) in &self.frames {
                if (*frame..frame + FRAME_REGISTERS * 16).contains(&address) {
                    check(
                        self.belongs_to(&what, cvm),
                        &what,
                        format!("saved register of {cvm} at {address:#x}"),
                    );
                }
            }
        }
        found
    }
}

/// Registers that only machine mode can reach.
fn is_machine_register(name: &str) -> bool {
    ["mtcc", "mtdc", "mscratchc", "mepcc"].contains(&name.to_ascii_lowercase().as_str())
}

/// cVMs that compute, sleep, wait for input, store and keep capabilities, and die and come back; four harts.
fn crowd() -> Scenario {
    let always = Restart {
        policy: RestartPolicy::Always,
        limit: 1000,
        delay: 0,
    };
    let phoenix = CvmSpec {
        restart: always,
        ..cvm("phoenix", "rogue", &["illegal"])
    };
    let cvms = [
        cvm("hello", "hello", &[]),
        cvm("clock", "clock", &["40", "3"]),
        cvm("spinner", "spinner", &["0"]),
        cvm("hoarder", "hoarder", &[]),
        cvm("echo", "echo", &[]),
        phoenix,
    ];
    Scenario::new(cvms)
        .member("hoarder", code::hoarder().to_bytes())
        .harts(4)
}

fn the_root_is_gone_after_boot(platform: Platform) {
    let mut running = crowd().on_board(platform);
    running.until("cVMs started");
    let mut auditor = Auditor::new(&running.board);
    assert_eq!(
        auditor.violations(&running.board),
        Vec::<String>::new(),
        "when the boot is over"
    );
    for name in ["spinner", "hoarder", "phoenix", "clock"] {
        run_into(&mut running.board, &auditor, name);
        assert_eq!(auditor.violations(&running.board), Vec::<String>::new(), "in {name}");
    }
    let mut modes = [0, 0];
    // A prime step meets the monitor and the cVMs at ever other places.
    for step in 0..400 {
        let stop = running.board.run(Until::exit(100_003));
        assert_eq!(stop, Stop::Limit, "{}", running.board.console().text());
        modes[usize::from(running.board.privilege(0) == Privilege::User)] += 1;
        let violations = auditor.violations(&running.board);
        assert_eq!(
            violations,
            Vec::<String>::new(),
            "step {step}:\n{}",
            running.board.console().text()
        );
    }
    assert!(
        modes.iter().all(|count| *count > 10),
        "in the monitor, in cVMs: {modes:?}"
    );
    // What the scan said is worth something: the hoarder's copies were there to be found, in memory and saved registers.
    let tagged = |start: u64, end: u64| {
        let all = running.board.tagged_capabilities();
        all.filter(|(address, _)| (start..end).contains(address)).count()
    };
    let hoard = auditor.entry("hoarder data");
    assert_eq!(tagged(hoard.base, hoard.top as u64), 3);
    let frame = auditor.frames["hoarder"];
    assert!(
        tagged(frame, frame + FRAME_REGISTERS * 16) >= 6,
        "PCC, DDC and four copies"
    );
}

/// Runs to an instruction of a cVM.
fn run_into(board: &mut Board, auditor: &Auditor, cvm: &str) {
    let mut inside = |board: &Board| board.privilege(0) == Privilege::User && auditor.owner(board.pc(0)) == Some(cvm);
    let until = Until {
        condition: Some(&mut inside),
        ..Until::exit(100_000_000)
    };
    assert_eq!(board.run(until), Stop::Condition, "{cvm}: {}", board.console().text());
}

fn the_scan_finds_what_it_looks_for(platform: Platform) {
    let mut running = crowd().on_board(platform);
    running.until("cVMs started");
    let mut auditor = Auditor::new(&running.board);
    // On into a cVM, so that its frame is known.
    run_into(&mut running.board, &auditor, "hoarder");
    assert_eq!(auditor.violations(&running.board), Vec::<String>::new());

    let monitor = *auditor.entry("monitor data");
    let own = *auditor.entry("hoarder data");
    let other = *auditor.entry("clock data");
    let frame = auditor.frames["hoarder"];
    let over = |what: &Decoded| {
        Capability::ROOT
            .restrict(what.base, what.length() as u64, what.permissions, true)
            .unwrap()
    };
    let mut plant = |address: u64, capability: Capability, expected: &[&str]| {
        let memory = running.board.memory_mut();
        let offset = memory.offset(address, 16).unwrap();
        let (low, high, tag) = memory.read_granule(offset);
        let (new_low, new_high) = capability.to_memory();
        memory.write_granule(offset, new_low, new_high, true);
        let violations = auditor.violations(&running.board);
        let starts = |(violation, start): (&String, &&str)| violation.starts_with(*start);
        assert!(
            violations.len() == expected.len() && violations.iter().zip(expected).all(starts),
            "{violations:?} instead of {expected:?}"
        );
        running.board.memory_mut().write_granule(offset, low, high, tag);
    };
    plant(monitor.base, over(&monitor), &[]);
    plant(monitor.base, Capability::ROOT, &["memory at "]);
    plant(own.base, over(&own), &[]);
    plant(own.base, over(&monitor), &["memory of hoarder at "]);
    plant(own.base, over(&other), &["memory of hoarder at "]);
    plant(own.base, Capability::ROOT, &["memory at ", "memory of hoarder at "]);
    plant(frame + 16 * 20, over(&own), &[]);
    plant(frame + 16 * 20, over(&other), &["saved register of hoarder at "]);
    plant(0x87ff_0000, over(&own), &["memory of nobody at "]);

    running.board.set_register(0, 30, over(&monitor));
    assert_eq!(
        auditor.violations(&running.board).len(),
        1,
        "the monitor's authority in a cVM's register"
    );
    running.board.set_register(0, 30, Capability::NULL);
    running
        .board
        .set_special_register(3, special::SSCRATCHC, Capability::ROOT);
    assert_eq!(
        auditor.violations(&running.board).len(),
        1,
        "the root in a parked hart's register"
    );
}

fn the_ledger_tells_where_everything_comes_from(platform: Platform) {
    let outcome = Scenario::new([cvm("one", "hello", &[]), cvm("two", "hello", &[])]).boot(platform);
    let entries = outcome.ledger();
    let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
    let expected = [
        "root",
        "console",
        "timer",
        "interrupt controller",
        "power",
        "monitor text",
        "monitor data",
        "cVM pool",
        "one data",
        "one code",
        "two data",
        "two code",
    ];
    assert_eq!(names, expected, "{outcome}");
    assert!(
        outcome
            .monitor()
            .iter()
            .any(|line| line.starts_with("root capability destroyed")),
        "{outcome}"
    );
    for entry in &entries[1..] {
        // Nothing is greater than what it was derived from, and the parent comes before the child.
        let parent = entry.parent.filter(|parent| *parent < entry.index);
        let parent = &entries[parent.unwrap_or_else(|| panic!("{}: no parent\n{outcome}", entry.name))];
        assert!(
            entry.what.is_subset_of(&parent.what),
            "{} and {}\n{outcome}",
            entry.name,
            parent.name
        );
        assert!(
            entry.what.tag && !entry.what.seal.is_sealed(),
            "{}\n{outcome}",
            entry.name
        );
    }
    let disjoint = |one: &LedgerEntry, other: &LedgerEntry| {
        one.what.top <= u128::from(other.what.base) || other.what.top <= u128::from(one.what.base)
    };
    for (index, one) in entries[1..8].iter().enumerate() {
        for other in &entries[1..8][index + 1..] {
            assert!(disjoint(one, other), "{} and {}\n{outcome}", one.name, other.name);
        }
    }
    assert!(disjoint(&entries[8], &entries[10]), "{outcome}");
    use capability::Permissions;
    let system = Permissions::SYSTEM | Permissions::EXECUTIVE | Permissions::SEAL | Permissions::UNSEAL;
    for entry in entries
        .iter()
        .filter(|entry| entry.name.starts_with("one ") || entry.name.starts_with("two "))
    {
        assert!(!entry.what.permissions.intersects(system), "{}\n{outcome}", entry.name);
        let writes = entry.what.permissions.contains(Permissions::STORE);
        let executes = entry.what.permissions.contains(Permissions::EXECUTE);
        assert!(
            writes != executes,
            "{} is writable or executable\n{outcome}",
            entry.name
        );
    }
}

fn the_second_line_of_defence_holds_without_the_first(platform: Platform) {
    // The monitor's text and data, and devices; what a cVM could do if a capability went wrong.
    for address in [0x8000_0000, 0x8001_6000, 0x1000_0000, 0x0200_0000, 0x0010_0000] {
        let mut running = Scenario::new([cvm("reader", "reader", &[])])
            .member("reader", code::reader(address).to_bytes())
            .on_board(platform);
        let mut in_user_mode = |board: &Board| board.privilege(0) == Privilege::User;
        let until = Until {
            condition: Some(&mut in_user_mode),
            ..Until::exit(100_000_000)
        };
        assert_eq!(running.board.run(until), Stop::Condition);
        running.board.set_special_register(0, special::DDC, Capability::ROOT);
        let outcome = running.finish();
        outcome.assert_status(1);
        let faults = outcome.faults();
        let [fault] = faults.as_slice() else {
            panic!("one fault expected\n{outcome}")
        };
        assert_eq!(
            (fault.kind, fault.address),
            (FaultKind::Access, Some(address.into())),
            "{outcome}"
        );
    }
}
