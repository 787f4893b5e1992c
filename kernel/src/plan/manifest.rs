//! The manifest in the archive becomes a checked plan: which cVMs to run, and how. The tool checked the same before
//! the image was made; nothing here relies on it.

use crate::plan::archive::Archive;
use crate::plan::tree;
use abi::hostcall::{Family, Hostcall};
use abi::manifest::{self as names, CapfileAccess, RestartPolicy};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use fdt::Fdt;
use fdt::node::{FdtNode, NodeProperty};

abi::cvm_numbers_in! {
/// What the manifest says of one cVM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CvmSpec {
    pub(crate) name: String,
    pub(crate) runtime: String,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) isolation_base: Option<u64>,
    pub(crate) isolation_size: Option<u64>,
    pub(crate) restart: RestartPolicy,
    pub(crate) restart_limit: u32,
    /// Nanoseconds.
    pub(crate) restart_delay: u64,
    pub(crate) wait: i32,
    /// The cVM that serves its hostcalls; none = the monitor.
    pub(crate) server: Option<usize>,
    /// The cVM in whose bounds its memory lies.
    pub(crate) within: Option<usize>,
    /// The families of hostcalls that it may use, bit n = family number n.
    pub(crate) families: u32,
}
}

impl CvmSpec {
    /// Whether the cVM may use a hostcall.
    #[inline]
    pub(crate) fn allows(&self, hostcall: Hostcall) -> bool {
        self.families >> hostcall.family() as u32 & 1 == 1
    }
}

/// What the manifest says of one capfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CapfileSpec {
    pub(crate) name: String,
    pub(crate) size: u64,
    /// Its first bytes; the rest is zero.
    pub(crate) data: Vec<u8>,
    pub(crate) access: CapfileAccess,
}

/// A checked manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) cvms: Vec<CvmSpec>,
    pub(crate) capfiles: Vec<CapfileSpec>,
}

/// What is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ManifestError(String);

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", names::MEMBER, self.0)
    }
}

/// Reads the manifest of an archive.
///
/// # Errors
/// [`ManifestError`] with cVM, key, value and what was expected.
pub(crate) fn read(archive: &Archive<'_>) -> Result<Plan, ManifestError> {
    plan(archive).map_err(ManifestError)
}

fn plan(archive: &Archive<'_>) -> Result<Plan, String> {
    let bytes = archive
        .find(names::MEMBER)
        .ok_or_else(|| String::from("not in the archive"))?;
    let bytes = tree::check(bytes.to_vec()).map_err(|error| format!("{error}"))?;
    let tree = Fdt::new(&bytes).map_err(|error| format!("{error}"))?;
    let root = tree.find_node("/").ok_or_else(|| String::from("no root node"))?;
    let compatible = root
        .property("compatible")
        .and_then(|property| tree::text(property.value));
    if compatible != Some(names::COMPATIBLE) {
        // As the tool says it, without what it takes to print any text as Rust would write it.
        let found = compatible.map_or("None".into(), |text| format!("Some(\"{text}\")"));
        return Err(format!("compatible is {found}, expected \"{}\"", names::COMPATIBLE));
    }
    let list = root.children().find(|node| node.name == names::CVMS);
    let list = list.ok_or_else(|| format!("no node /{}", names::CVMS))?;
    let mut cvms: Vec<CvmSpec> = Vec::new();
    let mut relations = Vec::new();
    for (index, node) in list.children().enumerate() {
        listed(&node, (names::CVM, "cVMs"), (index, names::CVM_LIMIT))?;
        let (cvm, relation) = cvm(&node, index)?;
        if archive.find(&cvm.runtime).is_none() {
            let (name, runtime) = (&cvm.name, &cvm.runtime);
            return Err(format!("cVM {name}: runtime \"{runtime}\" is not in the archive"));
        }
        if let Some(other) = cvms.iter().position(|other| other.name == cvm.name) {
            return Err(format!("cVM {}: name is also that of cVM number {other}", cvm.name));
        }
        cvms.push(cvm);
        relations.push(relation);
    }
    if cvms.is_empty() {
        return Err("no cVM".into());
    }
    relate(&mut cvms, &relations)?;
    let list = root.children().find(|node| node.name == names::CAPFILES);
    let capfiles = list.map_or(Ok(Vec::new()), |list| capfiles(&list))?;
    Ok(Plan { cvms, capfiles })
}

