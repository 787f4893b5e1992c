//! `docs/hostcalls.md` says what the crate says: calls with arguments and errors, limits, error numbers, layouts, faults.

use std::collections::BTreeSet;

use abi::hostcall::{self, CvmInfo, Family, HANDLER};
use abi::start::StartHeader;
use abi::{Errno, FaultKind, Hostcall};

const REFERENCE: &str = include_str!("../../docs/hostcalls.md");
const SOURCE: &str = include_str!("../src/hostcall.rs");

/// The lines below a heading, up to the next heading of any level.
fn section(heading: &str) -> impl Iterator<Item = &'static str> {
    let mut lines = REFERENCE.lines().skip_while(move |line| *line != heading);
    assert!(lines.next().is_some(), "no heading {heading:?}");
    lines.take_while(|line| !line.starts_with('#'))
}

/// The first cells of each row of the first table below a heading, without backquotes.
fn table<const COLUMNS: usize>(heading: &str) -> Vec<[&'static str; COLUMNS]> {
    let rows = section(heading)
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    rows.skip(2)
        .map(|row| {
            let mut cells = row.split('|').skip(1).map(|cell| cell.trim().trim_matches('`'));
            std::array::from_fn(|_| cells.next().unwrap_or_else(|| panic!("too few cells: {row}")))
        })
        .collect()
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("no number: {text:?}"))
}

/// A call as the page describes it.
struct Call {
    number: u64,
    signature: &'static str,
    heading: &'static str,
}

/// The headings `### NUMBER`, a signature in backquotes.
fn calls() -> Vec<Call> {
    let headings = REFERENCE.lines().filter_map(|heading| {
        let (number, signature) = heading.strip_prefix("### ")?.split_once(" `")?;
        Some(Call {
            number: number.parse().ok()?,
            signature: signature.strip_suffix('`')?,
            heading,
        })
    });
    headings.collect()
}

/// The comment of a variant of `Hostcall` in the source: its lines joined.
fn comment(hostcall: Hostcall) -> String {
    let end = format!("    {hostcall:?} = {},", hostcall as u64);
    let before: Vec<_> = SOURCE.lines().take_while(|line| *line != end).collect();
    assert!(before.len() < SOURCE.lines().count(), "no variant {end:?}");
    let mut lines: Vec<_> = before
        .iter()
        .rev()
        .map_while(|line| line.strip_prefix("    /// "))
        .collect();
    lines.reverse();
    lines.join(" ")
}

/// The error numbers that a text names in backquotes.
fn errors(text: &str) -> BTreeSet<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|word| Errno::ALL.iter().any(|errno| format!("{errno:?}") == *word))
        .map(str::to_owned)
        .collect()
}

/// A hostcall's name as the page writes it.
fn name_of(hostcall: Hostcall) -> String {
    let mut name = String::new();
    for character in format!("{hostcall:?}").chars() {
        if character.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(character.to_lowercase());
    }
    name
}

#[test]
fn every_hostcall_is_described_with_its_number_arguments_and_errors() {
    let calls = calls();
    assert_eq!(calls.len(), Hostcall::ALL.len());
    for (call, hostcall) in calls.iter().zip(Hostcall::ALL) {
        assert_eq!(call.number, hostcall as u64);
        assert_eq!(call.signature.split('(').next(), Some(name_of(hostcall).as_str()));
        let comment = comment(hostcall);
        let end = call.signature.find(')').unwrap();
        let named = format!("`{}", &call.signature[..=end]);
        assert!(
            comment.starts_with(&named),
            "{:?}: the source says {comment:?}",
            call.heading
        );
        let stated = section(call.heading).skip_while(|line| !line.starts_with("Errors: "));
        let stated: Vec<_> = stated.collect();
        assert!(!stated.is_empty(), "{:?} has no line \"Errors:\"", call.heading);
        let mut expected = errors(&comment);
        if named.contains("length") {
            // What the source says once for all calls.
            expected.extend(["EFAULT", "EINVAL"].map(str::to_owned));
        }
        assert_eq!(errors(&stated.join(" ")), expected, "{:?}", call.heading);
    }
}

