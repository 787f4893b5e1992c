//! Drivers that let their device do what they may not do themselves.

use abi::Errno::{EFAULT, EINVAL, EIO, ENOENT};
use abi::Hostcall::{DeviceStart, DeviceSubmit, DeviceTake, DeviceWait};
use abi::hostcall::{SEGMENT_BYTES_LIMIT, SEGMENT_WRITTEN, WAIT_FOREVER};
use tests::Platform;
use tests::code::assembler::Register::{self, Argument, Scratch};
use tests::code::attack::Attacker;

use crate::cast::{Role, role};
use crate::catalogue::Fate::{Absent, Error, Nothing, Refused};
use crate::catalogue::{Attack, Expected, Group, Means, either, everywhere};

pub(crate) const GROUP: Group = Group {
    title: "Devices as accomplices",
    promise: "2, 4, 11: a device reaches what its driver reaches, and nothing else",
    attacks: ATTACKS,
};

/// Where the program keeps the record, and what it lets the device write, from the start of its data.
const RECORD: i64 = 1024;
const BUFFER: i64 = 512;
const LENGTH: u64 = 16;

const RECORDS: Register = Scratch(2);
const POINTER: Register = Scratch(3);
const WORD: Register = Scratch(4);

/// An attack by a cVM that drives the source of random bytes.
const fn driver(name: &'static str, what: &'static str, expected: Expected, cast: fn(Platform) -> Vec<Role>) -> Attack {
    Attack {
        name,
        what,
        means: Means::Cast(cast),
        expected,
    }
}

/// A driver with this program, which finds its device started.
fn drives(platform: Platform, name: &str, program: impl FnOnce(&mut Attacker)) -> Vec<Role> {
    let mut role = role(platform, name, |a| {
        a.call(DeviceStart, &[0, 0]).must_be_zero(Argument(0), 90);
        program(a);
    });
    role.spec.devices = vec!["entropy0".into()];
    vec![role]
}

/// Writes the record: the pointer is in its register, integer or capability.
fn record(a: &mut Attacker, length: u64, flags: u64) {
    a.data_address(RECORDS).add(RECORDS, RECORDS, RECORD);
    a.store_capability(POINTER, RECORDS, 0);
    a.constant(WORD, length).store(WORD, RECORDS, 16);
    a.constant(WORD, flags).store(WORD, RECORDS, 24);
}

/// Submits the record.
fn submit(a: &mut Attacker) {
    a.data_address(RECORDS).add(RECORDS, RECORDS, RECORD);
    a.add(Argument(2), RECORDS, 0)
        .set(Argument(0), 0)
        .set(Argument(1), 0)
        .set(Argument(3), 1)
        .hostcall(DeviceSubmit);
}

/// Lets the device write there; exits with what the monitor says.
fn has_written(a: &mut Attacker, physical: u64) {
    a.address(POINTER, physical);
    record(a, LENGTH, SEGMENT_WRITTEN);
    submit(a);
    a.exit_with_result();
}

