//! Hostile clients of the drivers: of the disk, and on ports of the switch.

use std::fmt::Write;

use tests::{Outcome, Platform, Scenario};

use crate::catalogue::Fate::Nothing;
use crate::catalogue::{Attack, Group, Means, everywhere};

pub(crate) const DISK: Group = Group {
    title: "Clients of a disk",
    promise: "4, 11: a client has the blocks that the manifest gives it, and nothing else of the disk or of its driver",
    attacks: &[
        client(
            "disk-beyond",
            "read and write blocks behind the own ones, before them, and where sums of 64 bits begin anew",
            ("beyond", "write"),
        ),
        client(
            "disk-beyond-reading",
            "the same, with blocks that are to be read only",
            ("beyond", "read"),
        ),
        client("disk-write", "write blocks that are to be read only", ("write", "read")),
        client(
            "disk-commands",
            "have the device do what it can besides: say its name, discard, erase, and numbers that mean nothing",
            ("commands", "write"),
        ),
        client(
            "disk-buffers",
            "give away, take back or destroy the buffer that is shared with the driver; map the victim's",
            ("buffers", "write"),
        ),
        client(
            "disk-race",
            "change the block while the driver looks whether it is allowed",
            ("race", "write"),
        ),
        client(
            "disk-race-reading",
            "the same, with blocks that are to be read only",
            ("race", "read"),
        ),
        client(
            "disk-storm",
            "write anything into every word of the buffer, 3000 times",
            ("storm", "write"),
        ),
    ],
};

pub(crate) const SWITCH: Group = Group {
    title: "Ports of a switch",
    promise: "4, 11: no port sees what is not for it, sends in another's name, or takes the room of others",
    attacks: &[
        port(
            "net-flood",
            "send 3000 of the longest frames to the victim while another station talks to it",
            "flood",
        ),
        port(
            "net-broadcast",
            "send 3000 of the longest frames to everybody",
            "broadcast",
        ),
        port(
            "net-spoof",
            "send in the name of another port, the card, a group, nobody, a port that is not there, and nearly its own",
            "spoof",
        ),
        port("net-listen", "hear what two others say to each other", "listen"),
        port(
            "net-learn",
            "make the switch forget, or learn wrong, who is where, and listen then",
            "learn",
        ),
        port(
            "net-buffers",
            "give away, take back or destroy the buffer that is shared with the switch; map the victim's",
            "buffers",
        ),
        port(
            "net-storm",
            "write anything into positions and lengths of the port's streams, 3000 times",
            "storm",
        ),
    ],
};

const fn client(name: &'static str, what: &'static str, (ways, access): (&'static str, &'static str)) -> Attack {
    Attack {
        name,
        what,
        means: Means::Client(ways, access),
        expected: everywhere(Nothing),
    }
}

const fn port(name: &'static str, what: &'static str, ways: &'static str) -> Attack {
    client(name, what, (ways, ""))
}

/// Blocks of each client of the disk.
const BLOCKS: usize = 20;
const SECTOR: usize = 512;
/// Requests of the victim.
const REQUESTS: u32 = 150;
/// Frames that the victim and its friend send each other.
const FRAMES: u32 = 300;

fn attacks(group: &Group) -> impl Iterator<Item = (usize, &'static str, &'static str, &'static str)> {
    group
        .attacks
        .iter()
        .enumerate()
        .map(|(index, attack)| match attack.means {
            Means::Client(ways, access) => (index, attack.name, ways, access),
            _ => panic!("{}: needs another runner", attack.name),
        })
}

