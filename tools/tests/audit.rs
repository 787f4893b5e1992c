//! The audit of an image, and policies: what a rule says is what an image that breaks it is refused for.

use std::fs;
use std::path::Path;
use std::process::Command;

use abi::hostcall::{Family, HANDLER};
use abi::manifest::{FLOAT_NO, FLOAT_YES};
use tools::Architecture::{self, CheriRiscv, Morello};
use tools::archive::{self, Member};
use tools::audit::{Audit, AuditError, Cvm, audit, policy};
use tools::elf::synthesis::{Elf, Purecap};
use tools::manifest::{BufferSpec, CvmSpec, Manifest};
use tools::run::Isa;

fn hybrid(arch: Architecture) -> Vec<u8> {
    let mut elf = Elf::program(arch, &[0x13; 64]);
    elf.functions = vec![(0x1020, 32, HANDLER.into())];
    elf.to_bytes()
}

fn purecap(arch: Architecture) -> Vec<u8> {
    let mut elf = Purecap::new(arch, &[0x13; 64]);
    elf.functions = vec![(elf.code_address(), 32, HANDLER.into())];
    elf.tls = Some((vec![1; 8], 64, 16));
    elf.to_bytes()
}

fn archive_of(arch: Architecture, cvms: &[CvmSpec], buffers: &[BufferSpec]) -> Vec<u8> {
    let manifest = Manifest::new(cvms).with_buffers(buffers).encode().unwrap();
    let members = [
        Member::new("manifest.dtb", manifest),
        Member::new("hybrid", hybrid(arch)),
        Member::new("purecap", purecap(arch)),
    ];
    archive::write(&members).unwrap()
}

fn audited(arch: Architecture, cvms: &[CvmSpec], buffers: &[BufferSpec]) -> Audit {
    audit(&archive_of(arch, cvms, buffers), Isa::V9).unwrap()
}

fn served(name: &str, runtime: &str, server: &str) -> CvmSpec {
    CvmSpec {
        callback_out: server.into(),
        ..CvmSpec::new(name, runtime)
    }
}

fn within(name: &str, outer: &str) -> CvmSpec {
    CvmSpec {
        within: Some(outer.into()),
        ..served(name, "hybrid", outer)
    }
}

fn capability<'a>(cvm: &'a Cvm, name: &str) -> &'a tools::audit::Capability {
    let name = format!("{} {name}", cvm.name);
    let found = cvm.capabilities.iter().find(|capability| capability.name == name);
    found.unwrap_or_else(|| panic!("{name} in {:#?}", cvm.capabilities))
}

/// The violations of a policy with this one rule.
fn violations(audit: &Audit, rule: &str) -> Vec<String> {
    let policy = policy::parse(Path::new("p.yaml"), &format!("rules:\n- {rule}\n"));
    assert_eq!(policy.diagnostics, []);
    policy.check(audit).iter().map(ToString::to_string).collect()
}

#[test]
fn a_hybrid_cvm_has_ddc_over_all_its_memory_and_pcc_over_its_text() {
    for (arch, extra) in [(CheriRiscv, ""), (Morello, "M")] {
        let spec = CvmSpec {
            heap: 0x1_0000,
            isolation_base: Some(0x8400_0000),
            ..CvmSpec::new("a", "hybrid")
        };
        let audit = audited(arch, &[spec], &[]);
        let cvm = &audit.cvms[0];
        assert!(!cvm.purecap);
        assert_eq!(cvm.memory.base, Some(0x8400_0000));
        let ddc = capability(cvm, "data");
        assert_eq!((ddc.held, ddc.start, ddc.end), ("DDC", 0, cvm.memory.size));
        assert_eq!(
            ddc.permissions,
            format!("rwRWGI{extra}"),
            "no execution, no local capabilities"
        );
        let pcc = capability(cvm, "code");
        // 16 KiB of stack come first.
        assert_eq!((pcc.start, pcc.end, pcc.address), (0x4000, 0x5000, Some(0x8400_4000)));
        assert_eq!(pcc.permissions, format!("rxRGI{extra}"), "no store");
        let heap = capability(cvm, "heap");
        assert_eq!((heap.held, heap.end - heap.start), ("hostcall heap", 0x1_0000));
        assert_eq!(cvm.capabilities.len(), 3);
        assert_eq!(audit.isa, (arch == CheriRiscv).then_some("v9"));
    }
}

