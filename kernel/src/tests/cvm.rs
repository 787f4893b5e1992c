//! What a cVM is made of when it is loaded: memory, registers, capabilities.

use super::build::*;
use super::purecap::*;
use super::stored;
use crate::authority::ledger::Ledger;
use crate::cvm::Cvm;
use crate::plan::manifest::CvmSpec;
use crate::plan::placement::place_all;
use abi::Errno;
use abi::start::StartHeader;
use arch::{Frame, Slot, stand_in, user};
use capability::{Decoded, Permissions};
use std::ops::Range;

pub(super) const POOL_START: u64 = 0x8040_0000;
pub(super) const POOL_END: u64 = 0x8080_0000;

/// What the manifest says of a cVM when it says nothing but its name and its program.
pub(super) fn spec(name: &str, runtime: &str) -> CvmSpec {
    CvmSpec {
        name: name.into(),
        runtime: runtime.into(),
        stack: 0x4000,
        wait: -1,
        service_stack: 0x2000,
        handlers: 1,
        families: u32::MAX,
        ..CvmSpec::default()
    }
}

fn ledger() -> Ledger {
    let mut ledger = Ledger::new(arch::root());
    super::opened(&mut ledger);
    ledger
}

/// Places cVMs, all of one program.
fn placed(specs: Vec<CvmSpec>, elf: Vec<u8>) -> Vec<Cvm> {
    let elf = stored(&elf);
    place_all(specs, |_| elf, &mut super::opened(&mut Ledger::new(arch::root()))).unwrap()
}

/// A cVM of this program, placed.
fn alone(elf: Vec<u8>) -> Cvm {
    let heap = CvmSpec {
        heap: 5000,
        ..spec("alone", "program")
    };
    placed(vec![heap], elf).pop().unwrap()
}

/// Loads a cVM; returns the frame it starts with.
fn load(cvm: &mut Cvm) -> Box<Frame> {
    let mut ledger = ledger();
    load_in(cvm, &mut ledger)
}

fn load_in(cvm: &mut Cvm, ledger: &mut Ledger) -> Box<Frame> {
    let frame = Frame::boxed(&cvm.stock.slot).unwrap();
    if cvm.entries == Ledger::ROOT {
        cvm.enter(ledger).unwrap();
    }
    cvm.begin(ledger, 0).unwrap();
    while cvm.loading.is_some() {
        cvm.load(&frame).unwrap();
    }
    frame
}

fn register(frame: &Frame, name: &str) -> Decoded {
    frame.registers().find(|(other, _)| *other == name).unwrap().1
}

/// Asserts bounds, permissions and address of a capability.
fn assert_is(what: &Decoded, range: Range<u64>, permissions: Permissions, address: u64) {
    assert!(what.tag, "{what}");
    assert_eq!((what.base, what.top), (range.start, u128::from(range.end)), "{what}");
    assert_eq!((what.permissions, what.address), (permissions, address), "{what}");
}

/// A program with a relocation of every kind, and TLS.
fn every_kind() -> Purecap {
    let kind = |kind| kind_of(kind);
    let mut elf = Purecap {
        relative: vec![
            [0x4000, kind(arch::Relocation::Relative), 0x4008],
            [0x3000, kind(arch::Relocation::Symbol) | 1 << 32, 0],
            [0x3020, kind(arch::Relocation::Fragment), 4],
        ],
        procedures: vec![[0x3040, kind(arch::Relocation::Symbol) | 2 << 32, 8]],
        capabilities: vec![
            [0x4020, 0x1010, 4, 0x20, CONSTANT],
            [0x4030, 0, 9, 0, 0],
            [0x4ff0, 0x2010, 0, 4, FUNCTION],
        ],
        ..Purecap::new()
    };
    elf.pokes.push((0x460, words(&[0x4010, 0x20 | 2 << 56])));
    elf.pokes.push((0x4e8, words(&[u64::MAX])));
    elf.headers.push([TLS, 4, 0x4c0, 0x4000, 8, 0x18]);
    elf
}

