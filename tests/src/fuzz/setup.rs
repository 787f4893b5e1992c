//! The image that is fuzzed, booted to the first instruction of the fuzzed cVM, and who owns what in it.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::ops::Range;

use abi::Hostcall;
use abi::manifest::RestartPolicy;
use capability::Decoded;
use machine::Stop;
use object::{Object as _, ObjectSegment as _};
use tools::manifest::{CvmSpec, Restart};

use super::board::{LastFault, Raw, Snapshot, decode};
use super::case::{CALLS, Case, Mode, hostcall};
use super::deferring;
use super::family;
use super::programs::{self, Neighbour};
use super::seeds::{Snippets, Sources};
use super::shared;
use super::threads;
use crate::artifacts;
use crate::board::Board;
use crate::platform::Platform;
use crate::report::{LedgerEntry, ledger};
use crate::scenario::{Scenario, cvm};

/// Name of the fuzzed cVM.
pub(super) const SUBJECT: &str = "fuzz";
/// Bytes of a page, and most bytes of a program.
const PAGE: u64 = 4096;
/// Bytes at the end of a gate's stack by which a hybrid function can store local capabilities.
const LOCAL_STACK: u64 = 1024;
/// Bytes of RAM: as few as the image takes, for the sake of the snapshot.
const MEMORY: u64 = 32 << 20;
/// Most instructions until the fuzzed cVM starts.
const BOOT: u64 = 200_000_000;

/// Which image is fuzzed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// A hybrid cVM; the monitor says nothing about its faults.
    Hybrid,
    /// A purecap cVM.
    Purecap,
    /// A hybrid cVM whose hostcalls another cVM serves.
    Served,
    /// A hybrid cVM; every fault is reported in full.
    Talkative,
    /// A hybrid cVM that serves the hostcalls of a client: its programs are handlers that have just been called.
    Serving,
    /// The same with an accomplice, a cVM within it, that has taken what the client lends into a register.
    Family,
    /// A hybrid cVM with a local area, a buffer of its own, and one that its owner takes back again and again.
    Sharing,
    /// The same, which calls a gate.
    Calling,
    /// The same, whose gate is called: its programs are functions that have just been entered, and can call a gate, too.
    Called,
    /// A hybrid cVM with threads, which waits for words with a neighbour.
    Threads,
    /// A hybrid cVM that serves three clients with as many handlers, and answers some of their calls later.
    Deferring,
}

impl Kind {
    /// All of them, with the share of a campaign's instructions in thousandths. Reports cost a lot.
    pub const ALL: [(Kind, u64); 11] = [
        (Kind::Hybrid, 339),
        (Kind::Purecap, 260),
        (Kind::Served, 50),
        (Kind::Talkative, 1),
        (Kind::Serving, 50),
        (Kind::Family, 50),
        (Kind::Sharing, 30),
        (Kind::Calling, 60),
        (Kind::Called, 60),
        (Kind::Threads, 50),
        (Kind::Deferring, 50),
    ];
}

impl Kind {
    /// Whether its hostcalls are followed one by one.
    pub(super) fn is_followed(self) -> bool {
        matches!(self, Kind::Threads | Kind::Deferring)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Kind::Hybrid => "hybrid",
            Kind::Purecap => "purecap",
            Kind::Served => "served",
            Kind::Talkative => "talkative",
            Kind::Serving => "serving",
            Kind::Family => "family",
            Kind::Sharing => "sharing",
            Kind::Calling => "calling",
            Kind::Called => "called",
            Kind::Threads => "threads",
            Kind::Deferring => "deferring",
        })
    }
}

