//! Ways through the monitor that need programs of their own: a lent buffer, waiting and waking, a new thread.

use abi::Hostcall;
use abi::hostcall::{BUFFER_ALL, HANDLER, SEGMENT_WRITTEN, WAIT_FOREVER};
use machine::Stop;
use machine::virtio::Device;
use tests::code::assembler::Assembler;
use tests::code::assembler::Register::{Argument, Scratch};
use tools::elf::synthesis::Elf;
use tools::manifest::CvmSpec;

use crate::Result;
use crate::counts::{SECTION, code_of, first_instruction, same};
use crate::measurement::{Bar, Measurement};
use crate::packing::{Setup, cvm};
use crate::platform::{Machine, Platform};

/// Most instructions of one run.
const LIMIT: u64 = 100_000_000;
/// Rounds before the one that is measured.
const ROUNDS: usize = 20;
/// Most instructions of a revocation with 2 and 64 cVMs.
const REVOKE_BARS: [u64; 2] = [3_000, 40_000];
/// Bytes that are lent.
const LENT: u32 = 64;

/// Programs with the name of their cVM, and where the hostcall that is measured stands in the first one's code.
struct Play {
    cvms: Vec<CvmSpec>,
    programs: Vec<(String, Vec<u8>)>,
    call: i64,
    device: Option<Device>,
}

impl Play {
    /// The play among idle cVMs, so many in all.
    fn among(mut self, count: usize) -> Play {
        let idle = (self.cvms.len()..count).map(|number| cvm(&format!("idle{number}"), "idle", &[]));
        self.cvms.extend(idle);
        self
    }

    /// Runs until the hostcall of the cVM `name` is made for the twentieth time, then until `end` says so of an address of
    /// its code; instructions of the monitor in between, those that entered it included.
    fn measure(self, platform: &dyn Platform, name: &str, end: impl Fn(i64) -> bool) -> Result<u64> {
        let mut machine = Setup::new(platform.arch(), &self.cvms, &self.programs)?.board(platform)?;
        if let Some(device) = self.device {
            machine.attach(device)?;
        }
        first_instruction(&mut *machine)?;
        let code = code_of(&machine.console(), name)?;
        let inside = |machine: &dyn Machine| machine.in_cvm() && code.in_bounds(machine.pc(), 4);
        let run =
            |machine: &mut dyn Machine, each: &mut dyn FnMut(&dyn Machine) -> bool| match machine.step(LIMIT, each) {
                Stop::Condition => Ok(()),
                other => Err(format!("{name}: {other}; console:\n{}", machine.console())),
            };
        if !inside(&*machine) {
            run(&mut *machine, &mut |machine| inside(machine))?;
        }
        let entry = machine.pc();
        let mut visits = 0;
        run(&mut *machine, &mut |machine| {
            visits += usize::from(inside(machine) && machine.pc() == entry.wrapping_add_signed(self.call));
            visits == ROUNDS
        })?;
        // The instruction that traps is counted with the monitor.
        let (mut instructions, mut before_in_cvm) = (0, true);
        run(&mut *machine, &mut |machine| {
            let in_cvm = machine.in_cvm();
            instructions += u64::from(!in_cvm || !before_in_cvm);
            before_in_cvm = in_cvm;
            inside(machine) && end(machine.pc().wrapping_sub(entry) as i64)
        })?;
        Ok(instructions)
    }
}

/// A hybrid server that answers every hostcall with 0.
fn answering(platform: &dyn Platform) -> Elf {
    let mut code = Assembler::new(platform.arch());
    code.hostcall(Hostcall::Serve).exit(0);
    let handler = code.here();
    code.set(Argument(0), 0).set(Argument(1), 0).set(Argument(2), 0);
    code.hostcall(Hostcall::Reply);
    let mut elf = code.elf(&[]);
    let address = elf.entry.wrapping_add_signed(handler);
    elf.functions.push((address, 4, HANDLER.to_owned()));
    elf
}

/// A client that lends a buffer, and its server: a hybrid one, of whose service stack 1 KiB takes what is lent, or a purecap
/// one, all of whose 8 KiB take it.
fn lending(platform: &dyn Platform, purecap: bool) -> Play {
    let mut code = Assembler::new(platform.arch());
    code.data_address(Scratch(0));
    let start = code.here();
    code.set(Argument(0), 0).add(Argument(1), Scratch(0), 0);
    code.set(Argument(2), LENT).set(Argument(3), 0);
    let call = code.here() + 4;
    code.hostcall(Hostcall::Read);
    let back = start - code.here();
    code.jump(back);
    let client = CvmSpec {
        callback_out: "server".into(),
        ..cvm("client", "client", &[])
    };
    let server = match purecap {
        true => cvm("server", "server", &["answer"]),
        false => cvm("server", "answering", &[]),
    };
    Play {
        cvms: vec![server, client],
        programs: vec![
            ("client".into(), code.elf(&[]).to_bytes()),
            ("answering".into(), answering(platform).to_bytes()),
        ],
        call,
        device: None,
    }
}

