//! A boot, from the reset code's hand-over to the first cVM.

use crate::authority::buffer::Buffers;
use crate::authority::gate::{self, Gates};
use crate::authority::ledger::{ARCHIVE, AuthorityError, Ledger, MONITOR_DATA};
use crate::authority::pool::Pool;
use crate::cvm::Life;
use crate::elf::{File, PAGE};
use crate::heap::Heap;
use crate::hostcall::trap;
use crate::measure;
use crate::plan::archive::Archive;
use crate::plan::platform::Board;
use crate::plan::refusal::Refusal;
#[cfg(feature = "signed")]
use crate::plan::signature;
use crate::plan::{manifest, placement, platform, tree};
use crate::report::console::say;
use crate::report::symbols::{MONITOR as SYMBOLS, MonitorSymbols};
use crate::report::{console, panic};
use crate::run::device::{self, Found};
use crate::run::monitor::{FREQUENCY_LIMIT, MONITOR, Monitor};
use crate::run::thread::Scheduler;
use abi::image::ImageHeader;
use alloc::boxed::Box;
use alloc::vec::Vec;
use arch::protection::{END, REGIONS};
use arch::{BootInfo, Device, Platform, Window, user};
use capability::Permissions;
use core::fmt;
use core::ops::Range;

/// The heap is this part of the memory …
const HEAP_DIVISOR: u64 = 32;
/// … but within these limits, in bytes.
const HEAP_LIMITS: Range<u64> = 1024 * 1024..16 * 1024 * 1024;

/// Boots: called once by the reset code on the monitor's stack, with the root capability in its slot.
pub fn start(boot: BootInfo, heap: &'static Heap) -> ! {
    console::init();
    let Ok(()) = arch::init(boot.bias) else {
        arch::power_off(false)
    };
    arch::install(panic::fatal, trap::called, trap::interrupted);
    open_usual_windows(&boot);

    let header = image_header(&boot);
    read_symbols(&boot, &header);
    let read = platform::read(device_tree(&boot));
    let board = read.as_ref().unwrap_or_else(|error| panic!("{error}"));
    if boot.early_console != 0 {
        // The last of the letters by which the reset code tells its steps.
        b"t\r\n".iter().copied().for_each(arch::console::put);
    }
    let arguments = boot.arguments.unwrap_or(board.arguments);
    console::set_level(arguments);
    measure::ask(arguments);
    let Memory {
        own: memory,
        regions,
        unused,
    } = Memory::of(board, &boot);
    let initrd = boot.initrd.map(|(start, end)| start..end);
    let initrd = initrd.or_else(|| tree_initrd(board, &memory));
    // From here on, what the boot loader has left behind the image, the tree among it, may be overwritten.
    let (archive, room) = place_archive(&boot, &header, board, &memory, initrd);
    let heap_end = heap_end(boot.data.0, room.clone(), &memory);
    give_heap(heap, room.start..heap_end);

    let mut ledger = Ledger::new(arch::root());
    let platform = &board.platform;
    let devices = carve_devices(&mut ledger, platform);
    let found = device::probe(&mut ledger, platform);
    let born = arch::wall_clock(platform);
    say!(
        Info,
        "Intravisor on bare metal, {}, {} KiB of memory",
        arch::isa(),
        regions.iter().map(|region| region.end - region.start).sum::<u64>() / 1024
    );
    if board.other_console {
        say!(
            Warn,
            "the console that /chosen names cannot be used, this is another one"
        );
    }
    if unused != 0 {
        say!(
            Warn,
            "{} KiB of memory are not used: there are more than {REGIONS} regions, or it lies too high",
            unused / 1024
        );
    }

    measure::begin(&boot, &header);
    let mut free = Pool::default();
    regions.iter().for_each(|region| free.push(region.clone()));
    free.reserve(&(memory.start..heap_end));
    board.reserved.iter().for_each(|range| free.reserve(range));
    free.reserve(&archive.bounds);
    carve_monitor(&mut ledger, &boot, heap_end);
    for region in regions {
        carve_pool(&mut ledger, &mut free, &region).unwrap_or_else(|error| panic!("{error}"));
    }
    let archive = archive.open(&mut ledger, heap_end);
    #[cfg(feature = "signed")]
    let archive = signature::verified(archive).unwrap_or_else(|error| refuse(&error));
    if let Some(kept) = arch::keep_for_firmware() {
        let reason = "sealed, for the firmware to power off";
        ledger.enter(Ledger::ROOT, "firmware".into(), reason, kept);
    }
    ledger.kept = Some(gate::keep(arch::root(), &ledger.pools()));
    arch::root().clear();
    say!(
        Info,
        "root capability destroyed, {} devices, cVM memory {} KiB",
        devices + found.len(),
        free.free_bytes() / 1024
    );
    ledger.print(0..ledger.len());

    arch::interrupts::init(platform);
    arch::console::set_interrupt(true);
    let Some(frequency) =
        arch::timer::frequency(platform).filter(|frequency| (1..=FREQUENCY_LIMIT).contains(frequency))
    else {
        panic!("the device tree gives no timer frequency of 1 to {FREQUENCY_LIMIT} ticks a second")
    };
    run(archive, ledger, free, (frequency, born, &found), heap)
}

