//! A checked program becomes the memory of a cVM: zeroed, copied, relocated, with its start block and TLS. All writes go
//! through the cVM's own data capability, and every capability that a relocation makes is derived from it or from the
//! cVM's code capability.

use crate::authority::sweep::GRANULE;
use crate::cvm::Authority;
use crate::elf::{ElfError, File, PAGE, Program, Relocation, Value};
use crate::plan::layout::Layout;
use crate::plan::manifest::CvmSpec;
use abi::start::{MAGIC, StartHeader, VERSION};
use alloc::vec::Vec;
use arch::{Derivation, DeriveError, Refused, Slot, protection, user};
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

/// Where a cVM's memory lies and how the cVM sees it.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Physical address of the cVM's memory.
    pub(crate) base: u64,
    /// The same address as the cVM sees it.
    pub(crate) seen: u64,
}

/// A cVM's own memory, and whether it is loaded and its life has not ended.
pub(crate) struct Home {
    pub(crate) memory: Range<u64>,
    alive: AtomicBool,
    /// Whether a cVM around it has been loaded, and made this memory fresh, since its own load began.
    overwritten: AtomicBool,
}

impl Home {
    /// The memory of a cVM that does not live yet.
    pub(crate) const fn new(memory: Range<u64>) -> Home {
        Home {
            memory,
            alive: AtomicBool::new(false),
            overwritten: AtomicBool::new(false),
        }
    }

    /// A cVM around it has been loaded: what is not alive begins anew.
    pub(crate) fn overwrite(&self) {
        self.overwritten.store(!self.lives(), Ordering::Relaxed);
    }

    /// Whether a cVM around it has been loaded meanwhile; forgotten when asked for.
    pub(crate) fn take_overwritten(&self) -> bool {
        self.overwritten.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn set_alive(&self, alive: bool) {
        self.alive.store(alive, Ordering::Relaxed);
    }

    fn lives(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }
}

/// Bytes of the start block of a cVM.
pub(crate) fn start_block_size(spec: &CvmSpec) -> u64 {
    let strings = [&spec.name, &spec.runtime]
        .into_iter()
        .chain(&spec.args)
        .chain(&spec.env);
    let strings: usize = strings.map(|text| text.len() + 1).sum();
    let end = (StartHeader::SIZE + strings) as u64;
    if spec.local > 0 {
        end.next_multiple_of(GRANULE) + GRANULE
    } else {
        end
    }
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
    let (local, local_size) = seen(&layout.local);
    let slot = block.len().next_multiple_of(GRANULE as usize);
    let local_slot = if local_size > 0 { slot as u64 } else { 0 };
    block.resize(size, 0);
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
        local: if local_size > 0 { local } else { 0 },
        local_size,
        local_slot,
        ..StartHeader::default()
    };
    block[..StartHeader::SIZE].copy_from_slice(&header.to_bytes());
    block
}

/// Most bytes that one step of a load zeroes, copies or makes known as code: what a step takes is what others may have to
/// wait for.
const STEP_BYTES: u64 = 64 * 1024;
/// Steps end at multiples of so many bytes of what they copy.
const COPY_UNIT: usize = 64;
/// What a relocation is worth in bytes, and the protection of a page.
const RELOCATION_WORTH: u64 = 512;
const PAGE_WORTH: u64 = 128;
/// Memory whose protection one step changes at most; steps end at multiples of it.
pub(crate) const STEP_PROTECTION: u64 = 2 * 1024 * 1024;

/// How far a load has come: what to do next, and from which address, offset or index on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its memory is closed to cVMs.
    Close(u64),
    /// Everything that its capabilities cover becomes zero, but for the memory of cVMs within that live.
    Zero(u64),
    Segment(usize, usize),
    Tls(usize),
    Relocation(usize),
    StartBlock,
    /// Its memory is opened to it.
    Open(u64),
    /// The pages of an executable segment become text.
    Text(usize, u64),
    /// What was written to them becomes what is executed.
    Publish(usize, u64),
    Done,
}

/// A load that fills the memory of a cVM, fresh, in steps.
#[derive(Debug)]
pub(crate) struct Load(Stage);

