//! What must hold after every program, whatever it was.

use std::ops::Range;

use capability::{Decoded, Permissions, Seal};
use machine::Stop;

use super::board::{Register, decode};
use super::setup::{Layout, Owner, Setup};

/// How a run came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It has executed as much as it may, or nothing more happens.
    Done,
    /// The machine stopped.
    Stopped(Stop),
    /// The monitor keeps the processor.
    Stuck,
}

impl Setup {
    /// Everything that is not as it must be, in words; what can be explained by hostcalls and scheduling is not there.
    pub(super) fn violations(&self, ending: &Ending) -> Vec<String> {
        let mut found = Vec::new();
        match ending {
            Ending::Done => {}
            Ending::Stopped(stop) => found.push(format!("the machine stopped: {stop}")),
            Ending::Stuck => found.push("the monitor does not come back".to_owned()),
        }
        self.check_memory(&mut found);
        self.check_frames(&mut found);
        self.check_registers(&mut found);
        self.check_lent(&mut found);
        self.check_taken(&mut found);
        let changed = self.board.changed_since(&self.snapshot).into_iter();
        found.extend(changed.map(|what| format!("changed: {what}")));
        self.check_console(&mut found);
        found
    }

    /// What was written lies where somebody may write; what was stored with a tag is somebody's to hold.
    fn check_memory(&self, found: &mut Vec<String>) {
        let layout = &self.layout;
        let arch = self.platform.arch();
        for change in self.board.memory().changes() {
            let address = change.address;
            let (low, high, tag) = change.after;
            let what = tag.then(|| decode(arch, change.after));
            if layout.subject.memory.contains(&address) {
                let subject = &layout.subject;
                let kept = subject.service_stack.contains(&address);
                let allowed = |what: &Decoded| {
                    belongs(subject, what)
                        || kept && self.is_lent_to_subject(what)
                        || subject.keeps(address) && self.is_passed(subject, what)
                };
                if let Some(what) = what.filter(|what| !allowed(what)) {
                    found.push(format!(
                        "memory of {} at {address:#x} holds {what}",
                        layout.subject.name
                    ));
                }
                for word in [low, high].iter().filter(|word| layout.is_secret(**word)) {
                    found.push(format!(
                        "memory of {} at {address:#x} holds the secret {word:#x}",
                        layout.subject.name
                    ));
                }
            } else if let Some(owner) = layout.neighbours.iter().find(|owner| owner.memory.contains(&address)) {
                let places = [&owner.lends, &owner.gives, &owner.service_stack];
                if !owner.keeps(address) && !places.iter().any(|place| place.contains(&address)) {
                    found.push(format!("memory of {} at {address:#x} was written", owner.name));
                } else if let Some(what) = what.filter(|what| !self.server_may_hold(owner, what)) {
                    found.push(format!("service stack of {} at {address:#x} holds {what}", owner.name));
                }
            } else if let Some(what) = what.filter(|what| !layout.is_entered(what)) {
                found.push(format!(
                    "memory at {address:#x} holds {what}, which no entry of the ledger covers"
                ));
            } else if layout.constants.iter().any(|range| range.contains(&address)) {
                found.push(format!("text or constants of the monitor at {address:#x} were written"));
            } else if layout.buffers.iter().any(|buffer| buffer.contains(&address)) {
                if let Some(what) = what {
                    found.push(format!("a buffer at {address:#x} holds {what}"));
                }
            } else if !layout.monitor.contains(&address) && !layout.gates.contains(&address) {
                found.push(format!("memory of nobody at {address:#x} was written"));
            }
        }
    }

    /// The registers of the sleeping neighbour are as they were; what is saved for a cVM is its own.
    fn check_frames(&self, found: &mut Vec<String>) {
        let layout = &self.layout;
        let holds = |range: &Range<u64>, address: u64| range.contains(&address);
        for change in self
            .board
            .memory()
            .changes()
            .filter(|change| holds(&layout.monitor, change.address))
        {
            let is_of = |owner: &&Owner| owner.frames.iter().any(|frame| holds(frame, change.address));
            let mut owners = layout.neighbours.iter().chain([&layout.subject]);
            let Some(owner) = owners.find(is_of) else { continue };
            let mut frames = owner.frames.iter();
            let frame = frames.find(|frame| holds(frame, change.address));
            let Some(owner) = frame.and_then(|frame| self.saved_for(owner, frame)) else {
                continue;
            };
            let place = format!("saved register of {} at {:#x}", owner.name, change.address);
            let what = change.after.2.then(|| decode(self.platform.arch(), change.after));
            if let Some(what) = what.filter(|what| !self.server_may_hold(owner, what)) {
                found.push(format!("{place} holds {what}"));
            }
            let secret = [change.after.0, change.after.1]
                .into_iter()
                .find(|word| layout.is_secret(*word));
            if let Some(secret) = secret.filter(|_| owner.name == layout.subject.name) {
                found.push(format!("{place} holds the secret {secret:#x}"));
            }
            if owner.name == "victim" && change.before != change.after {
                found.push(format!("{place} was changed"));
            }
        }
        for owner in layout.neighbours.iter().filter(|owner| !owner.within) {
            if self.board.tags_in(owner.frames[0].clone()) < 2 {
                found.push(format!("{} has lost its program counter or its memory", owner.name));
            }
        }
    }

