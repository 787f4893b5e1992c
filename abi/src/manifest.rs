//! Names and values in `manifest.dtb`, the flattened device tree (Devicetree Specification v0.4, chapter 5) in which the
//! packed image tells the monitor which cVMs to run.
//!
//! ```text
//! / {
//!     compatible = "intravisor,manifest-1";
//!     cvms {
//!         cvm@0 {
//!             label = "hello";                 // 1..=32 of A-Z a-z 0-9 . _ -; unique
//!             runtime = "hello.elf";           // member of the archive
//!             args = "one", "two";             // string list; absent = none
//!             env = "KEY=value";               // string list; absent = none
//!             isolation-base = <0x0 0x82000000>; // u64; absent = the monitor places the cVM
//!             isolation-size = <0x0 0x100000>; // u64, bytes; absent = as much as image, heap and stack need
//!             heap = <0x0 0x10000>;            // u64, bytes
//!             stack = <0x0 0x4000>;            // u64, bytes
//!             priority = <1>;                  // u32, 0..=7, a greater number runs first
//!             restart-policy = "on-fault";     // "never" | "on-fault" | "always"
//!             restart-limit = <3>;             // u32, restarts in one run of the image
//!             restart-delay = <0x0 0x989680>;  // u64, nanoseconds
//!             wait = <0xffffffff>;             // i32, see [`WAIT`]
//!             callback-out = "monitor";        // who serves the hostcalls: the monitor, or a cVM by its name
//!             call-budget = <0x0 0x3b9aca00>;  // u64, nanoseconds that a served hostcall may take
//!             within = "outer";                // cVM in whose bounds this one's memory lies; absent = nobody's
//!             service-stack = <0x0 0x2000>;    // u64, bytes of the stack that its handler runs on
//!             threads = <1>;                   // u32, see the table of numbers
//!             handlers = <1>;                  // u32, see the table of numbers
//!             local = <0>;                     // u32, see the table of numbers
//!             buffer-quota = <0x0 0x0>;        // u64, see the table of numbers
//!             raw = <0>;                       // u32, see the table of numbers
//!             float = <0>;                     // u32, see the table of numbers, and [`FLOAT_YES`]
//!             hostcalls = "console", "time";   // families of hostcalls allowed; absent = all
//!             devices = "block0", "net0";      // devices that it drives; absent = none
//!             gates = "add 4096 2", "mean 4096 1 vector"; // functions that others may call, see [`Gate`]; absent = none
//!             calls = "other.function";        // gates of others that it may call, `cVM.function`; absent = none
//!         };
//!     };
//!     buffers {                                // absent = none
//!         buffer@0 {
//!             label = "frames";                // as a cVM's name; unique among the buffers
//!             size = <0x0 0x1000>;             // u64, bytes
//!             owner = "camera";                // cVM that may grant and revoke it; absent = nobody
//!             readers = "viewer";              // string list of cVMs, or "*" for all; absent = none
//!             writers = "camera";              // the same
//!             data = "buffers/frames";         // archive member with its first bytes, at most `size`; absent = all zero
//!         };
//!     };
//! };
//! ```
//!
//! Integers are big endian, as the device tree format has them. An unknown property is an error: the tool and the
//! monitor of one image come from one tree.

use core::fmt;

/// Archive member that holds the manifest.
pub const MEMBER: &str = "manifest.dtb";
/// Value of the root's `compatible`.
pub const COMPATIBLE: &str = "intravisor,manifest-1";
/// Node that holds one child `cvm@N` a cVM, N = 0, 1, … in decimal.
pub const CVMS: &str = "cvms";
/// Name of a child of [`CVMS`] before its `@`.
pub const CVM: &str = "cvm";

