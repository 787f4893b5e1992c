//! What cVMs say about each other in YAML: servers, layers, waiting; files in the Intravisor's form; capfiles; families.

use std::fs;
use std::path::Path;

use abi::hostcall::{Family, HANDLER};
use tools::config::{self, Config};
use tools::config::{BufferConfig, Data};
use tools::elf::synthesis::Elf;
use tools::manifest::{self, BufferSpec};
use tools::pack::{PackError, pack};
use tools::{Architecture, archive, inspect};

fn parse(yaml: &str) -> Config {
    config::parse(Path::new("x.yaml"), yaml)
}

fn messages(yaml: &str) -> Vec<String> {
    parse(yaml).diagnostics.iter().map(ToString::to_string).collect()
}

fn message(yaml: &str) -> String {
    let messages = messages(yaml);
    assert_eq!(messages.len(), 1, "{messages:#?}");
    messages.into_iter().next().unwrap()
}

/// A file of cVMs, one a line.
fn cvms(lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("- {{{line}}}\n")).collect();
    format!("cVMs:\n{lines}")
}

/// Name, server and outer of each cVM.
fn relations(yaml: &str) -> Vec<(String, String, Option<String>)> {
    let config = parse(yaml);
    assert!(!config.has_errors(), "{:#?}", config.diagnostics);
    let specs = config.cvms.into_iter().map(|cvm| cvm.spec);
    specs.map(|cvm| (cvm.name, cvm.callback_out, cvm.within)).collect()
}

const TWO_PURE: &str = "---
cVMs:
- name: first
  runtime: libfirst.so
  args: /ld.so /app/sc_main # a comment
  isolation:
  - base: 0x20000000
    size: 0x10000000
    begin: 0x20000000
    end: 0x30000000
  callback_out: monitor
  wait: -1
- name: second
  runtime: libsecond.so
  args: /ld.so /app/sc_main
  isolation:
  - base: 0x10000000
    size: 0x10000000
    begin: 0x10000000
    end: 0x20000000
  callback_out: libfirst.so
  wait: -1
";

const TWO_LAYERS: &str = "---
cVMs:
- name: outer
  runtime: libouter.so
  isolation:
  - base: 0x20000000
    size: 0x10000000
    begin: 0x10000000
    end: 0x30000000
  callback_out: monitor
  callback_in: libhello.so
  wait: -1
- name: inner
  runtime: libhello.so
  isolation:
  - base: 0x10000000
    size: 0x10000000
    begin: 0x10000000
    end: 0x20000000
  callback_out: libouter.so
";

#[test]
fn an_intravisor_file_is_accepted_and_every_key_that_means_something_else_is_named() {
    let place = "not taken: an address of the Intravisor's process; the monitor places the cVM";
    let bytes = "not taken: bytes of the Intravisor's process; the cVM gets what program, heap and stack need";
    let wait = "here the next cVM starts at once, in the Intravisor when the first thread of this one has ended";
    assert_eq!(
        messages(TWO_PURE),
        [
            format!("x.yaml:7:11: warning: cVM first: isolation.base: \"0x20000000\": {place}"),
            format!("x.yaml:8:11: warning: cVM first: isolation.size: \"0x10000000\": {bytes}"),
            format!("x.yaml:9:12: warning: cVM first: isolation.begin: \"0x20000000\": {place}"),
            format!("x.yaml:10:10: warning: cVM first: isolation.end: \"0x30000000\": {place}"),
            format!("x.yaml:17:11: warning: cVM second: isolation.base: \"0x10000000\": {place}"),
            format!("x.yaml:18:11: warning: cVM second: isolation.size: \"0x10000000\": {bytes}"),
            format!("x.yaml:19:12: warning: cVM second: isolation.begin: \"0x10000000\": {place}"),
            format!("x.yaml:20:10: warning: cVM second: isolation.end: \"0x20000000\": {place}"),
            format!("x.yaml:12:9: warning: cVM first: wait: \"-1\": {wait}"),
        ]
    );
    let config = parse(TWO_PURE);
    let [first, second] = config.cvms.as_slice() else {
        panic!("{config:#?}")
    };
    assert_eq!((first.spec.isolation_base, first.spec.isolation_size), (None, None));
    assert_eq!(first.spec.runtime, "libfirst.so");
    assert_eq!(first.spec.args, ["/ld.so", "/app/sc_main"]);
    assert_eq!(second.spec.callback_out, "first", "the runtime's name means the cVM");
    assert_eq!(second.spec.within, None);
}

#[test]
fn layers_of_an_intravisor_file_become_within() {
    let expected = [
        ("outer".to_owned(), "monitor".to_owned(), None),
        ("inner".to_owned(), "outer".to_owned(), Some("outer".to_owned())),
    ];
    assert_eq!(relations(TWO_LAYERS), expected);
    let text = messages(TWO_LAYERS).join("\n");
    let begin = "cVM outer: isolation.begin: \"0x10000000\": not taken as an address of the Intravisor's process; it says \
                 that inner lies within this cVM";
    assert!(text.contains(begin), "{text}");
    assert!(!text.contains("callback_in"), "it says what callback_out says: {text}");
}

