//! Devices that cVMs drive.

use std::time::{SystemTime, UNIX_EPOCH};

use tests::{Ending, Platform, Scenario, cvm, on_every_platform};
use tools::manifest::CvmSpec;

on_every_platform!(
    a_cvm_reads_random_bytes_from_its_device,
    an_image_is_not_run_without_its_devices,
    a_device_is_found_by_what_it_calls_itself,
    one_device_by_two_names_is_refused,
    a_name_that_two_devices_have_is_refused,
    asking_devices_who_they_are_costs_no_memory,
    a_cvm_learns_the_date,
);

/// Seconds from 1970 to 2000, when the clocks of the embedded machine start in tests.
const YEAR_2000: u64 = 946_684_800;

fn a_cvm_reads_random_bytes_from_its_device(platform: Platform) {
    let spec = CvmSpec {
        heap: 0x1_0000,
        devices: vec!["entropy0".into()],
        ..cvm("entropy", "entropy", &["20"])
    };
    let outcome = Scenario::new([spec]).entropy().boot(platform);
    outcome.assert_status(0);
    let lines = outcome.of("entropy");
    let bytes = lines[0].strip_prefix("20 random bytes: ");
    let bytes = bytes.unwrap_or_else(|| panic!("{outcome}"));
    assert_eq!(bytes.len(), 40, "{outcome}");
    assert!(bytes.chars().all(|digit| digit.is_ascii_hexdigit()), "{outcome}");
    let digits: std::collections::BTreeSet<char> = bytes.chars().collect();
    assert!(digits.len() > 4, "hardly random: {outcome}");
}

fn an_image_is_not_run_without_its_devices(platform: Platform) {
    let spec = CvmSpec {
        devices: vec!["block3".into()],
        ..cvm("hello", "hello", &[])
    };
    let outcome = Scenario::new([spec]).entropy().boot(platform);
    assert_eq!(outcome.ending, Ending::Exit(1), "{outcome}");
    let last = outcome.monitor().last().copied().unwrap_or_default().to_owned();
    assert_eq!(
        last, "error: cVM hello: devices = \"block3\": the machine has no such device",
        "{outcome}"
    );
}

/// How a board is put together: disks of 8, 16 and 24 blocks, and two cards.
fn board(scenario: Scenario) -> Scenario {
    scenario
        .disk("first", vec![0; 8 * 512])
        .disk("", vec![0; 16 * 512])
        .disk("the_20-bytes.long.no", vec![0; 24 * 512])
        .card([0x52, 0x54, 0, 1, 2, 3])
        .card([0x52, 0x54, 0, 0xab, 0xcd, 0xef])
}

fn driver(name: &str, devices: &[&str]) -> CvmSpec {
    CvmSpec {
        heap: 0x1_0000,
        devices: devices.iter().map(|device| (*device).to_owned()).collect(),
        ..cvm(name, "devices", &[])
    }
}

fn a_device_is_found_by_what_it_calls_itself(platform: Platform) {
    let cvms = [
        driver("a", &["net@52:54:00:ab:cd:ef", "block@the_20-bytes.long.no", "block1"]),
        driver("b", &["block@first", "net0"]),
    ];
    let outcome = board(Scenario::new(cvms)).boot(platform);
    outcome.assert_status(0);
    assert_eq!(
        outcome.of("a"),
        [
            "device 0: card 52:54:00:ab:cd:ef",
            "device 1: disk of 24 blocks",
            "device 2: disk of 16 blocks"
        ],
        "{outcome}"
    );
    let expected = ["device 0: disk of 8 blocks", "device 1: card 52:54:00:01:02:03"];
    assert_eq!(outcome.of("b"), expected, "{outcome}");
}

fn refused(platform: Platform, scenario: Scenario, problem: &str) {
    let outcome = scenario.boot(platform);
    assert_eq!(outcome.ending, Ending::Exit(1), "{outcome}");
    let last = outcome.monitor().last().copied().unwrap_or_default().to_owned();
    assert_eq!(last, format!("error: {problem}"), "{outcome}");
}

fn one_device_by_two_names_is_refused(platform: Platform) {
    for (first, second) in [
        ("block0", "block@first"),
        ("block@the_20-bytes.long.no", "block2"),
        ("net1", "net@52:54:00:ab:cd:ef"),
    ] {
        let cvms = [driver("a", &["block1", first]), driver("thief", &[second])];
        let problem =
            format!("cVM thief: devices = \"{second}\": it is also {first} of cVM a, expected one driver of a device");
        refused(platform, board(Scenario::new(cvms)), &problem);
    }
}

fn a_name_that_two_devices_have_is_refused(platform: Platform) {
    let scenario = board(Scenario::new([driver("a", &["block@first"])])).disk("first", vec![0; 512]);
    let problem = "cVM a: devices = \"block@first\": the machine has several such devices";
    refused(platform, scenario, problem);
    let scenario = board(Scenario::new([driver("a", &["block@second"])]));
    let problem = "cVM a: devices = \"block@second\": the machine has no such device";
    refused(platform, scenario, problem);
}

/// A disk is asked by a queue: a page that the device writes, and what the monitor knows of its descriptors. Three disks are asked
/// one after the other, and all of it comes back; only where the next page begins may differ.
fn asking_devices_who_they_are_costs_no_memory(platform: Platform) {
    const ENDING: &str = " bytes of the monitor's heap in use";
    let heap = |device| {
        let outcome = board(Scenario::new([driver("a", &[device])]))
            .append("log=debug")
            .boot(platform);
        outcome.assert_status(0);
        let monitor = outcome.monitor();
        let numbers = monitor
            .iter()
            .filter_map(|line| line.strip_prefix("debug: ")?.strip_suffix(ENDING));
        let used = numbers.filter_map(|number| number.parse::<u64>().ok()).next();
        used.unwrap_or_else(|| panic!("{outcome}"))
    };
    let (by_place, by_name) = (heap("block1"), heap("block@first"));
    assert!(by_name.abs_diff(by_place) <= 4096, "{by_place} and {by_name} bytes");
}

fn a_cvm_learns_the_date(platform: Platform) {
    let before = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    let outcome = Scenario::new([cvm("date", "date", &[])]).boot(platform);
    outcome.assert_status(0);
    let line = outcome.of("date")[0].to_owned();
    let seconds = line
        .strip_suffix(" seconds since 1970")
        .and_then(|text| text.parse::<u64>().ok());
    let seconds = seconds.unwrap_or_else(|| panic!("{outcome}"));
    let expected = if platform.is_machine() {
        YEAR_2000..YEAR_2000 + 60
    } else {
        before..before + 600
    };
    assert!(expected.contains(&seconds), "{seconds}, expected {expected:?}");
}
