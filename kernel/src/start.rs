//! A boot, from the reset code's hand-over to the first cVM.

use crate::authority::capfile::Capfile;
use crate::authority::ledger::{EntryId, Ledger, MONITOR_DATA, POOL};
use crate::authority::pool::Pool;
use crate::cvm::Life;
use crate::elf::PAGE;
use crate::hostcall::trap;
use crate::plan::archive::Archive;
use crate::plan::{manifest, placement, tree};
use crate::report::console::say;
use crate::report::symbols::{MONITOR as SYMBOLS, MonitorSymbols};
use crate::report::{console, panic};
use crate::run::call;
use crate::run::monitor::{FREQUENCY_LIMIT, MONITOR, Monitor};
use crate::run::thread::Scheduler;
use abi::image::ImageHeader;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use arch::{BootInfo, Device, Frame, Platform, Window, user};
use core::ops::Range;
use fdt::Fdt;
use fdt::node::FdtNode;
use linked_list_allocator::LockedHeap;

/// Heap that the device tree is read with, before the size of the memory is known.
const FIRST_HEAP: u64 = 128 * 1024;
/// The heap is this part of the memory …
const HEAP_DIVISOR: u64 = 32;
/// … but within these limits, in bytes, plus an initrd's size.
const HEAP_LIMITS: Range<u64> = 1024 * 1024..16 * 1024 * 1024;

/// Boots: called once by the reset code on the monitor's stack, with the root capability in its slot.
pub fn start(boot: BootInfo, heap: &'static LockedHeap) -> ! {
    console::init();
    let Ok(()) = arch::init(boot.bias) else {
        arch::power_off(false)
    };
    arch::install(panic::fatal);
    open_usual_windows(&boot);

    let header = image_header(&boot);
    let appended = header.archive_offset + header.archive_size;
    let image_end = (boot.text.0 + appended.max(boot.data.1 - boot.text.0)).next_multiple_of(PAGE);
    grow_heap(heap, image_end..image_end + FIRST_HEAP);
    let tree_bytes = device_tree(&boot);
    let Ok(tree) = Fdt::new(&tree_bytes) else {
        panic!("the platform's device tree cannot be read")
    };
    if boot.early_console != 0 {
        // The last of the letters by which the reset code tells its steps.
        b"t\r\n".iter().copied().for_each(arch::console::put);
    }
    let memory = memory_of(&tree, &boot);
    let chosen = tree::chosen(&tree);
    let initrd = boot.initrd.map(|(start, end)| start..end);
    let initrd = initrd.or_else(|| tree_initrd(chosen?, &memory));

    let mut ledger = Ledger::new(arch::root());
    let platform = arch::platform(&tree);
    let devices = carve_devices(&mut ledger, &platform);
    let arguments = || chosen.and_then(|chosen| chosen.property("bootargs")?.as_str());
    console::set_level(boot.arguments.or_else(arguments).unwrap_or(""));
    say!(
        Info,
        "Intravisor on bare metal, {}, {} KiB of memory",
        arch::isa(),
        (memory.end - memory.start) / 1024
    );

    let extra = initrd.as_ref().map_or(0, |range| range.end - range.start);
    let heap_end = heap_end(boot.data.0, image_end, &memory, extra);
    grow_heap(heap, image_end + FIRST_HEAP..heap_end);
    let archive = archive(&boot, &header, initrd, heap_end);
    read_symbols(&boot, &header);
    let pool = carve_memory(&mut ledger, &boot, heap_end, &memory);
    arch::root().clear();
    say!(
        Info,
        "root capability destroyed, {devices} devices, cVM memory {:#x}-{:#x}",
        pool.1.start,
        pool.1.end
    );
    ledger.print(0..ledger.len());

    arch::interrupts::init(&platform);
    arch::console::set_interrupt(true);
    let Some(frequency) =
        arch::timer::frequency(&platform).filter(|frequency| (1..=FREQUENCY_LIMIT).contains(frequency))
    else {
        panic!("the device tree gives no timer frequency of 1 to {FREQUENCY_LIMIT} ticks a second")
    };
    run(archive, ledger, pool, frequency, heap)
}

/// Loads the archive's cVMs and leaves for the first one.
fn run(archive: &'static [u8], ledger: Ledger, pool: (EntryId, Range<u64>), frequency: u64, heap: &LockedHeap) -> ! {
    let mut monitor = load(archive, ledger, pool, frequency).unwrap_or_else(|error| refuse(&error));
    monitor.start_waiting(arch::timer::now());
    let started = monitor.cvms.iter().filter(|cvm| cvm.life == Life::Alive).count();
    say!(Info, "{started} of {} cVMs started", monitor.cvms.len());
    // Logging allocates: the heap must not be locked meanwhile.
    let used = heap.lock().used();
    say!(Debug, "{used} bytes of the monitor's heap in use");
    let frame = monitor.next();
    *MONITOR.lock() = Some(monitor);
    arch::resume(frame)
}