/// Loads the archive's cVMs and leaves for the first one.
fn run(
    archive: File,
    ledger: Ledger,
    free: Pool,
    (frequency, born, found): (u64, Option<u64>, &[Found]),
    heap: &Heap,
) -> ! {
    let mut monitor = load(archive, ledger, free, frequency).unwrap_or_else(|error| refuse(&error));
    monitor.give_devices(found).unwrap_or_else(|error| refuse(&error));
    monitor.born = born;
    monitor.start_waiting(arch::timer::now(), usize::MAX);
    let started = monitor.cvms.iter().filter(|cvm| cvm.life == Life::Alive).count();
    say!(Info, "{started} of {} cVMs started", monitor.cvms.len());
    say!(Debug, "{} bytes of the monitor's heap in use", heap.used());
    let frame = monitor.next();
    *MONITOR.lock() = Some(monitor);
    arch::resume(frame)
}

/// Reads archive and manifest, places every cVM and gives it a thread; none is started yet.
///
/// # Errors
/// [`Refusal`] says what is wrong with archive, manifest, a program, or the memory that is asked for.
pub(crate) fn load(archive: File, ledger: Ledger, mut free: Pool, frequency: u64) -> Result<Box<Monitor>, Refusal> {
    let archive = Archive::check(archive)?;
    let manifest::Plan { cvms: specs, buffers } = manifest::read(&archive)?;
    arch::protection::open(&ledger.pools());
    let mut monitor = Box::new(Monitor {
        scheduler: Scheduler::new(frequency),
        cvms: Vec::new(),
        families: Vec::new(),
        holders: Vec::new(),
        weights: Vec::new(),
        linked: Vec::new(),
        gates: Gates::default(),
        callers: Vec::new(),
        reached: Vec::new(),
        buffers: Buffers::default(),
        devices: Vec::new(),
        ledger,
        frequency,
        boot: arch::timer::now(),
        born: None,
        input: heapless::Deque::new(),
        next_start: 0,
        left: 0,
        usual: None,
        programmed: 0,
    });
    // The manifest was checked to name members only.
    let elf_of = |runtime: &str| archive.find(runtime).unwrap_or(File::new(&ARCHIVE, &(0..0)));
    monitor.cvms = placement::place_all(specs, elf_of, &mut free)?;
    for file in archive.members() {
        let Some(digest) = measure::file(&file.name, file.data) else {
            break;
        };
        let run = monitor.cvms.iter_mut().filter(|cvm| cvm.spec.runtime == file.name);
        run.for_each(|cvm| cvm.digest = digest);
    }
    let entered = monitor.ledger.len();
    for cvm in &mut monitor.cvms {
        cvm.set_counter(frequency, monitor.boot);
        cvm.enter(&mut monitor.ledger)?;
    }
    // After the cVMs, whose places may be given.
    let specs: Vec<_> = monitor.cvms.iter().map(|cvm| &cvm.spec).collect();
    let file = |member: &str| archive.find(member);
    monitor
        .buffers
        .place(buffers, &specs, file, &mut free, &mut monitor.ledger)?;
    monitor.ledger.print(entered..monitor.ledger.len());
    monitor.make_threads()?;
    let entered = monitor.ledger.len();
    monitor.make_gates(&mut free)?;
    monitor.ledger.print(entered..monitor.ledger.len());
    say!(Info, "{} KiB of the cVM memory are free", free.free_bytes() / 1024);
    Ok(monitor)
}

/// The image cannot be run: says why and powers off with a failing status.
fn refuse(error: &dyn fmt::Display) -> ! {
    say!(Error, "{error}");
    arch::power_off(false)
}

fn image_header(boot: &BootInfo) -> ImageHeader {
    let mut bytes = [0; ImageHeader::SIZE];
    let copied = user::copy_in(&mut bytes, arch::root(), boot.text.0 + abi::image::OFFSET as u64);
    let header = copied.ok().and_then(|()| ImageHeader::from_bytes(&bytes));
    header.unwrap_or_else(|| panic!("the image has no header"))
}

