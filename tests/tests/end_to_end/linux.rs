//! Unmodified Linux programs in cVMs, where `scripts/setup --linux` has built them.

use std::fs;

use tests::{Outcome, Platform, Scenario, ext4, on_every_platform};
use tools::Architecture;

on_every_platform!(
    a_c_program_finds_its_arguments_and_its_environment,
    lua_runs_its_script_from_the_packed_folder,
    a_root_of_16_mib_is_read_where_it_lies,
    lua_is_a_prompt_on_the_console,
    ctrl_c_is_a_signal_to_the_program_that_has_the_console,
    ctrl_c_ends_what_a_shell_runs_and_the_shell_goes_on,
    a_program_goes_on_while_another_one_reads_the_console,
    sqlite_keeps_a_database_in_a_file,
    sqlite_keeps_a_database_on_a_disk,
    a_disk_that_another_cvm_drives_is_mounted_as_well,
    a_disk_without_a_file_system_is_named_with_what_to_do,
    files_are_as_programs_expect_them,
    c_libraries_start_and_end_as_on_linux,
    pipes_sockets_and_events_wake_who_waits,
    threads_share_memory_and_wait_for_each_other,
    datagrams_arrive_whole_or_not_at_all,
    programs_on_a_switch_reach_each_other_and_nobody_else,
    programs_keep_their_floating_point_registers,
    a_program_hostile_to_its_library_os_hurts_nobody,
    two_programs_share_a_library_os,
    an_exit_code_is_the_cvms,
    a_signal_that_a_program_sends_to_itself_ends_it,
    time_is_told_without_a_call,
    random_numbers_come_from_a_device_where_there_is_one,
    a_fault_is_the_programs_own,
    processes_are_made_waited_for_and_ended,
    the_first_program_begins_in_the_place_that_has_its_arguments,
    a_shell_makes_pipelines_of_programs_in_cvms_of_their_own,
    a_hostile_child_hurts_neither_its_parent_nor_its_library_os,
);

/// Boots a YAML text; none where there are no Linux programs.
fn boot(platform: Platform, yaml: &str, input: &[(&str, &str)]) -> Option<Outcome> {
    tests::linux_program(platform, "linux-hello")?;
    let mut scenario = Scenario::yaml(platform, yaml);
    for (pattern, text) in input {
        scenario = scenario.input(pattern, text);
    }
    Some(scenario.boot(platform))
}

/// A program of `payloads/linux` alone; what it says.
fn alone(platform: Platform, program: &str, more: &str) -> Option<Vec<String>> {
    let yaml = format!("cVMs:\n- name: it\n  linux: {{program: {program}, memory: 4MiB}}\n{more}");
    let outcome = boot(platform, &yaml, &[])?;
    outcome.assert_status(0);
    Some(outcome.of("it").iter().map(|line| (*line).to_owned()).collect())
}

/// An example of the workspace, by its name.
fn example(platform: Platform, name: &str) -> Option<Outcome> {
    tests::linux_program(platform, name)?;
    Some(Scenario::example(platform, name).boot(platform))
}

fn a_c_program_finds_its_arguments_and_its_environment(platform: Platform) {
    let more = "  args: [one, two words, \"\"]\n  env: {HOME: /root}\n";
    let Some(said) = alone(platform, "linux-hello", more) else {
        return;
    };
    let expected = [
        "hello from linux-hello",
        "argument 1: one",
        "argument 2: two words",
        "argument 3: ",
        "HOME is /root",
    ];
    assert_eq!(said, expected);
}

fn lua_runs_its_script_from_the_packed_folder(platform: Platform) {
    let Some(outcome) = example(platform, "lua") else {
        return;
    };
    outcome.assert_status(0);
    let expected = [
        "0 1 1 2 3 5 8 13 21 34",
        "10 lines in /tmp/numbers, the square root of 2 is 1.414213562373",
        "Lua 5.4, less than a MiB in use",
    ];
    assert_eq!(outcome.of("lua"), expected, "{outcome}");
}

