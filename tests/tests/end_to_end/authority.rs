//! The root is gone. Whatever capability there is, in memory or in a register, lies within an entry of the ledger, and none
//! that a cVM holds reaches beyond that cVM's own entries.

use std::collections::BTreeMap;
use std::ops::Range;

use abi::FaultKind;
use abi::manifest::RestartPolicy;
use capability::{Decoded, Permissions};
use machine::Stop;
use tests::report::{LedgerEntry, ledger};
use tests::{Board, Platform, Scenario, code, cvm, on_machine};
use tools::Architecture;
use tools::manifest::{CvmSpec, Restart};

on_machine!(
    the_root_is_gone_after_boot,
    ended_cvms_leave_no_authority_in_registers,
    who_has_ended_leaves_no_authority_in_the_monitor,
    the_scan_finds_what_it_looks_for,
    the_ledger_tells_where_everything_comes_from,
    the_second_line_of_defence_holds_without_the_first,
);

/// The ledger as the console shows it so far, and the frames seen so far.
pub(crate) struct Auditor {
    entries: Vec<LedgerEntry>,
    /// Addresses of the saved registers of each cVM that was seen running.
    frames: BTreeMap<String, Range<u64>>,
}

impl Auditor {
    pub(crate) fn new(board: &Board) -> Auditor {
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

    pub(crate) fn entry(&self, name: &str) -> &Decoded {
        let found = self.entries.iter().find(|entry| entry.name == name);
        &found.unwrap_or_else(|| panic!("no ledger entry {name}")).what
    }

    /// The places outside of the monitor that hold something of an entry: addresses of memory, and the cVMs in whose saved
    /// registers it is.
    pub(crate) fn holders(&self, board: &Board, entry: &str) -> (Vec<u64>, Vec<&str>) {
        let entry = *self.entry(entry);
        let overlaps = |what: &Decoded| what.top > u128::from(entry.base) && u128::from(what.base) < entry.top;
        let tagged = board.tagged_memory().into_iter().filter(|(_, what)| overlaps(what));
        let places: Vec<u64> = tagged.map(|(address, _)| address).collect();
        let frames = self
            .frames
            .iter()
            .filter(|(_, frame)| places.iter().any(|place| frame.contains(place)));
        let frames = frames.map(|(cvm, _)| cvm.as_str()).collect();
        let memory = places.iter().copied().filter(|place| self.owner(*place).is_some());
        (memory.collect(), frames)
    }

    /// Whether some entry other than the root covers a capability.
    fn is_entered(&self, what: &Decoded) -> bool {
        self.entries[1..].iter().any(|entry| what.is_subset_of(&entry.what))
    }

    /// Whether a capability is one that this cVM may hold.
    pub(crate) fn belongs_to(&self, what: &Decoded, cvm: &str) -> bool {
        let parts = ["data", "memory", "code", "service stack", "local area"].map(|part| format!("{cvm} {part}"));
        let mut entries = self.entries.iter().filter(|entry| parts.contains(&entry.name));
        entries.any(|entry| what.is_subset_of(&entry.what))
    }

    /// Whether a capability is one over a buffer, as registers and local areas hold them: local, and for data only.
    fn is_buffer(&self, what: &Decoded) -> bool {
        let mut buffers = self.entries.iter().filter(|entry| entry.name.contains("buffer"));
        buffers.any(|entry| what.is_subset_of(&entry.what))
    }

    /// Whether a local area of this cVM holds an address.
    fn is_local(&self, address: u64, cvm: &str) -> bool {
        let name = format!("{cvm} local area");
        let mut areas = self.entries.iter().filter(|entry| entry.name == name);
        areas.any(|entry| entry.what.in_bounds(address & !15, 16))
    }

    /// The cVM in whose memory an address lies.
    fn owner(&self, address: u64) -> Option<&str> {
        let memory = self.entries.iter().filter_map(|entry| {
            let name = entry
                .name
                .strip_suffix(" data")
                .or(entry.name.strip_suffix(" memory"))?;
            Some((name, &entry.what))
        });
        memory
            .filter(|(name, what)| *name != "monitor" && what.in_bounds(address & !15, 16))
            .map(|(name, _)| name)
            .next()
    }

    /// Everything that should not be there, in words.
    pub(crate) fn violations(&mut self, board: &Board) -> Vec<String> {
        let mut found = Vec::new();
        let mut check = |holds: bool, what: &Decoded, place: String| {
            if !holds {
                found.push(format!("{place} holds {what}"));
            }
        };
        // A core that has never run has nothing: what reset gives it, it gets when it is started.
        for core in (0..board.cores()).filter(|core| board.instructions(*core) > 0) {
            // What only the monitor can reach is not the running cVM's, whatever runs.
            let pc = board.pc(core);
            let running = board
                .in_user_mode(core)
                .then(|| self.owner(pc).expect("a cVM runs in its memory").to_owned());
            if let Some(cvm) = &running {
                self.frames.insert(cvm.clone(), board.saved_registers(core));
            }
            for (register, what) in board.tagged_registers(core) {
                check(
                    self.is_entered(&what),
                    &what,
                    format!("register {register} of core {core}"),
                );
                if let Some(cvm) = running.as_ref().filter(|_| !board.is_privileged(&register)) {
                    check(
                        self.belongs_to(&what, cvm) || self.is_buffer(&what),
                        &what,
                        format!("register {register} of {cvm}"),
                    );
                }
            }
        }
        let monitor = *self.entry("monitor data");
        for (address, what) in board.tagged_memory() {
            check(self.is_entered(&what), &what, format!("memory at {address:#x}"));
            match self.owner(address) {
                Some(cvm) => check(
                    self.belongs_to(&what, cvm) || self.is_local(address, cvm) && self.is_buffer(&what),
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
                if frame.contains(&address) {
                    check(
                        self.belongs_to(&what, cvm) || self.is_buffer(&what),
                        &what,
                        format!("saved register of {cvm} at {address:#x}"),
                    );
                }
            }
        }
        found
    }
}

/// cVMs that compute, sleep, wait for input, store and keep capabilities, and die and come back; four harts.
fn crowd(platform: Platform) -> Scenario {
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
        .member("hoarder", code::hoarder(platform.arch()).to_bytes())
        .harts(4)
}

fn the_root_is_gone_after_boot(platform: Platform) {
    let mut running = crowd(platform).on_board(platform);
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
        let stop = running.board.run(100_003);
        assert_eq!(stop, Stop::Limit, "{}", running.board.console().text());
        modes[usize::from(running.board.in_user_mode(0))] += 1;
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
    let tagged = |range: Range<u64>| {
        let all = running.board.tagged_memory().into_iter();
        all.filter(|(address, _)| range.contains(address)).count()
    };
    let hoard = auditor.entry("hoarder data");
    assert_eq!(tagged(hoard.base..hoard.top as u64), 3);
    assert_eq!(tagged(auditor.frames["hoarder"].clone()), 6, "PCC, DDC and four copies");
}

fn ended_cvms_leave_no_authority_in_registers(platform: Platform) {
    let cvms = [
        cvm("hello", "hello", &[]),
        cvm("rogue", "rogue", &["read-monitor"]),
        cvm("clock", "clock", &["2", "1"]),
    ];
    let mut running = Scenario::new(cvms).on_board(platform);
    running.until("cVMs started");
    let mut auditor = Auditor::new(&running.board);
    for name in ["hello", "rogue", "clock"] {
        run_into(&mut running.board, &auditor, name);
        assert_eq!(auditor.violations(&running.board), Vec::<String>::new(), "in {name}");
    }
    running.until("all cVMs have ended");
    assert_eq!(auditor.violations(&running.board), Vec::<String>::new());
    assert_eq!(auditor.frames.len(), 3);
    for (address, what) in running.board.tagged_memory() {
        let left = auditor.frames.iter().find(|(_, frame)| frame.contains(&address));
        assert!(left.is_none(), "{what} is left at {address:#x}: {left:?}");
    }
}

/// By exit and by fault, with and without a server, of either kind, while others go on.
fn who_has_ended_leaves_no_authority_in_the_monitor(platform: Platform) {
    let client = CvmSpec {
        callback_out: "server".to_owned(),
        ..cvm("client", "caller", &["once"])
    };
    let ended = ["hello", "rogue", "client", "server"];
    let cvms = [
        cvm("server", "server", &["answer"]),
        client,
        cvm("hello", "hello", &[]),
        cvm("rogue", "rogue", &["read-monitor"]),
        cvm("clock", "clock", &["9", "5"]),
    ];
    let mut running = Scenario::new(cvms).on_board(platform);
    running.until("tick 8");
    let board = &running.board;
    let auditor = Auditor::new(board);
    let monitor = auditor.entry("monitor data");
    let mut left = Vec::new();
    let mut own = 0;
    for (address, what) in board.tagged_memory() {
        let of = |name: &&str| {
            let mut parts = auditor
                .entries
                .iter()
                .filter(|entry| entry.name.starts_with(&format!("{name} ")));
            parts.any(|entry| what.is_subset_of(&entry.what))
        };
        if monitor.in_bounds(address & !15, 16) {
            left.extend(
                ended
                    .iter()
                    .filter(|name| of(name))
                    .map(|name| format!("{what} of {name} at {address:#x}")),
            );
            own += usize::from(of(&"clock"));
        }
    }
    assert!(own > 2, "{own}: the one that goes on has its own there");
    assert!(left.is_empty(), "{}\n{}", left.join("\n"), board.console().text());
}

/// Runs to an instruction of a cVM.
fn run_into(board: &mut Board, auditor: &Auditor, cvm: &str) {
    let stop = board.run_into_user_mode(100_000_000, |address| auditor.owner(address) == Some(cvm));
    assert_eq!(stop, Stop::Condition, "{cvm}: {}", board.console().text());
}

fn the_scan_finds_what_it_looks_for(platform: Platform) {
    let mut running = crowd(platform).on_board(platform);
    running.until("cVMs started");
    let mut auditor = Auditor::new(&running.board);
    // On into a cVM, so that its frame is known.
    run_into(&mut running.board, &auditor, "hoarder");
    assert_eq!(auditor.violations(&running.board), Vec::<String>::new());

    let monitor = *auditor.entry("monitor data");
    let own = *auditor.entry("hoarder data");
    let other = *auditor.entry("clock data");
    let root = running.board.root();
    let saved = auditor.frames["hoarder"].start + 16 * 20;
    let nowhere = platform.ram() + 0x07ff_0000;
    let mut plant = |address: u64, what: &Decoded, expected: &[&str]| {
        let memory = running.board.memory();
        let offset = memory.offset(address, 16).unwrap();
        let (low, high, tag) = memory.read_granule(offset);
        running.board.plant(address, what);
        let violations = auditor.violations(&running.board);
        let starts = |(violation, start): (&String, &&str)| violation.starts_with(*start);
        assert!(
            violations.len() == expected.len() && violations.iter().zip(expected).all(starts),
            "{violations:?} instead of {expected:?}"
        );
        running.board.memory_mut().write_granule(offset, low, high, tag);
    };
    plant(monitor.base, &monitor, &[]);
    plant(monitor.base, &root, &["memory at "]);
    plant(own.base, &own, &[]);
    plant(own.base, &monitor, &["memory of hoarder at "]);
    plant(own.base, &other, &["memory of hoarder at "]);
    plant(own.base, &root, &["memory at ", "memory of hoarder at "]);
    plant(saved, &own, &[]);
    plant(saved, &other, &["saved register of hoarder at "]);
    plant(nowhere, &own, &["memory of nobody at "]);

    running.board.plant_in_register(0, 20, &monitor);
    let found = auditor.violations(&running.board);
    assert_eq!(found.len(), 1, "the monitor's authority in a cVM's register: {found:?}");
    running.board.plant_in_register(0, 20, &own);
    assert_eq!(auditor.violations(&running.board), Vec::<String>::new());
    // The last core that runs, parked or not.
    let core = (0..4).rfind(|core| running.board.instructions(*core) > 0).unwrap();
    running.board.plant_in_register(core, 20, &root);
    let found = auditor.violations(&running.board);
    assert!(
        !found.is_empty()
            && found
                .iter()
                .all(|what| what.starts_with("register c20 of ") || what.starts_with("register C20 of ")),
        "{found:?}"
    );
}

fn the_ledger_tells_where_everything_comes_from(platform: Platform) {
    let outcome = Scenario::new([cvm("one", "hello", &[]), cvm("two", "hello", &[])]).boot(platform);
    let entries = outcome.ledger();
    let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
    let devices: &[&str] = match platform.arch() {
        Architecture::CheriRiscv => &["console", "interrupt controller", "power", "timer"],
        Architecture::Morello => &["console", "interrupt controller", "interrupt interface"],
    };
    let cvms = ["one data", "one code", "two data", "two code"];
    let mut found = names[1..1 + devices.len()].to_vec();
    found.sort_unstable();
    assert_eq!((names[0], found.as_slice()), ("root", devices), "{outcome}");
    assert_eq!(
        names[1 + devices.len()..],
        [&["monitor text", "monitor data", "cVM pool", "archive"][..], &cvms].concat(),
        "{outcome}"
    );
    let carved = &entries[1..devices.len() + 5];
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
    for (index, one) in carved.iter().enumerate() {
        for other in &carved[index + 1..] {
            assert!(disjoint(one, other), "{} and {}\n{outcome}", one.name, other.name);
        }
    }
    assert!(
        disjoint(&entries[names.len() - 4], &entries[names.len() - 2]),
        "{outcome}"
    );
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
    // What a cVM could reach if a capability went wrong: the monitor's text and data, and devices.
    // The image is the same: where the pool begins depends on its size.
    let scenario =
        Scenario::new([cvm("reader", "reader", &[])]).member("reader", code::reader(platform.arch()).to_bytes());
    let outcome = scenario.boot(platform);
    for entry in outcome
        .ledger()
        .into_iter()
        .skip(1)
        .filter(|entry| !entry.name.starts_with("reader "))
    {
        // What lies right in front of the pool is nobody's.
        let address = if entry.name == "cVM pool" {
            entry.what.base - 16
        } else {
            entry.what.base
        };
        let mut running = scenario.on_board(platform);
        assert_eq!(running.board.run_into_user_mode(100_000_000, |_| true), Stop::Condition);
        let root = Decoded {
            address,
            ..running.board.root()
        };
        running.board.plant_in_register(0, code::READER_REGISTER, &root);
        let outcome = running.finish();
        outcome.assert_status(1);
        let faults = outcome.faults();
        let [fault] = faults.as_slice() else {
            panic!("{}: one fault expected\n{outcome}", entry.name)
        };
        let (kind, at) = (fault.kind, fault.address);
        assert_eq!(
            (kind, at),
            (FaultKind::Access, Some(address)),
            "{}\n{outcome}",
            entry.name
        );
    }
}
