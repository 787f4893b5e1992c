//! Entry by EFI firmware (UEFI Specification 2.10), which has loaded the image as an application, anywhere.
//!
//! What this does, in order: find device tree, command line and initial RAM disk; copy the image to the start of the
//! largest free region, with room for the monitor's heap behind it; leave the firmware; say in the copy what the memory
//! map allows; enter the copy as a boot loader would. The image as the firmware has loaded it stays unchanged, but that
//! the code before this has put its end in its place: it is not relocated, so nothing here may hold the address of anything
//! in memory. Until the firmware is left, an error is printed and handed back to it.

use abi::image::GAP_USED_OFFSET;
use core::arch::asm;
use core::convert::Infallible;
use core::mem::size_of;
use core::ptr;

type Status = usize;
type Result<T> = core::result::Result<T, &'static [u8]>;

/// EFI_LOAD_ERROR, what every failure here is to the firmware.
const LOAD_ERROR: Status = 1 << 63 | 1;
const PAGE: u64 = 4096;
/// The image may lie at any multiple of this …
const ALIGNMENT: u64 = 2 << 20;
/// … that the reset code's map reaches.
const LIMIT: u64 = 1 << 39;
/// Kept free behind the image: more than the monitor's heap will take, the initial RAM disk excepted.
const HEAP: u64 = 18 << 20;
/// Bytes for the firmware's memory map.
const MAP_SIZE: usize = 256 << 10;

/// Free memory; the types 1 to 4 are code and data of loaders and boot services, free when the firmware has been left.
const CONVENTIONAL: u32 = 7;
const LOADER_DATA: u32 = 2;
const ALLOCATE_MAX_ADDRESS: u32 = 1;
const ALLOCATE_ADDRESS: u32 = 2;

const fn guid(first: u32, second: u16, third: u16, rest: u64) -> u128 {
    first as u128 | (second as u128) << 32 | (third as u128) << 48 | (rest.swap_bytes() as u128) << 64
}

const DEVICE_TREE: u128 = guid(0xb1b6_21d5, 0xf19c, 0x41a5, 0x830b_d915_2c69_aae0);
const LOADED_IMAGE: u128 = guid(0x5b1b_31a1, 0x9562, 0x11d2, 0x8e3f_00a0_c969_723b);
const LOAD_FILE_2: u128 = guid(0x4006_c0c1, 0xfcb3, 0x403e, 0x996d_4a6c_8724_e06d);
const FILE_SYSTEM: u128 = guid(0x964e_5b22, 0x6459, 0x11d2, 0x8e39_00a0_c969_723b);
/// LINUX_EFI_INITRD_MEDIA_GUID.
const INITRD_MEDIA: u128 = guid(0x5568_e427, 0x68fc, 0x4f3d, 0xac74_ca55_5231_cc68);

#[repr(C)]
struct SystemTable {
    _before: [u64; 8],
    output: *mut TextOutput,
    _errors_and_runtime: [u64; 3],
    boot: *const BootServices,
    table_count: usize,
    tables: *const ConfigurationTable,
}

#[repr(C)]
struct ConfigurationTable {
    vendor: [u64; 2],
    table: u64,
}

#[repr(C)]
struct TextOutput {
    _reset: usize,
    output_string: extern "efiapi" fn(*mut TextOutput, *const u16) -> Status,
}

#[repr(C)]
struct BootServices {
    _header_and_priorities: [u64; 5],
    allocate_pages: extern "efiapi" fn(kind: u32, memory: u32, pages: usize, address: *mut u64) -> Status,
    _free_pages: usize,
    memory_map: extern "efiapi" fn(
        size: *mut usize,
        buffer: u64,
        key: *mut usize,
        descriptor_size: *mut usize,
        version: *mut u32,
    ) -> Status,
    _pools_and_events: [usize; 11],
    handle_protocol: extern "efiapi" fn(handle: usize, protocol: *const u128, interface: *mut usize) -> Status,
    _notify: [usize; 3],
    locate_device_path: extern "efiapi" fn(*const u128, path: *mut *const InitrdPath, handle: *mut usize) -> Status,
    _images: [usize; 5],
    exit: extern "efiapi" fn(image: usize, map_key: usize) -> Status,
}

