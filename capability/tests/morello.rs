//! The Morello format: samples measured on the reference emulator, and properties that hold for every capability.

use capability::morello::{
    Capability, permission_bits, permissions_from_bits, representable_length, representable_mask,
};
use capability::{Error, Permissions};
use proptest::prelude::*;

/// Any bit pattern, as memory may hold.
fn any_bits() -> impl Strategy<Value = Capability> {
    (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(low, high, tag)| Capability::from_memory(low, high, tag))
}

/// Sizes of every magnitude, not only huge ones.
fn magnitude() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0u32..64).prop_map(|(bits, shift)| bits >> shift)
}

/// Positive addresses without flags.
fn address() -> impl Strategy<Value = u64> {
    magnitude().prop_map(|bits| bits >> 9)
}

/// A tagged, unsealed capability with non-trivial bounds and an address inside.
fn derived() -> impl Strategy<Value = Capability> {
    (address(), magnitude(), any::<u64>()).prop_map(|(base, length, within)| {
        let length = length.min((1 << 55) - 1 - base);
        let (bounded, _) = Capability::ROOT.set_address(base).set_bounds(length);
        let span = u64::try_from(bounded.top() - u128::from(bounded.base()))
            .unwrap_or(u64::MAX)
            .max(1);
        bounded.set_address(bounded.base().wrapping_add(within % span))
    })
}

#[test]
fn null_is_all_zero_in_memory_and_the_root_has_every_permission() {
    assert_eq!(Capability::NULL.to_memory(), (0, 0));
    assert_eq!(Capability::NULL, Capability::from_memory(0, 0, false));
    assert_eq!(Capability::NULL.length(), u64::MAX);
    assert_eq!(Capability::ROOT.to_memory(), (0, 0xffff_c000_0001_0005));
    assert_eq!(Capability::ROOT.permission_bits(), 0x3ffff);
    assert_eq!((Capability::ROOT.base(), Capability::ROOT.top()), (0, 1 << 64));
}

#[test]
fn decoding_from_memory_finds_the_constants_bounds() {
    for constant in [Capability::NULL, Capability::ROOT] {
        let (low, high) = constant.to_memory();
        let decoded = Capability::from_memory(low, high, constant.tag());
        assert_eq!((decoded.base(), decoded.top()), (constant.base(), constant.top()));
    }
}

#[test]
fn representable_lengths_and_masks_are_those_of_the_reference() {
    let samples = [
        (0x3fff, 0x3fff, 0),
        (0x4000, 0x4000, 7),
        (0x4001, 0x4008, 7),
        (0x7fff, 0x8000, 0xf),
        (0x8001, 0x8010, 0xf),
        (0x1_0001, 0x1_0020, 0x1f),
        (0x10_0001, 0x10_0200, 0x1ff),
        (0x123_4567, 0x123_6000, 0x1fff),
        (0x4000_0001, 0x4008_0000, 0x7_ffff),
    ];
    for (length, rounded, alignment) in samples {
        assert_eq!(representable_length(length), rounded, "RRLEN of {length:#x}");
        assert_eq!(representable_mask(length), !alignment, "RRMASK of {length:#x}");
    }
    assert_eq!(representable_length(u64::MAX), 0, "the length wraps");
    assert_eq!((representable_length(0), representable_mask(0)), (0, u64::MAX));
}

#[test]
fn an_address_far_outside_loses_the_tag_and_one_just_outside_keeps_it() {
    let (region, exact) = Capability::ROOT.set_address(0x8100_0000).set_bounds(0x10_0000);
    assert!(exact && region.tag());
    assert!(!region.set_address(0).tag());
    assert!(!region.set_address(0x1000).tag());
    assert_eq!(region.set_address(0).address(), 0);
    assert!(region.set_address(0x8110_0000).tag(), "one past the end");
    assert!(region.set_address(0x80ff_ffff).tag(), "just before");
}

#[test]
fn the_printed_form_is_the_documented_one() {
    let permissions =
        Permissions::LOAD | Permissions::STORE | Permissions::LOAD_CAPABILITY | Permissions::STORE_CAPABILITY;
    let region = Capability::ROOT
        .restrict(0x8020_0000, 0x1_0000, permissions, true)
        .unwrap();
    let sealed = region.set_address(0x8020_0010).seal(5);
    assert_eq!(
        format!("{}", sealed.decode()),
        "0x80200010 [0x80200000-0x80210000) rwRW sealed:5"
    );
    let entry = region
        .and_permissions(0)
        .set_address(0x8020_0001)
        .seal_entry()
        .clear_tag();
    assert_eq!(
        format!("{}", entry.decode()),
        "0x80200001 [0x80200000-0x80210000) - sentry capmode untagged"
    );
    let all = "0x0 [0x0-0x10000000000000000) rwxRWLGSUI$CME0123";
    assert_eq!(format!("{}", Capability::ROOT.decode()), all);
}