/// Property: name of the cVM.
pub const NAME: &str = "label";
/// Property: archive member with the ELF.
pub const RUNTIME: &str = "runtime";
/// Property: arguments.
pub const ARGS: &str = "args";
/// Property: environment entries `KEY=value`.
pub const ENV: &str = "env";
/// Property: address of the cVM's memory.
pub const ISOLATION_BASE: &str = "isolation-base";
/// Property: bytes of the cVM's memory.
pub const ISOLATION_SIZE: &str = "isolation-size";
/// Property: restart policy.
pub const RESTART_POLICY: &str = "restart-policy";
/// Property: most restarts in one run.
pub const RESTART_LIMIT: &str = "restart-limit";
/// Property: nanoseconds between an end and the restart.
pub const RESTART_DELAY: &str = "restart-delay";
/// Property: what to wait for before the next cVM of the list is started. Negative: nothing, all start together.
/// 0: until this cVM has ended. n > 0: n seconds after its start, or its end if that comes first.
pub const WAIT: &str = "wait";
/// Property: who serves the hostcalls, `monitor` or another cVM.
pub const CALLBACK_OUT: &str = "callback-out";
/// Property: the cVM in whose bounds this one's memory lies: the bounds of the outer one's capabilities cover it.
pub const WITHIN: &str = "within";
/// Property: families of hostcalls allowed.
pub const HOSTCALLS: &str = "hostcalls";

/// Property: the devices that the cVM drives, by the names of [`device`].
pub const DEVICES: &str = "devices";

/// Property: the functions that other cVMs may call, each as a [`Gate`] in words.
pub const GATES: &str = "gates";
/// Property: the gates that it may call, see [`call`].
pub const CALLS: &str = "calls";

/// Properties of a cVM that are no plain numbers.
pub const OTHERS: [&str; 16] = [
    NAME,
    RUNTIME,
    ARGS,
    ENV,
    ISOLATION_BASE,
    ISOLATION_SIZE,
    RESTART_POLICY,
    RESTART_LIMIT,
    RESTART_DELAY,
    WAIT,
    CALLBACK_OUT,
    WITHIN,
    HOSTCALLS,
    DEVICES,
    GATES,
    CALLS,
];

/// All properties of a cVM node.
pub const PROPERTIES: [&str; OTHERS.len() + NUMBERS.len()] = {
    let mut all = [""; OTHERS.len() + NUMBERS.len()];
    let mut index = 0;
    while index < all.len() {
        all[index] = if index < OTHERS.len() {
            OTHERS[index]
        } else {
            NUMBERS[index - OTHERS.len()].name
        };
        index += 1;
    }
    all
};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Nanoseconds.
    Nanoseconds,
    /// Things.
    Count,
    /// Nothing: 1 is yes, 2 is no, and 0 is that somebody else decides.
    Decision,
}

/// In which cVMs a number has an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// In every one.
    Always,
    /// In one that serves others.
    Server,
    /// In one that another serves.
    Client,
}

/// A property of a cVM that is a number.
#[derive(Debug)]
pub struct Number {
    /// Its name. The key in YAML is the same with `_` for `-`.
    pub name: &'static str,
    /// Bytes in the manifest: 4 or 8.
    pub width: usize,
    /// What it counts.
    pub unit: Unit,
    /// Its value when none is given.
    pub default: u64,
    /// Least value.
    pub least: u64,
    /// Greatest value.
    pub most: u64,
    /// Where it has an effect.
    pub effect: Effect,
}

/// The properties that are numbers, each stated once: meaning, field, type, default, constant and name, unit, least and
/// greatest value, effect. Another row is read from YAML, written, read again, checked and documented like the others.
#[doc(hidden)]
#[macro_export]
macro_rules! cvm_numbers {
    ([$($then:tt)+] { $($with:tt)* }) => {
        $($then)+! { { $($with)* }
            /// bytes of heap
            heap: u64 = 0, HEAP = "heap", Bytes, 0, u64::MAX, Always;
            /// bytes of stack
            stack: u64 = 16 * 1024, STACK = "stack", Bytes, 1, u64::MAX, Always;
            /// a greater number runs first
            priority: u32 = 3, PRIORITY = "priority", Count, 0, PRIORITY_LIMIT as u64, Always;
            /// time from a hostcall that a cVM serves to its answer, and of a call by a gate; then the caller gets `ETIMEDOUT`
            call_budget: u64 = 1_000_000_000, CALL_BUDGET = "call-budget", Nanoseconds, 1, u64::MAX, Client;
            /// bytes of the stack that a handler of a server runs on
            service_stack: u64 = 8 * 1024, SERVICE_STACK = "service-stack", Bytes, 1, 64 * 1024, Server;
            /// most threads at a time
            threads: u32 = 1, THREADS = "threads", Count, 1, 64, Always;
            /// most calls that a server handles at a time
            handlers: u32 = 1, HANDLERS = "handlers", Count, 1, 16, Server;
            /// capabilities that its local area holds
            local: u32 = 0, LOCAL = "local", Count, 0, 256, Always;
            /// bytes that it can make buffers of
            buffer_quota: u64 = 0, BUFFER_QUOTA = "buffer-quota", Bytes, 0, 1 << 30, Always;
            /// 1: only its server knows what its hostcalls mean
            raw: u32 = 0, RAW = "raw", Count, 0, 1, Client;
            /// floating-point registers for its threads
            float: u32 = 0, FLOAT = "float", Decision, 0, 2, Always;
        }
    };
}

