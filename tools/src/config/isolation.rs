//! `isolation`: where the memory of a cVM lies, and how far its authority reaches.
//!
//! It has two forms. A mapping is this project's: addresses and sizes are those of the machine. A list of one mapping is
//! the Intravisor's, whose addresses are those of a process on another machine: nothing of them is taken, and each one
//! gets a warning, except that `begin` to `end` tells which other cVMs lie within this one.

use super::Draft;
use super::reader::Reader;
use crate::diagnostic::{Position, did_you_mean};
use crate::elf::PAGE;
use crate::yaml::{Content, Node};

const KEYS: [&str; 4] = ["base", "size", "begin", "end"];

/// A number and where it stands.
#[derive(Clone, Copy)]
struct Number {
    value: u64,
    position: Position,
    /// Whether it is hexadecimal without `0x`.
    bare: bool,
}

/// `isolation` as it stands in the file.
#[derive(Clone, Copy, Default)]
pub(super) struct Isolation {
    /// Whether it is a list, as in files of the Intravisor.
    pub(super) foreign: bool,
    base: Option<Number>,
    size: Option<Number>,
    begin: Option<Number>,
    end: Option<Number>,
}

impl Isolation {
    /// First address and end of the cVM's own memory.
    pub(super) fn own(&self) -> Option<(u64, u64)> {
        let base = self.base?.value;
        Some((base, base.checked_add(self.size?.value)?))
    }

    /// First address and end of what the cVM's authority covers, when that is more than its own memory.
    pub(super) fn reach(&self) -> Option<(u64, u64)> {
        let (base, top) = self.own()?;
        let begin = self.begin.map_or(base, |begin| begin.value);
        let end = self.end.map_or(top, |end| end.value);
        (begin <= base && end >= top && (begin, end) != (base, top)).then_some((begin, end))
    }

    /// The address of the memory; `None` = the monitor places it.
    pub(super) fn fixed_base(&self) -> Option<u64> {
        self.base.filter(|_| !self.foreign).map(|base| base.value)
    }

    /// The bytes of the memory; `None` = as many as needed.
    pub(super) fn fixed_size(&self) -> Option<u64> {
        self.size.filter(|_| !self.foreign).map(|size| size.value)
    }

    fn begin_below_base(&self) -> bool {
        let begin = self.begin.filter(|_| !self.foreign);
        begin
            .zip(self.base)
            .is_some_and(|(begin, base)| begin.value < base.value)
    }

    fn entries(&self) -> [(&'static str, Option<Number>); 4] {
        let [base, size, begin, end] = KEYS;
        [
            (base, self.base),
            (size, self.size),
            (begin, self.begin),
            (end, self.end),
        ]
    }
}

/// A mapping, or as the Intravisor has it a list of one.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Isolation {
    let mut isolation = Isolation::default();
    let node = match &node.content {
        Content::List(items) => match items.as_slice() {
            [one] => {
                isolation.foreign = true;
                one
            }
            several => {
                let problem = format!(
                    "a list of {}, expected a mapping or a list of one mapping",
                    several.len()
                );
                reader.error(Some(node.position), Some("isolation"), None, problem);
                return isolation;
            }
        },
        _ => node,
    };
    let errors = reader.error_count();
    for (key, value) in reader.mapping("isolation", node).unwrap_or_default() {
        let full = format!("isolation.{}", key.text);
        let slot = match key.text.as_str() {
            "base" => &mut isolation.base,
            "size" => &mut isolation.size,
            "begin" => &mut isolation.begin,
            "end" => &mut isolation.end,
            unknown => {
                let hint = did_you_mean(unknown, &KEYS);
                let problem = format!("unknown key, expected one of {}{hint}", KEYS.join(", "));
                reader.error(Some(key.position), Some(&full), None, problem);
                continue;
            }
        };
        let bare = matches!(&value.content, Content::Text(text) if !text.starts_with("0x"));
        *slot = reader.place(&full, value).map(|size| Number {
            value: size,
            position: value.position,
            bare: bare && reader.foreign(),
        });
    }
    if reader.error_count() == errors && !isolation.foreign {
        check(reader, &isolation);
    }
    isolation
}

