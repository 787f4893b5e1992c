//! README and the pages under `docs` say what is so: their commands are run as they stand, in the order of the page, their
//! files are those that the commands find, and their YAML is accepted.
//!
//! What comes behind the language of a fenced block says what it is; a reader does not see it.
//!
//! | | |
//! |---|---|
//! | `sh` | commands. They must succeed, without a compiler's warning, in the clone or `in=` a folder beside it, which is `../intravisor` from there |
//! | `sh needs=PROGRAM` | only where this program is: in a test of its own, which is otherwise ignored and says so |
//! | `sh skip=WHY` | not run here, for this reason |
//! | `text output` | what the block of commands before it prints; `…` is anything |
//! | `… in=DIR file=PATH` | a file that the commands find there |
//! | `… is=PATH` | a file of the work tree, word for word |
//! | `text`, anything else | not looked at, but that YAML is accepted |

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tools::workspace::Workspace;

/// The QEMUs that the build of the tests has found.
const QEMUS: [(&str, Option<&str>); 3] = [
    ("qemu-system-riscv64cheri", option_env!("INTRAVISOR_QEMU_RISCV64CHERI")),
    (
        "qemu-system-riscv64xcheri",
        option_env!("INTRAVISOR_QEMU_RISCV64XCHERI"),
    ),
    ("qemu-system-morello", option_env!("INTRAVISOR_QEMU_MORELLO")),
];

/// A fenced block.
#[derive(Debug)]
struct Block {
    line: usize,
    language: String,
    /// What is said of it, by name; a word without value has an empty one.
    notes: BTreeMap<String, String>,
    text: String,
}

impl Block {
    fn note(&self, name: &str) -> Option<&str> {
        self.notes.get(name).map(String::as_str)
    }
}

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().expect("the work tree is there")
}

fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// All pages, as paths from the root of the work tree.
fn pages() -> Vec<String> {
    let entries = fs::read_dir(root().join("docs")).expect("docs is there");
    let names = entries.map(|entry| {
        entry
            .expect("docs can be listed")
            .file_name()
            .into_string()
            .expect("a name in UTF-8")
    });
    let docs = names
        .filter(|name| name.ends_with(".md"))
        .map(|name| format!("docs/{name}"));
    ["README.md".to_owned(), "SECURITY.md".to_owned()]
        .into_iter()
        .chain(docs)
        .collect()
}

fn blocks(page: &str) -> Vec<Block> {
    let text = read(page);
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(""), Some(_)) => blocks.extend(open.take()),
            (Some(said), None) => {
                let mut words = said.split_whitespace();
                let notes = words
                    .clone()
                    .skip(1)
                    .map(|word| word.split_once('=').unwrap_or((word, "")));
                open = Some(Block {
                    line: index + 1,
                    language: words.next().unwrap_or_default().to_owned(),
                    notes: notes.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
                    text: String::new(),
                });
            }
            (_, Some(block)) => block.text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{page}: a block is not ended: {open:?}");
    blocks
}

/// A folder with `intravisor` on it, installed as the README says, and everything built: what a page prints is then the same at
/// every run.
fn installed() -> &'static Path {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let workspace = Workspace::locate().unwrap_or_else(|error| panic!("{error}"));
        let directory = workspace.target.join("installed");
        for arch in tools::Architecture::ALL {
            workspace.build(arch, None).unwrap_or_else(|error| panic!("{error}"));
        }
        workspace.build_machine(None).unwrap_or_else(|error| panic!("{error}"));
        let install: Vec<_> = blocks("README.md")
            .into_iter()
            .flat_map(|block| block.text.lines().map(str::to_owned).collect::<Vec<_>>())
            .filter(|line| line.starts_with("cargo install "))
            .collect();
        assert_eq!(install.len(), 1, "{install:?}");
        let status = Command::new("bash")
            .args(["-c", &install[0]])
            .current_dir(root())
            .envs(environment(&directory))
            .status();
        assert!(status.expect("bash starts").success(), "{install:?}");
        // The command that `scripts/run` would otherwise say that it builds.
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--release", "-p", "tools"])
            .current_dir(root())
            .status();
        assert!(built.expect("cargo starts").success());
        directory
    })
}

/// What the commands find around them: the installed command, the QEMUs that variables name, and no network.
fn environment(directory: &Path) -> Vec<(&'static str, std::ffi::OsString)> {
    let path = env::var_os("PATH").unwrap_or_default();
    for (program, named) in QEMUS {
        if let Some(named) = named {
            let link = directory.join("bin").join(program);
            fs::create_dir_all(directory.join("bin")).expect("the folder of the installed command");
            match std::os::unix::fs::symlink(named, &link) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    panic!("{}: {error}", link.display())
                }
                _ => {}
            }
        }
    }
    let places = [directory.join("bin")].into_iter().chain(env::split_paths(&path));
    vec![
        ("PATH", env::join_paths(places).expect("no colon in the path")),
        ("CARGO_INSTALL_ROOT", directory.into()),
        ("CARGO_NET_OFFLINE", "true".into()),
    ]
}

