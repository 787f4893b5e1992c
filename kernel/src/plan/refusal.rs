//! Why an image cannot be run, in most cases: whose entry of the manifest asks for something, under which key, what stands
//! there, and what was expected. In one place in memory, so that what may fail hands on no more than where that is.

use crate::authority::ledger::AuthorityError;
use crate::elf::ElfError;
use crate::plan::layout::LayoutError;
use crate::plan::tree::TreeError;
use abi::manifest as names;
use alloc::boxed::Box;
use alloc::string::String;
use arch::DeriveError;
use core::fmt::{self, Write as _};
use core::ops::{Range, RangeInclusive};

/// Whose entry it is: what it is an entry for, the name, which is empty as long as it has not been read, and the place in
/// the list of those.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a>(&'static str, pub(crate) &'a str, usize);

/// What is wrong, and with whose entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(Box<(&'static str, String, usize, Problem)>);

/// What stands under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Number(u64),
    Address(u64),
    /// It does not help, or is none.
    Untold,
}

/// What a cVM's memory is taken from: all that is free, or the region of the cVM that it is within.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whole(pub(crate) Option<(String, Range<u64>)>);

/// What is wrong. Keys come first, then what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// Something else is expected at an offset of the archive, in the member of this name, or in none.
    Archive(usize, String, &'static str),
    /// What is wrong with the manifest.
    Manifest(Refusal),
    NoManifest,
    Tree(TreeError),
    Compatible(Option<String>),
    NoNode(&'static str),
    NoCvm,
    /// A node that is not the next one of its list, which is of this kind and has this number.
    Node(String, &'static str, usize),
    /// More of these than there may be.
    Many(&'static str, usize),
    UnknownKey(String),
    UnknownNode(String),
    Twice(&'static str),
    Missing(&'static str),
    /// Something else is expected under a key.
    Expected(&'static str, Value, &'static str),
    /// A number that is too small or too great.
    Range(&'static str, u64, RangeInclusive<u64>),
    /// So many of something, and how many there may be.
    Limit(&'static str, u64, &'static str, u64),
    /// A file that the archive does not have.
    NoFile(&'static str, String),
    /// The name of another one, which is the entry with this number.
    SameName(usize),
    /// cVMs that lead to each other.
    Circle(&'static str),
    /// A way through more cVMs than there may be.
    Long(&'static str),
    /// A server that lies within a cVM that does not reach the client otherwise.
    Stranger(String, String),
    /// A program, and what is wrong with it.
    Elf(String, ElfError),
    /// A program, and why the memory of its cVM cannot be as it has to be.
    Layout(String, LayoutError),
    /// A program that does not export a function that the key asks for.
    NoFunction(&'static str, String, String),
    /// A base, what it has to be a multiple of, and for how many bytes.
    Unaligned(u64, u64, u64),
    /// A base and a size, and what has no such memory that is free.
    Taken(u64, u64, Whole),
    /// How many bytes are needed, how many are free, and in what.
    Memory(u64, u64, Whole),
    Frame(DeriveError),
    Authority(AuthorityError),
}

impl<'a> Entry<'a> {
    /// No entry, but the manifest as a whole, or something that names itself.
    pub(crate) const WHOLE: Entry<'static> = Entry("", "", 0);

    /// That of a cVM.
    pub(crate) fn cvm(name: &'a str, place: usize) -> Entry<'a> {
        Entry("cVM", name, place)
    }

    /// That of a buffer.
    pub(crate) fn buffer(name: &'a str, place: usize) -> Entry<'a> {
        Entry(names::BUFFER, name, place)
    }

    /// The same with its name.
    pub(crate) fn named(self, name: &'a str) -> Entry<'a> {
        Entry(self.0, name, self.2)
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn refused(self, problem: Problem) -> Refusal {
        Refusal(Box::new((self.0, self.1.into(), self.2, problem)))
    }

    /// What stands under a key is not what is expected there.
    #[cold]
    #[inline(never)]
    pub(crate) fn expected(self, key: &'static str, value: Value, expected: &'static str) -> Refusal {
        self.refused(Problem::Expected(key, value, expected))
    }

    /// Text under a key is not what is expected there.
    #[cold]
    #[inline(never)]
    pub(crate) fn text(self, key: &'static str, text: &str, expected: &'static str) -> Refusal {
        self.expected(key, Value::Text(text.into()), expected)
    }
}

impl From<TreeError> for Refusal {
    #[cold]
    #[inline(never)]
    fn from(error: TreeError) -> Refusal {
        Entry::WHOLE.refused(Problem::Tree(error))
    }
}

impl From<AuthorityError> for Refusal {
    #[cold]
    #[inline(never)]
    fn from(error: AuthorityError) -> Refusal {
        Entry::WHOLE.refused(Problem::Authority(error))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name, place, problem) = &*self.0;
        match (*kind, name.as_str()) {
            ("", _) => {}
            (_, "") => write!(f, "{kind} number {place}: ")?,
            _ => write!(f, "{kind} {name}: ")?,
        }
        match problem {
            Problem::Archive(offset, member, expected) => {
                write!(f, "archive: at offset {offset:#x}: ")?;
                for character in member.chars() {
                    let visible = character.is_ascii_graphic() || character == ' ';
                    f.write_char(if visible { character } else { '?' })?;
                }
                let separator = if member.is_empty() { "" } else { ": " };
                write!(f, "{separator}expected {expected}")
            }
            Problem::Manifest(error) => write!(f, "{}: {error}", names::MEMBER),
            Problem::NoManifest => f.write_str("not in the archive"),
            Problem::Tree(error) => write!(f, "{error}"),
            Problem::Compatible(found) => {
                let expected = names::COMPATIBLE;
                match found {
                    None => write!(f, "compatible is None, expected \"{expected}\""),
                    // As the tool says it, without what it takes to print any text as Rust would write it.
                    Some(text) => write!(f, "compatible is Some(\"{text}\"), expected \"{expected}\""),
                }
            }
            Problem::NoNode(name) => write!(f, "no node /{name}"),
            Problem::NoCvm => f.write_str("no cVM"),
            Problem::Node(found, kind, index) => write!(f, "node \"{found}\", expected \"{kind}@{index}\""),
            Problem::Many(what, limit) => write!(f, "more than {limit} {what}"),
            Problem::UnknownKey(key) => write!(f, "unknown key \"{key}\""),
            Problem::UnknownNode(node) => write!(f, "unknown node \"{node}\""),
            Problem::Twice(key) => write!(f, "key \"{key}\" is given twice"),
            Problem::Missing(key) => write!(f, "{key} is missing"),
            Problem::Expected(key, value, expected) => match value {
                Value::Text(text) => write!(f, "{key} = \"{text}\": expected {expected}"),
                Value::Number(number) => write!(f, "{key} = {number}: expected {expected}"),
                Value::Address(address) => write!(f, "{key} = {address:#x}: expected {expected}"),
                Value::Untold => write!(f, "{key}: expected {expected}"),
            },
            Problem::Range(key, value, limits) => {
                write!(f, "{key} = {value}: expected {} to {}", limits.start(), limits.end())
            }
            Problem::Limit(key, count, what, limit) => write!(f, "{key}: {count} {what}, expected at most {limit}"),
            Problem::NoFile(key, file) => write!(f, "{key} \"{file}\" is not in the archive"),
            Problem::SameName(other) => write!(f, "name is also that of {kind} number {other}"),
            Problem::Circle(key) => write!(f, "{key} leads back to cVMs on its own way"),
            Problem::Long(key) => {
                let limit = names::SERVER_LIMIT;
                write!(f, "{key} leads through more than {limit} cVMs, or in a circle")
            }
            Problem::Stranger(server, outer) => {
                let key = names::CALLBACK_OUT;
                write!(
                    f,
                    "{key} leads to {server}, which lies within {outer}: expected the same of {name}"
                )
            }
            Problem::Elf(program, error) => write!(f, "{program}: {error}"),
            Problem::Layout(program, error) => write!(f, "{program}: {error}"),
            Problem::NoFunction(key, program, function) => write!(f, "{key}: {program} exports no function {function}"),
            Problem::Unaligned(base, unit, size) => {
                write!(
                    f,
                    "isolation base {base:#x}: expected a multiple of {unit:#x} for {size:#x} bytes"
                )
            }
            Problem::Taken(base, size, whole) => {
                let problem = "that memory does not exist or is in use";
                write!(f, "isolation base {base:#x}, size {size:#x}: {problem}{whole}")
            }
            Problem::Memory(needed, free, whole) => {
                write!(f, "needs {needed:#x} bytes of memory, {free:#x} are free{whole}")
            }
            Problem::Frame(error) => write!(f, "register frame: {error}"),
            Problem::Authority(error) => write!(f, "{error}"),
        }
    }
}

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((outer, Range { start, end })) = &self.0 else {
            return Ok(());
        };
        write!(f, " in the region {start:#x}-{end:#x} of cVM {outer}")
    }
}