/// The platform's device tree, where it lies.
fn device_tree(boot: &BootInfo) -> &'static [u8] {
    let address = boot.device_tree;
    let bytes = |length: usize| {
        // SAFETY: the monitor's own data capability still covers all memory, and nobody writes there yet.
        unsafe { core::slice::from_raw_parts(arch::pointer(address), length) }
    };
    let used = tree::used_size(bytes(tree::HEADER)).unwrap_or_else(|error| panic!("{error}"));
    bytes(used)
}

/// The memory that is used.
pub(crate) struct Memory {
    /// The region that holds the image.
    pub(crate) own: Range<u64>,
    /// It and the largest others, in ascending order, none touching another; and room for one.
    pub(crate) regions: heapless::Vec<Range<u64>, { REGIONS + 1 }>,
    /// Bytes of those that are left out.
    pub(crate) unused: u64,
}

impl Memory {
    /// Of the regions that firmware has left, where there was firmware, else of the tree's.
    pub(crate) fn of(board: &Board<'_>, boot: &BootInfo) -> Memory {
        let image = boot.text.0;
        let left = || boot.memory.iter().map(|(start, end)| *start..*end);
        let tree = || board.memory.iter().filter(|_| boot.memory.is_empty()).cloned();
        let all = || left().chain(tree());
        let mut memory = Memory {
            own: 0..0,
            regions: heapless::Vec::new(),
            unused: boot.memory_lost,
        };
        let mut from = 0;
        while let Some(first) = all()
            .filter(|region| region.end > from)
            .min_by_key(|region| region.start)
        {
            let start = first.start.max(from);
            from = first.end;
            // With those that touch it.
            while let Some(next) = all().find(|next| next.start <= from && next.end > from) {
                from = next.end;
            }
            let region = start.min(END)..from.min(END);
            memory.unused += from - start - (region.end - region.start);
            if region.contains(&image) {
                memory.own = region.clone();
            }
            if !region.is_empty() {
                memory.take(region);
            }
        }
        assert!(
            memory.own.contains(&image),
            "there is no memory at {image:#x}, where the image lies"
        );
        memory
    }

    /// Takes a region above the others; if they are too many, leaves out the smallest but the image's.
    fn take(&mut self, region: Range<u64>) {
        let _ = self.regions.push(region);
        if self.regions.len() > REGIONS {
            let size = |region: &Range<u64>| region.end - region.start;
            let others = self.regions.iter().enumerate().filter(|(_, other)| **other != self.own);
            let smallest = others.min_by_key(|(_, other)| size(other));
            let smallest = smallest.map_or(0, |(place, _)| place);
            self.unused += size(&self.regions.remove(smallest));
        }
    }
}

/// The initial RAM disk that the tree names, which boot loaders put near the image.
fn tree_initrd(board: &Board<'_>, memory: &Range<u64>) -> Option<Range<u64>> {
    let range = board.initrd.clone().filter(|range| range.start <= range.end)?;
    assert!(
        range.start >= memory.start && range.end <= memory.end,
        "the initrd {:#x}-{:#x} is not in the memory that holds the image",
        range.start,
        range.end
    );
    Some(range)
}

/// Where the memory behind the image ends that is nobody else's.
fn obstacle(board: &Board<'_>, initrd: Option<&Range<u64>>, image: u64, image_end: u64) -> u64 {
    let taken = board.reserved.iter().chain(initrd);
    let mut end = u64::MAX;
    for range in taken.filter(|range| range.end > image && !range.is_empty()) {
        assert!(
            range.start >= image_end,
            "{:#x}-{:#x} is reserved, or the initrd, and the image lies there",
            range.start,
            range.end
        );
        end = end.min(range.start);
    }
    end
}

/// How far one capability reaches whose bounds begin where the monitor's data does, behind the text, at a multiple of the
/// granule; longer bounds would need a coarser one. And the granule.
fn reach(data: u64) -> (u64, u64) {
    let granule = 1 << data.trailing_zeros();
    let mut limit: u64 = granule;
    while arch::representable(limit * 2 - granule).1 <= granule {
        limit *= 2;
    }
    (data + limit - granule, granule)
}

fn heap_size(memory: &Range<u64>) -> u64 {
    ((memory.end - memory.start) / HEAP_DIVISOR).clamp(HEAP_LIMITS.start, HEAP_LIMITS.end)
}