#[test]
fn code_addresses_that_count_from_the_start_widen_pcc_to_it() {
    let archive = archive_of(CheriRiscv, &[CvmSpec::new("a", "hybrid")], &[]);
    let v8 = audit(&archive, Isa::V8).unwrap();
    let pcc = capability(&v8.cvms[0], "code");
    // The first page is nobody's, 16 KiB of stack follow.
    assert_eq!((pcc.start, pcc.end), (0, 0x6000));
    let ddc = capability(&v8.cvms[0], "data");
    assert_eq!((ddc.start, ddc.end), (0x1000, v8.cvms[0].memory.size));
    let large = CvmSpec {
        heap: 16 << 20,
        ..CvmSpec::new("a", "hybrid")
    };
    let v8 = audit(&archive_of(CheriRiscv, &[large], &[]), Isa::V8).unwrap();
    assert_eq!(capability(&v8.cvms[0], "data").start, 0, "bounds cannot say it");
    assert_eq!(v8.isa, Some("v8"));
}

#[test]
fn a_purecap_cvm_holds_parts_and_nothing_over_all() {
    for arch in Architecture::ALL {
        let audit = audited(arch, &[CvmSpec::new("a", "purecap"), served("b", "hybrid", "a")], &[]);
        let cvm = &audit.cvms[0];
        assert!(cvm.purecap);
        let held: Vec<_> = cvm.capabilities.iter().map(|capability| capability.held).collect();
        assert_eq!(
            held,
            [
                "the monitor, to load it",
                "PCC",
                "stack pointer",
                "first argument",
                "thread pointer",
                "handler's stack"
            ]
        );
        for own in &cvm.capabilities[1..] {
            assert!(own.end - own.start < cvm.memory.size, "{own:?}");
        }
        let local: Vec<_> = cvm
            .capabilities
            .iter()
            .filter(|capability| capability.permissions.contains('L'))
            .map(|capability| capability.name.as_str())
            .collect();
        assert_eq!(local, ["a service stack"], "nothing else takes local capabilities");
        assert_eq!(cvm.serves, ["b"]);
        assert_eq!(audit.cvms[1].calls_through, ["a", "monitor"]);
    }
}

#[test]
fn an_outer_cvm_covers_the_inner_ones_and_that_is_said() {
    let audit = audited(
        Morello,
        &[CvmSpec::new("a", "hybrid"), within("b", "a"), within("c", "b")],
        &[],
    );
    let [a, b, c] = audit.cvms.as_slice() else { panic!() };
    assert_eq!(capability(a, "data").end, a.memory.region);
    assert!(a.memory.region >= a.memory.size + b.memory.size + c.memory.size);
    assert_eq!(capability(b, "data").end, b.memory.region);
    assert_eq!(capability(c, "data").end, c.memory.size);
    assert_eq!((b.memory.space.as_str(), c.memory.space.as_str()), ("a", "a"));
    assert!(c.memory.offset >= b.memory.offset + b.memory.size);
    let shared: Vec<_> = audit.shared.iter().map(|shared| shared.what.as_str()).collect();
    for what in [
        "a reads and writes all memory of b",
        "b reads and writes all memory of c",
        "a reads and writes all memory of c",
        "b sees the hostcalls of c and what they lend",
        "a sees the hostcalls of c that the servers before it pass on",
    ] {
        assert!(shared.contains(&what), "{what:?} is missing in {shared:#?}");
    }
    assert_eq!(
        violations(&audit, "no_store_to_text: true").len(),
        3,
        "a stores to the text of b and c, b to that of c"
    );
    let others = violations(&audit, "{no_memory_of_others: true, name: alone}");
    assert!(
        others.contains(&"line 2: rule 1 (alone): a data (DDC) covers memory of b".to_owned()),
        "{others:#?}"
    );
    let apart = audited(
        Morello,
        &[CvmSpec::new("a", "hybrid"), CvmSpec::new("b", "hybrid")],
        &[],
    );
    assert_eq!(violations(&apart, "no_store_to_text: true"), [""; 0]);
    assert_eq!(violations(&apart, "no_memory_of_others: true"), [""; 0]);
}

