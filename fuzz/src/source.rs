//! Choices out of the fuzzer's bytes; zeros when they are used up.

/// What is left of the bytes.
pub(crate) struct Source<'a> {
    bytes: &'a [u8],
    /// How often something unusual may still happen.
    twists: u8,
}

impl<'a> Source<'a> {
    /// All of these bytes.
    pub(crate) fn new(bytes: &'a [u8]) -> Source<'a> {
        Source { bytes, twists: 0 }
    }

    /// The same; the first says how often something unusual happens, up to three times.
    pub(crate) fn with_twists(bytes: &'a [u8]) -> Source<'a> {
        let mut source = Source::new(bytes);
        source.twists = source.byte() % 4;
        source
    }

    /// Whether there are none left.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else {
            return 0;
        };
        self.bytes = rest;
        *first
    }

    pub(crate) fn word(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// A number near a power of two, or any.
    pub(crate) fn number(&mut self) -> u64 {
        match self.byte() {
            shift @ 0..=63 => (1 << shift) + u64::from(self.byte()),
            shift @ 64..=127 => (1_u64 << (shift - 64)).wrapping_sub(u64::from(self.byte())),
            _ => self.word(),
        }
    }

    /// A number below a limit above 0; of large ones, all are possible.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        if limit <= 256 {
            usize::from(self.byte()) % limit
        } else {
            self.word() as usize % limit
        }
    }

    /// Whether something unusual happens: once in sixteen times, as long as there are twists left.
    pub(crate) fn seldom(&mut self) -> bool {
        let twist = self.twists > 0 && self.byte() % 16 == 15;
        self.twists -= u8::from(twist);
        twist
    }

    /// One of several.
    pub(crate) fn pick<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[self.below(choices.len())]
    }

    /// One of several texts.
    pub(crate) fn of(&mut self, choices: &[&'static str]) -> &'static str {
        choices[self.below(choices.len())]
    }

    /// One of several numbers.
    pub(crate) fn of_numbers(&mut self, choices: &[u32]) -> u32 {
        *self.pick(choices)
    }
}
