//! Files in the form of the Intravisor's: recognised by a list-form `isolation`, and taken as they are.

use std::path::Path;

use tools::config::{Config, Data, parse};
use tools::manifest::BufferSpec;

fn read(text: &str) -> Config {
    parse(Path::new("x.yaml"), text)
}

fn messages(config: &Config) -> Vec<String> {
    config.diagnostics.iter().map(ToString::to_string).collect()
}

const ISOLATION: &str = "  isolation:\n  - {base: 0x20000000, size: 0x10000000, begin: 0x20000000, end: 0x30000000}\n";

#[test]
fn an_explicit_wait_of_0_is_the_default_and_means_at_once() {
    let server = format!("- name: server\n  runtime: libserver.so\n  wait: 0\n{ISOLATION}");
    let client = "- name: client\n  runtime: libclient.so\n  callback_out: libserver.so\n";
    let config = read(&format!("cVMs:\n{server}{client}"));
    assert!(!config.has_errors(), "{:?}", messages(&config));
    assert_eq!(config.cvms[0].spec.wait, -1);
    assert!(
        messages(&config).iter().all(|message| message.contains("isolation.")),
        "{:?}",
        messages(&config)
    );
    // In this project's form, 0 is the end of the cVM.
    let ours =
        read("cVMs:\n- {name: server, runtime: s, wait: 0}\n- {name: client, runtime: c, callback_out: server}\n");
    assert!(messages(&ours)[0].contains("would wait for ever"));
    assert_eq!(read("cVMs:\n- {name: a, runtime: s, wait: 0}\n").cvms[0].spec.wait, 0);
}

#[test]
fn numbers_are_hexadecimal_and_capfiles_writable() {
    let capfiles = "capfiles:\n- {name: test1, size: 20, data: \"abcdefghijklmnopqrstuvwxyz\"}\n- {name: log, size: 0x1000, access: read}\n";
    let cvm = "cVMs:\n- name: a\n  runtime: liba.so\n  isolation:\n  - {base: 20000000, size: 10000000}\n";
    let config = read(&format!("---\n{capfiles}---\n{cvm}"));
    assert!(!config.has_errors(), "{:?}", messages(&config));
    assert_eq!(config.buffers[0].spec, BufferSpec::capfile("test1", 0x20, true));
    assert_eq!(config.buffers[1].spec, BufferSpec::capfile("log", 0x1000, false));
    let place = "not taken: an address of the Intravisor's process; the monitor places the cVM";
    assert_eq!(
        messages(&config)[0],
        format!("x.yaml:10:12: warning: cVM a: isolation.base: \"20000000\": {place}")
    );
    let wrong = read(&cvm.replace("20000000", "2000zzzz"));
    assert!(messages(&wrong)[0].ends_with("isolation.base: \"2000zzzz\": expected a hexadecimal number"));
    // The same capfiles in a file of this project: decimal, to be read.
    let ours = read(&format!(
        "{}cVMs:\n- {{name: a, runtime: a}}\n",
        capfiles.replace(", data: \"abcdefghijklmnopqrstuvwxyz\"", "")
    ));
    assert_eq!(ours.buffers[0].spec, BufferSpec::capfile("test1", 20, false));
}

#[test]
fn data_of_a_capfile_is_cut_as_by_snprintf() {
    let cvm = format!("cVMs:\n- name: a\n  runtime: liba.so\n{ISOLATION}");
    let of = |size: &str| {
        read(&format!(
            "capfiles:\n- {{name: f, size: {size}, data: \"abcdefgh\"}}\n{cvm}"
        ))
    };
    for (size, kept) in [("9", "abcdefgh"), ("8", "abcdefg"), ("5", "abcd"), ("1", "")] {
        let config = of(size);
        assert!(!config.has_errors(), "{:?}", messages(&config));
        let data = Data::Bytes(kept.as_bytes().to_vec());
        assert_eq!(config.buffers[0].data, Some(data), "{size}");
        let cut = format!(
            "x.yaml:2:28: warning: capfiles.data: \"abcdefgh\": 8 bytes, cut to {} and a NUL, as the Intravisor does it",
            kept.len()
        );
        assert_eq!(
            messages(&config).contains(&cut),
            kept.len() < 8,
            "{:?}",
            messages(&config)
        );
    }
    // In a file of this project that is an error.
    let ours = read("capfiles:\n- {name: f, size: 5, data: \"abcdefgh\"}\ncVMs:\n- {name: a, runtime: a}\n");
    assert!(
        messages(&ours)[0].ends_with("8 bytes, expected at most 5, the size of the capfile"),
        "{:?}",
        messages(&ours)
    );
    let exact = read("capfiles:\n- {name: f, size: 8, data: \"abcdefgh\"}\ncVMs:\n- {name: a, runtime: a}\n");
    assert_eq!(exact.buffers[0].data, Some(Data::Bytes(b"abcdefgh".to_vec())));
}

#[test]
fn keys_without_a_meaning_here_are_warned_of() {
    let config = read(&format!(
        "libvirt: 1\ncVMs:\n- name: a\n  runtime: liba.so\n  libvirt: 1\n{ISOLATION}"
    ));
    assert!(!config.has_errors(), "{:?}", messages(&config));
    let problem = "libvirt: \"1\": ignored, it has no meaning here: there are no virtual machines around the cVMs";
    assert_eq!(
        messages(&config)[..2],
        [
            format!("x.yaml:1:1: warning: {problem}"),
            format!("x.yaml:5:3: warning: cVM a: {problem}")
        ]
    );
}

#[test]
fn arguments_keep_what_quotes_hold_together() {
    let config = read("cVMs:\n- name: a\n  runtime: a\n  args: one 'two words' \"and three\"\n");
    assert_eq!(config.cvms[0].spec.args, ["one", "two words", "and three"]);
    let open = read("cVMs:\n- name: a\n  runtime: a\n  args: it's\n");
    assert_eq!(
        messages(&open),
        [
            "x.yaml:4:9: error: cVM a: args: \"it's\": a quote ' without its end, expected another one, or a list of arguments"
        ]
    );
}
