//! What the monitor says of itself and of what it runs is what `intravisor inspect` says of the image.

use machine::Stop;
use machine::morello::{Board, Config, Firmware, Kind, Until};
use tests::{Platform, Scenario, cvm, on_every_platform};
use tools::inspect::{Report, inspect};

on_every_platform!(
    the_monitor_measures_what_inspect_does,
    nothing_is_measured_that_nobody_asked_for,
);

const PROGRAM: &str = "identity";

fn report(image: &[u8]) -> Report {
    inspect(image).unwrap_or_else(|error| panic!("{error}"))
}

/// The lines that the monitor has to print for an image.
fn lines(report: &Report) -> Vec<String> {
    let files = report.members.iter().map(|member| (&*member.name, &*member.sha256));
    let image = report.image.iter().map(|image| ("monitor", &*image.monitor_sha256));
    let mut lines: Vec<String> = image
        .chain(files)
        .map(|(name, digest)| format!("measured: {name} SHA-256 {digest}"))
        .collect();
    lines.sort_unstable();
    lines
}

fn digest_of(report: &Report, name: &str) -> String {
    let member = report.members.iter().find(|member| member.name == name);
    member.expect("it is in the archive").sha256.clone()
}

fn the_monitor_measures_what_inspect_does(platform: Platform) {
    let scenario = Scenario::new([cvm("one", PROGRAM, &[]), cvm("two", "hello", &[])]).append("measure");
    let report = report(&scenario.image(platform));
    let outcome = scenario.boot(platform);
    outcome.assert_status(0);
    let mut said: Vec<&str> = outcome.monitor();
    said.retain(|line| line.starts_with("measured: "));
    said.sort_unstable();
    assert_eq!(said, lines(&report), "{outcome}");
    assert_eq!(
        outcome.of("one"),
        [format!("I am {}", digest_of(&report, PROGRAM))],
        "{outcome}"
    );
}

fn nothing_is_measured_that_nobody_asked_for(platform: Platform) {
    let outcome = Scenario::new([cvm("one", PROGRAM, &[])])
        .append("log=debug")
        .boot(platform);
    outcome.assert_status(0);
    assert!(
        !outcome.monitor().iter().any(|line| line.contains("measured")),
        "{outcome}"
    );
    assert_eq!(outcome.of("one"), [format!("I am {}", "0".repeat(64))], "{outcome}");
}

#[test]
fn one_monitor_has_one_digest_whatever_stands_behind_it() {
    for platform in [Platform::MachineV9, Platform::MachineMorello] {
        let digest = |scenario: Scenario| {
            let image = report(&scenario.image(platform)).image;
            image.expect("it is an image").monitor_sha256
        };
        let small = digest(Scenario::new([cvm("one", PROGRAM, &[])]));
        let large = digest(Scenario::new([cvm("one", PROGRAM, &[])]).member("filler", vec![0; 1 << 20]));
        assert_eq!(small, large);
    }
}

#[test]
fn the_digest_is_the_same_where_firmware_puts_the_monitor() {
    let image = Scenario::new([cvm("one", PROGRAM, &[])]).image(Platform::MachineMorello);
    let expected = lines(&report(&image));
    let mut board = Board::new(Config {
        kind: Kind::MorelloSoc,
        firmware: Firmware::Efi,
        append: "measure".to_owned(),
        ..Config::new(image)
    })
    .expect("the board");
    let stop = board.run(Until {
        limit: Some(2_000_000_000),
        ..Until::default()
    });
    let console = board.console().text();
    assert!(matches!(stop, Stop::Exit(0)), "{stop:?}\n{console}");
    for line in expected {
        assert!(console.contains(&line), "{line}\n{console}");
    }
}