/// What programs see as `/` is a buffer that the archive fills: its library OS has no heap for it.
fn a_root_of_16_mib_is_read_where_it_lies(platform: Platform) {
    const SIZE: u32 = 16 << 20;
    const SCRIPT: &str = r#"
        local file = assert(io.open("/large", "rb"))
        local length = 0
        for part in file:lines(65536) do length = length + #part end
        local right = 0
        for word = 0, length - 4, 65532 do
            file:seek("set", word)
            if string.unpack("<I4", file:read(4)) == word then right = right + 1 end
        end
        print(length, right)
        -- What is written is copied first, to where there is room.
        local changed = assert(io.open("/large", "r+b"))
        changed:write("x")
        print(changed:close())
    "#;
    let Some(_) = tests::linux_program(platform, "lua") else {
        return;
    };
    let root = tempfile::tempdir().expect("a temporary directory");
    let words: Vec<u8> = (0..SIZE).step_by(4).flat_map(u32::to_le_bytes).collect();
    fs::write(root.path().join("large"), words).expect("a file");
    fs::write(root.path().join("script.lua"), SCRIPT).expect("a file");
    let yaml = format!(
        "cVMs:\n- name: it\n  linux: {{program: lua, memory: 2MiB, files: 64KiB, root: {}}}\n  args: [/script.lua]\n",
        root.path().display()
    );
    let outcome = Scenario::yaml(platform, &yaml).boot(platform);
    outcome.assert_status(0);
    let places = SIZE.div_ceil(65532);
    let expected = [
        format!("{SIZE}\t{places}"),
        "nil\tNo space left on device\t28".to_owned(),
    ];
    assert_eq!(outcome.of("it"), expected, "{outcome}");
}

fn lua_is_a_prompt_on_the_console(platform: Platform) {
    let yaml = "cVMs:\n- name: lua\n  linux: {program: lua, memory: 8MiB}\n";
    let input = [("> ", "a = 6 * 7\r"), ("> ", "print(a)\r"), ("> ", "os.exit(0)\r")];
    let Some(outcome) = boot(platform, yaml, &input) else {
        return;
    };
    outcome.assert_status(0);
    assert!(outcome.of("lua").contains(&"42"), "{outcome}");
}

fn ctrl_c_is_a_signal_to_the_program_that_has_the_console(platform: Platform) {
    // With a place for processes handlers are called: Lua's makes an error of the signal, and the prompt goes on.
    let yaml = "cVMs:\n- name: lua\n  linux: {program: lua, memory: 8MiB, processes: 1}\n";
    let input = [
        ("> ", "print('be' .. 'gun') while true do end\r"),
        ("begun", "\x03"),
        ("interrupted!", ""),
        ("> ", "print('and' .. ' on') os.exit(3)\r"),
    ];
    let Some(outcome) = boot(platform, yaml, &input) else {
        return;
    };
    assert_eq!(outcome.row("lua.program").state, "exited 3", "{outcome}");
    assert!(outcome.of("lua").contains(&"and on"), "{outcome}");
    // Without one it ends the program.
    let yaml = "cVMs:\n- {name: lua, linux: {program: lua, memory: 8MiB}}\n";
    let Some(outcome) = boot(platform, yaml, &[("> ", "print(1)\x03")]) else {
        return;
    };
    assert_eq!(outcome.row("lua.program").state, "exited 130", "{outcome}");
}

fn ctrl_c_ends_what_a_shell_runs_and_the_shell_goes_on(platform: Platform) {
    let there = ["busybox", "lua"].map(|program| tests::linux_program(platform, program));
    if there.contains(&None) {
        return;
    }
    let yaml = "cVMs:\n- name: shell\n  linux: {program: busybox, programs: [lua], processes: 3, memory: 4MiB}\n  args: [hush, -i]\n  \
                env: {PATH: /bin}\n";
    let input = [
        ("# ", "lua -e \"print('be' .. 'gun') while true do end\"\r"),
        ("begun", "\x03"),
        // Lua takes the signal for an error of its program, and ends by itself.
        ("# ", "echo status $? and on; exit 3\r"),
    ];
    let Some(outcome) = boot(platform, yaml, &input) else {
        return;
    };
    assert_eq!(outcome.row("shell.program").state, "exited 3", "{outcome}");
    assert!(
        outcome.of("shell").iter().any(|line| line.ends_with("status 1 and on")),
        "{outcome}"
    );
}