/// Runs the commands of a page, those that need `program` or nothing.
fn run(page: &str, program: Option<&str>) {
    let blocks = blocks(page);
    let beside = tempfile::tempdir().expect("a temporary folder");
    std::os::unix::fs::symlink(root(), beside.path().join("intravisor")).expect("a link beside");
    let folder = |block: &Block| match block.note("in") {
        Some(name) => beside.path().join(name),
        None => root(),
    };
    let (mut done, mut output) = (0, None);
    for block in &blocks {
        let place = format!("{page}:{}", block.line);
        let directory = folder(block);
        fs::create_dir_all(&directory).unwrap_or_else(|error| panic!("{place}: {error}"));
        if let Some(name) = block.note("file") {
            let path = directory.join(name);
            let parent = path.parent().expect("it lies in a folder");
            fs::create_dir_all(parent)
                .and_then(|()| fs::write(&path, &block.text))
                .unwrap_or_else(|error| panic!("{place}: {error}"));
        }
        if block.language == "text" && block.note("output").is_some() && program.is_none() {
            let output: String = output.take().unwrap_or_else(|| panic!("{place}: output of what?"));
            assert!(is_like(&output, &block.text), "{place}: it is\n{output}");
        }
        if block.language != "sh" || block.note("skip").is_some() || block.note("needs") != program {
            continue;
        }
        let ran = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &format!("exec 2>&1\n{}", block.text)])
            .current_dir(&directory)
            .envs(environment(installed()))
            // The package that is built there is nobody's but its own.
            .env_remove("CARGO_TARGET_DIR")
            .stdin(Stdio::null())
            .output();
        let ran = ran.unwrap_or_else(|error| panic!("bash: {error}"));
        let text = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(ran.status.success(), "{place}: {}\n{}{text}", ran.status, block.text);
        let warning = text.lines().find(|line| line.starts_with("warning"));
        assert!(warning.is_none(), "{place}: {warning:?}\n{text}");
        output = Some(text);
        done += 1;
    }
    assert!(done > 0, "{page} has no commands for {program:?}");
}

/// Whether an output is what a page says, where `…` is anything: parts of a line, or lines when it is a line.
fn is_like(output: &str, said: &str) -> bool {
    let lines: Vec<&str> = output.lines().collect();
    let said: Vec<&str> = said.lines().collect();
    // Which numbers of lines the part of the page so far may have taken.
    let mut reached = vec![0];
    for expected in said {
        reached = if expected == "…" {
            let first = reached.first().copied().unwrap_or(lines.len() + 1);
            (first..=lines.len()).collect()
        } else {
            let fits = |at: &usize| lines.get(*at).is_some_and(|line| line_is_like(line, expected));
            reached.into_iter().filter(fits).map(|at| at + 1).collect()
        };
    }
    reached.contains(&lines.len())
}