macro_rules! table {
    ({} $(
        $(#[doc = $meaning:literal])+
        $field:ident: $type:ty = $default:expr, $constant:ident = $name:literal, $unit:ident, $least:expr, $most:expr, $effect:ident;
    )+) => {
        $(
            #[doc = concat!("Property:", $($meaning),+, ".")]
            pub const $constant: &str = $name;
        )+

        /// The properties of a cVM that are numbers.
        pub static NUMBERS: [Number; [$($name),+].len()] = [$(Number {
            name: $name,
            width: size_of::<$type>(),
            unit: Unit::$unit,
            default: $default,
            least: $least,
            most: $most,
            effect: Effect::$effect,
        }),+];
    };
}

cvm_numbers!([table] {});

/// Defines a structure with a field for every number of a manifest's cVM behind those that are written out.
#[macro_export]
macro_rules! cvm_numbers_in {
    ($($definition:tt)*) => { $crate::cvm_numbers!([$crate::cvm_numbers_define] { $($definition)* }); };
}

#[doc(hidden)]
#[macro_export]
macro_rules! cvm_numbers_define {
    ({
        $(#[$attribute:meta])*
        $visible:vis struct $structure:ident { $($fields:tt)* }
    } $(
        $(#[doc = $meaning:literal])+
        $field:ident: $type:ty = $default:expr, $constant:ident = $name:literal, $unit:ident, $least:expr, $most:expr, $effect:ident;
    )+) => {
        $(#[$attribute])*
        $visible struct $structure {
            $($fields)*
            $(
                $(#[doc = $meaning])+
                $visible $field: $type,
            )+
        }

        impl $structure {
            /// The numbers, in the order of [`NUMBERS`]($crate::manifest::NUMBERS).
            $visible fn numbers(&self) -> [u64; $crate::manifest::NUMBERS.len()] {
                [$(u64::from(self.$field)),+]
            }

            /// Sets the numbers, in the order of [`NUMBERS`]($crate::manifest::NUMBERS); each fits in its width.
            $visible fn set_numbers(&mut self, numbers: [u64; $crate::manifest::NUMBERS.len()]) {
                let [$($field),+] = numbers;
                $(self.$field = $field as $type;)+
            }
        }
    };
}

/// Value of [`FLOAT`]: they have them, whatever the program's header says.
pub const FLOAT_YES: u32 = 1;
/// Value of [`FLOAT`]: they have none. Without it and [`FLOAT_YES`] those of a program have them whose header asks for them, on
/// an architecture whose headers say so, or else of any program.
pub const FLOAT_NO: u32 = 2;

/// Most bytes of a manifest.
pub const TREE_LIMIT: usize = 1 << 20;

/// Node that holds one child `buffer@N` a buffer, N = 0, 1, … in decimal.
pub const BUFFERS: &str = "buffers";
/// Name of a child of [`BUFFERS`] before its `@`.
pub const BUFFER: &str = "buffer";
/// Property of a buffer: bytes.
pub const BUFFER_SIZE: &str = "size";
/// Property of a buffer: the cVM that may grant and revoke it.
pub const BUFFER_OWNER: &str = "owner";
/// Property of a buffer: the cVMs that may read it, or [`EVERYBODY`].
pub const BUFFER_READERS: &str = "readers";
/// Property of a buffer: the cVMs that may write it, or [`EVERYBODY`].
pub const BUFFER_WRITERS: &str = "writers";
/// Property of a buffer: the archive member with its first bytes.
pub const BUFFER_DATA: &str = "data";
/// All properties of a buffer node.
pub const BUFFER_PROPERTIES: [&str; 6] = [
    NAME,
    BUFFER_SIZE,
    BUFFER_OWNER,
    BUFFER_READERS,
    BUFFER_WRITERS,
    BUFFER_DATA,
];
/// Among the readers or writers of a buffer: all cVMs. No cVM has this name.
pub const EVERYBODY: &str = "*";
/// Most buffers in one manifest.
pub const BUFFER_LIMIT: usize = 128;
/// Most bytes of one buffer of the manifest.
pub const BUFFER_SIZE_LIMIT: u64 = 1 << 30;

/// Value of [`CALLBACK_OUT`]: the monitor serves the hostcalls.
pub const CALLBACK_MONITOR: &str = "monitor";

/// Longest name of a cVM in bytes.
pub const NAME_LIMIT: usize = 32;
/// Most cVMs on the way from a cVM along [`CALLBACK_OUT`]: a call that is undone is undone server by server.
pub const SERVER_LIMIT: usize = 8;
/// Greatest priority.
pub const PRIORITY_LIMIT: u32 = 7;
/// Most cVMs in one manifest.
pub const CVM_LIMIT: usize = 1024;
/// Most threads of all cVMs, the handlers of those that serve others included.
pub const THREAD_LIMIT: usize = 32 * 1024;
/// Most bytes of arguments and environment of one cVM, their NULs included.
pub const STRINGS_LIMIT: usize = 16 * 1024;

/// The monitor's own name on the console, which no cVM can have.
pub const MONITOR_NAME: &str = "monitor";

/// What is expected of the name of a cVM or a buffer.
pub const NAME_EXPECTED: &str = "1 to 32 characters of A-Z a-z 0-9 . _ -, not \"monitor\"";

/// Whether `name` can name a cVM: 1 to [`NAME_LIMIT`] characters of `A-Z a-z 0-9 . _ -`, and not the monitor's name.
pub fn valid_name(name: &str) -> bool {
    (1..=NAME_LIMIT).contains(&name.len()) && name != MONITOR_NAME && name.bytes().all(is_name_byte)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

/// Most gates that a cVM offers, and most that it calls.
pub const GATE_LIMIT: usize = 16;
/// Most callers of a gate at a time.
pub const GATE_CALLERS_LIMIT: u32 = 16;
/// Most bytes of a stack that a gate's function runs on.
pub const GATE_STACK_LIMIT: u64 = 64 * 1024;
/// Bytes of that stack, when nothing is said.
pub const GATE_STACK: u64 = 8 * 1024;
/// Most bytes of the text that names a gate to its caller.
pub const GATE_NAME_LIMIT: usize = 2 * NAME_LIMIT + 1;

/// What is expected of the words that describe a gate.
pub const GATE_EXPECTED: &str = "a function, once, bytes of stack up to 65536, callers up to 16, and perhaps vector";

/// A function that other cVMs may call. In words: its name, bytes of stack, most callers at a time, and `vector` when it may
/// use vector registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate<'a> {
    /// Its symbol: 1 to [`NAME_LIMIT`] characters of `A-Z a-z 0-9 _`.
    pub function: &'a str,
    /// Bytes of the stack that a call runs on.
    pub stack: u64,
    /// Most callers at a time.
    pub callers: u32,
    /// Whether floating-point and vector registers are open to it, and cleared on the way.
    pub vector: bool,
}

impl<'a> Gate<'a> {
    /// The gate that these words describe; `None` when they do not, or a number is outside of its limits.
    pub fn parse(text: &'a str) -> Option<Gate<'a>> {
        let mut words = text.split(' ');
        let gate = Gate {
            function: words.next().filter(|name| valid_function(name))?,
            stack: words.next()?.parse().ok()?,
            callers: words.next()?.parse().ok()?,
            vector: match words.next() {
                None => false,
                Some("vector") => true,
                Some(_) => return None,
            },
        };
        let fits = (1..=GATE_STACK_LIMIT).contains(&gate.stack) && (1..=GATE_CALLERS_LIMIT).contains(&gate.callers);
        (fits && words.next().is_none()).then_some(gate)
    }

    /// Bytes that a stack takes: bounds of so many bytes can always be said.
    pub const fn taken(&self) -> u64 {
        self.stack.next_multiple_of(4096)
    }
}

impl fmt::Display for Gate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vector = if self.vector { " vector" } else { "" };
        write!(f, "{} {} {}{vector}", self.function, self.stack, self.callers)
    }
}

/// Bytes of the stacks of all these gates, in words.
pub fn gate_stacks<'a>(gates: impl Iterator<Item = &'a str>) -> u64 {
    let of = |gate: Gate<'_>| gate.taken() * u64::from(gate.callers);
    gates.filter_map(Gate::parse).map(of).sum()
}

/// Whether this can name a gate's function.
pub fn valid_function(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=NAME_LIMIT).contains(&name.len()) && name.bytes().all(plain)
}

/// The cVM and the function that `cVM.function` names.
pub fn call(text: &str) -> Option<(&str, &str)> {
    let (cvm, function) = text.rsplit_once('.')?;
    (valid_name(cvm) && valid_function(function)).then_some((cvm, function))
}

/// Most devices that a cVM drives.
pub const DEVICE_LIMIT: usize = 8;

/// What is expected of the name of a device.
pub const DEVICE_EXPECTED: &str = "block, net or entropy and a number, block@SERIAL or net@ADDRESS";

/// What a device is, by virtio's number of it. In what these get from their drivers there are no addresses: what they reach is
/// what the queues name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum DeviceKind {
    /// A network card.
    Net = 1,
    /// A disk.
    Block = 2,
    /// A source of random bytes.
    Entropy = 4,
}

impl DeviceKind {
    /// All kinds.
    pub const ALL: [DeviceKind; 3] = [DeviceKind::Net, DeviceKind::Block, DeviceKind::Entropy];

    /// The name in YAML and manifest, before the number.
    pub const fn name(self) -> &'static str {
        match self {
            DeviceKind::Net => "net",
            DeviceKind::Block => "block",
            DeviceKind::Entropy => "entropy",
        }
    }
}