/// What a load works on.
pub(crate) struct Source<'a> {
    /// Authority over all cVMs' memory there.
    pub(crate) pool: &'a Slot,
    pub(crate) elf: File,
    pub(crate) program: &'a Program,
    pub(crate) layout: &'a Layout,
    pub(crate) block: &'a [u8],
    pub(crate) authority: &'a Authority,
    pub(crate) place: Place,
    /// What its capabilities cover.
    pub(crate) bounds: &'a Range<u64>,
    /// Its own memory, and that of the cVMs within, by addresses.
    pub(crate) homes: &'a [Home],
    /// Whether another cVM reads and writes its memory all the time.
    pub(crate) shared: bool,
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
    /// The entry point cannot be represented.
    Entry(DeriveError),
    /// The handler's address cannot be represented.
    Handler(DeriveError),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Refused(refused) => write!(f, "the memory refused a write after {} bytes", refused.copied),
            LoadError::Relocation(error) => write!(f, "{error}"),
            LoadError::Derive { relocation, error } => write!(f, "relocation {relocation}: {error}"),
            LoadError::Entry(error) => write!(f, "entry point: {error}"),
            LoadError::Handler(error) => write!(f, "{}: {error}", abi::hostcall::HANDLER),
        }
    }
}

impl From<Refused> for LoadError {
    fn from(refused: Refused) -> LoadError {
        LoadError::Refused(refused)
    }
}

impl Source<'_> {
    /// The first part, from `from` on and to `limit` of its start at most, of what its capabilities cover and no cVM within
    /// that lives owns; none at the end.
    fn part(&self, from: u64, limit: impl Fn(u64) -> u64) -> Option<Range<u64>> {
        // The first home is its own.
        let at = self.homes.partition_point(|home| home.memory.end <= from).max(1);
        let (mut start, mut end) = (from, limit(from));
        for home in self.homes[at..].iter().filter(|home| home.lives()) {
            if home.memory.start > start {
                end = end.min(home.memory.start);
                break;
            }
            start = home.memory.end;
            end = limit(start);
        }
        let part = start..end.min(self.bounds.end);
        (!part.is_empty()).then_some(part)
    }

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
                let Range { start, end } = self.layout.code;
                let code_range = self.place.base + start..self.place.base + end;
                let request = Derivation::over(code_range, arch::code_permissions()).at(origin.wrapping_add(*address));
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

    /// Carries out the relocations from this one on, `count` at most; the first one left, or none.
    fn relocate_from(&self, from: usize, count: usize) -> Result<Option<usize>, LoadError> {
        if self.program.purecap {
            let mut next = from;
            let end = self.program.relocations(self.elf, from, |relocation| {
                if next == from + count {
                    return Some(Ok(next));
                }
                next += 1;
                let made = relocation.map_err(LoadError::Relocation);
                let made = made.and_then(|relocation| self.relocate(next - 1, &relocation));
                made.err().map(Err)
            });
            return end.transpose();
        }
        let origin = self.place.base.wrapping_add(self.layout.bias);
        let bias = self.place.seen.wrapping_add(self.layout.bias);
        let mut next = from;
        let refused = self.program.words(self.elf, from, |address, addend| {
            if next == from + count {
                return Some(Ok(Some(next)));
            }
            let (value, at) = (addend.wrapping_add(bias), origin.wrapping_add(address));
            next += 1;
            let written = user::copy_out(&value.to_le_bytes(), &self.authority.data, at);
            written.err().map(|refused| Err(LoadError::Refused(refused)))
        });
        refused.unwrap_or(Ok(None))
    }

    /// Copies a part of a file range, `most` bytes at most, to where it belongs; the offset behind it, or none at the end.
    fn copy(&self, file: &Range<usize>, from: usize, to: u64, most: u64) -> Result<Option<usize>, Refused> {
        // What is aligned at its beginning stays so in the next step.
        let end = file.len().min(from + (most as usize).next_multiple_of(COPY_UNIT));
        let part = file.start + from..file.start + end;
        self.elf
            .copy(part, &self.authority.data, to.wrapping_add(from as u64))?;
        Ok((end < file.len()).then_some(end))
    }
}

impl Load {
    /// A load that has done nothing yet, of a cVM whose capabilities begin at this address.
    pub(crate) const fn new(start: u64) -> Load {
        Load(Stage::Close(start))
    }

    /// Does the next step; true when there is none left.
    ///
    /// # Errors
    /// [`LoadError`] when the data capability does not cover the layout, which [`layout::plan`](crate::plan::layout::plan)
    /// excludes, or a relocation asks for what [`Program::check`] excludes.
    pub(crate) fn step(&mut self, source: &Source<'_>) -> Result<bool, LoadError> {
        let mut left = STEP_BYTES;
        while left != 0 && self.0 != Stage::Done {
            let (next, spent) = source.work(self.0, left)?;
            self.0 = next;
            left = left.saturating_sub(spent);
        }
        Ok(self.0 == Stage::Done)
    }
}