/// Where the monitor's data, and its heap with it, ends: in the room behind the image, and no farther than one capability
/// from the start of the data can say.
pub(crate) fn heap_end(data: u64, room: Range<u64>, memory: &Range<u64>) -> u64 {
    let (reach, granule) = reach(data);
    let end = (room.start + heap_size(memory)).next_multiple_of(granule);
    let end = end.min(reach).min(room.end / granule * granule);
    assert!(
        end < memory.end && end >= room.start + HEAP_LIMITS.start,
        "the memory behind the image, {:#x}-{:#x}, is too small for the monitor",
        room.start,
        room.end
    );
    end
}

/// The archive in memory that nobody writes from now on.
pub(crate) struct Placed {
    pub(crate) file: Range<u64>,
    /// Bounds of a capability over it.
    pub(crate) bounds: Range<u64>,
}

impl Placed {
    /// Where the archive lies.
    pub(crate) fn at(file: Range<u64>) -> Placed {
        let mut bounds = file.clone();
        loop {
            let (_, alignment) = arch::representable(bounds.end - bounds.start);
            let wider = file.start / alignment * alignment..file.end.next_multiple_of(alignment);
            if wider == bounds {
                return Placed { file, bounds };
            }
            bounds = wider;
        }
    }

    /// The highest place for it between `low` and the end of the memory where nothing is reserved.
    pub(crate) fn above(low: u64, size: u64, board: &Board<'_>, memory: &Range<u64>) -> Option<Placed> {
        let (length, alignment) = arch::representable(size.next_multiple_of(PAGE));
        let mut end = memory.end;
        loop {
            let start = end.checked_sub(length)? / alignment.max(PAGE) * alignment.max(PAGE);
            let bounds = start..start + length;
            let taken = |range: &&Range<u64>| range.start < bounds.end && bounds.start < range.end;
            match board.reserved.iter().find(taken) {
                Some(range) => end = range.start,
                None if start >= low => {
                    let file = start..start + size;
                    return Some(Placed { file, bounds });
                }
                None => return None,
            }
        }
    }

    /// Derives the capability through which it is read. The monitor's data ends at `data_end`.
    fn open(self, ledger: &mut Ledger, data_end: u64) -> File {
        if self.bounds.end > data_end {
            arch::protection::readable(self.bounds.clone());
        }
        if !self.bounds.is_empty() {
            let entry = ledger.derive(
                &ARCHIVE,
                (Ledger::ROOT, arch::root()),
                ("archive", "to read"),
                self.bounds,
                Permissions::GLOBAL | Permissions::LOAD,
            );
            entry.unwrap_or_else(|error| panic!("{error}"));
        }
        File::new(&ARCHIVE, &self.file)
    }
}

/// Finds the place from which the archive is read, the initrd or what `pack` appended to the image, and the room behind the
/// image for the heap. It goes to the end of the memory, where it splits nothing and the monitor's data is far; without room
/// there, an initrd stays where the boot loader has put it, and what is appended in what the data capability covers.
fn place_archive(
    boot: &BootInfo,
    header: &ImageHeader,
    board: &Board<'_>,
    memory: &Range<u64>,
    initrd: Option<Range<u64>>,
) -> (Placed, Range<u64>) {
    let image = boot.text.0;
    let own_end = boot.data.1.max(image + header.symbols_offset + header.symbols_size);
    let room = |start: u64, initrd: Option<&Range<u64>>| {
        let start = start.next_multiple_of(PAGE);
        start..obstacle(board, initrd, image, start).min(memory.end)
    };
    let appended = image + header.archive_offset;
    let source = initrd.clone().unwrap_or(appended..appended + header.archive_size);
    let stays = Placed::at(source.clone());
    if source.is_empty() {
        return (stays, room(own_end, None));
    }
    let mut behind = room(
        if initrd.is_none() { stays.bounds.end } else { own_end },
        initrd.as_ref(),
    );
    if initrd.is_some() {
        behind.end = behind.end.min(stays.bounds.start);
    }
    let size = source.end - source.start;
    let Some(placed) = Placed::above(source.end.max(own_end), size, board, memory) else {
        let (start, end) = (behind.start, behind.end.min(reach(boot.data.0).0));
        assert!(
            start + HEAP_LIMITS.start <= end,
            "{} KiB of memory have no room for an archive of {} KiB and its programs",
            (memory.end - memory.start) / 1024,
            size / 1024
        );
        return (stays, behind);
    };
    let copied = user::copy(
        arch::root(),
        source.start,
        arch::root(),
        placed.file.start,
        size as usize,
    );
    assert!(
        copied.is_ok(),
        "the archive {:#x}-{:#x} cannot be moved",
        source.start,
        source.end
    );
    let mut room = room(own_end, None);
    room.end = room.end.min(placed.bounds.start);
    (placed, room)
}

