//! What the kernel relies on of gates, whatever the ISA: free seats in a list, records that count calls, and marks that are
//! found once.

use arch::{Derivation, Frame, Register, Settled, Slot, Start, gate, stand_in};
use capability::Permissions;

const MEMORY: u64 = 0x8000_0000;
const SIZE: u64 = 0x1_0000;
const GATE: u64 = MEMORY + 0x1000;
const SEATS: [u64; 2] = [MEMORY + 0x2000, MEMORY + 0x2000 + gate::SEAT_SIZE];
const RECORD: u64 = MEMORY + 0x4000;

fn derived(length: u64, permissions: Permissions) -> Slot {
    let slot = Slot::null();
    let request = Derivation {
        base: MEMORY,
        length,
        permissions,
        address: MEMORY,
    };
    slot.derive(arch::root(), &request).unwrap();
    slot
}

fn board() -> Slot {
    derived(SIZE, arch::monitor_data_permissions())
}

/// What a link says, which nobody may pass on.
fn linked(at: u64) -> Option<(u64, u128)> {
    let link = stand_in::capability(at)?;
    assert!(!link.permissions.contains(Permissions::GLOBAL), "{link}");
    Some((link.base, link.top - u128::from(link.base)))
}

#[test]
fn free_seats_are_a_list() {
    let board = board();
    let [first, second] = SEATS;
    for seat in SEATS {
        gate::make_seat(&board, seat, GATE, Register::Integer(7), None);
    }
    gate::set_next(&board, second, None);
    gate::set_next(&board, first, Some(second));
    gate::set_free(&board, GATE, Some(first));
    assert_eq!(gate::free(&board, GATE), first);
    assert_eq!(linked(first), Some((second, gate::SEAT_SIZE.into())));
    assert_eq!(linked(second), None);
    gate::set_free(&board, GATE, None);
    assert_eq!(gate::free(&board, GATE), 0);
    assert_eq!(linked(GATE), None);
}

#[test]
fn what_a_gate_runs_with_is_all_in_its_authority() {
    let board = board();
    let data = derived(0x1000, arch::data_permissions());
    let code = derived(0x1000, arch::code_permissions());
    let start = Start {
        code: &code,
        entry: MEMORY + 8,
        data: Some(&data),
        stack: Register::Integer(0),
        thread: Register::Capability(&data),
    };
    gate::make_gate(&board, GATE, &start).unwrap();
    let tags = |end: u64| {
        let places = (GATE..GATE + end).step_by(16);
        places.filter(|at| stand_in::capability(*at).is_some()).count()
    };
    assert_eq!((tags(gate::GATE_AUTHORITY), tags(gate::GATE)), (3, 3));
    // A function that cannot be entered makes no gate.
    let refused = gate::make_gate(
        &board,
        GATE,
        &Start {
            code: &Slot::null(),
            ..start
        },
    );
    assert!(refused.is_err());
}

#[test]
fn a_record_counts_calls_and_keeps_their_registers_apart() {
    let (board, record) = (board(), Slot::null());
    gate::make_record(&board, RECORD, &record).unwrap();
    let what = record.decoded();
    assert_eq!((what.base, what.top), (RECORD, u128::from(RECORD + gate::RECORD)));
    assert!(!what.permissions.contains(Permissions::GLOBAL));
    assert_eq!(gate::level(&board, &record), 0);
    for level in [1, gate::DEPTH, 3, 0] {
        gate::set_level(&board, &record, level);
        assert_eq!(gate::level(&board, &record), level);
    }
    let mut behind = RECORD;
    for level in 1..=gate::DEPTH {
        let (start, length) = gate::saved(&record, level);
        assert!(start >= behind && start % 16 == 0, "{level}: {start:#x}");
        behind = start + length;
    }
    assert!(behind <= RECORD + gate::RECORD, "{behind:#x}");
}

#[test]
fn a_call_is_marked_once() {
    let (board, record) = (board(), Slot::null());
    gate::make_record(&board, RECORD, &record).unwrap();
    assert!(!gate::mark(&board, &record, 2));
    assert!(gate::mark(&board, &record, 2));
    assert!(!gate::mark(&board, &record, 1));
    assert_eq!(gate::level(&board, &record), 0);
}

#[test]
fn a_thread_elsewhere_is_not_in_the_switcher() {
    let (board, record) = (board(), Slot::null());
    gate::make_record(&board, RECORD, &record).unwrap();
    let (code, data) = (
        derived(0x1000, arch::code_permissions()),
        derived(0x1000, arch::data_permissions()),
    );
    let frame = Frame::boxed(arch::root()).unwrap();
    let start = Start {
        code: &code,
        entry: MEMORY,
        data: Some(&data),
        stack: Register::Integer(0),
        thread: Register::Integer(0),
    };
    frame.start(&start).unwrap();
    let elsewhere = Slot::null();
    let request = Derivation {
        base: MEMORY + 0x8000,
        length: gate::PAGES,
        permissions: gate::switcher_permissions(),
        address: MEMORY + 0x8000,
    };
    elsewhere.derive(arch::root(), &request).unwrap();
    for fault in [false, true] {
        let settled = gate::settle(&board, &elsewhere, &record, &frame, fault);
        assert_eq!(settled, Settled::Elsewhere);
    }
}