#[test]
fn a_chain_of_three_layers_takes_the_innermost_outer_of_each() {
    let reach = |base: u32, size: u32, begin: u32, end: u32| {
        format!("isolation: {{base: {base:#x}, size: {size:#x}, begin: {begin:#x}, end: {end:#x}}}")
    };
    let a = format!(
        "name: a, runtime: x, {}",
        reach(0x8300_0000, 0x1000, 0x8300_0000, 0x8300_3000)
    );
    let b = format!(
        "name: b, runtime: y, callback_out: a, {}",
        reach(0x8300_1000, 0x1000, 0x8300_1000, 0x8300_3000)
    );
    let c = format!(
        "name: c, runtime: z, callback_out: b, {}",
        reach(0x8300_2000, 0x1000, 0x8300_2000, 0x8300_3000)
    );
    for order in [[&a, &b, &c], [&c, &b, &a], [&b, &a, &c]] {
        let yaml = cvms(&order.map(String::as_str));
        let mut found = relations(&yaml);
        found.sort();
        let within: Vec<_> = found.iter().map(|(_, _, within)| within.as_deref()).collect();
        assert_eq!(within, [None, Some("a"), Some("b")]);
        assert_eq!(messages(&yaml), [""; 0]);
        let mut specs: Vec<_> = parse(&yaml).cvms.into_iter().map(|cvm| cvm.spec).collect();
        specs.sort_by_key(|spec| spec.isolation_base);
        let sizes: Vec<_> = specs.iter().map(|spec| spec.isolation_size).collect();
        assert_eq!(
            sizes,
            [Some(0x3000), Some(0x2000), Some(0x1000)],
            "an outer's region holds all"
        );
    }
    let said = cvms(&[
        "name: a, runtime: x",
        "name: b, runtime: y, callback_out: a, within: a",
        "name: c, runtime: z, callback_out: b, within: z2",
        "name: z, runtime: z2, callback_out: c, within: c",
    ]);
    assert_eq!(
        message(&said.replace("within: z2", "within: y").replace("callback_out: c, ", "")),
        "x.yaml:5:3: error: cVM z: callback_out: \"monitor\": it lies within c; expected c, or a cVM whose own hostcalls lead to c"
    );
}

#[test]
fn layers_that_contradict_themselves_are_refused() {
    let outer = "name: a, runtime: x, isolation: {base: 0x83000000, size: 0x2000, begin: 0x83000000, end: 0x83004000}";
    assert_eq!(
        message(&cvms(&[outer])),
        "x.yaml:2:93: error: cVM a: isolation.end: \"0x83004000\": the memory of no other cVM lies there, expected the same \
         as base + size"
    );
    let partial = "name: b, runtime: y, callback_out: a, isolation: {base: 0x83003000, size: 0x2000}";
    let messages = messages(&cvms(&[outer, partial]));
    let expected =
        "x.yaml:3:53: error: cVM b: isolation: cVM a reaches a part of it by begin and end, expected all or nothing";
    assert!(messages.iter().any(|message| message == expected), "{messages:#?}");
    let other = cvms(&[
        outer,
        "name: b, runtime: y, callback_out: a, within: c, isolation: {base: 0x83002000, size: 0x2000}",
        "name: c, runtime: z",
    ]);
    assert_eq!(
        message(&other),
        "x.yaml:3:50: error: cVM b: within: \"c\": it lies within a, whose begin and end say so; expected a"
    );
    let place = |outer: &str, inner: &str| {
        message(&cvms(&[
            &format!("name: a, runtime: x, isolation: {{{outer}}}"),
            &format!("name: b, runtime: y, callback_out: a, within: a, isolation: {{{inner}}}"),
        ]))
    };
    let outside = place("base: 0x83000000, size: 0x1000", "base: 0x83002000, size: 0x1000");
    assert_eq!(
        outside,
        "x.yaml:3:64: error: cVM b: isolation: 0x83002000-0x83003000 lies within cVM a, expected it inside \
         0x83000000-0x83001000, behind the memory of a itself"
    );
    let on_top = place("base: 0x83000000, size: 0x4000", "base: 0x83000000, size: 0x1000");
    assert!(on_top.contains("0x83000000-0x83001000 lies within cVM a"), "{on_top}");
    assert_eq!(
        place("size: 0x4000", "base: 0x83000000, size: 0x1000"),
        "x.yaml:3:64: error: cVM b: isolation: a base within cVM a, which has none; expected both or neither"
    );
    let before = place(
        "base: 0x83001000, size: 0x1000, begin: 0x83000000",
        "base: 0x83000000, size: 0x1000",
    );
    assert_eq!(
        before,
        "x.yaml:2:36: error: cVM a: isolation: the monitor puts an outer cVM before those within it, expected begin to be \
         the same as base"
    );
    let stranger = cvms(&[
        "name: a, runtime: x, isolation: {base: 0x83000000, size: 0x4000}",
        "name: b, runtime: y, callback_out: a, within: a, isolation: {base: 0x83002000, size: 0x1000}",
        "name: c, runtime: z, isolation: {base: 0x83001000, size: 0x1000}",
    ]);
    assert_eq!(
        message(&stranger),
        "x.yaml:4:36: error: cVM c: isolation: 0x83001000-0x83002000 overlaps 0x83000000-0x83004000 of cVM a, expected \
         disjoint memory"
    );
}

