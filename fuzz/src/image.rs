//! Whole archives with a manifest, made of the fuzzer's choices: every input is nearly right, and wrong in what somebody who
//! wants the audit to describe another manifest than the one that boots would try.

use abi::manifest as names;
use tools::archive::TRAILER;

use crate::manifest::plans;
use crate::source::Source;

/// Names of files: several ways to write the same one, and what is no name.
const FILES: [&str; 12] = [
    names::MEMBER,
    "./manifest.dtb",
    "/manifest.dtb",
    "manifest.dtb\0.",
    "Manifest.dtb",
    "program",
    "./program",
    ".//./program",
    "a",
    ".",
    "",
    TRAILER,
];
/// Modes: as a rule that of a file.
const MODES: [u32; 10] = [
    0o100_644,
    0o100_644,
    0o100_755,
    0o100_000,
    0o040_755,
    0o120_777,
    0o020_644,
    0o010_644,
    0o644,
    0x1000_81a4,
];
/// Names of cVMs.
const CVMS: [&str; 8] = ["a", "b", "c", "a b", "monitor", "", "ä", "an-other.name_1"];
/// Names of the keys of cVMs and buffers, and one that nobody knows.
const KEYS: [&str; 25] = [
    names::NAME,
    names::RUNTIME,
    names::ARGS,
    names::ENV,
    names::ISOLATION_BASE,
    names::ISOLATION_SIZE,
    names::HEAP,
    names::STACK,
    names::PRIORITY,
    names::RESTART_POLICY,
    names::RESTART_LIMIT,
    names::RESTART_DELAY,
    names::WAIT,
    names::CALLBACK_OUT,
    names::CALL_BUDGET,
    names::WITHIN,
    names::SERVICE_STACK,
    names::HOSTCALLS,
    names::DEVICES,
    names::BUFFER_SIZE,
    names::BUFFER_OWNER,
    names::BUFFER_READERS,
    names::BUFFER_WRITERS,
    names::BUFFER_DATA,
    "#size-cells",
];
/// Texts that some keys take.
const TEXTS: [&str; 16] = [
    "a",
    "b",
    "c",
    "monitor",
    "program",
    "manifest.dtb",
    "never",
    "on-fault",
    "always",
    "read",
    "write",
    "console",
    "time",
    "process",
    "K=v",
    "",
];

