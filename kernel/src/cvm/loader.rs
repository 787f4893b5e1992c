//! A checked program becomes the memory of a cVM: zeroed, copied, relocated, with its start block and TLS. All writes go
//! through the cVM's own data capability, and every capability that a relocation makes is derived from it or from the
//! cVM's code capability.

use crate::cvm::Authority;
use crate::elf::{ElfError, Program, Relocation, Value};
use crate::plan::layout::Layout;
use crate::plan::manifest::CvmSpec;
use abi::start::{MAGIC, StartHeader, VERSION};
use alloc::vec::Vec;
use arch::{Derivation, DeriveError, Refused, user};
use core::fmt;
use core::ops::Range;

/// Where a cVM's memory lies and how the cVM sees it.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Physical address of the cVM's memory.
    pub(crate) base: u64,
    /// The same address as the cVM sees it.
    pub(crate) seen: u64,
}

/// Bytes of the start block of a cVM.
pub(crate) fn start_block_size(spec: &CvmSpec) -> u64 {
    let strings = [&spec.name, &spec.runtime]
        .into_iter()
        .chain(&spec.args)
        .chain(&spec.env);
    let strings: usize = strings.map(|text| text.len() + 1).sum();
    (StartHeader::SIZE + strings) as u64
}

/// The start block of a cVM.
pub(crate) fn start_block(id: usize, spec: &CvmSpec, layout: &Layout, place: Place) -> Vec<u8> {
    let size = start_block_size(spec) as usize;
    let mut block = Vec::with_capacity(size);
    block.resize(StartHeader::SIZE, 0);
    let mut push = |text: &str| {
        let offset = block.len();
        block.extend_from_slice(text.as_bytes());
        block.push(0);
        offset as u32
    };
    let name = push(&spec.name);
    let arguments = push(&spec.runtime);
    for argument in &spec.args {
        push(argument);
    }
    let environment = spec.env.iter().map(|entry| push(entry)).reduce(u32::min).unwrap_or(0);
    let seen = |range: &Range<u64>| (place.seen + range.start, range.end - range.start);
    let (heap, heap_size) = seen(&layout.heap);
    let (stack, stack_size) = seen(&layout.stack);
    let header = StartHeader {
        magic: MAGIC,
        version: VERSION,
        size: size as u32,
        id: id as u32,
        name,
        argument_count: 1 + spec.args.len() as u32,
        arguments,
        environment_count: spec.env.len() as u32,
        environment,
        base: place.seen,
        memory_size: layout.size,
        heap,
        heap_size,
        stack,
        stack_size,
    };
    block[..StartHeader::SIZE].copy_from_slice(&header.to_bytes());
    block
}

/// Most bytes that one step of a load zeroes or copies, and most relocations that it applies: what a step takes is what
/// others may have to wait for.
const STEP_BYTES: u64 = 32 * 1024;
const STEP_RELOCATIONS: usize = 128;

/// How far a load has come: what to do next, and from which offset or index on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Zero(u64),
    Segment(usize, usize),
    Tls(usize),
    Relocation(usize),
    StartBlock,
    Done,
}

/// A load that fills the memory of a cVM, fresh, in steps.
#[derive(Debug)]
pub(crate) struct Load(Stage);

/// What a load works on.
pub(crate) struct Source<'a> {
    pub(crate) elf: &'a [u8],
    pub(crate) program: &'a Program,
    pub(crate) layout: &'a Layout,
    pub(crate) block: &'a [u8],
    pub(crate) authority: &'a Authority,
    pub(crate) place: Place,
}

/// Why a load cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LoadError {
    /// The memory refused a write.
    Refused(Refused),
    /// A relocation that the check should have found.
    Relocation(ElfError),
    /// A capability that cannot be derived.
    Derive { relocation: usize, error: DeriveError },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Refused(refused) => write!(f, "the memory refused a write after {} bytes", refused.copied),
            LoadError::Relocation(error) => write!(f, "{error}"),
            LoadError::Derive { relocation, error } => write!(f, "relocation {relocation}: {error}"),
        }
    }
}

impl From<Refused> for LoadError {
    fn from(refused: Refused) -> LoadError {
        LoadError::Refused(refused)
    }
}

