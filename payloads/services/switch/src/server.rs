//! The switch: a thread for each port, which sleeps until frames come from there, and one for each card.

use rt::abi::hostcall::{BUFFER_READ, BUFFER_WRITE};
use rt::abi::manifest::DeviceKind;
use rt::alloc::boxed::Box;
use rt::alloc::vec::Vec;
use rt::net::{self, FRAME, Half};
use rt::stream::{Reader, Writer};
use rt::sync::Mutex;
use rt::{Buffer, Errno, hostcall, thread};
use switch_server::share::Shares;
use switch_server::table::{Places, Table};

use crate::card::Card;

rt::entry!(main);

/// Bytes of stack of a thread, with room for a frame.
const STACK: usize = 8 * 1024;
/// Bytes in front of a frame in a port's stream.
const LENGTH: u32 = 4;

/// What goes to a port.
struct Outgoing {
    writer: Writer<Half>,
    shares: Shares,
}

struct Switch {
    table: Mutex<Table>,
    ports: Vec<Mutex<Outgoing>>,
    cards: Vec<Card>,
}

impl Switch {
    /// Takes a frame from a place to wherever it goes.
    fn forward(&self, from: usize, frame: &[u8]) {
        let places = self.table.lock().forward(from, frame);
        for place in places.iter() {
            match self.ports.get(place) {
                Some(port) => port.lock().send(from, frame),
                None => {
                    let card = &self.cards[place - self.ports.len()];
                    if card.send(from, frame).is_err() {
                        self.survive(card.recover());
                    }
                }
            }
        }
    }

    /// Carries frames from a port, as long as its buffer is there.
    fn serve_port(&self, port: usize, reader: &mut Reader<Half>) -> Result<(), Errno> {
        let mut frame = [0; FRAME];
        loop {
            match reader.try_receive(&mut frame) {
                Ok(length) => self.forward(port, &frame[..length.unwrap_or(0)]),
                Err(Errno::EAGAIN) => match reader.wait(None) {
                    Ok(()) | Err(Errno::EIO) => {}
                    Err(errno) => return Err(errno),
                },
                // What is no frame is nobody's: what else there is goes with it.
                Err(Errno::EIO | Errno::E2BIG) => reader.empty()?,
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Carries frames from a card.
    fn serve_card(&self, number: usize) -> Result<(), Errno> {
        let (card, place) = (&self.cards[number], self.ports.len() + number);
        loop {
            if card.receive(|frame| self.forward(place, frame)).is_err() {
                self.survive(card.recover());
            }
        }
    }

    /// Without its card the switch is of no use, and the card may still use memory: only the monitor can deal with it.
    fn survive(&self, outcome: Result<(), Errno>) {
        if let Err(errno) = outcome {
            rt::println!("a network card refuses to start again: {errno:?}");
            rt::exit(1);
        }
    }
}

impl Outgoing {
    /// Sends a frame of a source; it is lost when the port does not read, or the source has filled its share.
    fn send(&mut self, source: usize, frame: &[u8]) {
        let Ok(fill) = self.writer.fill() else {
            // Who reads says what cannot be, and gets what comes from now on.
            let _ = self.writer.empty();
            return;
        };
        let bytes = frame.len() as u32 + LENGTH;
        if self.shares.admits(source, bytes, fill) && self.writer.try_send(frame).is_ok() {
            self.shares.enter(source, bytes);
        }
    }
}

/// How many network cards this cVM drives.
fn count_cards() -> usize {
    let kinds = (0..).map_while(|place| hostcall::device_info(place).ok());
    kinds
        .take_while(|(_, kind)| kind & 0xff == DeviceKind::Net as u64)
        .count()
}

fn main() -> Result<(), Errno> {
    let names: Vec<&'static str> = rt::args().skip(1).collect();
    let places = names.len() + count_cards();
    if places > Places::LIMIT {
        rt::println!("{places} ports and cards, expected at most {}", Places::LIMIT);
        return Err(Errno::E2BIG);
    }
    let cards = (0..count_cards()).map(|place| Card::start(place, places));
    let cards = cards.collect::<Result<Vec<Card>, Errno>>()?;
    let first = cards.first().map_or([0; 6], |card| card.address);
    let table = Table::new(names.len(), cards.len(), first);
    let (mut ports, mut readers) = (Vec::new(), Vec::new());
    for (port, name) in names.iter().enumerate() {
        let buffer = Buffer::open(&rt::alloc::format!("{name}.net"), BUFFER_READ | BUFFER_WRITE)?;
        let (reader, writer) = net::serve(buffer, table.address(port))?;
        readers.push(reader);
        ports.push(Mutex::new(Outgoing {
            writer,
            shares: Shares::new(places),
        }));
    }
    let switch: &'static Switch = Box::leak(Box::new(Switch {
        table: Mutex::new(table),
        ports,
        cards,
    }));
    let threads = thread::Builder::new().stack_size(STACK);
    let mut handles = Vec::new();
    for (port, (name, mut reader)) in names.into_iter().zip(readers).enumerate() {
        handles.push(threads.spawn(move || {
            if let Err(errno) = switch.serve_port(port, &mut reader) {
                rt::println!("{name}: not served any more: {errno:?}");
            }
        })?);
    }
    for card in 1..switch.cards.len() {
        threads.spawn(move || switch.serve_card(card))?;
    }
    if !switch.cards.is_empty() {
        return switch.serve_card(0);
    }
    for handle in handles {
        handle.join();
    }
    Ok(())
}
