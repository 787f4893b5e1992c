//! Boots attacks next to a victim, and judges what became of either.

use std::fmt::Write;

use abi::manifest::{MEMBER, RestartPolicy};
use capability::Permissions;
use machine::Stay;
use tests::code;
use tests::code::attack::{Attacker, SECRET, Victim, victim_base};
use tests::report::LedgerEntry;
use tests::{Board, Ending, Outcome, Platform, Scenario};
use tools::archive::{self, Member};
use tools::elf::synthesis::{Elf, Purecap};
use tools::manifest::{CvmSpec, Manifest, Restart};

use crate::capfiles::shared;
use crate::cast::Role;
use crate::catalogue::{Attack, Fate, Group, Means, Storm};

/// Most instructions of the monitor, once a cVM has run, without a look at what has become due.
const STAY_LIMIT: u64 = 200_000;
/// … and in the attack that has the longest report of a fault.
const REPORT_LIMIT: u64 = 600_000;
const LONGEST_REPORT: &str = "long-report";
/// The variable that names the only attack to make, of those that have an image of their own.
const ONLY: &str = "INTRAVISOR_ATTACK";
/// How often the secret stands in an initrd that leaves secrets in memory: 9 MiB.
const RELICS: usize = (9 << 20) / 38;
/// Name and program of the victim.
const VICTIM: &str = "victim";
const MILLISECOND: u64 = 1_000_000;

/// The victim next to the attacks of a group: it looks until all of them have long ended.
const LONG_LIVED: Victim = Victim {
    rounds: 120,
    period: MILLISECOND / 4,
    patience: 1000 * MILLISECOND,
};

/// So many restarts after faults.
fn restarts(limit: usize) -> Restart {
    Restart {
        policy: RestartPolicy::OnFault,
        limit: limit as u32,
        delay: 0,
    }
}

/// The victim where the attacks look for it.
fn placed(platform: Platform) -> CvmSpec {
    CvmSpec {
        isolation_base: Some(victim_base(platform)),
        ..CvmSpec::new(VICTIM, VICTIM)
    }
}

/// Boots all programs of a group in one image, next to the victim.
pub(crate) fn together(group: &Group, platform: Platform) {
    let tried: Vec<&Attack> = group
        .attacks
        .iter()
        .filter(|attack| !matches!(attack.expected.on(platform), Fate::Absent))
        .filter(|attack| {
            matches!(
                attack.means,
                Means::Program(_) | Means::Purecap(_) | Means::Twice(_) | Means::Lives(_)
            )
        })
        .collect();
    let mut cvms = vec![placed(platform)];
    let mut members = vec![(VICTIM, LONG_LIVED.elf(platform).to_bytes())];
    for attack in &tried {
        let mut spec = CvmSpec::new(attack.name, attack.name);
        let mut attacker = Attacker::new(platform);
        match attack.means {
            Means::Program(program) | Means::Purecap(program) => program(&mut attacker),
            Means::Twice(program) => {
                program(&mut attacker);
                spec.restart = restarts(1);
            }
            Means::Lives(words) => {
                let words = words(&attacker);
                spec.restart = restarts(words.len());
                attacker.one_a_life(&words);
            }
            _ => continue,
        }
        cvms.push(spec);
        let mut elf = attacker.elf();
        if let Means::Purecap(_) = attack.means {
            elf = Purecap::new(platform.arch(), &elf.loads[0].data).to_elf();
        }
        members.push((attack.name, elf.to_bytes()));
    }
    let scenario = members.into_iter().fold(Scenario::new(cvms), |scenario, (name, file)| {
        scenario.member(name, file)
    });
    let outcome = boot(&scenario, platform);
    let mut wrong = String::new();
    for attack in &tried {
        if let Err(what) = judge(attack, attack.name, &outcome) {
            let _ = writeln!(wrong, "{}: {what}", attack.name);
        }
    }
    wrong += &judge_victim(&outcome);
    wrong += &judge_stay(group.title, &outcome);
    let intact = outcome.lines.iter().position(|line| line.writer == VICTIM);
    let last = outcome.lines.iter().rposition(|line| line.text.contains(": fault: "));
    if last > intact {
        wrong += "the victim ended before the last attack\n";
    }
    assert!(wrong.is_empty(), "{wrong}\n{outcome}");
}