const ATTACKS: &[Attack] = &[
    driver(
        "device-writes-victim",
        "let a device write the victim's secret",
        everywhere(Error(EFAULT)),
        |platform| {
            drives(platform, "device-writes-victim", |a| {
                let secret = a.secret();
                has_written(a, secret);
            })
        },
    ),
    driver(
        "device-writes-monitor",
        "let a device write the monitor",
        everywhere(Error(EFAULT)),
        |platform| {
            drives(platform, "device-writes-monitor", |a| {
                let monitor = a.platform.monitor();
                has_written(a, monitor);
            })
        },
    ),
    driver(
        "device-writes-device",
        "let a device write another device's registers",
        everywhere(Error(EFAULT)),
        |platform| {
            drives(platform, "device-writes-device", |a| {
                let device = a.platform.device();
                has_written(a, device);
            })
        },
    ),
    driver(
        "device-writes-beyond",
        "let a device write eight bytes beyond the own memory",
        everywhere(Error(EFAULT)),
        |platform| {
            drives(platform, "device-writes-beyond", |a| {
                a.end_of_memory(POINTER).add(POINTER, POINTER, -8);
                record(a, LENGTH, SEGMENT_WRITTEN);
                submit(a);
                a.exit_with_result();
            })
        },
    ),
    driver(
        "device-reads-below",
        "let a device read a byte below the own memory",
        everywhere(Error(EFAULT)),
        |platform| {
            drives(platform, "device-reads-below", |a| {
                a.start_of_memory(POINTER).add(POINTER, POINTER, -1);
                record(a, LENGTH, 0);
                submit(a);
                a.exit_with_result();
            })
        },
    ),
    driver(
        "device-writes-text",
        "let a device write the own text, which the own stores cannot",
        either(Absent, Error(EFAULT)),
        |platform| {
            drives(platform, "device-writes-text", |a| {
                a.code_address(POINTER, 0);
                record(a, LENGTH, SEGMENT_WRITTEN);
                submit(a);
                a.exit_with_result();
            })
        },
    ),
    driver(
        "device-writes-read-only",
        "let a device write through a capability that may not store",
        everywhere(Error(EFAULT)),
        |platform| {
            drives(platform, "device-writes-read-only", |a| {
                let mask = if a.is_riscv() { !(1 << 3) } else { 1 << 16 };
                a.constant(WORD, mask)
                    .data_capability(POINTER)
                    .restrict(POINTER, POINTER, WORD);
                record(a, LENGTH, SEGMENT_WRITTEN);
                submit(a);
                a.exit_with_result();
            })
        },
    ),
    driver(
        "device-long-segment",
        "give a device 4 GiB and 16 bytes, of which 32 bits say 16",
        everywhere(Error(EINVAL)),
        |platform| {
            drives(platform, "device-long-segment", |a| {
                a.data_address(POINTER);
                record(a, 1 << 32 | LENGTH, SEGMENT_WRITTEN);
                submit(a);
                a.exit_with_result();
            })
        },
    ),
    driver(
        "device-longest-segment",
        "give a device one byte more than a segment may have",
        everywhere(Error(EINVAL)),
        |platform| {
            drives(platform, "device-longest-segment", |a| {
                a.data_address(POINTER);
                record(a, SEGMENT_BYTES_LIMIT + 1, SEGMENT_WRITTEN);
                submit(a);
                a.exit_with_result();
            })
        },
    ),
    driver(
        "device-unwanted-feature",
        "change what a queue is: agree on indirect descriptors and event indices",
        everywhere(Nothing),
        |platform| {
            drives(platform, "device-unwanted-feature", |a| {
                a.call(DeviceStart, &[0, 1 << 28 | 1 << 29 | 1 << 33 | 1 << 34]);
                // What was agreed on, but that the device is of virtio 1.0.
                a.lower_half(Argument(0)).must_be_zero(Argument(0), 91).exit(0);
            })
        },
    ),
    driver(
        "device-forges",
        "have a device write over a capability that stays one",
        everywhere(Nothing),
        |platform| {
            drives(platform, "device-forges", |a| {
                let (place, found) = (Scratch(5), Scratch(1));
                a.data_address(place).add(place, place, BUFFER);
                a.data_capability(found).store_capability(found, place, 0);
                a.data_address(POINTER).add(POINTER, POINTER, BUFFER);
                record(a, LENGTH, SEGMENT_WRITTEN);
                submit(a);
                a.must_be_zero(Argument(0), 92);
                a.call(DeviceWait, &[0, 1, WAIT_FOREVER]).must_be_zero(Argument(0), 93);
                a.call(DeviceTake, &[0, 0]).must_be_zero(Argument(0), 94);
                a.data_address(place).add(place, place, BUFFER);
                a.load_capability(found, place, 0).must_be_untagged(found, 95).exit(0);
            })
        },
    ),
    driver(
        "device-of-another",
        "use a device that the manifest gives to another cVM",
        everywhere(Error(ENOENT)),
        |platform| {
            let mut cast = drives(platform, "driver", |a| {
                a.exit(0);
            });
            cast.push(role(platform, "device-of-another", |a| {
                a.call(DeviceStart, &[0, 0]).exit_with_result();
            }));
            cast
        },
    ),
    driver(
        "device-without-a-driver",
        "take from a device that was not started",
        everywhere(Error(EIO)),
        |platform| {
            let mut role = role(platform, "device-without-a-driver", |a| {
                a.call(DeviceTake, &[0, 0]).exit_with_result();
            });
            role.spec.devices = vec!["entropy0".into()];
            vec![role]
        },
    ),
    driver(
        "device-twice",
        "drive one device from two cVMs",
        everywhere(Refused("expected a device that has no driver yet")),
        |platform| {
            let mut cast = drives(platform, "device-twice", |a| {
                a.exit(0);
            });
            cast.extend(drives(platform, "device-twice-2", |a| {
                a.exit(0);
            }));
            cast
        },
    ),
];