/// What can be said of a mapping without the other cVMs.
fn check(reader: &mut Reader<'_>, isolation: &Isolation) {
    let mut wrong = |key: &str, number: Number, expected: &str| {
        let value = format!("{:#x}", number.value);
        reader.error(Some(number.position), Some(key), Some(&value), expected);
    };
    let multiple = format!("expected a multiple of {PAGE}");
    if let Some(base) = isolation.base.filter(|base| !base.value.is_multiple_of(PAGE)) {
        wrong("isolation.base", base, &multiple);
    }
    if let Some(size) = isolation.size {
        if size.value == 0 || !size.value.is_multiple_of(PAGE) {
            wrong("isolation.size", size, &format!("{multiple} above 0"));
        }
        if isolation.base.is_some() && isolation.own().is_none() {
            wrong(
                "isolation.size",
                size,
                "expected base + size inside the 64-bit address space",
            );
        }
    }
    if let Some(begin) = isolation.begin {
        match isolation.base {
            None => wrong("isolation.begin", begin, "expected a base, too"),
            Some(base) if begin.value > base.value => wrong("isolation.begin", begin, "expected at most the base"),
            Some(_) => {}
        }
    }
    if let Some(end) = isolation.end {
        match isolation.own() {
            None => wrong("isolation.end", end, "expected a base and a size, too"),
            Some((_, top)) if end.value < top => wrong("isolation.end", end, "expected at least base + size"),
            Some(_) => {}
        }
    }
}

/// Whether the range `outer` covers `inner`.
fn covers(outer: (u64, u64), inner: (u64, u64)) -> bool {
    outer.0 <= inner.0 && inner.1 <= outer.1
}

/// Whether two ranges have an address in common.
fn meet(left: (u64, u64), right: (u64, u64)) -> bool {
    left.0 < right.1 && right.0 < left.1
}

/// The numbers of the cVMs in whose reach number `index` lies, the innermost first, and of those that reach only a part
/// of it.
pub(super) fn outers(cvms: &[Draft], index: usize) -> (Vec<usize>, Vec<usize>) {
    let (mut whole, mut partial) = (Vec::new(), Vec::new());
    let Some(own) = cvms[index].isolation.own() else {
        return (whole, partial);
    };
    for (other, draft) in cvms.iter().enumerate().filter(|(other, _)| *other != index) {
        let (Some(reach), Some(memory)) = (draft.isolation.reach(), draft.isolation.own()) else {
            continue;
        };
        if covers(reach, own) && !meet(memory, own) {
            whole.push(other);
        } else if meet(reach, own) && !meet(memory, own) {
            partial.push(other);
        }
    }
    whole.sort_by_key(|other| cvms[*other].isolation.reach().map(|(begin, end)| end - begin));
    (whole, partial)
}

/// Warns of each number of the Intravisor's form, which is not taken, and refuses a reach that reaches nobody.
pub(super) fn explain(reader: &mut Reader<'_>, cvm: &Draft, inner: &[&str]) {
    let isolation = &cvm.isolation;
    let expected = "the memory of no other cVM lies there";
    for (key, number) in isolation.entries() {
        let Some(number) = number else { continue };
        let full = format!("isolation.{key}");
        let value = if number.bare {
            format!("{:x}", number.value)
        } else {
            format!("{:#x}", number.value)
        };
        if isolation.foreign {
            let meaning = match key {
                "size" => {
                    "not taken: bytes of the Intravisor's process; the cVM gets what program, heap and stack need"
                }
                "begin" | "end" if !inner.is_empty() => {
                    let problem = format!(
                        "not taken as an address of the Intravisor's process; it says that {} within this cVM",
                        match inner {
                            [one] => format!("{one} lies"),
                            several => format!("{} lie", several.join(", ")),
                        }
                    );
                    reader.warning(number.position, &full, Some(&value), &problem);
                    continue;
                }
                _ => "not taken: an address of the Intravisor's process; the monitor places the cVM",
            };
            reader.warning(number.position, &full, Some(&value), meaning);
        } else if inner.is_empty() && isolation.reach().is_some() && matches!(key, "begin" | "end") {
            let same = if key == "begin" {
                isolation.base
            } else {
                isolation.own().map(|(_, top)| Number { value: top, ..number })
            };
            if same.is_none_or(|same| same.value != number.value) {
                let what = if key == "begin" { "base" } else { "base + size" };
                let problem = format!("{expected}, expected the same as {what}");
                reader.error(Some(number.position), Some(&full), Some(&value), problem);
            }
        }
    }
}

/// The memory that a cVM and those within it are given at a fixed place. The monitor puts the outer one first.
struct Region {
    start: u64,
    /// End of the outer one's own memory, where that is said.
    own: Option<u64>,
    /// End of all; `None` = as the cVMs within need it.
    end: Option<u64>,
}