#[test]
fn a_server_is_named_by_its_cvm_or_by_a_runtime_that_only_it_has() {
    let yaml = cvms(&[
        "name: second, runtime: libsecond.so, callback_out: libfirst.so",
        "name: first, runtime: sub/libfirst.so, callback_out: third",
        "name: third, runtime: third",
    ]);
    let servers: Vec<_> = relations(&yaml).into_iter().map(|(_, server, _)| server).collect();
    assert_eq!(servers, ["first", "third", "monitor"]);
    let twice = cvms(&[
        "name: a, runtime: server",
        "name: b, runtime: server",
        "name: c, runtime: client, callback_out: server",
    ]);
    assert_eq!(
        message(&twice),
        "x.yaml:4:44: error: cVM c: callback_out: \"server\": the runtime of the cVMs a, b: expected the name of one of them"
    );
    // The name of a cVM goes before the name of a runtime.
    let named = cvms(&[
        "name: a, runtime: b",
        "name: b, runtime: x",
        "name: c, runtime: y, callback_out: b",
    ]);
    assert_eq!(relations(&named)[2].1, "b");
    let unknown = cvms(&[
        "name: first, runtime: x",
        "name: second, runtime: y, callback_out: frist",
    ]);
    assert_eq!(
        message(&unknown),
        "x.yaml:3:44: error: cVM second: callback_out: \"frist\": expected the name of a cVM, or the runtime of one \
         (did you mean \"first\"?)"
    );
}

#[test]
fn circles_are_refused_with_their_members() {
    let itself = cvms(&["name: a, runtime: x, callback_out: a"]);
    assert_eq!(
        message(&itself),
        "x.yaml:2:39: error: cVM a: callback_out: \"a\": the cVM itself, expected another one"
    );
    let runtime = cvms(&["name: a, runtime: x, callback_out: x"]);
    assert!(message(&runtime).ends_with("\"x\": the cVM itself, expected another one"));
    let two = cvms(&[
        "name: free, runtime: x, callback_out: b",
        "name: b, runtime: y, callback_out: c",
        "name: c, runtime: z, callback_out: b",
    ]);
    assert_eq!(
        message(&two),
        "x.yaml:3:39: error: cVM b: callback_out: a circle: b -> c -> b; expected an end"
    );
    let three = cvms(&[
        "name: a, runtime: x, callback_out: c, within: b",
        "name: b, runtime: y, callback_out: a, within: a",
        "name: c, runtime: z, callback_out: b",
    ]);
    assert_eq!(
        messages(&three),
        [
            "x.yaml:2:39: error: cVM a: callback_out: a circle: a -> c -> b -> a; expected an end",
            "x.yaml:2:50: error: cVM a: within: a circle: a -> b -> a; expected an end"
        ]
    );
}

#[test]
fn an_inner_cvm_needs_its_outer_among_its_servers() {
    let direct = cvms(&["name: a, runtime: x", "name: b, runtime: y, within: a"]);
    assert_eq!(
        message(&direct),
        "x.yaml:3:3: error: cVM b: callback_out: \"monitor\": it lies within a; expected a, or a cVM whose own hostcalls lead to a"
    );
    let chain = cvms(&[
        "name: a, runtime: x",
        "name: b, runtime: y, callback_out: a",
        "name: c, runtime: z, callback_out: b, within: a",
    ]);
    assert_eq!(relations(&chain)[2].2.as_deref(), Some("a"));
}

#[test]
fn waiting_that_never_ends_is_refused() {
    let server = "name: a, runtime: x, wait: 0";
    let client = "name: b, runtime: y, callback_out: a";
    assert_eq!(
        message(&cvms(&[server, client])),
        "x.yaml:2:31: error: cVM a: wait: \"0\": would wait for ever: it serves b, which starts only when it has ended; \
         expected -1 or seconds"
    );
    let through = cvms(&[
        "name: c, runtime: z, callback_out: a, wait: -1",
        server,
        "name: b, runtime: y, callback_out: c",
    ]);
    assert!(message(&through).contains("cVM a: wait: \"0\": would wait for ever: it serves b"));
    assert_eq!(
        messages(&cvms(&[client, server])),
        [""; 0],
        "nobody starts after the server"
    );
    assert_eq!(messages(&cvms(&["name: a, runtime: x, wait: 3", client])), [""; 0]);
    let early = cvms(&["name: b, runtime: y, callback_out: a, wait: 0", "name: a, runtime: x"]);
    assert_eq!(
        message(&early),
        "x.yaml:2:48: warning: cVM b: wait: \"0\": its hostcalls are served by a, which starts only when it has ended"
    );
}