/// A cVM and what is its own.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Its name.
    pub name: String,
    /// Its memory.
    pub memory: Range<u64>,
    /// Where the monitor keeps the registers of its threads while they do not run.
    pub frames: Vec<Range<u64>>,
    /// Every capability that it may hold lies within one of these.
    pub authority: Vec<Decoded>,
    /// The stack of its handler: empty if it serves nobody. It writes nowhere else, and may keep there what it is lent while
    /// a call lasts.
    pub service_stack: Range<u64>,
    /// Its local area and the stacks of its gates: where it may keep what is not its own.
    pub areas: Vec<Range<u64>>,
    /// What it passes by gates for others to write.
    pub gives: Range<u64>,
    /// Of what others may have passed it a local capability over data.
    pub passed: Vec<Range<u64>>,
    /// Code of the owner of a buffer where nobody else holds anything of that.
    pub(super) taken: Range<u64>,
    /// Whether it lies within the fuzzed cVM, which can give it whatever it holds.
    pub within: bool,
    /// What it lends to the fuzzed cVM while it waits for the answer; empty if it has nothing served by it.
    pub lends: Range<u64>,
    /// Its handlers, as far as they are known: where the registers of each are saved, and where it may keep what it is lent.
    pub handlers: Vec<(Range<u64>, Range<u64>)>,
}

impl Owner {
    /// Whether it may hold this capability.
    pub fn may_hold(&self, what: &Decoded) -> bool {
        self.authority.iter().any(|held| what.is_subset_of(held))
    }

    /// Whether it may keep there what is not its own.
    pub(super) fn keeps(&self, address: u64) -> bool {
        self.areas.iter().any(|area| area.contains(&address))
    }
}

/// Who owns what.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The fuzzed cVM.
    pub subject: Owner,
    /// The others.
    pub neighbours: Vec<Owner>,
    /// The ledger without the root.
    pub(super) ledger: Vec<Decoded>,
    /// Data of the monitor.
    pub(super) monitor: Range<u64>,
    /// Text and constants of the monitor and what else of the image nobody may write.
    pub(super) constants: Vec<Range<u64>>,
    /// Words that the neighbours keep to themselves.
    pub(super) secrets: HashSet<u64>,
    /// Where a program goes.
    pub(super) text: Range<u64>,
    /// Buffers, the first of which is the owner's: whoever has them writes them, and no capabilities.
    pub buffers: Vec<Range<u64>>,
    /// What the switcher of gates works on: it writes there, and what it gives others of it is sealed.
    pub gates: Range<u64>,
}

impl Layout {
    /// Whether a neighbour keeps this word to itself.
    pub fn is_secret(&self, word: u64) -> bool {
        // Most words are addresses and small numbers, which no secret is.
        !matches!(word >> 48, 0 | 0xffff) && self.secrets.contains(&word)
    }
}

/// A board that goes back to the first instruction of the fuzzed cVM.
pub struct Setup {
    /// The board's kind.
    pub platform: Platform,
    /// The image's kind.
    pub kind: Kind,
    /// Who owns what.
    pub layout: Layout,
    pub(super) board: Board,
    pub(super) snapshot: Snapshot,
    pub(super) fault: LastFault,
    pub(super) sources: Sources,
    /// Bytes on the console at the snapshot.
    pub(super) printed: usize,
    /// A bug that a test has planted: done to the board before every program.
    plant: Option<Plant>,
}

type Plant = Box<dyn Fn(&mut Board, &Layout)>;

impl Setup {
    /// Boots the image.
    ///
    /// # Panics
    /// It cannot be built, or the fuzzed cVM does not start.
    pub fn boot(platform: Platform, kind: Kind) -> Setup {
        // The ledger is what a talkative monitor prints; where things lie does not depend on what is printed.
        let mut loud = scenario(platform, kind).append("log=info").on_board(platform);
        let frames = start(&mut loud.board, platform, kind, &ledger_of);
        let entries = ledger_of(&loud.board);
        let mut board = match kind {
            Kind::Talkative => loud.board,
            _ => {
                let mut quiet = scenario(platform, kind).append("log=warn").on_board(platform).board;
                let quiet_frames = start(&mut quiet, platform, kind, &|_| entries.clone());
                assert_eq!(frames, quiet_frames, "the layout depends on the log level");
                quiet
            }
        };
        let entry = board.pc(0);
        let mut layout = layout(platform, kind, &entries, &frames, entry);
        if kind == Kind::Purecap {
            layout.subject.authority = purecap_authority(&board, &layout, &entries);
        }
        let sources = sources(platform, kind, &board, &layout, &entries);
        board.begin_coverage(layout.subject.memory.clone());
        let fault = board.note_faults();
        let printed = board.console().output().len();
        let snapshot = board.snapshot();
        let mut setup = Setup {
            platform,
            kind,
            layout,
            board,
            snapshot,
            fault,
            sources,
            printed,
            plant: None,
        };
        if kind == Kind::Served {
            setup.find_handler();
        }
        setup
    }