fn a_program_goes_on_while_another_one_reads_the_console(platform: Platform) {
    let yaml = "cVMs:\n- name: first\n  linux: {program: lua, memory: 8MiB}\n- name: second\n  linux: {program: lua, memory: 8MiB, with: \
                first}\n  args: [-e, 'for n = 1, 20 do print(n * n) end']\n";
    // Nothing is typed before the other one has ended.
    let Some(outcome) = boot(platform, yaml, &[("400", "os.exit(0)\r")]) else {
        return;
    };
    outcome.assert_status(0);
    assert!(outcome.of("first").contains(&"400"), "{outcome}");
}

fn sqlite_keeps_a_database_in_a_file(platform: Platform) {
    let yaml = "cVMs:\n- name: it\n  linux: {program: sqlite, memory: 8MiB}\n  args: [/tmp/it.db, create table t(a), insert into t \
                values(6) returning a * 7, pragma integrity_check]\n";
    let Some(outcome) = boot(platform, yaml, &[]) else {
        return;
    };
    outcome.assert_status(0);
    assert_eq!(outcome.of("it"), ["42", "ok"], "{outcome}");
}

fn sqlite_keeps_a_database_on_a_disk(platform: Platform) {
    let (Some(_), Some(image)) = (tests::linux_program(platform, "sqlite"), ext4::image(16 * 1024)) else {
        return;
    };
    let outcome = Scenario::example(platform, "sqlite").disk("", image).boot(platform);
    outcome.assert_status(0);
    assert_eq!(outcome.of("sqlite"), ["1|46", "ok"], "{outcome}");
}

fn a_disk_that_another_cvm_drives_is_mounted_as_well(platform: Platform) {
    let (Some(_), Some(image)) = (tests::linux_program(platform, "sqlite"), ext4::image(4 * 1024)) else {
        return;
    };
    let yaml = "cVMs:\n- {name: storage, runtime: disk, devices: block0}\n- name: it\n  linux: {program: sqlite, memory: 8MiB}\n  \
                disk: {of: storage, access: write}\n  args: [/disk/it.db, create table t(a), insert into t values(6) returning a \
                * 7, pragma integrity_check]\n";
    let scenario = Scenario::yaml(platform, yaml).disk("", image);
    let outcome = scenario.until([("it", "ok")]).boot(platform);
    assert_eq!(outcome.of("it"), ["42", "ok"], "{outcome}");
}

fn a_disk_without_a_file_system_is_named_with_what_to_do(platform: Platform) {
    if tests::linux_program(platform, "linux-hello").is_none() {
        return;
    }
    let yaml = "cVMs:\n- {name: it, linux: {program: linux-hello}, devices: block0}\n";
    let outcome = Scenario::yaml(platform, yaml).disk("", vec![0; 1 << 20]).boot(platform);
    let expected = [
        "linux: the disk for /disk cannot be used:",
        "linux: no ext4 is on it: on the host, mke2fs -t ext4 IMAGE",
    ];
    assert_eq!(outcome.of("it")[..2], expected, "{outcome}");
}

fn files_are_as_programs_expect_them(platform: Platform) {
    let Some(said) = alone(platform, "linux-files", "") else {
        return;
    };
    assert_eq!(said, ["89 checks, 0 failures"]);
}

/// musl and glibc, alone and in a cVM for processes, where the library OS loads it.
fn c_libraries_start_and_end_as_on_linux(platform: Platform) {
    for program in ["linux-start", "linux-start-glibc"] {
        if tests::linux_program(platform, program).is_none() {
            continue;
        }
        for places in ["", ", processes: 1"] {
            let yaml = format!(
                "cVMs:\n- name: it\n  linux: {{program: {program}, memory: 16MiB{places}}}\n  env: {{HOME: /root, \
                 MALLOC_ARENA_MAX: \"1\"}}\n"
            );
            let Some(outcome) = boot(platform, &yaml, &[]) else {
                return;
            };
            outcome.assert_status(0);
            assert_eq!(
                outcome.of("it"),
                ["357 checks, 0 failures"],
                "{program}{places}: {outcome}"
            );
        }
    }
}

fn pipes_sockets_and_events_wake_who_waits(platform: Platform) {
    let Some(said) = alone(platform, "linux-streams", "") else {
        return;
    };
    assert_eq!(said, ["196 checks, 0 failures"]);
}