#[test]
fn limits_and_streams_have_their_values() {
    let expected = [
        ("STREAM_INPUT", hostcall::STREAM_INPUT),
        ("STREAM_OUTPUT", hostcall::STREAM_OUTPUT),
        ("STREAM_ERROR", hostcall::STREAM_ERROR),
        ("TRANSFER_LIMIT", hostcall::TRANSFER_LIMIT as u64),
        ("OUTPUT_LIMIT", hostcall::OUTPUT_LIMIT as u64),
        ("READ_NONBLOCKING", hostcall::READ_NONBLOCKING),
        ("SLEEP_LIMIT", hostcall::SLEEP_LIMIT),
        ("WAIT_FOREVER", hostcall::WAIT_FOREVER),
        ("WAKE_LIMIT", hostcall::WAKE_LIMIT),
        ("BUFFER_READ", hostcall::BUFFER_READ),
        ("BUFFER_WRITE", hostcall::BUFFER_WRITE),
        ("BUFFER_ALL", hostcall::BUFFER_ALL),
        ("BUFFER_LIMIT", hostcall::BUFFER_LIMIT),
        ("BUFFERS", hostcall::BUFFERS as u64),
        ("WITH_SECOND", hostcall::WITH_SECOND),
        ("WITH_STACK", hostcall::WITH_STACK),
        ("END_THREAD", hostcall::END_THREAD),
        ("END_CVM", hostcall::END_CVM),
        ("WAIT_ON", hostcall::WAIT_ON),
        ("KEEP_STACK", hostcall::KEEP_STACK),
        ("KEEP_THREAD_POINTER", hostcall::KEEP_THREAD_POINTER),
        ("TEXT_LIMIT", hostcall::TEXT_LIMIT),
        ("RAW_TEXT", hostcall::RAW_TEXT),
        ("REGISTERS", hostcall::REGISTERS as u64),
        ("START", hostcall::START),
        ("DEVICE_QUEUE_SIZE", hostcall::DEVICE_QUEUE_SIZE as u64),
        ("DEVICE_CONFIG_LIMIT", hostcall::DEVICE_CONFIG_LIMIT),
        ("SEGMENT_LIMIT", hostcall::SEGMENT_LIMIT as u64),
        ("SEGMENT_BYTES_LIMIT", hostcall::SEGMENT_BYTES_LIMIT),
        ("SEGMENT_WRITTEN", hostcall::SEGMENT_WRITTEN),
    ];
    let rows = table("### Limits and streams");
    let found: Vec<(&str, u64)> = rows.into_iter().map(|[name, value]| (name, number(value))).collect();
    assert_eq!(found, expected);
    // The handler's name is the only constant that is no number.
    let constants = SOURCE.lines().filter(|line| line.starts_with("pub const "));
    assert_eq!(constants.count(), expected.len() + 1, "constants of abi::hostcall");
}

#[test]
fn every_hostcall_is_listed_in_its_family() {
    let found: Vec<(&str, Vec<&str>)> = table("### Families")
        .into_iter()
        .map(|[family, calls]| (family, calls.split(", ").map(|call| call.trim_matches('`')).collect()))
        .collect();
    let names = Hostcall::ALL.map(|hostcall| (hostcall.family(), name_of(hostcall)));
    let expected = Family::ALL.map(|family| {
        let members = names.iter().filter(|(of, _)| *of == family);
        (
            family.name(),
            members.map(|(_, name)| name.as_str()).collect::<Vec<_>>(),
        )
    });
    assert_eq!(found, expected);
}