    /// Makes a call, to learn where the registers of the handler are saved.
    fn find_handler(&mut self) {
        let call = Case::call(self.platform.arch());
        self.load(&call);
        let server = self.layout.neighbours.iter().position(|owner| owner.name == "server");
        let server = &mut self.layout.neighbours[server.expect("a set-up with a server")];
        let memory = server.memory.clone();
        let stop = self.board.run_into_user_mode(BOOT, |pc| memory.contains(&pc));
        assert_eq!(stop, Stop::Condition, "the call does not arrive at the server");
        let frame = self.board.saved_registers(0);
        assert!(!server.frames.contains(&frame), "the handler has a frame of its own");
        server.frames.push(frame);
        let (text, server) = (self.layout.text.clone(), server.memory.clone());
        let stop = self.board.run_into_user_mode(BOOT, |pc| text.contains(&pc));
        let answer = self.board.general(programs::second_value(self.platform.arch()));
        assert_eq!(
            (stop, answer),
            (Stop::Condition, programs::SECOND_VALUE.into()),
            "the server at {server:#x?} does not answer:\n{}",
            self.board.console().text()
        );
    }

    /// Where the neighbours' hostcalls go on that are under way.
    pub(super) fn open_calls(&self) -> BTreeSet<(u64, u64)> {
        let saved = self.layout.neighbours.iter().flat_map(|owner| &owner.frames);
        let saved = saved.map(|frame| (frame.start, self.board.saved_program_counter(frame)));
        let is_call = |(_, pc): &(u64, u64)| {
            let word = self.board.memory().offset(pc.wrapping_sub(4), 4);
            let [_, call] = hostcall(self.platform.arch(), 0);
            word.is_some_and(|word| self.board.memory().read(word) == call.to_le_bytes())
        };
        let calls = saved.flat_map(|(frame, pc)| [(frame, pc), (frame, pc + 4)]);
        calls.filter(is_call).collect()
    }

    /// Plants a bug: from now on this is done to the board before every program.
    pub fn plant(&mut self, bug: impl Fn(&mut Board, &Layout) + 'static) {
        self.plant = Some(Box::new(bug));
    }

    /// Gives the monitor, or the switcher, a bug of its own: from now on there is other code at an address.
    pub fn change_code(&mut self, address: u64, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.board.write_memory(address, &bytes);
        self.snapshot = self.board.snapshot();
    }

    /// The words of memory from an address on that are some of `wanted`, by address.
    pub fn find_code(&self, range: Range<u64>, wanted: impl Fn(u32) -> bool) -> Vec<u64> {
        let memory = self.board.memory();
        let word = |address: &u64| {
            let offset = memory.offset(*address, 4)?;
            Some(u32::from_le_bytes(memory.bytes(offset, 4).try_into().ok()?))
        };
        range
            .step_by(4)
            .filter(|address| word(address).is_some_and(&wanted))
            .collect()
    }

