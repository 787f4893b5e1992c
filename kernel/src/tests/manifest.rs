//! The manifest.

use super::build::{Value, Value::*, archive, manifest, manifest_with};
use super::stored;
use crate::plan::archive::Archive;
use crate::plan::manifest::{CvmSpec, Plan, read};
use abi::hostcall::Family;
use abi::manifest::RestartPolicy;
use proptest::prelude::*;

fn plan(manifest: &[u8]) -> Result<Plan, String> {
    let bytes = archive(&[("manifest.dtb", manifest), ("hello.elf", b"elf")]);
    read(&Archive::check(stored(&bytes)).unwrap()).map_err(|error| error.to_string())
}

fn read_bytes(manifest: &[u8]) -> Result<Vec<CvmSpec>, String> {
    plan(manifest).map(|plan| plan.cvms)
}

const COMPATIBLE: &str = "intravisor,manifest-1";

fn one(extra: Vec<(&str, Value<'_>)>) -> Result<CvmSpec, String> {
    let mut properties = vec![("label", Text("a")), ("runtime", Text("hello.elf"))];
    for (key, value) in extra {
        properties.retain(|(other, _)| *other != key);
        properties.push((key, value));
    }
    read_bytes(&manifest(COMPATIBLE, &[&properties])).map(|mut specs| specs.remove(0))
}

#[test]
fn what_is_left_out_has_its_default() {
    let spec = one(vec![]).unwrap();
    assert_eq!((spec.name.as_str(), spec.runtime.as_str()), ("a", "hello.elf"));
    assert_eq!((spec.heap, spec.stack, spec.priority, spec.wait), (0, 16 * 1024, 3, -1));
    assert_eq!(
        (spec.restart, spec.restart_limit, spec.restart_delay),
        (RestartPolicy::Never, 0, 0)
    );
    assert_eq!((spec.isolation_base, spec.isolation_size), (None, None));
    assert!(spec.args.is_empty() && spec.env.is_empty());
    assert_eq!((spec.server, spec.within), (None, None));
    assert_eq!((spec.call_budget, spec.service_stack), (1_000_000_000, 8192));
    assert_eq!((spec.threads, spec.handlers), (1, 1));
    assert!(
        Family::ALL
            .into_iter()
            .all(|family| spec.families >> family as u32 & 1 == 1)
    );
}

/// Manifest of cVMs with a name, and the properties that name others.
fn related(cvms: &[(&str, Option<&str>, Option<&str>)]) -> Result<Vec<CvmSpec>, String> {
    let nodes: Vec<Vec<(&str, Value<'_>)>> = cvms
        .iter()
        .map(|(name, server, within)| {
            let mut node = vec![("label", Text(name)), ("runtime", Text("hello.elf"))];
            node.extend(server.map(|server| ("callback-out", Text(server))));
            node.extend(within.map(|within| ("within", Text(within))));
            node
        })
        .collect();
    let nodes: Vec<&[(&str, Value<'_>)]> = nodes.iter().map(Vec::as_slice).collect();
    read_bytes(&manifest(COMPATIBLE, &nodes))
}

#[test]
fn servers_and_outer_cvms_are_found_by_name_in_any_order() {
    let specs = related(&[
        ("c", Some("b"), Some("a")),
        ("a", Some("monitor"), None),
        ("b", Some("a"), Some("a")),
    ])
    .unwrap();
    let found: Vec<_> = specs.iter().map(|spec| (spec.server, spec.within)).collect();
    assert_eq!(found, [(Some(2), Some(1)), (None, None), (Some(1), Some(1))]);
}

#[test]
fn circles_and_memory_within_strangers_are_refused() {
    let circle = related(&[("a", Some("b"), None), ("b", Some("c"), None), ("c", Some("a"), None)]);
    let expected = "manifest.dtb: cVM a: callback-out leads back to cVMs on its own way";
    assert_eq!(circle, Err(expected.into()));
    let circle = related(&[("x", Some("a"), None), ("a", Some("b"), None), ("b", Some("a"), None)]);
    assert!(circle.is_err());
    let stranger = related(&[("a", None, None), ("b", None, Some("a"))]);
    let expected =
        "manifest.dtb: cVM b: within = \"a\": expected a cVM that serves its hostcalls, directly or by others";
    assert_eq!(stranger, Err(expected.into()));
}

#[test]
fn a_server_within_another_cvm_serves_only_those_within_it_too() {
    let stranger = related(&[
        ("outer", None, None),
        ("inner", Some("outer"), Some("outer")),
        ("c", Some("inner"), None),
    ]);
    let expected = "manifest.dtb: cVM c: callback-out leads to inner, which lies within outer: expected the same of c";
    assert_eq!(stranger, Err(expected.into()));
    let layers = [
        ("o", None, None),
        ("m", Some("o"), Some("o")),
        ("c", Some("m"), Some("m")),
        ("beside", Some("m"), Some("o")),
    ];
    assert!(related(&layers).is_ok());
    let between = related(&[
        ("o", None, None),
        ("m", Some("o"), Some("o")),
        ("s", Some("m"), Some("m")),
        ("c", Some("s"), Some("o")),
    ]);
    assert!(between.is_err(), "m is no cVM around c");
}

/// Three cVMs, each with one of these as its server and one as the cVM that it is within; 3 is nobody.
fn three(choice: usize) -> ([usize; 3], [usize; 3]) {
    let digit = |place: usize| choice >> (2 * place) & 3;
    ([0, 1, 2].map(digit), [3, 4, 5].map(digit))
}

/// Whom one gets to by a relation, in any number of steps.
fn reached(next: &[usize; 3]) -> [[bool; 3]; 3] {
    let mut all = [[false; 3]; 3];
    for _ in 0..3 {
        for (from, to) in next.iter().enumerate().filter(|(_, to)| **to < 3) {
            all[from][*to] = true;
            let further = all[*to];
            for (reached, further) in all[from].iter_mut().zip(further) {
                *reached |= further;
            }
        }
    }
    all
}

#[test]
fn whoever_reaches_the_memory_of_a_server_reaches_that_of_all_who_lend_it_something() {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let mut accepted = 0;
    for choice in 0..1 << 12 {
        let (servers, outers) = three(choice);
        let name = |of: usize| NAMES.get(of).copied();
        let cvms = [0, 1, 2].map(|cvm| (NAMES[cvm], name(servers[cvm]), name(outers[cvm])));
        let (serves, covers) = (reached(&servers), reached(&outers));
        let circle = (0..3).any(|cvm| serves[cvm][cvm] || covers[cvm][cvm]);
        // Who is around a cVM serves it, and sees what passes.
        let seen = (0..3).all(|cvm| outers[cvm] == 3 || serves[cvm][outers[cvm]]);
        let mut family = true;
        for (client, server, around) in (0..27).map(|all| (all / 9, all / 3 % 3, all % 3)) {
            let lends_to_what_it_reaches = serves[client][server] && covers[server][around];
            family &= !lends_to_what_it_reaches || client == around || covers[client][around];
        }
        let expected = !circle && seen && family;
        let found = related(&cvms);
        assert_eq!(found.is_ok(), expected, "{cvms:?}: {:?}", found.err());
        accepted += usize::from(expected);
    }
    assert!(accepted > 20, "{accepted}");
}

#[test]
fn a_chain_of_servers_has_a_limit() {
    let names: Vec<String> = (0..10).map(|number| format!("c{number}")).collect();
    let chain: Vec<(&str, Option<&str>, Option<&str>)> = (0..10)
        .map(|number: usize| {
            (
                names[number].as_str(),
                number.checked_sub(1).map(|server| names[server].as_str()),
                None,
            )
        })
        .collect();
    assert!(related(&chain[..9]).is_ok());
    let expected = "manifest.dtb: cVM c9: callback-out leads through more than 8 cVMs, or in a circle";
    assert_eq!(related(&chain), Err(expected.into()));
}

#[test]
fn families_are_a_set_that_always_has_the_cvm_itself() {
    let spec = one(vec![("hostcalls", Texts(&["time", "service"]))]).unwrap();
    let expected = [Family::Process, Family::Time, Family::Service];
    assert_eq!(
        spec.families,
        expected.into_iter().map(|family| 1 << family as u32).sum::<u32>()
    );
    let none = one(vec![("hostcalls", Bytes(&[]))]).unwrap();
    assert_eq!(none.families, 1);
}

fn with_buffer(properties: &[(&str, Value<'_>)]) -> Result<Plan, String> {
    let cvms = ["a", "b"].map(|name| [("label", Text(name)), ("runtime", Text("hello.elf"))]);
    plan(&manifest_with(COMPATIBLE, &[&cvms[0], &cvms[1]], &[properties]))
}

#[test]
fn buffers_arrive() {
    let all = [
        ("label", Text("f")),
        ("size", Cells(0x20)),
        ("owner", Text("a")),
        ("readers", Text("*")),
        ("writers", Texts(&["b"])),
        ("data", Text("hello.elf")),
    ];
    let plan = with_buffer(&all).unwrap();
    let file = &plan.buffers[0];
    let who = [&file.readers, &file.writers].map(|set| [0, 1].map(|cvm| set.contains(cvm)));
    assert_eq!((file.name.as_str(), file.size, file.owner), ("f", 0x20, Some(0)));
    assert_eq!(who, [[true, true], [false, true]]);
    assert_eq!(file.data.as_deref(), Some("hello.elf"));
    let plan = with_buffer(&[("label", Text("f")), ("size", Cells(1))]).unwrap();
    let file = &plan.buffers[0];
    assert_eq!((file.owner, &file.data, file.readers.next(0)), (None, &None, None));
}

#[test]
fn what_a_buffer_begins_with_fits_and_is_there() {
    let label = || ("label", Text("f"));
    for (properties, expected) in [
        (
            vec![label(), ("size", Cells(1)), ("data", Text("hello.elf"))],
            "buffer f: data: 3 bytes, expected at most 1",
        ),
        (
            vec![label(), ("size", Cells(1)), ("data", Text("buffers/f"))],
            "buffer f: data \"buffers/f\" is not in the archive",
        ),
        (
            vec![label(), ("size", Cells(1)), ("owner", Text("*"))],
            "buffer f: owner = \"*\": expected the name of a cVM",
        ),
    ] {
        assert_eq!(with_buffer(&properties), Err(format!("manifest.dtb: {expected}")));
    }
}

#[test]
fn everything_that_is_said_arrives() {
    let spec = one(vec![
        ("args", Texts(&["one", "", "three"])),
        ("env", Texts(&["A=b", "C="])),
        ("isolation-base", Cells(0x8200_0000)),
        ("isolation-size", Cells(0x10_0000)),
        ("heap", Cells(1)),
        ("stack", Cells(1 << 40)),
        ("priority", Cell(7)),
        ("restart-policy", Text("always")),
        ("restart-limit", Cell(u32::MAX)),
        ("restart-delay", Cells(u64::MAX)),
        ("wait", Cell(0)),
        ("callback-out", Text("monitor")),
    ])
    .unwrap();
    assert_eq!(spec.args, ["one", "", "three"]);
    assert_eq!(spec.env, ["A=b", "C="]);
    assert_eq!(
        (spec.isolation_base, spec.isolation_size),
        (Some(0x8200_0000), Some(0x10_0000))
    );
    assert_eq!((spec.heap, spec.stack, spec.priority, spec.wait), (1, 1 << 40, 7, 0));
    assert_eq!(
        (spec.restart, spec.restart_limit, spec.restart_delay),
        (RestartPolicy::Always, u32::MAX, u64::MAX)
    );
}

#[test]
fn every_bad_value_is_named_with_its_cvm_and_key() {
    let long = "x".repeat(33);
    let strings = ["y".repeat(9000), "z".repeat(9000)];
    let strings: Vec<&str> = strings.iter().map(String::as_str).collect();
    for (key, value, expected) in [
        (
            "label",
            Text(""),
            "cVM number 0: label: expected 1 to 32 characters of A-Z a-z 0-9 . _ -, not \"monitor\"",
        ),
        (
            "label",
            Text("a b"),
            "cVM number 0: label: expected 1 to 32 characters of A-Z a-z 0-9 . _ -, not \"monitor\"",
        ),
        (
            "label",
            Text(&long),
            "cVM number 0: label: expected 1 to 32 characters of A-Z a-z 0-9 . _ -, not \"monitor\"",
        ),
        (
            "runtime",
            Text("other"),
            "cVM a: runtime \"other\" is not in the archive",
        ),
        ("runtime", Bytes(b"no end"), "cVM a: runtime: expected a string"),
        ("args", Bytes(b"no end"), "cVM a: args: expected a list of strings"),
        ("args", Bytes(b"\xff\0"), "cVM a: args: expected a list of strings"),
        (
            "args",
            Texts(&strings),
            "cVM a: args and env: 18002 bytes, expected at most 16384",
        ),
        (
            "env",
            Texts(&["novalue"]),
            "cVM a: env = \"novalue\": expected KEY=value",
        ),
        ("env", Texts(&["=value"]), "cVM a: env = \"=value\": expected KEY=value"),
        ("priority", Cell(8), "cVM a: priority = 8: expected 0 to 7"),
        ("priority", Cells(3), "cVM a: priority: expected 4 bytes"),
        ("heap", Cell(3), "cVM a: heap: expected 8 bytes"),
        (
            "isolation-base",
            Cells(0x8000_0010),
            "cVM a: isolation-base = 0x80000010: expected a multiple of 4096",
        ),
        (
            "restart-policy",
            Text("often"),
            "cVM a: restart-policy = \"often\": expected never, on-fault or always",
        ),
        (
            "callback-out",
            Text("b"),
            "cVM a: callback-out = \"b\": expected the name of a cVM",
        ),
        (
            "callback-out",
            Text("a"),
            "cVM a: callback-out leads back to cVMs on its own way",
        ),
        ("within", Text("b"), "cVM a: within = \"b\": expected the name of a cVM"),
        (
            "hostcalls",
            Texts(&["time", "Console"]),
            "cVM a: hostcalls = \"Console\": expected the name of a family",
        ),
        ("call-budget", Cell(1), "cVM a: call-budget: expected 8 bytes"),
        ("service-stack", Cell(1), "cVM a: service-stack: expected 8 bytes"),
        ("size", Cell(1), "cVM number 0: unknown key \"size\""),
    ] {
        assert_eq!(
            one(vec![(key, value)]),
            Err(format!("manifest.dtb: {expected}")),
            "{key}"
        );
    }
}

#[test]
fn a_key_may_be_given_once() {
    let cvm: &[(&str, Value<'_>)] = &[
        ("label", Text("a")),
        ("runtime", Text("hello.elf")),
        ("heap", Cells(1)),
        ("heap", Cells(2)),
    ];
    let error = "manifest.dtb: cVM number 0: key \"heap\" is given twice";
    assert_eq!(read_bytes(&manifest(COMPATIBLE, &[cvm])), Err(error.into()));
}

#[test]
fn the_list_as_a_whole_is_checked() {
    let cvm: &[(&str, Value<'_>)] = &[("label", Text("a")), ("runtime", Text("hello.elf"))];
    assert_eq!(
        read_bytes(&manifest(COMPATIBLE, &[])),
        Err("manifest.dtb: no cVM".into())
    );
    assert_eq!(
        read_bytes(&manifest(COMPATIBLE, &[cvm, cvm])),
        Err("manifest.dtb: cVM a: name is also that of cVM number 0".into())
    );
    assert_eq!(
        read_bytes(&manifest("other", &[cvm])),
        Err("manifest.dtb: compatible is Some(\"other\"), expected \"intravisor,manifest-1\"".into())
    );
    let without = archive(&[("hello.elf", b"")]);
    let error = read(&Archive::check(stored(&without)).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "manifest.dtb: not in the archive");
}

proptest! {
    #[test]
    fn a_damaged_manifest_never_panics(
        pokes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6)
    ) {
        let properties = [("label", Text("a")), ("runtime", Text("hello.elf")), ("args", Texts(&["x"])), ("heap", Cells(1))];
        let mut bytes = manifest(COMPATIBLE, &[&properties]);
        for (index, value) in pokes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        let _ = read_bytes(&bytes);
    }
}

#[test]
fn gates_and_who_calls_them_are_found() {
    let read = |gates: Value<'_>, calls: Value<'_>| {
        let server = [("label", Text("s")), ("runtime", Text("hello.elf")), ("gates", gates)];
        let client = [("label", Text("c")), ("runtime", Text("hello.elf")), ("calls", calls)];
        read_bytes(&manifest(COMPATIBLE, &[&client, &server]))
    };
    let cvms = read(Texts(&["add 1 2", "mean 65536 16"]), Texts(&["s.mean", "s.add"])).unwrap();
    assert_eq!(cvms[0].calls, [(1, 1), (1, 0)]);
    let found: Vec<_> = cvms[1]
        .gates
        .iter()
        .map(|gate| (gate.stack, gate.callers, gate.vector))
        .collect();
    assert_eq!(found, [(4096, 2, false), (65536, 16, false)]);
    for gates in [
        "add",
        "add 0 1",
        "add 65537 1",
        "add 1 0",
        "add 1 17",
        "a.d 1 1",
        "add 1 1 vectors",
        "add 1 1 vector x",
    ] {
        let error = read(Texts(&[gates]), Texts(&["s.add"])).unwrap_err();
        assert!(
            error.starts_with(&format!("manifest.dtb: cVM s: gates = \"{gates}\": expected ")),
            "{error}"
        );
    }
    for calls in ["s.sub", "c.add", "add", "x.add", ".add"] {
        let error = read(Texts(&["add 1 1"]), Texts(&[calls])).unwrap_err();
        assert!(
            error.starts_with(&format!("manifest.dtb: cVM c: calls = \"{calls}\": expected ")),
            "{error}"
        );
    }
    let error = read(Texts(&["add 1 1", "mean 1 1 vector"]), Texts(&["s.add"])).unwrap_err();
    assert!(error.contains("expected all of them with vector, or none"), "{error}");
    let error = read(Texts(&["add 1 1"; 17]), Texts(&["s.add"])).unwrap_err();
    assert!(error.contains("gates: 17 gates, expected at most 16"), "{error}");
}