    /// Whether a cVM may hold this capability now: its own ones, and its handler what the caller lends it while the call lasts.
    fn server_may_hold(&self, owner: &Owner, what: &Decoded) -> bool {
        let lends = !owner.service_stack.is_empty()
            && (Permissions::LOAD | Permissions::STORE).contains(what.permissions)
            && self.layout.subject.authority.iter().any(|own| own.contains(what));
        // While the caller runs there is no call.
        let is_subject = owner.within || owner.name == self.layout.subject.name;
        belongs(owner, what)
            || lends && !self.subject_runs()
            || is_subject && self.is_lent_to_subject(what)
            || self.is_passed(owner, what)
    }

    /// Whether others have passed it to a cVM by gates, or as a buffer, and it has not been taken back since: local, and for data
    /// only. What it is given of gates themselves is sealed.
    fn is_passed(&self, owner: &Owner, what: &Decoded) -> bool {
        if what.permissions.contains(Permissions::GLOBAL) {
            return false;
        }
        if within(&self.layout.gates, what) {
            return what.seal != Seal::Unsealed && !owner.passed.is_empty();
        }
        (Permissions::LOAD | Permissions::STORE).contains(what.permissions)
            && !matches!(what.seal, Seal::Otype(_))
            && owner.passed.iter().any(|range| within(range, what))
    }

    /// For whom a thread acts, by the code that it executes: another one than its own cVM when it has gone through a gate.
    /// `None`: it is between two.
    fn acting_at(&self, pc: u64) -> Option<&Owner> {
        let mut owners = self.layout.neighbours.iter().chain([&self.layout.subject]);
        owners.find(|owner| owner.memory.contains(&pc))
    }

    /// Whose registers a frame holds, which is this one's own. While the monitor works it may hold some of either.
    fn saved_for<'a>(&'a self, owner: &'a Owner, frame: &Range<u64>) -> Option<&'a Owner> {
        if self.layout.gates.is_empty() {
            return Some(owner);
        }
        let pc = self.board.saved_program_counter(frame);
        self.acting_at(pc).filter(|_| self.board.in_user_mode(0))
    }

    /// Whether a client lends it to the fuzzed cVM: not while the client runs, which has no call under way then.
    fn is_lent_to_subject(&self, what: &Decoded) -> bool {
        let mut clients = self.layout.neighbours.iter();
        clients.any(|client| {
            let inside = what.base >= client.lends.start && what.top <= u128::from(client.lends.end);
            inside
                && !client.lends.is_empty()
                && (Permissions::LOAD | Permissions::STORE).contains(what.permissions)
                && !matches!(what.seal, Seal::Otype(_))
                && !self.runs(client)
        })
    }

    fn subject_runs(&self) -> bool {
        self.runs(&self.layout.subject)
    }

    fn runs(&self, owner: &Owner) -> bool {
        self.board.in_user_mode(0) && owner.frames.contains(&self.board.saved_registers(0))
    }

    /// The owner of a buffer, while it runs and has taken that back.
    fn taker(&self) -> Option<&Owner> {
        let mut owners = self.layout.neighbours.iter().filter(|owner| !owner.taken.is_empty());
        owners.find(|owner| owner.taken.contains(&self.board.pc(0)) && self.runs(owner))
    }

    /// Whether somebody holds something of a buffer that was taken back.
    pub(super) fn is_kept(&self) -> bool {
        let mut found = Vec::new();
        self.check_taken(&mut found);
        !found.is_empty()
    }

    /// While the owner of a buffer runs that has taken it back, nobody else holds anything of it.
    fn check_taken(&self, found: &mut Vec<String>) {
        let layout = &self.layout;
        let Some(owner) = self.taker() else { return };
        let memory = self.board.memory();
        let buffer = &layout.buffers[0];
        for other in layout.neighbours.iter().chain([&layout.subject]) {
            // What its owner is given back itself is its own.
            if other.name == owner.name {
                continue;
            }
            let places = other.frames.iter().chain(&other.areas);
            let records = [layout.gates.clone()];
            for address in places.chain(&records).flat_map(|place| place.clone().step_by(16)) {
                let Some(offset) = memory.offset(address, 16) else {
                    continue;
                };
                let held = memory.read_granule(offset);
                let what = decode(self.platform.arch(), held);
                let reaches = what.base < buffer.end && u128::from(buffer.start) < what.top;
                if held.2 && reaches {
                    found.push(format!("{} at {address:#x} still holds {what}", other.name));
                }
            }
        }
    }

