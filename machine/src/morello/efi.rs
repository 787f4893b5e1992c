//! Firmware as far as an image needs it to start as an EFI application (UEFI Specification 2.10): it loads the PE file,
//! enters it with MMU and caches on, and answers the boot services by which it learns its surroundings and leaves.
//!
//! It is stricter than most: pages are writable or executable, never both; the file does not lie where it would like to;
//! free memory is handed out from above; the memory map is in no order, its descriptors are longer than their contents,
//! and it changes when it is first asked to be left.
//!
//! A service is `HLT` with its number, and a return. What is not provided answers that it is not.

use super::branch::efi_call;
use super::bus::Bus;
use super::core::Core;
use super::efi_file::Pe;
use super::efi_tables::{Rights, Tables, read, read_word, write, write_word};
use crate::memory::TaggedMemory;
use std::ops::Range;

pub(super) const PAGE: u64 = 4096;

/// Types of memory.
pub(super) mod kind {
    pub(crate) const RESERVED: u32 = 0;
    pub(crate) const LOADER_CODE: u32 = 1;
    pub(crate) const BOOT_CODE: u32 = 3;
    pub(crate) const BOOT_DATA: u32 = 4;
    pub(crate) const RUNTIME_DATA: u32 = 6;
    pub(crate) const CONVENTIONAL: u32 = 7;
    pub(crate) const DEVICE: u32 = 11;
}

/// Statuses.
const SUCCESS: u64 = 0;
const LOAD_ERROR: u64 = 1 << 63 | 1;
const INVALID_PARAMETER: u64 = 1 << 63 | 2;
const UNSUPPORTED: u64 = 1 << 63 | 3;
const BUFFER_TOO_SMALL: u64 = 1 << 63 | 5;
const OUT_OF_RESOURCES: u64 = 1 << 63 | 9;
const NOT_FOUND: u64 = 1 << 63 | 14;

/// Numbers of services: those of the boot services are their places behind the table's header.
mod service {
    pub(super) const ALLOCATE_PAGES: u32 = 2;
    pub(super) const MEMORY_MAP: u32 = 4;
    pub(super) const HANDLE_PROTOCOL: u32 = 16;
    pub(super) const LOCATE_DEVICE_PATH: u32 = 20;
    pub(super) const EXIT_BOOT_SERVICES: u32 = 26;
    /// Boot services there are.
    pub(super) const BOOT: u32 = 44;
    pub(super) const OUTPUT_STRING: u32 = 44;
    pub(super) const LOAD_FILE: u32 = 45;
    /// Where the application returns to.
    pub(super) const RETURNED: u32 = 46;
    pub(super) const COUNT: u32 = 47;
}

const fn guid(first: u32, second: u16, third: u16, rest: [u8; 8]) -> [u8; 16] {
    let mut bytes = [0; 16];
    let value =
        first as u128 | (second as u128) << 32 | (third as u128) << 48 | (u64::from_le_bytes(rest) as u128) << 64;
    let little = value.to_le_bytes();
    let mut at = 0;
    while at < 16 {
        bytes[at] = little[at];
        at += 1;
    }
    bytes
}

const DEVICE_TREE: [u8; 16] = guid(
    0xb1b6_21d5,
    0xf19c,
    0x41a5,
    [0x83, 0x0b, 0xd9, 0x15, 0x2c, 0x69, 0xaa, 0xe0],
);
/// Of ACPI 2.0 and later.
const ACPI: [u8; 16] = guid(
    0x8868_e871,
    0xe4f1,
    0x11d3,
    [0xbc, 0x22, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81],
);
const LOADED_IMAGE: [u8; 16] = guid(
    0x5b1b_31a1,
    0x9562,
    0x11d2,
    [0x8e, 0x3f, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b],
);
const LOAD_FILE_2: [u8; 16] = guid(
    0x4006_c0c1,
    0xfcb3,
    0x403e,
    [0x99, 0x6d, 0x4a, 0x6c, 0x87, 0x24, 0xe0, 0x6d],
);
/// The medium of Linux' initial RAM disk.
const INITRD: [u8; 16] = guid(
    0x5568_e427,
    0x68fc,
    0x4f3d,
    [0xac, 0x74, 0xca, 0x55, 0x52, 0x31, 0xcc, 0x68],
);

/// Handles.
const IMAGE: u64 = 0x11;
const INITRD_DEVICE: u64 = 0x22;

/// Offset of the text in the tables' page, behind the stubs of the services.
const STUB: u64 = 8;

