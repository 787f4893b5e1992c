//! Manifests that are damaged or ask for what cannot be: the monitor names cVM, key, value and expectation, and powers off
//! with a failing status.

use abi::manifest as names;
use tests::{Platform, Scenario, cvm, on_every_platform};
use tools::manifest::{CvmNode, Manifest, Value};

on_every_platform!(
    a_manifest_that_is_no_device_tree_is_refused,
    a_manifest_of_another_kind_is_refused,
    a_missing_key_is_named,
    a_bad_value_is_named_with_what_was_expected,
    names_are_unique_and_plain,
    an_unknown_key_is_refused,
    memory_that_is_not_there_is_refused,
    defaults_fill_what_is_left_out,
    tokens_without_meaning_are_passed_over,
);

fn assert_refused(platform: Platform, manifest: &[u8], message: &str) {
    let outcome = Scenario::with_manifest(platform, manifest).boot(platform);
    outcome.assert_status(1);
    assert_eq!(
        outcome.monitor().last(),
        Some(&format!("error: {message}").as_str()),
        "{outcome}"
    );
}

fn two() -> Manifest {
    Manifest::new(&[cvm("hello", "hello", &[]), cvm("second", "idle", &[])])
}

/// The manifest of two cVMs with a change to the second one.
fn changed(change: impl Fn(&mut CvmNode)) -> Vec<u8> {
    let mut manifest = two();
    change(&mut manifest.cvms.as_mut().unwrap()[1]);
    manifest.encode().unwrap()
}

/// Asserts that the second cVM with `key` = `value` is refused, with `message` about it.
fn assert_value_refused(platform: Platform, key: &str, value: Value<'_>, message: &str) {
    let manifest = changed(|node| {
        node.set(key, value);
    });
    assert_refused(platform, &manifest, &format!("manifest.dtb: cVM second: {message}"));
}

fn a_manifest_that_is_no_device_tree_is_refused(platform: Platform) {
    let good = two().encode().unwrap();
    let tree = |message: &str| format!("manifest.dtb: device tree: at offset {message}");
    let patched = |offset: usize, bytes: &[u8], message: &str| {
        let mut manifest = good.clone();
        manifest[offset..offset + bytes.len()].copy_from_slice(bytes);
        assert_refused(platform, &manifest, &tree(message));
    };
    assert_refused(platform, &[], &tree("0x0: expected a device tree header of 40 bytes"));
    assert_refused(
        platform,
        &good[..8],
        &tree("0x8: expected a device tree header of 40 bytes"),
    );
    let cut = good.len() - 1;
    assert_refused(
        platform,
        &good[..cut],
        &tree(&format!("{cut:#x}: expected the rest of the tree")),
    );
    assert_refused(platform, &good[..40], &tree("0x28: expected the rest of the tree"));
    patched(0, &[0], "0x0: expected the magic number 0xd00dfeed");
    patched(4, &[0, 0, 0, 41], "0x4: expected a total size that holds all blocks");
    patched(8, &[0xff; 4], "0x4: expected a total size that holds all blocks");
    patched(36, &[0xff; 4], "0x4: expected a total size that holds all blocks");
    patched(
        36,
        &[0x00, 0x40, 0, 0],
        "0x4: expected a total size that holds all blocks",
    );
    patched(
        8,
        &[0, 0, 0, 0],
        "0x8: expected a structure block behind the header, 4-byte aligned",
    );
    patched(
        16,
        &[0, 0, 0, 4],
        "0x10: expected a terminated, 8-byte aligned memory reservation block before the structure",
    );
    // The structure: a token, the root's empty name, a property with length and name.
    let structure = u32::from_be_bytes(good[8..12].try_into().unwrap()) as usize;
    let at = |offset: usize, message: &str| format!("{:#x}: expected {message}", structure + offset);
    patched(
        structure,
        &[0, 0, 0, 7],
        &at(0, "a known token, nodes closed before the end"),
    );
    patched(structure, &[0, 0, 0, 2], &at(0, "a node to end"));
    patched(
        structure + 12,
        &[0x7f, 0xff, 0xff, 0xff],
        &at(12, "a property that ends within the tree"),
    );
    patched(
        structure + 16,
        &[0x7f, 0xff, 0xff, 0xff],
        &at(16, "a name in the strings block"),
    );
    patched(
        structure + 8,
        &[0, 0, 0, 9],
        &at(8, "a known token, nodes closed before the end"),
    );
}