/// Boots each attack of a group in an image of its own: storms next to a victim that looks at the clock.
pub(crate) fn alone(group: &Group, platform: Platform) {
    let mut wrong = String::new();
    let wanted = std::env::var(ONLY).ok();
    let attacks = group.attacks.iter();
    for attack in attacks.filter(|attack| wanted.as_deref().is_none_or(|name| name == attack.name)) {
        let expected = attack.expected.on(platform);
        let spec = CvmSpec::new(attack.name, attack.name);
        let found = match (&attack.means, expected) {
            (_, Fate::Absent) => Ok(()),
            (Means::Storm(storm), _) => weather(attack, storm, platform),
            (Means::Cast(cast) | Means::Relics(cast), _) => perform(attack, cast(platform), &LONG_LIVED, platform),
            (Means::Siege(siege), _) => perform(attack, (siege.cast)(platform), &watchful(siege.patience), platform),
            (Means::Greed(change), Fate::Refused(message)) => {
                let mut elf = code::minimal(platform.arch());
                let spec = change(&mut elf.loads, spec);
                refused(spec, &elf, message, platform)
            }
            (Means::File(file), Fate::Refused(message)) => {
                let (spec, elf) = file(platform, spec);
                refused(spec, &elf, message, platform)
            }
            _ => Err("needs another runner".to_owned()),
        };
        if let Err(what) = found {
            let _ = writeln!(wrong, "{}: {what}", attack.name);
        }
    }
    assert!(wrong.is_empty(), "on {platform}:\n{wrong}");
}

/// Boots a storm next to the victim.
fn weather(attack: &Attack, storm: &Storm, platform: Platform) -> Result<(), String> {
    let mut attacker = Attacker::new(platform);
    (storm.program)(&mut attacker);
    let names: Vec<String> = (0..storm.copies)
        .map(|copy| format!("{}-{copy}", attack.name))
        .collect();
    let storms = names.iter().map(|name| (storm.spec)(CvmSpec::new(name, attack.name)));
    let scenario = Scenario::new([placed(platform)].into_iter().chain(storms).collect::<Vec<_>>())
        .member(VICTIM, watchful(storm.patience).elf(platform).to_bytes())
        .member(attack.name, attacker.elf().to_bytes());
    let outcome = scenario.boot(platform);
    let mut wrong = judge_victim(&outcome);
    wrong += &judge_stay(attack.name, &outcome);
    for name in &names {
        if let Err(what) = judge(attack, name, &outcome) {
            let _ = writeln!(wrong, "{name}: {what}");
        }
    }
    let secret = format!("{SECRET:016x}");
    if outcome.console.contains(&secret) {
        wrong += "the console shows the secret\n";
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("{wrong}{outcome}"))
    }
}

/// A victim that looks at the clock, and may have to wait for so many microseconds when it could go on.
fn watchful(patience: u64) -> Victim {
    Victim {
        rounds: 12,
        period: MILLISECOND,
        patience: MILLISECOND + 1000 * patience,
    }
}