fn threads_share_memory_and_wait_for_each_other(platform: Platform) {
    let more = "  args: [\"8\", \"200\"]\n  threads: 9\n";
    let Some(said) = alone(platform, "linux-threads", more) else {
        return;
    };
    assert_eq!(said, ["8 threads, 1600 rounds together, sum 7200"]);
    // One more than the manifest allows: an error number of pthread_create.
    let yaml = "cVMs:\n- {name: it, linux: {program: linux-threads}, args: [\"8\"], threads: 8}\n";
    let Some(outcome) = boot(platform, yaml, &[]) else {
        return;
    };
    assert_eq!(outcome.of("it"), ["threads: thread 7: error 11"], "{outcome}");
}

fn datagrams_arrive_whole_or_not_at_all(platform: Platform) {
    if let Some(said) = alone(platform, "linux-datagrams", "") {
        assert_eq!(said, ["35 checks, 0 failures"]);
    }
}

/// Each with a library OS of its own. A fourth port hears nothing of what they say to each other.
fn programs_on_a_switch_reach_each_other_and_nobody_else(platform: Platform) {
    let one = |name: &str, place: u32, arguments: &str| {
        format!(
            "- name: {name}\n  linux: {{program: linux-talk, memory: 2MiB}}\n  args: [{arguments}]\n  \
             net: {{of: lan, address: 10.0.2.{place}/24}}\n"
        )
    };
    let yaml = format!(
        "cVMs:\n- {{name: lan, runtime: switch}}\n\
         - {{name: rogue, runtime: net-rogue, args: [listen, 1, 2], heap: 64KiB, local: 1, stack: 32KiB, net: {{of: lan}}}}\n{}{}{}",
        one("server", 20, "\"7000\", \"2\""),
        one("client", 21, "10.0.2.20, \"7000\", \"100000\""),
        one("other", 22, "10.0.2.20, \"7000\", \"33333\""),
    );
    if tests::linux_program(platform, "linux-talk").is_none() {
        return;
    }
    let over = [
        ("server", "133333 bytes"),
        ("client", "came back"),
        ("other", "came back"),
        ("rogue", "tries"),
    ];
    let outcome = Scenario::yaml(platform, &yaml).until(over).boot(platform);
    assert_eq!(outcome.of("server"), ["2 connections, 133333 bytes"], "{outcome}");
    assert_eq!(outcome.of("client"), ["100000 bytes came back"], "{outcome}");
    assert_eq!(outcome.of("other"), ["33333 bytes came back"], "{outcome}");
    // What it got was for everybody: who has which address.
    let heard = outcome.of("rogue");
    let count = heard
        .first()
        .and_then(|line| line.strip_suffix(" tries")?.parse::<u32>().ok());
    assert!(
        heard.len() == 1 && count.is_some_and(|count| (1..50).contains(&count)),
        "{outcome}"
    );
}

/// Hard float, which Morello's programs have anyway.
fn programs_keep_their_floating_point_registers(platform: Platform) {
    if platform.arch() != Architecture::CheriRiscv {
        return;
    }
    for (program, expected) in [
        ("linux-datagrams-float", "35 checks, 0 failures"),
        ("linux-files-float", "89 checks, 0 failures"),
    ] {
        if tests::linux_program(platform, program).is_some()
            && let Some(said) = alone(platform, program, "")
        {
            assert_eq!(said, [expected]);
        }
    }
    if tests::linux_program(platform, "linux-signals-float").is_none() {
        return;
    }
    let yaml = "cVMs:\n- {name: it, linux: {program: linux-signals-float}}\n";
    let Some(outcome) = boot(platform, yaml, &[]) else {
        return;
    };
    assert_eq!(outcome.of("it"), ["0 failures"], "{outcome}");
    assert_eq!(outcome.row("it.program").state, "exited 134", "{outcome}");
}