/// Checks that a node is the next one of its list, which has a limit.
fn listed(node: &FdtNode<'_, '_>, (kind, plural): (&str, &str), (index, limit): (usize, usize)) -> Result<(), String> {
    let expected = format!("{kind}@{index}");
    if node.name != expected {
        return Err(format!("node \"{}\", expected \"{expected}\"", node.name));
    }
    if index == limit {
        return Err(format!("more than {limit} {plural}"));
    }
    Ok(())
}

/// The other cVMs that a cVM names, as it names them.
struct Relation<'a> {
    server: Option<&'a str>,
    within: Option<&'a str>,
}

/// Finds the cVMs that others name, and refuses circles.
fn relate(cvms: &mut [CvmSpec], relations: &[Relation<'_>]) -> Result<(), String> {
    for (index, relation) in relations.iter().enumerate() {
        let find = |key: &str, wanted: &str| {
            let found = cvms.iter().position(|cvm| cvm.name == wanted);
            let name = &cvms[index].name;
            found.ok_or_else(|| format!("cVM {name}: {key} = \"{wanted}\": expected the name of a cVM"))
        };
        let server = relation.server.map(|server| find(names::CALLBACK_OUT, server));
        let within = relation.within.map(|within| find(names::WITHIN, within));
        cvms[index].server = server.transpose()?;
        cvms[index].within = within.transpose()?;
    }
    for index in 0..cvms.len() {
        let servers = chain(cvms, index, |cvm| cvm.server).ok_or_else(|| circle(cvms, index, names::CALLBACK_OUT))?;
        if servers.len() > names::SERVER_LIMIT {
            return Err(format!(
                "cVM {}: {} leads through {} cVMs, expected {} at most",
                cvms[index].name,
                names::CALLBACK_OUT,
                servers.len(),
                names::SERVER_LIMIT
            ));
        }
        let around = chain(cvms, index, |cvm| cvm.within).ok_or_else(|| circle(cvms, index, names::WITHIN))?;
        if let Some(outer) = cvms[index].within.filter(|outer| !servers.contains(outer)) {
            return Err(format!(
                "cVM {}: {} = \"{}\": expected a cVM that serves its hostcalls, directly or by others",
                cvms[index].name,
                names::WITHIN,
                cvms[outer].name
            ));
        }
        // Who reaches a server's memory reaches what the server is lent, and could keep it: it has to reach the lender's
        // memory anyway.
        for server in servers {
            let outers = chain(cvms, server, |cvm| cvm.within).unwrap_or_default();
            let stranger = outers.iter().find(|outer| **outer != index && !around.contains(outer));
            if let Some(outer) = stranger {
                return Err(format!(
                    "cVM {}: {} leads to {}, which lies within {}: expected the same of {0}",
                    cvms[index].name,
                    names::CALLBACK_OUT,
                    cvms[server].name,
                    cvms[*outer].name
                ));
            }
        }
    }
    Ok(())
}

fn circle(cvms: &[CvmSpec], index: usize, key: &str) -> String {
    format!("cVM {}: {key} leads back to cVMs on its own way", cvms[index].name)
}

/// The cVMs on the way from a cVM along one relation; none when the way runs in a circle.
#[inline(never)]
fn chain(cvms: &[CvmSpec], start: usize, next: fn(&CvmSpec) -> Option<usize>) -> Option<Vec<usize>> {
    let mut way = Vec::new();
    let mut at = start;
    while let Some(to) = next(&cvms[at]) {
        if to == start || way.contains(&to) {
            return None;
        }
        way.push(to);
        at = to;
    }
    Some(way)
}

fn capfiles(list: &FdtNode<'_, '_>) -> Result<Vec<CapfileSpec>, String> {
    let mut capfiles: Vec<CapfileSpec> = Vec::new();
    for (index, node) in list.children().enumerate() {
        listed(&node, (names::CAPFILE, names::CAPFILES), (index, names::CAPFILE_LIMIT))?;
        let properties: Vec<NodeProperty<'_>> = node.properties().collect();
        let what = format!("capfile number {index}");
        only_known(&node, &properties, &names::CAPFILE_PROPERTIES, &what)?;
        let name = valid_name(&properties, &what)?;
        let what = format!("capfile {name}");
        let keys = Keys {
            properties: &properties,
            what: &what,
        };
        if let Some(other) = capfiles.iter().position(|other| other.name == name) {
            return Err(format!("{what}: the name is also that of capfile number {other}"));
        }
        let size = keys.cells(names::CAPFILE_SIZE)?;
        let size = size.ok_or_else(|| format!("{what}: {} is missing", names::CAPFILE_SIZE))?;
        if !(1..=names::CAPFILE_SIZE_LIMIT).contains(&size) {
            let (key, limit) = (names::CAPFILE_SIZE, names::CAPFILE_SIZE_LIMIT);
            return Err(format!("{what}: {key} = {size:#x}: expected 1 to {limit:#x}"));
        }
        let data = keys.get(names::CAPFILE_DATA, "bytes", Some)?.unwrap_or_default();
        if data.len() as u64 > size {
            let (key, found) = (names::CAPFILE_DATA, data.len());
            return Err(format!("{what}: {key} has {found} bytes, expected at most {size}"));
        }
        let access = match keys.get(names::CAPFILE_ACCESS, "a string", tree::text)? {
            None => CapfileAccess::default(),
            Some(access) => CapfileAccess::from_name(access).ok_or_else(|| {
                format!(
                    "{what}: {} = \"{access}\": expected read or write",
                    names::CAPFILE_ACCESS
                )
            })?,
        };
        capfiles.push(CapfileSpec {
            name: name.into(),
            size,
            data: data.into(),
            access,
        });
    }
    Ok(capfiles)
}

/// Refuses properties that nobody knows or that stand twice, and nodes inside.
fn only_known(
    node: &FdtNode<'_, '_>,
    properties: &[NodeProperty<'_>],
    known: &[&str],
    what: &str,
) -> Result<(), String> {
    for (position, property) in properties.iter().enumerate() {
        if !known.contains(&property.name) {
            return Err(format!("{what}: unknown key \"{}\"", property.name));
        }
        if properties[..position].iter().any(|other| other.name == property.name) {
            return Err(format!("{what}: key \"{}\" is given twice", property.name));
        }
    }
    match node.children().next() {
        Some(child) => Err(format!("{what}: unknown node \"{}\"", child.name)),
        None => Ok(()),
    }
}

fn valid_name<'a>(properties: &[NodeProperty<'a>], what: &str) -> Result<&'a str, String> {
    let name = properties.iter().find(|property| property.name == names::NAME);
    let name = name.and_then(|property| tree::text(property.value));
    name.filter(|name| names::valid_name(name)).ok_or_else(|| {
        format!(
            "{what}: {}: expected 1 to {} characters of A-Z a-z 0-9 . _ -, not \"monitor\"",
            names::NAME,
            names::NAME_LIMIT
        )
    })
}