/// Boots several cVMs next to the victim.
fn perform(attack: &Attack, cast: Vec<Role>, victim: &Victim, platform: Platform) -> Result<(), String> {
    let specs: Vec<CvmSpec> = [placed(platform)]
        .into_iter()
        .chain(cast.iter().map(|role| role.spec.clone()))
        .collect();
    let (capfiles, data) = shared().into_iter().collect::<(Vec<_>, Vec<_>)>();
    let manifest = Manifest::new(&specs).with_buffers(&capfiles).encode();
    let mut members = vec![
        Member::new(MEMBER, manifest.map_err(|error| error.to_string())?),
        Member::new(VICTIM, victim.elf(platform).to_bytes()),
    ];
    members.extend(data);
    members.extend(
        cast.iter()
            .map(|role| Member::new(&role.spec.runtime, role.elf.to_bytes())),
    );
    let from_initrd = matches!(attack.means, Means::Relics(_));
    if from_initrd {
        members.push(Member::new(
            "relics",
            b"PASSWORD=a secret of the boot loader; ".repeat(RELICS),
        ));
    }
    let archive = archive::write(&members).map_err(|error| error.to_string())?;
    let mut scenario = Scenario::with_archive(archive);
    if from_initrd {
        scenario = Scenario::with_archive([]).initrd(platform, &scenario);
    }
    if specs.iter().any(|spec| !spec.devices.is_empty()) {
        scenario = scenario.entropy();
    }
    if let Fate::Refused(message) = attack.expected.on(platform) {
        return is_refused(&scenario.boot(platform), message);
    }
    let outcome = boot(&scenario, platform);
    let mut wrong = judge_victim(&outcome);
    wrong += &judge_stay(attack.name, &outcome);
    for role in &cast {
        let name = &role.spec.name;
        let judged = if name == attack.name || name.starts_with(&format!("{}-", attack.name)) {
            judge(attack, name, &outcome)
        } else {
            match outcome.row(name).state.as_str() {
                state if state == role.ending => Ok(()),
                state => Err(format!("{state}, expected {}", role.ending)),
            }
        };
        if let Err(what) = judged {
            let _ = writeln!(wrong, "{name}: {what}");
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("{wrong}{outcome}"))
    }
}

/// Boots a file that must not be started, next to the victim, which must not be started either.
fn refused(spec: CvmSpec, elf: &Elf, message: &str, platform: Platform) -> Result<(), String> {
    let name = spec.runtime.clone();
    let outcome = Scenario::new([placed(platform), spec])
        .member(VICTIM, LONG_LIVED.elf(platform).to_bytes())
        .member(&name, elf.to_bytes())
        .boot(platform);
    is_refused(&outcome, message)
}

/// Whether the boot ended with this error, before anybody was started.
fn is_refused(outcome: &Outcome, message: &str) -> Result<(), String> {
    let last = outcome.monitor().last().copied().unwrap_or_default().to_owned();
    let refused = outcome.ending == Ending::Exit(1) && last.starts_with("error: ") && last.contains(message);
    if refused && outcome.of(VICTIM).is_empty() {
        Ok(())
    } else {
        Err(format!("{last:?}, expected an error with {message:?}"))
    }
}

/// Boots; on the embedded machine, looks at all tags when the victim has ended.
fn boot(scenario: &Scenario, platform: Platform) -> Outcome {
    if !platform.is_machine() {
        return scenario.boot(platform);
    }
    let mut running = scenario.on_board(platform);
    if let Some(stop) = running.close_heap() {
        panic!("the boot ended: {stop}\n{}", running.board.console().text());
    }
    running.until("victim: intact");
    let memory = running.board.memory();
    let secret = memory
        .offset(Attacker::new(platform).secret(), 8)
        .map(|offset| memory.read::<8>(offset));
    assert_eq!(
        secret.map(u64::from_le_bytes),
        Some(SECRET),
        "the secret is where the attacks look for it"
    );
    let strays = strays(&running.board);
    let outcome = running.finish();
    assert!(strays.is_empty(), "{}\n{outcome}", strays.join("\n"));
    outcome
}

/// Capabilities in the memory of cVMs that reach beyond what the ledger says of their owner.
fn strays(board: &Board) -> Vec<String> {
    let console = board.console().text();
    let lines: Vec<&str> = console
        .split("\r\n")
        .filter_map(|line| line.strip_prefix("[monitor] "))
        .collect();
    let ledger = tests::report::ledger(&lines);
    let owner = |entry: &LedgerEntry| entry.name.split(' ').next().unwrap_or_default().to_owned();
    // That of a purecap program is the monitor's own entry.
    let is_memory = |entry: &&LedgerEntry| entry.name.ends_with(" data") || entry.name.ends_with(" memory");
    let memories: Vec<&LedgerEntry> = ledger
        .iter()
        .filter(is_memory)
        .filter(|entry| owner(entry) != tests::outcome::MONITOR)
        .collect();
    assert!(!memories.is_empty(), "no memory of a cVM in the ledger");
    let mut found = Vec::new();
    for (address, what) in board.tagged_memory() {
        // The innermost owner is the last one; who lies around it can give it what is its own.
        let owners: Vec<String> = memories
            .iter()
            .filter(|entry| entry.what.in_bounds(address & !15, 16))
            .map(|entry| owner(entry))
            .collect();
        let Some(innermost) = owners.last() else { continue };
        // What is foreign is local, and in a local area.
        let local = ledger.iter().any(|entry| {
            let takes = entry.what.permissions.contains(Permissions::STORE_LOCAL) && owners.contains(&owner(entry));
            takes && entry.what.in_bounds(address & !15, 16) && !what.permissions.contains(Permissions::GLOBAL)
        });
        let mut allowed = ledger.iter().filter(|entry| {
            owners.contains(&owner(entry)) && !entry.name.ends_with(" memory") || local && owner(entry) == "buffer"
        });
        if !allowed.any(|entry| what.is_subset_of(&entry.what)) {
            found.push(format!("{innermost} has at {address:#x} {what}"));
        }
    }
    found
}

