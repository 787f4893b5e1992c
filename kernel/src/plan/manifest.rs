//! The manifest in the archive becomes a checked plan: which cVMs to run, and how. The tool checked the same before
//! the image was made; nothing here relies on it.

use crate::authority::buffer::Set;
use crate::plan::archive::Archive;
use crate::plan::ordered;
use crate::plan::refusal::{Entry, Problem, Refusal, Value};
use crate::plan::tree::{self, Token, Tokens};
use abi::elf::PAGE;
use abi::hostcall::{Family, Hostcall};
use abi::manifest::{self as names, RestartPolicy};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

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
    /// Its entry in the manifest.
    pub(crate) fn entry(&self) -> Entry<'_> {
        Entry::cvm(&self.name, 0)
    }

    /// Another cVM, or it itself, runs a program without a function that a key asks for.
    #[cold]
    #[inline(never)]
    pub(crate) fn lacks(&self, key: &'static str, other: &CvmSpec, function: &str) -> Refusal {
        let (program, function) = (other.runtime.clone(), function.into());
        self.entry().refused(Problem::NoFunction(key, program, function))
    }

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

/// Reads the manifest of an archive.
///
/// # Errors
/// [`Refusal`] with cVM, key, value and what was expected.
pub(crate) fn read(archive: &Archive) -> Result<Plan, Refusal> {
    plan(archive).map_err(|error| Entry::WHOLE.refused(Problem::Manifest(error)))
}

fn plan(archive: &Archive) -> Result<Plan, Refusal> {
    let whole = |problem| Entry::WHOLE.refused(problem);
    let file = archive.find(names::MEMBER).ok_or_else(|| whole(Problem::NoManifest))?;
    let mut bytes = vec![0; file.len().min(tree::SIZE_LIMIT)];
    let mut tokens = Tokens::new(file.first(&mut bytes))?;
    let mut reader = Reader {
        tokens: &mut tokens,
        properties: Vec::new(),
    };
    reader.next()?;
    let mut child = reader.list()?;
    let compatible = reader.value("compatible").and_then(tree::text);
    if compatible != Some(names::COMPATIBLE) {
        return Err(whole(Problem::Compatible(compatible.map(String::from))));
    }
    let (mut cvms, mut drafts) = (None, None);
    while let Some(name) = child {
        if name == names::CVMS.as_bytes() && cvms.is_none() {
            cvms = Some(read_cvms(&mut reader, archive)?);
        } else if name == names::BUFFERS.as_bytes() && drafts.is_none() {
            drafts = Some(read_buffers(&mut reader, archive)?);
        } else {
            reader.tokens.skip()?;
        }
        child = reader.child()?;
    }
    // What lies behind the root, or before the end token, is wrong.
    reader.next()?;
    let (mut cvms, relations) = cvms.ok_or_else(|| whole(Problem::NoNode(names::CVMS)))?;
    if cvms.is_empty() {
        return Err(whole(Problem::NoCvm));
    }
    relate(&mut cvms, &relations)?;
    let buffers = drafts.unwrap_or_default().into_iter().map(|draft| draft.settle(&cvms));
    Ok(Plan {
        buffers: buffers.collect::<Result<_, _>>()?,
        cvms,
    })
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
    fn next(&mut self) -> Result<Option<Token<'a>>, Refusal> {
        Ok(self.tokens.next()?)
    }

    /// Behind a node: the name of the next one at the same level, or none at the end of those.
    fn child(&mut self) -> Result<Option<&'a [u8]>, Refusal> {
        Ok(match self.next()? {
            Some(Token::Begin(name)) => Some(name),
            _ => None,
        })
    }

    /// Reads the properties of the node that has begun and has no children; they must be known, and stand there once.
    fn leaf(&mut self, known: &[&'static str], entry: Entry<'_>) -> Result<(), Refusal> {
        self.properties.clear();
        // Which of them were there, and where the next one is looked for first: as a rule they come in this order.
        let (mut seen, mut behind) = (0_u64, 0);
        loop {
            match self.next()? {
                Some(Token::Property(name, value)) => {
                    let mut places = (behind..known.len()).chain(0..behind);
                    let Some(place) = places.find(|place| known[*place].as_bytes() == name) else {
                        return Err(entry.refused(Problem::UnknownKey(printable(name))));
                    };
                    let key = known[place];
                    if seen >> place & 1 == 1 {
                        return Err(entry.refused(Problem::Twice(key)));
                    }
                    seen |= 1 << place;
                    behind = place + 1;
                    self.properties.push(Property { key, value, place });
                }
                Some(Token::Begin(child)) => return Err(entry.refused(Problem::UnknownNode(printable(child)))),
                _ => return Ok(()),
            }
        }
    }

    /// Begins the node that has begun and holds others: the name of the first one. Of its own properties, only one means
    /// something.
    fn list(&mut self) -> Result<Option<&'a [u8]>, Refusal> {
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

    /// Reads a node like [`leaf`](Reader::leaf); the same entry with its name.
    fn named(&mut self, known: &[&'static str], entry: Entry<'a>) -> Result<Entry<'a>, Refusal> {
        self.leaf(known, entry)?;
        let name = self.value(names::NAME).and_then(tree::text);
        let name = name.filter(|name| names::valid_name(name));
        let name = name.ok_or_else(|| entry.expected(names::NAME, Value::Untold, names::NAME_EXPECTED))?;
        Ok(entry.named(name))
    }

    fn value(&self, key: &str) -> Option<&'a [u8]> {
        let property = self.properties.iter().find(|property| property.key == key);
        property.map(|property| property.value)
    }
}

