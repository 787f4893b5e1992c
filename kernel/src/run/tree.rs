//! An ordered set of numbered nodes, each with a key: deadlines by time, waiters by address. A balanced tree (A. Andersson,
//! "Balanced search trees made simple", 1993) in an array that is made at boot: nothing is allocated, and an operation takes
//! a number of steps that grows with the logarithm of what is in it.

use alloc::vec::Vec;

/// Compared from the first number on.
pub(crate) type Key = (u64, u64);

#[derive(Clone, Copy)]
struct Node {
    key: Key,
    left: u16,
    right: u16,
    /// 0 = not in the set.
    level: u8,
}

const NIL: u16 = 0;

/// The set. Number n is node n + 1; node 0 stands for none.
pub(crate) struct Tree {
    nodes: Vec<Node>,
    root: u16,
    first: u16,
}

impl Tree {
    pub(crate) fn new() -> Tree {
        let mut tree = Tree {
            nodes: Vec::new(),
            root: NIL,
            first: NIL,
        };
        tree.grow(0);
        tree
    }

    /// Makes room for the numbers below `count`.
    pub(crate) fn grow(&mut self, count: usize) {
        let node = Node {
            key: (0, 0),
            left: NIL,
            right: NIL,
            level: 0,
        };
        self.nodes.resize(count + 1, node);
    }

    /// The number with the least key, and the key.
    #[inline]
    pub(crate) fn first(&self) -> Option<(usize, Key)> {
        (self.first != NIL).then(|| (self.first as usize - 1, self.node(self.first).key))
    }

    pub(crate) fn contains(&self, number: usize) -> bool {
        self.nodes[number + 1].level != 0
    }

    /// The number with the least key from `key` on, and that key.
    pub(crate) fn from(&self, key: Key) -> Option<(usize, Key)> {
        let (mut at, mut found) = (self.root, NIL);
        while at != NIL {
            let node = self.node(at);
            if node.key >= key {
                found = at;
                at = node.left;
            } else {
                at = node.right;
            }
        }
        (found != NIL).then(|| (found as usize - 1, self.node(found).key))
    }

    /// Puts a number that is not in the set into it. The key must not be there either.
    pub(crate) fn insert(&mut self, number: usize, key: Key) {
        let id = number as u16 + 1;
        *self.node_mut(id) = Node {
            key,
            left: NIL,
            right: NIL,
            level: 1,
        };
        self.root = self.insert_below(self.root, id);
        if self.first == NIL || key < self.node(self.first).key {
            self.first = id;
        }
    }

    /// Takes a number out of the set, if it is there.
    pub(crate) fn remove(&mut self, number: usize) {
        let id = number as u16 + 1;
        if self.node(id).level == 0 {
            return;
        }
        let key = self.node(id).key;
        self.root = self.remove_below(self.root, key);
        self.node_mut(id).level = 0;
        if self.first == id {
            let mut at = self.root;
            while self.node(at).left != NIL {
                at = self.node(at).left;
            }
            self.first = at;
        }
    }

    #[inline]
    fn node(&self, id: u16) -> &Node {
        &self.nodes[id as usize]
    }

    #[inline]
    fn node_mut(&mut self, id: u16) -> &mut Node {
        &mut self.nodes[id as usize]
    }

    /// Turns a left child of the same level into a right one.
    fn skew(&mut self, at: u16) -> u16 {
        let Node { left, level, .. } = *self.node(at);
        if at == NIL || left == NIL || self.node(left).level != level {
            return at;
        }
        self.node_mut(at).left = self.node(left).right;
        self.node_mut(left).right = at;
        left
    }

    /// Lifts the middle of three of the same level.
    fn split(&mut self, at: u16) -> u16 {
        let Node { right, level, .. } = *self.node(at);
        if at == NIL || right == NIL || self.node(self.node(right).right).level != level {
            return at;
        }
        self.node_mut(at).right = self.node(right).left;
        self.node_mut(right).left = at;
        self.node_mut(right).level += 1;
        right
    }

    fn insert_below(&mut self, at: u16, id: u16) -> u16 {
        if at == NIL {
            return id;
        }
        if self.node(id).key < self.node(at).key {
            let left = self.insert_below(self.node(at).left, id);
            self.node_mut(at).left = left;
        } else {
            let right = self.insert_below(self.node(at).right, id);
            self.node_mut(at).right = right;
        }
        let at = self.skew(at);
        self.split(at)
    }

    fn remove_below(&mut self, at: u16, key: Key) -> u16 {
        if at == NIL {
            return NIL;
        }
        let Node {
            key: here,
            left,
            right,
            level,
        } = *self.node(at);
        let mut at = at;
        if key < here {
            let left = self.remove_below(left, key);
            self.node_mut(at).left = left;
        } else if key > here {
            let right = self.remove_below(right, key);
            self.node_mut(at).right = right;
        } else if left == NIL && right == NIL {
            return NIL;
        } else {
            // Its neighbour in order takes its place.
            let (mut left, mut right) = (left, right);
            if left == NIL {
                at = right;
                while self.node(at).left != NIL {
                    at = self.node(at).left;
                }
                right = self.remove_below(right, self.node(at).key);
            } else {
                at = left;
                while self.node(at).right != NIL {
                    at = self.node(at).right;
                }
                left = self.remove_below(left, self.node(at).key);
            }
            let key = self.node(at).key;
            *self.node_mut(at) = Node {
                key,
                left,
                right,
                level,
            };
        }
        let Node { left, right, level, .. } = *self.node(at);
        let should = self.node(left).level.min(self.node(right).level) + 1;
        if should < level {
            self.node_mut(at).level = should;
            if right != NIL && should < self.node(right).level {
                self.node_mut(right).level = should;
            }
        }
        let at = self.skew(at);
        let right = self.skew(self.node(at).right);
        self.node_mut(at).right = right;
        if right != NIL {
            let outer = self.skew(self.node(right).right);
            self.node_mut(right).right = outer;
        }
        let at = self.split(at);
        let right = self.split(self.node(at).right);
        self.node_mut(at).right = right;
        at
    }
}