    /// Goes back to the start and puts a case there.
    pub(super) fn load(&mut self, case: &Case) {
        self.board.restore(&self.snapshot);
        self.fault.set(None);
        let bytes: Vec<u8> = case.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.board.write_memory(self.layout.text.start, &bytes);
        for (place, value) in &case.memory {
            // What is lent is held in registers, and not for keeps.
            let what = decode(self.platform.arch(), *value);
            if value.2 && !self.layout.subject.keeps(*place) && !self.layout.subject.may_hold(&what) {
                continue;
            }
            self.write_granule(*place, *value);
        }
        for (number, value) in &case.registers {
            self.board.set_general(*number, *value);
        }
        if case.mode == Mode::Capability {
            self.board.enter_capability_mode();
        }
        if case.passed > 0 {
            self.board.pass(case.passed);
        }
        if let Some(plant) = &self.plant {
            plant(&mut self.board, &self.layout);
        }
    }

    fn write_granule(&mut self, place: u64, (low, high, tag): Raw) {
        let memory = self.board.memory_mut();
        if let Some(offset) = memory.offset(place, 16) {
            memory.write_granule(offset, low, high, tag);
        }
    }
}

/// The neighbours of a set-up, in the order in which they start.
fn neighbours(kind: Kind) -> &'static [(&'static str, Neighbour)] {
    match kind {
        Kind::Served => &[
            ("victim", Neighbour::Victim),
            ("watcher", Neighbour::Watcher),
            ("server", Neighbour::Server),
        ],
        Kind::Serving => &[
            ("victim", Neighbour::Victim),
            ("watcher", Neighbour::Watcher),
            ("client", Neighbour::Client),
        ],
        Kind::Family => &[
            ("victim", Neighbour::Victim),
            ("watcher", Neighbour::Watcher),
            ("accomplice", Neighbour::Accomplice),
            ("client", Neighbour::Client),
        ],
        Kind::Sharing | Kind::Calling | Kind::Called => shared::neighbours(kind),
        Kind::Threads => &[
            ("victim", Neighbour::Victim),
            ("watcher", Neighbour::Watcher),
            ("peer", Neighbour::Peer),
        ],
        Kind::Deferring => &[
            ("victim", Neighbour::Victim),
            ("watcher", Neighbour::Watcher),
            ("first", Neighbour::Client),
            ("second", Neighbour::Client),
            ("third", Neighbour::Client),
        ],
        _ => &[("victim", Neighbour::Victim), ("watcher", Neighbour::Watcher)],
    }
}

fn scenario(platform: Platform, kind: Kind) -> Scenario {
    let arch = platform.arch();
    let neighbour = |(name, which): &(&str, Neighbour)| {
        let spec = CvmSpec {
            priority: 4,
            heap: PAGE,
            stack: PAGE,
            ..cvm(name, name, &[])
        };
        match which {
            // Asks when the subject is ready to serve.
            Neighbour::Client => {
                let spec = CvmSpec {
                    priority: 0,
                    callback_out: SUBJECT.to_owned(),
                    ..spec
                };
                deferring::spec(Some(*which), spec)
            }
            Neighbour::Peer => threads::spec(Some(*which), spec),
            Neighbour::Accomplice => CvmSpec {
                priority: 0,
                callback_out: SUBJECT.to_owned(),
                within: Some(SUBJECT.to_owned()),
                isolation_base: Some(family::inner_base(platform)),
                isolation_size: Some(family::INNER_SIZE),
                ..spec
            },
            _ => shared::spec(kind, Some(*which), spec),
        }
    };
    let subject = CvmSpec {
        priority: 1,
        heap: 4 * PAGE,
        stack: PAGE,
        restart: Restart {
            policy: RestartPolicy::Always,
            limit: 1_000_000,
            delay: 0,
        },
        ..cvm(SUBJECT, SUBJECT, &["an", "argument"])
    };
    let subject = match kind {
        Kind::Served => CvmSpec {
            callback_out: "server".to_owned(),
            ..subject
        },
        Kind::Family => CvmSpec {
            isolation_base: Some(family::outer_base(platform)),
            isolation_size: Some(family::OUTER_SIZE),
            ..subject
        },
        Kind::Threads => threads::spec(None, subject),
        Kind::Deferring => deferring::spec(None, subject),
        _ => shared::spec(kind, None, subject),
    };
    let cvms = neighbours(kind).iter().map(neighbour).chain([subject]);
    let scenario = Scenario::new(cvms.collect::<Vec<_>>()).memory(MEMORY);
    let program = match kind {
        Kind::Family => family::outer(platform),
        Kind::Sharing | Kind::Calling | Kind::Called => shared::subject(platform, kind),
        Kind::Threads => shared::spinning(threads::prelude(platform).code).to_bytes(),
        Kind::Deferring => shared::spinning(deferring::prelude(platform).code).to_bytes(),
        _ => programs::subject(arch, kind == Kind::Purecap, kind == Kind::Serving),
    };
    let scenario = scenario.member(SUBJECT, program);
    neighbours(kind).iter().fold(scenario, |scenario, (name, which)| {
        let program = match which {
            Neighbour::Accomplice => family::accomplice(platform),
            Neighbour::Owner | Neighbour::Callee | Neighbour::Caller | Neighbour::Peer => {
                shared::neighbour(platform, *which, neighbours(kind).len())
            }
            _ => programs::neighbour(arch, *which),
        };
        scenario.member(name, program)
    })
}

