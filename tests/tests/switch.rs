//! The Ethernet switch and the cVMs on its ports.

use machine::net::UserNetwork;
use machine::virtio::Network;
use tests::{Outcome, Platform, Scenario, on_machine};

on_machine!(
    frames_come_to_whom_they_are_for,
    a_port_that_floods_and_lies_hurts_itself,
    a_switch_needs_no_card,
    floods_take_no_room_of_others,
);

/// The switch, with these cVMs on its ports: their names and arguments.
fn run(platform: Platform, card: bool, stations: &[(&str, &str)]) -> Outcome {
    let devices = if card { "devices: net0" } else { "priority: 3" };
    let stations: String = stations
        .iter()
        .map(|(name, arguments)| {
            format!(
                "- {{name: {name}, runtime: net-check, args: {arguments}, heap: 64KiB, local: 1, stack: 32KiB, net: {{of: lan}}}}\n"
            )
        })
        .collect();
    let yaml = format!("cVMs:\n- {{name: lan, runtime: switch, {devices}}}\n{stations}");
    let mut running = Scenario::yaml(platform, &yaml).on_board(platform);
    if card {
        let card = Network::new([0x52, 0x54, 0, 0x12, 0x34, 0x56], UserNetwork::new());
        running.board.attach(card).expect("a slot");
    }
    let outcome = running.finish();
    let ending = format!("{:?}", outcome.ending);
    assert!(ending.contains("wait"), "{outcome}");
    assert!(outcome.faults().is_empty() && outcome.of("lan").is_empty(), "{outcome}");
    outcome
}

fn frames_come_to_whom_they_are_for(platform: Platform) {
    let outcome = run(
        platform,
        true,
        &[("a", "3 200"), ("b", "3 200"), ("c", "3 200"), ("d", "3 200")],
    );
    for station in ["a", "b", "c", "d"] {
        assert_eq!(
            outcome.of(station),
            ["200 echoes, 0 lost", "0 frames of a flood"],
            "{outcome}"
        );
    }
}

fn a_switch_needs_no_card(platform: Platform) {
    let outcome = run(platform, false, &[("a", "1 100"), ("b", "1 100")]);
    for station in ["a", "b"] {
        assert_eq!(outcome.of(station)[0], "100 echoes, 0 lost", "{outcome}");
    }
}

fn a_port_that_floods_and_lies_hurts_itself(platform: Platform) {
    let outcome = run(
        platform,
        true,
        &[("a", "3 300"), ("b", "3 300"), ("c", "3 300"), ("rogue", "3 0 rogue")],
    );
    for station in ["a", "b", "c"] {
        assert_eq!(
            outcome.of(station)[0],
            "200 echoes, 100 lost",
            "the rogue does not answer: {outcome}"
        );
    }
    assert_eq!(outcome.of("rogue"), ["done"], "{outcome}");
    let floods = ["a", "b", "c"]
        .iter()
        .flat_map(|station| outcome.of(station).into_iter().nth(1));
    let frames = floods.filter_map(|line| line.strip_suffix(" frames of a flood")?.parse::<u32>().ok());
    assert!(frames.sum::<u32>() > 100, "no flood: {outcome}");
}

/// A station gets all of its echoes, whoever floods it and whoever floods everybody; what that costs it is the time of the processor.
fn floods_take_no_room_of_others(platform: Platform) {
    let time = |floods: &[&str]| {
        let rogues = floods.iter().enumerate().map(|(number, way)| {
            format!("- {{name: rogue{number}, runtime: net-rogue, args: [{way}, 0, 1], heap: 64KiB, local: 2, stack: 32KiB, net: {{of: lan}}}}\n")
        });
        let stations = ["a", "b"].map(|name| {
            format!("- {{name: {name}, runtime: net-check, args: [1, 400], heap: 64KiB, local: 1, stack: 32KiB, net: {{of: lan}}}}\n")
        });
        let yaml = format!(
            "cVMs:\n- {{name: lan, runtime: switch}}\n{}{}",
            stations.concat(),
            rogues.collect::<String>()
        );
        let outcome = Scenario::yaml(platform, &yaml).on_board(platform).finish();
        for station in ["a", "b"] {
            assert_eq!(outcome.of(station)[0], "400 echoes, 0 lost", "{outcome}");
        }
        let line = outcome.lines.iter().find(|line| line.writer == "a");
        line.and_then(|line| line.time).expect("a time")
    };
    let alone = time(&[]);
    for floods in [
        &["flood"] as &[&str],
        &["flood", "flood"],
        &["flood", "broadcast", "spoof", "flood"],
    ] {
        let among = time(floods);
        // Each rogue is a cVM more that has something to do, and so is the switch's thread for it.
        let limit = 2 + 3 * floods.len() as u64;
        println!("{platform}: {floods:?}: {among} ns, alone {alone} ns");
        assert!(among <= limit * alone, "{among} ns among {floods:?}, {alone} ns alone");
    }
}