#[inline(never)]
fn cvm<'a>(node: &FdtNode<'_, 'a>, index: usize) -> Result<(CvmSpec, Relation<'a>), String> {
    // Read once: every look-up in the node itself would read it from its start.
    let properties: Vec<NodeProperty<'a>> = node.properties().collect();
    let what = format!("cVM number {index}");
    only_known(node, &properties, &names::PROPERTIES, &what)?;
    let name = valid_name(&properties, &what)?;
    let what = format!("cVM {name}");
    let keys = Keys {
        properties: &properties,
        what: &what,
    };
    let text = |key| keys.get(key, "a string", tree::text);
    let texts = |key| {
        keys.get(key, "a list of strings", tree::texts)
            .map(Option::unwrap_or_default)
    };
    let runtime = text(names::RUNTIME)?.ok_or_else(|| format!("cVM {name}: {} is missing", names::RUNTIME))?;
    let (args, env) = (texts(names::ARGS)?, texts(names::ENV)?);
    let strings: usize = args.iter().chain(&env).map(|text| text.len() + 1).sum();
    if strings > names::STRINGS_LIMIT {
        return Err(format!(
            "cVM {name}: {strings} bytes of args and env, expected at most {}",
            names::STRINGS_LIMIT
        ));
    }
    if let Some(entry) = env.iter().find(|entry| entry.find('=').is_none_or(|at| at == 0)) {
        return Err(format!("cVM {name}: {}: \"{entry}\": expected KEY=value", names::ENV));
    }
    let restart = match text(names::RESTART_POLICY)? {
        None => RestartPolicy::default(),
        Some(policy) => RestartPolicy::from_name(policy).ok_or_else(|| {
            format!(
                "cVM {name}: {} = \"{policy}\": expected never, on-fault or always",
                names::RESTART_POLICY
            )
        })?,
    };
    let isolation_base = keys.cells(names::ISOLATION_BASE)?;
    if let Some(base) = isolation_base.filter(|base| base % 4096 != 0) {
        return Err(format!(
            "cVM {name}: {} = {base:#x}: expected a multiple of 4096",
            names::ISOLATION_BASE
        ));
    }
    let mut numbers = [0; names::NUMBERS.len()];
    for (value, number) in numbers.iter_mut().zip(&names::NUMBERS) {
        *value = keys.number(number)?;
    }
    let families = match keys.get(names::HOSTCALLS, "a list of strings", tree::texts)? {
        None => u32::MAX,
        Some(list) => families(&list).map_err(|error| format!("cVM {name}: {}: {error}", names::HOSTCALLS))?,
    };
    let relation = Relation {
        server: text(names::CALLBACK_OUT)?.filter(|server| *server != names::CALLBACK_MONITOR),
        within: text(names::WITHIN)?,
    };
    let mut spec = CvmSpec {
        name: name.into(),
        runtime: runtime.into(),
        args,
        env,
        isolation_base,
        isolation_size: keys.cells(names::ISOLATION_SIZE)?,
        restart,
        restart_limit: keys.cell(names::RESTART_LIMIT)?.unwrap_or(0),
        restart_delay: keys.cells(names::RESTART_DELAY)?.unwrap_or(0),
        wait: keys.cell(names::WAIT)?.map_or(-1, |value| value as i32),
        families,
        ..CvmSpec::default()
    };
    spec.set_numbers(numbers);
    Ok((spec, relation))
}