fn ledger_of(board: &Board) -> Vec<LedgerEntry> {
    let console = board.console().text();
    let lines: Vec<&str> = console
        .split("\r\n")
        .filter_map(|line| line.strip_prefix("[monitor] "))
        .collect();
    ledger(&lines)
}

/// The memory of a cVM: from the lowest to the highest address that one of its capabilities spans.
fn memory_of(entries: &[LedgerEntry], name: &str) -> Option<Range<u64>> {
    let own = || authority_of(entries, name).into_iter();
    let end = own().map(|what| what.top).max()?;
    Some(own().map(|what| what.base).min()?..u64::try_from(end).ok()?)
}

fn authority_of(entries: &[LedgerEntry], name: &str) -> Vec<Decoded> {
    // What it makes buffers of it does not hold, and of the stacks of its gates only some.
    let own = entries
        .iter()
        .filter(|entry| entry.name.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))
        .filter(|entry| !entry.name.ends_with(" buffers") && !entry.name.ends_with(" gate stacks"));
    let stacks = entries.iter().find(|entry| entry.name == format!("{name} gate stacks"));
    let kept = stacks.into_iter().flat_map(|stacks| {
        let areas = areas_of(entries, name).into_iter();
        let areas = areas.filter(|area| stacks.what.in_bounds(area.start, 1));
        areas.map(|area| Decoded {
            address: area.start,
            base: area.start,
            top: area.end.into(),
            ..stacks.what
        })
    });
    own.map(|entry| entry.what).chain(kept).collect()
}

/// Its local area, and of the stacks of its gates, a page each, the end: where a cVM may keep what is not its own.
fn areas_of(entries: &[LedgerEntry], name: &str) -> Vec<Range<u64>> {
    let named = |what: &str| {
        let wanted = format!("{name} {what}");
        let found = entries.iter().filter(move |entry| entry.name == wanted);
        found.map(|entry| entry.what.base..entry.what.top as u64)
    };
    let stacks = named("gate stacks").flat_map(|stacks| stacks.step_by(PAGE as usize));
    let ends = stacks.map(|stack| stack + PAGE - LOCAL_STACK..stack + PAGE);
    named("local area").chain(ends).collect()
}

/// The buffer of the client: its data lie on the page behind its code, which its stack precedes.
fn lent(entries: &[LedgerEntry], name: &str) -> Range<u64> {
    let code = entries.iter().find(|entry| entry.name == format!("{name} code"));
    let end = code.expect("a cVM that lends, in the ledger").what.top as u64;
    let (offset, size) = programs::LENT;
    end + offset..end + offset + size
}

