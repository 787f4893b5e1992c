//! Messages by a stream from one cVM to another, in instructions of everything: of sender, receiver and monitor.

use machine::Stop;

use crate::Result;
use crate::counts::{SECTION, code_of, first_instruction};
use crate::measurement::Measurement;
use crate::packing::{Setup, cvm};
use crate::platform::{Machine, Platform};

/// Most instructions of one run.
const LIMIT: u64 = 100_000_000;
/// Between two null hostcalls in a row lie fewer instructions, the way out of the one and into the other; a message takes more.
const NULL: u64 = 300;

/// Who runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runs {
    Monitor,
    Sender,
    Receiver,
}

/// A stretch of one that runs, and its instructions.
type Stint = (Runs, u64);

/// Everything that runs from the first instruction of a cVM on, until the machine stops.
fn stints(machine: &mut dyn Machine, sender: &str) -> Result<Vec<Stint>> {
    first_instruction(machine)?;
    let code = code_of(&machine.console(), sender)?;
    let mut stints: Vec<Stint> = Vec::new();
    let stop = machine.step(LIMIT, &mut |machine| {
        let runs = match machine.in_cvm() {
            false => Runs::Monitor,
            true if code.in_bounds(machine.pc(), 4) => Runs::Sender,
            true => Runs::Receiver,
        };
        match stints.last_mut() {
            Some((last, count)) if *last == runs => *count += 1,
            _ => stints.push((runs, 1)),
        }
        false
    });
    match stop {
        Stop::Exit(0) => Ok(stints),
        other => Err(format!("{sender}: {other}; console:\n{}", machine.console()).into()),
    }
}

/// The instructions of stretches like these, two null hostcalls in a row before them: all but the way out of a null hostcall and the
/// way into one. Of several the longest: where the message lies in the ring makes a difference.
fn longest<const N: usize>(stints: &[Stint], shape: [Runs; N]) -> Result<[u64; N]> {
    let nulls = [Runs::Sender, Runs::Monitor];
    let fits = |found: &&[Stint]| {
        found.iter().map(|stint| stint.0).eq(nulls.into_iter().chain(shape))
            && found[0].1 < NULL
            && found[2].1 > NULL
            && found[N + 1].1 > NULL
    };
    let found = stints.windows(nulls.len() + N).filter(fits);
    let counts = found.map(|found| {
        let mut counts = std::array::from_fn(|index| found[nulls.len() + index].1);
        counts[0] -= found[0].1;
        counts
    });
    let longest = counts.max_by_key(|counts| counts.iter().sum::<u64>());
    Ok(longest.ok_or("no message")?)
}

/// # Errors
/// Nothing of the kind happens.
pub(crate) fn measure(platform: &dyn Platform) -> Result<Vec<Measurement>> {
    use Runs::{Monitor, Receiver, Sender};
    let program = "bench-message";
    let [mut sender, mut receiver, mut both] = ["sender", "receiver", "both"].map(|name| cvm(name, program, &[name]));
    for spec in [&mut sender, &mut receiver, &mut both] {
        (spec.local, spec.buffer_quota) = (2, 0x1000);
    }
    // Who is woken runs at once.
    (sender.priority, receiver.priority) = (1, 5);
    let mut machine = Setup::new(platform.arch(), &[sender, receiver], &[])?.board(platform)?;
    // The message is sent; the receiver is woken, and has it when it makes a null hostcall.
    let all = stints(&mut *machine, "sender")?;
    let [sending, waking, receiving] = longest(&all, [Sender, Monitor, Receiver])?;
    let mut machine = Setup::new(platform.arch(), &[both], &[])?.board(platform)?;
    // One null hostcall between.
    let all = stints(&mut *machine, "both")?;
    let [send, _, receive] = longest(&all, [Sender, Monitor, Sender])?;
    let null = all
        .iter()
        .filter(|stint| stint.0 == Sender && stint.1 < NULL)
        .map(|stint| stint.1)
        .min();
    let count = |label: &str, instructions| Measurement::count(SECTION, label, instructions);
    Ok(vec![
        count(
            "message of 64 bytes by a stream, sender to woken receiver",
            sending + waking + receiving,
        ),
        count("  of these, the monitor's part", waking),
        count(
            "  the same, when nobody has to be woken",
            send + receive - null.ok_or("no null hostcalls in a row")?,
        ),
    ])
}
