//! The manifest in the archive becomes a checked plan: which cVMs to run, and how. The tool checked the same before
//! the image was made; nothing here relies on it.

use crate::authority::buffer::Set;
use crate::plan::archive::Archive;
use crate::plan::ordered;
use crate::plan::tree::{self, Token, Tokens, TreeError};
use abi::hostcall::{Family, Hostcall};
use abi::manifest::{self as names, RestartPolicy};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

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
    /// The names of the devices that it drives.
    pub(crate) devices: Vec<String>,
    /// The gates that it offers.
    pub(crate) gates: Vec<GateSpec>,
    /// The gates that it may call: a cVM and the place among its gates, each.
    pub(crate) calls: Vec<(usize, usize)>,
}
}

impl CvmSpec {
    /// Whether the cVM may use a hostcall.
    #[inline]
    pub(crate) fn allows(&self, hostcall: Hostcall) -> bool {
        self.families >> hostcall.family() as u32 & 1 == 1
    }
}

/// What the manifest says of one gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GateSpec {
    pub(crate) function: String,
    /// Bytes of the stack of one call, whole pages.
    pub(crate) stack: u64,
    /// Most callers at a time.
    pub(crate) callers: u32,
    /// Whether it may use vector registers.
    pub(crate) vector: bool,
}

/// What the manifest says of one buffer. cVMs are numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BufferSpec {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) owner: Option<usize>,
    pub(crate) readers: Set,
    pub(crate) writers: Set,
    /// Member of the archive with its first bytes; the rest is zero.
    pub(crate) data: Option<String>,
}

/// A checked manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) cvms: Vec<CvmSpec>,
    pub(crate) buffers: Vec<BufferSpec>,
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
pub(crate) fn read(archive: &Archive) -> Result<Plan, ManifestError> {
    plan(archive).map_err(ManifestError)
}

fn plan(archive: &Archive) -> Result<Plan, String> {
    let file = archive
        .find(names::MEMBER)
        .ok_or_else(|| String::from("not in the archive"))?;
    let mut bytes = vec![0; file.len().min(tree::SIZE_LIMIT)];
    let mut tokens = Tokens::new(file.first(&mut bytes)).map_err(text_of)?;
    let mut reader = Reader {
        tokens: &mut tokens,
        properties: Vec::new(),
    };
    reader.next()?;
    let mut child = reader.list()?;
    let compatible = reader.value("compatible").and_then(tree::text);
    if compatible != Some(names::COMPATIBLE) {
        // As the tool says it, without what it takes to print any text as Rust would write it.
        let found = compatible.map_or("None".into(), |text| format!("Some(\"{text}\")"));
        return Err(format!("compatible is {found}, expected \"{}\"", names::COMPATIBLE));
    }
    let (mut cvms, mut drafts) = (None, None);
    while let Some(name) = child {
        if name == names::CVMS.as_bytes() && cvms.is_none() {
            cvms = Some(read_cvms(&mut reader, archive)?);
        } else if name == names::BUFFERS.as_bytes() && drafts.is_none() {
            drafts = Some(read_buffers(&mut reader, archive)?);
        } else {
            reader.tokens.skip().map_err(text_of)?;
        }
        child = reader.child()?;
    }
    // What lies behind the root, or before the end token, is wrong.
    reader.next()?;
    let (mut cvms, relations) = cvms.ok_or_else(|| format!("no node /{}", names::CVMS))?;
    if cvms.is_empty() {
        return Err("no cVM".into());
    }
    relate(&mut cvms, &relations)?;
    let buffers = drafts.unwrap_or_default().into_iter().map(|draft| draft.settle(&cvms));
    Ok(Plan {
        buffers: buffers.collect::<Result<_, _>>()?,
        cvms,
    })
}

fn text_of(error: TreeError) -> String {
    format!("{error}")
}

/// Reads nodes one by one.
struct Reader<'a, 't> {
    tokens: &'t mut Tokens<'a>,
    /// Those of the node that was read last.
    properties: Vec<Property<'a>>,
}

struct Property<'a> {
    key: &'static str,
    value: &'a [u8],
    /// Its place among those that its node may have.
    place: usize,
}