#[test]
fn callback_in_that_contradicts_is_named() {
    let yaml = cvms(&["name: a, runtime: x, callback_in: y", "name: b, runtime: y"]);
    assert_eq!(
        message(&yaml),
        "x.yaml:2:38: warning: cVM a: callback_in: \"y\": no effect: callback_out of b says that monitor serves it"
    );
    let lost = cvms(&["name: a, runtime: x, callback_in: none"]);
    assert_eq!(
        message(&lost),
        "x.yaml:2:38: warning: cVM a: callback_in: \"none\": expected the name of a cVM, or the runtime of one"
    );
}

#[test]
fn keys_about_service_are_checked_against_the_service() {
    let yaml = cvms(&[
        "name: a, runtime: x, service_stack: 64KiB, call_budget: 1s, hostcalls: [console]",
        "name: b, runtime: y, callback_out: a, service_stack: 4KiB, call_budget: 20ms",
    ]);
    assert_eq!(
        messages(&yaml),
        [
            "x.yaml:2:75: error: cVM a: hostcalls: it serves b, expected the family service among the others",
            "x.yaml:2:60: warning: cVM a: call_budget: no effect: the monitor serves its hostcalls",
            "x.yaml:3:57: warning: cVM b: service_stack: no effect: it serves no other cVM",
        ]
    );
    let right = parse(&cvms(&[
        "name: a, runtime: x, service_stack: 64KiB, threads: 4, handlers: 3, hostcalls: [time, service, process]",
        "name: b, runtime: y, callback_out: a, call_budget: 20ms, hostcalls: []",
    ]));
    assert_eq!(right.diagnostics, []);
    let [a, b] = right.cvms.as_slice() else {
        panic!("{right:#?}")
    };
    assert_eq!((a.spec.service_stack, b.spec.call_budget), (64 << 10, 20_000_000));
    assert_eq!((a.spec.threads, a.spec.handlers), (4, 3));
    assert_eq!((b.spec.threads, b.spec.handlers), (1, 1));
    assert_eq!(a.spec.hostcalls, Some(vec![Family::Time, Family::Service]));
    assert_eq!(b.spec.hostcalls, Some(Vec::new()));
    assert!(b.spec.allows(Family::Process) && !b.spec.allows(Family::Console));
    for (line, problem) in [
        ("call_budget: 0", "call_budget: \"0\": expected a duration above 0"),
        (
            "call_budget: 5",
            "call_budget: \"5\": expected a duration: a number with ns, us, ms or s",
        ),
        ("service_stack: 0", "service_stack: \"0\": expected a size above 0"),
        (
            "service_stack: 65KiB",
            "service_stack: \"65KiB\": expected a size of at most 64 KiB",
        ),
        ("threads: 65", "threads: \"65\": expected a number from 1 to 64"),
        ("handlers: 0", "handlers: \"0\": expected a number from 1 to 16"),
        ("hostcalls: all", "hostcalls: found a plain value, expected a list"),
        (
            "hostcalls: [consol]",
            "hostcalls: \"consol\": expected one of process, console, time, memory, capfile, service, thread, sync, buffer, device, gate \
             (did you mean \"console\"?)",
        ),
        (
            "devices: disk0",
            "devices: \"disk0\": expected one of net, block, entropy and a number from 0 on, such as block0",
        ),
        (
            "devices: [net0, block00]",
            "devices: \"block00\": expected one of net, block, entropy and a number from 0 on, such as block0",
        ),
        (
            "devices: net@52:54:00:AB:34:56",
            "devices: \"net@52:54:00:AB:34:56\": expected net@ and the address of a card: six pairs of digits in 0-9 a-f with \
             colons between them, not all 0, such as net@52:54:00:12:34:56",
        ),
        (
            "devices: block@a/b",
            "devices: \"block@a/b\": expected block@ and the serial number of a disk: 1 to 20 characters of A-Z a-z 0-9 . _ -",
        ),
        (
            "devices: entropy@1",
            "devices: \"entropy@1\": expected one of net, block, entropy and a number from 0 on, such as block0, block@ and a \
             serial number, or net@ and an address",
        ),
        (
            "devices: [block@data, net0, block@data]",
            "devices: \"block@data\": given twice, expected each device once",
        ),
        ("float: 1", "float: \"1\": expected yes or no"),
        (
            "devices: [net0, net0]",
            "devices: \"net0\": given twice, expected each device once",
        ),
        (
            "devices: net0, hostcalls: [console]",
            "hostcalls: it has devices, expected the family device among the others",
        ),
        (
            "hostcalls: [time, time]",
            "hostcalls: \"time\": given twice, expected each family once",
        ),
    ] {
        let found = message(&cvms(&[&format!("name: a, runtime: x, {line}")]));
        assert!(found.ends_with(&format!("error: cVM a: {problem}")), "{found}");
    }
}