/// Bytes by which a device is identified.
pub const IDENTITY_LENGTH: usize = 20;

/// Which device of its kind a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one at this place, counted from 0: the highest slot comes first, which is the one that emulators fill first.
    Place(usize),
    /// The one that calls itself so: a card by the 6 bytes of its address, a disk by its serial number; zeros behind it.
    Identity([u8; IDENTITY_LENGTH]),
}

/// The device that a name means: a kind, and behind it a number without leading zeros; or `@` and the address of a card, as six
/// pairs of hexadecimal digits in lower case with colons between them, or the serial number of a disk, 1 to
/// [`IDENTITY_LENGTH`] characters of `A-Z a-z 0-9 . _ -`. Two names of one manner are never one device.
pub fn device(name: &str) -> Option<(DeviceKind, Which)> {
    let mut kinds = DeviceKind::ALL.into_iter();
    let (kind, rest) = kinds.find_map(|kind| Some((kind, name.strip_prefix(kind.name())?)))?;
    let Some(called) = rest.strip_prefix('@') else {
        let canonical = rest == "0" || !rest.starts_with('0');
        let digits = (1..=2).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_digit());
        return (canonical && digits).then(|| Some((kind, Which::Place(rest.parse().ok()?))))?;
    };
    let mut identity = [0; IDENTITY_LENGTH];
    match kind {
        DeviceKind::Net => {
            let mut pairs = called.split(':');
            for byte in &mut identity[..6] {
                let pair = pairs.next().filter(|pair| pair.len() == 2)?;
                let digits = pair.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                *byte = u8::from_str_radix(pair, 16).ok().filter(|_| digits)?;
            }
            pairs.next().is_none().then_some(())?;
        }
        DeviceKind::Block if called.bytes().all(is_name_byte) => {
            identity.get_mut(..called.len())?.copy_from_slice(called.as_bytes())
        }
        _ => return None,
    }
    (identity != [0; IDENTITY_LENGTH]).then_some((kind, Which::Identity(identity)))
}

/// What happens when a cVM ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RestartPolicy {
    /// It stays ended.
    #[default]
    Never,
    /// It is started again after a fault, not after an exit.
    OnFault,
    /// It is started again after a fault and after an exit.
    Always,
}

impl RestartPolicy {
    /// All policies.
    pub const ALL: [RestartPolicy; 3] = [RestartPolicy::Never, RestartPolicy::OnFault, RestartPolicy::Always];

    /// The name in YAML and manifest.
    pub const fn name(self) -> &'static str {
        match self {
            RestartPolicy::Never => "never",
            RestartPolicy::OnFault => "on-fault",
            RestartPolicy::Always => "always",
        }
    }

    /// The policy with this name.
    pub fn from_name(name: &str) -> Option<RestartPolicy> {
        RestartPolicy::ALL.into_iter().find(|policy| policy.name() == name)
    }
}