#[test]
fn restrict_names_what_is_wrong() {
    let (parent, _) = Capability::ROOT.set_address(0x1000).set_bounds(0x1000);
    let none = Permissions::empty();
    assert_eq!(parent.clear_tag().restrict(0x1000, 1, none, true), Err(Error::Untagged));
    assert_eq!(parent.seal(4).restrict(0x1000, 1, none, true), Err(Error::Sealed));
    assert_eq!(
        parent.restrict(0x1fff, 2, none, true),
        Err(Error::OutOfBounds {
            base: 0x1fff,
            length: 2
        })
    );
    assert_eq!(
        parent
            .and_permissions(1 << 17)
            .restrict(0x1000, 1, Permissions::LOAD | Permissions::STORE, true),
        Err(Error::Permissions {
            missing: Permissions::STORE
        })
    );
    assert_eq!(
        Capability::ROOT.restrict(1, 0x10_0000, none, true),
        Err(Error::Inexact {
            base: 1,
            length: 0x10_0000
        })
    );
    // Bits that bounds leave out would put them elsewhere.
    let (wide, _) = Capability::ROOT.set_bounds(0x0101_2000_0000_0000);
    let flagged = 0x0101_0101_0101_e8e8;
    for parent in [Capability::ROOT, wide] {
        assert!(parent.restrict(flagged, 3, none, true).is_err(), "{}", parent.decode());
    }
    let (odd, _) = Capability::ROOT.set_address(0x10_0000).set_bounds(0x10_0000);
    assert_eq!(
        odd.restrict(0x10_0000, 0xf_ffff, none, false).map(|c| c.top()),
        Ok(0x20_0000),
        "rounding within the parent is allowed"
    );
}

#[test]
fn build_restores_a_legal_copy_and_nothing_more() {
    let (region, _) = Capability::ROOT.set_address(0x8000_0000).set_bounds(0x1000);
    let copy = region
        .and_permissions(0x3ffff ^ 0x200)
        .set_address(0x8000_0010)
        .clear_tag();
    assert_eq!(region.build(&copy), copy.with_tag(true));
    assert!(!region.build(&Capability::ROOT.clear_tag()).tag());
    assert!(!region.and_permissions(1).build(&copy).tag());
    assert_eq!(
        region.build(&copy.seal(5)),
        copy.with_tag(true),
        "a seal is not restored"
    );
}

#[test]
fn flags_are_no_part_of_the_address() {
    let (region, _) = Capability::ROOT.set_address(0x4000_0000).set_bounds(0x1000);
    let flagged = region.set_flags(0xa5 << 56);
    assert!(flagged.tag());
    assert_eq!(flagged.address(), 0xa500_0000_4000_0000);
    assert_eq!((flagged.base(), flagged.top()), (0x4000_0000, 0x4000_1000));
    assert!(flagged.set_bounds(0x100).0.tag());
    assert!(
        !Capability::ROOT.set_flags(1 << 56).set_bounds(0x100).0.tag(),
        "the root's bounds do not ignore flags"
    );
}

#[test]
fn a_sign_change_takes_the_tag_only_where_bounds_depend_on_the_value() {
    let (low, _) = Capability::ROOT.set_bounds(0x1000);
    assert!(!low.set_address(1 << 55).tag());
    assert!(Capability::ROOT.set_address(1 << 55).tag());
}

#[test]
fn exponents_without_a_meaning_allow_nothing() {
    let stored = 51 ^ 63;
    let odd = Capability::from_memory(0x1000, (stored >> 3) << 16 | stored & 7, true);
    assert!(!odd.bounds_valid() && !odd.in_bounds(0x1000, 1));
    assert!(!odd.set_address(0x1000).tag() && !odd.inc_offset(0).tag() && !odd.set_bounds(0).0.tag());
    assert!(!odd.is_subset_of(&Capability::ROOT));
}