fn a_manifest_of_another_kind_is_refused(platform: Platform) {
    let refused = |manifest: Manifest, message: &str| {
        assert_refused(
            platform,
            &manifest.encode().unwrap(),
            &format!("manifest.dtb: {message}"),
        );
    };
    let compatible = |text: Option<&str>| Manifest {
        compatible: text.map(str::to_owned),
        ..two()
    };
    refused(
        compatible(None),
        "compatible is None, expected \"intravisor,manifest-1\"",
    );
    let other = "compatible is Some(\"intravisor,manifest-2\"), expected \"intravisor,manifest-1\"";
    refused(compatible(Some("intravisor,manifest-2")), other);
    refused(Manifest { cvms: None, ..two() }, "no node /cvms");
    refused(
        Manifest {
            cvms: Some(Vec::new()),
            ..two()
        },
        "no cVM",
    );
    let mut renamed = two();
    renamed.cvms.as_mut().unwrap()[1].name = "cvm@2".to_owned();
    refused(renamed, "node \"cvm@2\", expected \"cvm@1\"");
    let crowd: Vec<_> = (0..=names::CVM_LIMIT)
        .map(|number| cvm(&format!("number-{number}"), "hello", &[]))
        .collect();
    refused(Manifest::new(&crowd), "more than 1024 cVMs");
}

fn a_missing_key_is_named(platform: Platform) {
    let without = |key: &str| {
        changed(|node| {
            node.remove(key);
        })
    };
    assert_refused(platform, &without(names::NAME), &plain_name_expected());
    assert_refused(
        platform,
        &without(names::RUNTIME),
        "manifest.dtb: cVM second: runtime is missing",
    );
}

