//! The host's stand-in keeps the promises that the kernel's unit tests rely on: what a thread starts with, how a pointer
//! finds its authority, and where a local capability may stay.

use arch::stand_in;
use arch::{Derivation, DeriveError, Frame, Refused, Register, Slot, Start, user};
use capability::{Permissions, Seal};

const MEMORY: u64 = 0x8000_0000;
const SIZE: u64 = 0x1000;
const STACK: u64 = MEMORY + SIZE;

fn request(base: u64, permissions: Permissions, address: u64) -> Derivation {
    Derivation {
        base,
        length: SIZE,
        permissions,
        address,
    }
}

fn derived(base: u64, permissions: Permissions) -> Slot {
    let slot = Slot::null();
    slot.derive(arch::root(), &request(base, permissions, base)).unwrap();
    slot
}

fn started(data: Option<&Slot>, code: &Slot, stack: Register<'_>) -> Box<Frame> {
    let frame = Frame::boxed(arch::root()).unwrap();
    let thread = Register::Integer(7);
    let entry = MEMORY + 8;
    frame
        .start(&Start {
            code,
            entry,
            data,
            stack,
            thread,
        })
        .unwrap();
    frame
}

fn register(frame: &Frame, name: &str) -> capability::Decoded {
    frame.registers().find(|(other, _)| *other == name).unwrap().1
}

#[test]
fn a_purecap_thread_starts_in_capability_mode_without_ddc() {
    let (code, data) = (
        derived(MEMORY, arch::code_permissions()),
        derived(MEMORY, arch::data_permissions()),
    );
    let stack = derived(STACK, arch::data_permissions());
    let purecap = started(None, &code, Register::Capability(&stack));
    let pc = purecap.code().decoded();
    assert!(pc.tag && pc.capability_mode && pc.seal == Seal::Unsealed, "{pc}");
    assert_eq!((pc.base, pc.address), (MEMORY, MEMORY + 8));
    assert!(!purecap.data().decoded().tag);
    assert_eq!(register(&purecap, "stack"), stack.decoded());

    let hybrid = started(Some(&data), &code, Register::Integer(9));
    let pc = hybrid.code().decoded();
    assert!(pc.tag && !pc.capability_mode, "{pc}");
    assert_eq!(hybrid.data().decoded(), data.decoded());
    let stack = register(&hybrid, "stack");
    assert!(!stack.tag && stack.address == 9, "{stack}");
    hybrid.set_argument(0, Register::Capability(&data));
    hybrid
        .start(&Start {
            code: &code,
            entry: MEMORY,
            data: None,
            stack: Register::Integer(0),
            thread: Register::Integer(0),
        })
        .unwrap();
    assert!(hybrid.registers().all(|(name, what)| name == "pc" || !what.tag));
}

#[test]
fn a_tagged_argument_is_its_own_authority_and_an_integer_goes_through_ddc() {
    let (code, data) = (
        derived(MEMORY, arch::code_permissions()),
        derived(MEMORY, arch::data_permissions()),
    );
    let other = derived(STACK, arch::data_permissions());
    let frame = started(Some(&data), &code, Register::Integer(0));
    frame.set_argument(1, Register::Capability(&other));
    frame.set_argument(2, Register::Integer(MEMORY + 4));
    let (authority, address) = frame.pointer(1);
    assert_eq!((authority.decoded(), address), (other.decoded(), STACK));
    let (authority, address) = frame.pointer(2);
    assert_eq!((authority.decoded(), address), (data.decoded(), MEMORY + 4));
    let purecap = started(None, &code, Register::Integer(0));
    purecap.set_argument(0, Register::Integer(MEMORY));
    let (authority, address) = purecap.pointer(0);
    assert_eq!(user::copy_in(&mut [0], authority, address), Err(Refused { copied: 0 }));
}

#[test]
fn a_local_capability_stays_on_the_service_stack_only_and_not_after_its_tags_are_cleared() {
    let data = derived(MEMORY, arch::data_permissions());
    let stack = derived(STACK, arch::service_stack_permissions());
    let lent = derived(MEMORY, Permissions::LOAD | Permissions::STORE);
    let refused = Err(Refused { copied: 0 });
    assert_eq!(user::store_capability(&lent, &data, MEMORY), refused);
    assert_eq!(user::store_capability(&data, &data, MEMORY), Ok(()));
    assert_eq!(stand_in::capability(MEMORY), Some(data.decoded()));
    assert_eq!(user::store_capability(&lent, &stack, STACK + 8), refused);
    for place in [STACK, STACK + 0x50, STACK + SIZE - 16] {
        assert_eq!(user::store_capability(&lent, &stack, place), Ok(()));
        assert_eq!(stand_in::capability(place), Some(lent.decoded()));
    }
    assert_eq!(user::store_capability(&lent, &stack, STACK + SIZE), refused);
    user::copy_out(&[7; 16], &stack, STACK + 0x40).unwrap();

    assert_eq!(user::clear_tags(&stack, STACK + 16, 64), refused);
    assert!(user::clear_tags(&stack, STACK, SIZE + 64).is_err());
    assert_eq!(user::clear_tags(&stack, STACK, SIZE), Ok(()));
    for place in (STACK..STACK + SIZE).step_by(16) {
        assert_eq!(stand_in::capability(place), None);
    }
    assert_eq!(stand_in::memory(STACK, 16), [0; 16]);
    assert_eq!(stand_in::memory(STACK + 0x40, 16), [7; 16]);
    assert_eq!(stand_in::capability(MEMORY), Some(data.decoded()));
}

#[test]
fn a_byte_written_into_a_capability_clears_its_tag() {
    let data = derived(MEMORY, arch::data_permissions());
    user::store_capability(&data, &data, MEMORY).unwrap();
    user::store_capability(&data, &data, MEMORY + 16).unwrap();
    user::copy_out(&[1], &data, MEMORY + 15).unwrap();
    assert_eq!(stand_in::capability(MEMORY), None);
    assert_eq!(stand_in::capability(MEMORY + 16), Some(data.decoded()));
}

#[test]
fn an_entry_is_a_sentry_in_capability_mode_and_made_of_code_only() {
    let entry = Slot::null();
    let code = request(MEMORY, arch::code_permissions(), MEMORY + 4);
    entry.derive_entry(arch::root(), &code).unwrap();
    let what = entry.decoded();
    assert!(what.tag && what.capability_mode && what.seal == Seal::Sentry, "{what}");
    assert_eq!(
        (what.base, what.address, what.permissions),
        (MEMORY, MEMORY + 4, arch::code_permissions())
    );
    let data = request(MEMORY, arch::data_permissions(), MEMORY);
    let refused = entry.derive_entry(arch::root(), &data);
    assert_eq!(
        (refused, entry.decoded()),
        (Err(DeriveError::Permissions), what),
        "the slot keeps what it held"
    );
}