/// What a purecap cVM may hold: what it holds at its start, and its heap.
fn purecap_authority(board: &Board, layout: &Layout, entries: &[LedgerEntry]) -> Vec<Decoded> {
    let own = authority_of(entries, SUBJECT);
    let kept = |what: &Decoded| {
        entries
            .iter()
            .any(|entry| entry.name == "fuzz memory" && entry.what == *what)
    };
    let memory = *own.iter().find(|what| kept(what)).expect("the memory of a purecap cVM");
    let block = entries.iter().find(|entry| entry.name == "fuzz start block");
    let block = block.expect("the start block of a purecap cVM").what.base;
    let word = |offset: u64| {
        let memory = board.memory();
        let offset = memory.offset(block + offset, 8).expect("the start block in the RAM");
        u64::from_le_bytes(memory.read(offset))
    };
    // `abi::start::StartHeader`.
    let (heap, size) = (word(56), word(64));
    assert!(layout.subject.memory.contains(&heap), "no heap in the start block");
    let heap = Decoded {
        base: heap,
        top: u128::from(heap) + u128::from(size),
        ..memory
    };
    own.into_iter().filter(|what| *what != memory).chain([heap]).collect()
}

/// A thread that was seen before programs begin.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    of: &'static str,
    /// Where its registers are saved.
    frame: Range<u64>,
    /// What of its stack takes what it is lent, if it is a handler.
    area: Range<u64>,
}

impl Seen {
    fn now(board: &Board, of: &'static str) -> Seen {
        Seen {
            of,
            frame: board.saved_registers(0),
            area: 0..0,
        }
    }
}