/// Writes the tokens of a device tree.
#[derive(Default)]
struct Tree {
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl Tree {
    fn token(&mut self, token: u32) {
        self.structure.extend(token.to_be_bytes());
    }

    fn pad(&mut self) {
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
    }

    fn begin(&mut self, name: &str) {
        self.token(1);
        self.structure.extend(name.bytes().chain([0]));
        self.pad();
    }

    fn property(&mut self, name: &str, value: &[u8]) {
        self.token(3);
        self.token(value.len() as u32);
        self.token(self.strings.len() as u32);
        self.strings.extend(name.bytes().chain([0]));
        self.structure.extend(value);
        self.pad();
    }

    /// The whole tree; now and then a field of its header is another one.
    fn bytes(self, source: &mut Source<'_>) -> Vec<u8> {
        let (structure, strings) = (self.structure.len() as u32, self.strings.len() as u32);
        let mut header = [
            0xd00d_feed,
            56 + structure + strings,
            56,
            56 + structure,
            40,
            17,
            16,
            0,
            strings,
            structure,
        ];
        if source.seldom() {
            let field = source.below(header.len());
            header[field] = header[field].wrapping_add(u32::from(source.byte()).wrapping_sub(64));
        }
        let header = header.iter().flat_map(|field| field.to_be_bytes());
        header
            .chain([0; 16])
            .chain(self.structure)
            .chain(self.strings)
            .collect()
    }
}

/// A value of a key: of the right kind as a rule. `own` is the name of the node.
fn value(source: &mut Source<'_>, key: &str, own: &str) -> Vec<u8> {
    let text = |text: &str| [text.as_bytes(), &[0]].concat();
    if source.seldom() {
        return match source.byte() % 3 {
            0 => Vec::new(),
            1 => (0..source.below(12)).map(|_| source.byte()).collect(),
            _ => text(source.of(&TEXTS)),
        };
    }
    match key {
        names::NAME if source.seldom() => text(source.of(&CVMS)),
        names::NAME => text(own),
        names::RUNTIME => text(source.of(&["program", "program", "a"])),
        names::ENV => text("K=v\0L=w"),
        names::ARGS => (0..source.below(3)).flat_map(|_| text(source.of(&TEXTS))).collect(),
        names::HOSTCALLS => (0..source.below(3))
            .flat_map(|_| text(source.of(&TEXTS[11..14])))
            .collect(),
        names::DEVICES => (0..source.below(3))
            .flat_map(|_| text(source.of(&["block0", "net1", "entropy0", "block00", "disk0"])))
            .collect(),
        names::PRIORITY => u32::from(source.byte() % 9).to_be_bytes().to_vec(),
        names::RESTART_LIMIT | names::WAIT => u32::from(source.byte()).to_be_bytes().to_vec(),
        names::RESTART_POLICY => text(source.of(&TEXTS[6..9])),
        names::BUFFER_OWNER => text(source.of(&TEXTS[..4])),
        names::BUFFER_READERS | names::BUFFER_WRITERS => (0..source.below(3))
            .flat_map(|_| text(source.of(&["a", "b", "c", "*"])))
            .collect(),
        names::CALLBACK_OUT | names::WITHIN => text(source.of(&TEXTS[..4])),
        names::BUFFER_DATA => text(source.of(&["program", "a", "manifest.dtb", "lost"])),
        names::ISOLATION_BASE => (u64::from(source.byte()) << 12).to_be_bytes().to_vec(),
        _ => (u64::from(source.byte()) << (4 * source.below(10)))
            .to_be_bytes()
            .to_vec(),
    }
}

/// A node of a list, the `index`th.
fn entry(source: &mut Source<'_>, tree: &mut Tree, kind: &str, index: usize) {
    let number = if source.seldom() { index + 1 } else { index };
    tree.begin(&format!("{kind}@{number}"));
    let own = CVMS[index];
    let (needed, others) = if kind == names::CVM {
        (&KEYS[..2], &KEYS[2..18])
    } else {
        (&[names::NAME, names::BUFFER_SIZE][..], &KEYS[20..24])
    };
    // Of the keys that need not be there, a quarter.
    let chosen = source.word() as u32 & (source.word() as u32);
    let others = others.iter().enumerate().filter(|(bit, _)| chosen >> bit & 1 == 1);
    for key in needed.iter().chain(others.map(|(_, key)| key)) {
        if !source.seldom() {
            let value = value(source, key, own);
            tree.property(key, &value);
        }
    }
    if source.seldom() {
        let key = source.of(&KEYS);
        let value = value(source, key, own);
        tree.property(key, &value);
    }
    if source.seldom() {
        tree.begin("inner");
        tree.token(2);
    }
    tree.token(2);
}

/// A manifest.
fn manifest(source: &mut Source<'_>) -> Vec<u8> {
    let mut tree = Tree::default();
    tree.begin(if source.seldom() { "root" } else { "" });
    if !source.seldom() {
        let compatible = if source.seldom() { "other" } else { names::COMPATIBLE };
        tree.property("compatible", &[compatible.as_bytes(), &[0]].concat());
    }
    if source.seldom() {
        tree.property(source.of(&["compatible", "model", "#size-cells"]), b"odd\0");
    }
    let mut lists = vec![(names::CVMS, names::CVM), (names::BUFFERS, names::BUFFER)];
    lists.truncate(1 + source.below(2));
    if source.seldom() {
        let odd = [
            (names::CVMS, names::CVM),
            ("cvms@0", names::CVM),
            ("chosen", names::CVM),
            (names::BUFFERS, names::BUFFER),
        ];
        let at = source.below(lists.len() + 1);
        lists.insert(at, *source.pick(&odd));
    }
    for (list, kind) in lists {
        tree.begin(list);
        for index in 0..1 + source.below(3) {
            entry(source, &mut tree, kind, index);
            if source.seldom() {
                tree.token(4);
            }
        }
        tree.token(2);
    }
    tree.token(2);
    if source.seldom() {
        let odd = source.of_numbers(&[1, 2, 3, 4, 5, 9]);
        tree.token(odd);
    }
    tree.token(9);
    tree.bytes(source)
}

/// One entry of an archive.
fn member(source: &mut Source<'_>, archive: &mut Vec<u8>, name: &str, data: &[u8]) {
    let mode = if source.seldom() {
        source.of_numbers(&MODES)
    } else {
        0o100_644
    };
    let links = 1 + u32::from(source.seldom());
    let checked = source.byte() % 8 == 7;
    let sum = if checked && !source.seldom() {
        data.iter().map(|byte| u32::from(*byte)).sum()
    } else {
        0
    };
    let inode = u32::from(source.byte() % 3);
    let (size, length) = (data.len() as u32, name.len() as u32 + 1);
    let mut fields = [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, length, sum];
    if source.seldom() {
        let field = source.below(fields.len());
        fields[field] = fields[field].wrapping_add(u32::from(source.byte()).wrapping_sub(4));
    }
    archive.extend(if checked { b"070702" } else { b"070701" });
    archive.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
    archive.extend(name.bytes().chain([0]));
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(data);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

/// Archives, one behind the other: the first has what a boot needs, the others may override it.
fn archives(source: &mut Source<'_>) -> Vec<u8> {
    let mut archive = Vec::new();
    for number in 0..1 + source.below(3) {
        let mut names = vec![FILES[source.below(3)], FILES[5 + source.below(3)], FILES[8]];
        if number > 0 {
            names.truncate(source.below(3));
        }
        if source.seldom() {
            names.push(source.of(&FILES));
        }
        for name in names {
            let data = if name.contains("manifest") || source.seldom() {
                manifest(source)
            } else {
                vec![source.byte(); source.below(6)]
            };
            member(source, &mut archive, name, &data);
        }
        if !source.seldom() {
            member(source, &mut archive, TRAILER, &[]);
        }
        let zeros = if source.seldom() {
            source.below(9)
        } else {
            4 * source.below(3)
        };
        archive.resize(archive.len() + zeros, 0);
    }
    if source.seldom() {
        let at = source.below(archive.len().max(1));
        archive.truncate(at);
    }
    if source.seldom() {
        let at = source.below(archive.len().max(1));
        let byte = source.byte();
        if let Some(place) = archive.get_mut(at) {
            *place = byte;
        }
    }
    archive
}

/// The monitor and the tools see the same files and the same plan in an archive, or both refuse it. Whether they accept it.
pub fn image(bytes: &[u8]) -> bool {
    let archive = archives(&mut Source::with_twists(bytes));
    crate::archive::archive(&archive);
    plans(&archive)
}
