//! Function names for backtraces: of a cVM from its ELF's symbol table, of the monitor from the image.

use crate::elf::File;
use abi::image::{SymbolName, Symbols};

/// ELF symbol type of a function (STT_FUNC).
const FUNCTION: u8 = 2;
/// Longest name of a function that is shown, in bytes.
const NAME_LIMIT: usize = 256;
/// Bytes of a name that are read at a time.
const NAME_PIECE: usize = 64;
/// Most sections and symbols that are looked at: a report must not take long, whatever the file says.
const SECTION_LIMIT: u64 = 64;
const SYMBOL_LIMIT: u64 = 2048;
/// Most addresses that are looked for at a time: that of a fault and its backtrace.
pub(crate) const ADDRESS_LIMIT: usize = 17;
/// Bytes of a symbol.
const SYMBOL_SIZE: usize = 24;
/// ELF section type of a symbol table (SHT_SYMTAB).
const SYMBOL_TABLE: u32 = 2;

fn bytes_at<const N: usize>(elf: File, offset: u64) -> Option<[u8; N]> {
    elf.array(usize::try_from(offset).ok()?)
}

fn half(elf: File, offset: u64) -> Option<u16> {
    bytes_at(elf, offset).map(u16::from_le_bytes)
}

fn word(elf: File, offset: u64) -> Option<u32> {
    bytes_at(elf, offset).map(u32::from_le_bytes)
}

fn double(elf: File, offset: u64) -> Option<u64> {
    bytes_at(elf, offset).map(u64::from_le_bytes)
}

/// An address as linked, and of the functions seen so far that hold it and no lower address that is looked for, the one that
/// starts last.
struct Wanted {
    address: u64,
    function: Option<Function>,
}

#[derive(Clone, Copy)]
struct Function {
    start: u64,
    size: u64,
    name: u32,
}

impl Function {
    fn read(symbol: &[u8; SYMBOL_SIZE]) -> Function {
        let word = |at| symbol[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let double = |at| symbol[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Function {
            // Morello: bit 0 of a function says its instruction set. No other instruction has an odd address.
            start: double(8) & !1,
            size: double(16),
            name: word(0),
        }
    }

    fn holds(&self, address: u64) -> bool {
        address >= self.start && address - self.start < self.size.max(1)
    }
}

/// The name of a function.
pub(crate) type Name = heapless::String<NAME_LIMIT>;

/// The functions of an ELF64 that hold some addresses, found in one pass over its symbols.
pub(crate) struct Functions {
    /// The string table and what follows it.
    names: Option<File>,
    /// By address.
    wanted: heapless::Vec<Wanted, ADDRESS_LIMIT>,
}

impl Functions {
    /// Looks for the functions that hold these addresses as linked, [`ADDRESS_LIMIT`] of them. Whatever is malformed counts
    /// as absent: symbols only decorate a report.
    pub(crate) fn find(elf: File, addresses: impl IntoIterator<Item = u64>) -> Functions {
        let mut wanted: heapless::Vec<Wanted, ADDRESS_LIMIT> = heapless::Vec::new();
        for address in addresses.into_iter().take(ADDRESS_LIMIT) {
            let at = wanted.partition_point(|other| other.address < address);
            // There is room.
            let _ = wanted.insert(
                at,
                Wanted {
                    address,
                    function: None,
                },
            );
        }
        let Some([symbols, names]) = tables(elf) else {
            return Functions { names: None, wanted };
        };
        symbols.find_map(|symbol: &[u8; SYMBOL_SIZE]| {
            if symbol[4] & 0xf == FUNCTION {
                let function = Function::read(symbol);
                let start = function.start;
                let at = wanted.partition_point(|wanted| wanted.address < start);
                // What holds a greater address that is looked for holds this one, too.
                let wanted = wanted.get_mut(at).filter(|wanted| {
                    function.holds(wanted.address) && wanted.function.is_none_or(|other| start > other.start)
                });
                wanted.into_iter().for_each(|wanted| wanted.function = Some(function));
            }
            None::<()>
        });
        let names = Some(names);
        Functions { names, wanted }
    }

    /// Name of the function that holds `address`, one of those that were looked for, and the distance from its start.
    pub(crate) fn name(&self, address: u64) -> Option<(Name, u64)> {
        let behind = self.wanted.partition_point(|wanted| wanted.address <= address);
        let candidates = self.wanted[..behind].iter().rev().filter_map(|wanted| wanted.function);
        let function = candidates.into_iter().find(|function| function.holds(address))?;
        let mut rest = self.names?.from(function.name as usize);
        let mut name = Name::new();
        loop {
            let mut piece = [0; NAME_PIECE];
            let piece = rest.first(&mut piece);
            let end = piece.iter().position(|byte| *byte == 0);
            let text = core::str::from_utf8(&piece[..end.unwrap_or(piece.len())]).ok()?;
            if piece.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return None;
            }
            name.push_str(text).ok()?;
            if end.is_some() {
                return Some((name, address - function.start));
            }
            rest = rest.from(piece.len());
        }
    }
}

/// The symbols of an ELF64, as many as are looked at, and the string table with what follows it.
fn tables(elf: File) -> Option<[File; 2]> {
    let sections = double(elf, 40)?;
    let (size, count) = (u64::from(half(elf, 58)?), u64::from(half(elf, 60)?));
    let section = |index: u64| sections.checked_add(index.checked_mul(size)?);
    let table = (0..count.min(SECTION_LIMIT))
        .filter_map(section)
        .find(|header| header.checked_add(4).and_then(|at| word(elf, at)) == Some(SYMBOL_TABLE))?;
    let (start, length) = (double(elf, table + 24)?, double(elf, table + 32)?);
    let strings = double(elf, section(u64::from(word(elf, table + 40)?))? + 24)?;
    let end = start.checked_add(length.min(SYMBOL_LIMIT * SYMBOL_SIZE as u64))?;
    let symbols = elf.part(usize::try_from(start).ok()?..usize::try_from(end).ok()?)?;
    Some([symbols, elf.part(usize::try_from(strings).ok()?..elf.len())?])
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
pub(crate) fn of_monitor(address: u64) -> Option<(SymbolName, u32)> {
    let symbols = MONITOR.get()?;
    let offset = u32::try_from(address.checked_sub(symbols.image_start)?).ok()?;
    Symbols::new(symbols.table).lookup(offset)
}