#[test]
fn a_purecap_cvm_starts_with_capabilities_for_its_parts_and_nothing_else() {
    let mut cvm = alone(every_kind().bytes());
    let frame = load(&mut cvm);
    let memory = cvm.memory();
    let at = |part: &Range<u64>| memory.start + part.start..memory.start + part.end;
    let layout = cvm.layout.clone();
    let origin = memory.start.wrapping_add(layout.bias);
    let code = register(&frame, "pc");
    assert_is(
        &code,
        origin + 0x1000..origin + 0x4000,
        arch::code_permissions(),
        origin + 0x2004,
    );
    assert!(code.capability_mode, "{code}");
    let stack = at(&layout.stack);
    assert_is(
        &register(&frame, "stack"),
        stack.clone(),
        arch::data_permissions(),
        stack.end,
    );
    let tls = at(&layout.tls);
    assert_eq!(tls.end - tls.start, 0x18 + arch::TLS_OFFSET[0]);
    assert_is(
        &register(&frame, "thread"),
        tls.clone(),
        arch::data_permissions(),
        tls.start,
    );
    let block = at(&layout.start_block);
    assert_is(
        &register(&frame, "a0"),
        block.clone(),
        arch::read_only_permissions(),
        block.start,
    );
    assert_eq!(frame.argument(1), cvm.block.len() as u64);
    let tagged = frame.registers().filter(|(_, what)| what.tag).map(|(name, _)| name);
    let mut tagged: Vec<&str> = tagged.collect();
    tagged.sort_unstable();
    assert_eq!(tagged, ["a0", "pc", "stack", "thread"], "no data capability");
    let parts = [
        &layout.stack,
        &layout.program,
        &layout.tls,
        &layout.start_block,
        &layout.heap,
    ];
    for pair in parts.windows(2) {
        assert!(pair[0].end <= pair[1].start, "{layout:x?}");
    }
    let header: [u8; StartHeader::SIZE] = stand_in::memory(block.start, StartHeader::SIZE).try_into().unwrap();
    assert_eq!(StartHeader::from_bytes(&header).unwrap().base, memory.start, "absolute");
    assert!(!arch::data_permissions().contains(Permissions::STORE_LOCAL));
}

#[test]
fn every_relocation_makes_exactly_the_capability_that_it_may() {
    let mut cvm = alone(every_kind().bytes());
    load(&mut cvm);
    let memory = cvm.memory();
    let origin = memory.start.wrapping_add(cvm.layout.bias);
    let linked = |address: u64| origin + address;
    let at = |address: u64| stand_in::capability(linked(address)).unwrap_or_else(|| panic!("{address:#x} has no tag"));
    let code = linked(0x1000)..linked(0x4000);
    for (place, address) in [(0x3000, 0x2011), (0x4ff0, 0x2010)] {
        let sentry = at(place);
        assert_is(&sentry, code.clone(), arch::code_permissions(), linked(address));
        assert!(
            sentry.seal == capability::Seal::Sentry && sentry.capability_mode,
            "{sentry}"
        );
    }
    let object = linked(0x4010)..linked(0x4030);
    assert_is(&at(0x3020), object.clone(), arch::data_permissions(), linked(0x4014));
    assert_is(&at(0x3040), object, arch::data_permissions(), linked(0x4018));
    let constant = linked(0x1010)..linked(0x1030);
    assert_is(&at(0x4020), constant, arch::read_only_permissions(), linked(0x1014));
    let word = u64::from_le_bytes(stand_in::memory(linked(0x4000), 8).try_into().unwrap());
    assert_eq!(word, linked(0x4008));
    assert_eq!(
        stand_in::memory(linked(0x4030), 16),
        [&[9][..], &[0; 15]].concat(),
        "null and its addend"
    );
    let tags = (memory.start..memory.end)
        .step_by(16)
        .filter(|at| stand_in::capability(*at).is_some());
    assert_eq!(tags.count(), 5, "and nowhere else");
    assert!(!cvm.authority.made.decoded().tag, "none is kept");
    assert_eq!(
        stand_in::memory(memory.start + cvm.layout.tls_image, 8),
        stand_in::memory(linked(0x4000), 8)
            .iter()
            .map(|_| 0)
            .collect::<Vec<u8>>()
    );
}

#[test]
fn a_step_of_a_load_carries_out_a_bounded_number_of_relocations() {
    let mut elf = Purecap::new();
    // 300 relocations, in a segment of their own.
    let entries: Vec<u64> = (0..300)
        .flat_map(|index| [0x3000 + index % 8 * 16, 0x4000, 0, index, 0])
        .collect();
    elf.headers[0][4..].fill(0x4000);
    for header in &mut elf.headers[1..] {
        header[3] += 0x4000;
    }
    let mut entries = entries;
    for entry in entries.chunks_exact_mut(5) {
        entry[0] += 0x4000;
        entry[1] += 0x4000;
    }
    let table = words(&entries);
    elf.tags = vec![0x7000_c000, 0x1000 + 0xe00 - 0x600, 0x7000_c001, table.len() as u64];
    let mut bytes = elf.bytes();
    bytes[24..32].copy_from_slice(&0x6004_u64.to_le_bytes());
    bytes.resize(0x600 + 0x4000, 0);
    bytes[0xe00..0xe00 + table.len()].copy_from_slice(&table);
    let mut cvm = alone(bytes);
    let mut ledger = ledger();
    let frame = load_in(&mut cvm, &mut ledger);
    cvm.begin(&ledger, 0).unwrap();
    let place = cvm.place.base.wrapping_add(cvm.layout.bias) + 0x7000;
    let mut seen = Vec::new();
    while cvm.loading.is_some() {
        cvm.load(&frame).unwrap();
        // The place that entry number 8n takes says how many there have been.
        let length = stand_in::capability(place).map(|what| what.top - u128::from(what.base));
        if seen.last() != Some(&length) {
            seen.push(length);
        }
    }
    let after_memory: Vec<u128> = seen
        .iter()
        .skip_while(|length| length.is_some())
        .flatten()
        .copied()
        .collect();
    assert!(after_memory.len() >= 3, "{after_memory:?}");
    assert!(
        after_memory.windows(2).all(|pair| pair[1] - pair[0] <= 128),
        "{after_memory:?}"
    );
    assert_eq!(after_memory.last(), Some(&296));
}

