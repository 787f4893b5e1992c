//! The page of text that a program has from its library OS: what calls a handler of signals, and a small shared object with
//! `clock_gettime` that needs no call, which C libraries find by `AT_SYSINFO_EHDR`. The monitor leaves room for it right below
//! the program.

use crate::arena::PAGE;
use crate::calls::SECOND;
use crate::{Error, Platform, Result, Window};

/// What the page holds: the same bytes for every program, but for four words.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// An ELF file as it lies in memory.
    pub image: &'static [u8],
    /// Where in it the four words are: ticks a second of the counter, what it showed at the start, when that was in seconds since
    /// 1970 and nanoseconds.
    pub data: u64,
    /// Where the instructions are that call a handler: in a program without registers for floating-point numbers, and with them.
    pub handlers: [u64; 2],
}

/// The page of a program, as it sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) start: u64,
    handlers: [u64; 2],
}

impl Placed {
    /// What calls a handler of signals.
    pub(crate) fn handler(&self, floats: bool) -> u64 {
        self.handlers[usize::from(floats)]
    }
}

/// Fills the page of a program that begins.
///
/// # Errors
/// `EFAULT` when it is not there.
pub(crate) fn fill<P: Platform>(platform: &mut P, client: u32, window: &Window, start: u64) -> Result<Placed> {
    let page = platform.page();
    if page.image.len() as u64 > PAGE {
        return Err(Error::EFAULT);
    }
    window.check(start, PAGE)?;
    // One that has run before may have written to it, where text can be written.
    platform.text(client, start, PAGE, false)?;
    window.zero(platform, start, PAGE)?;
    window.write(platform, start, page.image)?;
    let [frequency, begun] = platform.counter();
    let epoch = platform.epoch();
    let mut at = start + page.data;
    for word in [frequency, begun, epoch / SECOND, epoch % SECOND] {
        window.write(platform, at, &word.to_le_bytes())?;
        at += 8;
    }
    platform.text(client, start, PAGE, true)?;
    Ok(Placed {
        start,
        handlers: page.handlers.map(|offset| start + offset),
    })
}