#[test]
fn keys_of_the_intravisor_without_counterpart_are_ignored_with_a_warning_and_unknown_ones_refused() {
    let about = |line: &str| message(&cvms(&[&format!("name: a, runtime: x, {line}")]));
    let devices = "ignored, it has no meaning here: a cVM gets a device by the key devices";
    assert_eq!(
        about("disk: disk.img"),
        format!("x.yaml:2:31: warning: cVM a: disk: \"disk.img\": {devices}")
    );
    assert_eq!(
        about("net: tap0"),
        format!("x.yaml:2:30: warning: cVM a: net: \"tap0\": {devices}")
    );
    assert_eq!(
        about("clean_room: 1"),
        "x.yaml:2:25: warning: cVM a: clean_room: \"1\": ignored, it has no meaning here: every cVM starts clean"
    );
    assert_eq!(
        messages(&cvms(&["name: a, runtime: x, disk: none, net: none"])),
        [""; 0]
    );
    assert!(about("cb_out: monitor").contains("error: cVM a: cb_out: unknown key, expected one of name, "));
}

#[test]
fn capfiles_are_read_in_the_same_document_or_in_their_own() {
    let list = "capfiles:\n- name: test1\n  size: 0x20\n  data: \"Hello world\\n\"\n- name: test2\n  size: 0x1000\n";
    let own = "cVMs:\n- name: a\n  runtime: x\n";
    let expected = [
        BufferConfig {
            spec: BufferSpec::capfile("test1", 0x20, false),
            key: "capfiles",
            data: Some(Data::Bytes(b"Hello world\n".into())),
        },
        BufferConfig {
            spec: BufferSpec::capfile("test2", 0x1000, false),
            key: "capfiles",
            data: None,
        },
    ];
    for yaml in [format!("---\n{list}\n---\n{own}"), format!("{own}{list}")] {
        let config = parse(&yaml);
        assert_eq!(config.diagnostics, []);
        assert_eq!(config.buffers, expected);
        assert_eq!(config.cvms[0].spec.local, 4, "what is foreign goes there");
    }
    let said = parse(&format!("{own}  local: 0\n{list}"));
    assert_eq!((said.diagnostics.len(), said.cvms[0].spec.local), (0, 0));
    let ours = parse(&format!("{own}capfiles:\n- {{name: log, data: abc, access: write}}\n"));
    assert_eq!(ours.buffers[0].spec, BufferSpec::capfile("log", 3, true));
}

#[test]
fn buffers_name_cvms_that_stand_anywhere_in_the_file() {
    let config = parse(
        "buffers:\n- {name: x, size: 4KiB, owner: a, readers: [a, b], writers: b}\n- {name: y, size: 1}\n---\n\
         cVMs:\n- {name: a, runtime: x, local: 4, buffer_quota: 64KiB}\n- {name: b, runtime: x}\n",
    );
    assert_eq!(config.diagnostics, []);
    let expected = BufferSpec {
        name: "x".into(),
        size: 4096,
        owner: Some("a".into()),
        readers: vec!["a".into(), "b".into()],
        writers: vec!["b".into()],
        data: None,
    };
    assert_eq!(config.buffers[0].spec, expected);
    assert_eq!(config.buffers[1].spec.owner, None);
    let spec = &config.cvms[0].spec;
    assert_eq!((spec.local, spec.buffer_quota), (4, 64 << 10));
    let about = |entry: &str| message(&format!("cVMs:\n- {{name: ab, runtime: x}}\nbuffers:\n- {{{entry}}}\n"));
    for (entry, problem) in [
        (
            "size: 1",
            "4:3: error: buffers.name: missing, expected a name for the buffer",
        ),
        (
            "name: x",
            "4:3: error: buffers.size: missing, expected a size, data or a file",
        ),
        (
            "name: x, size: 0",
            "4:19: error: buffers.size: \"0x0\": expected 1 B to 1 GiB",
        ),
        (
            "name: x, size: 2GiB",
            "4:19: error: buffers.size: \"0x80000000\": expected 1 B to 1 GiB",
        ),
        (
            "name: x, size: 1, owner: aa",
            "4:29: error: buffers.owner: \"aa\": expected the name of a cVM",
        ),
        (
            "name: x, size: 1, readers: [ab, zzz]",
            "4:36: error: buffers.readers: \"zzz\": expected the name of a cVM",
        ),
        (
            "name: x, size: 1, colour: red",
            "4:22: error: buffers.colour: unknown key, expected one of name, size, owner, readers, writers, data, file",
        ),
    ] {
        assert_eq!(about(entry), format!("x.yaml:{problem}"));
    }
    let twice = "cVMs:\n- {name: ab, runtime: x}\nbuffers:\n- {name: x, size: 1}\n- {name: x, size: 1}\n";
    assert_eq!(
        message(twice),
        "x.yaml:5:10: error: buffers.name: \"x\": used twice, expected a different name for each capfile and buffer"
    );
}