/// Runs until all have started, the fuzzed one last; where their registers are saved.
fn start(board: &mut Board, platform: Platform, kind: Kind, entries: &dyn Fn(&Board) -> Vec<LedgerEntry>) -> Vec<Seen> {
    let mut frames = Vec::new();
    let names = neighbours(kind).iter().map(|(name, _)| *name);
    let mut order: Vec<&str> = names.chain([SUBJECT]).collect();
    if matches!(kind, Kind::Serving | Kind::Family | Kind::Deferring) {
        // The others call, or lie in wait, as soon as the subject serves.
        order[2..].rotate_right(1);
    }
    if kind == Kind::Called {
        // Its caller has a lesser priority than it.
        order[4..].rotate_right(1);
    }
    let all = order.clone();
    let mut known = (usize::MAX, Vec::new());
    for name in order {
        // The ledger may have grown since the last one has started.
        loop {
            assert_eq!(
                board.run_into_user_mode(BOOT, |_| true),
                Stop::Condition,
                "{name} does not start:\n{}",
                board.console().text()
            );
            // The memory of one that is within another is a part of that one's.
            let printed = board.console().output().len();
            if printed != known.0 {
                known = (printed, entries(board));
            }
            let entries = &known.1;
            let runs = |name: &&str| memory_of(entries, name).filter(|memory| memory.contains(&board.pc(0)));
            let size = |name: &&str| runs(name).map(|memory| memory.end - memory.start);
            let running = all
                .iter()
                .filter(|name| runs(name).is_some())
                .min_by_key(|name| size(name));
            if running == Some(&name) {
                break;
            }
            // On to whoever runs next, at once: nobody's first turn may be missed.
            let left = running.and_then(runs).unwrap_or(0..0);
            let stop = board.run_into_user_mode(BOOT, |pc| !left.contains(&pc));
            assert_eq!(
                stop,
                Stop::Condition,
                "{name} does not start:\n{}",
                board.console().text()
            );
        }
        frames.push(Seen::now(board, name));
    }
    if kind == Kind::Serving {
        let memory = memory_of(&entries(board), SUBJECT).expect("the fuzzed cVM in the ledger");
        let stop = board.run_into_user_mode(BOOT, |pc| memory.contains(&pc));
        assert_eq!(stop, Stop::Condition, "no call arrives:\n{}", board.console().text());
        frames.push(Seen::now(board, SUBJECT));
    }
    if kind == Kind::Family {
        let entries = entries(board);
        let code = entries.iter().rfind(|entry| entry.name == format!("{SUBJECT} code"));
        let text = code.expect("the fuzzed cVM in the ledger").what;
        // Nothing else of the handler is that far behind its entry.
        let stop = board.run_into_user_mode(BOOT, |pc| {
            text.in_bounds(pc, 4) && pc & 0xfff == 4 * family::start(platform) as u64
        });
        assert_eq!(
            stop,
            Stop::Condition,
            "nothing is handed over:\n{}",
            board.console().text()
        );
        frames.push(Seen::now(board, SUBJECT));
    }
    // The places that the subject's threads come by before a program begins, how many are not known before, and where it begins.
    let places = match kind {
        Kind::Threads => {
            let prelude = threads::prelude(platform);
            let workers = prelude.workers.map(|worker| (worker, 1));
            workers.into_iter().chain([(prelude.start, 0)]).collect()
        }
        Kind::Deferring => {
            let prelude = deferring::prelude(platform);
            let handlers = deferring::HANDLERS;
            vec![
                (prelude.waits, handlers),
                (prelude.answers, deferring::THREADS),
                (prelude.start, 0),
            ]
        }
        _ if shared::is(kind) => vec![(4 * shared::start(platform, kind) as i64, 0)],
        _ => Vec::new(),
    };
    let entries = entries(board);
    for (place, unknown) in places {
        let (mut unknown, first): (usize, usize) = (unknown, frames.len());
        let code = entries.iter().rfind(|entry| entry.name == format!("{SUBJECT} code"));
        let text = code.expect("the fuzzed cVM in the ledger").what;
        loop {
            let stop = board.run_into_user_mode(BOOT, |pc| text.in_bounds(pc, 4) && pc & 0xfff == place as u64);
            assert_eq!(
                stop,
                Stop::Condition,
                "nobody comes by {place:#x}:\n{}",
                board.console().text()
            );
            let handler = kind == Kind::Deferring && place == deferring::prelude(platform).waits;
            let seen = Seen {
                area: if handler {
                    board.general_bounds(programs::service_stack(platform.arch()))
                } else {
                    0..0
                },
                ..Seen::now(board, SUBJECT)
            };
            if !frames
                .iter()
                .any(|known: &Seen| (known.of, &known.frame) == (SUBJECT, &seen.frame))
            {
                frames.push(seen);
                unknown = unknown.saturating_sub(1);
            }
            if unknown == 0 {
                break;
            }
        }
        // Who of them comes first hangs on how long a line takes to print.
        frames[first..].sort_by_key(|seen| seen.frame.start);
    }
    frames
}