/// What `memory` holds that is not zero.
fn dirt(memory: Range<u64>) -> usize {
    let bytes = stand_in::memory(memory.start, (memory.end - memory.start) as usize);
    bytes.iter().filter(|byte| **byte != 0).count()
}

#[test]
fn what_a_life_can_reach_is_no_older_than_it_but_for_what_lives_within() {
    let mut ledger = ledger();
    let outer = CvmSpec {
        isolation_size: Some(0x8_0000),
        isolation_base: Some(POOL_START + 0x1_0000),
        ..spec("outer", "a.elf")
    };
    let inner = |name: &str, base| CvmSpec {
        within: Some(0),
        isolation_base: Some(POOL_START + base),
        ..spec(name, "a.elf")
    };
    let specs = vec![outer, inner("alive", 0x4_0000), inner("waiting", 0x6_0000)];
    let mut cvms = placed(specs, program());
    let whole = cvms[0].bounds.clone();
    assert_eq!(whole, POOL_START + 0x1_0000..POOL_START + 0x9_0000);
    let size = (whole.end - whole.start) as usize;
    user::copy_out(&vec![0x55; size], &cvms[0].stock.slot, whole.start).unwrap();
    let [outer, alive, waiting] = cvms.as_mut_slice() else {
        panic!()
    };
    load_in(alive, &mut ledger);
    let mark = alive.place.base + alive.layout.stack.start;
    user::copy_out(b"mark", &alive.stock.slot, mark).unwrap();
    load_in(outer, &mut ledger);
    let alive_memory = alive.memory();
    assert_eq!(stand_in::memory(mark, 4), b"mark");
    assert_eq!(dirt(outer.memory().end..alive_memory.start), 0, "the gap before");
    assert_eq!(
        dirt(alive_memory.end..whole.end),
        0,
        "what waits, and the gaps around it"
    );
    // Its life over, it is no better than a gap.
    user::copy_out(b"gap", &outer.stock.slot, whole.end - 8).unwrap();
    alive.leave();
    load_in(outer, &mut ledger);
    assert_eq!(dirt(outer.memory().end..whole.end), 0);
    load_in(waiting, &mut ledger);
    assert_ne!(dirt(waiting.memory()), 0);
    assert_eq!(dirt(alive_memory), 0);
}

#[test]
fn a_load_begins_anew_when_a_cvm_around_it_has_been_loaded_meanwhile() {
    let mut ledger = ledger();
    let outer = CvmSpec {
        isolation_size: Some(0x8_0000),
        ..spec("outer", "a.elf")
    };
    let inner = CvmSpec {
        within: Some(0),
        isolation_size: Some(0x4_0000),
        ..spec("inner", "a.elf")
    };
    let mut cvms = placed(vec![outer, inner], program());
    let [outer, inner] = cvms.as_mut_slice() else { panic!() };
    let frame = Frame::boxed(&inner.stock.slot).unwrap();
    let steps = |inner: &mut Cvm| {
        (1..)
            .find(|_| {
                inner.load(&frame).unwrap();
                inner.loading.is_none()
            })
            .unwrap()
    };
    load_in(inner, &mut ledger);
    inner.leave();
    inner.begin(&ledger, 0).unwrap();
    let all = steps(inner);
    assert!(all > 2, "{all} steps are too few to come between them");
    inner.leave();
    inner.begin(&ledger, 0).unwrap();
    inner.load(&frame).unwrap();
    load_in(outer, &mut ledger);
    assert_eq!(steps(inner), all);
    // What is loaded is left alone.
    let memory = inner.memory();
    let filled = dirt(memory.clone());
    load_in(outer, &mut ledger);
    assert_eq!(dirt(memory), filled);
}

