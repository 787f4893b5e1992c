//! What the kernel relies on, whatever is below `arch`: the same checks run over the host's stand-in (`arch/tests/contract.rs`) and
//! on both boards, in an image of their own (`boot`, feature `contract`).

use arch::{Derivation, DeriveError, Refused, Slot, user};
use capability::{Permissions, Seal};

/// Bytes of memory that the checks need, at a multiple of as many.
pub(crate) const SIZE: u64 = 4096;

/// Slots are pinned, and there is no heap.
static AUTHORITY: Slot = Slot::null();
static OTHER: Slot = Slot::null();
static WHAT: Slot = Slot::null();
static FOUND: Slot = Slot::null();

/// What is promised, and what checks it in the memory at an address.
pub(crate) type Check = (&'static str, fn(u64));

/// Every check.
pub(crate) const ALL: &[Check] = &[
    ("each kind of capability has what it needs and no more", permissions),
    ("a derivation gives exactly what was asked for, or nothing", derivations),
    ("copies go as far as the authority allows", copies),
    ("a word is loaded whole or not at all", words),
    ("tags go where the authority lets them", tags),
    ("tags are cleared, and only tags", clearing),
    ("capabilities are found by what they reach", finding),
    ("authority without a tag is none", untagged),
];

fn derive(slot: &Slot, base: u64, length: u64, permissions: Permissions) {
    let request = Derivation {
        base,
        length,
        permissions,
        address: base,
    };
    let derived = slot.derive(arch::root(), &request);
    assert!(
        derived.is_ok(),
        "{base:#x}, {length:#x} bytes, {permissions:?}: {derived:?}"
    );
}

fn permissions(memory: u64) {
    let (code, data) = (arch::code_permissions(), arch::data_permissions());
    let (stack, constant) = (arch::service_stack_permissions(), arch::read_only_permissions());
    let (own_data, own_text) = (arch::monitor_data_permissions(), arch::monitor_text_permissions());
    let device = arch::device_permissions();
    let stores = Permissions::STORE | Permissions::STORE_CAPABILITY | Permissions::STORE_LOCAL;
    let monitors = Permissions::SYSTEM | Permissions::SEAL | Permissions::UNSEAL;
    for of_a_cvm in [code, data, stack, constant] {
        assert!(!of_a_cvm.intersects(monitors), "{of_a_cvm:?}");
        assert!(of_a_cvm.contains(Permissions::GLOBAL), "{of_a_cvm:?}");
    }
    assert!(
        code.contains(Permissions::EXECUTE) && !code.intersects(stores),
        "{code:?}"
    );
    assert!(!(data | stack | constant | own_data | device).contains(Permissions::EXECUTE));
    assert!(!(code | data | constant | own_text | device).contains(Permissions::STORE_LOCAL));
    assert_eq!(stack, data | Permissions::STORE_LOCAL);
    assert!(!constant.intersects(stores) && data.contains(constant), "{constant:?}");
    assert!(
        own_data.contains(stores) && !own_data.intersects(monitors),
        "{own_data:?}"
    );
    assert!(
        own_text.contains(Permissions::SYSTEM) && !own_text.intersects(stores),
        "{own_text:?}"
    );
    let capabilities = (Permissions::LOAD_CAPABILITY | stores) - Permissions::STORE;
    assert!(!device.intersects(capabilities), "{device:?}");
    for wanted in [code, data, stack, constant, own_data, own_text, device] {
        derive(&WHAT, memory, SIZE, wanted);
        assert_eq!(WHAT.decoded().permissions, wanted);
    }
}

fn derivations(memory: u64) {
    derive(&AUTHORITY, memory, 256, arch::data_permissions());
    let what = AUTHORITY.decoded();
    assert_eq!(
        (what.base, what.top, what.address),
        (memory, u128::from(memory) + 256, memory)
    );
    assert!(what.tag && what.seal == Seal::Unsealed, "{what}");
    let ask = |base, length, permissions| {
        let request = Derivation {
            base,
            length,
            permissions,
            address: base,
        };
        FOUND.derive(&AUTHORITY, &request)
    };
    let load = Permissions::LOAD;
    assert_eq!(ask(memory + 16, 16, load), Ok(()));
    let held = FOUND.decoded();
    for (error, found) in [
        (DeriveError::OutOfBounds, ask(memory, 257, load)),
        (DeriveError::OutOfBounds, ask(memory - 1, 16, load)),
        (DeriveError::Permissions, ask(memory, 16, load | Permissions::EXECUTE)),
    ] {
        assert_eq!(found, Err(error));
        assert_eq!(FOUND.decoded(), held, "what was refused changes nothing");
    }
    AUTHORITY.clear();
    assert_eq!(ask(memory, 16, load), Err(DeriveError::Untagged));
}

/// Bytes of the memory, by other authority than that under test.
fn look<const N: usize>(address: u64) -> [u8; N] {
    let mut bytes = [0; N];
    assert_eq!(user::copy_in(&mut bytes, arch::root(), address), Ok(()));
    bytes
}

fn copies(memory: u64) {
    assert_eq!(user::zero(arch::root(), memory, SIZE as usize), Ok(()));
    derive(&AUTHORITY, memory + 64, 64, arch::data_permissions());
    let pattern: [u8; 96] = core::array::from_fn(|index| index as u8 + 1);
    for (from, length) in [(64, 64), (65, 63), (67, 40), (127, 1), (100, 0)] {
        assert_eq!(user::copy_out(&pattern[..length], &AUTHORITY, memory + from), Ok(()));
        let mut back = [0; 96];
        assert_eq!(user::copy_in(&mut back[..length], &AUTHORITY, memory + from), Ok(()));
        assert_eq!(back[..length], pattern[..length]);
        assert_eq!(user::probe_write(&AUTHORITY, memory + from, length), Ok(()));
    }
    // Beyond either end, not more than is allowed has been copied, and nothing outside was touched.
    for (from, length, allowed) in [(63, 2, 0), (64, 65, 64), (120, 16, 8), (128, 1, 0), (0, 1, 0)] {
        for refused in [
            user::copy_out(&pattern[..length], &AUTHORITY, memory + from),
            user::copy_in(&mut [0; 96][..length], &AUTHORITY, memory + from),
            user::zero(&AUTHORITY, memory + from, length),
        ] {
            let Err(Refused { copied }) = refused else {
                panic!("{length} bytes at {from} are not refused");
            };
            assert!(copied <= allowed, "{copied} of {length} bytes at {from}");
        }
        assert!(user::probe_write(&AUTHORITY, memory + from, length).is_err());
    }
    assert_eq!(look::<64>(memory), [0; 64]);
    assert_eq!(look::<64>(memory + 128), [0; 64]);
    derive(&OTHER, memory + 256, 64, arch::read_only_permissions());
    assert!(user::copy_out(&[1], &OTHER, memory + 256).is_err());
    assert_eq!(user::copy_out(&pattern[..64], &AUTHORITY, memory + 64), Ok(()));
    assert_eq!(user::copy(&OTHER, memory + 256, &AUTHORITY, memory + 64, 32), Ok(()));
    assert_eq!(look::<32>(memory + 64), [0; 32]);
    assert_eq!(look::<32>(memory + 96), pattern[32..64]);
    assert!(user::copy(&AUTHORITY, memory + 64, &OTHER, memory + 256, 32).is_err());
    assert!(user::copy(&OTHER, memory + 300, &AUTHORITY, memory + 64, 64).is_err());
}

fn words(memory: u64) {
    derive(&AUTHORITY, memory + 64, 8, arch::data_permissions());
    assert_eq!(
        user::copy_out(&[0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4], &AUTHORITY, memory + 64),
        Ok(())
    );
    assert_eq!(user::load_word(&AUTHORITY, memory + 64), Ok(0xffff_ffff));
    assert_eq!(user::load_word(&AUTHORITY, memory + 68), Ok(0x0403_0201));
    for outside in [memory + 60, memory + 72, 0] {
        assert_eq!(user::load_word(&AUTHORITY, outside), Err(Refused { copied: 0 }));
    }
}

fn tags(memory: u64) {
    derive(&AUTHORITY, memory, 256, arch::data_permissions());
    derive(&OTHER, memory, 256, arch::service_stack_permissions());
    derive(&WHAT, memory + 32, 16, Permissions::GLOBAL | Permissions::LOAD);
    let what = WHAT.decoded();
    assert_eq!(user::store_capability(&WHAT, &AUTHORITY, memory + 16), Ok(()));
    assert_eq!(user::load_capability(&FOUND, &AUTHORITY, memory + 16), Ok(()));
    assert_eq!(FOUND.decoded(), what);
    // Copies take no tag along, and what is written over one is none.
    assert_eq!(user::copy(&AUTHORITY, memory + 16, &AUTHORITY, memory + 48, 16), Ok(()));
    assert_eq!(user::load_capability(&FOUND, &AUTHORITY, memory + 48), Ok(()));
    assert!(!FOUND.tag());
    assert_eq!(user::copy_out(&[0], &AUTHORITY, memory + 31), Ok(()));
    assert_eq!(user::load_capability(&FOUND, &AUTHORITY, memory + 16), Ok(()));
    assert!(!FOUND.tag());
    // A local one goes where that is allowed.
    derive(&WHAT, memory + 32, 16, Permissions::LOAD);
    assert!(user::store_capability(&WHAT, &AUTHORITY, memory + 16).is_err());
    assert_eq!(user::store_capability(&WHAT, &OTHER, memory + 16), Ok(()));
    for address in [memory + 8, memory + 248, memory + 256] {
        assert!(user::store_capability(&WHAT, &OTHER, address).is_err());
        assert!(user::load_capability(&FOUND, &OTHER, address).is_err());
    }
    FOUND.clear();
}

fn clearing(memory: u64) {
    derive(&AUTHORITY, memory, 256, arch::service_stack_permissions());
    assert_eq!(user::zero(&AUTHORITY, memory, 256), Ok(()));
    assert_eq!(user::copy_out(&[7; 32], &AUTHORITY, memory + 64), Ok(()));
    derive(&WHAT, memory, 16, Permissions::LOAD);
    for place in [0, 96, 112, 240] {
        assert_eq!(user::store_capability(&WHAT, &AUTHORITY, memory + place), Ok(()));
    }
    assert_eq!(user::clear_tags(&AUTHORITY, memory + 64, 64), Ok(()));
    assert_eq!(look::<32>(memory + 64), [7; 32]);
    assert_eq!(look::<32>(memory + 96), [0; 32]);
    for (place, tag) in [(0, true), (96, false), (112, false), (240, true)] {
        assert_eq!(user::load_capability(&FOUND, &AUTHORITY, memory + place), Ok(()));
        assert_eq!(FOUND.tag(), tag, "at {place}");
    }
    for (start, length) in [(memory + 32, 64), (memory, 32), (memory + 192, 128)] {
        assert!(user::clear_tags(&AUTHORITY, start, length).is_err());
    }
    FOUND.clear();
}

fn finding(memory: u64) {
    derive(&AUTHORITY, memory, 512, arch::service_stack_permissions());
    assert_eq!(user::zero(&AUTHORITY, memory, 512), Ok(()));
    for (place, base) in [(16, 1024), (128, 2048), (400, 1024 + 48)] {
        derive(&WHAT, memory + base, 32, Permissions::LOAD);
        assert_eq!(user::store_capability(&WHAT, &AUTHORITY, memory + place), Ok(()));
    }
    let wanted = memory + 1024..memory + 1024 + 64;
    let next = |from: u64, take| user::next_reaching(&AUTHORITY, memory + from, 512 - from, &wanted, take);
    assert_eq!(next(0, false), Some(memory + 16));
    assert_eq!(next(32, false), Some(memory + 400));
    assert_eq!(next(416, false), None);
    assert_eq!(next(0, true), None);
    for (place, tag) in [(16, false), (128, true), (400, false)] {
        assert_eq!(user::load_capability(&FOUND, &AUTHORITY, memory + place), Ok(()));
        assert_eq!(FOUND.tag(), tag, "at {place}");
    }
    FOUND.clear();
}

fn untagged(memory: u64) {
    AUTHORITY.clear();
    let none = Err(Refused { copied: 0 });
    assert_eq!(user::copy_in(&mut [0; 8], &AUTHORITY, memory), none);
    assert_eq!(user::copy_out(&[0; 8], &AUTHORITY, memory), none);
    assert_eq!(user::zero(&AUTHORITY, memory, 64), none);
    assert_eq!(user::copy(&AUTHORITY, memory, arch::root(), memory, 64), none);
    assert_eq!(user::copy(arch::root(), memory, &AUTHORITY, memory, 64), none);
    assert_eq!(user::clear_tags(&AUTHORITY, memory, 64), none);
    assert_eq!(user::load_capability(&FOUND, &AUTHORITY, memory), none);
    assert_eq!(user::store_capability(&FOUND, &AUTHORITY, memory), none);
    assert_eq!(user::probe_write(&AUTHORITY, memory, 1), none);
    assert!(user::load_word(&AUTHORITY, memory).is_err());
}