#[repr(C)]
struct LoadedImage {
    _before: [u64; 3],
    device: usize,
    _path: [u64; 2],
    options_size: u32,
    options: *const u16,
}

#[repr(C)]
struct LoadFile {
    load: extern "efiapi" fn(*const LoadFile, *const InitrdPath, policy: bool, size: *mut usize, buffer: u64) -> Status,
}

#[repr(C)]
struct FileSystem {
    _revision: u64,
    open_volume: extern "efiapi" fn(*const FileSystem, root: *mut *const File) -> Status,
}

#[repr(C)]
struct File {
    _revision: u64,
    open:
        extern "efiapi" fn(*const File, file: *mut *const File, name: *const u16, mode: u64, attributes: u64) -> Status,
    _close_and_delete: [usize; 2],
    read: extern "efiapi" fn(*const File, size: *mut usize, buffer: u64) -> Status,
    _write: usize,
    position: extern "efiapi" fn(*const File, position: *mut u64) -> Status,
    set_position: extern "efiapi" fn(*const File, position: u64) -> Status,
}

/// Files on the medium from which the image comes, for firmware that has no device tree or offers no initial RAM disk.
const TREE_FILE: [u16; 20] = path(*b"\\EFI\\BOOT\\BOARD.DTB");
const INITRD_FILE: [u16; 21] = path(*b"\\EFI\\BOOT\\INITRD.IMG");

/// A path as the firmware writes it, with the NUL that ends it.
const fn path<const N: usize, const M: usize>(text: [u8; N]) -> [u16; M] {
    assert!(M == N + 1);
    let mut path = [0; M];
    let mut at = 0;
    while at < N {
        path[at] = text[at] as u16;
        at += 1;
    }
    path
}

/// A device path of one vendor-defined medium and the end.
#[repr(C)]
struct InitrdPath {
    medium: [u8; 4],
    vendor: [u8; 16],
    end: [u8; 4],
}

/// A region of the memory map.
#[repr(C)]
struct Descriptor {
    kind: u32,
    start: u64,
    _virtual: u64,
    pages: u64,
}

impl Descriptor {
    fn end(&self) -> u64 {
        self.start + self.pages * PAGE
    }
}

/// The memory map as the firmware has written it.
struct Map {
    buffer: u64,
    size: usize,
    descriptor_size: usize,
    key: usize,
}

/// What the copy of the image is told.
#[repr(C)]
pub(crate) struct Handover {
    /// Usable memory as the firmware left it, first address and address behind; empty when there was no firmware.
    pub(crate) memory: [(u64, u64); 24],
    pub(crate) memory_count: usize,
    /// Bytes of what finds no place in that list.
    pub(crate) memory_lost: u64,
    /// The initial RAM disk, first address and address behind.
    pub(crate) initrd: (u64, u64),
    /// The load options in ASCII.
    pub(crate) arguments: [u8; 256],
    pub(crate) argument_bytes: usize,
}

impl Handover {
    /// The usable memory.
    pub(crate) fn memory(&self) -> &[(u64, u64)] {
        self.memory.get(..self.memory_count).unwrap_or(&[])
    }

    /// The load options as far as they are filled in.
    pub(crate) fn arguments(&self) -> &[u8] {
        self.arguments.get(..self.argument_bytes).unwrap_or(&[])
    }
}

/// In data, not in bss: that one is no part of bss, which the reset code clears.
#[unsafe(link_section = ".data")]
pub(crate) static HANDOVER: Handover = Handover {
    memory: [(0, 0); 24],
    memory_count: 0,
    memory_lost: 0,
    initrd: (0, 0),
    arguments: [0; 256],
    argument_bytes: 0,
};

/// Where the firmware has loaded the image. The address of a symbol would be read from a table that is not relocated.
fn image_start() -> u64 {
    let start: u64;
    // SAFETY: computes an address; the image starts at a multiple of 4096.
    unsafe { asm!("adrp {start}, intravisor_image_start", start = out(reg) start, options(nomem, nostack)) };
    start
}

/// FROM the code that the firmware enters, which passes on the handle of this image.
#[unsafe(no_mangle)]
extern "efiapi" fn intravisor_efi_entry(image: usize, system: &SystemTable) -> Status {
    print(system, b"intravisor: ");
    let Err(error) = start(image, system);
    print(system, b" error: ");
    print(system, error);
    print(system, b"\r\n");
    LOAD_ERROR
}