#[test]
fn a_later_life_gets_the_same_capabilities_and_no_ledger_entry() {
    let mut cvm = alone(every_kind().bytes());
    let mut ledger = ledger();
    let before = ledger.len();
    let all = |frame: &Frame| {
        frame
            .registers()
            .map(|(name, what)| format!("{name} {what}"))
            .collect::<Vec<_>>()
    };
    let first = all(&load_in(&mut cvm, &mut ledger));
    assert_eq!(ledger.len(), before + 5, "memory, code, stack, start block, tls");
    cvm.authority.clear();
    assert!(!cvm.authority.data.decoded().tag && !cvm.authority.code.decoded().tag);
    assert_eq!(all(&load_in(&mut cvm, &mut ledger)), first);
    assert_eq!(ledger.len(), before + 5);
}

#[test]
fn a_program_without_tls_has_no_thread_pointer() {
    let mut cvm = alone(Purecap::new().bytes());
    let thread = register(&load(&mut cvm), "thread");
    assert!(!thread.tag && thread.address == 0, "{thread}");
}

#[test]
fn the_heap_is_one_capability_with_exactly_its_bounds() {
    for elf in [program(), Purecap::new().bytes()] {
        let mut cvm = alone(elf.clone());
        load(&mut cvm);
        let slot = Slot::null();
        let heap = cvm.place.base + cvm.layout.heap.start..cvm.place.base + cvm.layout.heap.end;
        assert!(heap.end - heap.start >= 5000);
        assert_eq!(cvm.heap(&slot), Ok(heap.end - heap.start));
        assert_is(&slot.decoded(), heap.clone(), arch::data_permissions(), heap.start);
        let mut none = placed(vec![spec("none", "program")], elf).pop().unwrap();
        load(&mut none);
        let slot = Slot::null();
        assert_eq!(none.heap(&slot), Err(Errno::ENOMEM));
        assert!(!slot.decoded().tag);
    }
}

/// A client and the server of its hostcalls, which has this program.
fn served(elf: Vec<u8>) -> Cvm {
    let client = CvmSpec {
        server: Some(1),
        ..spec("client", "program")
    };
    let mut cvms = placed(vec![client, spec("server", "program")], elf);
    let (server, client) = (cvms.pop().unwrap(), cvms.pop().unwrap());
    assert!(client.layout.service_stack.is_empty(), "only who serves has one");
    server
}

/// A purecap program that exports a handler at 0x2021.
fn purecap_server() -> Vec<u8> {
    let mut elf = every_kind();
    elf.relative.remove(1);
    elf.procedures.clear();
    elf.pokes.push((0xa18, words(&[1 | 0x12 << 32 | 1 << 48, 0x2021, 8])));
    elf.pokes
        .push((0xb80, format!("\0{}\0", abi::hostcall::HANDLER).into_bytes()));
    elf.bytes()
}

#[test]
fn a_handler_starts_on_the_service_stack_which_alone_takes_local_capabilities() {
    for (elf, handler) in [(server(), 0x1008), (purecap_server(), 0x2021)] {
        let mut cvm = served(elf);
        let mut ledger = ledger();
        let main = load_in(&mut cvm, &mut ledger);
        let service = &cvm.layout.service_stack;
        let stack = cvm.place.base + service.start..cvm.place.base + service.end;
        assert!(stack.end - stack.start >= 0x2000 && stack.start.is_multiple_of(64));
        let frame = load_in(&mut cvm, &mut ledger);
        cvm.prepare_handler(0, &frame).unwrap();
        frame.renew();
        let purecap = cvm.program.purecap;
        let holder = register(&frame, if purecap { "stack" } else { "spare" });
        // Where the stack pointer is an integer, the top is enough for what was lent.
        let area = if purecap { stack.start } else { stack.end - 1024 }..stack.end;
        assert_is(&holder, area.clone(), arch::service_stack_permissions(), stack.end);
        assert!(holder.permissions.contains(Permissions::STORE_LOCAL));
        assert_eq!(register(&frame, "stack").address, stack.end);
        assert_eq!(register(&frame, "data").tag, !purecap);
        assert_eq!(frame.pc(), cvm.place.base.wrapping_add(cvm.layout.bias) + handler);
        assert_eq!(
            format!("{}", register(&frame, "thread")),
            format!("{}", register(&main, "thread"))
        );
        let others = main
            .registers()
            .chain(frame.registers())
            .filter(|(_, what)| what.tag && what.base != area.start);
        for (name, what) in others {
            assert!(!what.permissions.contains(Permissions::STORE_LOCAL), "{name} {what}");
        }
    }
}

#[test]
fn a_program_without_handler_serves_nobody() {
    let mut cvm = served(program());
    let frame = load(&mut cvm);
    assert_eq!(cvm.program.handler, None);
    cvm.prepare_handler(0, &frame).unwrap();
    frame.renew();
    assert!(frame.registers().all(|(_, what)| !what.tag));
}
