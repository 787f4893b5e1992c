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
//!             hostcalls = "console", "time";   // families of hostcalls allowed; absent = all
//!         };
//!     };
//!     capfiles {                               // absent = none
//!         capfile@0 {
//!             label = "test1";                 // as a cVM's name; unique among the capfiles
//!             size = <0x0 0x20>;               // u64, bytes
//!             data = [48 65 6c];               // first bytes, at most `size`; absent = all zero
//!             access = "read";                 // "read" | "write": what every cVM may do with it
//!         };
//!     };
//! };
//! ```
//!
//! Integers are big endian, as the device tree format has them. An unknown property is an error: the tool and the
//! monitor of one image come from one tree.

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
/// Property: bytes of heap.
pub const HEAP: &str = "heap";
/// Property: bytes of stack.
pub const STACK: &str = "stack";
/// Property: priority.
pub const PRIORITY: &str = "priority";
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
/// Property: nanoseconds from a served hostcall to its answer; after that the caller gets `ETIMEDOUT`.
pub const CALL_BUDGET: &str = "call-budget";
/// Property: the cVM in whose bounds this one's memory lies: the bounds of the outer one's capabilities cover it.
pub const WITHIN: &str = "within";
/// Property: bytes of the stack that a server's handler runs on.
pub const SERVICE_STACK: &str = "service-stack";
/// Property: families of hostcalls allowed.
pub const HOSTCALLS: &str = "hostcalls";

/// All properties of a cVM node.
pub const PROPERTIES: [&str; 18] = [
    NAME,
    RUNTIME,
    ARGS,
    ENV,
    ISOLATION_BASE,
    ISOLATION_SIZE,
    HEAP,
    STACK,
    PRIORITY,
    RESTART_POLICY,
    RESTART_LIMIT,
    RESTART_DELAY,
    WAIT,
    CALLBACK_OUT,
    CALL_BUDGET,
    WITHIN,
    SERVICE_STACK,
    HOSTCALLS,
];

/// Node that holds one child `capfile@N` a capfile, N = 0, 1, … in decimal.
pub const CAPFILES: &str = "capfiles";
/// Name of a child of [`CAPFILES`] before its `@`.
pub const CAPFILE: &str = "capfile";
/// Property of a capfile: bytes.
pub const CAPFILE_SIZE: &str = "size";
/// Property of a capfile: its first bytes.
pub const CAPFILE_DATA: &str = "data";
/// Property of a capfile: what every cVM may do with it, one of [`CapfileAccess`].
pub const CAPFILE_ACCESS: &str = "access";
/// All properties of a capfile node.
pub const CAPFILE_PROPERTIES: [&str; 4] = [NAME, CAPFILE_SIZE, CAPFILE_DATA, CAPFILE_ACCESS];
/// Most capfiles in one manifest.
pub const CAPFILE_LIMIT: usize = 64;
/// Most bytes of one capfile.
pub const CAPFILE_SIZE_LIMIT: u64 = 1 << 30;
/// Nanoseconds of [`CALL_BUDGET`] when none are given.
pub const CALL_BUDGET_DEFAULT: u64 = 1_000_000_000;
/// Bytes of [`SERVICE_STACK`] when none are given.
pub const SERVICE_STACK_DEFAULT: u64 = 8 * 1024;

/// Value of [`CALLBACK_OUT`]: the monitor serves the hostcalls.
pub const CALLBACK_MONITOR: &str = "monitor";

/// Longest name of a cVM in bytes.
pub const NAME_LIMIT: usize = 32;
/// Most cVMs on the way from a cVM along [`CALLBACK_OUT`]: a call that is undone is undone server by server.
pub const SERVER_LIMIT: usize = 8;
/// Most cVMs in one manifest.
pub const CVM_LIMIT: usize = 256;
/// Greatest priority.
pub const PRIORITY_LIMIT: u32 = 7;
/// Priority when none is given.
pub const PRIORITY_DEFAULT: u32 = 3;
/// Bytes of stack when none are given.
pub const STACK_DEFAULT: u64 = 16 * 1024;
/// Bytes of heap when none are given.
pub const HEAP_DEFAULT: u64 = 0;
/// Most bytes of arguments and environment of one cVM, their NULs included.
pub const STRINGS_LIMIT: usize = 16 * 1024;

/// The monitor's own name on the console, which no cVM can have.
pub const MONITOR_NAME: &str = "monitor";

/// Whether `name` can name a cVM: 1 to [`NAME_LIMIT`] characters of `A-Z a-z 0-9 . _ -`, and not the monitor's name.
pub fn valid_name(name: &str) -> bool {
    (1..=NAME_LIMIT).contains(&name.len())
        && name != MONITOR_NAME
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// What the cVMs may do with a capfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CapfileAccess {
    /// Read it.
    #[default]
    Read,
    /// Read and write it: a channel between all cVMs.
    Write,
}

impl CapfileAccess {
    /// Both.
    pub const ALL: [CapfileAccess; 2] = [CapfileAccess::Read, CapfileAccess::Write];

    /// The name in YAML and manifest.
    pub const fn name(self) -> &'static str {
        match self {
            CapfileAccess::Read => "read",
            CapfileAccess::Write => "write",
        }
    }

    /// The access with this name.
    pub fn from_name(name: &str) -> Option<CapfileAccess> {
        CapfileAccess::ALL.into_iter().find(|access| access.name() == name)
    }
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
