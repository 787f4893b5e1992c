//! Hostcalls of a few cVMs, with arguments that are biased to what means something.

use std::sync::LazyLock;

use abi::manifest::RestartPolicy;
use capability::Permissions;
use kernel::fuzz::{Argument, POOL_RANGE, Step, boot};
use tools::Architecture;
use tools::archive::{self, Member};
use tools::elf::synthesis::{Elf, Purecap};
use tools::manifest::{BufferSpec, CvmSpec, Manifest};

/// The monitor's stand-in on the host takes programs of this architecture.
const ARCH: Architecture = Architecture::CheriRiscv;

/// Most steps of a run.
const STEP_LIMIT: usize = 64;

/// The archives that the fuzzer can choose among: three cVMs for themselves, hybrid or purecap; a server with two clients
/// that serve a third; an outer cVM with one within. All with capfiles.
static ARCHIVES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let function = |address| vec![(address, 4, abi::hostcall::HANDLER.to_owned())];
    let hybrid = Elf {
        functions: function(0x1000),
        ..Elf::program(ARCH, &[0x13; 16])
    };
    let mut purecap = Purecap::new(ARCH, &[0x13; 16]);
    purecap.table_space = 0x1000;
    purecap.functions = function(purecap.code_address());
    let programs = [("hybrid", hybrid.to_bytes()), ("purecap", purecap.to_bytes())];
    let capfiles = [("read", false), ("write", true)];
    let capfiles = capfiles.map(|(name, writable)| BufferSpec::capfile(name, 64, writable).with_data(*b"data"));
    let cvm = |name: &str, program: &str, server: &str| CvmSpec {
        stack: 4096,
        heap: 4096,
        local: 4,
        service_stack: 4096,
        callback_out: server.to_owned(),
        ..CvmSpec::new(name, program)
    };
    let alone = |program: &str| {
        let mut cvms = ["one", "two", "three"].map(|name| cvm(name, program, "monitor"));
        cvms[2].priority = 7;
        cvms.to_vec()
    };
    let served = |server: &str, client: &str| {
        let mut cvms = [
            cvm("s", server, "monitor"),
            cvm("c", client, "s"),
            cvm("d", client, "s"),
            cvm("e", client, "c"),
        ];
        cvms[2].call_budget = 10_000;
        cvms.to_vec()
    };
    let mut within = [cvm("outer", "hybrid", "monitor"), cvm("inner", "hybrid", "outer")];
    within[1].within = Some("outer".to_owned());
    let lists = [
        alone("hybrid"),
        alone("purecap"),
        served("hybrid", "hybrid"),
        served("purecap", "hybrid"),
        served("hybrid", "purecap"),
        within.to_vec(),
    ];
    let archive = |cvms: &Vec<CvmSpec>| {
        let mut cvms = cvms.clone();
        // The first one always comes back: a monitor without cVMs would power off.
        cvms[0].restart.policy = RestartPolicy::Always;
        cvms[0].restart.limit = u32::MAX;
        let manifest = Manifest::new(&cvms)
            .with_buffers(&capfiles.clone().map(|(spec, _)| spec))
            .encode()
            .expect("a plain manifest");
        let mut members = vec![Member::new(abi::manifest::MEMBER, manifest)];
        members.extend(programs.iter().map(|(name, bytes)| Member::new(*name, bytes.clone())));
        members.extend(capfiles.iter().map(|(_, data)| data.clone()));
        let archive = archive::write(&members).expect("a plain archive");
        assert!(boot(&archive, &[]).is_some(), "the monitor runs {cvms:?}");
        archive
    };
    lists.iter().map(archive).collect()
});

/// Takes numbers from the fuzzer's bytes.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self, bytes: usize) -> u64 {
        (0..bytes).fold(0, |value, _| value << 8 | u64::from(self.byte().unwrap_or(0)))
    }

    /// An argument: a capability, or an integer.
    fn argument(&mut self) -> Argument {
        if self.byte().unwrap_or(0) >= 0xc0 {
            let base = POOL_RANGE.start.wrapping_add(self.number(2));
            let (length, address) = (self.number(2), self.number(1));
            let permissions = Permissions::from_bits_truncate(self.number(2) as u32);
            Argument::Capability(base, length, base.wrapping_add(address), permissions)
        } else {
            Argument::Integer(self.integer())
        }
    }

    /// A small number, an address in or near the cVMs' memory, or anything.
    fn integer(&mut self) -> u64 {
        match self.byte().unwrap_or(0) {
            small @ 0..=95 => small.into(),
            96..=127 => self.number(2),
            128..=207 => POOL_RANGE.start.wrapping_add(self.number(2)).wrapping_sub(16),
            208..=223 => POOL_RANGE.end.wrapping_sub(self.number(1)),
            224..=239 => self.number(1).wrapping_neg(),
            _ => self.number(8),
        }
    }

    fn step(&mut self) -> Option<Step> {
        Some(match self.byte()? {
            number @ 0..=199 => {
                let arguments = std::array::from_fn(|_| self.argument());
                Step::Hostcall((number % 20).into(), arguments)
            }
            200..=209 => Step::Hostcall(self.number(8), [Argument::Integer(0); 6]),
            210..=229 => Step::Time(self.number(3) as u32),
            _ => Step::Key(self.byte()?),
        })
    }
}

/// Whatever cVMs ask for, nobody gets what is not theirs, and the monitor goes on.
pub fn hostcalls(bytes: &[u8]) {
    let mut source = Source(bytes);
    let archive = usize::from(source.byte().unwrap_or(0)) % ARCHIVES.len();
    let steps: Vec<Step> = std::iter::from_fn(|| source.step()).take(STEP_LIMIT).collect();
    boot(&ARCHIVES[archive], &steps);
}