fn layout(platform: Platform, kind: Kind, entries: &[LedgerEntry], frames: &[Seen], entry: u64) -> Layout {
    let names = neighbours(kind).iter().map(|(name, _)| *name).chain([SUBJECT]);
    let ranges = |wanted: &dyn Fn(&str) -> bool| -> Vec<Range<u64>> {
        let found = entries.iter().filter(|entry| wanted(&entry.name));
        found.map(|entry| entry.what.base..entry.what.top as u64).collect()
    };
    let memory = |name: &str| memory_of(entries, name).unwrap_or_else(|| panic!("no memory of {name} in the ledger"));
    let buffers = ranges(&|entry| entry.ends_with(" buffers"));
    let owners = names.map(|name| Owner {
        areas: areas_of(entries, name),
        passed: match name {
            "owner" | "peer" => vec![buffers[0].clone()],
            SUBJECT if kind == Kind::Threads => buffers.clone(),
            SUBJECT | "callee" | "caller" if shared::is(kind) => {
                let linked = [SUBJECT, "callee", "caller"].into_iter();
                let linked = linked.filter_map(|name| memory_of(entries, name));
                linked.chain(buffers.iter().cloned()).collect()
            }
            _ => Vec::new(),
        },
        taken: match name {
            "owner" => {
                let code = ranges(&|entry| entry == "owner code")[0].end - PAGE;
                let taken = shared::taken(platform);
                code + taken.start..code + taken.end
            }
            _ => 0..0,
        },
        name: name.to_owned(),
        memory: memory(name),
        frames: frames
            .iter()
            .filter(|seen| seen.of == name)
            .map(|seen| seen.frame.clone())
            .collect(),
        authority: match name {
            "accomplice" => [name, SUBJECT]
                .iter()
                .flat_map(|name| authority_of(entries, name))
                .collect(),
            _ => authority_of(entries, name),
        },
        service_stack: entries
            .iter()
            .find(|entry| entry.name == format!("{name} service stack"))
            .map_or(0..0, |entry| entry.what.base..entry.what.top as u64),
        handlers: frames
            .iter()
            .filter(|seen| seen.of == name && !seen.area.is_empty())
            .map(|seen| (seen.frame.clone(), seen.area.clone()))
            .collect(),
        within: name == "accomplice",
        lends: match neighbours(kind).iter().find(|(known, _)| *known == name) {
            Some((_, Neighbour::Client)) => lent(entries, name),
            _ => 0..0,
        },
        gives: match name {
            "callee" | "caller" => lent(entries, name),
            _ => 0..0,
        },
    });
    let mut neighbours: Vec<Owner> = owners.collect();
    let subject = neighbours.pop().expect("the fuzzed cVM has started");
    let named = |name: &str| {
        let found = entries.iter().find(|entry| entry.name == name);
        let what = found.unwrap_or_else(|| panic!("no {name} in the ledger")).what;
        what.base..what.top as u64
    };
    let monitor = &artifacts::built(platform.arch()).monitor;
    let file = object::File::parse(monitor.as_slice()).unwrap_or_else(|error| panic!("monitor: {error}"));
    let constants = file.segments().filter_map(|segment| {
        let object::SegmentFlags::Elf { p_flags } = segment.flags() else {
            return None;
        };
        let writable = p_flags & object::elf::PF_W != 0;
        (!writable).then(|| segment.address()..segment.address() + segment.size())
    });
    Layout {
        subject,
        neighbours,
        ledger: entries[1..].iter().map(|entry| entry.what).collect(),
        monitor: named("monitor data"),
        constants: constants.chain([named("monitor text")]).collect(),
        secrets: programs::secrets(),
        text: entry..entry + PAGE,
        gates: ranges(&|entry| entry == "gates").pop().unwrap_or(0..0),
        buffers,
    }
}

fn sources(platform: Platform, kind: Kind, board: &Board, layout: &Layout, entries: &[LedgerEntry]) -> Sources {
    let memory = &layout.subject.memory;
    let pages = (memory.start..memory.end).step_by(PAGE as usize);
    let neighbours = layout
        .neighbours
        .iter()
        .flat_map(|owner| [owner.memory.start, owner.frames[0].start]);
    let others = entries[1..]
        .iter()
        .map(|entry| entry.what.base)
        .filter(|base| !memory.contains(base));
    let snippets = Snippets::of(kind);
    let shares = snippets != Snippets::None;
    // What gets a program ready stays as it is; half of its local area is found full.
    let pages = pages.filter(|page| !shares || !(page..&(page + PAGE)).contains(&&layout.text.start));
    let areas = layout.subject.areas.iter().map(|area| area.start);
    Sources {
        calls: if shares { Hostcall::Seize as u64 + 2 } else { CALLS },
        snippets,
        arch: platform.arch(),
        bias: if platform.relocates() && kind != Kind::Purecap {
            memory.start
        } else {
            0
        },
        holdings: board.holdings(),
        own: pages.filter(|page| !layout.text.contains(page)).chain(areas).collect(),
        foreign: neighbours.chain(others).collect(),
        text: (layout.text.start, PAGE),
    }
}
