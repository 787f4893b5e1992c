//! What a test boots: cVMs and their programs, or whatever else stands in the archive, and the board around them.

use abi::manifest::MEMBER;
use machine::Stop;
use machine::cli::Isa as MachineIsa;
use machine::net::UserNetwork;
use machine::virtio::{Block, Device, Entropy, Network};
use machine::{morello, riscv};
use tools::Architecture;
use tools::archive::{self, Member};
use tools::manifest::{CvmSpec, Manifest};
use tools::run::Isa;

use crate::board::Board;
use crate::outcome::{Ending, Outcome};
use crate::platform::Platform;
use crate::{artifacts, qemu};

/// Most instructions of one run on the embedded machine; the longest test needs a fifth.
const INSTRUCTIONS: u64 = 4_000_000_000;

/// A cVM that runs one of the workspace's programs.
pub fn cvm(name: &str, program: &str, args: &[&str]) -> CvmSpec {
    CvmSpec {
        args: args.iter().map(|argument| (*argument).to_owned()).collect(),
        ..CvmSpec::new(name, program)
    }
}

/// An image and the board that boots it.
#[derive(Clone, Debug)]
pub struct Scenario {
    cvms: Vec<CvmSpec>,
    members: Vec<Member>,
    archive: Option<Vec<u8>>,
    initrd: Option<Vec<u8>>,
    /// Text for the kernel command line.
    pub append: String,
    /// Number of harts.
    pub harts: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// The board by QEMU's name, with its options, when it is not the plain one; the embedded machine has only that.
    pub qemu_board: Option<&'static str>,
    /// The device tree, when it is not the emulator's own; for QEMU.
    device_tree: Option<Vec<u8>>,
    /// Console input: what to wait for on the console, and what to type then.
    pub input: Vec<(String, Vec<u8>)>,
    /// Disks: serial number and contents.
    disks: Vec<(String, Vec<u8>)>,
    /// The addresses of network cards, each in a network of its own.
    cards: Vec<[u8; 6]>,
    /// Whether there is a source of random bytes.
    entropy: bool,
    /// When a run is over that does not end: who says a line then, and how that ends.
    until: Vec<(String, String)>,
}

impl Scenario {
    /// These cVMs on a board with 128 MiB and one hart.
    pub fn new(cvms: impl Into<Vec<CvmSpec>>) -> Scenario {
        Scenario {
            cvms: cvms.into(),
            members: Vec::new(),
            archive: None,
            initrd: None,
            append: String::new(),
            harts: 1,
            memory: 128 << 20,
            qemu_board: None,
            device_tree: None,
            input: Vec::new(),
            disks: Vec::new(),
            cards: Vec::new(),
            entropy: false,
            until: Vec::new(),
        }
    }

    /// With a source of random bytes, `entropy0`.
    pub fn entropy(mut self) -> Scenario {
        self.entropy = true;
        self
    }

    /// With one more disk.
    pub fn disk(mut self, serial: &str, contents: Vec<u8>) -> Scenario {
        self.disks.push((serial.to_owned(), contents));
        self
    }

    /// With one more network card, whose far end answers as QEMU's user network.
    pub fn card(mut self, address: [u8; 6]) -> Scenario {
        self.cards.push(address);
        self
    }

