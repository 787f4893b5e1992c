//! Who is where. Every cVM's port has one address that the switch gives it; frames with another one as their source go nowhere. So
//! nothing has to be learned of the cVMs, and none can pretend to be another. What lies behind network cards is learned.

use alloc::vec;
use alloc::vec::Vec;

/// An Ethernet address.
pub type Address = [u8; 6];

/// Bytes of an Ethernet header, and of the longest frame.
const HEADER: usize = 14;
const LONGEST: usize = 1514;
/// Addresses that are remembered of what lies behind cards.
const LEARNED: usize = 256;

/// Places of the switch, a bit each: its ports, then its cards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places(u64);

impl Places {
    /// Most places.
    pub const LIMIT: usize = 64;

    /// The places from one on, up to another one.
    fn range(from: usize, to: usize) -> Places {
        (from..to).fold(Places(0), |all, place| Places(all.0 | 1 << place))
    }

    fn one(place: usize) -> Places {
        Places(1 << place)
    }

    fn without(self, place: usize) -> Places {
        Places(self.0 & !(1 << place))
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..Places::LIMIT).filter(move |place| self.0 >> place & 1 == 1)
    }
}

/// Ports, cards, and what is behind them.
#[derive(Clone, Debug)]
pub struct Table {
    ports: Vec<Address>,
    places: usize,
    learned: Vec<Option<(Address, usize)>>,
    /// Which one is forgotten next.
    oldest: usize,
}

/// Whether an address means several.
fn is_group(address: &Address) -> bool {
    address[0] & 1 == 1
}

impl Table {
    /// A switch with ports and so many cards, together [`Places::LIMIT`] at most; the address of the first card tells its ports
    /// from those of others on the same wire.
    pub fn new(ports: usize, cards: usize, card: Address) -> Table {
        let address = |port: usize| {
            let mut address = card;
            // An address for one, that is nobody's by its maker, and not the card's.
            address[0] = card[0] & !1 | 2;
            address[1] = 0x80 | port as u8;
            address
        };
        Table {
            ports: (0..ports).map(address).collect(),
            places: ports + cards,
            learned: vec![None; LEARNED],
            oldest: 0,
        }
    }

    /// The address of a port.
    pub fn address(&self, port: usize) -> Address {
        self.ports[port]
    }

    fn cards(&self) -> Places {
        Places::range(self.ports.len(), self.places)
    }

    /// Where a frame goes that has come from a place; nowhere if it is none, or not what may come from there.
    pub fn forward(&mut self, from: usize, frame: &[u8]) -> Places {
        if !(HEADER..=LONGEST).contains(&frame.len()) {
            return Places::default();
        }
        let address = |at: usize| [0, 1, 2, 3, 4, 5].map(|byte: usize| frame[at + byte]);
        let (to, source) = (address(0), address(6));
        let owner = self.ports.iter().position(|port| *port == source);
        match self.ports.get(from) {
            Some(_) if owner == Some(from) => {}
            None if owner.is_none() && !is_group(&source) => self.learn(source, from),
            _ => return Places::default(),
        }
        let places = if is_group(&to) {
            Places::range(0, self.places)
        } else if let Some(port) = self.ports.iter().position(|port| *port == to) {
            Places::one(port)
        } else {
            // No port has it: if anybody, somebody behind a card.
            let known = self.learned.iter().flatten().find(|(address, _)| *address == to);
            known.map_or(self.cards(), |(_, card)| Places::one(*card))
        };
        places.without(from)
    }