fn print(system: &SystemTable, text: &[u8]) {
    // SAFETY: the firmware's table is valid as long as the firmware is there.
    let output_string = unsafe { (*system.output).output_string };
    for byte in text {
        let text = [u16::from(*byte), 0];
        output_string(system.output, text.as_ptr());
    }
}

/// `error` unless the firmware has done what it was asked for.
fn check(status: Status, error: &'static [u8]) -> Result<()> {
    if status == 0 { Ok(()) } else { Err(error) }
}

/// Does not return unless something is wrong. A letter on the console says what has been done, as in the reset code.
fn start(image: usize, system: &SystemTable) -> Result<Infallible> {
    // SAFETY: the firmware's tables are valid as long as the firmware is there.
    let boot = unsafe { &*system.boot };
    let features: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {features}, id_aa64pfr1_el1", features = out(reg) features, options(nomem, nostack)) };
    if features >> 20 & 0xf == 0 {
        return Err(b"this processor has no capabilities; a Morello processor is needed");
    }
    let loaded = protocol(boot, image, &LOADED_IMAGE)?;
    let tree = device_tree(boot, system, loaded)?;
    print(system, b"d");
    let initrd = initrd(boot, loaded)?;
    print(system, b"i");

    let buffer = allocate(boot, MAP_SIZE)?;
    let source = image_start();
    // SAFETY: the size in the image's own header, in memory.
    let size = unsafe { ((source + 16) as *const u64).read() };
    let wanted = size + HEAP + initrd.1 - initrd.0;
    let mut target = place(&memory_map(boot, buffer)?, wanted)?;
    let pages = wanted.div_ceil(PAGE) as usize;
    check(
        (boot.allocate_pages)(ALLOCATE_ADDRESS, LOADER_DATA, pages, &mut target),
        b"no memory for the monitor",
    )?;
    // SAFETY: just allocated, for more than these bytes.
    unsafe { ptr::copy_nonoverlapping(source as *const u8, target as *mut u8, size as usize) };
    // SAFETY: a word of the copy's header: its end is in its place.
    unsafe { ((target + GAP_USED_OFFSET) as *mut u64).write(0) };
    // SAFETY: the copy's own hand-over, which nobody else knows of.
    let handover = unsafe { &mut *((&raw const HANDOVER as u64 - source + target) as *mut Handover) };
    handover.initrd = initrd;
    let early_console = read_options(loaded, handover)?;
    // On a console of their own, the reset code's letters follow on the same line.
    print(system, if early_console == 0 { b"p\r\n" } else { b"p" });

    let mut map = memory_map(boot, buffer)?;
    if (boot.exit)(image, map.key) != 0 {
        // The map has changed meanwhile: by what the firmware did first of all to exit.
        map = memory_map(boot, buffer)?;
        check((boot.exit)(image, map.key), b"the firmware cannot be left")?;
    }
    list_memory(&map, handover);
    clean(target, target + size);
    clean(source, source + size);
    // SAFETY: what the copy needs is in memory, and nobody else runs.
    unsafe { enter(target, tree, early_console) }
}

/// Copies the device tree to where the reset code's map reaches; its address.
fn device_tree(boot: &BootServices, system: &SystemTable, loaded: *const LoadedImage) -> Result<u64> {
    for index in 0..system.table_count {
        // SAFETY: one of the firmware's tables.
        let ConfigurationTable {
            vendor: [low, high],
            table,
        } = unsafe { &*system.tables.add(index) };
        if u128::from(*low) | u128::from(*high) << 64 == DEVICE_TREE {
            // SAFETY: a device tree, which has its size in the second word of its header.
            let size = unsafe { u32::from_be(((table + 4) as *const u32).read()) } as usize;
            let copy = allocate(boot, size)?;
            // SAFETY: just allocated, for these bytes.
            unsafe { ptr::copy_nonoverlapping(*table as *const u8, copy as *mut u8, size) };
            return Ok(copy);
        }
    }
    match read_file(boot, loaded, &TREE_FILE)? {
        (0, _) => Err(b"no device tree: the firmware has none, perhaps ACPI only, nor is there \\EFI\\BOOT\\BOARD.DTB"),
        (tree, _) => Ok(tree),
    }
}

