//! Files that are mapped shared: what a program stores there is written to the file, and what is written to the file is stored there,
//! whenever a call looks at either. Memory itself cannot be shared: each program has its own.

use crate::arena::PAGE;
use crate::tree::{Node, Tree};
use crate::{Error, Platform, Result, Window};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

/// A part of a file in a program's memory.
#[derive(Debug)]
struct Map {
    /// The cVM that the memory is of.
    client: u32,
    window: Window,
    /// The pages, as the program sees them.
    range: Range<u64>,
    node: Node,
    /// Where in the file they begin.
    offset: u64,
    /// What file and memory had in common last; nothing where the program only reads.
    known: Option<Vec<u8>>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Maps(Vec<Map>);

/// What is to be mapped.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) client: u32,
    pub(crate) window: Window,
    pub(crate) range: Range<u64>,
    pub(crate) node: Node,
    pub(crate) offset: u64,
    pub(crate) writes: bool,
}

fn meet(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

impl Maps {
    /// Whether nothing is mapped.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something of a file is mapped.
    pub(crate) fn has(&self, node: Node) -> bool {
        self.0.iter().any(|map| map.node == node)
    }

    /// The files of which something is mapped.
    pub(crate) fn nodes(&self) -> Vec<Node> {
        let mut nodes: Vec<Node> = self.0.iter().map(|map| map.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Whether something in a range of a program's memory is mapped; with `only_read`, for reading alone.
    pub(crate) fn are_in(&self, client: u32, range: &Range<u64>, only_read: bool) -> bool {
        let mut inside = self
            .0
            .iter()
            .filter(|map| map.client == client && meet(&map.range, range));
        inside.any(|map| !only_read || map.known.is_none())
    }

    /// Whether all of a range of a program's memory is of one file.
    pub(crate) fn has_all(&self, client: u32, range: &Range<u64>) -> bool {
        let within = |map: &Map| map.client == client && map.range.start <= range.start && range.end <= map.range.end;
        self.0.iter().any(within)
    }

    /// Maps what is zero there until now.
    pub(crate) fn add<P: Platform>(&mut self, platform: &mut P, tree: &mut Tree, wanted: Wanted) -> Result<()> {
        let length = wanted.range.end - wanted.range.start;
        let known = if wanted.writes {
            if !tree.charge(length) {
                return Err(Error::ENOMEM);
            }
            let size = usize::try_from(length).map_err(|_| Error::ENOMEM)?;
            Some(vec![0; size])
        } else {
            None
        };
        let mut map = Map {
            client: wanted.client,
            window: wanted.window,
            range: wanted.range,
            node: wanted.node,
            offset: wanted.offset,
            known,
        };
        if let Err(error) = map.refresh(platform, tree) {
            map.discharge(tree);
            return Err(error);
        }
        tree.opened(map.node);
        self.0.push(map);
        Ok(())
    }

    /// Writes to a file what programs have stored.
    pub(crate) fn store<P: Platform>(&mut self, platform: &P, tree: &mut Tree, node: Node, now: u64) -> Result<()> {
        for map in self.0.iter_mut().filter(|map| map.node == node) {
            let whole = map.range.clone();
            map.store(platform, tree, &whole, now)?;
        }
        Ok(())
    }

    /// Lets programs see what has become of a file.
    pub(crate) fn refresh<P: Platform>(&mut self, platform: &mut P, tree: &Tree, node: Node) -> Result<()> {
        for map in self.0.iter_mut().filter(|map| map.node == node) {
            map.refresh(platform, tree)?;
        }
        Ok(())
    }

    /// Ends what is mapped in a range of a program's memory, or writes it only when it is to be `kept`.
    pub(crate) fn end<P: Platform>(
        &mut self,
        platform: &P,
        tree: &mut Tree,
        (client, range): (u32, &Range<u64>),
        keep: bool,
        now: u64,
    ) -> Result<()> {
        let mut told = Ok(());
        let mut left = Vec::with_capacity(self.0.len());
        for mut map in core::mem::take(&mut self.0) {
            if map.client != client || !meet(&map.range, range) {
                left.push(map);
                continue;
            }
            let part = map.range.start.max(range.start)..map.range.end.min(range.end);
            let stored = map.store(platform, tree, &part, now);
            told = told.and(stored);
            if keep {
                left.push(map);
                continue;
            }
            let behind = map.split(part.end);
            let gone = map.split(part.start);
            for piece in [Some(map), behind].into_iter().flatten() {
                if piece.range.is_empty() {
                    continue;
                }
                tree.opened(piece.node);
                left.push(piece);
            }
            if let Some(gone) = gone {
                gone.discharge(tree);
                tree.closed(gone.node);
            }
        }
        self.0 = left;
        told
    }
}

impl Map {
    /// The part from an address on, which it has no more.
    fn split(&mut self, at: u64) -> Option<Map> {
        if at >= self.range.end {
            return None;
        }
        let before = at.saturating_sub(self.range.start);
        let known = self.known.as_mut().map(|known| known.split_off(before as usize));
        let rest = Map {
            client: self.client,
            window: self.window,
            range: at..self.range.end,
            node: self.node,
            offset: self.offset + before,
            known,
        };
        self.range.end = at;
        Some(rest)
    }

    /// Gives back the room that it has taken.
    fn discharge(&self, tree: &mut Tree) {
        if let Some(known) = &self.known {
            tree.give_room(known.len() as u64);
        }
    }

    /// Writes to the file what the program has stored in a range, as far as the file goes.
    fn store<P: Platform>(&mut self, platform: &P, tree: &mut Tree, range: &Range<u64>, now: u64) -> Result<()> {
        let Some(known) = &mut self.known else { return Ok(()) };
        let size = tree.facts(self.node)?.size;
        let mut page = [0; PAGE as usize];
        let mut at = range.start;
        while at < range.end {
            let before = at - self.range.start;
            let place = self.offset + before;
            let length = (range.end - at).min(PAGE).min(size.saturating_sub(place)) as usize;
            if length == 0 {
                break;
            }
            let new = &mut page[..length];
            self.window.read(platform, at, new)?;
            let old = &mut known[before as usize..][..length];
            let differs = |(new, old): (&u8, &u8)| new != old;
            if let Some(first) = new.iter().zip(&*old).position(differs) {
                let last = new.iter().zip(&*old).rposition(differs).unwrap_or(first);
                tree.write(self.node, place + first as u64, &new[first..=last], now)?;
                old.copy_from_slice(new);
            }
            at += PAGE;
        }
        Ok(())
    }

    /// Lets the program see what is in the file; nothing is behind its end.
    fn refresh<P: Platform>(&mut self, platform: &mut P, tree: &Tree) -> Result<()> {
        let mut page = [0; PAGE as usize];
        let mut at = self.range.start;
        while at < self.range.end {
            let before = at - self.range.start;
            let mut count = 0;
            while count < page.len() {
                let read = tree.read(self.node, self.offset + before + count as u64, &mut page[count..])?;
                if read == 0 {
                    break;
                }
                count += read;
            }
            page[count..].fill(0);
            let old = self
                .known
                .as_mut()
                .map(|known| &mut known[before as usize..][..page.len()]);
            match old {
                Some(old) if *old == page => {}
                old => {
                    self.window.write(platform, at, &page)?;
                    if let Some(old) = old {
                        old.copy_from_slice(&page);
                    }
                }
            }
            at += PAGE;
        }
        Ok(())
    }
}