impl<'a> Reader<'a, '_> {
    #[inline(always)]
    fn next(&mut self) -> Result<Option<Token<'a>>, String> {
        match self.tokens.next() {
            Ok(token) => Ok(token),
            Err(error) => Err(text_of(error)),
        }
    }

    /// Behind a node: the name of the next one at the same level, or none at the end of those.
    fn child(&mut self) -> Result<Option<&'a [u8]>, String> {
        Ok(match self.next()? {
            Some(Token::Begin(name)) => Some(name),
            _ => None,
        })
    }

    /// Reads the properties of the node that has begun and has no children; they must be known, and stand there once.
    fn leaf(&mut self, known: &[&'static str], what: &str) -> Result<(), String> {
        self.properties.clear();
        // Which of them were there, and where the next one is looked for first: as a rule they come in this order.
        let (mut seen, mut behind) = (0_u64, 0);
        loop {
            match self.next()? {
                Some(Token::Property(name, value)) => {
                    let mut places = (behind..known.len()).chain(0..behind);
                    let Some(place) = places.find(|place| known[*place].as_bytes() == name) else {
                        return Err(format!("{what}: unknown key \"{}\"", printable(name)));
                    };
                    let key = known[place];
                    if seen >> place & 1 == 1 {
                        return Err(format!("{what}: key \"{key}\" is given twice"));
                    }
                    seen |= 1 << place;
                    behind = place + 1;
                    self.properties.push(Property { key, value, place });
                }
                Some(Token::Begin(child)) => return Err(format!("{what}: unknown node \"{}\"", printable(child))),
                _ => return Ok(()),
            }
        }
    }

    /// Begins the node that has begun and holds others: the name of the first one. Of its own properties, only one means
    /// something.
    fn list(&mut self) -> Result<Option<&'a [u8]>, String> {
        self.properties.clear();
        loop {
            match self.next()? {
                Some(Token::Property(b"compatible", value)) if self.properties.is_empty() => {
                    let (key, place) = ("compatible", 0);
                    self.properties.push(Property { key, value, place });
                }
                Some(Token::Property(..)) => {}
                Some(Token::Begin(name)) => return Ok(Some(name)),
                _ => return Ok(None),
            }
        }
    }

    fn value(&self, key: &str) -> Option<&'a [u8]> {
        let property = self.properties.iter().find(|property| property.key == key);
        property.map(|property| property.value)
    }
}

/// A name out of a tree, which is UTF-8.
fn printable(name: &[u8]) -> &str {
    core::str::from_utf8(name).unwrap_or("?")
}

/// Checks that a node is the next one of its list, which has a limit.
fn listed(name: &[u8], (kind, plural): (&str, &str), (index, limit): (usize, usize)) -> Result<(), String> {
    let expected = format!("{kind}@{index}");
    if name != expected.as_bytes() {
        return Err(format!("node \"{}\", expected \"{expected}\"", printable(name)));
    }
    if index == limit {
        return Err(format!("more than {limit} {plural}"));
    }
    Ok(())
}

fn read_cvms<'a>(reader: &mut Reader<'a, '_>, archive: &Archive) -> Result<(Vec<CvmSpec>, Vec<Relation<'a>>), String> {
    let (mut cvms, mut relations) = (Vec::new(), Vec::new());
    let mut child = reader.list()?;
    while let Some(node) = child {
        let index = cvms.len();
        listed(node, (names::CVM, "cVMs"), (index, names::CVM_LIMIT))?;
        let (cvm, relation) = cvm(reader, index)?;
        if archive.find(&cvm.runtime).is_none() {
            let (name, runtime) = (&cvm.name, &cvm.runtime);
            return Err(format!("cVM {name}: runtime \"{runtime}\" is not in the archive"));
        }
        cvms.push(cvm);
        relations.push(relation);
        child = reader.child()?;
    }
    Ok((cvms, relations))
}

/// The other cVMs that a cVM names, as it names them.
struct Relation<'a> {
    server: Option<&'a str>,
    within: Option<&'a str>,
    calls: Vec<String>,
}