/// What the firmware is to start, and what it tells of the board.
pub(super) struct Setup<'a> {
    /// The PE file.
    pub(super) file: &'a [u8],
    /// What messages call it.
    pub(super) name: &'a str,
    /// The device tree; `None` = ACPI only.
    pub(super) tree: Option<Vec<u8>>,
    pub(super) options: &'a str,
    pub(super) initrd: Option<Vec<u8>>,
}

/// The firmware while it is there.
pub(super) struct Efi {
    /// Apart from each other, all that is memory or a device.
    regions: Vec<(Range<u64>, u32)>,
    key: u64,
    /// It has been asked to be left, and has found something to do before.
    asked: bool,
    loaded_image: u64,
    load_file: u64,
    initrd: Option<Vec<u8>>,
    tables: Tables,
}

impl Efi {
    /// Puts firmware and application into memory and makes `core` enter it.
    ///
    /// # Errors
    /// What is wrong with the file, or that it does not fit.
    pub(super) fn start(core: &mut Core, bus: &mut Bus, setup: Setup, devices: &[u64]) -> Result<(), String> {
        let name = setup.name;
        let pe = Pe::parse(setup.file).ok_or_else(|| format!("{name}: not an EFI application for arm64"))?;
        let efi = Self::build(core, bus, setup, &pe, devices);
        bus.efi = Some(Box::new(efi.ok_or_else(|| {
            format!("{name}: there is not enough memory for it and firmware")
        })?));
        Ok(())
    }

    fn build(core: &mut Core, bus: &mut Bus, setup: Setup, pe: &Pe, devices: &[u64]) -> Option<Efi> {
        const TABLES: u64 = 64;
        const STACK: u64 = 32;
        let memory = &mut bus.ram;
        let mut efi = Efi {
            regions: Vec::new(),
            key: 1,
            asked: false,
            loaded_image: 0,
            load_file: 0,
            initrd: setup.initrd,
            tables: Tables {
                root: 0,
                next: 0,
                end: 0,
            },
        };
        for ram in memory.iter() {
            let start = ram.base();
            efi.regions.push((start..start + ram.size() as u64, kind::CONVENTIONAL));
        }
        // Some of it is the firmware's for ever, and is not to change: first and last of the first region, and its middle.
        let (first, size) = (memory[0].base(), memory[0].size() as u64);
        for (place, kind) in [
            (first, kind::RESERVED),
            (first + size - 16 * PAGE, kind::RUNTIME_DATA),
            (first + ((size / 2) & !0xffff), kind::RUNTIME_DATA),
        ] {
            efi.carve(place..place + 16 * PAGE, kind)?;
            write(memory, place, &[0x5a; 16 * PAGE as usize])?;
        }
        let tables = efi.take(TABLES, kind::BOOT_DATA)?;
        efi.tables = Tables {
            root: tables,
            next: tables + PAGE,
            end: tables + TABLES * PAGE,
        };
        write(memory, tables, &vec![0; (TABLES * PAGE) as usize])?;
        for ram in 0..memory.len() {
            let (start, size) = (memory[ram].base(), memory[ram].size() as u64);
            efi.tables.map(memory, start..start + size, Rights::Data)?;
        }
        for device in devices {
            efi.regions.push((*device..*device + PAGE, kind::DEVICE));
            efi.tables.map(memory, *device..*device + PAGE, Rights::Device)?;
        }

        // The application, at a place that its header does not ask for, and not at a multiple of more than a page.
        let image = efi.take(pe.size.div_ceil(PAGE) | 1, kind::LOADER_CODE)?;
        write(memory, image, &vec![0; pe.size as usize])?;
        write(memory, image, setup.file.get(..pe.headers as usize)?)?;
        for section in &pe.sections {
            let (from, to) = (section.address as usize, (section.address + section.size) as usize);
            write(memory, image + section.address, setup.file.get(from..to)?)?;
            if section.executable {
                let start = image + section.address;
                let end = (start + section.size).next_multiple_of(PAGE);
                efi.tables.map(memory, start..end, Rights::Text)?;
            }
        }
        let stubs = efi.take(1, kind::BOOT_CODE)?;
        for number in 0..service::COUNT {
            let stub = stubs + u64::from(number) * STUB;
            let code = u64::from(efi_call(number)) | 0xd65f_03c0 << 32; // hlt, ret
            write_word(memory, stub, code)?;
        }
        efi.tables.map(memory, stubs..stubs + PAGE, Rights::Text)?;
        let system = efi.write_tables(memory, image, stubs, setup.tree, setup.options)?;
        let stack = efi.take(STACK, kind::BOOT_DATA)? + STACK * PAGE;

        let (regime, two_ranges) = (usize::from(core.el), core.el == 1);
        core.registers.ttbr0[regime] = efi.tables.root;
        core.registers.mair[regime] = 0x00ff;
        // 48-bit addresses.
        core.registers.tcr[regime] = if two_ranges {
            0x5_0000_3510 | 1 << 23
        } else {
            0x8085_3510
        };
        core.registers.sctlr[regime] |= 0x1005;
        core.pc = image + pe.entry;
        core.set_x(0, IMAGE);
        core.set_x(1, system);
        core.set_x(30, stubs + u64::from(service::RETURNED) * STUB);
        core.set_x_or_sp(31, stack);
        core.daif = 0;
        core.update_enables();
        core.tlb.flush();
        Some(efi)
    }

