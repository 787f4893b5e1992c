//! What devices cost: a request to a queue of the monitor, and a block and a frame by the cVMs that drive a disk and a switch.

use machine::net::{Interest, Wire};
use machine::virtio::{Block, Entropy, Network};
use tests::artifacts::built;
use tools::config;

use crate::Result;
use crate::measurement::{Bar, Measurement};
use crate::packing::Setup;
use crate::platform::Platform;
use crate::ways;

const SECTION: &str = "Devices (instructions)";
/// Most instructions of `device_submit` of one segment, and of the `device_take` that follows.
const QUEUE_BAR: u64 = 900;
/// Most instructions of a program.
const LIMIT: u64 = 100_000_000;

/// A wire whose far end sends every frame back to where it came from.
#[derive(Default)]
struct Mirror(Vec<Vec<u8>>);

impl Wire for Mirror {
    fn send(&mut self, frame: &[u8], _now: u64) {
        let (to, rest) = frame.split_at(6);
        let (from, rest) = rest.split_at(6);
        self.0.push([from, to, rest].concat());
    }

    fn receive(&mut self, _now: u64) -> Option<Vec<u8>> {
        (!self.0.is_empty()).then(|| self.0.remove(0))
    }

    fn next_event(&mut self, now: u64) -> Option<u64> {
        (!self.0.is_empty()).then_some(now)
    }

    fn interests(&self) -> Vec<Interest<'_>> {
        Vec::new()
    }
}

/// What the program says that each of these takes, with the driver that the YAML text names, when so many of it run at once: the mean
/// of them.
fn parts(
    platform: &dyn Platform,
    (driver, clients): (&str, u64),
    part: &str,
    labels: &[(&str, &str)],
) -> Result<Vec<Measurement>> {
    let mut yaml = format!("cVMs:\n- {{name: driver, {driver}}}\n");
    for number in 0..clients {
        let range = if part == "disk" {
            format!(", start: {}, blocks: 100", number * 100)
        } else {
            String::new()
        };
        yaml += &format!(
            "- {{name: bench{number}, runtime: bench-parts, args: {part}, heap: 64KiB, stack: 32KiB, {part}: {{of: driver{range}}}}}\n"
        );
    }
    let config = config::parse("bench.yaml".as_ref(), &yaml);
    built(platform.arch());
    let cvms: Vec<_> = config.cvms.into_iter().map(|cvm| cvm.spec).collect();
    let buffers: Vec<_> = config.buffers.into_iter().map(|buffer| buffer.spec).collect();
    let mut machine = Setup::with_buffers(platform.arch(), &cvms, &buffers)?.board(platform)?;
    machine.attach(Block::new(vec![0; 1 << 20]).into())?;
    machine.attach(Network::new([0x52, 0x54, 0, 0x12, 0x34, 0x56], Mirror::default()).into())?;
    machine.run(LIMIT);
    let console = machine.console();
    let mut measured = Vec::new();
    for (said, label) in labels {
        let numbers = (0..clients).map(|number| {
            let start = format!("[bench{number}] {said}: ");
            let mut found = console.lines().filter_map(|line| line.split_once(&start));
            found
                .next()
                .and_then(|(_, number)| number.trim_end().parse::<u64>().ok())
        });
        let sum = numbers.sum::<Option<u64>>();
        let sum = sum.ok_or_else(|| format!("not everyone says something about {said}; console:\n{console}"))?;
        measured.push(Measurement::count(SECTION, *label, sum / clients / clients));
    }
    Ok(measured)
}

/// All of this module.
///
/// # Errors
/// The monitor or a driver does not do what is measured.
pub(crate) fn measure(platform: &dyn Platform) -> Result<Vec<Measurement>> {
    let queue = ways::queueing(platform, Entropy::seeded(1).into())?;
    let label = "submit of one segment and take, the monitor's part";
    let mut measured = vec![Measurement::count(SECTION, label, queue).bar(Bar::at_most(QUEUE_BAR))];
    let blocks = [
        ("one block", "a block read, from cVM to device and back"),
        ("64 blocks", "  64 of them in one request"),
    ];
    let disk = "runtime: disk, devices: block0";
    measured.extend(parts(platform, (disk, 1), "disk", &blocks)?);
    let blocks = [("one block", "  by four cVMs at once, a block each")];
    measured.extend(parts(platform, (disk, 4), "disk", &blocks)?);
    let frames = [("a frame", "a frame of 1,400 bytes, from cVM to device and back")];
    measured.extend(parts(platform, ("runtime: switch, devices: net0", 1), "net", &frames)?);
    Ok(measured)
}