    fn learn(&mut self, address: Address, card: usize) {
        let known = self.learned.iter_mut().flatten().find(|(known, _)| *known == address);
        if let Some((_, place)) = known {
            *place = card;
            return;
        }
        self.learned[self.oldest] = Some((address, card));
        self.oldest = (self.oldest + 1) % LEARNED;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: Address = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const BROADCAST: Address = [0xff; 6];
    const FAR: Address = [0, 1, 2, 3, 4, 5];

    fn frame(to: Address, from: Address) -> Vec<u8> {
        let mut frame = [to, from].concat();
        frame.resize(60, 0);
        frame
    }

    fn places(places: Places) -> Vec<usize> {
        places.iter().collect()
    }

    /// Three ports, then two cards.
    fn table() -> (Table, [Address; 3]) {
        let table = Table::new(3, 2, CARD);
        let addresses = [0, 1, 2].map(|port| table.address(port));
        (table, addresses)
    }

    #[test]
    fn addresses_of_ports_differ_and_mean_one() {
        let (_, [a, b, c]) = table();
        assert!(a != b && b != c && a != c && ![a, b, c].contains(&CARD));
        assert!([a, b, c].iter().all(|address| address[0] & 3 == 2));
        assert_eq!(a[2..], CARD[2..]);
    }

    #[test]
    fn a_frame_goes_to_whom_it_is_for() {
        let (mut table, [a, b, c]) = table();
        assert_eq!(places(table.forward(0, &frame(b, a))), [1]);
        assert_eq!(places(table.forward(1, &frame(c, b))), [2]);
        assert_eq!(places(table.forward(0, &frame(a, a))), [0; 0], "to itself");
        assert_eq!(places(table.forward(0, &frame(BROADCAST, a))), [1, 2, 3, 4]);
        assert_eq!(
            places(table.forward(3, &frame([1, 0, 0x5e, 0, 0, 1], FAR))),
            [0, 1, 2, 4]
        );
    }

    #[test]
    fn what_no_port_has_never_comes_to_a_port() {
        let (mut table, [a, ..]) = table();
        assert_eq!(places(table.forward(0, &frame([0x42; 6], a))), [3, 4]);
        assert_eq!(places(table.forward(3, &frame([0x42; 6], FAR))), [4]);
        // It was learned where that one is.
        assert_eq!(places(table.forward(0, &frame(FAR, a))), [3]);
        assert_eq!(places(table.forward(3, &frame(FAR, [0x42; 6]))), [0; 0]);
        // And that it has moved.
        table.forward(4, &frame(a, FAR));
        assert_eq!(places(table.forward(0, &frame(FAR, a))), [4]);
    }

    #[test]
    fn nobody_pretends_to_be_another() {
        let (mut table, [a, b, c]) = table();
        let nowhere = [0; 0];
        assert_eq!(places(table.forward(0, &frame(c, b))), nowhere);
        assert_eq!(places(table.forward(0, &frame(c, FAR))), nowhere);
        assert_eq!(places(table.forward(0, &frame(c, BROADCAST))), nowhere);
        assert_eq!(
            places(table.forward(3, &frame(c, a))),
            nowhere,
            "a port's address from outside"
        );
        assert_eq!(places(table.forward(3, &frame(c, [3, 0, 0, 0, 0, 0]))), nowhere);
        // Nothing of it was learned.
        assert_eq!(places(table.forward(1, &frame(a, b))), [0]);
    }

    #[test]
    fn what_is_no_frame_goes_nowhere() {
        let (mut table, [a, b, _]) = table();
        let whole = frame(b, a);
        for length in 0..HEADER {
            assert_eq!(places(table.forward(0, &whole[..length])), [0; 0]);
        }
        assert_eq!(places(table.forward(0, &whole[..HEADER])), [1]);
        let mut long = whole.clone();
        long.resize(LONGEST + 1, 0);
        assert_eq!(places(table.forward(0, &long)), [0; 0]);
    }

    #[test]
    fn who_fills_the_table_from_outside_changes_nothing_for_ports() {
        let (mut table, [a, b, _]) = table();
        for number in 0..1000_u32 {
            let [x, y, ..] = number.to_be_bytes().map(|byte| byte);
            let [.., z, w] = number.to_be_bytes();
            table.forward(3, &frame(a, [0, 9, x, y, z, w]));
        }
        assert_eq!(places(table.forward(0, &frame(b, a))), [1]);
        assert_eq!(table.learned.len(), LEARNED);
        assert_eq!(
            places(table.forward(0, &frame([0, 9, 0, 0, 0, 1], a))),
            [3, 4],
            "forgotten: asked for everywhere"
        );
        assert_eq!(places(table.forward(0, &frame([0, 9, 0, 0, 3, 0xe7], a))), [3]);
    }
}