fn a_program_hostile_to_its_library_os_hurts_nobody(platform: Platform) {
    // The monitor's memory, that of its library OS and that of others, the console's device.
    let (monitor, pool) = (platform.monitor(), platform.monitor() + 0x50_0000);
    let yaml = format!(
        "cVMs:\n- name: hostile\n  linux: {{program: linux-hostile, memory: 4MiB}}\n  args: [\"{monitor:#x}\", \"{pool:#x}\", \
         \"{:#x}\", \"0x10000000\", \"0x9000000\"]\n- {{name: witness, linux: {{program: linux-files, memory: 4MiB}}}}\n",
        monitor + 0x7ff_fff8,
    );
    let Some(outcome) = boot(platform, &yaml, &[]) else {
        return;
    };
    outcome.assert_status(0);
    let said = outcome.of("hostile");
    assert_eq!(
        said.last(),
        Some(&"17752 calls, most of them refused: yes"),
        "{outcome}"
    );
    assert_eq!(outcome.of("witness"), ["89 checks, 0 failures"], "{outcome}");
}

fn two_programs_share_a_library_os(platform: Platform) {
    let yaml = "cVMs:\n- name: first\n  linux: {program: linux-files}\n- name: second\n  linux: {program: lua, with: first}\n  \
                args: [-e, \"print(#arg, io.open('/tmp/folder') == nil)\"]\n";
    let Some(outcome) = boot(platform, yaml, &[]) else {
        return;
    };
    outcome.assert_status(0);
    let mut said = outcome.of("first");
    said.sort_unstable();
    assert_eq!(said, ["2\ttrue", "89 checks, 0 failures"], "{outcome}");
}

fn an_exit_code_is_the_cvms(platform: Platform) {
    let yaml = "cVMs:\n- {name: lua, linux: {program: lua}, args: [-e, os.exit(7)]}\n";
    let Some(outcome) = boot(platform, yaml, &[]) else {
        return;
    };
    outcome.assert_status(1);
    assert_eq!(outcome.row("lua.program").state, "exited 7", "{outcome}");
    assert_eq!(outcome.row("lua").state, "exited 0", "{outcome}");
}

fn a_signal_that_a_program_sends_to_itself_ends_it(platform: Platform) {
    let yaml = "cVMs:\n- {name: it, linux: {program: linux-signals}}\n";
    let Some(outcome) = boot(platform, yaml, &[]) else {
        return;
    };
    assert_eq!(outcome.of("it"), ["0 failures"], "{outcome}");
    // SIGABRT is 6.
    assert_eq!(outcome.row("it.program").state, "exited 134", "{outcome}");
}

fn time_is_told_without_a_call(platform: Platform) {
    if let Some(said) = alone(platform, "linux-clock", "") {
        assert_eq!(said, ["time without a call: all right"]);
    }
    // In a cVM for processes, where another program may have been before.
    let yaml = "cVMs:\n- name: it\n  linux: {program: linux-clock, processes: 1, memory: 2MiB}\n";
    if let Some(outcome) = boot(platform, yaml, &[]) {
        outcome.assert_status(0);
        assert_eq!(outcome.of("it"), ["time without a call: all right"], "{outcome}");
    }
}

fn random_numbers_come_from_a_device_where_there_is_one(platform: Platform) {
    let yaml = "cVMs:\n- name: it\n  linux: {program: lua}\n  devices: [entropy0]\n  args:\n  - -e\n  \
                - print(io.open('/dev/urandom'):read(16):gsub('.', function(c) return string.format('%02x', c:byte()) end))\n";
    if tests::linux_program(platform, "lua").is_none() {
        return;
    }
    let drawn = [(); 2].map(|()| {
        let scenario = Scenario::yaml(platform, yaml).entropy();
        let outcome = scenario.boot(platform);
        outcome.assert_status(0);
        outcome.of("it").first().map(|line| (*line).to_owned())
    });
    let [one, other] = drawn;
    assert_eq!(
        one.as_ref().map(String::len),
        Some("0123456789abcdef0123456789abcdef\t16".len()),
        "{one:?}"
    );
    if platform.is_machine() {
        // Its device gives the same bytes in each run, unless it is told otherwise; so time is in none of them.
        assert_eq!(one, other);
    } else {
        assert_ne!(one, other);
    }
}