/// What is not as it must be after an attack.
fn judge(attack: &Attack, name: &str, outcome: &Outcome) -> Result<(), String> {
    let row = outcome.summary().into_iter().find(|row| row.name == name);
    let Some(row) = row else {
        return Err("has no line in the summary".to_owned());
    };
    let faults: Vec<_> = outcome.faults().into_iter().filter(|fault| fault.cvm == name).collect();
    let kinds: Vec<_> = faults.iter().map(|fault| fault.kind).collect();
    let expected = match attack.expected.on(outcome.platform) {
        Fate::Killed(kind) => {
            if kinds.len() > 1 {
                return Err(format!("has {} faults", kinds.len()));
            }
            format!("killed: {}", kind.name())
        }
        Fate::KilledForOne(allowed) => match kinds.as_slice() {
            [kind] if allowed.contains(kind) => format!("killed: {}", kind.name()),
            _ => allowed.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" or "),
        },
        Fate::EachKilled(allowed) => {
            if let Some(index) = kinds.iter().position(|kind| !allowed.contains(kind)) {
                return Err(format!("life {index} ended by {}", kinds[index].name()));
            }
            let Means::Lives(words) = attack.means else {
                return Err("has one life only".to_owned());
            };
            let lives = words(&Attacker::new(outcome.platform)).len();
            if kinds.len() != lives {
                return Err(format!("{} of {lives} lives ended by a fault", kinds.len()));
            }
            "exited 0".to_owned()
        }
        Fate::Nothing => "exited 0".to_owned(),
        Fate::Error(errno) => format!("exited {}", -(errno as i32)),
        Fate::Value(value) => format!("exited {value}"),
        Fate::EachStarted(times) => {
            return if row.restarts == times {
                Ok(())
            } else {
                Err(format!("{} restarts, expected {times}", row.restarts))
            };
        }
        Fate::Refused(_) | Fate::Absent => return Err("runs".to_owned()),
    };
    if row.state == expected {
        Ok(())
    } else {
        Err(format!("{}, expected {expected}", row.state))
    }
}

/// Whether the monitor was in one go for longer than it may be. The board says what that goes back to.
fn judge_stay(name: &str, outcome: &Outcome) -> String {
    let Some(Stay { instructions, from }) = outcome.longest_stay else {
        return String::new();
    };
    println!(
        "{}: {name}: longest stay {instructions} instructions, from {from:#x}",
        outcome.platform
    );
    let limit = if name == LONGEST_REPORT {
        REPORT_LIMIT
    } else {
        STAY_LIMIT
    };
    if instructions > limit {
        format!("{instructions} instructions in the monitor in one go, from {from:#x}: expected {limit} at most\n")
    } else {
        String::new()
    }
}

/// What is not as it must be with the victim.
fn judge_victim(outcome: &Outcome) -> String {
    let mut wrong = String::new();
    let state = outcome.row(VICTIM).state;
    if state != "exited 0" {
        let _ = writeln!(wrong, "the victim {state}, expected exited 0");
    }
    let lines = outcome.of(VICTIM);
    if lines != ["victim: intact"] {
        let _ = writeln!(wrong, "the victim said {lines:?}");
    }
    wrong
}
