//! `cheri-machine` as a person meets it: at a terminal, and with its output in a file.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tests::{Platform, Scenario, cvm};
use tools::workspace::Workspace;

/// Status of the machine when a person ends the run.
const ENDED: i32 = 126;

/// The machine with `echo` and its embedded board's defaults, as a command; the image lies in the folder.
fn echo(directory: &tempfile::TempDir) -> Command {
    let image = directory.path().join("echo.img");
    let bytes = Scenario::new([cvm("echo", "echo", &[])]).image(Platform::MachineV9);
    std::fs::write(&image, bytes).unwrap_or_else(|error| panic!("{}: {error}", image.display()));
    let workspace = Workspace::locate().unwrap_or_else(|error| panic!("{error}"));
    let machine = workspace.build_machine(None).unwrap_or_else(|error| panic!("{error}"));
    let mut command = Command::new(machine);
    command.arg("--kernel").arg(image);
    command
}

/// A pair of terminal ends: the person's, and the program's.
fn terminal() -> (File, File) {
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&person)
        .and_then(|()| unlockpt(&person))
        .expect("its other end");
    let name = ptsname(&person, Vec::new())
        .expect("its name")
        .into_string()
        .expect("a name in UTF-8");
    let program = File::options().read(true).write(true).open(&name);
    (
        File::from(person),
        program.unwrap_or_else(|error| panic!("{name}: {error}")),
    )
}

/// A person at the terminal of a program.
struct Person {
    terminal: File,
    program: Child,
    seen: String,
}

impl Person {
    fn at(mut command: Command) -> Person {
        let (terminal, other) = terminal();
        let end = || Stdio::from(OwnedFd::from(other.try_clone().expect("another handle")));
        let program = command.stdin(end()).stdout(end()).stderr(end()).spawn();
        Person {
            terminal,
            program: program.expect("the machine starts"),
            seen: String::new(),
        }
    }

    /// Waits until `text` has appeared behind what was waited for before.
    fn sees(&mut self, text: &str) {
        let mut buffer = [0; 4096];
        while !self.seen.contains(text) {
            let count = self.terminal.read(&mut buffer);
            let count = count.unwrap_or_else(|error| panic!("waiting for {text:?}: {error}\n{}", self.seen));
            self.seen += &String::from_utf8_lossy(&buffer[..count]);
        }
        let end = self.seen.find(text).map_or(0, |start| start + text.len());
        self.seen.drain(..end);
    }

    fn types(&mut self, keys: &str) {
        self.terminal
            .write_all(keys.as_bytes())
            .expect("the terminal takes keys");
    }

    fn ended_with(mut self) -> Option<i32> {
        self.program.wait().expect("the machine ends").code()
    }
}

#[test]
fn the_machine_says_how_to_leave_it_and_can_be_left() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let mut person = Person::at(echo(&directory));
    person.sees("cheri-machine: Ctrl-A x ends the run; all other keys go to the guest\r\n");
    person.sees("quit ends\r\n");
    person.types("\u{1}x");
    person.sees("cheri-machine: ended from the console");
    assert_eq!(person.ended_with(), Some(ENDED));
}

#[test]
fn a_person_sees_and_edits_what_is_typed() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let mut person = Person::at(echo(&directory));
    person.sees("quit ends\r\n");
    person.types("helo");
    person.sees("[echo] helo");
    person.types("\u{7f}");
    person.sees("\r[echo] hel\u{1b}[K");
    person.types("lo\r");
    person.sees("lo\r\n[echo] you said: hello\r\n");
    person.types("\u{3}");
    person.sees("[echo] ^C\r\n[echo] goodbye\r\n");
    assert_eq!(person.ended_with(), Some(0));
}

#[test]
fn output_that_goes_to_no_terminal_has_lines_of_the_host() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let output = echo(&directory)
        .stdin(Stdio::null())
        .output()
        .expect("the machine starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("[echo] say something; quit ends\n"), "{text}");
    assert!(!text.contains('\r'), "{text:?}");
    // Nobody is there to leave.
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(!said.contains("Ctrl-A"), "{said}");
}