impl Source<'_> {
    /// Does some of a stage, for `left` bytes at most; what to do next, and what it was worth in bytes.
    fn work(&self, stage: Stage, left: u64) -> Result<(Stage, u64), LoadError> {
        let data = &self.authority.data;
        let origin = self.place.base.wrapping_add(self.layout.bias);
        let region = |start: u64| (start + 1).next_multiple_of(STEP_PROTECTION);
        let pages = |part: &Range<u64>| (part.end - part.start) / PAGE * PAGE_WORTH;
        Ok(match stage {
            Stage::Close(from) => match self.part(from, region) {
                Some(part) => {
                    let next = (Stage::Close(part.end), pages(&part));
                    if self.shared {
                        protection::loaded(part);
                    } else {
                        protection::loading(part);
                    }
                    next
                }
                None => {
                    // The first page, which may be out of its own reach.
                    user::zero(self.pool, self.bounds.start, PAGE as usize)?;
                    (Stage::Zero(self.bounds.start + PAGE), PAGE)
                }
            },
            Stage::Zero(from) => match self.part(from, |start| start + left) {
                Some(Range { start, end }) => {
                    user::zero(data, start, (end - start) as usize)?;
                    (Stage::Zero(end), end - start)
                }
                None => (Stage::Segment(0, 0), 0),
            },
            Stage::Segment(index, from) => match self.program.segments.get(index) {
                Some(segment) => {
                    let next = self.copy(&segment.file, from, origin.wrapping_add(segment.address), left)?;
                    let spent = next.unwrap_or(segment.file.len()) - from;
                    let next = next.map_or(Stage::Segment(index + 1, 0), |from| Stage::Segment(index, from));
                    (next, spent as u64)
                }
                None => (Stage::Tls(0), 0),
            },
            Stage::Tls(from) => match &self.program.tls {
                Some(tls) => {
                    let next = self.copy(&tls.file, from, self.place.base + self.layout.tls_image, left)?;
                    (next.map_or(Stage::Relocation(0), Stage::Tls), left)
                }
                None => (Stage::Relocation(0), 0),
            },
            Stage::Relocation(from) => {
                let count = (left / RELOCATION_WORTH).max(1) as usize;
                let next = self.relocate_from(from, count);
                self.authority.made.clear();
                (next?.map_or(Stage::StartBlock, Stage::Relocation), left)
            }
            Stage::StartBlock => {
                let block = self.place.base + self.layout.start_block.start;
                user::copy_out(self.block, data, block)?;
                if self.authority.local.tag() {
                    let slot = block + self.block.len() as u64 - GRANULE;
                    user::store_capability(&self.authority.local, data, slot)?;
                }
                (Stage::Open(self.bounds.start), self.block.len() as u64)
            }
            Stage::Open(from) => match self.part(from, region).filter(|_| !self.shared) {
                Some(part) => {
                    let next = (Stage::Open(part.end), pages(&part));
                    protection::loaded(part);
                    next
                }
                None => (Stage::Text(0, 0), 0),
            },
            Stage::Text(index, from) => match self.text(index, from, region) {
                Some(text) => {
                    let next = (Stage::Text(index, text.end), pages(&text));
                    protection::executable(text);
                    next
                }
                None if index < self.program.segments.len() => (Stage::Publish(index, 0), 0),
                None => (Stage::Done, 0),
            },
            Stage::Publish(index, from) => match self.text(index, from, |start| start + left) {
                Some(text) => {
                    let Range { start, end } = text;
                    protection::publish(text, data);
                    (Stage::Publish(index, end), end - start)
                }
                None => (Stage::Text(index + 1, 0), 0),
            },
            Stage::Done => (Stage::Done, 0),
        })
    }

    /// The first part, from `from` on and to `limit` of its start at most, of the pages of a segment that is executable; none
    /// at the end, or when it is not.
    fn text(&self, index: usize, from: u64, limit: impl Fn(u64) -> u64) -> Option<Range<u64>> {
        let segment = self.program.segments.get(index).filter(|segment| segment.executable)?;
        let origin = self.place.base.wrapping_add(self.layout.bias);
        let Range { start, end } = segment.pages();
        let start = origin.wrapping_add(start).max(from);
        let part = start..limit(start).min(origin.wrapping_add(end));
        (!part.is_empty()).then_some(part)
    }
}
