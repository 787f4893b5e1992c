//! Devices that cVMs drive.

use std::time::{SystemTime, UNIX_EPOCH};

use tests::{Ending, Platform, Scenario, cvm, on_every_platform};
use tools::manifest::CvmSpec;

on_every_platform!(
    a_cvm_reads_random_bytes_from_its_device,
    an_image_is_not_run_without_its_devices,
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