    /// The run is over when each of these has said a line that ends so: a driver waits for ever. The embedded machine sees by itself
    /// that everybody waits.
    pub fn until<'a>(mut self, lines: impl IntoIterator<Item = (&'a str, &'a str)>) -> Scenario {
        let lines = lines.into_iter().map(|(name, end)| (name.to_owned(), end.to_owned()));
        self.until = lines.collect();
        self
    }

    /// A manifest that no list of cVMs can express, and the workspace's programs `hello` and `idle`.
    pub fn with_manifest(platform: Platform, manifest: impl Into<Vec<u8>>) -> Scenario {
        let artifacts = artifacts::built(platform.arch());
        let mut scenario = Scenario::new([]);
        scenario.members.push(Member::new(MEMBER, manifest));
        scenario
            .members
            .extend(["hello", "idle"].map(|name| Member::new(name, artifacts.program(name))));
        scenario
    }

    /// Exactly these bytes as the archive.
    pub fn with_archive(archive: impl Into<Vec<u8>>) -> Scenario {
        Scenario {
            archive: Some(archive.into()),
            ..Scenario::new([])
        }
    }

    /// The cVMs of a YAML file of the workspace, packed as `intravisor pack` does it.
    ///
    /// # Panics
    /// It is not accepted.
    pub fn example(platform: Platform, name: &str) -> Scenario {
        let arch = platform.arch();
        artifacts::built(arch);
        let workspace = tools::workspace::Workspace::locate().unwrap_or_else(|error| panic!("{error}"));
        let (yaml, _) = workspace.example(name).unwrap_or_else(|error| panic!("{error}"));
        let packed = tools::pack::pack(&yaml, arch, &[workspace.programs(arch), workspace.linux_programs(arch)]);
        Scenario::with_archive(packed.unwrap_or_else(|error| panic!("{error}")).archive)
    }

    /// The cVMs of a YAML text, packed as `intravisor pack` does it.
    ///
    /// # Panics
    /// It is not accepted.
    pub fn yaml(platform: Platform, text: &str) -> Scenario {
        let arch = platform.arch();
        artifacts::built(arch);
        let workspace = tools::workspace::Workspace::locate().unwrap_or_else(|error| panic!("{error}"));
        let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("temporary directory: {error}"));
        let file = directory.path().join("test.yaml");
        std::fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let packed = tools::pack::pack(&file, arch, &[workspace.programs(arch)]);
        Scenario::with_archive(packed.unwrap_or_else(|error| panic!("{error}")).archive)
    }

    /// Adds a file to the archive; a cVM with this runtime gets it instead of the workspace's program.
    pub fn member(mut self, name: &str, data: impl Into<Vec<u8>>) -> Scenario {
        self.members.push(Member::new(name, data));
        self
    }

    /// Text for the kernel command line.
    pub fn append(mut self, text: &str) -> Scenario {
        self.append = text.to_owned();
        self
    }

    /// Number of harts.
    pub fn harts(mut self, harts: usize) -> Scenario {
        self.harts = harts;
        self
    }

    /// Bytes of memory.
    pub fn memory(mut self, memory: u64) -> Scenario {
        self.memory = memory;
        self
    }

    /// The board by QEMU's name, with its options.
    pub fn qemu_board(mut self, board: &'static str) -> Scenario {
        self.qemu_board = Some(board);
        self
    }

    /// Another device tree than QEMU's own.
    pub fn device_tree(mut self, tree: Vec<u8>) -> Scenario {
        self.device_tree = Some(tree);
        self
    }

    /// Types `text` when `pattern` appears on the console, after what was asked for before.
    pub fn input(mut self, pattern: &str, text: &str) -> Scenario {
        self.input.push((pattern.to_owned(), text.as_bytes().to_vec()));
        self
    }

    /// Puts the archive of another scenario into an initrd.
    pub fn initrd(mut self, platform: Platform, other: &Scenario) -> Scenario {
        self.initrd = Some(other.archive(platform));
        self
    }

    /// The archive as it goes into the image.
    pub fn archive(&self, platform: Platform) -> Vec<u8> {
        if let Some(archive) = &self.archive {
            return archive.clone();
        }
        let mut members = self.members.clone();
        if !self.cvms.is_empty() {
            let manifest = Manifest::new(&self.cvms)
                .encode()
                .unwrap_or_else(|error| panic!("manifest: {error}"));
            members.insert(0, Member::new(MEMBER, manifest));
        }
        for cvm in &self.cvms {
            if members.iter().all(|member| member.name != cvm.runtime) {
                let program = artifacts::built(platform.arch()).program(&cvm.runtime);
                members.push(Member::new(&cvm.runtime, program));
            }
        }
        archive::write(&members).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The image with monitor, symbols and archive.
    pub fn image(&self, platform: Platform) -> Vec<u8> {
        let monitor = &artifacts::built(platform.arch()).monitor;
        let image = tools::image::build(monitor, platform.arch(), Some(&self.archive(platform)));
        image.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Boots and runs to the end.
    pub fn boot(&self, platform: Platform) -> Outcome {
        if platform.is_machine() {
            self.on_board(platform).finish()
        } else {
            self.on_qemu(platform)
        }
    }

    /// The embedded machine with the image loaded.
    ///
    /// # Panics
    /// The machine refuses the image.
    pub fn on_board(&self, platform: Platform) -> Running {
        let image = self.image(platform);
        let built = match platform.arch() {
            Architecture::CheriRiscv => riscv::Board::new(riscv::Config {
                isa: match platform.isa() {
                    Isa::V9 => MachineIsa::V9,
                    Isa::V8 => MachineIsa::V8,
                },
                harts: self.harts,
                memory: self.memory,
                initrd: self.initrd.clone(),
                append: self.append.clone(),
                keep_reservations: true,
                ..riscv::Config::new(image)
            })
            .map(|board| Board::CheriRiscv(Box::new(board)))
            .map_err(|error| error.to_string()),
            Architecture::Morello => morello::Board::new(morello::Config {
                cores: self.harts,
                memory: self.memory,
                initrd: self.initrd.clone(),
                append: self.append.clone(),
                ..morello::Config::new(image)
            })
            .map(|board| Board::Morello(Box::new(board)))
            .map_err(|error| error.to_string()),
        };
        let mut board = built.unwrap_or_else(|error| panic!("{error}"));
        let disks = self.disks.iter().map(|(serial, contents)| {
            let disk = Block::new(contents.clone());
            (if serial.is_empty() {
                disk
            } else {
                disk.with_serial(serial)
            })
            .into()
        });
        let cards = self
            .cards
            .iter()
            .map(|address| Network::new(*address, UserNetwork::new()).into());
        let entropy = self.entropy.then(|| Entropy::seeded(7).into());
        for device in disks.chain(cards).chain(entropy) {
            let device: Device = device;
            board.attach(device).unwrap_or_else(|error| panic!("{error}"));
        }
        Running {
            platform,
            board,
            input: self.input.clone(),
            heap_is_closed: false,
        }
    }

    fn on_qemu(&self, platform: Platform) -> Outcome {
        let (ending, console) = self.console_of_qemu(platform);
        Outcome::new(platform, ending, &console, &[])
    }

    /// Boots it on QEMU; how the run ended, and the console, which may tell of a fault of the monitor.
    ///
    /// # Panics
    /// QEMU cannot be started.
    pub fn console_of_qemu(&self, platform: Platform) -> (Ending, String) {
        let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("temporary directory: {error}"));
        let write = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            path
        };
        let memory = self.memory >> 20;
        let mut extra = vec![
            "-m".into(),
            format!("{memory}M").into(),
            "-smp".into(),
            self.harts.to_string().into(),
        ];
        if let Some(board) = self.qemu_board {
            extra.extend(["-M".into(), board.into()]);
        }
        if !self.append.is_empty() {
            extra.extend(["-append".into(), self.append.clone().into()]);
        }
        if let Some(initrd) = &self.initrd {
            extra.extend(["-initrd".into(), write("initrd", initrd).into()]);
        }
        if let Some(tree) = &self.device_tree {
            extra.extend(["-dtb".into(), write("tree", tree).into()]);
        }
        for (number, (serial, contents)) in self.disks.iter().enumerate() {
            let file = write(&format!("disk{number}"), contents);
            let drive = format!("if=none,format=raw,id=disk{number},file={}", file.display());
            let serial = if serial.is_empty() {
                String::new()
            } else {
                format!(",serial={serial}")
            };
            let device = format!("virtio-blk-device,drive=disk{number}{serial}");
            extra.extend(["-drive".into(), drive.into(), "-device".into(), device.into()]);
        }
        for (number, address) in self.cards.iter().enumerate() {
            let address = address.map(|byte| format!("{byte:02x}")).join(":");
            let device = format!("virtio-net-device,netdev=net{number},mac={address}");
            let backend = format!("user,id=net{number},restrict=on");
            extra.extend(["-netdev".into(), backend.into(), "-device".into(), device.into()]);
        }
        if self.entropy {
            extra.extend(["-object", "rng-builtin,id=entropy0"].map(Into::into));
            extra.extend(["-device", "virtio-rng-device,rng=entropy0"].map(Into::into));
        }
        let image = write("image", &self.image(platform));
        qemu::run(platform, &image, &extra, &self.input, &self.until)
    }
}