#[test]
fn the_registers_of_a_handler_are_described() {
    assert!(section("## Servers").any(|line| line.contains(&format!("`{HANDLER}`"))));
    let rows = table::<3>("## Servers");
    assert!(rows.iter().any(|[what, ..]| what.contains("number of the hostcall")));
    assert!(rows.iter().any(|[what, ..]| what.contains("number of the calling cVM")));
}

#[test]
fn every_error_number_is_listed() {
    let rows = table("## Error numbers");
    let found: Vec<(i32, String)> = rows
        .into_iter()
        .map(|[value, name]| (number(value), name.to_owned()))
        .collect();
    assert_eq!(found, Errno::ALL.map(|errno| (errno as i32, format!("{errno:?}"))));
}

#[test]
fn every_kind_of_fault_is_listed() {
    let rows = table("### Kinds of fault");
    let found: Vec<(u32, &str)> = rows.into_iter().map(|[value, name]| (number(value), name)).collect();
    assert_eq!(found, FaultKind::ALL.map(|kind| (kind as u32, kind.name())));
}

/// Asserts that a layout table names `fields` in their order, without gaps, and finds each field's value in `bytes`.
fn assert_layout(heading: &str, bytes: &[u8], fields: &[(&str, u64)]) {
    let rows = table(heading);
    let names: Vec<_> = rows.iter().map(|[_, _, name]| *name).collect();
    assert_eq!(names, fields.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    let mut end = 0;
    for ([offset, size, name], (_, value)) in rows.into_iter().zip(fields) {
        let (offset, size): (usize, usize) = (number(offset), number(size));
        assert_eq!(offset, end, "offset of {name}");
        end = offset + size;
        let mut word = [0; 8];
        // Of a longer field, which is no integer, the first bytes.
        let first = size.min(8);
        word[..first].copy_from_slice(&bytes[offset..offset + first]);
        assert_eq!(u64::from_le_bytes(word), *value, "{name} at {offset}");
    }
    assert_eq!(end, bytes.len(), "{heading}: the end");
    let told = [
        format!("The record has {end} bytes."),
        format!("The strings begin at offset {end}."),
    ];
    let said = section(heading).any(|line| told.iter().any(|words| line.contains(words)));
    assert!(said, "{heading}: expected one of {told:?}");
}

/// Makes a record with a different value in every field, and the list of its fields with these values.
macro_rules! numbered {
    ($record:ident { $($field:ident),+ $(,)? }) => {{
        let mut values = 0x0102_0301_u32..;
        let mut next = || values.next().unwrap();
        let record = $record { $($field: next().into()),+ };
        (record, [$((stringify!($field), u64::from(record.$field))),+])
    }};
}

#[test]
fn the_start_block_has_its_layout() {
    let (header, fields) = numbered!(StartHeader {
        magic,
        version,
        size,
        id,
        name,
        argument_count,
        arguments,
        environment_count,
        environment,
        base,
        memory_size,
        heap,
        heap_size,
        stack,
        stack_size,
        local,
        local_size,
        local_slot,
        counter_frequency,
        counter_start,
    });
    assert_layout("## Start block", &header.to_bytes(), &fields);
    let rows = table::<4>("## Start block");
    let magic = String::from_utf8(abi::start::MAGIC.to_le_bytes().to_vec()).unwrap();
    assert_eq!(rows[0][3], format!("the bytes `{magic}"));
    assert_eq!(rows[1][3], abi::start::VERSION.to_string());
}

#[test]
fn the_information_record_has_its_layout() {
    let info = CvmInfo {
        id: 1,
        restarts: 2,
        priority: 3,
        last_fault: 4,
        base: 5,
        size: 6,
        run_time: 7,
        hostcalls: 8,
        program: [9; 32],
    };
    let names = "id restarts priority last_fault base size run_time hostcalls program";
    let values = (1..9).chain([0x0909_0909_0909_0909]);
    let fields: Vec<_> = names.split(' ').zip(values).collect();
    assert_layout("## Information record", &info.to_bytes(), &fields);
}
