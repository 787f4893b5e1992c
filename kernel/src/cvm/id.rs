//! Names of cVMs and threads: never two plain numbers that could be taken for each other.

/// A cVM: its position in the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CvmId(u16);

impl CvmId {
    /// The cVM at this position.
    pub(crate) const fn new(index: usize) -> CvmId {
        CvmId(index as u16)
    }

    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A thread of whatever cVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadId(u16);

impl ThreadId {
    /// No thread, where a link ends.
    pub(crate) const NONE: ThreadId = ThreadId(u16::MAX);

    /// The thread at this place.
    pub(crate) const fn new(index: usize) -> ThreadId {
        ThreadId(index as u16)
    }

    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}