#[test]
fn wrong_capfiles_are_named() {
    let about = |entry: &str| message(&format!("cVMs:\n- {{name: a, runtime: x}}\ncapfiles:\n- {{{entry}}}\n"));
    for (entry, problem) in [
        (
            "size: 1",
            "x.yaml:4:3: error: capfiles.name: missing, expected a name for the capfile",
        ),
        (
            "name: a",
            "x.yaml:4:3: error: capfiles.size: missing, expected a size, data or a file",
        ),
        (
            "name: a, size: 0",
            "x.yaml:4:19: error: capfiles.size: \"0x0\": expected 1 B to 1 GiB",
        ),
        (
            "name: a, data: \"\"",
            "x.yaml:4:19: error: capfiles.size: \"0x0\": expected 1 B to 1 GiB",
        ),
        (
            "name: a, size: 2GiB",
            "x.yaml:4:19: error: capfiles.size: \"0x80000000\": expected 1 B to 1 GiB",
        ),
        (
            "name: a, size: 2, data: abc",
            "x.yaml:4:28: error: capfiles.data: \"abc\": 3 bytes, expected at most 2, the size of the capfile",
        ),
        (
            "name: a, size: small",
            "x.yaml:4:19: error: capfiles.size: \"small\": expected a size: bytes, hex, or a number with KiB, MiB or GiB",
        ),
        (
            "name: a, size: 1, access: both",
            "x.yaml:4:30: error: capfiles.access: \"both\": expected read or write",
        ),
        (
            "name: a b, size: 1",
            "x.yaml:4:10: error: capfiles.name: \"a b\": expected 1 to 32 characters of A-Z a-z 0-9 . _ -, not \"monitor\"",
        ),
        (
            "name: a, size: 1, adr: 1",
            "x.yaml:4:22: error: capfiles.adr: unknown key, expected one of name, data, size, addr, access, file (did you mean \"addr\"?)",
        ),
        (
            "name: a, file: b, data: c",
            "x.yaml:4:22: error: capfiles.data: given beside the other: expected data or a file",
        ),
        (
            "name: a, size: 1, addr: 0x10",
            "x.yaml:4:22: warning: capfiles.addr: \"0x10\": ignored, it has no meaning here: the monitor places the capfile",
        ),
    ] {
        assert_eq!(about(entry), problem);
    }
    let twice = about("name: a, size: 1}\n- {name: a, size: 1");
    assert_eq!(
        twice,
        "x.yaml:5:10: error: capfiles.name: \"a\": used twice, expected a different name for each capfile and buffer"
    );
    let many: String = (0..129)
        .map(|number| format!("- {{name: f{number}, size: 1}}\n"))
        .collect();
    assert_eq!(
        message(&format!("cVMs:\n- {{name: a, runtime: x}}\ncapfiles:\n{many}")),
        "x.yaml: error: capfiles: 129 capfiles, expected at most 128"
    );
}

fn server() -> Elf {
    let mut elf = Elf::program(Architecture::CheriRiscv, &[0x13; 64]);
    elf.functions = vec![(0x1000, 32, "_start".into()), (0x1020, 32, HANDLER.into())];
    elf
}

#[test]
fn intravisor_names_of_programs_are_found_without_prefix_and_suffix_and_shown_by_inspect() {
    let directory = tempfile::tempdir().unwrap();
    let programs = directory.path().join("programs");
    fs::create_dir(&programs).unwrap();
    fs::write(programs.join("first"), server().to_bytes()).unwrap();
    let second = Elf::program(Architecture::CheriRiscv, &[0x17; 64]).to_bytes();
    fs::write(programs.join("libsecond.so"), &second).unwrap();
    fs::write(programs.join("second"), b"not this one").unwrap();
    let yaml = directory.path().join("x.yaml");
    fs::write(
        &yaml,
        format!("capfiles:\n- {{name: notes, size: 4KiB, data: abc}}\n{TWO_PURE}"),
    )
    .unwrap();
    let packed = pack(&yaml, Architecture::CheriRiscv, std::slice::from_ref(&programs)).unwrap();
    let members = archive::read(&packed.archive).unwrap();
    let names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["manifest.dtb", "libfirst.so", "libsecond.so", "buffers/notes"]);
    let plan = manifest::decode(&members[0].data).unwrap();
    assert_eq!((plan.cvms, plan.buffers), (packed.cvms, packed.buffers));
    let text = inspect::inspect(&packed.archive).unwrap().to_string();
    for line in [
        "      call-budget    1 s",
        "      service-stack  8 KiB",
        "      hostcalls      process, console, time, memory, capfile, service, thread, sync",
        "buffers: 1\n  notes                4 KiB, of nobody, read by *, written by *, begins with buffers/notes\n",
    ] {
        assert!(text.contains(line), "{line:?} is missing in\n{text}");
    }
    fs::remove_file(programs.join("first")).unwrap();
    let lost = pack(&yaml, Architecture::CheriRiscv, &[programs])
        .unwrap_err()
        .to_string();
    assert!(
        lost.contains("\"libfirst.so\": no such program (nor libfirst.so.elf, nor first, nor first.elf) in "),
        "{lost}"
    );
}