#[test]
fn rules_about_calls_name_who_calls_whom() {
    let cvms = [
        CvmSpec::new("first", "hybrid"),
        served("second", "hybrid", "first"),
        CvmSpec::new("third", "hybrid"),
    ];
    let audit = audited(CheriRiscv, &cvms, &[]);
    assert_eq!(violations(&audit, "only: {cvms: second, call: [first]}"), [""; 0]);
    assert_eq!(
        violations(&audit, "only: {cvms: [second, third], call: first}"),
        ["line 2: rule 1 (second, third may call only first): third calls monitor"]
    );
    assert_eq!(
        violations(&audit, "only: {cvms: secnd, call: first}"),
        ["line 2: rule 1 (secnd may call only first): there is no cVM secnd (did you mean \"second\"?)"]
    );
    assert_eq!(violations(&audit, "nobody_but: {cvms: net, device: power}"), [""; 0]);
    assert_eq!(
        violations(&audit, "purecap: [first]"),
        ["line 2: rule 1 (first must be purecap): first is hybrid"]
    );
}

#[test]
fn rules_about_families_and_sharing_name_what_is_too_much() {
    let log = BufferSpec::capfile("log", 5, true);
    let constants = BufferSpec {
        readers: vec!["a".into(), "d".into()],
        ..BufferSpec::capfile("constants", 5, false)
    };
    let silent = CvmSpec {
        hostcalls: Some(Vec::new()),
        ..CvmSpec::new("c", "hybrid")
    };
    let asks = CvmSpec {
        hostcalls: Some(vec![Family::Capfile]),
        ..CvmSpec::new("d", "hybrid")
    };
    let cvms = [CvmSpec::new("a", "hybrid"), CvmSpec::new("b", "purecap"), silent, asks];
    let audit = audited(CheriRiscv, &cvms, &[log, constants]);
    assert_eq!(audit.buffers[0].readers, ["a", "b", "d"], "c may not ask for it");
    assert_eq!(audit.buffers[0].writers, ["a", "b", "d"]);
    let data_only = capability(&audit.cvms[0], "buffer log");
    assert_eq!(
        (data_only.permissions.as_str(), data_only.held),
        ("rw", "hostcall capfile or buffer_map")
    );
    let by_name = capability(&audit.cvms[3], "buffer constants");
    assert_eq!((by_name.permissions.as_str(), by_name.held), ("r", "hostcall capfile"));
    assert!(
        audit.cvms[2]
            .capabilities
            .iter()
            .all(|capability| !capability.name.contains("buffer"))
    );
    assert_eq!(
        violations(&audit, "no_sharing_between: [a, d]"),
        [
            "line 2: rule 1 (nothing is shared between a, d): a and d: buffer log, which both write and read",
            "line 2: rule 1 (nothing is shared between a, d): a and d: buffer constants, through which nothing passes between them"
        ]
    );
    assert_eq!(
        violations(&audit, "no_sharing_between: [a, b, c]"),
        ["line 2: rule 1 (nothing is shared between a, b, c): a and b: buffer log, which both write and read"]
    );
    assert_eq!(
        violations(&audit, "no_sharing_between: [b, c]"),
        [""; 0],
        "c gets no buffer"
    );
    assert_eq!(violations(&audit, "families: {cvms: c, allow: []}"), [""; 0]);
    assert_eq!(
        violations(
            &audit,
            "families: {cvms: a, allow: [console, time, memory, service, thread, sync, buffer, device, gate]}"
        ),
        [
            "line 2: rule 1 (a may use only the hostcalls of console, time, memory, service, thread, sync, buffer, device, gate): a may use capfile"
        ]
    );
}

#[test]
fn a_rule_about_a_device_names_its_driver_and_who_reaches_that_ones_memory() {
    let driver = CvmSpec {
        devices: vec!["net0".into(), "block1".into()],
        within: Some("around".into()),
        ..served("driver", "hybrid", "around")
    };
    let audit = audited(CheriRiscv, &[CvmSpec::new("around", "hybrid"), driver], &[]);
    assert_eq!(audit.cvm("driver").unwrap().devices, ["net0", "block1"]);
    assert!(audit.to_string().contains("  devices        net0, block1\n"), "{audit}");
    assert!(audit.to_dot().contains("net0 block1"));
    let rule =
        |cvms: &str, device: &str| violations(&audit, &format!("nobody_but: {{cvms: [{cvms}], device: {device}}}"));
    assert_eq!(rule("driver, around", "block1"), [""; 0]);
    assert_eq!(rule("driver", "block0"), [""; 0]);
    assert_eq!(
        rule("driver", "block1"),
        [
            "line 2: rule 1 (nobody but driver may reach block1): around reads and writes the memory of the driver of block1"
        ]
    );
    assert_eq!(
        rule("around", "net0"),
        ["line 2: rule 1 (nobody but around may reach net0): driver drives net0"]
    );
}

