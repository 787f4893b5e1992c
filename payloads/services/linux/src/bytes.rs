//! The bytes of a file in memory: page by page, so that a growing file is never copied and a hole takes nothing.

use alloc::boxed::Box;
use alloc::vec::Vec;

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;

/// The bytes.
#[derive(Debug, Default)]
pub(crate) struct Bytes {
    pages: Vec<Option<Box<[u8]>>>,
    length: u64,
}

/// There is no memory left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Bytes {
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    /// What the pages that hold something take.
    pub(crate) fn held(&self) -> u64 {
        (self.pages.iter().flatten().count() * PAGE) as u64
    }

    /// Copies from `offset` on; how many bytes.
    pub(crate) fn read(&self, offset: u64, to: &mut [u8]) -> usize {
        let count = self.length.saturating_sub(offset).min(to.len() as u64) as usize;
        let mut done = 0;
        while done < count {
            let at = offset as usize + done;
            let part = (PAGE - at % PAGE).min(count - done);
            let to = &mut to[done..done + part];
            match self.pages.get(at / PAGE).and_then(Option::as_ref) {
                Some(page) => to.copy_from_slice(&page[at % PAGE..at % PAGE + part]),
                None => to.fill(0),
            }
            done += part;
        }
        count
    }

    /// Copies to `offset`; new pages are taken as long as `take` allows.
    ///
    /// # Errors
    /// When it does not, or there is no memory; what comes before has been written.
    pub(crate) fn write(&mut self, offset: u64, from: &[u8], mut take: impl FnMut() -> bool) -> Result<(), Full> {
        let mut done = 0;
        while done < from.len() {
            let at = usize::try_from(offset + done as u64).map_err(|_| Full)?;
            let part = (PAGE - at % PAGE).min(from.len() - done);
            if self.pages.len() <= at / PAGE {
                let more = at / PAGE + 1 - self.pages.len();
                self.pages.try_reserve(more).map_err(|_| Full)?;
                self.pages.resize_with(at / PAGE + 1, || None);
            }
            let slot = &mut self.pages[at / PAGE];
            let page = match slot {
                Some(page) => page,
                None => {
                    let mut page = Vec::new();
                    if !take() || page.try_reserve_exact(PAGE).is_err() {
                        return Err(Full);
                    }
                    page.resize(PAGE, 0);
                    slot.insert(page.into_boxed_slice())
                }
            };
            page[at % PAGE..at % PAGE + part].copy_from_slice(&from[done..done + part]);
            done += part;
            self.length = self.length.max(offset + done as u64);
        }
        Ok(())
    }

    /// Makes it longer by zeros, or shorter.
    pub(crate) fn resize(&mut self, length: u64) {
        if length < self.length {
            let pages = length.div_ceil(PAGE as u64) as usize;
            self.pages.truncate(pages);
            // What is cut off is zero when the file grows again.
            let inside = length as usize % PAGE;
            if inside != 0
                && let Some(Some(page)) = self.pages.get_mut(pages - 1)
            {
                page[inside..].fill(0);
            }
        }
        self.length = length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_zero_and_take_nothing() {
        let mut bytes = Bytes::default();
        bytes.write(3 * PAGE as u64 - 2, b"abcd", || true).unwrap();
        assert_eq!((bytes.len(), bytes.held()), (3 * PAGE as u64 + 2, 2 * PAGE as u64));
        let mut found = [1; 6];
        assert_eq!(bytes.read(3 * PAGE as u64 - 4, &mut found), 6);
        assert_eq!(&found, b"\0\0abcd");
        assert_eq!(bytes.read(0, &mut found), 6);
        assert_eq!(found, [0; 6]);
        bytes.resize(3 * PAGE as u64 - 1);
        bytes.resize(u64::MAX);
        assert_eq!(bytes.read(3 * PAGE as u64 - 2, &mut found), 6);
        assert_eq!(&found, b"a\0\0\0\0\0");
        assert_eq!(bytes.read(u64::MAX - 3, &mut found), 3);
    }

    #[test]
    fn what_may_not_be_taken_is_not() {
        let mut bytes = Bytes::default();
        let mut left = 1;
        let mut take = || {
            left -= 1;
            left >= 0
        };
        assert_eq!(bytes.write(0, &[1; 2 * PAGE], &mut take), Err(Full));
        assert_eq!((bytes.len(), bytes.held()), (PAGE as u64, PAGE as u64));
        assert_eq!(
            bytes.write(u64::MAX - 10, b"x", || true),
            Err(Full),
            "its table alone would be too large"
        );
    }
}