#[test]
fn a_server_without_handler_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut silent = server();
    silent.functions.pop();
    fs::write(directory.path().join("silent"), silent.to_bytes()).unwrap();
    fs::write(directory.path().join("able"), server().to_bytes()).unwrap();
    let yaml = directory.path().join("x.yaml");
    let pack_with = |server: &str| {
        let text = cvms(&[
            &format!("name: server, runtime: {server}"),
            "name: client, runtime: silent, callback_out: server",
        ]);
        fs::write(&yaml, text).unwrap();
        pack(&yaml, Architecture::CheriRiscv, &[])
    };
    assert!(pack_with("able").is_ok());
    let Err(PackError::Refused(diagnostics)) = pack_with("silent") else {
        panic!("expected a refusal")
    };
    let text = diagnostics[0].to_string();
    let expected = ":3:49: error: cVM client: callback_out: \"server\": its program silent has no symbol syscall_handler; \
                    expected a cVM that can serve hostcalls";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn a_server_within_another_cvm_serves_only_those_within_it_too() {
    let file = |more: &str| {
        cvms(&[
            "name: a, runtime: x",
            "name: b, runtime: y, callback_out: a, within: a",
            &format!("name: c, runtime: z, callback_out: b{more}"),
        ])
    };
    assert_eq!(
        message(&file("")),
        "x.yaml:4:39: error: cVM c: callback_out: \"b\": leads to b, which lies within a; expected the same of this cVM"
    );
    for layer in [", within: a", ", within: b"] {
        assert!(messages(&file(layer)).is_empty());
    }
}

