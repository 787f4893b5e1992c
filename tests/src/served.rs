//! A machine that runs on its own and serves a port of its network on one of the host's.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use tools::run::{DeviceArguments, machine_command};
use tools::workspace::Workspace;

use crate::{Platform, qemu};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The machine, until it is dropped.
pub struct Served {
    machine: Child,
    /// The host's port.
    pub port: u16,
    _console: BufReader<ChildStdout>,
}

impl Served {
    /// Starts a machine with an image and these devices, and a network card behind them that forwards one of the host's ports to `port`, with
    /// what `net` says more of it. Waits until the console says `ready`.
    ///
    /// # Panics
    /// It cannot be started, or ends before.
    pub fn start(
        platform: Platform,
        image: &Path,
        mut devices: DeviceArguments,
        port: u16,
        net: &str,
        ready: &str,
    ) -> Served {
        // Somebody else might take it in between, and the machine would say so.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let free = free.expect("a free port").port();
        devices.nets.push(format!("forward={free}:{port}{net}"));
        let mut command = command(platform, image, &devices);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut machine = command.spawn().expect("the machine starts");
        let mut console = BufReader::new(machine.stdout.take().expect("a console"));
        let (mut seen, mut line) = (String::new(), String::new());
        while !line.contains(ready) {
            line.clear();
            let count = console.read_line(&mut line).expect("the console");
            assert!(count > 0, "the machine ended: {seen}");
            seen += &line;
        }
        Served {
            machine,
            port: free,
            _console: console,
        }
    }

    /// A connection to it.
    ///
    /// # Panics
    /// There is none.
    pub fn connect(&self) -> BufReader<TcpStream> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        BufReader::new(stream)
    }
}

fn command(platform: Platform, image: &Path, devices: &DeviceArguments) -> Command {
    if !platform.is_machine() {
        return qemu::command(platform, image, &devices.for_qemu().expect("QEMU has words for them"));
    }
    let workspace = Workspace::locate().unwrap_or_else(|error| panic!("{error}"));
    let machine = workspace.build_machine(None).unwrap_or_else(|error| panic!("{error}"));
    machine_command(&machine, image, platform.arch(), platform.isa(), &devices.for_machine())
}

impl Drop for Served {
    /// Pulls the plug.
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.machine.kill();
        let _ = self.machine.wait();
    }
}
