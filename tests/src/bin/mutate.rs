//! Changes one line of the kernel at a time, in a copy of the workspace, and lets the kernel's own tests look whether they notice.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;

/// What stands for what; blanks keep generics, references and closures out of it.
const EXCHANGES: &[(&str, &str)] = &[
    (" == ", " != "),
    (" != ", " == "),
    (" < ", " <= "),
    (" <= ", " < "),
    (" > ", " >= "),
    (" >= ", " > "),
    (" && ", " || "),
    (" || ", " && "),
    (" + ", " - "),
    (" - ", " + "),
    (" += ", " -= "),
    (" & ", " | "),
    ("if !", "if "),
    ("true", "false"),
    ("false", "true"),
    (".min(", ".max("),
    (".max(", ".min("),
    (".any(", ".all("),
    (".all(", ".any("),
    ("saturating_add", "saturating_sub"),
];
/// Changes one line of the kernel at a time and runs its tests.
#[derive(Parser)]
struct Options {
    /// Which mutants: the same number chooses the same ones of the same sources
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many of them
    #[arg(long, default_value_t = 40)]
    count: usize,
    /// Only files whose path contains this
    #[arg(long, default_value = "kernel/src/")]
    file: String,
    /// Show them, and try none
    #[arg(long)]
    list: bool,
}

/// A changed line.
struct Mutant {
    file: String,
    line: usize,
    before: String,
    after: String,
}

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// A test failed, or the tests did not come to an end.
    Killed,
    /// All tests passed.
    Survived,
    /// The compiler refused it.
    Refused,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut mutants = Vec::new();
    for file in tracked(&root)? {
        // What only tests use, and what every other file of the kernel would show at once.
        let wanted = file.contains(&options.file) && file.ends_with(".rs");
        if !wanted || file.contains("/tests/") || file.ends_with("fuzz.rs") {
            continue;
        }
        mutants.extend(of_file(&file, &read(&root.join(&file))?));
    }
    let possible = mutants.len();
    shuffle(&mut mutants, options.seed);
    mutants.truncate(options.count);
    if options.list {
        for mutant in &mutants {
            println!("{}", describe(mutant));
        }
        return Ok(());
    }
    let copy = root.join("target/mutants/tree");
    copy_tree(&root, &copy)?;
    let start = Instant::now();
    match test(&copy, Duration::MAX)? {
        Fate::Survived => {}
        Fate::Killed => return Err("the tests fail without a mutant".to_owned()),
        Fate::Refused => return Err("the tests cannot be built without a mutant".to_owned()),
    }
    // Longer than the tests alone take: they had to be built.
    let limit = start.elapsed();
    let mut counts = [0; 3];
    for mutant in &mutants {
        let path = copy.join(&mutant.file);
        let original = read(&path)?;
        let mut lines: Vec<&str> = original.split('\n').collect();
        lines[mutant.line] = &mutant.after;
        write(&path, &lines.join("\n"))?;
        let fate = test(&copy, limit);
        write(&path, &original)?;
        let fate = fate?;
        counts[fate as usize] += 1;
        if fate == Fate::Survived {
            println!("survived: {}", describe(mutant));
        }
    }
    let [killed, survived, refused] = counts;
    println!(
        "{possible} mutants possible, seed {}: {} tried, {killed} killed, {survived} survived, {refused} refused by the compiler",
        options.seed,
        mutants.len()
    );
    Ok(())
}

fn describe(mutant: &Mutant) -> String {
    let Mutant {
        file,
        line,
        before,
        after,
    } = mutant;
    format!("{file}:{}: `{}` -> `{}`", line + 1, before.trim(), after.trim())
}

/// Every mutant of a file.
fn of_file(file: &str, text: &str) -> Vec<Mutant> {
    let mut found = Vec::new();
    for (line, before) in text.split('\n').enumerate() {
        let code = before.trim_start();
        if code.starts_with("//") || code.starts_with('#') || code.starts_with("use ") || before.contains('"') {
            continue;
        }
        let mut add = |after: String| {
            found.push(Mutant {
                file: file.to_owned(),
                line,
                before: before.to_owned(),
                after,
            });
        };
        for (from, to) in EXCHANGES {
            for (at, _) in before.match_indices(from) {
                add(format!("{}{to}{}", &before[..at], &before[at + from.len()..]));
            }
        }
        // A statement that only calls something.
        let calls = code.ends_with(");") && code.starts_with(|first: char| first.is_ascii_lowercase());
        let kept = ["let ", "return ", "assert", "say!", "debug_assert", "panic!"];
        if calls && !kept.iter().any(|word| code.starts_with(word)) && !code.contains(" = ") {
            add(String::new());
        }
    }
    found
}

/// Into an order that follows from the seed.
fn shuffle(mutants: &mut [Mutant], seed: u64) {
    let mut state = seed;
    for last in (1..mutants.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        mutants.swap(last, (state >> 33) as usize % (last + 1));
    }
}

/// The files that belong to the workspace.
fn tracked(root: &Path) -> Result<Vec<String>, String> {
    let listed = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(["ls-files", "-z"])
        .output();
    let listed = listed.map_err(|error| format!("git ls-files: {error}"))?;
    let names = String::from_utf8(listed.stdout).map_err(|error| format!("git ls-files: {error}"))?;
    Ok(names
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}

fn copy_tree(root: &Path, copy: &Path) -> Result<(), String> {
    for file in tracked(root)? {
        let (from, to): (PathBuf, PathBuf) = (root.join(&file), copy.join(&file));
        let Ok(bytes) = std::fs::read(&from) else { continue };
        if std::fs::read(&to).is_ok_and(|old| old == bytes) {
            continue;
        }
        let parent = to.parent().unwrap_or(copy);
        std::fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
        // With its permissions: some are programs.
        std::fs::copy(&from, &to).map_err(|error| format!("{}: {error}", to.display()))?;
    }
    Ok(())
}

/// Builds and runs the kernel's tests in the copy.
fn test(copy: &Path, limit: Duration) -> Result<Fate, String> {
    let mut build = Command::new("cargo");
    build.current_dir(copy).env("CARGO_TARGET_DIR", copy.join("../target"));
    build.args(["test", "--no-run", "--lib", "--message-format=json", "-p", "kernel"]);
    let built = build
        .stderr(Stdio::null())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    if !built.status.success() {
        return Ok(Fate::Refused);
    }
    let messages = String::from_utf8_lossy(&built.stdout);
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let program = messages
        .rev()
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    let program = program.ok_or("cargo names no test program")?;
    let mut tests = Command::new(&program);
    tests
        .current_dir(copy.join("kernel"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut tests = tests
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let start = Instant::now();
    loop {
        match tests
            .try_wait()
            .map_err(|error| format!("{}: {error}", program.display()))?
        {
            Some(status) if status.success() => return Ok(Fate::Survived),
            Some(_) => return Ok(Fate::Killed),
            None if start.elapsed() > limit => {
                tests
                    .kill()
                    .map_err(|error| format!("{}: {error}", program.display()))?;
                tests
                    .wait()
                    .map_err(|error| format!("{}: {error}", program.display()))?;
                return Ok(Fate::Killed);
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