/// A board of the embedded machine in the middle of a run.
pub struct Running {
    platform: Platform,
    /// The board, to look into.
    pub board: Board,
    input: Vec<(String, Vec<u8>)>,
    heap_is_closed: bool,
}

impl Running {
    /// Runs into the first cVM. From there on the monitor faults when it allocates: nothing may fail for want of memory that
    /// others took. How the run ended instead, if it did.
    pub fn close_heap(&mut self) -> Option<Stop> {
        if std::mem::replace(&mut self.heap_is_closed, true) {
            return None;
        }
        match self.board.run_into_user_mode(INSTRUCTIONS, |_| true) {
            Stop::Condition => {
                // No instruction of either architecture.
                self.board.write_memory(artifacts::allocate(self.platform), &[0; 4]);
                None
            }
            stop => Some(stop),
        }
    }

    /// Runs until `pattern` appears on the console.
    ///
    /// # Panics
    /// The run ends before that.
    pub fn until(&mut self, pattern: &str) {
        let stop = self.board.run_to_pattern(INSTRUCTIONS, pattern);
        assert_eq!(
            stop,
            Stop::Pattern,
            "waiting for {pattern:?}:\n{}",
            self.board.console().text()
        );
    }

    /// Runs to the end.
    pub fn finish(mut self) -> Outcome {
        let ended = self.close_heap();
        let input = std::mem::take(&mut self.input);
        for (pattern, bytes) in &input {
            self.until(pattern);
            self.board.inject_input(bytes);
        }
        // Without input, every line gets the time of its end.
        let pattern = if input.is_empty() { "\n" } else { "" };
        let before = self.board.console().text().matches('\n').count();
        let mut times = vec![self.board.time(); before];
        let stop = ended.unwrap_or_else(|| {
            loop {
                match self.board.run_to_pattern(INSTRUCTIONS, pattern) {
                    Stop::Pattern => times.push(self.board.time()),
                    stop => break stop,
                }
            }
        });
        let ending = match stop {
            Stop::Exit(status) => Ending::Exit(status),
            other => Ending::Broken(other.to_string()),
        };
        let console = self.board.console().text();
        let mut outcome = Outcome::new(self.platform, ending, &console, &times);
        outcome.longest_stay = Some(self.board.longest_stay());
        outcome
    }
}