    /// Writes the system table and what hangs on it; returns its address.
    fn write_tables(
        &mut self,
        memory: &mut [TaggedMemory],
        image: u64,
        stubs: u64,
        tree: Option<Vec<u8>>,
        options: &str,
    ) -> Option<u64> {
        let stub = |number: u32| stubs + u64::from(number) * STUB;
        let page = self.take(2, kind::BOOT_DATA)?;
        write(memory, page, &vec![0; 2 * PAGE as usize])?;
        let [system, boot, output, configuration, loaded, load_file] =
            [0, 0x100, 0x300, 0x340, 0x400, 0x480].map(|offset| page + offset);
        for (at, value) in [(64, output), (96, boot), (104, 1), (112, configuration)] {
            write_word(memory, system + at, value)?;
        }
        for number in 0..service::BOOT {
            write_word(memory, boot + 24 + u64::from(number) * 8, stub(number))?;
        }
        write_word(memory, output + 8, stub(service::OUTPUT_STRING))?;
        let (vendor, table) = match tree {
            Some(tree) => {
                // In memory that is free as soon as the firmware is left.
                let place = self.take((tree.len() as u64).div_ceil(PAGE), kind::BOOT_DATA)?;
                write(memory, place, &tree)?;
                (DEVICE_TREE, place)
            }
            None => (ACPI, page),
        };
        write(memory, configuration, &vendor)?;
        write_word(memory, configuration + 16, table)?;
        let text: Vec<u8> = options.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        let text_at = page + 0x800;
        write(memory, text_at, &text)?;
        write(memory, loaded + 48, &(text.len() as u32).to_le_bytes())?;
        write_word(memory, loaded + 56, text_at)?;
        write_word(memory, loaded + 64, image)?;
        write_word(memory, load_file, stub(service::LOAD_FILE))?;
        (self.loaded_image, self.load_file) = (loaded, load_file);
        Some(system)
    }

    /// Makes part of a free region something else.
    fn carve(&mut self, range: Range<u64>, kind: u32) -> Option<()> {
        let inside = |(region, free): &(Range<u64>, u32)| {
            *free == kind::CONVENTIONAL && region.start <= range.start && region.end >= range.end
        };
        let index = self.regions.iter().position(inside)?;
        let (region, free) = self.regions.swap_remove(index);
        for rest in [range.end..region.end, region.start..range.start] {
            if !rest.is_empty() {
                self.regions.push((rest, free));
            }
        }
        self.regions.push((range, kind));
        self.key += 1;
        Some(())
    }

    /// Takes pages from the end of the highest free region that ends below `limit`.
    fn take_below(&mut self, pages: u64, kind: u32, limit: u64) -> Option<u64> {
        let size = pages.checked_mul(PAGE)?;
        let free = self.regions.iter().filter(|(_, free)| *free == kind::CONVENTIONAL);
        let start = free
            .filter_map(|(region, _)| {
                region
                    .end
                    .min(limit & !(PAGE - 1))
                    .checked_sub(size)
                    .filter(|start| *start >= region.start)
            })
            .max()?;
        self.carve(start..start + size, kind)?;
        Some(start)
    }

    fn take(&mut self, pages: u64, kind: u32) -> Option<u64> {
        self.take_below(pages, kind, u64::MAX)
    }

