//! How fast the embedded machine is on this host: numbers that vary from run to run. Its own speed is by the processor time that
//! it takes, as others may use the host; beside QEMU it is by the wall clock.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use machine::Stop;
use tests::artifacts::built;
use tools::config::{self, Config};
use tools::run::{Isa, RunError, qemu_command};
use tools::workspace::Workspace;

use crate::Result;
use crate::measurement::{Bar, Measurement};
use crate::packing::{Setup, cvm};
use crate::platform::{Platform, Workload};

const SECTION: &str = "Speed of the embedded machine on this host (best of 3)";
/// Most instructions of a workload.
const LIMIT: u64 = 1_000_000_000;
/// Least million instructions a second on the conformance images.
const CONFORMANCE_BAR: f64 = 25.0;
/// Least million instructions a second of an interpreter in a cVM.
const INTERPRETER_BAR: f64 = 200.0;
/// Rounds of `bench-interpreter`, of some 15,000 instructions each, monitor included.
const INTERPRETER_ROUNDS: u32 = 5000;
/// What Lua executes: calls, tables, closures, numbers of both kinds, and text.
const LUA: &str = "
local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end
local all, sum = {}, 0
for round = 1, 6 do
  for i = 1, 3000 do all[i] = {x = i / 2, name = 'n' .. i} end
  for i = 1, #all do sum = sum + all[i].x + #all[i].name end
  local words = {}
  for i = 1, 500 do words[#words + 1] = string.format('%d:%s', i, all[i].name) end
  sum = sum + fib(17) + #table.concat(words, ',')
  print(round, sum)
end
";
/// Runs of which the best counts.
const RUNS: usize = 3;

/// Time that a set of workloads takes.
#[derive(Clone, Copy, Default)]
struct Effort {
    instructions: u64,
    /// Executing alone, of processors.
    running: Duration,
    /// From the image to the end, by the wall clock.
    whole: Duration,
}

/// Processor time that this thread has had, which executes the machine: the first of the numbers that Linux tells.
fn processor_time() -> Result<Duration> {
    const FILE: &str = "/proc/thread-self/schedstat";
    let text = std::fs::read_to_string(FILE).map_err(|error| format!("{FILE}: {error}"))?;
    let nanoseconds = text.split(' ').next().and_then(|number| number.parse().ok());
    let nanoseconds = nanoseconds.ok_or_else(|| format!("{FILE}: {text:?}, expected nanoseconds first"))?;
    Ok(Duration::from_nanos(nanoseconds))
}

impl Effort {
    fn million_a_second(self) -> f64 {
        self.instructions as f64 / 1e6 / self.running.as_secs_f64()
    }
}

fn on_machine(platform: &dyn Platform, workloads: &[Workload]) -> Result<Effort> {
    let mut effort = Effort::default();
    for Workload { image, isa } in workloads {
        let start = Instant::now();
        let workload = Workload {
            image: image.clone(),
            isa: *isa,
        };
        let mut board = platform.board(workload, "")?;
        let before = processor_time()?;
        let stop = board.run(LIMIT);
        effort.running += processor_time()? - before;
        effort.whole += start.elapsed();
        effort.instructions += board.instructions();
        if stop != Stop::Exit(0) {
            return Err(format!("a workload for speed: {stop}").into());
        }
    }
    Ok(effort)
}

/// Time of the same workloads on QEMU; `None` when there is none for them.
fn on_qemu(platform: &dyn Platform, workloads: &[Workload]) -> Result<Option<Duration>> {
    let directory = tempfile::tempdir()?;
    let lookup = |name: &str| -> Option<OsString> { env::var_os(name) };
    let mut whole = Duration::ZERO;
    for (number, Workload { image, isa }) in workloads.iter().enumerate() {
        let path = directory.path().join(format!("{number}.img"));
        std::fs::write(&path, image)?;
        let mut command: Command = match qemu_command(&path, platform.arch(), *isa, &[], &lookup) {
            Ok(command) => command,
            Err(RunError::NoEmulator { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let status = command.status()?;
        whole += start.elapsed();
        if !status.success() {
            return Err(format!("{}: {status}", command.get_program().display()).into());
        }
    }
    Ok(Some(whole))
}

/// The folder that is shared beside the project; `INTRAVISOR_SHARED` names another one.
fn shared() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    env::var_os("INTRAVISOR_SHARED").map_or(beside, PathBuf::from)
}

/// A monitor with a cVM that runs `bench-interpreter`.
fn interpreter(platform: &dyn Platform) -> Result<Workload> {
    let rounds = INTERPRETER_ROUNDS.to_string();
    let cvms = [cvm("interpreter", "bench-interpreter", &[&rounds])];
    Ok(Workload {
        image: Setup::new(platform.arch(), &cvms, &[])?.image(platform.arch())?,
        isa: Isa::V9,
    })
}

/// Lua in a cVM, as a Linux program; none where `scripts/setup --linux` has not built it.
fn lua(platform: &dyn Platform) -> Result<Vec<Workload>> {
    let arch = platform.arch();
    let Ok(program) = std::fs::read(Workspace::locate()?.linux_programs(arch).join("lua")) else {
        eprintln!("bench: Lua left out: scripts/setup --linux builds it");
        return Ok(Vec::new());
    };
    let yaml = "cVMs:\n- {name: lua, linux: {program: lua, memory: 8MiB}}\n";
    let Config { cvms, .. } = config::parse("lua.yaml".as_ref(), yaml);
    let mut cvms: Vec<_> = cvms.into_iter().map(|cvm| cvm.spec).collect();
    let arguments = ["-e".to_owned(), LUA.to_owned()];
    let interpreter = cvms.iter_mut().filter(|cvm| cvm.runtime == "lua");
    interpreter.for_each(|cvm| cvm.args = arguments.to_vec());
    let members = [("lua".to_owned(), tools::elf::strip(&program)?)];
    built(arch);
    let image = Setup::new(arch, &cvms, &members)?.image(arch)?;
    let isa = Isa::V9;
    Ok(vec![Workload { image, isa }])
}

/// Million instructions a second, and the ratio to QEMU where there is one.
///
/// # Errors
/// A workload does not end as it should.
pub(crate) fn measure(platform: &dyn Platform) -> Result<Vec<Measurement>> {
    let sets = [
        ("integer loop", vec![platform.integer_loop()], platform.loop_bar()),
        ("interpreter in a cVM", vec![interpreter(platform)?], INTERPRETER_BAR),
        ("Lua in a cVM", lua(platform)?, INTERPRETER_BAR),
        ("conformance images", platform.conformance(&shared())?, CONFORMANCE_BAR),
    ];
    let mut measured = Vec::new();
    for (name, workloads, bar) in sets.iter().filter(|(_, workloads, _)| !workloads.is_empty()) {
        let efforts = (0..RUNS)
            .map(|_| on_machine(platform, workloads))
            .collect::<Result<Vec<_>>>()?;
        let best = |time: fn(&Effort) -> Duration| efforts.iter().min_by_key(|effort| time(effort)).copied();
        let speed = best(|effort| effort.running).unwrap_or_default().million_a_second();
        let row = Measurement::rate(SECTION, format!("{name}, million instructions a second"), speed);
        measured.push(row.bar(Bar::at_least_on_this_host(*bar)));
        if let Some(qemu) = on_qemu(platform, workloads)? {
            let whole = best(|effort| effort.whole).unwrap_or_default().whole;
            let ratio = qemu.as_secs_f64() / whole.as_secs_f64();
            let label = format!("{name}, relative to QEMU with its start");
            measured.push(Measurement::rate(SECTION, label, ratio));
        }
    }
    Ok(measured)
}