    /// What was lent before the start, and has not been written since, is gone when its lender runs.
    fn check_lent(&self, found: &mut Vec<String>) {
        let subject = &self.layout.subject;
        let lenders = self.layout.neighbours.iter().filter(|owner| !owner.lends.is_empty());
        if lenders.into_iter().all(|lender| !self.runs(lender)) {
            return;
        }
        let memory = self.board.memory();
        let family = self
            .layout
            .neighbours
            .iter()
            .filter(|owner| owner.within)
            .chain([subject]);
        for owner in family {
            let places = owner.frames.iter().chain([&owner.service_stack]);
            for address in places.flat_map(|place| place.clone().step_by(16)) {
                let Some(offset) = memory.offset(address, 16) else {
                    continue;
                };
                let held = memory.read_granule(offset);
                let what = decode(self.platform.arch(), held);
                if held.2 && !belongs(owner, &what) && !self.is_lent_to_subject(&what) {
                    found.push(format!(
                        "saved register of {} at {address:#x} still holds {what}",
                        owner.name
                    ));
                }
            }
        }
    }

    /// A handler has just deferred its call: it has nothing left of what it was lent, in its registers and on its stack.
    pub(super) fn check_deferred(&self, frame: &Range<u64>, found: &mut Vec<String>) {
        let subject = &self.layout.subject;
        let arch = self.platform.arch();
        // One without a byte is no authority, and nobody looks for it.
        let foreign = |what: &Decoded| what.length() > 0 && !belongs(subject, what);
        for what in self.board.holdings().into_iter().map(|held| decode(arch, held)) {
            if foreign(&what) {
                found.push(format!("a handler that has deferred its call holds {what}"));
            }
        }
        let areas = subject.handlers.iter().filter(|(of, _)| of == frame);
        for address in areas.flat_map(|(_, area)| area.clone().step_by(16)) {
            let Some(offset) = self.board.memory().offset(address, 16) else {
                continue;
            };
            let held = self.board.memory().read_granule(offset);
            let what = decode(arch, held);
            if held.2 && foreign(&what) {
                found.push(format!(
                    "the stack of a handler that has deferred its call holds {what} at {address:#x}"
                ));
            }
        }
    }

    /// No register goes beyond the ledger, and none of the running cVM beyond what is its own.
    fn check_registers(&self, found: &mut Vec<String>) {
        let layout = &self.layout;
        let board = &self.board;
        let frame = board.in_user_mode(0).then(|| board.saved_registers(0));
        let mut owners = layout.neighbours.iter().chain([&layout.subject]);
        let running = frame.and_then(|frame| owners.find(|owner| owner.frames.contains(&frame)));
        if board.in_user_mode(0) && running.is_none() {
            found.push("somebody unknown runs".to_owned());
        }
        // On the way from one cVM into another registers are those of either.
        let running = running.and_then(|owner| match layout.gates.is_empty() {
            true => Some(owner),
            false => self.acting_at(board.pc(0)),
        });
        for (register, what) in board.tagged() {
            let what = decode(self.platform.arch(), what);
            if !layout.is_entered(&what) {
                found.push(format!(
                    "register {register} holds {what}, which no entry of the ledger covers"
                ));
            }
            let is_trusted = register == Register::TRUSTED_STACK && within(&layout.gates, &what);
            let is_own = register.is_privileged() || is_trusted;
            if let Some(owner) = running.filter(|owner| !is_own && !self.server_may_hold(owner, &what)) {
                found.push(format!("register {register} of {} holds {what}", owner.name));
            }
        }
        if running.is_some_and(|owner| owner.name == layout.subject.name) {
            for word in board.readable_words() {
                if layout.is_secret(word) {
                    found.push(format!(
                        "a register of {} holds the secret {word:#x}",
                        layout.subject.name
                    ));
                }
            }
        }
    }

    /// What is printed comes from the fuzzed cVM or the monitor, says so, and tells no secret.
    fn check_console(&self, found: &mut Vec<String>) {
        let new = &self.board.console().output()[self.printed..];
        if new.is_empty() {
            return;
        }
        let text = String::from_utf8_lossy(new);
        let family = self.layout.neighbours.iter().filter(|owner| owner.within);
        let family = family.chain([&self.layout.subject]);
        let own: Vec<String> = family.map(|owner| format!("[{}] ", owner.name)).collect();
        for line in text.split_inclusive("\r\n") {
            let whole = line.ends_with("\r\n");
            let labelled = own.iter().any(|own| line.starts_with(own)) || line.starts_with("[monitor] ");
            if whole && !labelled {
                found.push(format!("on the console: {line:?}"));
            }
        }
        if text.contains("panic") || text.contains("fault in the monitor") {
            found.push(format!("the monitor reports a fault of its own: {text:?}"));
        }
        let secrets = self.layout.secrets.iter().map(|secret| format!("{secret:x}"));
        found.extend(
            secrets
                .filter(|secret| text.contains(secret))
                .map(|secret| format!("the console tells the secret {secret}")),
        );
    }
}

impl Layout {
    fn is_entered(&self, what: &Decoded) -> bool {
        self.ledger.iter().any(|entry| what.is_subset_of(entry))
    }
}

fn within(range: &Range<u64>, what: &Decoded) -> bool {
    range.start <= what.base && what.top <= u128::from(range.end)
}

/// Whether a cVM may hold this capability: within its own, and not sealed in a way that takes sealing authority.
fn belongs(owner: &Owner, what: &Decoded) -> bool {
    owner.may_hold(what) && !matches!(what.seal, Seal::Otype(_))
}
