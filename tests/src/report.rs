//! Reading what the monitor prints: fault reports, ledger entries, the summary, capabilities in their printed form.

use abi::FaultKind;
use capability::{Decoded, Permissions, Seal};

/// A fault report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The cVM.
    pub cvm: String,
    /// Why it was stopped.
    pub kind: FaultKind,
    /// What was tried (`read`, `write`, `execute`), where the report says so.
    pub access: Option<String>,
    /// Address of the access.
    pub address: Option<u64>,
    /// Register whose capability refused.
    pub register: Option<String>,
    /// The lines below the first, without their indentation.
    pub details: Vec<String>,
}

impl Fault {
    /// The reports among the lines of the monitor.
    pub fn parse(lines: &[&str]) -> Vec<Fault> {
        let mut faults: Vec<Fault> = Vec::new();
        let mut inside = false;
        for line in lines {
            match (line.strip_prefix("  "), Fault::headline(line)) {
                (Some(detail), _) if inside => {
                    let last = faults.last_mut();
                    last.into_iter().for_each(|fault| fault.details.push(detail.to_owned()));
                }
                (_, Some(fault)) => {
                    faults.push(fault);
                    inside = true;
                }
                _ => inside = false,
            }
        }
        faults
    }

    fn headline(line: &str) -> Option<Fault> {
        let (cvm, rest) = line.split_once(": fault: ")?;
        let (rest, register) = match rest.split_once(" through ") {
            Some((rest, register)) => (rest, Some(register.to_owned())),
            None => (rest, None),
        };
        let (rest, address) = match rest.split_once(" at ") {
            Some((rest, address)) => (rest, Some(number(address)?)),
            None => (rest, None),
        };
        let (kind, access) = match rest.split_once(", ") {
            Some((kind, access)) => (kind, Some(access.to_owned())),
            None => (rest, None),
        };
        let kind = FaultKind::ALL.into_iter().find(|known| known.name() == kind)?;
        Some(Fault {
            cvm: cvm.to_owned(),
            kind,
            access,
            address,
            register,
            details: Vec::new(),
        })
    }
}

/// An entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Its number.
    pub index: usize,
    /// What the capability is.
    pub name: String,
    /// The capability itself.
    pub what: Decoded,
    /// Number of the entry it was derived from; `None` for the root.
    pub parent: Option<usize>,
}

/// The entries among the lines of the monitor.
///
/// # Panics
/// One of them cannot be read.
pub fn ledger(lines: &[&str]) -> Vec<LedgerEntry> {
    let lines = whole(lines);
    let entries = lines.iter().filter_map(|line| line.strip_prefix("ledger "));
    entries
        .map(|text| entry(text).unwrap_or_else(|| panic!("no ledger entry: {text:?}")))
        .collect()
}

/// The lines of the monitor from its rows: one that begins with `[` goes on from the one before.
fn whole(rows: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for row in rows {
        match lines.last_mut() {
            Some(line) if row.starts_with('[') => line.push_str(row),
            _ => lines.push((*row).to_owned()),
        }
    }
    lines
}

fn entry(text: &str) -> Option<LedgerEntry> {
    let (index, rest) = text.split_once(' ')?;
    let (name, rest) = rest.split_once(": ")?;
    let (what, reason) = rest.rsplit_once(" (")?;
    let parent = reason.strip_suffix(')')?.rsplit_once(", from ");
    Some(LedgerEntry {
        index: index.parse().ok()?,
        name: name.to_owned(),
        what: capability(what)?,
        parent: parent.and_then(|(_, parent)| parent.parse().ok()),
    })
}

/// A row of the table at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SummaryRow {
    /// The cVM.
    pub name: String,
    /// What became of it, as `exited 0` or `killed: bounds violation`.
    pub state: String,
    /// How often it was restarted.
    pub restarts: u32,
    /// Time it ran, in microseconds.
    pub time: u64,
    /// Hostcalls it made.
    pub hostcalls: u64,
}