/// A name out of a tree, which is UTF-8.
fn printable(name: &[u8]) -> String {
    core::str::from_utf8(name).unwrap_or("?").into()
}

/// Checks that a node is the next one of its list, which has a limit.
fn listed(
    name: &[u8],
    (kind, plural): (&'static str, &'static str),
    (index, limit): (usize, usize),
) -> Result<(), Refusal> {
    if name != format!("{kind}@{index}").as_bytes() {
        return Err(Entry::WHOLE.refused(Problem::Node(printable(name), kind, index)));
    }
    if index == limit {
        return Err(Entry::WHOLE.refused(Problem::Many(plural, limit)));
    }
    Ok(())
}

fn read_cvms<'a>(reader: &mut Reader<'a, '_>, archive: &Archive) -> Result<(Vec<CvmSpec>, Vec<Relation<'a>>), Refusal> {
    let (mut cvms, mut relations) = (Vec::new(), Vec::new());
    let mut child = reader.list()?;
    while let Some(node) = child {
        let index = cvms.len();
        listed(node, (names::CVM, "cVMs"), (index, names::CVM_LIMIT))?;
        let (cvm, relation) = cvm(reader, index)?;
        if archive.find(&cvm.runtime).is_none() {
            let problem = Problem::NoFile(names::RUNTIME, cvm.runtime.clone());
            return Err(cvm.entry().refused(problem));
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
fn relate(cvms: &mut [CvmSpec], relations: &[Relation<'_>]) -> Result<(), Refusal> {
    let order = ordered(cvms.len(), &|a, b| cvms[a].name.cmp(&cvms[b].name));
    if let Some(pair) = order.windows(2).find(|pair| cvms[pair[0]].name == cvms[pair[1]].name) {
        return Err(cvms[pair[1]].entry().refused(Problem::SameName(pair[0])));
    }
    let mut driven: Vec<&str> = Vec::new();
    for cvm in &*cvms {
        for device in &cvm.devices {
            if driven.contains(&device.as_str()) {
                let expected = "a device that has no driver yet";
                return Err(cvm.entry().text(names::DEVICES, device, expected));
            }
            driven.push(device);
        }
    }
    for (index, relation) in relations.iter().enumerate() {
        let find = |key, wanted: &str| {
            let found = order.binary_search_by(|other| cvms[*other].name.as_str().cmp(wanted));
            let found = found.map(|at| order[at]);
            found.map_err(|_| cvms[index].entry().text(key, wanted, "the name of a cVM"))
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
        let entry = cvms[index].entry();
        for (way, key, long) in [(&servers, names::CALLBACK_OUT, long), (&around, names::WITHIN, deep)] {
            if way.contains(&index) {
                return Err(entry.refused(Problem::Circle(key)));
            }
            if long {
                return Err(entry.refused(Problem::Long(key)));
            }
        }
        if cvms[index].raw != 0 && cvms[index].server.is_none() {
            let expected = "a cVM as callback-out, which knows what its hostcalls mean";
            return Err(entry.expected(names::RAW, Value::Number(1), expected));
        }
        if let Some(outer) = cvms[index].within.filter(|outer| !servers.contains(outer)) {
            let expected = "a cVM that serves its hostcalls, directly or by others";
            return Err(entry.text(names::WITHIN, &cvms[outer].name, expected));
        }
        // Who reaches a server's memory reaches what the server is lent, and could keep it: it has to reach the lender's
        // memory anyway.
        for server in servers {
            let (outers, _) = chain(cvms, server, |cvm| cvm.within);
            let stranger = outers.iter().find(|outer| **outer != index && !around.contains(outer));
            if let Some(outer) = stranger {
                let [server, outer] = [server, *outer].map(|cvm| cvms[cvm].name.clone());
                return Err(entry.refused(Problem::Stranger(server, outer)));
            }
        }
    }
    Ok(())
}

/// Finds the gates that cVMs call.
fn relate_gates(cvms: &mut [CvmSpec], relations: &[Relation<'_>], order: &[usize]) -> Result<(), Refusal> {
    for (index, relation) in relations.iter().enumerate() {
        let entry = cvms[index].entry();
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
                    let expected = "a gate of another cVM, once, as cVM.function";
                    return Err(entry.text(names::CALLS, wanted, expected));
                }
            }
        }
        let called = calls.iter().map(|(server, gate)| &cvms[*server].gates[*gate]);
        let mut all = cvms[index].gates.iter().chain(called);
        let first = all.next().is_some_and(|gate| gate.vector);
        if all.any(|gate| gate.vector != first) {
            let expected = "all of them with vector, or none: threads keep or clear those registers";
            return Err(entry.expected("gates and calls", Value::Untold, expected));
        }
        if cvms[index].raw != 0 && !(cvms[index].gates.is_empty() && calls.is_empty()) {
            return Err(entry.expected(names::RAW, Value::Number(1), "neither gates nor calls"));
        }
        cvms[index].calls = calls;
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
    fn settle(self, cvms: &[CvmSpec]) -> Result<BufferSpec, Refusal> {
        let name = self.name;
        let find = |key, wanted: &String| {
            let found = cvms.iter().position(|cvm| cvm.name == *wanted);
            found.ok_or_else(|| Entry::buffer(&name, 0).text(key, wanted, "the name of a cVM"))
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
            Ok::<Set, Refusal>(set)
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

fn read_buffers(reader: &mut Reader<'_, '_>, archive: &Archive) -> Result<Vec<Draft>, Refusal> {
    let mut buffers: Vec<Draft> = Vec::new();
    let mut child = reader.list()?;
    while let Some(node) = child {
        let index = buffers.len();
        listed(node, (names::BUFFER, names::BUFFERS), (index, names::BUFFER_LIMIT))?;
        let entry = reader.named(&names::BUFFER_PROPERTIES, Entry::buffer("", index))?;
        let keys = Keys { reader, entry };
        let name = entry.1;
        if let Some(other) = buffers.iter().position(|other| other.name == name) {
            return Err(entry.refused(Problem::SameName(other)));
        }
        let size = keys.size(names::BUFFER_SIZE, names::BUFFER_SIZE_LIMIT)?;
        let data = keys.text(names::BUFFER_DATA)?.map(String::from);
        if let Some(member) = &data {
            let key = names::BUFFER_DATA;
            let file = archive.find(member);
            let file = file.ok_or_else(|| entry.refused(Problem::NoFile(key, member.clone())))?;
            keys.limit(key, file.len(), "bytes", size)?;
        }
        buffers.push(Draft {
            name: name.into(),
            size,
            data,
            owner: keys.text(names::BUFFER_OWNER)?.map(String::from),
            readers: keys.texts(names::BUFFER_READERS)?,
            writers: keys.texts(names::BUFFER_WRITERS)?,
        });
        child = reader.child()?;
    }
    Ok(buffers)
}

#[inline(never)]
fn cvm<'a>(reader: &mut Reader<'a, '_>, index: usize) -> Result<(CvmSpec, Relation<'a>), Refusal> {
    let entry = reader.named(&names::PROPERTIES, Entry::cvm("", index))?;
    let keys = Keys { reader, entry };
    let runtime = keys.text(names::RUNTIME)?;
    let runtime = runtime.ok_or_else(|| entry.refused(Problem::Missing(names::RUNTIME)))?;
    let (args, env) = (keys.texts(names::ARGS)?, keys.texts(names::ENV)?);
    let strings = args.iter().chain(&env).map(|text| text.len() + 1).sum();
    keys.limit("args and env", strings, "bytes", names::STRINGS_LIMIT as u64)?;
    if let Some(wrong) = env.iter().find(|entry| entry.find('=').is_none_or(|at| at == 0)) {
        return Err(entry.text(names::ENV, wrong, "KEY=value"));
    }
    let restart = match keys.text(names::RESTART_POLICY)? {
        None => RestartPolicy::default(),
        Some(policy) => RestartPolicy::from_name(policy)
            .ok_or_else(|| entry.text(names::RESTART_POLICY, policy, "never, on-fault or always"))?,
    };
    let isolation_base = keys.cells(names::ISOLATION_BASE)?;
    if let Some(base) = isolation_base.filter(|base| base % PAGE != 0) {
        return Err(entry.expected(names::ISOLATION_BASE, Value::Address(base), "a multiple of 4096"));
    }
    let mut numbers = names::NUMBERS.each_ref().map(|number| number.default);
    for property in &reader.properties {
        if let Some(index) = property.place.checked_sub(names::OTHERS.len()) {
            numbers[index] = keys.number(&names::NUMBERS[index], property.value)?;
        }
    }
    // Without the key all of them; with it these, and whatever else, what concerns the cVM itself.
    let mut families = match reader.value(names::HOSTCALLS) {
        None => u32::MAX,
        Some(_) => 1 << Family::Process as u32,
    };
    for name in keys.texts(names::HOSTCALLS)? {
        let family = Family::from_name(&name);
        families |= 1 << family.ok_or_else(|| entry.text(names::HOSTCALLS, &name, "the name of a family"))? as u32;
    }
    let devices = keys.texts(names::DEVICES)?;
    if let Some(device) = devices.iter().find(|device| names::device(device).is_none()) {
        return Err(entry.text(names::DEVICES, device, names::DEVICE_EXPECTED));
    }
    keys.limit(names::DEVICES, devices.len(), "devices", names::DEVICE_LIMIT as u64)?;
    let gates = gates(&keys)?;
    let calls = keys.texts(names::CALLS)?;
    keys.limit(names::CALLS, calls.len(), "gates", names::GATE_LIMIT as u64)?;
    let relation = Relation {
        calls,
        server: keys
            .text(names::CALLBACK_OUT)?
            .filter(|server| *server != names::CALLBACK_MONITOR),
        within: keys.text(names::WITHIN)?,
    };
    let mut spec = CvmSpec {
        name: entry.1.into(),
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

/// The gates that a cVM offers.
#[inline(never)]
fn gates(keys: &Keys<'_, '_>) -> Result<Vec<GateSpec>, Refusal> {
    let texts = keys.texts(names::GATES)?;
    keys.limit(names::GATES, texts.len(), "gates", names::GATE_LIMIT as u64)?;
    let mut gates: Vec<GateSpec> = Vec::with_capacity(texts.len());
    for text in &texts {
        let gate = names::Gate::parse(text);
        let gate = gate.filter(|gate| gates.iter().all(|other| other.function != gate.function));
        let gate = gate.ok_or_else(|| keys.entry.text(names::GATES, text, names::GATE_EXPECTED))?;
        gates.push(GateSpec {
            function: gate.function.into(),
            stack: gate.taken(),
            callers: gate.callers,
            vector: gate.vector,
        });
    }
    Ok(gates)
}

/// The properties of the node that was read last, whose entry it is.
struct Keys<'a, 'n> {
    reader: &'n Reader<'a, 'n>,
    entry: Entry<'a>,
}

impl<'a> Keys<'a, '_> {
    fn get<T>(
        &self,
        key: &'static str,
        expected: &'static str,
        decode: impl Fn(&'a [u8]) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(value) = self.reader.value(key) else {
            return Ok(None);
        };
        let decoded = decode(value);
        decoded
            .map(Some)
            .ok_or_else(|| self.entry.expected(key, Value::Untold, expected))
    }

    fn text(&self, key: &'static str) -> Result<Option<&'a str>, Refusal> {
        self.get(key, "a string", tree::text)
    }

    fn texts(&self, key: &'static str) -> Result<Vec<String>, Refusal> {
        Ok(self.get(key, "a list of strings", tree::texts)?.unwrap_or_default())
    }

    fn cell(&self, key: &'static str) -> Result<Option<u32>, Refusal> {
        self.get(key, "4 bytes", tree::cell)
    }

    fn cells(&self, key: &'static str) -> Result<Option<u64>, Refusal> {
        self.get(key, "8 bytes", tree::cells)
    }

    /// The size that must be there.
    fn size(&self, key: &'static str, most: u64) -> Result<u64, Refusal> {
        let size = self
            .cells(key)?
            .ok_or_else(|| self.entry.refused(Problem::Missing(key)))?;
        self.range(key, size, 1..=most)
    }

    /// A number that stands there.
    fn number(&self, number: &'static names::Number, value: &'a [u8]) -> Result<u64, Refusal> {
        let names::Number { name, least, most, .. } = *number;
        let (value, expected) = match number.width {
            4 => (tree::cell(value).map(u64::from), "4 bytes"),
            _ => (tree::cells(value), "8 bytes"),
        };
        let value = value.ok_or_else(|| self.entry.expected(name, Value::Untold, expected))?;
        self.range(name, value, least..=most)
    }

    fn range(&self, key: &'static str, value: u64, limits: RangeInclusive<u64>) -> Result<u64, Refusal> {
        if limits.contains(&value) {
            return Ok(value);
        }
        Err(self.entry.refused(Problem::Range(key, value, limits)))
    }

    fn limit(&self, key: &'static str, count: usize, what: &'static str, limit: u64) -> Result<(), Refusal> {
        let count = count as u64;
        if count <= limit {
            return Ok(());
        }
        Err(self.entry.refused(Problem::Limit(key, count, what, limit)))
    }
}