/// Finds the cVMs that others name, and refuses circles.
fn relate(cvms: &mut [CvmSpec], relations: &[Relation<'_>]) -> Result<(), String> {
    let order = ordered(cvms.len(), &|a, b| cvms[a].name.cmp(&cvms[b].name));
    if let Some(pair) = order.windows(2).find(|pair| cvms[pair[0]].name == cvms[pair[1]].name) {
        let name = &cvms[pair[1]].name;
        return Err(format!("cVM {name}: name is also that of cVM number {}", pair[0]));
    }
    let mut driven: Vec<&str> = Vec::new();
    for cvm in &*cvms {
        for device in &cvm.devices {
            if driven.contains(&device.as_str()) {
                let (name, key) = (&cvm.name, names::DEVICES);
                return Err(format!(
                    "cVM {name}: {key} = \"{device}\": expected a device that has no driver yet"
                ));
            }
            driven.push(device);
        }
    }
    for (index, relation) in relations.iter().enumerate() {
        let find = |key: &str, wanted: &str| {
            let found = order.binary_search_by(|other| cvms[*other].name.as_str().cmp(wanted));
            let name = &cvms[index].name;
            let found = found.map(|at| order[at]);
            found.map_err(|_| format!("cVM {name}: {key} = \"{wanted}\": expected the name of a cVM"))
        };
        let server = relation.server.map(|server| find(names::CALLBACK_OUT, server));
        let within = relation.within.map(|within| find(names::WITHIN, within));
        cvms[index].server = server.transpose()?;
        cvms[index].within = within.transpose()?;
    }
    relate_gates(cvms, relations, &order)?;
    for index in 0..cvms.len() {
        let (servers, long) = chain(cvms, index, |cvm| cvm.server);
        let (around, deep) = chain(cvms, index, |cvm| cvm.within);
        for (way, key, long) in [(&servers, names::CALLBACK_OUT, long), (&around, names::WITHIN, deep)] {
            if way.contains(&index) {
                return Err(format!(
                    "cVM {}: {key} leads back to cVMs on its own way",
                    cvms[index].name
                ));
            }
            if long {
                return Err(format!(
                    "cVM {}: {key} leads through more than {} cVMs, or in a circle",
                    cvms[index].name,
                    names::SERVER_LIMIT
                ));
            }
        }
        if cvms[index].raw != 0 && cvms[index].server.is_none() {
            return Err(format!(
                "cVM {}: {} = 1: expected {} to be a cVM, which knows what its hostcalls mean",
                cvms[index].name,
                names::RAW,
                names::CALLBACK_OUT
            ));
        }
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
            let (outers, _) = chain(cvms, server, |cvm| cvm.within);
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

/// Finds the gates that cVMs call.
fn relate_gates(cvms: &mut [CvmSpec], relations: &[Relation<'_>], order: &[usize]) -> Result<(), String> {
    for (index, relation) in relations.iter().enumerate() {
        let name = &cvms[index].name;
        let mut calls = Vec::with_capacity(relation.calls.len());
        for wanted in &relation.calls {
            let found = names::call(wanted).and_then(|(server, function)| {
                let at = order.binary_search_by(|other| cvms[*other].name.as_str().cmp(server));
                let server = order[at.ok()?];
                let gate = cvms[server].gates.iter().position(|gate| gate.function == function)?;
                Some((server, gate))
            });
            match found {
                Some(found) if found.0 != index && !calls.contains(&found) => calls.push(found),
                _ => {
                    return Err(format!(
                        "cVM {name}: {} = \"{wanted}\": expected a gate of another cVM, once, as cVM.function",
                        names::CALLS
                    ));
                }
            }
        }
        let called = calls.iter().map(|(server, gate)| &cvms[*server].gates[*gate]);
        let mut all = cvms[index].gates.iter().chain(called);
        let first = all.next().is_some_and(|gate| gate.vector);
        if all.any(|gate| gate.vector != first) {
            return Err(format!(
                "cVM {name}: {} and {}: expected all of them with vector, or none: threads keep or clear those registers",
                names::GATES,
                names::CALLS
            ));
        }
        cvms[index].calls = calls;
        let spec = &cvms[index];
        if spec.raw != 0 && (!spec.gates.is_empty() || !spec.calls.is_empty()) {
            let name = &spec.name;
            return Err(format!(
                "cVM {name}: {} = 1: expected neither {} nor {}",
                names::RAW,
                names::GATES,
                names::CALLS
            ));
        }
    }
    Ok(())
}

/// The cVMs on the way from a cVM along one relation, [`SERVER_LIMIT`](names::SERVER_LIMIT) at most; whether there are more.
#[inline(never)]
fn chain(
    cvms: &[CvmSpec],
    start: usize,
    next: fn(&CvmSpec) -> Option<usize>,
) -> (heapless::Vec<usize, { names::SERVER_LIMIT }>, bool) {
    let mut way = heapless::Vec::new();
    let mut at = start;
    while let Some(to) = next(&cvms[at]) {
        if way.push(to).is_err() {
            return (way, true);
        }
        at = to;
    }
    (way, false)
}

/// A buffer with the names of cVMs.
struct Draft {
    name: String,
    size: u64,
    owner: Option<String>,
    readers: Vec<String>,
    writers: Vec<String>,
    data: Option<String>,
}

impl Draft {
    fn settle(self, cvms: &[CvmSpec]) -> Result<BufferSpec, String> {
        let name = self.name;
        let find = |key: &str, wanted: &String| {
            let found = cvms.iter().position(|cvm| cvm.name == *wanted);
            found.ok_or_else(|| format!("buffer {name}: {key} = \"{wanted}\": expected the name of a cVM"))
        };
        let all = |key, list: &[String]| {
            let mut set = Set::new(cvms.len());
            for wanted in list {
                if wanted == names::EVERYBODY {
                    (0..cvms.len()).for_each(|cvm| set.set(cvm, true));
                } else {
                    set.set(find(key, wanted)?, true);
                }
            }
            Ok::<Set, String>(set)
        };
        let owner = self.owner.map(|owner| find(names::BUFFER_OWNER, &owner)).transpose()?;
        let readers = all(names::BUFFER_READERS, &self.readers)?;
        let writers = all(names::BUFFER_WRITERS, &self.writers)?;
        Ok(BufferSpec {
            size: self.size,
            data: self.data,
            owner,
            readers,
            writers,
            name,
        })
    }
}

fn read_buffers(reader: &mut Reader<'_, '_>, archive: &Archive) -> Result<Vec<Draft>, String> {
    let mut buffers: Vec<Draft> = Vec::new();
    let mut child = reader.list()?;
    while let Some(node) = child {
        let index = buffers.len();
        listed(node, (names::BUFFER, names::BUFFERS), (index, names::BUFFER_LIMIT))?;
        let what = format!("buffer number {index}");
        reader.leaf(&names::BUFFER_PROPERTIES, &what)?;
        let name = valid_name(reader, &what)?;
        let what = format!("buffer {name}");
        let keys = Keys { reader, what: &what };
        if let Some(other) = buffers.iter().position(|other| other.name == name) {
            return Err(format!("{what}: the name is also that of buffer number {other}"));
        }
        let texts = |key| {
            keys.get(key, "a list of strings", tree::texts)
                .map(Option::unwrap_or_default)
        };
        let size = keys.size(names::BUFFER_SIZE, names::BUFFER_SIZE_LIMIT)?;
        let data = keys.get(names::BUFFER_DATA, "a string", tree::text)?;
        if let Some(member) = data {
            let key = names::BUFFER_DATA;
            let file = archive.find(member);
            let found = file
                .ok_or_else(|| format!("{what}: {key} = \"{member}\" is not in the archive"))?
                .len();
            if found as u64 > size {
                return Err(format!("{what}: {key} has {found} bytes, expected at most {size}"));
            }
        }
        buffers.push(Draft {
            name: name.into(),
            size,
            data: data.map(String::from),
            owner: keys.get(names::BUFFER_OWNER, "a string", tree::text)?.map(String::from),
            readers: texts(names::BUFFER_READERS)?,
            writers: texts(names::BUFFER_WRITERS)?,
        });
        child = reader.child()?;
    }
    Ok(buffers)
}

fn valid_name<'a>(reader: &Reader<'a, '_>, what: &str) -> Result<&'a str, String> {
    let name = reader.value(names::NAME).and_then(tree::text);
    name.filter(|name| names::valid_name(name)).ok_or_else(|| {
        format!(
            "{what}: {}: expected 1 to {} characters of A-Z a-z 0-9 . _ -, not \"monitor\"",
            names::NAME,
            names::NAME_LIMIT
        )
    })
}

#[inline(never)]
fn cvm<'a>(reader: &mut Reader<'a, '_>, index: usize) -> Result<(CvmSpec, Relation<'a>), String> {
    let what = format!("cVM number {index}");
    reader.leaf(&names::PROPERTIES, &what)?;
    let name = valid_name(reader, &what)?;
    let what = format!("cVM {name}");
    let keys = Keys { reader, what: &what };
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
    let mut numbers = names::NUMBERS.each_ref().map(|number| number.default);
    for property in &reader.properties {
        if let Some(index) = property.place.checked_sub(names::OTHERS.len()) {
            numbers[index] = keys.number(&names::NUMBERS[index], property.value)?;
        }
    }
    let families = match keys.get(names::HOSTCALLS, "a list of strings", tree::texts)? {
        None => u32::MAX,
        Some(list) => families(&list).map_err(|error| format!("cVM {name}: {}: {error}", names::HOSTCALLS))?,
    };
    let devices = texts(names::DEVICES)?;
    if let Some(device) = devices.iter().find(|device| names::device(device).is_none()) {
        return Err(format!(
            "cVM {name}: {} = \"{device}\": expected block, net or entropy and a number, block@SERIAL or net@ADDRESS",
            names::DEVICES
        ));
    }
    if devices.len() > names::DEVICE_LIMIT {
        let (key, limit) = (names::DEVICES, names::DEVICE_LIMIT);
        return Err(format!(
            "cVM {name}: {key}: {} devices, expected at most {limit}",
            devices.len()
        ));
    }
    let gates = gates(name, &texts(names::GATES)?)?;
    let calls = texts(names::CALLS)?;
    if calls.len() > names::GATE_LIMIT {
        return Err(too_many(name, names::CALLS, calls.len()));
    }
    let relation = Relation {
        calls,
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
        devices,
        gates,
        ..CvmSpec::default()
    };
    spec.set_numbers(numbers);
    Ok((spec, relation))
}

/// The gates that these words describe.
#[inline(never)]
fn gates(name: &str, texts: &[String]) -> Result<Vec<GateSpec>, String> {
    if texts.len() > names::GATE_LIMIT {
        return Err(too_many(name, names::GATES, texts.len()));
    }
    let mut gates: Vec<GateSpec> = Vec::with_capacity(texts.len());
    for text in texts {
        let gate = names::Gate::parse(text);
        let gate = gate.filter(|gate| gates.iter().all(|other| other.function != gate.function));
        let Some(gate) = gate else {
            return Err(format!(
                "cVM {name}: {} = \"{text}\": expected a function, once, bytes of stack up to {}, callers up to {}, and perhaps vector",
                names::GATES,
                names::GATE_STACK_LIMIT,
                names::GATE_CALLERS_LIMIT
            ));
        };
        gates.push(GateSpec {
            function: gate.function.into(),
            stack: gate.taken(),
            callers: gate.callers,
            vector: gate.vector,
        });
    }
    Ok(gates)
}

#[cold]
fn too_many(name: &str, key: &str, count: usize) -> String {
    format!(
        "cVM {name}: {key}: {count} gates, expected at most {}",
        names::GATE_LIMIT
    )
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

/// The properties of the node that was read last, with errors that name it.
struct Keys<'a, 'n> {
    reader: &'n Reader<'a, 'n>,
    what: &'n str,
}

impl<'a> Keys<'a, '_> {
    fn get<T>(&self, key: &str, expected: &str, decode: impl Fn(&'a [u8]) -> Option<T>) -> Result<Option<T>, String> {
        let Some(value) = self.reader.value(key) else {
            return Ok(None);
        };
        let decoded = decode(value);
        decoded.map(Some).ok_or_else(|| self.refused(key, expected))
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

    /// The size that must be there.
    fn size(&self, key: &str, limit: u64) -> Result<u64, String> {
        let what = self.what;
        let size = self.cells(key)?.ok_or_else(|| format!("{what}: {key} is missing"))?;
        let fits = (1..=limit).contains(&size);
        fits.then_some(size)
            .ok_or_else(|| format!("{what}: {key} = {size:#x}: expected 1 to {limit:#x}"))
    }

    /// A number that stands there.
    fn number(&self, number: &names::Number, value: &[u8]) -> Result<u64, String> {
        let names::Number { name, least, most, .. } = *number;
        let (value, expected) = match number.width {
            4 => (tree::cell(value).map(u64::from), "4 bytes"),
            _ => (tree::cells(value), "8 bytes"),
        };
        let value = value.ok_or_else(|| self.refused(name, expected))?;
        if (least..=most).contains(&value) {
            return Ok(value);
        }
        Err(format!("{}: {name} = {value}: expected {least} to {most}", self.what))
    }
}
