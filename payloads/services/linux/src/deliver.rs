//! Signals reach programs: they end them, or their handlers are called, on the stack of a thread, between two instructions or in
//! the place of a call's end. The machine's part of the frame is where Linux has it; vector registers are saved by the
//! trampoline that calls the handler.

use crate::program::{Program, Sent, Who};
use crate::system::{On, Outcome, System, Waiting};
use crate::{Error, Platform, Result};
use core::mem::offset_of;
use core::ops::Range;
use linux_raw_sys::general as sys;

/// Signals that do nothing by themselves; those that stop a program have nobody who would let it go on.
pub(crate) const HARMLESS: [u32; 8] = [
    sys::SIGCHLD,
    sys::SIGCONT,
    sys::SIGURG,
    sys::SIGWINCH,
    sys::SIGSTOP,
    sys::SIGTSTP,
    sys::SIGTTIN,
    sys::SIGTTOU,
];
/// What stands for a handler that does nothing.
pub(crate) const IGNORE: u64 = 1;

/// Bytes of `siginfo`, and of a `ucontext` before the machine's part; where its set of signals is.
const INFORMATION: u64 = 128;
const BEFORE: u64 = 176;
const SET: u64 = 40;
/// Where it says what stack there is for handlers.
const STACK: u64 = 16;
/// Bytes of a frame. Linux's own has room for vector registers.
const FRAME: u64 = INFORMATION + BEFORE + 816;
/// Bytes of an instruction that makes a call, on both architectures.
const CALL: u64 = 4;

/// The bit of a signal in a set.
pub(crate) fn bit(signal: u32) -> u64 {
    1 << (signal - 1)
}

/// A stack for handlers as programs are told of it, of a thread whose stack pointer is here.
pub(crate) fn stack(own: &Range<u64>, here: u64) -> [u8; size_of::<sys::stack_t>()] {
    let flags = if own.is_empty() {
        sys::SS_DISABLE
    } else if own.contains(&here.wrapping_sub(1)) {
        sys::SS_ONSTACK
    } else {
        0
    };
    let mut bytes = [0; size_of::<sys::stack_t>()];
    bytes[offset_of!(sys::stack_t, ss_sp)..][..8].copy_from_slice(&own.start.to_ne_bytes());
    bytes[offset_of!(sys::stack_t, ss_flags)..][..4].copy_from_slice(&flags.to_ne_bytes());
    bytes[offset_of!(sys::stack_t, ss_size)..][..8].copy_from_slice(&(own.end - own.start).to_ne_bytes());
    bytes
}

/// What a thread does that a handler is called in.
#[derive(Clone, Copy, Debug)]
enum At {
    /// It returns from a call with this.
    Return(u64),
    /// It waits in a call, which is made again where that makes sense.
    Wait { again: bool },
    /// It computes.
    Anywhere,
}

impl Waiting {
    /// Whether a signal ends the wait, and then whether the call can be made again.
    fn interruptible(&self) -> Option<bool> {
        match self.on {
            On::Child { .. } => None,
            On::Time { .. } => Some(false),
            On::Word { .. } => Some(true),
            On::Anything { number, .. } => Some(!matches!(
                number as u32,
                sys::__NR_ppoll
                    | sys::__NR_pselect6
                    | sys::__NR_epoll_pwait
                    | sys::__NR_epoll_pwait2
                    | sys::__NR_rt_sigsuspend
                    | sys::__NR_rt_sigtimedwait
            )),
        }
    }
}

/// The place in the queue of the signal that comes next to a thread, if one does.
fn next(program: &Program, place: u16) -> Option<usize> {
    let thread = program.threads.get(&place)?;
    let wanted = program.pending & !thread.blocked;
    if wanted == 0 {
        return None;
    }
    program.next_of(place, wanted)
}

/// What a signal does that comes to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    Nothing,
    Ends,
    /// It waits for a thread that is to see it.
    Waits,
    /// There are too many already.
    Full,
}

/// A signal comes to a program, which keeps it if it is to see it.
pub(crate) fn arrive(program: &mut Program, sent: Sent) -> Arrival {
    let signal = sent.signal;
    // What is blocked may mean something else by the time that it is not.
    if signal == sys::SIGKILL {
        return Arrival::Ends;
    }
    if !program.blocks(&sent) {
        match program.action(signal).handler() {
            0 if HARMLESS.contains(&signal) => return Arrival::Nothing,
            0 => return Arrival::Ends,
            IGNORE => return Arrival::Nothing,
            _ => {}
        }
    }
    if program.keep(sent) {
        Arrival::Waits
    } else {
        Arrival::Full
    }
}