/// The bit set of the families with these names.
fn families(list: &[String]) -> Result<u32, String> {
    let mut set = 1 << Family::Process as u32;
    for name in list {
        let family = Family::from_name(name).ok_or_else(|| format!("unknown family \"{name}\""))?;
        set |= 1 << family as u32;
    }
    Ok(set)
}

/// The properties of one node, with errors that name it.
struct Keys<'a, 'n> {
    properties: &'n [NodeProperty<'a>],
    what: &'n str,
}

impl<'a> Keys<'a, '_> {
    fn get<T>(&self, key: &str, expected: &str, decode: impl Fn(&'a [u8]) -> Option<T>) -> Result<Option<T>, String> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let decoded = decode(value);
        decoded.map(Some).ok_or_else(|| self.refused(key, expected))
    }

    fn value(&self, key: &str) -> Option<&'a [u8]> {
        let property = self.properties.iter().find(|property| property.name == key);
        property.map(|property| property.value)
    }

    #[cold]
    #[inline(never)]
    fn refused(&self, key: &str, expected: &str) -> String {
        format!("{}: {key}: expected {expected}", self.what)
    }

    fn cell(&self, key: &str) -> Result<Option<u32>, String> {
        self.get(key, "4 bytes", tree::cell)
    }

    fn cells(&self, key: &str) -> Result<Option<u64>, String> {
        self.get(key, "8 bytes", tree::cells)
    }

    /// The value of a number, or its default.
    fn number(&self, number: &names::Number) -> Result<u64, String> {
        let names::Number { name, least, most, .. } = *number;
        let given = match number.width {
            4 => self.cell(name)?.map(u64::from),
            _ => self.cells(name)?,
        };
        let value = given.unwrap_or(number.default);
        if (least..=most).contains(&value) {
            return Ok(value);
        }
        Err(format!("{}: {name} = {value}: expected {least} to {most}", self.what))
    }
}