impl Source<'_> {
    /// Puts the capability, or the word, that a relocation of a purecap program wants.
    fn relocate(&self, number: usize, relocation: &Relocation) -> Result<(), LoadError> {
        let Authority { code, data, made, .. } = self.authority;
        let origin = self.place.base.wrapping_add(self.layout.bias);
        let at = origin.wrapping_add(relocation.address);
        let derived = match &relocation.value {
            Value::Word(addend) => {
                let bias = self.place.seen.wrapping_add(self.layout.bias);
                return Ok(user::copy_out(&addend.wrapping_add(bias).to_le_bytes(), data, at)?);
            }
            Value::Null(integer) => return Ok(user::copy_out(&u128::from(*integer).to_le_bytes(), data, at)?),
            Value::Object {
                bounds,
                address,
                writable,
            } => {
                let request = Derivation {
                    base: origin.wrapping_add(bounds.start),
                    length: bounds.end - bounds.start,
                    permissions: if *writable {
                        arch::data_permissions()
                    } else {
                        arch::read_only_permissions()
                    },
                    address: origin.wrapping_add(*address),
                };
                made.derive(data, &request)
            }
            Value::Function(address) => {
                let request = Derivation {
                    base: self.place.base + self.layout.code.start,
                    length: self.layout.code.end - self.layout.code.start,
                    permissions: arch::code_permissions(),
                    address: origin.wrapping_add(*address),
                };
                made.derive_entry(code, &request)
            }
        };
        derived.map_err(|error| LoadError::Derive {
            relocation: number,
            error,
        })?;
        user::store_capability(made, data, at)?;
        Ok(())
    }

    /// Carries out the relocations from this one on, as many as one step may; the first one left, or none.
    fn relocate_from(&self, from: usize) -> Result<Option<usize>, LoadError> {
        if self.program.purecap {
            for number in from..from + STEP_RELOCATIONS {
                let Some(relocation) = self.program.relocation(self.elf, number) else {
                    return Ok(None);
                };
                self.relocate(number, &relocation.map_err(LoadError::Relocation)?)?;
            }
            return Ok(Some(from + STEP_RELOCATIONS));
        }
        let origin = self.place.base.wrapping_add(self.layout.bias);
        let bias = self.place.seen.wrapping_add(self.layout.bias);
        let mut done = 0;
        for [address, addend] in self.program.words(self.elf).skip(from).take(STEP_RELOCATIONS) {
            let value = addend.wrapping_add(bias);
            user::copy_out(&value.to_le_bytes(), &self.authority.data, origin.wrapping_add(address))?;
            done += 1;
        }
        Ok((done == STEP_RELOCATIONS).then_some(from + done))
    }
}

impl Load {
    /// A load that has done nothing yet.
    pub(crate) const fn new() -> Load {
        Load(Stage::Zero(0))
    }

    /// Does the next step; true when there is none left.
    ///
    /// # Errors
    /// [`LoadError`] when the data capability does not cover the layout, which [`layout::plan`](crate::plan::layout::plan)
    /// excludes, or a relocation asks for what [`Program::check`] excludes.
    pub(crate) fn step(&mut self, source: &Source<'_>) -> Result<bool, LoadError> {
        let Source {
            elf,
            program,
            layout,
            block,
            authority: Authority { data, .. },
            place,
        } = *source;
        let origin = place.base.wrapping_add(layout.bias);
        // Copies a part of a file range to where it belongs; the offset behind it, or none at the end.
        let copy = |file: &Range<usize>, from: usize, to: u64| -> Result<Option<usize>, Refused> {
            let end = file.len().min(from + STEP_BYTES as usize);
            user::copy_out(
                &elf[file.start + from..file.start + end],
                data,
                to.wrapping_add(from as u64),
            )?;
            Ok((end < file.len()).then_some(end))
        };
        self.0 = match self.0 {
            Stage::Zero(from) => {
                let end = layout.size.min(from + STEP_BYTES);
                user::zero(data, place.base + from, (end - from) as usize)?;
                if end < layout.size {
                    Stage::Zero(end)
                } else {
                    Stage::Segment(0, 0)
                }
            }
            Stage::Segment(index, from) => match program.segments.get(index) {
                Some(segment) => match copy(&segment.file, from, origin.wrapping_add(segment.address))? {
                    Some(from) => Stage::Segment(index, from),
                    None => Stage::Segment(index + 1, 0),
                },
                None => Stage::Tls(0),
            },
            Stage::Tls(from) => match &program.tls {
                Some(tls) => {
                    let to = place.base + layout.tls_image;
                    copy(&tls.file, from, to)?.map_or(Stage::Relocation(0), Stage::Tls)
                }
                None => Stage::Relocation(0),
            },
            Stage::Relocation(from) => {
                let left = source.relocate_from(from);
                source.authority.made.clear();
                left?.map_or(Stage::StartBlock, Stage::Relocation)
            }
            Stage::StartBlock => {
                user::copy_out(block, data, place.base + layout.start_block.start)?;
                Stage::Done
            }
            Stage::Done => Stage::Done,
        };
        Ok(self.0 == Stage::Done)
    }
}