impl Region {
    fn of(isolation: &Isolation) -> Option<Region> {
        let start = isolation.fixed_base()?;
        let top = isolation.own().map(|(_, top)| top);
        let end = isolation.end.map(|end| end.value);
        Some(Region {
            start,
            own: end.and(top),
            end: end.or(top),
        })
    }

    /// First address and end; `inner` are the regions of the cVMs within.
    fn range(&self, inner: impl Iterator<Item = (u64, u64)>) -> (u64, u64) {
        let end = self.end.or_else(|| inner.map(|(_, end)| end).max());
        (self.start, end.unwrap_or(self.start))
    }
}

/// Gives every outer cVM a region for all that lie within it, and refuses memory that does not fit or that two cVMs are
/// given.
pub(super) fn settle(reader: &mut Reader<'_>, cvms: &mut [Draft]) {
    let outer_of = |cvm: &Draft| {
        let outer = cvm.config.spec.within.as_ref()?;
        cvms.iter().position(|other| other.name() == outer)
    };
    let outers: Vec<Option<usize>> = cvms.iter().map(outer_of).collect();
    let regions: Vec<Option<(u64, u64)>> = (0..cvms.len()).map(|index| range_of(cvms, &outers, index)).collect();
    for (index, outer) in outers.iter().enumerate() {
        if let Some(outer) = outer {
            check_inner(reader, cvms, &regions, index, *outer);
        }
    }
    for (index, region) in regions.iter().enumerate() {
        let others = (0..index).filter(|other| !related(&outers, index, *other) && !related(&outers, *other, index));
        let theirs = others.filter_map(|other| Some((other, regions[other]?)));
        for (other, theirs) in theirs {
            let Some(own) = region.filter(|own| meet(*own, theirs)) else {
                continue;
            };
            let problem = format!(
                "{:#x}-{:#x} overlaps {:#x}-{:#x} of cVM {}, expected disjoint memory",
                own.0,
                own.1,
                theirs.0,
                theirs.1,
                cvms[other].name()
            );
            refuse(reader, &cvms[index], problem);
        }
    }
    for (index, region) in regions.iter().enumerate() {
        let isolation = cvms[index].isolation;
        if let (Some((start, end)), true) = (region, outers.contains(&Some(index)) && isolation.end.is_some()) {
            cvms[index].config.spec.isolation_size = Some(end - start);
        }
    }
}

/// First address and end of a cVM's region, when it is given a place.
fn range_of(cvms: &[Draft], outers: &[Option<usize>], index: usize) -> Option<(u64, u64)> {
    let region = Region::of(&cvms[index].isolation)?;
    let inner = (0..cvms.len()).filter(|inner| outers[*inner] == Some(index));
    Some(region.range(inner.filter_map(|inner| range_of(cvms, outers, inner))))
}

/// Whether cVM number `inner` lies within number `outer`, directly or through others. Circles have been refused before.
fn related(outers: &[Option<usize>], inner: usize, outer: usize) -> bool {
    std::iter::successors(outers[inner], |at| outers[*at]).any(|at| at == outer)
}

fn check_inner(reader: &mut Reader<'_>, cvms: &[Draft], regions: &[Option<(u64, u64)>], index: usize, outer: usize) {
    let (cvm, name) = (&cvms[index], cvms[outer].name());
    if let (Some(_), true) = (cvm.isolation.fixed_base(), cvms[outer].isolation.begin_below_base()) {
        let problem = "the monitor puts an outer cVM before those within it, expected begin to be the same as base";
        return refuse(reader, &cvms[outer], problem.to_owned());
    }
    let (Some((start, end)), region) = (regions[index], regions[outer]) else {
        return;
    };
    let Some((outer_start, outer_end)) = region else {
        let problem = format!("a base within cVM {name}, which has none; expected both or neither");
        return refuse(reader, cvm, problem);
    };
    let own = Region::of(&cvms[outer].isolation).and_then(|region| region.own);
    let first = own.unwrap_or(outer_start + PAGE);
    if start < first || end > outer_end {
        let problem = format!(
            "{start:#x}-{end:#x} lies within cVM {name}, expected it inside {outer_start:#x}-{outer_end:#x}, behind the \
             memory of {name} itself"
        );
        refuse(reader, cvm, problem);
    }
}

fn refuse(reader: &mut Reader<'_>, cvm: &Draft, problem: String) {
    reader.enter(cvm.name());
    reader.error(Some(cvm.config.isolation_position), Some("isolation"), None, problem);
    reader.leave();
}