fn line_is_like(line: &str, said: &str) -> bool {
    let mut parts = said.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// One test for each page with commands, and one for each program that some of them need.
macro_rules! commands_of {
    ($($name:ident: $page:literal $(, $program:literal if $condition:ident, $with:ident or $why:literal)*;)+) => {
        $(
            mod $name {
                #[test]
                fn run_as_they_stand() {
                    super::run($page, None);
                }

                $(
                    #[test]
                    #[cfg_attr(not($condition), ignore = $why)]
                    fn $with() {
                        super::run($page, Some($program));
                    }
                )*
            }
        )+

        /// The pages above with what their blocks may need.
        const PAGES: &[(&str, &[&str])] = &[$(($page, &[$($program),*])),+];
    };
}

commands_of! {
    readme: "README.md",
        "qemu-system-riscv64cheri" if qemu_riscv64cheri, with_qemu_riscv64cheri
            or "qemu-system-riscv64cheri is not on PATH and INTRAVISOR_QEMU_RISCV64CHERI is not set",
        "qemu-system-riscv64xcheri" if qemu_riscv64xcheri, with_qemu_riscv64xcheri
            or "qemu-system-riscv64xcheri is not on PATH and INTRAVISOR_QEMU_RISCV64XCHERI is not set",
        "qemu-system-morello" if qemu_morello, with_qemu_morello
            or "qemu-system-morello is not on PATH and INTRAVISOR_QEMU_MORELLO is not set";
    audit: "docs/audit.md";
    boards: "docs/boards.md";
    fuzzing: "docs/fuzzing.md";
    machine: "docs/machine.md";
    manifest: "docs/manifest.md";
    writing_a_cvm: "docs/writing-a-cvm.md",
        "clang" if clang, with_clang or "clang and ld.lld are not on PATH";
}

#[test]
fn every_command_of_every_page_is_run_or_says_why_not() {
    const COMMANDS: [&str; 7] = [
        "scripts/",
        "cargo ",
        "intravisor ",
        "qemu-",
        "clang ",
        "printf ",
        "../intravisor/",
    ];
    for page in pages() {
        let text = read(&page);
        for (index, line) in text.lines().enumerate() {
            let shown = line
                .strip_prefix("    ")
                .filter(|rest| COMMANDS.iter().any(|command| rest.starts_with(command)));
            let fenced = || {
                blocks(&page)
                    .iter()
                    .any(|block| (block.line..block.line + block.text.lines().count() + 1).contains(&(index + 1)))
            };
            assert!(
                shown.is_none() || fenced(),
                "{page}:{}: commands belong into a block ```sh",
                index + 1
            );
        }
        for block in blocks(&page) {
            let place = format!("{page}:{}", block.line);
            assert!(!block.language.is_empty(), "{place}: a block without a language");
            for name in block.notes.keys() {
                assert!(
                    ["in", "file", "is", "needs", "skip", "output"].contains(&name.as_str()),
                    "{place}: {name}"
                );
            }
            if block.language == "sh" {
                let reason = block.note("skip");
                let known = PAGES.iter().find(|(known, _)| *known == page);
                let runs =
                    known.is_some_and(|(_, programs)| block.note("needs").is_none_or(|need| programs.contains(&need)));
                assert!(
                    runs || reason.is_some_and(|reason| !reason.is_empty()),
                    "{place}: nothing runs it"
                );
            }
        }
    }
}

#[test]
fn files_that_a_page_shows_are_the_work_tree_s() {
    let mut count = 0;
    for page in pages() {
        for block in blocks(&page) {
            if let Some(path) = block.note("is") {
                assert_eq!(block.text, read(path), "{page}:{} is not {path}", block.line);
                count += 1;
            }
        }
    }
    assert!(count > 0);
}

#[test]
fn yaml_of_the_pages_is_accepted() {
    let mut count = 0;
    for page in pages() {
        for block in blocks(&page).iter().filter(|block| block.language == "yaml") {
            let place = format!("{page}:{}", block.line);
            let diagnostics = if block.text.starts_with("rules:") {
                tools::audit::policy::parse(Path::new(&place), &block.text).diagnostics
            } else {
                tools::config::parse(Path::new(&place), &block.text).diagnostics
            };
            assert!(diagnostics.is_empty(), "{diagnostics:#?}");
            count += 1;
        }
    }
    assert!(count > 4, "{count}");
}

#[test]
fn the_picture_in_the_readme_is_what_the_audit_draws() {
    let arch = tools::Architecture::CheriRiscv;
    let workspace = Workspace::locate().unwrap_or_else(|error| panic!("{error}"));
    workspace.build(arch, None).unwrap_or_else(|error| panic!("{error}"));
    let (yaml, _) = workspace.example("two-pure").unwrap_or_else(|error| panic!("{error}"));
    let packed = tools::pack::pack(&yaml, arch, &[workspace.programs(arch)]).unwrap_or_else(|error| panic!("{error}"));
    let audit = tools::audit::audit(&packed.archive, tools::run::Isa::V9).unwrap_or_else(|error| panic!("{error}"));
    let path = "docs/two-pure.svg";
    assert!(read("README.md").contains(&format!("]({path})")));
    if env::var_os("INTRAVISOR_GOLDEN").is_some_and(|what| what == "write") {
        fs::write(root().join(path), audit.to_svg()).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    assert_eq!(read(path), audit.to_svg());
}

#[test]
fn an_ellipsis_stands_for_anything_and_nothing_else_does() {
    let output = "one 1\ntwo\nthree\nfour 4 4\n";
    for said in [
        "one 1\ntwo\nthree\nfour 4 4",
        "one …\n…\nfour … 4",
        "…",
        "…\nthree\n…",
        "one…\ntwo\nthree\n…4",
    ] {
        assert!(is_like(output, said), "{said}");
    }
    for said in [
        "one 1\ntwo\nthree",
        "one 2\n…",
        "…\nfive\n…",
        "two\n…",
        "…\nfour … 5",
        "one 1\n…\ntwo\nfour 4 4",
    ] {
        assert!(!is_like(output, said), "{said}");
    }
}
