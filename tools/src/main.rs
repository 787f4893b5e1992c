//! `intravisor`: packs cVMs into an image, lists what is in one, builds and boots the examples.

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tools::run::{DeviceArguments, Host, Isa};
use tools::workspace::{Step, Workspace};
use tools::{Architecture, audit, esp, image, inspect, pack, run, sign};

#[derive(Parser)]
#[command(
    name = "intravisor",
    version,
    about = "Packs, inspects, builds and runs images of the intravisor"
)]
struct Arguments {
    /// Work as if started in this folder
    #[arg(short = 'C', long, global = true, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Without a command, the default example is run.
    #[command(subcommand)]
    command: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// Makes an image, or the archive alone, from a YAML file and programs
    Pack(Pack),
    /// Lists contents and manifest of an image or archive
    Inspect(Inspect),
    /// Tells who will hold which authority, before boot, and checks it against a policy
    Audit(Audit),
    /// Builds monitor and programs and packs an example
    Build(Build),
    /// Builds an example for Morello and writes a disk from which EFI firmware starts it
    Esp(Esp),
    /// Builds an example and boots it
    Run(Run),
    /// Prints the public key of a private one, for a build of the monitor that runs nothing but what it has signed
    PublicKey(PublicKey),
}

#[derive(clap::Args)]
struct Pack {
    /// The cVMs
    yaml: PathBuf,
    /// Architecture of monitor and programs
    #[arg(long, default_value = "cheri-riscv")]
    arch: Architecture,
    /// The file to write
    #[arg(short, long)]
    output: PathBuf,
    /// Write the archive alone, for a loader's -initrd
    #[arg(long, conflicts_with = "monitor")]
    initrd: bool,
    /// ELF file of the monitor [default: the one built in this workspace]
    #[arg(long, value_name = "ELF")]
    monitor: Option<PathBuf>,
    /// Where to look for programs that are not beside the YAML file; may be given several times [default: the ones
    /// built in this workspace]
    #[arg(long, value_name = "DIR")]
    programs: Vec<PathBuf>,
    /// Sign the archive with this Ed25519 key (PKCS #8 in PEM)
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
}

#[derive(clap::Args)]
struct PublicKey {
    /// The private key (PKCS #8 in PEM)
    key: PathBuf,
}