fn a_bad_value_is_named_with_what_was_expected(platform: Platform) {
    let long = "x".repeat(names::STRINGS_LIMIT);
    let cases: [(&str, Value<'_>, &str); 21] = [
        (
            names::RUNTIME,
            Value::Text("nowhere"),
            "runtime \"nowhere\" is not in the archive",
        ),
        (names::RUNTIME, Value::Bytes(b"hello"), "runtime: expected a string"),
        (names::RUNTIME, Value::Bytes(b"he\0llo\0"), "runtime: expected a string"),
        (names::ARGS, Value::Bytes(b"one"), "args: expected a list of strings"),
        (
            names::ARGS,
            Value::Bytes(&[0xff, 0]),
            "args: expected a list of strings",
        ),
        (
            names::ARGS,
            Value::Text(&long),
            "args and env: 16385 bytes, expected at most 16384",
        ),
        (
            names::ENV,
            Value::Text("novalue"),
            "env = \"novalue\": expected KEY=value",
        ),
        (
            names::ENV,
            Value::Text("=value"),
            "env = \"=value\": expected KEY=value",
        ),
        (names::ISOLATION_BASE, Value::U32(0), "isolation-base: expected 8 bytes"),
        (
            names::ISOLATION_BASE,
            Value::U64(0x8400_0800),
            "isolation-base = 0x84000800: expected a multiple of 4096",
        ),
        (names::HEAP, Value::Bytes(&[]), "heap: expected 8 bytes"),
        (names::STACK, Value::U32(4096), "stack: expected 8 bytes"),
        (names::PRIORITY, Value::U32(8), "priority = 8: expected 0 to 7"),
        (names::PRIORITY, Value::U64(1), "priority: expected 4 bytes"),
        (names::THREADS, Value::U32(0), "threads = 0: expected 1 to 64"),
        (names::THREADS, Value::U32(65), "threads = 65: expected 1 to 64"),
        (names::HANDLERS, Value::U32(17), "handlers = 17: expected 1 to 16"),
        (
            names::SERVICE_STACK,
            Value::U64(0x1_0001),
            "service-stack = 65537: expected 1 to 65536",
        ),
        (
            names::RESTART_POLICY,
            Value::Text("sometimes"),
            "restart-policy = \"sometimes\": expected never, on-fault or always",
        ),
        (
            names::RESTART_LIMIT,
            Value::Bytes(&[1]),
            "restart-limit: expected 4 bytes",
        ),
        (
            names::CALLBACK_OUT,
            Value::Text("nobody"),
            "callback-out = \"nobody\": expected the name of a cVM",
        ),
    ];
    for (key, value, message) in cases {
        assert_value_refused(platform, key, value, message);
    }
}

fn names_are_unique_and_plain(platform: Platform) {
    assert_name_refused(
        platform,
        "hello",
        "manifest.dtb: cVM hello: name is also that of cVM number 0",
    );
    let long = "n".repeat(33);
    for name in [
        "",
        "monitor",
        "two words",
        "monitor]",
        "new\nline",
        "ümlaut",
        long.as_str(),
    ] {
        assert_name_refused(platform, name, &plain_name_expected());
    }
}

/// What the monitor says of the second cVM's name.
fn plain_name_expected() -> String {
    format!(
        "manifest.dtb: cVM number 1: {}: expected 1 to 32 characters of A-Z a-z 0-9 . _ -, not \"monitor\"",
        names::NAME
    )
}

fn assert_name_refused(platform: Platform, name: &str, message: &str) {
    let manifest = changed(|node| {
        node.set(names::NAME, Value::Text(name));
    });
    assert_refused(platform, &manifest, message);
}

fn an_unknown_key_is_refused(platform: Platform) {
    let manifest = changed(|node| {
        node.set("capfiles", Value::U32(1));
    });
    assert_refused(
        platform,
        &manifest,
        "manifest.dtb: cVM number 1: unknown key \"capfiles\"",
    );
}

fn memory_that_is_not_there_is_refused(platform: Platform) {
    let refused = |changes: &[(&str, u64)], start: &str| {
        let manifest = changed(|node| {
            changes
                .iter()
                .for_each(|(key, value)| _ = node.set(key, Value::U64(*value)));
        });
        let outcome = Scenario::with_manifest(platform, manifest).boot(platform);
        outcome.assert_status(1);
        let last = *outcome.monitor().last().unwrap();
        assert!(
            last.starts_with(&format!("error: cVM second: {start}")),
            "{start}: {outcome}"
        );
        assert!(outcome.of("hello").is_empty(), "{outcome}");
    };
    let end = platform.ram() + (128 << 20);
    let (base, size, heap, stack) = (names::ISOLATION_BASE, names::ISOLATION_SIZE, names::HEAP, names::STACK);
    refused(
        &[(base, platform.monitor())],
        &format!("isolation base {:#x}, size 0x", platform.monitor()),
    );
    refused(
        &[(base, platform.device())],
        &format!("isolation base {:#x}, size 0x", platform.device()),
    );
    refused(&[(base, 0xffff_ffff_ffff_f000)], "isolation base 0xfffffffffffff000");
    refused(&[(base, end)], &format!("isolation base {end:#x}, size 0x"));
    refused(
        &[(size, 4096)],
        "idle: isolation size 0x1000, but program, heap and stack need 0x",
    );
    refused(&[(size, 1 << 30)], "needs 0x40000000 bytes of memory, 0x");
    refused(
        &[(heap, u64::MAX)],
        "idle: program, heap and stack together, or the isolation size, exceed 2^40 bytes",
    );
    refused(
        &[(stack, u64::MAX)],
        "idle: program, heap and stack together, or the isolation size, exceed 2^40 bytes",
    );
    refused(
        &[(size, u64::MAX)],
        "idle: program, heap and stack together, or the isolation size, exceed",
    );
    refused(&[(heap, 1 << 39)], "needs 0x80");
}

fn defaults_fill_what_is_left_out(platform: Platform) {
    let manifest = changed(|node| {
        node.properties
            .retain(|(key, _)| [names::NAME, names::RUNTIME].contains(&key.as_str()));
    });
    let outcome = Scenario::with_manifest(platform, manifest).boot(platform);
    outcome.assert_status(0);
    assert_eq!(outcome.of("second"), ["yielded 10 times"], "{outcome}");
}

fn tokens_without_meaning_are_passed_over(platform: Platform) {
    // NOP is a token that a device tree may have anywhere between others.
    const NOP: [u8; 4] = 4_u32.to_be_bytes();
    let good = two().encode().unwrap();
    let field = |index: usize| u32::from_be_bytes(good[index * 4..][..4].try_into().unwrap()) as usize;
    let (structure, strings, size) = (field(2), field(3), field(9));
    assert!(structure < strings, "the strings are moved along");
    // Before the first property, between two properties, and before the end token.
    let second = structure + 8 + 12 + (names::COMPATIBLE.len() + 1).next_multiple_of(4);
    for at in [structure + 8, second, structure + size - 4] {
        let mut manifest = good.clone();
        manifest.splice(at..at, NOP);
        for (index, value) in [(1, good.len() + 4), (3, strings + 4), (9, size + 4)] {
            manifest[index * 4..][..4].copy_from_slice(&u32::try_from(value).unwrap().to_be_bytes());
        }
        let outcome = Scenario::with_manifest(platform, manifest).boot(platform);
        outcome.assert_status(0);
        assert_eq!(outcome.of("second"), ["yielded 10 times"], "{outcome}");
    }
}