/// A signal as programs are told of it.
pub(crate) fn information(sent: &Sent) -> [u8; INFORMATION as usize] {
    let mut bytes = [0; INFORMATION as usize];
    bytes[..4].copy_from_slice(&sent.signal.to_ne_bytes());
    bytes[8..12].copy_from_slice(&sent.told.code.to_ne_bytes());
    bytes[16..20].copy_from_slice(&sent.told.from[0].to_ne_bytes());
    bytes[20..24].copy_from_slice(&sent.told.from[1].to_ne_bytes());
    bytes[24..32].copy_from_slice(&sent.told.value.to_ne_bytes());
    bytes
}

impl System {
    /// Does what signals ask for that programs have sent.
    pub(crate) fn signals<P: Platform>(&mut self, platform: &mut P) {
        while !self.shared.signals.is_empty() {
            let (id, sent) = self.shared.signals.remove(0);
            self.signal(platform, id, sent);
        }
    }

    /// A signal comes to a process; number 0 stands for those that have come already.
    fn signal<P: Platform>(&mut self, platform: &mut P, id: u32, sent: Sent) {
        let Some((key, program)) = self.programs.iter_mut().find(|(_, program)| program.id == id) else {
            return;
        };
        let key = *key;
        let arrival = if sent.signal == 0 {
            Arrival::Waits
        } else {
            arrive(program, sent)
        };
        match arrival {
            Arrival::Ends => {
                self.finish(platform, key, sent.signal, None);
            }
            Arrival::Waits => {
                self.shared.stirred = true;
                self.wake_for_signal(platform, key);
            }
            Arrival::Nothing | Arrival::Full => {}
        }
    }

    /// Lets a thread of a program call a handler: one that waits, else one that computes.
    fn wake_for_signal<P: Platform>(&mut self, platform: &mut P, key: u32) {
        let Some(program) = self.programs.get(&key) else { return };
        let ready = |waiting: &Waiting| {
            let willing = program.owns(waiting.who) && next(program, waiting.who.thread).is_some();
            willing && waiting.token.is_some() && waiting.interruptible().is_some()
        };
        if let Some(index) = self.shared.waiting.iter().position(ready) {
            let waiting = self.shared.waiting.remove(index);
            let again = waiting.interruptible().unwrap_or_default();
            self.tell_left(platform, key, &waiting);
            self.interrupt(platform, key, waiting.who, waiting.token, At::Wait { again });
            return;
        }
        let client = program.client;
        let places = program.threads.keys().copied();
        let computing = places
            .filter(|place| next(program, *place).is_some())
            .find_map(|thread| {
                let who = Who { client, thread };
                Some((who, platform.seize(who).ok()?))
            });
        if let Some((who, token)) = computing {
            self.interrupt(platform, key, who, Some(token), At::Anywhere);
        }
    }

    /// Tells a program that is interrupted how much longer it would have slept.
    fn tell_left<P: Platform>(&self, platform: &mut P, key: u32, waiting: &Waiting) {
        if let (
            On::Time {
                left: Some((address, until)),
            },
            Some(program),
        ) = (waiting.on, self.programs.get(&key))
        {
            let left = until.saturating_sub(platform.clock());
            // Where it cannot be told it is not: the call has been interrupted in any case.
            let _ = program.put_time(platform, address, left);
        }
    }

    /// Calls a handler in a thread that waits with a token.
    fn interrupt<P: Platform>(&mut self, platform: &mut P, key: u32, who: Who, token: Option<u64>, at: At) {
        match self.enter(platform, key, who, token, at) {
            Ok(Some(signal)) => {
                platform.answer(token.unwrap_or_default(), signal.into());
            }
            Ok(None) => {}
            Err(ended) => {
                // It waits still, and ends as one that does.
                let on = On::Time { left: None };
                self.shared.waiting.push(Waiting { who, token, on });
                self.finish(platform, key, ended, None);
            }
        }
    }

    /// What comes of a call when signals have come meanwhile.
    pub(crate) fn interrupt_call<P: Platform>(
        &mut self,
        platform: &mut P,
        key: u32,
        who: Who,
        outcome: Outcome,
    ) -> Outcome {
        let Some(program) = self.programs.get(&key) else {
            return outcome;
        };
        if program.pending == 0 || next(program, who.thread).is_none() {
            return outcome;
        }
        let at = match outcome {
            Outcome::Value(value) => At::Return(value),
            Outcome::Wait { .. } => {
                let waits = self.shared.waiting.iter().position(|waiting| waiting.is_of(who));
                let Some((index, again)) = waits.and_then(|index| {
                    let again = self.shared.waiting[index].interruptible()?;
                    Some((index, again))
                }) else {
                    return outcome;
                };
                let waiting = self.shared.waiting.remove(index);
                self.tell_left(platform, key, &waiting);
                At::Wait { again }
            }
            other => return other,
        };
        match self.enter(platform, key, who, None, at) {
            Ok(Some(signal)) => Outcome::Value(signal.into()),
            Ok(None) => outcome,
            Err(ended) => self.finish(platform, key, ended, Some(who)),
        }
    }