/// Reads archive and manifest, places every cVM and gives it a thread; none is started yet.
///
/// # Errors
/// What is wrong with archive, manifest, a program, or the memory that is asked for.
pub(crate) fn load(
    archive: &'static [u8],
    ledger: Ledger,
    (pool_entry, pool): (EntryId, Range<u64>),
    frequency: u64,
) -> Result<Box<Monitor>, String> {
    let archive = Archive::check(archive).map_err(|error| format!("{error}"))?;
    let manifest::Plan { cvms: specs, capfiles } = manifest::read(&archive).map_err(|error| format!("{error}"))?;
    arch::protection::open(pool.start, pool.end);
    let mut monitor = Box::new(Monitor {
        scheduler: Scheduler::new(frequency),
        cvms: Vec::new(),
        services: Vec::new(),
        budgets: Vec::new(),
        capfiles: Vec::new(),
        ledger,
        pool: pool_entry,
        frequency,
        boot: arch::timer::now(),
        input: heapless::Deque::new(),
        next_start: 0,
    });
    let mut free = Pool::new(pool);
    // The manifest was checked to name members only.
    let elf_of = |runtime: &str| aligned(archive.find(runtime).unwrap_or(&[]));
    monitor.cvms = placement::place_all(specs, elf_of, &mut free)?;
    let entered = monitor.ledger.len();
    // After the cVMs, whose places may be given.
    for capfile in capfiles {
        let placed = Capfile::place(capfile, &mut free, &mut monitor.ledger, pool_entry)?;
        monitor.capfiles.push(placed);
    }
    monitor.ledger.print(entered..monitor.ledger.len());
    for cvm in &monitor.cvms {
        let frame = Frame::boxed(&MONITOR_DATA, trap::handle);
        let frame = frame.map_err(|error| format!("cVM {}: register frame: {error}", cvm.spec.name))?;
        monitor.scheduler.add(Box::leak(frame), cvm.spec.priority);
    }
    let boxed = || Frame::boxed(&MONITOR_DATA, trap::handle).map_err(|error| format!("{error}"));
    call::prepare(&mut monitor, boxed)?;
    say!(Info, "{} KiB of the cVM memory are free", free.free_bytes() / 1024);
    Ok(monitor)
}

/// The image cannot be run: says why and powers off with a failing status.
fn refuse(error: &str) -> ! {
    say!(Error, "{error}");
    arch::power_off(false)
}

/// An ELF at an address that the parser can work with: the archive aligns to 4 bytes only.
fn aligned(bytes: &'static [u8]) -> &'static [u8] {
    if bytes.as_ptr().addr().is_multiple_of(8) {
        return bytes;
    }
    let mut words = vec![0_u64; bytes.len().div_ceil(8)];
    // SAFETY: the words are writable for at least this many bytes.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), words.as_mut_ptr().cast(), bytes.len()) };
    let words: &'static [u64] = words.leak();
    // SAFETY: any u64 is 8 initialised bytes; the slice is not longer than the words it lies in.
    unsafe { core::slice::from_raw_parts(words.as_ptr().cast(), bytes.len()) }
}

/// Copies physical memory through the root capability, before it is destroyed.
fn read_bytes(range: &Range<u64>) -> Vec<u8> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    let copied = user::copy_in(&mut bytes, arch::root(), range.start);
    assert!(
        copied.is_ok(),
        "memory {:#x}-{:#x} cannot be read",
        range.start,
        range.end
    );
    bytes
}

fn image_header(boot: &BootInfo) -> ImageHeader {
    let mut bytes = [0; ImageHeader::SIZE];
    let copied = user::copy_in(&mut bytes, arch::root(), boot.text.0 + abi::image::OFFSET as u64);
    let header = copied.ok().and_then(|()| ImageHeader::from_bytes(&bytes));
    header.unwrap_or_else(|| panic!("the image has no header"))
}

fn device_tree(boot: &BootInfo) -> Vec<u8> {
    let address = boot.device_tree;
    let header = read_bytes(&(address..address + 40));
    let used = tree::used_size(&header).unwrap_or_else(|error| panic!("{error}"));
    tree::check(read_bytes(&(address..address + used as u64))).unwrap_or_else(|error| panic!("{error}"))
}

