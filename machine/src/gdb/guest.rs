//! What a debugger sees of a board.

use std::fmt::Write as _;

use crate::console::Console;
use crate::stop::Stop;

/// What is in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An integer of 64 bits.
    Integer,
    /// An integer of 32 bits.
    Short,
    /// An address of data or of a stack, 64 bits.
    Data,
    /// An address of code, 64 bits.
    Code,
    /// A capability without its tag: 128 bits, as it stands in memory.
    Capability,
}

impl Kind {
    /// Bytes of it.
    pub const fn bytes(self) -> usize {
        match self {
            Kind::Short => 4,
            Kind::Integer | Kind::Data | Kind::Code => 8,
            Kind::Capability => 16,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Kind::Short => "uint32",
            Kind::Integer => "uint64",
            Kind::Data => "data_ptr",
            Kind::Code => "code_ptr",
            Kind::Capability => "uint128",
        }
    }
}

/// A register as the debugger knows it. Its number is its place in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// The feature of the target description that it belongs to.
    pub feature: &'static str,
    /// Its name.
    pub name: String,
    /// What is in it.
    pub kind: Kind,
}

impl Register {
    pub(super) fn new(feature: &'static str, name: impl Into<String>, kind: Kind) -> Register {
        let name = name.into();
        Register { feature, name, kind }
    }
}

/// A board with one processor, as a debugger works with it.
pub trait Guest {
    /// The architecture's name in a target description.
    const ARCHITECTURE: &'static str;

    /// Its registers, by their numbers.
    fn list() -> Vec<Register>;

    /// The bits of the register of this number; of those of 64 bits, the lower ones.
    fn get(&self, number: usize) -> u128;

    /// Changes a register; false when this one cannot be changed. A capability keeps no tag: a debugger hands out no authority.
    fn set(&mut self, number: usize, value: u128) -> bool;

    /// The capability in a register, in words; `None` when it holds none.
    fn describe(&self, number: usize) -> Option<String>;

    /// Where the guest prints.
    fn console(&mut self) -> &mut Console;

    /// Address of the next instruction.
    fn next(&self) -> u64;

    /// Bytes of RAM, when all are there.
    fn bytes(&self, address: u64, length: usize) -> Option<&[u8]>;

    /// Changes bytes of RAM as a device would; false when not all are there.
    fn write(&mut self, address: u64, bytes: &[u8]) -> bool;

    /// The capability in the granule that holds an address: whether it has a tag, and what it says.
    fn granule(&self, address: u64) -> Option<(bool, String)>;

    /// Runs up to `limit` instructions, to a breakpoint, or until `seen` is true after an instruction.
    fn go<'a>(&mut self, limit: u64, breakpoints: &'a [u64], seen: Option<&'a mut dyn FnMut(&Self) -> bool>) -> Stop;
}

/// The target description (GDB manual, "Target Description Format") of a board.
pub(super) fn description<G: Guest>() -> String {
    let mut xml =
        String::from("<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target version=\"1.0\">");
    // Writing to a string cannot fail.
    // No operating system: a debugger then takes the list of programs from here.
    let _ = write!(
        xml,
        "<architecture>{}</architecture><osabi>none</osabi>",
        G::ARCHITECTURE
    );
    let mut feature = "";
    for (number, register) in G::list().iter().enumerate() {
        if register.feature != feature {
            if !feature.is_empty() {
                xml.push_str("</feature>");
            }
            feature = register.feature;
            let _ = write!(xml, "<feature name=\"{feature}\">");
        }
        let _ = write!(
            xml,
            "<reg name=\"{}\" bitsize=\"{}\" type=\"{}\" regnum=\"{number}\"/>",
            register.name,
            8 * register.kind.bytes(),
            register.kind.name()
        );
    }
    xml.push_str("</feature></target>");
    xml
}
