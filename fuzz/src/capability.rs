//! The capability formats. Capabilities with a tag are made as a program makes them, from the root by operations.

use crate::source::Source;

/// Makes the checks for one format; what differs between the two are the bounds that a move may have.
macro_rules! format {
    ($format:ident) => {
        mod $format {
            use crate::source::Source;
            use capability::$format::{Capability, representable_length, representable_mask};

            /// Sixteen bytes mean the same after any number of ways through memory.
            fn round_trip(low: u64, high: u64, tag: bool) -> Capability {
                let read = Capability::from_memory(low, high, tag);
                assert_eq!((read.to_memory(), read.tag()), ((low, high), tag));
                let decoded = read.decode();
                assert_eq!((decoded.tag, decoded.address), (tag, low), "{decoded}");
                assert_eq!(
                    (decoded.base, decoded.top),
                    (read.base(), read.top()),
                    "{decoded}"
                );
                assert_eq!(decoded.seal.is_sealed(), read.is_sealed(), "{decoded}");
                assert!(!decoded.to_string().is_empty());
                read
            }

            /// Bounds of a length that the format calls representable are exact.
            fn representable(address: u64, length: u64) {
                let (rounded, mask) = (representable_length(length), representable_mask(length));
                assert!(
                    rounded >= length || rounded == 0,
                    "{length:#x} rounds to {rounded:#x}"
                );
                assert_eq!(representable_length(rounded), rounded, "{length:#x}");
                // Below the bits that Morello leaves to software.
                let base = (address >> 9) & mask;
                if rounded != 0 && base.checked_add(rounded).is_some() {
                    let (bounded, exact) = Capability::ROOT.set_address(base).set_bounds(rounded);
                    assert!(exact, "{rounded:#x} at {base:#x}");
                    assert_eq!(
                        (bounded.base(), bounded.top()),
                        (base, u128::from(base) + u128::from(rounded))
                    );
                }
            }

            /// Nothing that comes out of an operation on `from` is more than it.
            fn derived(from: Capability, to: Capability, what: &str) {
                let (old, new) = (from.decode(), to.decode());
                assert!(!new.tag || old.tag, "{what} of {old} made {new}");
                if new.tag {
                    assert!(new.is_subset_of(&old), "{what} of {old} made {new}");
                    assert!(!old.seal.is_sealed(), "{what} changed {old}");
                    assert!(
                        new.top <= 1 << 64 && u128::from(new.base) <= new.top,
                        "{what} of {old} made {new}"
                    );
                }
                let (low, high) = to.to_memory();
                assert_eq!(
                    Capability::from_memory(low, high, to.tag()),
                    to,
                    "{what} of {old}"
                );
            }

            pub(super) fn run(source: &mut Source<'_>) {
                round_trip(source.word(), source.word(), source.byte() & 1 == 1);
                representable(source.number(), source.number());
                let mut held = Capability::ROOT;
                let mut others = vec![held];
                while !source.is_empty() {
                    let from = held;
                    let operation = source.byte() % 9;
                    let (to, what) = match operation {
                        0 => {
                            let address = source.number();
                            let to = from.set_address(address);
                            assert_eq!(to.address(), address);
                            if from.tag() && !from.is_sealed() {
                                assert_eq!(to.tag(), from.is_representable(address), "{}", from.decode());
                            }
                            if to.tag() {
                                assert_eq!((to.base(), to.top()), (from.base(), from.top()));
                            }
                            (to, "set_address")
                        }
                        1 => {
                            let increment = source.number();
                            let to = from.inc_offset(increment);
                            assert_eq!(to.address(), from.address().wrapping_add(increment));
                            if to.tag() {
                                assert_eq!((to.base(), to.top()), (from.base(), from.top()));
                            }
                            (to, "inc_offset")
                        }
                        2 => {
                            let length = source.number();
                            let (to, exact) = from.set_bounds(length);
                            if to.tag() && exact {
                                assert_eq!(to.top() - u128::from(to.base()), u128::from(length));
                            }
                            (to, "set_bounds")
                        }
                        3 => (from.and_permissions(source.word() as u32), "and_permissions"),
                        4 => (from.set_flags(source.word()), "set_flags"),
                        5 => {
                            let bits = round_trip(source.word(), source.word(), false);
                            (from.build(&bits), "build")
                        }
                        6 if from.is_sealed() => continue,
                        6 => {
                            // Sealed, it stays what it is until it is unsealed again.
                            let otype = 4 + (source.word() as u32 & 0xff);
                            let sealed = from.seal(otype);
                            assert!(sealed.is_sealed() && sealed.otype() == otype);
                            derived(sealed, sealed.set_bounds(source.number()).0, "set_bounds, sealed");
                            derived(sealed, sealed.set_address(source.number()), "set_address, sealed");
                            derived(sealed, sealed.and_permissions(0), "and_permissions, sealed");
                            derived(sealed, sealed.build(&from.clear_tag()), "build, sealed");
                            (sealed.unseal(), "seal, unseal")
                        }
                        7 => {
                            let permissions = from.permissions();
                            let (base, length) = (source.number(), source.number());
                            let Ok(to) = from.restrict(base, length, permissions, true) else {
                                continue;
                            };
                            let expected = (base, u128::from(base) + u128::from(length));
                            assert_eq!((to.base(), to.top()), expected, "{}", from.decode());
                            (to, "restrict")
                        }
                        _ => {
                            others.push(from);
                            held = others[usize::from(source.byte()) % others.len()];
                            continue;
                        }
                    };
                    derived(from, to, what);
                    if to.tag() {
                        held = to;
                    }
                }
            }
        }
    };
}

format!(riscv);
format!(morello);

/// Both formats, one after the other.
pub fn capability(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    match source.byte() & 1 {
        0 => riscv::run(&mut source),
        _ => morello::run(&mut source),
    }
}