/// A thread that wakes a more urgent one, which waits again.
fn waking(platform: &dyn Platform) -> Play {
    let build = |thread: i64| {
        let mut code = Assembler::new(platform.arch());
        code.set(Argument(0), 0)
            .set(Argument(1), 2)
            .hostcall(Hostcall::ThreadPriority);
        create(&mut code, thread);
        let start = code.here();
        code.data_address(Argument(0)).set(Argument(1), 1);
        let call = code.here() + 4;
        code.hostcall(Hostcall::Wake);
        let back = start - code.here();
        code.jump(back);
        let thread = code.here();
        code.data_address(Argument(0)).set(Argument(1), 0);
        code.constant(Argument(2), WAIT_FOREVER).hostcall(Hostcall::Wait);
        let back = thread - code.here();
        code.jump(back);
        (code, call, thread)
    };
    let (_, _, thread) = build(0);
    let (code, call, _) = build(thread);
    threaded(code, call)
}

/// A thread that makes more urgent ones, which end.
fn creating(platform: &dyn Platform) -> (Play, i64) {
    let build = |thread: i64| {
        let mut code = Assembler::new(platform.arch());
        code.set(Argument(0), 0)
            .set(Argument(1), 2)
            .hostcall(Hostcall::ThreadPriority);
        let start = code.here();
        create(&mut code, thread);
        let call = code.here() - 4;
        let back = start - code.here();
        code.jump(back);
        let thread = code.here();
        code.set(Argument(1), 0).hostcall(Hostcall::ThreadExit);
        (code, call, thread)
    };
    let (_, _, thread) = build(0);
    let (code, call, thread) = build(thread);
    (threaded(code, call), thread)
}

fn create(code: &mut Assembler, thread: i64) {
    code.code_address(Argument(0), thread)
        .set(Argument(1), 0)
        .set(Argument(2), 0);
    code.set(Argument(3), 0)
        .set(Argument(4), 3)
        .hostcall(Hostcall::ThreadCreate);
}

fn threaded(code: Assembler, call: i64) -> Play {
    let mut spec = cvm("threads", "threads-bench", &[]);
    spec.threads = 2;
    Play {
        cvms: vec![spec],
        programs: vec![("threads-bench".into(), code.elf(&[]).to_bytes())],
        call,
        device: None,
    }
}

/// An owner that takes a buffer back, again and again, from all others of so many cVMs, which map it, keep it in a register
/// and in their local area, and sleep.
fn revoking(platform: &dyn Platform, count: u32) -> Play {
    let (arch, holders) = (platform.arch(), count - 1);
    let mut code = Assembler::new(arch);
    code.call(Hostcall::BufferCreate, &[4096]);
    let start = code.here();
    code.set(Scratch(0), holders);
    let each = code.here();
    code.add(Argument(1), Scratch(0), 0)
        .set(Argument(0), 0)
        .set(Argument(2), 1)
        .hostcall(Hostcall::BufferGrant);
    code.count_down(Scratch(0), each);
    code.call(Hostcall::Nanosleep, &[2_000_000]);
    code.set(Argument(0), 0).constant(Argument(1), BUFFER_ALL);
    let call = code.here() + 4;
    code.hostcall(Hostcall::BufferRevoke);
    let back = start - code.here();
    code.jump(back);
    let mut holder = Assembler::new(arch);
    // The offset of the capability over the local area is in the start block.
    holder.add(Scratch(0), Argument(0), 0).load(Scratch(1), Scratch(0), 104);
    holder
        .add_register(Scratch(0), Scratch(1))
        .load_capability(Scratch(2), Scratch(0), 0);
    let again = holder.here();
    holder.call(Hostcall::BufferMap, &[0, 1]);
    holder
        .store_capability_through(Argument(0), Scratch(2))
        .copy(Scratch(3), Argument(0));
    holder.call(Hostcall::Nanosleep, &[500_000]);
    let back = again - holder.here();
    holder.jump(back);
    let mut owner = cvm("owner", "owner-bench", &[]);
    owner.buffer_quota = 4096;
    let holders = (0..holders).map(|number| {
        let mut spec = cvm(&format!("holder{number}"), "holder-bench", &[]);
        spec.local = 4;
        spec
    });
    Play {
        cvms: std::iter::once(owner).chain(holders).collect(),
        programs: vec![
            ("owner-bench".into(), code.elf(&[]).to_bytes()),
            ("holder-bench".into(), holder.elf(&[]).to_bytes()),
        ],
        call,
        device: None,
    }
}

