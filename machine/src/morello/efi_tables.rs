//! Memory as the EFI environment uses it: bytes and words wherever RAM is, and the translation tables, in which a page is writable or
//! executable, never both.

use super::efi::PAGE;
use crate::memory::TaggedMemory;
use std::ops::Range;

/// Reads and writes RAM wherever it is.
pub(super) fn ram(memory: &mut [TaggedMemory], address: u64, length: usize) -> Option<(&mut TaggedMemory, usize)> {
    memory
        .iter_mut()
        .find_map(|ram| ram.offset(address, length).map(|offset| (ram, offset)))
}

pub(super) fn write(memory: &mut [TaggedMemory], address: u64, bytes: &[u8]) -> Option<()> {
    let (ram, offset) = ram(memory, address, bytes.len())?;
    ram.fill(offset, bytes);
    Some(())
}

pub(super) fn write_word(memory: &mut [TaggedMemory], address: u64, word: u64) -> Option<()> {
    write(memory, address, &word.to_le_bytes())
}

pub(super) fn read<const N: usize>(memory: &mut [TaggedMemory], address: u64) -> Option<[u8; N]> {
    let (ram, offset) = ram(memory, address, N)?;
    Some(ram.read(offset))
}

pub(super) fn read_word(memory: &mut [TaggedMemory], address: u64) -> Option<u64> {
    read(memory, address).map(u64::from_le_bytes)
}

/// The translation tables.
pub(super) struct Tables {
    pub(super) root: u64,
    pub(super) next: u64,
    pub(super) end: u64,
}

/// Rights of a page.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    /// Read and write.
    Data,
    /// Read and execute.
    Text,
    /// A device.
    Device,
}

impl Tables {
    const VALID: u64 = 1;
    const TABLE_OR_PAGE: u64 = 1 << 1;
    const DEVICE: u64 = 1 << 2;
    const READ_ONLY: u64 = 1 << 7;
    const ACCESSED: u64 = 1 << 10;
    const NEVER: u64 = 3 << 53;
    /// Of a table at each level.
    const SHIFTS: [u32; 4] = [39, 30, 21, 12];

    pub(super) fn take(&mut self) -> Option<u64> {
        let table = self.next;
        self.next += PAGE;
        (self.next <= self.end).then_some(table)
    }

    /// Maps pages to themselves, with blocks where they fit.
    pub(super) fn map(&mut self, memory: &mut [TaggedMemory], range: Range<u64>, rights: Rights) -> Option<()> {
        let attributes = Self::VALID
            | Self::ACCESSED
            | match rights {
                Rights::Data => Self::NEVER,
                Rights::Text => Self::READ_ONLY,
                Rights::Device => Self::NEVER | Self::DEVICE,
            };
        let mut address = range.start;
        while address < range.end {
            let mut table = self.root;
            for (level, shift) in Self::SHIFTS.into_iter().enumerate() {
                let slot = table + (address >> shift & 511) * 8;
                let entry = read_word(memory, slot)?;
                let size = 1 << shift;
                let fits = address.is_multiple_of(size) && range.end - address >= size;
                if level == 3 || level > 0 && fits && entry & 3 != 3 {
                    write_word(
                        memory,
                        slot,
                        address | attributes | if level == 3 { Self::TABLE_OR_PAGE } else { 0 },
                    )?;
                    address += size;
                    break;
                }
                table = if entry & 3 == 3 {
                    entry & 0xffff_ffff_f000
                } else {
                    let new = self.take()?;
                    if entry & Self::VALID != 0 {
                        let piece = size >> 9;
                        let kind = if level == 2 { Self::TABLE_OR_PAGE } else { 0 };
                        for index in 0..512 {
                            write_word(memory, new + index * 8, (entry + index * piece) | kind)?;
                        }
                    }
                    write_word(memory, slot, new | 3)?;
                    new
                };
            }
        }
        Some(())
    }
}