    /// Answers a service. `None` when an argument points to where no memory is.
    fn call(&mut self, core: &mut Core, bus: &mut Bus, number: u32) -> Option<u64> {
        let argument = |n: u32| core.x(n);
        let memory = &mut bus.ram;
        Some(match number {
            service::ALLOCATE_PAGES => {
                const MAX_ADDRESS: u32 = 1;
                const ADDRESS: u32 = 2;
                let (how, kind, pages) = (argument(0) as u32, argument(1) as u32, argument(2));
                let wanted = read_word(memory, argument(3))?;
                let found = match how {
                    ADDRESS => {
                        let end = pages.checked_mul(PAGE).and_then(|size| wanted.checked_add(size));
                        end.and_then(|end| self.carve(wanted..end, kind)).map(|()| wanted)
                    }
                    MAX_ADDRESS => self.take_below(pages, kind, wanted.saturating_add(1)),
                    _ => self.take(pages, kind),
                };
                match found {
                    Some(address) => {
                        write_word(memory, argument(3), address)?;
                        SUCCESS
                    }
                    None => OUT_OF_RESOURCES,
                }
            }
            service::MEMORY_MAP => {
                const DESCRIPTOR: u64 = 48;
                let (size, buffer) = (argument(0), argument(1));
                let needed = self.regions.len() as u64 * DESCRIPTOR;
                let room = read_word(memory, size)?;
                write_word(memory, size, needed)?;
                if room < needed {
                    return Some(BUFFER_TOO_SMALL);
                }
                for (index, (region, kind)) in (0..).zip(&self.regions) {
                    let at = buffer + index * DESCRIPTOR;
                    let pages = (region.end - region.start) / PAGE;
                    let words = [u64::from(*kind), region.start, 0, pages, 0xf, 0x5a5a_5a5a_5a5a_5a5a];
                    for (word, value) in (0..).zip(words) {
                        write_word(memory, at + word * 8, value)?;
                    }
                }
                write_word(memory, argument(2), self.key)?;
                write_word(memory, argument(3), DESCRIPTOR)?;
                write(memory, argument(4), &1_u32.to_le_bytes())?;
                SUCCESS
            }
            service::HANDLE_PROTOCOL => {
                let found = match (argument(0), read(memory, argument(1))?) {
                    (IMAGE, LOADED_IMAGE) => self.loaded_image,
                    (INITRD_DEVICE, LOAD_FILE_2) => self.load_file,
                    _ => return Some(UNSUPPORTED),
                };
                write_word(memory, argument(2), found)?;
                SUCCESS
            }
            service::LOCATE_DEVICE_PATH => {
                // A vendor's medium of 20 bytes, and the end.
                let path = read_word(memory, argument(1))?;
                let node: [u8; 4] = read(memory, path)?;
                let wanted: [u8; 16] = read(memory, path + 4)?;
                let end: [u8; 4] = read(memory, path + 20)?;
                let known = (node, wanted, end) == ([4, 3, 20, 0], INITRD, [0x7f, 0xff, 4, 0]);
                if !known || read(memory, argument(0))? != LOAD_FILE_2 || self.initrd.is_none() {
                    return Some(NOT_FOUND);
                }
                write_word(memory, argument(1), path + 20)?;
                write_word(memory, argument(2), INITRD_DEVICE)?;
                SUCCESS
            }
            service::LOAD_FILE => {
                let bytes = self.initrd.as_deref()?;
                let (size, buffer) = (argument(3), argument(4));
                let room = read_word(memory, size)?;
                write_word(memory, size, bytes.len() as u64)?;
                if buffer == 0 || room < bytes.len() as u64 {
                    return Some(BUFFER_TOO_SMALL);
                }
                write(memory, buffer, bytes)?;
                SUCCESS
            }
            service::OUTPUT_STRING => {
                for at in (argument(1)..).step_by(2) {
                    match u16::from_le_bytes(read(&mut bus.ram, at)?) {
                        0 => break,
                        unit => bus.console_mut().put(u8::try_from(unit).unwrap_or(b'?')),
                    }
                }
                SUCCESS
            }
            service::EXIT_BOOT_SERVICES => {
                if !std::mem::replace(&mut self.asked, true) {
                    self.take(1, kind::BOOT_DATA)?;
                }
                if argument(0) == IMAGE && argument(1) == self.key {
                    SUCCESS
                } else {
                    INVALID_PARAMETER
                }
            }
            service::RETURNED => {
                let status = argument(0);
                bus.stop = Some(crate::Stop::Firmware(format!(
                    "the application returned to the firmware with status {status:#x}{}",
                    if status == LOAD_ERROR { ", a load error" } else { "" }
                )));
                core.pause();
                status
            }
            _ => UNSUPPORTED,
        })
    }
}

/// Answers a call of the firmware; `false` when there is none.
pub(super) fn call(core: &mut Core, bus: &mut Bus, number: u32) -> bool {
    let Some(mut efi) = bus.efi.take() else {
        return false;
    };
    let result = efi.call(core, bus, number).unwrap_or(INVALID_PARAMETER);
    core.set_x(0, result);
    if number != service::EXIT_BOOT_SERVICES || result != SUCCESS {
        bus.efi = Some(efi);
    }
    true
}