/// Before boot nobody knows whether two names of different manners are one device.
#[test]
fn a_rule_about_a_device_holds_for_what_may_be_it_by_another_name() {
    let drives = |name: &str, device: &str| CvmSpec {
        devices: vec![device.into()],
        ..CvmSpec::new(name, "hybrid")
    };
    let check = |devices: [&str; 2], rule: &str| {
        let cvms = [drives("a", devices[0]), drives("b", devices[1])];
        let audit = audited(CheriRiscv, &cvms, &[]);
        violations(&audit, &format!("nobody_but: {{cvms: a, device: {rule}}}"))
    };
    let broken = |rule: &str, name: &str, perhaps: &str| {
        vec![format!(
            "line 2: rule 1 (nobody but a may reach {rule}): b drives {name}{perhaps}"
        )]
    };
    // What a drives by this very name, b does not drive by another: the monitor would not boot.
    assert_eq!(check(["block0", "block@data"], "block0"), [""; 0]);
    assert_eq!(check(["block@data", "block0"], "block@data"), [""; 0]);
    // Names of one manner are different devices, and a disk is no card.
    assert_eq!(check(["net0", "block1"], "block0"), [""; 0]);
    assert_eq!(check(["net0", "block@data"], "block@pages"), [""; 0]);
    assert_eq!(check(["net0", "net@52:54:00:12:34:56"], "block0"), [""; 0]);
    assert_eq!(
        check(["net0", "block@data"], "block0"),
        broken("block0", "block@data", ", which may be block0")
    );
    assert_eq!(
        check(["block1", "block0"], "block@data"),
        broken("block@data", "block0", ", which may be block@data")
    );
    let card = "net@52:54:00:12:34:56";
    assert_eq!(check(["block0", card], card), broken(card, card, ""));
}

#[test]
fn who_has_floating_point_registers_is_said_with_the_reason() {
    let said = |arch, float| {
        let cvm = CvmSpec {
            float,
            ..CvmSpec::new("a", "hybrid")
        };
        let audit = audited(arch, &[cvm], &[]);
        let float = audit.cvm("a").unwrap().float;
        let line = format!(
            "  float          {}: {}\n",
            if float.open { "yes" } else { "no" },
            float.why
        );
        assert!(audit.to_string().contains(&line), "{audit}");
        (float.open, float.why)
    };
    let manifest = "the manifest says so";
    assert_eq!(said(CheriRiscv, 0), (false, "its program's header asks for none"));
    assert_eq!(said(CheriRiscv, FLOAT_YES), (true, manifest));
    assert_eq!(said(CheriRiscv, FLOAT_NO), (false, manifest));
    assert_eq!(said(Morello, 0), (true, "every program has them"));
    assert_eq!(said(Morello, FLOAT_NO), (false, manifest));
}

