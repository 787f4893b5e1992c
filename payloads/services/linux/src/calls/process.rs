//! The program itself, and those that it has made.

use super::Context;
use super::time::SECOND;
use crate::credentials::EXECUTE;
use crate::layout::encode;
use crate::process::Whom;
use crate::slot::Texts;
use crate::spawn::Execution;
use crate::{Error, Outcome, Platform, Result};
use alloc::vec::Vec;
use linux_raw_sys::general as sys;
use linux_raw_sys::general::{__kernel_old_timeval, rusage};
use linux_raw_sys::system::new_utsname;

/// Bytes of the name of a thread, its NUL among them.
const NAME: usize = 16;
/// Most arguments of a program, and most entries of its environment.
const TEXTS: usize = 1024;
/// Bytes of the first line of a script that are looked at.
const SCRIPT: usize = 256;
/// Bytes of a `siginfo`, why a child has ended, and whom a `waitid` is for.
const INFORMATION: u64 = 128;
const EXITED: u32 = 1;
const KILLED: u32 = 2;
const P_PGID: u32 = 2;

impl<P: Platform> Context<'_, P> {
    /// `umask`.
    pub(super) fn set_mask(&mut self, mask: u64) -> Result {
        Ok(core::mem::replace(&mut self.program.mask, mask as u32 & 0o777).into())
    }

    /// `uname`.
    pub(super) fn system_name(&mut self, address: u64) -> Result {
        const FIELD: usize = size_of::<new_utsname>() / 6;
        let machine = self.platform.machine();
        let texts = [
            "Linux",
            "intravisor",
            "6.1.0",
            "library OS of the Intravisor",
            machine,
            "(none)",
        ];
        let mut bytes = [0; size_of::<new_utsname>()];
        for (field, text) in bytes.chunks_exact_mut(FIELD).zip(texts) {
            field[..text.len()].copy_from_slice(text.as_bytes());
        }
        self.put(address, &bytes)?;
        Ok(0)
    }

    /// `prctl`, as far as it is about the name of a thread.
    pub(super) fn control_process(&mut self, what: u64, address: u64) -> Result {
        let place = self.who.thread;
        match what as u32 {
            linux_raw_sys::prctl::PR_SET_NAME => {
                let mut name = [0; NAME];
                for (at, byte) in name[..NAME - 1].iter_mut().enumerate() {
                    let mut one = [0];
                    self.get(address.wrapping_add(at as u64), &mut one)?;
                    *byte = one[0];
                    if *byte == 0 {
                        break;
                    }
                }
                self.program.threads.entry(place).or_default().name = Some(name);
                Ok(0)
            }
            linux_raw_sys::prctl::PR_GET_NAME => {
                let given = self.program.threads.get(&place).and_then(|thread| thread.name);
                let name = given.unwrap_or_else(|| {
                    let file = self
                        .program
                        .file
                        .rsplit(|byte| *byte == b'/')
                        .next()
                        .unwrap_or_default();
                    let mut name = [0; NAME];
                    let count = file.len().min(NAME - 1);
                    name[..count].copy_from_slice(&file[..count]);
                    name
                });
                self.put(address, &name)?;
                Ok(0)
            }
            _ => Err(Error::EINVAL),
        }
    }

    /// `getrandom`.
    pub(super) fn get_random(&mut self, address: u64, length: u64, flags: u64) -> Result {
        let both = sys::GRND_RANDOM | sys::GRND_INSECURE;
        if flags as u32 & !(both | sys::GRND_NONBLOCK) != 0 || flags as u32 & both == both {
            return Err(Error::EINVAL);
        }
        let mut bytes = [0; 256];
        let length = length.min(bytes.len() as u64);
        let bytes = &mut bytes[..length as usize];
        self.platform.random(bytes);
        self.put(address, bytes)?;
        Ok(length)
    }

    /// `getrusage`: the time since the program has begun is its own.
    pub(super) fn usage(&mut self, who: u64, address: u64) -> Result {
        const SELF: i32 = 0;
        const THREAD: i32 = 1;
        if !matches!(who as i32, SELF | THREAD | -1) {
            return Err(Error::EINVAL);
        }
        let mut bytes = [0; size_of::<rusage>()];
        if who as i32 >= SELF {
            let spent = self.now(sys::CLOCK_PROCESS_CPUTIME_ID.into())?;
            let time = encode!(__kernel_old_timeval {
                tv_sec: (spent / SECOND) as i64,
                tv_usec: (spent % SECOND / 1000) as i64,
            });
            bytes[..time.len()].copy_from_slice(&time);
        }
        self.put(address, &bytes)?;
        Ok(0)
    }

    /// `prlimit64`: no limit but that of descriptors, which can be lowered.
    pub(super) fn limits(&mut self, resource: u64, new: u64, address: u64) -> Result {
        if resource as u32 >= sys::RLIM_NLIMITS {
            return Err(Error::EINVAL);
        }
        let files = resource as u32 == sys::RLIMIT_NOFILE;
        let before = if files {
            self.program.descriptors.limit
        } else {
            (u64::MAX, u64::MAX)
        };
        if new != 0 {
            let (soft, hard) = (
                self.program.window.word(self.platform, new)?,
                self.program.window.word(self.platform, new.wrapping_add(8))?,
            );
            if soft > hard {
                return Err(Error::EINVAL);
            }
            if hard > before.1 {
                return Err(Error::EPERM);
            }
            if files {
                self.program.descriptors.limit = (soft, hard);
            }
        }
        if address != 0 {
            let bytes = encode!(sys::rlimit64 {
                rlim_cur: before.0,
                rlim_max: before.1,
            });
            self.put(address, &bytes)?;
        }
        Ok(0)
    }

    /// Texts that a vector of pointers leads to, each with its NUL.
    fn texts(&self, mut vector: u64) -> Result<Vec<Vec<u8>>> {
        let mut texts = Vec::new();
        while vector != 0 {
            let pointer = self.program.window.word(self.platform, vector)?;
            if pointer == 0 {
                break;
            }
            if texts.len() == TEXTS {
                return Err(Error::E2BIG);
            }
            let mut text = self.program.window.text(self.platform, pointer)?;
            text.push(0);
            texts.push(text);
            vector = vector.wrapping_add(8);
        }
        Ok(texts)
    }

    /// What `execve` is asked for. A file that begins with `#!` names another one, which gets it as an argument.
    pub(crate) fn execution(&self, [path, arguments, environment]: [u64; 3]) -> Result<Execution> {
        let mut file = self.program.window.text(self.platform, path)?;
        if file == b"/proc/self/exe" {
            file.clone_from(&self.program.file);
        }
        let mut texts = Texts {
            arguments: self.texts(arguments)?,
            environment: self.texts(environment)?,
        };
        let tree = &self.shared.tree;
        let mut node = tree
            .find_as(&self.program.credentials, self.program.directory, &file, true)?
            .node
            .ok_or(Error::ENOENT)?;
        self.program.credentials.may(&tree.facts(node)?, EXECUTE)?;
        let mut start = [0; SCRIPT];
        let count = tree.read(node, 0, &mut start).map_err(|_| Error::EACCES)?;
        if let Some(line) = start[..count].strip_prefix(b"#!") {
            let executable = tree.facts(node)?.mode & 0o111 != 0;
            let line = line
                .split(|byte| *byte == b'\n')
                .next()
                .unwrap_or_default()
                .trim_ascii();
            let (interpreter, option) = match line.iter().position(u8::is_ascii_whitespace) {
                Some(end) => (&line[..end], line[end..].trim_ascii()),
                None => (line, [].as_slice()),
            };
            if !executable || interpreter.is_empty() {
                return Err(if executable { Error::ENOEXEC } else { Error::EACCES });
            }
            let named = |text: &[u8]| [text, &[0]].concat();
            let mut before = alloc::vec![named(interpreter)];
            if !option.is_empty() {
                before.push(named(option));
            }
            before.push(named(&file));
            texts.arguments.splice(..texts.arguments.len().min(1), before);
            file = interpreter.to_vec();
            node = tree
                .find_as(&self.program.credentials, self.program.directory, &file, true)?
                .node
                .ok_or(Error::ENOENT)?;
        }
        Ok(Execution { node, file, texts })
    }

    /// `getppid`.
    pub(super) fn parent(&self) -> Result {
        Ok(self
            .shared
            .processes
            .get(self.program.id)
            .map_or(0, |process| process.parent)
            .into())
    }

    /// The number of a process that a call names, 0 for its own.
    fn named_process(&self, number: u64) -> u32 {
        if number as u32 == 0 {
            self.program.id
        } else {
            number as u32
        }
    }

    /// `getpgid` and `getsid`.
    pub(super) fn group(&self, number: u64, session: bool) -> Result {
        let process = self.shared.processes.get(self.named_process(number))?;
        Ok(if session { process.session } else { process.group }.into())
    }

    /// `setpgid`, of itself or of a child that has not executed a file yet.
    pub(super) fn set_group(&mut self, number: u64, group: u64) -> Result {
        if (group as i32) < 0 {
            return Err(Error::EINVAL);
        }
        let number = self.named_process(number);
        let wanted = if group as u32 == 0 { number } else { group as u32 };
        let own = self.shared.processes.get(self.program.id)?.session;
        let process = self.shared.processes.get(number)?;
        if number != self.program.id && process.parent != self.program.id {
            return Err(Error::ESRCH);
        }
        if number != self.program.id && process.executed {
            return Err(Error::EACCES);
        }
        let processes = &self.shared.processes;
        let there = processes
            .of_group(wanted)
            .any(|member| processes.get(member).is_ok_and(|member| member.session == own));
        if process.session != own || process.session == number || wanted != number && !there {
            return Err(Error::EPERM);
        }
        self.shared.processes.get_mut(number)?.group = wanted;
        Ok(0)
    }

    /// `setsid`.
    pub(super) fn set_session(&mut self) -> Result {
        let id = self.program.id;
        if self.shared.processes.of_group(id).next().is_some() {
            return Err(Error::EPERM);
        }
        let process = self.shared.processes.get_mut(id)?;
        (process.session, process.group) = (id, id);
        Ok(id.into())
    }

    /// `wait4`.
    pub(super) fn wait(&mut self, [whom, status, options, usage]: [u64; 4]) -> Result<Outcome> {
        if options as u32
            & !(sys::WNOHANG | sys::WUNTRACED | sys::WCONTINUED | sys::__WNOTHREAD | sys::__WCLONE | sys::__WALL)
            != 0
        {
            return Err(Error::EINVAL);
        }
        if whom as i32 == i32::MIN {
            return Err(Error::ESRCH);
        }
        let own = self.shared.processes.get(self.program.id)?.group;
        let whom = match whom as i32 {
            -1 => Whom::Anybody,
            0 => Whom::Group(own),
            one if one > 0 => Whom::One(one as u32),
            group => Whom::Group(group.unsigned_abs()),
        };
        for (address, length) in [(status, 4), (usage, size_of::<rusage>() as u64)] {
            if address != 0 {
                self.program.window.check(address, length)?;
            }
        }
        match self.shared.processes.ended(self.program.id, whom, true)? {
            Some((number, how)) => {
                if status != 0 {
                    self.put(status, &how.to_ne_bytes())?;
                }
                if usage != 0 {
                    self.put(usage, &[0; size_of::<rusage>()])?;
                }
                Ok(Outcome::Value(number.into()))
            }
            None if options as u32 & sys::WNOHANG != 0 => Ok(Outcome::Value(0)),
            None => Ok(self.wait_again(None, 0)),
        }
    }

    /// `waitid`.
    pub(super) fn wait_for_id(&mut self, [kind, number, information, options]: [u64; 4]) -> Result<Outcome> {
        let options = options as u32;
        let whom = match kind as u32 {
            sys::P_ALL => Whom::Anybody,
            sys::P_PID => Whom::One(number as u32),
            P_PGID => Whom::Group(number as u32),
            _ => return Err(Error::EINVAL),
        };
        if options & sys::WEXITED == 0 {
            return Err(Error::EINVAL);
        }
        if information != 0 {
            self.program.window.check(information, INFORMATION)?;
        }
        let take = options & sys::WNOWAIT == 0;
        let found = self.shared.processes.ended(self.program.id, whom, take)?;
        if found.is_none() && options & sys::WNOHANG == 0 {
            return Ok(self.wait_again(None, 0));
        }
        if information != 0 {
            self.program.window.zero(self.platform, information, INFORMATION)?;
            if let Some((number, how)) = found {
                // Number of the signal, 0, why it was sent; whose, whose user, how.
                let (why, status) = match how & 0x7f {
                    0 => (EXITED, how >> 8),
                    signal => (KILLED, signal),
                };
                let words = [sys::SIGCHLD, 0, why, 0, number, 0, status];
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
                self.put(information, &bytes)?;
            }
        }
        Ok(Outcome::Value(0))
    }
}
