//! Names of devices.

use abi::manifest::{DeviceKind, IDENTITY_LENGTH, Which, device};

fn called(identity: &[u8]) -> Option<Which> {
    let mut padded = [0; IDENTITY_LENGTH];
    padded[..identity.len()].copy_from_slice(identity);
    Some(Which::Identity(padded))
}

#[test]
fn a_name_means_a_place_an_address_or_a_serial_number() {
    let which = |name| device(name).map(|(_, which)| which);
    assert_eq!(device("block0"), Some((DeviceKind::Block, Which::Place(0))));
    assert_eq!(device("net31"), Some((DeviceKind::Net, Which::Place(31))));
    assert_eq!(device("entropy1"), Some((DeviceKind::Entropy, Which::Place(1))));
    assert_eq!(
        which("net@52:54:00:12:34:5f"),
        called(&[0x52, 0x54, 0, 0x12, 0x34, 0x5f])
    );
    assert_eq!(which("block@S.1-x_Y"), called(b"S.1-x_Y"));
    assert_eq!(which("block@monitor"), called(b"monitor"));
    assert_eq!(which("block@0"), called(b"0"));
    assert_eq!(which("block@01234567890123456789"), called(b"01234567890123456789"));
}

#[test]
fn each_device_has_one_name_of_each_manner_and_nothing_else_is_one() {
    for name in [
        "",
        "block",
        "block00",
        "block01",
        "block100",
        "block-1",
        "Block0",
        "disk0",
        "block0 ",
        "block@",
        "net@",
        "entropy@x",
        "block@012345678901234567890",
        "block@a b",
        "block@a/b",
        "block@a\0",
        "block@\u{e4}",
        "net@52:54:00:12:34",
        "net@52:54:00:12:34:56:78",
        "net@52:54:00:12:34:5F",
        "net@52:54:00:12:34:5",
        "net@52-54-00-12-34-56",
        "net@+1:54:00:12:34:56",
        "net@00:00:00:00:00:00",
        "net@52:54:00:12:34:56:",
        "block@@",
        "net0@1",
    ] {
        assert_eq!(device(name), None, "{name:?}");
    }
}