    /// Prepares a thread to call the handler of the next signal, which becomes its first argument; none when there is no such
    /// signal any more.
    ///
    /// # Errors
    /// The signal that ends the program instead: its stack has no room.
    fn enter<P: Platform>(
        &mut self,
        platform: &mut P,
        key: u32,
        who: Who,
        token: Option<u64>,
        at: At,
    ) -> core::result::Result<Option<u32>, u32> {
        let fault = |_: Error| sys::SIGSEGV;
        let program = self.programs.get_mut(&key).ok_or(sys::SIGKILL)?;
        let Some(index) = next(program, who.thread) else {
            return Ok(None);
        };
        let sent = program.take_sent(index);
        let signal = sent.signal;
        let action = program.action(signal);
        if action.handler() <= IGNORE {
            // It has come to mean something else since it was blocked.
            let ends = action.handler() != IGNORE && !HARMLESS.contains(&signal);
            return if ends { Err(signal) } else { Ok(None) };
        }
        let roles = platform.roles();
        let mut words = platform.registers(token).map_err(fault)?;
        match at {
            At::Return(value) => words[roles.result] = value,
            At::Wait { again } if again && action.flags() & sys::SA_RESTART != 0 => {
                words[roles.counter] = words[roles.counter].wrapping_sub(CALL);
            }
            At::Wait { .. } => words[roles.result] = Error::EINTR.to_result(),
            At::Anywhere => {}
        }
        let thread = program.threads.get_mut(&who.thread).ok_or(sys::SIGKILL)?;
        let restored = thread.restored.take().unwrap_or(thread.blocked);
        thread.blocked |= action.mask();
        if action.flags() & sys::SA_NODEFER == 0 {
            thread.blocked |= bit(signal);
        }
        let (own, here) = (thread.stack.clone(), words[roles.stack]);
        let elsewhere =
            action.flags() & sys::SA_ONSTACK != 0 && !own.is_empty() && !own.contains(&here.wrapping_sub(1));
        let frame = if elsewhere { own.end } else { here }.wrapping_sub(FRAME) & !15;
        let context = frame.wrapping_add(INFORMATION);
        let window = program.window;
        window.zero(platform, frame, FRAME).map_err(fault)?;
        let mut put = |at: u64, bytes: &[u8]| window.write(platform, at, bytes).map_err(fault);
        put(frame, &information(&sent))?;
        put(context.wrapping_add(STACK), &stack(&own, here))?;
        put(context.wrapping_add(SET), &restored.to_le_bytes())?;
        let saved = context.wrapping_add(BEFORE + roles.before);
        for (index, word) in words.iter().take(roles.count).enumerate() {
            put(saved.wrapping_add(8 * index as u64), &word.to_le_bytes())?;
        }
        words[roles.counter] = program.page.handler(program.floats);
        words[roles.stack] = frame;
        words[roles.handler] = action.handler();
        words[roles.result] = signal.into();
        words[roles.result + 1] = frame;
        words[roles.result + 2] = context;
        platform.set_registers(token, &words).map_err(fault)?;
        if action.flags() & sys::SA_RESETHAND != 0 {
            program.actions.remove(&signal);
        }
        Ok(Some(signal))
    }

    /// `rt_sigreturn`: the thread goes on where the handler was called.
    pub(crate) fn come_back<P: Platform>(&mut self, platform: &mut P, who: Who) -> Result<Outcome> {
        let key = self.key(who);
        let program = self.programs.get_mut(&key).ok_or(Error::ESRCH)?;
        let roles = platform.roles();
        let mut words = platform.registers(None)?;
        let context = words[roles.stack].wrapping_add(INFORMATION);
        let saved = context.wrapping_add(BEFORE + roles.before);
        let restored = program.window.word(platform, context.wrapping_add(SET));
        let read = (0..roles.count).try_for_each(|index| {
            words[index] = program.window.word(platform, saved.wrapping_add(8 * index as u64))?;
            Ok(())
        });
        let back = read.and(restored).and_then(|blocked| {
            platform.set_registers(None, &words)?;
            Ok(blocked)
        });
        let Ok(blocked) = back else {
            return Ok(Outcome::Killed(sys::SIGSEGV));
        };
        if let Some(thread) = program.threads.get_mut(&who.thread) {
            thread.blocked = blocked;
        }
        Ok(Outcome::Value(words[roles.result]))
    }
}