/// The table at the end, out of the lines of the monitor; empty when there is none.
pub fn summary(lines: &[&str]) -> Vec<SummaryRow> {
    let rows = lines.iter().skip_while(|line| !line.starts_with("name ")).skip(1);
    rows.map_while(|line| {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        let (hostcalls, time, restarts) = (words.pop()?, words.pop()?, words.pop()?);
        Some(SummaryRow {
            name: words.first().copied()?.to_owned(),
            state: words.get(1..)?.join(" "),
            restarts: restarts.parse().ok()?,
            time: time.parse().ok()?,
            hostcalls: hostcalls.parse().ok()?,
        })
    })
    .collect()
}

fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// A capability in the printed form of the crate `capability`.
pub fn capability(text: &str) -> Option<Decoded> {
    let mut words = text.split(' ');
    let address = number(words.next()?)?;
    let (base, top) = words.next()?.strip_prefix('[')?.strip_suffix(')')?.split_once('-')?;
    let letters = words.next()?;
    let permissions = Permissions::all()
        .iter()
        .filter(|permission| letters.contains(&permission.to_string()))
        .collect();
    let mut decoded = Decoded {
        tag: true,
        address,
        base: number(base)?,
        top: u128::from_str_radix(top.strip_prefix("0x")?, 16).ok()?,
        permissions,
        seal: Seal::Unsealed,
        capability_mode: false,
    };
    for word in words {
        match word.split_once(':') {
            Some(("sealed", otype)) => decoded.seal = Seal::Otype(otype.parse().ok()?),
            Some(("reserved", otype)) => decoded.seal = Seal::Reserved(otype.parse().ok()?),
            Some(_) => return None,
            None => match word {
                "sentry" => decoded.seal = Seal::Sentry,
                "lpb" => decoded.seal = Seal::LoadPairBranch,
                "lb" => decoded.seal = Seal::LoadBranch,
                "capmode" => decoded.capability_mode = true,
                "untagged" => decoded.tag = false,
                _ => return None,
            },
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_capability_is_read_as_it_was() {
        let root = capability::riscv::Capability::ROOT.decode();
        assert_eq!(capability(&root.to_string()), Some(root));
        let null = capability::riscv::Capability::NULL.decode();
        assert_eq!(capability(&null.to_string()), Some(null));
        let sealed = Decoded {
            seal: Seal::Otype(5),
            permissions: Permissions::LOAD,
            capability_mode: true,
            ..root
        };
        assert_eq!(capability(&sealed.to_string()), Some(sealed));
        assert_eq!(capability("0x0 [0x0-0x10) rw broken"), None);
    }

    #[test]
    fn a_fault_report_is_read_with_its_details() {
        let lines = [
            "a: fault: bounds violation, read at 0x80000000 through ddc",
            "  authority ddc = …",
            "a: restart 1 of 1",
            "  not part of it",
            "b: fault: breakpoint",
        ];
        let faults = Fault::parse(&lines);
        assert_eq!(faults.len(), 2);
        assert_eq!(
            (
                faults[0].kind,
                faults[0].access.as_deref(),
                faults[0].address,
                faults[0].register.as_deref()
            ),
            (FaultKind::Bounds, Some("read"), Some(0x8000_0000), Some("ddc"))
        );
        assert_eq!(faults[0].details, ["authority ddc = …"]);
        assert_eq!(
            (faults[1].kind, faults[1].access.clone(), faults[1].address),
            (FaultKind::Breakpoint, None, None)
        );
    }

    #[test]
    fn the_ledger_and_the_summary_are_read() {
        let lines = [
            "ledger 3 interrupt controller: 0xc000000 [0xc000000-0xc201000) rwG (device window, from 0)",
            "name             state                        restarts      time us hostcalls",
            "a                killed: bounds violation            1           26        22",
            "power off, status 1",
        ];
        let entries = ledger(&lines);
        assert_eq!(
            (entries[0].index, entries[0].name.as_str(), entries[0].parent),
            (3, "interrupt controller", Some(0))
        );
        assert_eq!(entries[0].what.top, 0xc20_1000);
        let rows = summary(&lines);
        assert_eq!(rows.len(), 1);
        assert_eq!(
            (rows[0].state.as_str(), rows[0].restarts, rows[0].time),
            ("killed: bounds violation", 1, 26)
        );
    }
}