#[test]
fn what_the_monitor_would_refuse_is_refused() {
    let message = |cvms: &[CvmSpec]| match audit(&archive_of(CheriRiscv, cvms, &[]), Isa::V9) {
        Err(error @ (AuditError::Cvm { .. } | AuditError::Manifest(_))) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        message(&[served("a", "hybrid", "lost")]),
        "manifest.dtb: cVM a: callback-out \"lost\", expected the name of a cVM"
    );
    let circle = [served("a", "hybrid", "b"), served("b", "hybrid", "a")];
    let leads_back = "manifest.dtb: cVM a: callback-out leads back to cVMs on its own way";
    assert_eq!(message(&circle), leads_back);
    let circle = [within("a", "b"), within("b", "a")];
    assert_eq!(message(&circle), leads_back, "who lies within is served");
    let plain = CvmSpec::new("a", "hybrid");
    type Change<'a> = &'a dyn Fn(&mut CvmSpec);
    let refused: [(Change<'_>, &str); 7] = [
        (&|cvm| cvm.priority = 8, "cVM a: priority 8, expected 0 to 7"),
        (
            &|cvm| cvm.isolation_base = Some(0x8200_0010),
            "cVM a: isolation-base 0x82000010, expected a multiple of 4096",
        ),
        (
            &|cvm| cvm.env = vec!["=b".into()],
            "cVM a: env \"=b\", expected KEY=value",
        ),
        (
            &|cvm| cvm.args = vec!["x".repeat(16 * 1024)],
            "cVM a: 16385 bytes of args and env, expected at most 16384",
        ),
        (
            &|cvm| cvm.name = "monitor".into(),
            "cVM: name \"monitor\", expected 1 to 32 characters of A-Z a-z 0-9 . _ -, not \"monitor\"",
        ),
        (
            &|cvm| cvm.within = Some("b".into()),
            "cVM a: within b, expected a cVM that serves its hostcalls, directly or by others",
        ),
        (&|cvm| cvm.name = "b".into(), "cVM b: this name stands twice"),
    ];
    for (change, problem) in refused {
        let mut changed = plain.clone();
        change(&mut changed);
        assert_eq!(
            message(&[changed, CvmSpec::new("b", "hybrid")]),
            format!("manifest.dtb: {problem}")
        );
    }
    let small = CvmSpec {
        isolation_size: Some(4096),
        ..CvmSpec::new("a", "hybrid")
    };
    assert!(message(&[small]).starts_with("cVM a: isolation size 0x1000, but 0x"));
    let lost = audit(&archive_of(CheriRiscv, &[CvmSpec::new("a", "lost")], &[]), Isa::V9);
    assert_eq!(
        lost.unwrap_err().to_string(),
        "manifest.dtb: cVM a: runtime \"lost\" is not in the archive"
    );
    assert!(audit(b"nothing", Isa::V9).is_err());
}

#[test]
fn the_pictures_show_every_node_and_edge() {
    let capfile = BufferSpec::capfile("notes", 16, false);
    let audit = audited(CheriRiscv, &[CvmSpec::new("a", "hybrid"), within("b", "a")], &[capfile]);
    let (dot, svg) = (audit.to_dot(), audit.to_svg());
    for name in ["monitor", "a", "b", "notes"] {
        assert!(dot.contains(&format!("label=\"{name}\\n")), "{name}: {dot}");
        assert!(svg.contains(&format!(">{name}</text>")), "{name}: {svg}");
    }
    // b calls a, a calls the monitor, a reaches b's memory, both reach the capfile.
    assert_eq!(dot.matches(" -> ").count(), 5);
    assert_eq!(svg.matches("<line ").count(), 5);
    assert!(dot.contains("n1 -> n2 [style=bold color=red label=\"reads, writes\"]"));
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
}

#[test]
fn the_command_fails_with_the_violated_rule_and_says_so_in_json() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let cvms = [CvmSpec::new("first", "purecap"), served("second", "purecap", "first")];
    fs::write(at("x.cpio"), archive_of(Morello, &cvms, &[])).unwrap();
    let policy = "rules:\n- only: {cvms: second, call: first}\n- name: alone\n  no_sharing_between: [first, second]\n";
    fs::write(at("p.yaml"), policy).unwrap();
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_intravisor"))
            .current_dir(directory.path())
            .args(["audit", "x.cpio"])
            .args(arguments)
            .output()
            .unwrap()
    };
    let plain = run(&["--svg", "x.svg", "--dot", "x.dot"]);
    assert!(plain.status.success(), "{plain:?}");
    assert!(
        plain
            .stdout
            .starts_with(b"audit for morello: 2 cVMs\n\ncVM first: purecap, purecap\n")
    );
    assert!(fs::read_to_string(at("x.svg")).unwrap().contains("second"));
    assert!(fs::read_to_string(at("x.dot")).unwrap().starts_with("digraph"));
    let broken = run(&["--policy", "p.yaml", "--json"]);
    assert_eq!(broken.status.code(), Some(1));
    let text = String::from_utf8(broken.stderr).unwrap();
    assert_eq!(
        text,
        "p.yaml: line 3: rule 2 (alone): first and second: first sees the hostcalls of second and what they lend\n"
    );
    let json: serde_json::Value = serde_json::from_slice(&broken.stdout).unwrap();
    assert_eq!(json["violations"][0]["rule"], 2);
    assert_eq!(json["cvms"][1]["calls"], "first");
    assert_eq!(json["cvms"][0]["capabilities"][1]["held"], "PCC");
    let isa = run(&["--isa", "v8"]);
    assert_eq!(isa.status.code(), Some(1), "Morello has no version");
    fs::write(at("p.yaml"), "rules: 1\n").unwrap();
    let wrong = run(&["--policy", "p.yaml"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        String::from_utf8(wrong.stderr)
            .unwrap()
            .starts_with("p.yaml:1:8: error: rules: ")
    );
}