proptest! {
    #[test]
    fn memory_round_trips_every_bit_pattern(low: u64, high: u64, tag: bool) {
        let capability = Capability::from_memory(low, high, tag);
        prop_assert_eq!(capability.to_memory(), (low, high));
        prop_assert_eq!(capability.tag(), tag);
    }

    #[test]
    fn cached_bounds_are_those_of_the_memory_form(capability in derived(), step: i16) {
        let moved = capability.set_address(capability.address().wrapping_add_signed(step.into()));
        let (low, high) = moved.to_memory();
        let again = Capability::from_memory(low, high, moved.tag());
        prop_assert_eq!((moved.base(), moved.top()), (again.base(), again.top()));
    }

    #[test]
    fn bounds_cover_the_request_and_are_equal_when_exact(base in address(), length in magnitude()) {
        let (bounded, exact) = Capability::ROOT.set_address(base).set_bounds(length);
        let top = u128::from(base) + u128::from(length);
        if top <= 1 << 64 {
            prop_assert!(bounded.tag());
            prop_assert!(bounded.base() <= base && top <= bounded.top());
        } else {
            prop_assert!(!bounded.tag());
        }
        prop_assert_eq!(exact && top <= 1 << 64, top <= 1 << 64 && bounded.base() == base && bounded.top() == top);
    }

    #[test]
    fn aligned_bases_and_rounded_lengths_are_exact(base in address(), length in magnitude()) {
        let mask = representable_mask(length);
        let rounded = representable_length(length);
        prop_assume!(rounded >= length);
        let base = base & mask;
        prop_assume!(u128::from(base) + u128::from(rounded) <= 1 << 64);
        let (bounded, exact) = Capability::ROOT.set_address(base).set_bounds(rounded);
        prop_assert!(exact);
        prop_assert_eq!((bounded.base(), bounded.length()), (base, rounded));
    }

    #[test]
    fn rounding_a_length_is_idempotent_and_consistent_with_bounds(length in magnitude()) {
        let rounded = representable_length(length);
        prop_assert_eq!(representable_length(rounded), rounded);
        let (bounded, _) = Capability::ROOT.set_bounds(length);
        prop_assert_eq!((bounded.top() - u128::from(bounded.base())) as u64, rounded);
    }

    #[test]
    fn tagged_results_never_have_more_authority(parent in derived(), address: u64, length in magnitude(), bits: u32) {
        for child in [
            parent.set_address(address),
            parent.inc_offset(address),
            parent.set_bounds(length).0,
            parent.set_address(address).set_bounds(length).0,
            parent.and_permissions(bits),
        ] {
            if child.tag() {
                prop_assert!(child.decode().is_subset_of(&parent.decode()));
            }
        }
        if let Ok(child) = parent.restrict(address, length, Permissions::LOAD, false) {
            prop_assert!(child.tag() && child.decode().is_subset_of(&parent.decode()));
            prop_assert_eq!(child.permissions(), Permissions::LOAD);
        }
    }

    #[test]
    fn a_move_inside_bounds_keeps_tag_and_bounds(capability in derived(), within: u64) {
        prop_assume!(capability.length() > 0);
        let target = capability.base() + within % capability.length();
        let moved = capability.set_address(target);
        prop_assert!(moved.tag());
        prop_assert_eq!((moved.base(), moved.top()), (capability.base(), capability.top()));
        prop_assert_eq!(capability.inc_offset(target.wrapping_sub(capability.address())), moved);
    }

    #[test]
    fn the_quick_check_never_keeps_a_tag_that_decoding_would_take(capability in derived(), step: i64, shift in 0u32..64) {
        let increment = (step >> shift) as u64;
        if capability.is_representable_move(increment) {
            prop_assert!(capability.is_representable(capability.address().wrapping_add(increment)));
        }
    }

    #[test]
    fn untagged_bit_patterns_never_gain_a_tag(bits in any_bits(), other in derived(), value: u64) {
        let bits = bits.clear_tag();
        prop_assert!(!bits.set_address(value).tag() && !bits.inc_offset(value).tag());
        prop_assert!(!bits.set_bounds(value).0.tag() && !bits.and_permissions(u32::MAX).tag());
        let built = other.build(&bits);
        prop_assert!(!built.tag() || built.decode().is_subset_of(&other.decode()));
    }

    #[test]
    fn in_bounds_is_the_arithmetic_definition(capability in any_bits(), address in magnitude(), size in 0u64..64) {
        let inside = capability.bounds_valid() && capability.base() <= address && u128::from(address) + u128::from(size) <= capability.top();
        prop_assert_eq!(capability.in_bounds(address, size), inside);
    }

    #[test]
    fn sealed_capabilities_cannot_be_changed(capability in derived(), otype in 1u32..0x8000, value: u64) {
        let sealed = capability.seal(otype);
        prop_assert!(sealed.is_sealed() && sealed.tag());
        prop_assert!(!sealed.set_address(value).tag() && !sealed.inc_offset(value).tag());
        prop_assert!(!sealed.set_bounds(0).0.tag() && !sealed.and_permissions(0).tag() && !sealed.set_flags(1).tag());
        prop_assert_eq!(sealed.unseal(), capability);
    }
}

#[test]
fn permissions_have_the_numbers_of_gcperm() {
    let numbers = [
        (Permissions::GLOBAL, 0),
        (Permissions::EXECUTIVE, 1),
        (Permissions::USER0, 2),
        (Permissions::USER1, 3),
        (Permissions::USER2, 4),
        (Permissions::USER3, 5),
        (Permissions::MUTABLE_LOAD, 6),
        (Permissions::COMPARTMENT_ID, 7),
        (Permissions::INVOKE, 8),
        (Permissions::SYSTEM, 9),
        (Permissions::UNSEAL, 10),
        (Permissions::SEAL, 11),
        (Permissions::STORE_LOCAL, 12),
        (Permissions::STORE_CAPABILITY, 13),
        (Permissions::LOAD_CAPABILITY, 14),
        (Permissions::EXECUTE, 15),
        (Permissions::STORE, 16),
        (Permissions::LOAD, 17),
    ];
    for (permission, number) in numbers {
        assert_eq!(permission_bits(permission), 1 << number, "{permission:?}");
        assert_eq!(permissions_from_bits(1 << number), permission, "bit {number}");
    }
    assert_eq!(permissions_from_bits(0xfffc_0000), Permissions::empty());
}