/// The memory region that holds the image: of those that firmware has left, where there was firmware, else of the tree's.
fn memory_of(tree: &Fdt<'_>, boot: &BootInfo) -> Range<u64> {
    let image = boot.text.0;
    let left = boot.memory.iter().map(|(start, end)| *start..*end);
    let mut regions = left.chain(tree::memory(tree).filter(|_| boot.memory.is_empty()));
    let Some(memory) = regions.find(|region| region.contains(&image)) else {
        panic!("there is no memory at {image:#x}, where the image lies")
    };
    memory
}

/// The initial RAM disk that the tree names, which boot loaders put near the image.
fn tree_initrd(chosen: FdtNode<'_, '_>, memory: &Range<u64>) -> Option<Range<u64>> {
    let address = |name| chosen.property(name).and_then(|property| tree::address(property.value));
    let range = address("linux,initrd-start")?..address("linux,initrd-end")?;
    assert!(
        range.start >= memory.start && range.end <= memory.end,
        "the initrd {:#x}-{:#x} is not in the memory that holds the image",
        range.start,
        range.end
    );
    (range.start <= range.end).then_some(range)
}

/// Where the monitor's data, and its heap with it, ends: with `extra` bytes of heap beyond what the size of the memory
/// suggests, and no farther than one capability from the start of the data can say.
pub(crate) fn heap_end(data: u64, image_end: u64, memory: &Range<u64>, extra: u64) -> u64 {
    let size = ((memory.end - memory.start) / HEAP_DIVISOR).clamp(HEAP_LIMITS.start, HEAP_LIMITS.end);
    // The data starts behind the text, at a multiple of this; longer bounds would need a coarser one.
    let granule = 1 << data.trailing_zeros();
    let mut limit: u64 = granule;
    while arch::representable(limit * 2 - granule).1 <= granule {
        limit *= 2;
    }
    let end = (image_end + size + extra)
        .next_multiple_of(granule)
        .min(data + limit - granule);
    assert!(
        end >= image_end + HEAP_LIMITS.start + extra,
        "image and initrd of {:#x} bytes leave no room for a heap below {:#x}",
        image_end - data + extra,
        data + limit - granule
    );
    assert!(
        end < memory.end,
        "the memory {:#x}-{:#x} is too small for the monitor",
        memory.start,
        memory.end
    );
    end
}

/// The archive: the initrd, copied to the heap, or what `pack` appended to the image, where it lies.
fn archive(boot: &BootInfo, header: &ImageHeader, initrd: Option<Range<u64>>, heap_end: u64) -> &'static [u8] {
    if initrd.is_none() && header.archive_size == 0 {
        return &[];
    }
    let Some(range) = initrd else {
        let start = arch::pointer(boot.text.0 + header.archive_offset);
        // SAFETY: these bytes of the image lie in the monitor's data and nothing ever writes them.
        return unsafe { core::slice::from_raw_parts(start, header.archive_size as usize) };
    };
    assert!(
        range.start >= heap_end || range.end <= boot.text.0,
        "the initrd {:#x}-{:#x} lies in the monitor's memory, which ends at {heap_end:#x}",
        range.start,
        range.end
    );
    read_bytes(&range).leak()
}

/// Adds a physical range to the heap.
fn grow_heap(heap: &LockedHeap, range: Range<u64>) {
    let size = (range.end - range.start) as usize;
    let mut heap = heap.lock();
    // SAFETY: the range lies behind the image, in memory that nothing else uses, and borders on the heap so far.
    unsafe {
        if heap.size() == 0 {
            heap.init(arch::pointer(range.start), size);
        } else {
            heap.extend(size);
        }
    }
}

fn read_symbols(boot: &BootInfo, header: &ImageHeader) {
    let start = boot.text.0 + header.symbols_offset;
    let table = read_bytes(&(start..start + header.symbols_size));
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

/// Derives the monitor's own data capability and the cVMs' pool; returns the pool's entry and range.
fn carve_memory(ledger: &mut Ledger, boot: &BootInfo, heap_end: u64, memory: &Range<u64>) -> (EntryId, Range<u64>) {
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

    let start = data.end.next_multiple_of(PAGE);
    let (length, alignment) = arch::representable(memory.end - start);
    let pool = start.next_multiple_of(alignment)..memory.end / alignment * alignment;
    assert!(
        length >= pool.end - pool.start,
        "the cVM memory {:#x}-{:#x} is not representable",
        pool.start,
        pool.end
    );
    let root = (Ledger::ROOT, arch::root());
    let entry = ledger.derive(
        &POOL,
        root,
        ("cVM pool", "memory of all cVMs"),
        pool.clone(),
        arch::service_stack_permissions() | arch::code_permissions(),
    );
    (entry.unwrap_or_else(|error| panic!("{error}")), pool)
}