/// What implements `protocol` for `handle`.
fn protocol<T>(boot: &BootServices, handle: usize, protocol: &u128) -> Result<*const T> {
    let mut interface = 0;
    let status = (boot.handle_protocol)(handle, protocol, &mut interface);
    check(status, b"a protocol is missing")?;
    Ok(interface as *const T)
}

/// Takes memory where the reset code's map reaches.
fn allocate(boot: &BootServices, bytes: usize) -> Result<u64> {
    let mut address = LIMIT - 1;
    let pages = bytes.div_ceil(PAGE as usize);
    let status = (boot.allocate_pages)(ALLOCATE_MAX_ADDRESS, LOADER_DATA, pages, &mut address);
    check(status, b"no memory")?;
    Ok(address)
}

/// Reads a file of the medium from which the image comes; (0, 0) if it is not there.
fn read_file(boot: &BootServices, loaded: *const LoadedImage, name: &[u16]) -> Result<(u64, u64)> {
    // SAFETY: a protocol of the firmware's, as all that follow.
    let device = unsafe { (*loaded).device };
    let Ok(system) = protocol::<FileSystem>(boot, device, &FILE_SYSTEM) else {
        return Ok((0, 0));
    };
    const ERROR: &[u8] = b"a file cannot be read";
    const READ: u64 = 1;
    let (mut root, mut file): (*const File, *const File) = (ptr::null(), ptr::null());
    // SAFETY: as above.
    check(unsafe { ((*system).open_volume)(system, &mut root) }, ERROR)?;
    // SAFETY: as above.
    if unsafe { ((*root).open)(root, &mut file, name.as_ptr(), READ, 0) } != 0 {
        return Ok((0, 0));
    }
    let mut size = 0;
    // SAFETY: as above.
    let File {
        read,
        position,
        set_position,
        ..
    } = unsafe { &*file };
    check(
        set_position(file, u64::MAX) | position(file, &mut size) | set_position(file, 0),
        ERROR,
    )?;
    let start = allocate(boot, size as usize)?;
    let mut count = size as usize;
    check(read(file, &mut count, start), ERROR)?;
    Ok((start, start + size))
}

/// Loads the initial RAM disk, if the firmware or a loader before this one offers one, or it is a file.
fn initrd(boot: &BootServices, loaded: *const LoadedImage) -> Result<(u64, u64)> {
    const ERROR: &[u8] = b"the initial RAM disk cannot be loaded";
    let path = InitrdPath {
        medium: [4, 3, 20, 0],
        vendor: INITRD_MEDIA.to_le_bytes(),
        end: [0x7f, 0xff, 4, 0],
    };
    let (mut rest, mut handle): (*const InitrdPath, _) = (&raw const path, 0);
    if (boot.locate_device_path)(&LOAD_FILE_2, &mut rest, &mut handle) != 0 {
        return read_file(boot, loaded, &INITRD_FILE);
    }
    let file: *const LoadFile = protocol(boot, handle, &LOAD_FILE_2)?;
    let mut size = 0;
    // SAFETY: a protocol of the firmware's. Without a buffer it tells the size, and fails.
    let load = unsafe { (*file).load };
    load(file, rest, false, &mut size, 0);
    let start = allocate(boot, size)?;
    check(load(file, rest, false, &mut size, start), ERROR)?;
    Ok((start, start + size as u64))
}

/// Reads the memory map.
fn memory_map(boot: &BootServices, buffer: u64) -> Result<Map> {
    let mut map = Map {
        buffer,
        size: MAP_SIZE,
        descriptor_size: 0,
        key: 0,
    };
    let mut version = 0;
    let status = (boot.memory_map)(
        &mut map.size,
        buffer,
        &mut map.key,
        &mut map.descriptor_size,
        &mut version,
    );
    check(status, b"no memory map")?;
    Ok(map)
}

impl Map {
    fn regions(&self) -> impl Iterator<Item = &Descriptor> {
        let offsets = (0..self.size).step_by(self.descriptor_size);
        // SAFETY: the firmware has written a descriptor there.
        offsets.map(|offset| unsafe { &*((self.buffer + offset as u64) as *const Descriptor) })
    }
}