/// Makes a physical range the heap.
fn give_heap(heap: &Heap, range: Range<u64>) {
    let size = (range.end - range.start) as usize;
    // SAFETY: the range lies behind the image, in memory that nothing else uses.
    unsafe { heap.init(arch::pointer(range.start), size) }
}

fn read_symbols(boot: &BootInfo, header: &ImageHeader) {
    let start = arch::pointer(boot.text.0 + header.symbols_offset);
    // SAFETY: these bytes of the image lie in the monitor's data and nothing ever writes them.
    let table = unsafe { core::slice::from_raw_parts(start, header.symbols_size as usize) };
    SYMBOLS.call_once(|| MonitorSymbols {
        image_start: boot.text.0,
        table,
    });
}

/// Whatever goes wrong before the device tree has been read is told through the console that the command line names, or
/// through the devices' usual places; where firmware was, nothing is usual.
fn open_usual_windows(boot: &BootInfo) {
    let early = Window {
        device: Device::Console,
        base: boot.early_console,
        size: PAGE,
    };
    let early = (boot.early_console != 0).then_some(&early);
    let usual = arch::USUAL_WINDOWS.iter().filter(|_| boot.memory.is_empty());
    for window in early.into_iter().chain(usual) {
        let request = arch::Derivation {
            base: window.base,
            length: window.size,
            permissions: arch::device_permissions(),
            address: window.base,
        };
        // Without it the failure stays silent, as it would be without the attempt.
        let _ = arch::window(window.device).derive(arch::root(), &request);
    }
}

/// Derives a capability for every device window that the platform has; returns their number.
fn carve_devices(ledger: &mut Ledger, platform: &Platform) -> usize {
    for window in platform.windows.iter().flatten() {
        let entry = ledger.derive(
            arch::window(window.device),
            (Ledger::ROOT, arch::root()),
            (window.device.name(), "device window"),
            window.base..window.base + window.size,
            arch::device_permissions(),
        );
        entry.unwrap_or_else(|error| panic!("{error}"));
    }
    let opened = arch::USUAL_WINDOWS.iter().map(|window| window.device);
    for device in opened.chain([Device::Console]) {
        if platform.windows[device as usize].is_none() {
            arch::window(device).clear();
        }
    }
    platform.windows.iter().flatten().count()
}

/// Derives the monitor's own data capability.
fn carve_monitor(ledger: &mut Ledger, boot: &BootInfo, heap_end: u64) {
    // The reset code has narrowed PCC: what the ledger says of it is looked at here, not believed.
    let text = arch::text();
    let expected = (boot.text.0, u128::from(boot.text.1), arch::monitor_text_permissions());
    assert!(
        text.tag && (text.base, text.top, text.permissions) == expected,
        "the monitor's PCC is {text}, not exactly its text {:#x}-{:#x}",
        boot.text.0,
        boot.text.1
    );
    ledger.enter(Ledger::ROOT, "monitor text".into(), "PCC of the monitor", text);
    let data = boot.data.0..heap_end;
    let request = arch::Derivation {
        base: data.start,
        length: data.end - data.start,
        permissions: arch::monitor_data_permissions(),
        address: arch::data_origin(data.start),
    };
    let root = (Ledger::ROOT, arch::root());
    let carved = ledger.derive_at(
        &MONITOR_DATA,
        root,
        ("monitor data", "stack, data and heap of the monitor"),
        request,
    );
    carved.unwrap_or_else(|error| panic!("{error}"));
    arch::set_data(&MONITOR_DATA);
}

/// What of a region will be its pool: all that is free there, as far as bounds can say it. The rest is nobody's.
pub(crate) fn pool_of(free: &mut Pool, region: &Range<u64>) -> Option<Range<u64>> {
    let whole = free.whole(region);
    let alignment = arch::representable(whole.end - whole.start).1.max(PAGE);
    let start = whole.start.next_multiple_of(alignment);
    let pool = start..(whole.end / alignment * alignment).max(start);
    free.reserve(&(region.start..pool.start));
    free.reserve(&(pool.end..region.end));
    (!pool.is_empty()).then_some(pool)
}

/// Derives the pool of a region.
pub(crate) fn carve_pool(ledger: &mut Ledger, free: &mut Pool, region: &Range<u64>) -> Result<(), AuthorityError> {
    pool_of(free, region).map_or(Ok(()), |pool| ledger.open_pool(pool))
}