/// Boots all clients of a disk in one image, in the middle of them an honest one.
pub(crate) fn on_a_disk(platform: Platform) {
    let mut yaml = String::from("cVMs:\n- {name: storage, runtime: disk, devices: block@data}\n");
    // Nobody's blocks are between them, and hold what nobody has written.
    let place = |index: usize| 10 + index * (BLOCKS + 4);
    let last = DISK.attacks.len();
    let mut contents = vec![0xee; (place(last) + BLOCKS + 10) * SECTOR];
    for index in 0..=last {
        contents[place(index) * SECTOR..(place(index) + BLOCKS) * SECTOR].fill(0);
    }
    let _ = writeln!(
        yaml,
        "- {{name: victim, runtime: disk-check, args: [{REQUESTS}, 7, {BLOCKS}], heap: 256KiB, \
         disk: {{of: storage, start: {}, blocks: {BLOCKS}, access: write}}}}",
        place(last / 2)
    );
    for (index, name, ways, access) in attacks(&DISK) {
        let start = place(if index < last / 2 { index } else { index + 1 });
        let _ = writeln!(
            yaml,
            "- {{name: {name}, runtime: disk-rogue, args: [{start}, {access}, {ways}], threads: 2, heap: 64KiB, local: 1, \
             disk: {{of: storage, start: {start}, blocks: {BLOCKS}, access: {access}}}}}"
        );
    }
    let done = format!("{REQUESTS} requests done, 0 failed");
    let scenario = Scenario::yaml(platform, &yaml).disk("data", contents);
    let outcome = scenario
        .until(ends(&DISK, " requests refused", &[("victim", &done)]))
        .boot(platform);
    judge(&DISK, " requests refused", &outcome);
    assert_eq!(outcome.of("victim").last(), Some(&done.as_str()), "{outcome}");
    assert!(outcome.of("storage").is_empty(), "{outcome}");
}

/// Boots all ports of a switch in one image, with two stations that talk to each other.
pub(crate) fn on_a_switch(platform: Platform) {
    let mut yaml = String::from("cVMs:\n- {name: lan, runtime: switch, devices: \"net@52:54:00:12:34:56\"}\n");
    for station in ["victim", "friend"] {
        let _ = writeln!(
            yaml,
            "- {{name: {station}, runtime: net-check, args: [1, {FRAMES}], heap: 64KiB, local: 1, stack: 32KiB, net: {{of: lan}}}}"
        );
    }
    for (_, name, ways, _) in attacks(&SWITCH) {
        let _ = writeln!(
            yaml,
            "- {{name: {name}, runtime: net-rogue, args: [{ways}, 0, 1], heap: 64KiB, local: 2, stack: 32KiB, net: {{of: lan}}}}"
        );
    }
    let scenario = Scenario::yaml(platform, &yaml).card([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    let floods = [("victim", " frames of a flood"), ("friend", " frames of a flood")];
    let outcome = scenario.until(ends(&SWITCH, " tries", &floods)).boot(platform);
    judge(&SWITCH, " tries", &outcome);
    for station in ["victim", "friend"] {
        let expected = format!("{FRAMES} echoes, 0 lost");
        assert_eq!(outcome.of(station)[0], expected, "{outcome}");
    }
    let flooded = outcome.of("victim")[1]
        .split(' ')
        .next()
        .and_then(|count| count.parse::<u32>().ok());
    assert!(flooded > Some(100), "no flood: {outcome}");
    assert_eq!(outcome.of("friend")[1], "0 frames of a flood", "{outcome}");
    assert!(outcome.of("lan").is_empty(), "{outcome}");
}

/// How the last line of everybody ends.
fn ends<'a>(group: &Group, attacker: &'a str, others: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let attackers = group.attacks.iter().map(|attack| (attack.name, attacker));
    attackers.chain(others.iter().copied()).collect()
}

/// An attacker says one thing, when it got nothing, and nobody has a fault.
fn judge(group: &Group, says: &str, outcome: &Outcome) {
    let ending = format!("{:?}", outcome.ending);
    assert!(ending.contains("wait"), "{outcome}");
    for attack in group.attacks {
        let said = outcome.of(attack.name);
        assert!(
            said.len() == 1 && said[0].ends_with(says),
            "{}: {said:?}: {outcome}",
            attack.name
        );
    }
    assert!(outcome.faults().is_empty(), "{outcome}");
}