/// Where the image goes: the start of the largest free region.
fn place(map: &Map, wanted: u64) -> Result<u64> {
    let (mut best, mut room) = (0, 0);
    for region in map.regions().filter(|region| region.kind == CONVENTIONAL) {
        let start = region.start.next_multiple_of(ALIGNMENT);
        let size = region.end().min(LIMIT).saturating_sub(start);
        if size > room {
            (best, room) = (start, size);
        }
    }
    if room < wanted {
        return Err(b"no free region is large enough for the monitor");
    }
    Ok(best)
}

/// Copies the load options; returns the address of the UART in `earlycon=pl011,ADDRESS`, or 0.
fn read_options(loaded: *const LoadedImage, handover: &mut Handover) -> Result<u64> {
    // SAFETY: a protocol of the firmware's.
    let (options, bytes) = unsafe { ((*loaded).options, (*loaded).options_size as usize) };
    for index in 0..bytes / size_of::<u16>() {
        // SAFETY: within the size that the firmware tells.
        let unit = unsafe { options.add(index).read_unaligned() };
        if unit == 0 {
            break;
        }
        let slot = handover
            .arguments
            .get_mut(index)
            .ok_or(&b"more than 256 characters of load options"[..])?;
        *slot = if unit < 0x80 { unit as u8 } else { b'?' };
        handover.argument_bytes = index + 1;
    }
    let arguments = handover.arguments();
    let console = arguments
        .split(|byte| *byte == b' ')
        .find_map(|word| word.strip_prefix(b"earlycon=pl011,0x"));
    let digits = console
        .unwrap_or(b"")
        .iter()
        .map_while(|byte| char::from(*byte).to_digit(16));
    Ok(digits.fold(0, |address, digit| address << 4 | u64::from(digit)))
}

/// Lists what can be used of the map, by address, neighbours as one.
fn list_memory(map: &Map, handover: &mut Handover) {
    let mut from = 0;
    let usable = |region: &&Descriptor| matches!(region.kind, 1..=4 | CONVENTIONAL) && region.pages != 0;
    // The map is in no order.
    while let Some(region) = map
        .regions()
        .filter(usable)
        .filter(|region| region.start >= from)
        .min_by_key(|region| region.start)
    {
        from = region.start + 1;
        let last = handover.memory_count.wrapping_sub(1);
        match handover.memory.get_mut(last) {
            Some((_, end)) if *end == region.start => *end = region.end(),
            _ => match handover.memory.get_mut(handover.memory_count) {
                Some(next) => {
                    *next = (region.start, region.end());
                    handover.memory_count += 1;
                }
                None => handover.memory_lost += region.pages * PAGE,
            },
        }
    }
}

/// Writes back what the caches hold of this memory, and forgets it: it will be used without them.
fn clean(start: u64, end: u64) {
    // SAFETY: changes no contents. No cache line is shorter than 16 bytes.
    unsafe {
        asm!(
            "2:",
            "dc civac, {at}",
            "add {at}, {at}, #16",
            "cmp {at}, {end}",
            "b.lo 2b",
            "dsb sy",
            at = inout(reg) start => _,
            end = in(reg) end,
            options(nostack),
        );
    }
}

/// Enters the image at `target` as arm64 boot loaders do: MMU and data cache off, interrupts masked.
///
/// # Safety
/// The image there, and the code that runs, are in memory, not only in caches; the map is the identity.
unsafe fn enter(target: u64, tree: u64, early_console: u64) -> ! {
    // SAFETY: by the caller.
    unsafe {
        asm!(
            "msr daifset, #0xf",
            "mov x4, #5",                   // M and C
            "mrs x3, CurrentEL",
            "cmp x3, #2 << 2",
            "b.eq 2f",
            "mrs x3, sctlr_el1",
            "bic x3, x3, x4",
            "msr sctlr_el1, x3",
            "b 3f",
            "2:",
            "mrs x3, sctlr_el2",
            "bic x3, x3, x4",
            "msr sctlr_el2, x3",
            "3:",
            "isb",
            "ic iallu",
            "dsb sy",
            "isb",
            "msr spsel, #1",
            "br x2",
            in("x0") tree,
            in("x1") early_console,
            in("x2") target,
            options(noreturn),
        );
    }
}
