//! Function names for backtraces: of a cVM from its ELF's symbol table, of the monitor from the image.

use abi::image::Symbols;

/// ELF symbol type of a function (STT_FUNC).
const FUNCTION: u8 = 2;
/// Longest name of a function that is shown, in bytes.
const NAME_LIMIT: usize = 256;
/// Most sections and symbols that are looked at: a report must not take long, whatever the file says.
const SECTION_LIMIT: u64 = 64;
const SYMBOL_LIMIT: u64 = 4096;
/// ELF section type of a symbol table (SHT_SYMTAB).
const SYMBOL_TABLE: u32 = 2;

fn bytes_at<const N: usize>(bytes: &[u8], offset: u64) -> Option<[u8; N]> {
    let start = usize::try_from(offset).ok()?;
    bytes.get(start..start.checked_add(N)?)?.try_into().ok()
}

fn half(bytes: &[u8], offset: u64) -> Option<u16> {
    bytes_at(bytes, offset).map(u16::from_le_bytes)
}

fn word(bytes: &[u8], offset: u64) -> Option<u32> {
    bytes_at(bytes, offset).map(u32::from_le_bytes)
}

fn double(bytes: &[u8], offset: u64) -> Option<u64> {
    bytes_at(bytes, offset).map(u64::from_le_bytes)
}

/// Name of the function of an ELF64 that holds `address` (as linked), and the distance from its start. Whatever is
/// malformed counts as absent: symbols only decorate a report.
pub(crate) fn of_elf(elf: &[u8], address: u64) -> Option<(&str, u64)> {
    let sections = double(elf, 40)?;
    let (size, count) = (u64::from(half(elf, 58)?), u64::from(half(elf, 60)?));
    let section = |index: u64| sections.checked_add(index.checked_mul(size)?);
    let table = (0..count.min(SECTION_LIMIT))
        .filter_map(section)
        .find(|header| header.checked_add(4).and_then(|at| word(elf, at)) == Some(SYMBOL_TABLE))?;
    let (start, length) = (double(elf, table + 24)?, double(elf, table + 32)?);
    let strings = double(elf, section(u64::from(word(elf, table + 40)?))? + 24)?;
    let mut best: Option<(u64, u32)> = None;
    for at in (start..start.checked_add(length.min(SYMBOL_LIMIT * 24))?).step_by(24) {
        let (name, info) = (word(elf, at)?, bytes_at::<1>(elf, at + 4)?[0]);
        // Morello: bit 0 of a function says its instruction set. No other instruction has an odd address.
        let (value, size) = (double(elf, at + 8)? & !1, double(elf, at + 16)?);
        let inside = address >= value && address - value < size.max(1);
        if info & 0xf == FUNCTION && inside && best.is_none_or(|(other, _)| value > other) {
            best = Some((value, name));
        }
    }
    let (value, name) = best?;
    let name = elf.get(usize::try_from(strings.checked_add(u64::from(name))?).ok()?..)?;
    let end = name.iter().take(NAME_LIMIT + 1).position(|byte| *byte == 0)?;
    let name = core::str::from_utf8(&name[..end]).ok()?;
    name.bytes()
        .all(|byte| byte.is_ascii_graphic())
        .then_some((name, address - value))
}

/// The monitor's own symbols.
pub(crate) static MONITOR: spin::Once<MonitorSymbols> = spin::Once::new();

/// The monitor's symbol table, as `intravisor pack` appended it to the image.
pub(crate) struct MonitorSymbols {
    pub(crate) image_start: u64,
    pub(crate) table: &'static [u8],
}

/// Name of the monitor's function at a physical address, and the distance from its start; none before the table has been
/// read.
pub(crate) fn of_monitor(address: u64) -> Option<(&'static str, u32)> {
    let symbols = MONITOR.get()?;
    let offset = u32::try_from(address.checked_sub(symbols.image_start)?).ok()?;
    Symbols::new(symbols.table).lookup(offset)
}