/// Instructions of a program that copies 4096 bytes to a buffer, writes them to a stream, and reads them.
fn streaming(platform: &dyn Platform) -> Result<[u64; 3]> {
    let mut spec = cvm("stream", "bench-stream", &[]);
    (spec.local, spec.buffer_quota, spec.stack) = (3, 0x8000, 0x8000);
    let mut machine = Setup::new(platform.arch(), &[spec], &[])?.board(platform)?;
    // From one stay in the monitor to the next one.
    let (mut stints, mut now) = (Vec::new(), 0);
    machine.step(LIMIT, &mut |machine| {
        if machine.in_cvm() {
            now += 1;
        } else if now > 0 {
            stints.push(std::mem::take(&mut now));
        }
        false
    });
    let between: u64 = 300;
    let mut rounds = stints
        .windows(4)
        .filter(|stints| stints[0] < between && stints[1..].iter().all(|stint| *stint > 500));
    let last = rounds
        .next_back()
        .ok_or_else(|| format!("no round; console:\n{}", machine.console()))?;
    Ok([last[1], last[2], last[3]])
}

/// Instructions of the monitor for a request of one segment: to give it to a device, and to take it back.
///
/// # Errors
/// The monitor does not do what is measured.
pub(crate) fn queueing(platform: &dyn Platform, device: Device) -> Result<u64> {
    let mut code = Assembler::new(platform.arch());
    code.call(Hostcall::DeviceStart, &[0, 0]);
    // The record: 64 bytes of the data, which the device writes.
    code.data_address(Scratch(0)).add(Scratch(1), Scratch(0), 256);
    code.store(Scratch(1), Scratch(0), 0);
    code.constant(Scratch(1), 0).store(Scratch(1), Scratch(0), 8);
    code.constant(Scratch(1), 64).store(Scratch(1), Scratch(0), 16);
    code.constant(Scratch(1), SEGMENT_WRITTEN)
        .store(Scratch(1), Scratch(0), 24);
    let start = code.here();
    code.set(Argument(0), 0)
        .set(Argument(1), 0)
        .add(Argument(2), Scratch(0), 0)
        .set(Argument(3), 1);
    let call = code.here() + 4;
    code.hostcall(Hostcall::DeviceSubmit);
    code.call(Hostcall::DeviceTake, &[0, 0]);
    // What it says that it has written: without that, nothing was measured.
    let back = code.here();
    code.add(Scratch(1), Argument(1), -64).branch_not_zero(Scratch(1), 8);
    let again = start - code.here();
    code.jump(again);
    code.exit(9);
    let mut driver = cvm("driver", "driver-bench", &[]);
    driver.devices = vec!["entropy0".into()];
    let play = Play {
        cvms: vec![driver],
        programs: vec![("driver-bench".into(), code.elf(&[]).to_bytes())],
        call,
        device: Some(device),
    };
    play.measure(platform, "driver", |at| at == back)
}

/// All of this module.
///
/// # Errors
/// The monitor does not do what is measured.
pub(crate) fn measure(platform: &dyn Platform) -> Result<Vec<Measurement>> {
    let bars = platform.bars();
    let mut measured: Vec<Measurement> = Vec::new();
    let mut few = [bars.lent, bars.wake, bars.create];
    for (count, among) in [(0, ""), (256, ", among 256 cVMs")] {
        let lent = lending(platform, false);
        // From a wake to the next one lie the wake, the woken thread, and its wait.
        let wake = waking(platform);
        let (create, thread) = creating(platform);
        let (back, again) = (lent.call + 4, wake.call);
        let counts = [
            lent.among(count).measure(platform, "client", |at| at == back)?,
            wake.among(count).measure(platform, "threads", |at| at == again)?,
            create.among(count).measure(platform, "threads", |at| at == thread)?,
        ];
        let labels = [
            "served call with a lent buffer of 64 bytes, the monitor's part",
            "wait, wake, and the woken thread runs",
            "thread create to its first instruction",
        ];
        for ((label, instructions), bar) in labels.into_iter().zip(counts).zip(&mut few) {
            let label = format!("{label}{among}");
            measured.push(Measurement::count(SECTION, label, instructions).bar(Bar::at_most(*bar)));
            *bar = same(instructions);
        }
    }
    let lent = lending(platform, true);
    let back = lent.call + 4;
    let instructions = lent.measure(platform, "client", |at| at == back)?;
    let label = "  the same, served on a purecap stack of 8 KiB";
    measured.insert(1, Measurement::count(SECTION, label, instructions));
    for (count, bar) in [(2, REVOKE_BARS[0]), (64, REVOKE_BARS[1])] {
        let play = revoking(platform, count);
        let back = play.call + 4;
        let instructions = play.measure(platform, "owner", |at| at == back)?;
        let label = format!("a buffer is revoked, {count} cVMs");
        measured.push(Measurement::count(SECTION, label, instructions).bar(Bar::at_most(bar)));
    }
    let [copy, write, read] = streaming(platform)?;
    for (instructions, what) in [(write, "written to"), (read, "read from")] {
        let label = format!("4096 bytes {what} a stream");
        let bar = Bar::at_most(copy * 10 / 8);
        measured.push(Measurement::count(SECTION, label, instructions).bar(bar));
    }
    measured.push(Measurement::count(
        SECTION,
        "  one copy of them through one capability",
        copy,
    ));
    Ok(measured)
}