#[test]
fn a_chain_of_servers_has_a_limit() {
    let chain = |count: usize| {
        let lines: Vec<String> = (0..count)
            .map(|number| match number {
                0 => "name: c0, runtime: x".to_owned(),
                _ => format!("name: c{number}, runtime: x, callback_out: c{}", number - 1),
            })
            .collect();
        cvms(&lines.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert!(messages(&chain(9)).is_empty());
    let refused = message(&chain(10));
    assert!(
        refused.ends_with("cVM c9: callback_out: \"c8\": leads through 9 cVMs, expected 8 at most"),
        "{refused}"
    );
}

#[test]
fn gates_are_described_and_called_by_name() {
    let config = parse(&cvms(&[
        "name: c, runtime: c, calls: [s.add, s.mean], gates: {function: back, callers: 16}",
        "name: s, runtime: s, gates: [add, {function: mean, stack: 4KiB, callers: 3}], calls: c.back",
    ]));
    assert!(!config.has_errors(), "{:#?}", config.diagnostics);
    let [c, s] = [0, 1].map(|index: usize| &config.cvms[index].spec);
    assert_eq!(c.gates, ["back 8192 16"]);
    assert_eq!(c.calls, ["s.add", "s.mean"]);
    assert_eq!(s.gates, ["add 8192 1", "mean 4096 3"]);
    assert_eq!(s.calls, ["c.back"]);
}

#[test]
fn wrong_gates_are_named() {
    let of = |keys: &str| {
        message(&cvms(&[
            &format!("name: c, runtime: c, {keys}"),
            "name: s, runtime: s, gates: add",
        ]))
    };
    for (keys, expected) in [
        (
            "calls: s.ad",
            "calls: \"s.ad\": expected a gate of another cVM, as cVM.function (did you mean \"s.add\"?)",
        ),
        (
            "gates: a, calls: c.a",
            "calls: \"c.a\": expected a gate of another cVM, as cVM.function",
        ),
        (
            "calls: [s.add, s.add]",
            "calls: \"s.add\": given twice, expected each gate once",
        ),
        (
            "gates: [a, a]",
            "gates: \"a\": given twice, expected each function once",
        ),
        (
            "gates: a-b",
            "gates.function: \"a-b\": expected 1 to 32 characters of A-Z a-z 0-9 _",
        ),
        (
            "gates: {function: a, stack: 65KiB}",
            "gates.stack: \"65KiB\": expected 1 B to 64 KiB",
        ),
        (
            "gates: {function: a, callers: 17}",
            "gates.callers: \"17\": expected a number from 1 to 16",
        ),
        (
            "gates: {function: a, vector: perhaps}",
            "gates.vector: \"perhaps\": expected yes or no",
        ),
        (
            "gates: {stack: 1}",
            "gates.function: missing, expected the name of a function",
        ),
        (
            "gates: {function: a, size: 1}",
            "gates.size: unknown key, expected one of function, stack, callers, vector",
        ),
        (
            "gates: {function: a, vector: yes}, calls: s.add",
            "calls: of all the gates that it offers and calls, expected all with vector: yes, or none",
        ),
        (
            "calls: s.add, hostcalls: [console]",
            "hostcalls: it has calls, expected the family gate among the others",
        ),
    ] {
        let found = of(keys);
        assert!(found.contains(expected), "{keys}: {found}");
    }
}

#[test]
fn a_gate_without_its_function_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(
        directory.path().join("plain"),
        Elf::program(Architecture::CheriRiscv, &[0x13; 16]).to_bytes(),
    )
    .unwrap();
    let yaml = directory.path().join("x.yaml");
    fs::write(&yaml, cvms(&["name: s, runtime: plain, gates: add"])).unwrap();
    let error = pack(&yaml, Architecture::CheriRiscv, &[]).unwrap_err().to_string();
    assert!(
        error.contains("gates: \"add\": its program plain exports no such function"),
        "{error}"
    );
}

/// A driver of a disk and, as the lines say, its clients.
fn clients(lines: &[&str]) -> String {
    let clients: String = lines.iter().map(|line| format!("- {{{line}, runtime: x}}\n")).collect();
    format!(
        "cVMs:\n- {{name: storage, runtime: disk, args: [-v], devices: block1}}\n- {{name: lan, runtime: switch, devices: net0}}\n{clients}"
    )
}

#[test]
fn who_gets_a_part_of_a_device_shares_a_buffer_with_its_driver() {
    let config = parse(&clients(&[
        "name: a, disk: {of: storage, start: 8, blocks: 100, access: write}, net: {of: lan}",
        "name: b, disk: {of: storage, start: 108}, local: 3, env: {X: y}",
    ]));
    assert_eq!(config.diagnostics, []);
    let [storage, lan, a, b] = [0, 1, 2, 3].map(|index: usize| &config.cvms[index].spec);
    assert_eq!(storage.args, ["-v", "a,8,100,write", "b,108,rest,read"]);
    assert_eq!((storage.threads, storage.local, storage.heap), (3, 8, 48 << 10));
    assert_eq!(lan.args, ["a"]);
    assert_eq!((lan.threads, lan.local, lan.heap), (2, 1, 184 << 10));
    assert_eq!(
        (&a.env[..], a.local),
        (&["DISK=a.disk".to_owned(), "NET=a.net".to_owned()][..], 2)
    );
    assert_eq!(
        (&b.env[..], b.local),
        (&["X=y".to_owned(), "DISK=b.disk".to_owned()][..], 4)
    );
    let shared = |name: &str, size, pair: [&str; 2]| BufferSpec {
        name: name.into(),
        size,
        readers: pair.map(Into::into).into(),
        writers: pair.map(Into::into).into(),
        ..BufferSpec::default()
    };
    let buffers: Vec<BufferSpec> = config.buffers.into_iter().map(|buffer| buffer.spec).collect();
    assert_eq!(
        buffers,
        [
            shared("a.disk", 65536, ["a", "storage"]),
            shared("a.net", 65920, ["a", "lan"]),
            shared("b.disk", 65536, ["b", "storage"]),
        ]
    );
}

#[test]
fn wrong_parts_of_devices_are_refused() {
    for (lines, problem) in [
        (
            &["name: a, disk: {start: 1}"][..],
            "cVM a: disk.of: missing, expected the name of the cVM that drives the device",
        ),
        (
            &["name: a, disk: {of: storag}"],
            "cVM a: disk.of: \"storag\": expected the name of another cVM, which drives the device (did you mean \"storage\"?)",
        ),
        (
            &["name: a, disk: {of: a}"],
            "cVM a: disk.of: \"a\": expected the name of another cVM, which drives the device",
        ),
        (
            &["name: a, disk: {of: lan}"],
            "cVM a: disk.of: \"lan\": drives no disk, expected a cVM whose first one of devices is a disk, such as block0",
        ),
        (
            &["name: a, disk: {of: storage, blocks: 0}"],
            "cVM a: disk.blocks: \"0\": expected a number of blocks of 512 bytes, from 1 on",
        ),
        (
            &["name: a, disk: {of: storage, start: 9, blocks: 18446744073709551615}"],
            "cVM a: disk: expected blocks whose numbers have 64 bits",
        ),
        (
            &["name: a, disk: {of: storage, access: all}"],
            "cVM a: disk.access: \"all\": expected read or write",
        ),
        (
            &["name: a, disk: {of: storage, block: 1}"],
            "cVM a: disk.block: unknown key, expected one of of, start, blocks, access (did you mean \"blocks\"?)",
        ),
        (
            &["name: a, net: {of: lan, mac: 1}"],
            "cVM a: net.mac: unknown key, expected one of of, address, gateway",
        ),
        (
            &["name: a, net: {of: lan}, hostcalls: [console, sync]"],
            "cVM a: hostcalls: a needs buffer for net, expected it among the others",
        ),
        (
            &[
                "name: a, disk: {of: storage, blocks: 10, access: write}",
                "name: b, disk: {of: storage, start: 9}",
            ],
            "cVM b: disk: has blocks in common with a, and one of the two writes; expected others",
        ),
        (
            &["name: abcdefghijklmnopqrstuvwxyz12, disk: {of: storage}"],
            "cVM abcdefghijklmnopqrstuvwxyz12: name: expected at most 27 characters: its buffer is called abcdefghijklmnopqrstuvwxyz12.disk",
        ),
        (
            &["name: a, local: 256, disk: {of: storage}"],
            "cVM a: local: 257 with what disk needs, expected at most 256",
        ),
    ] {
        let found = message(&clients(lines));
        assert!(found.ends_with(&format!("error: {problem}")), "{found}");
    }
}