#[derive(clap::Args)]
struct Inspect {
    /// An image or an archive
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Audit {
    /// An image or an archive
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Version of the CHERI-RISC-V architecture that it will run on [default: v9]
    #[arg(long)]
    isa: Option<Isa>,
    /// Rules that it must keep; a broken one fails the command
    #[arg(long, value_name = "YAML")]
    policy: Option<PathBuf>,
    /// Write the authority graph as a picture
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write the authority graph as Graphviz text
    #[arg(long, value_name = "FILE")]
    dot: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Build {
    /// Name of an example, or a YAML file
    example: String,
    /// Architecture to build for
    #[arg(long, default_value = "cheri-riscv")]
    arch: Architecture,
    /// Where to look for programs that are not beside the YAML file, before the ones of this workspace; may be given several
    /// times
    #[arg(long, value_name = "DIR")]
    programs: Vec<PathBuf>,
}

#[derive(clap::Args)]
struct Esp {
    /// Name of an example, or a YAML file
    #[arg(default_value = "demo")]
    example: String,
    /// The file to write [default: beside the image]
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// A flattened device tree of the board, for firmware that has none
    #[arg(long, value_name = "DTB")]
    device_tree: Option<PathBuf>,
    /// An archive that takes the place of the one in the image
    #[arg(long, value_name = "CPIO")]
    initrd: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Run {
    /// Name of an example, or a YAML file
    #[arg(default_value = "demo")]
    example: String,
    /// Architecture to build for
    #[arg(long, default_value = "cheri-riscv")]
    arch: Architecture,
    /// Where to look for programs that are not beside the YAML file, before the ones of this workspace; may be given several
    /// times
    #[arg(long, value_name = "DIR")]
    programs: Vec<PathBuf>,
    /// What to boot on
    #[arg(long, default_value = "machine")]
    on: Host,
    /// Version of the CHERI-RISC-V architecture [default: v9]
    #[arg(long)]
    isa: Option<Isa>,
    #[command(flatten)]
    devices: DeviceArguments,
    /// On the embedded machine: begin stopped, and wait for gdb on this TCP port of the loopback interface (0: any that is
    /// free). It loads the symbols of monitor and cVMs by itself
    #[arg(long, value_name = "PORT")]
    gdb: Option<u16>,
    /// Further arguments for the emulator
    #[arg(last = true)]
    extra: Vec<OsString>,
}

fn main() -> ExitCode {
    let default = Run {
        example: "demo".into(),
        arch: Architecture::CheriRiscv,
        programs: Vec::new(),
        on: Host::Machine,
        isa: None,
        devices: DeviceArguments::default(),
        gdb: None,
        extra: Vec::new(),
    };
    let arguments = Arguments::parse();
    if let Some(directory) = &arguments.directory
        && let Err(error) = std::env::set_current_dir(directory)
    {
        eprintln!("{}: {error}", directory.display());
        return ExitCode::FAILURE;
    }
    let result = match arguments.command.unwrap_or(Action::Run(default)) {
        Action::Pack(arguments) => pack_command(&arguments),
        Action::PublicKey(arguments) => signing_key(&arguments.key).map(|key| {
            println!("{}", key.public());
            ExitCode::SUCCESS
        }),
        Action::Inspect(arguments) => inspect_command(&arguments),
        Action::Audit(arguments) => audit_command(&arguments),
        Action::Build(arguments) => {
            build_command(&arguments.example, arguments.arch, &arguments.programs, 1).map(|_| ExitCode::SUCCESS)
        }
        Action::Esp(arguments) => esp_command(&arguments),
        Action::Run(arguments) => run_command(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

fn pack_command(arguments: &Pack) -> Result<ExitCode, Box<dyn Error>> {
    let workspace = match (
        arguments.programs.is_empty(),
        arguments.initrd || arguments.monitor.is_some(),
    ) {
        (false, true) => None,
        _ => Some(Workspace::locate()?),
    };
    let arch = arguments.arch;
    let programs = match (&workspace, arguments.programs.is_empty()) {
        (Some(workspace), true) => vec![workspace.programs(arch), workspace.linux_programs(arch)],
        _ => arguments.programs.clone(),
    };
    let monitor = match (&workspace, &arguments.monitor) {
        _ if arguments.initrd => None,
        (_, Some(monitor)) => Some(monitor.clone()),
        (workspace, None) => workspace.as_ref().map(|workspace| workspace.monitor(arch)),
    };
    let key = arguments.sign.as_deref().map(signing_key).transpose()?;
    write_packed(
        &arguments.yaml,
        arch,
        &programs,
        monitor.as_deref(),
        key.as_ref(),
        &arguments.output,
    )?;
    Ok(ExitCode::SUCCESS)
}

fn signing_key(path: &Path) -> Result<sign::Key, Box<dyn Error>> {
    let text = String::from_utf8_lossy(&read(path)?).into_owned();
    Ok(sign::Key::from_pem(&text).map_err(|error| format!("{}: {error}", path.display()))?)
}

/// Packs, into an image when there is a monitor, and shows the warnings.
fn write_packed(
    yaml: &Path,
    arch: Architecture,
    programs: &[PathBuf],
    monitor: Option<&Path>,
    key: Option<&sign::Key>,
    output: &Path,
) -> Result<(), Box<dyn Error>> {
    let packed = pack::pack(yaml, arch, programs)?;
    for warning in &packed.warnings {
        eprintln!("{warning}");
    }
    let archive = match key {
        Some(key) => key.sign(&packed.archive),
        None => packed.archive,
    };
    let bytes = match monitor {
        None => archive,
        Some(path) => {
            let elf = read(path).map_err(|error| {
                let hint = "`intravisor build` makes the one of this workspace, --monitor names another";
                if path.exists() {
                    error
                } else {
                    format!("{error}; {hint}")
                }
            })?;
            image::build(&elf, arch, Some(&archive)).map_err(|error| format!("{}: {error}", path.display()))?
        }
    };
    fs::write(output, &bytes).map_err(|error| format!("{}: {error}", output.display()))?;
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn inspect_command(arguments: &Inspect) -> Result<ExitCode, Box<dyn Error>> {
    let file = &arguments.file;
    let report = inspect::inspect(&read(file)?).map_err(|error| format!("{}: {error}", file.display()))?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(if report.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn audit_command(arguments: &Audit) -> Result<ExitCode, Box<dyn Error>> {
    let file = &arguments.file;
    let named = |error| format!("{}: {error}", file.display());
    let audit =
        audit::audit(&read(file)?, arguments.isa.unwrap_or_default()).map_err(|error| named(error.to_string()))?;
    if let (Some(isa), Architecture::Morello) = (arguments.isa, audit.arch) {
        run::isa_for(audit.arch, Some(isa))?;
    }
    let mut violations = Vec::new();
    if let Some(path) = &arguments.policy {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let policy = audit::policy::parse(path, &text);
        if policy.has_errors() {
            let lines: Vec<String> = policy.diagnostics.iter().map(ToString::to_string).collect();
            return Err(lines.join("\n").into());
        }
        violations = policy.check(&audit);
    }
    for (path, text) in [(&arguments.svg, audit.to_svg()), (&arguments.dot, audit.to_dot())] {
        if let Some(path) = path {
            fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    if arguments.json {
        let mut json = serde_json::to_value(&audit)?;
        if arguments.policy.is_some() {
            json["violations"] = serde_json::to_value(&violations)?;
        }
        println!("{}", serde_json::to_string_pretty(&json)?);
    } else {
        print!("{audit}");
    }
    if let Some(path) = &arguments.policy {
        for violation in &violations {
            eprintln!("{}: {violation}", path.display());
        }
    }
    Ok(if violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Builds and packs an example, the first of `steps` that can take long; the workspace and the image.
fn build_command(
    example: &str,
    arch: Architecture,
    programs: &[PathBuf],
    steps: usize,
) -> Result<(Workspace, PathBuf), Box<dyn Error>> {
    let workspace = Workspace::locate()?;
    let (yaml, name) = workspace.example(example)?;
    workspace.build(arch, Some(Step { number: 1, of: steps }))?;
    let output = workspace.image(&name, arch);
    if let Some(directory) = output.parent() {
        fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    let mut directories = programs.to_vec();
    directories.push(workspace.programs(arch));
    directories.push(workspace.linux_programs(arch));
    write_packed(&yaml, arch, &directories, Some(&workspace.monitor(arch)), None, &output)?;
    eprintln!("{}", output.display());
    Ok((workspace, output))
}

fn esp_command(arguments: &Esp) -> Result<ExitCode, Box<dyn Error>> {
    let (_, image) = build_command(&arguments.example, Architecture::Morello, &[], 1)?;
    let mut further = Vec::new();
    for (name, path) in [(esp::TREE, &arguments.device_tree), (esp::ARCHIVE, &arguments.initrd)] {
        if let Some(path) = path {
            further.push((name, read(path)?));
        }
    }
    let further: Vec<_> = further.iter().map(|(name, bytes)| (*name, &**bytes)).collect();
    let disk = esp::build(&read(&image)?, &further).map_err(|error| format!("{}: {error}", image.display()))?;
    let output = arguments.output.clone().unwrap_or_else(|| image.with_extension("esp"));
    fs::write(&output, &disk).map_err(|error| format!("{}: {error}", output.display()))?;
    eprintln!("{}", output.display());
    Ok(ExitCode::SUCCESS)
}

fn run_command(arguments: &Run) -> Result<ExitCode, Box<dyn Error>> {
    let Run {
        example,
        arch,
        programs,
        on,
        isa,
        devices,
        gdb,
        extra,
    } = arguments;
    if gdb.is_some() && *on != Host::Machine {
        return Err("--gdb with --on qemu: expected the embedded machine; QEMU's own is `-- -s -S`".into());
    }
    let isa = run::isa_for(*arch, *isa)?;
    let mut arguments = match on {
        Host::Machine => devices.for_machine(),
        Host::Qemu => devices.for_qemu()?,
    };
    arguments.extend_from_slice(extra);
    let steps = if *on == Host::Machine { 2 } else { 1 };
    let (workspace, image) = build_command(example, *arch, programs, steps)?;
    let command = match on {
        Host::Machine => {
            let machine = workspace.build_machine(Some(Step { number: 2, of: steps }))?;
            if let Some(port) = gdb {
                arguments.extend(["--gdb".into(), port.to_string().into()]);
                let (yaml, _) = workspace.example(example)?;
                let directories = [
                    programs.as_slice(),
                    &[workspace.programs(*arch), workspace.linux_programs(*arch)],
                ]
                .concat();
                let monitor = workspace.monitor(*arch);
                for symbols in run::symbols(&read(&image)?, isa, &monitor, &yaml, &directories)? {
                    arguments.extend(["--symbols".into(), symbols.to_string().into()]);
                }
            }
            run::machine_command(&machine, &image, *arch, isa, &arguments)
        }
        Host::Qemu => run::qemu_command(&image, *arch, isa, &arguments, &|name| std::env::var_os(name))?,
    };
    Ok(ExitCode::from(run::boot(command)?))
}