fn a_fault_is_the_programs_own(platform: Platform) {
    // The monitor's memory, and that of the library OS, which is around the program's.
    let monitor = platform.monitor();
    for (address, how) in [(monitor, "r"), (monitor + 0x50_0000, "w"), (platform.device(), "w")] {
        let yaml = format!(
            "cVMs:\n- {{name: first, linux: {{program: linux-fault}}, args: [\"{address:#x}\", {how}]}}\n\
             - {{name: second, linux: {{program: linux-files, with: first}}}}\n"
        );
        let Some(outcome) = boot(platform, &yaml, &[]) else {
            return;
        };
        outcome.assert_status(1);
        let said = outcome.of("first");
        assert!(said.contains(&"89 checks, 0 failures"), "{outcome}");
        assert!(!said.iter().any(|line| line.starts_with("found")), "{outcome}");
        assert_eq!(
            outcome.row("first.program").state,
            "killed: bounds violation",
            "{outcome}"
        );
        assert_eq!(outcome.row("first").state, "exited 0", "{outcome}");
    }
}

fn processes_are_made_waited_for_and_ended(platform: Platform) {
    let yaml = "cVMs:\n- name: it\n  linux: {program: linux-spawn, processes: 5, memory: 2MiB}\n";
    let Some(outcome) = boot(platform, yaml, &[]) else {
        return;
    };
    outcome.assert_status(0);
    assert_eq!(outcome.of("it").last(), Some(&"76 checks, 0 failures"), "{outcome}");
    // One of its children faults; the cVM that it was in is used again.
    let restarts = (2..=5).map(|number| outcome.row(&format!("it.{number}")).restarts);
    assert_eq!(restarts.sum::<u32>(), 1, "{outcome}");
}

fn the_first_program_begins_in_the_place_that_has_its_arguments(platform: Platform) {
    // With so much memory each the last of them begins first.
    let yaml = "cVMs:\n- name: it\n  linux: {program: linux-hello, memory: 16MiB, processes: 4}\n  args: [one]\n";
    let Some(outcome) = boot(platform, yaml, &[]) else {
        return;
    };
    outcome.assert_status(0);
    let expected = ["hello from /bin/linux-hello", "argument 1: one", "HOME is not set"];
    assert_eq!(outcome.of("it"), expected, "{outcome}");
}

fn a_shell_makes_pipelines_of_programs_in_cvms_of_their_own(platform: Platform) {
    if tests::linux_program(platform, "busybox").is_none() || tests::linux_program(platform, "dash").is_none() {
        return;
    }
    let outcome = Scenario::example(platform, "shell").boot(platform);
    outcome.assert_status(0);
    let expected = [
        "1 10 11 12 13 14 15 16 17 18 19 ",
        "APPLE",
        "FIG",
        "PEAR",
        "3 lines on Linux",
        "no kiwi: status 1",
        "dash: 42",
        "15",
        "dash has ended with 5",
    ];
    assert_eq!(outcome.of("shell"), expected, "{outcome}");
}

fn a_hostile_child_hurts_neither_its_parent_nor_its_library_os(platform: Platform) {
    if tests::linux_program(platform, "busybox").is_none() {
        return;
    }
    // The memory of the monitor, of the library OS, and of the cVMs around: its parent's among them.
    let (monitor, pool) = (platform.monitor(), platform.monitor() + 0x50_0000);
    let others: Vec<String> = (0..16).map(|place| format!("{:#x}", pool + place * 0x4_0000)).collect();
    let script = format!(
        "linux-hostile {monitor:#x} {} 0x10000000 0x9000000; echo after $?; linux-fault {monitor:#x} w; echo then $?; \
         linux-spawn | busybox tail -n 1",
        others.join(" ")
    );
    let yaml = format!(
        "cVMs:\n- name: it\n  linux: {{program: busybox, programs: [linux-hostile, linux-fault, linux-spawn], processes: 6, \
         memory: 2MiB}}\n  args: [hush, -c, {script:?}]\n  env: {{PATH: /bin}}\n"
    );
    let Some(outcome) = boot(platform, &yaml, &[]) else {
        return;
    };
    outcome.assert_status(0);
    let said = outcome.of("it");
    let told: Vec<&&str> = said.iter().filter(|line| !line.starts_with("linux: ")).collect();
    assert!(told.contains(&&"17755 calls, most of them refused: yes"), "{outcome}");
    assert!(told.contains(&&"after 0"), "{outcome}");
    // SIGSEGV is 11.
    assert!(told.contains(&&"then 139"), "{outcome}");
    assert_eq!(said.last(), Some(&"76 checks, 0 failures"), "{outcome}");
}
