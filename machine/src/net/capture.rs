//! A record of all frames on a wire, in the format that `tcpdump` and Wireshark read, with virtual time for time.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use smoltcp::phy::{PcapLinkType, PcapSink};
use smoltcp::time::Instant;

use super::{Interest, Wire};

/// A wire that is listened to.
pub struct Capture {
    wire: Box<dyn Wire>,
    name: String,
    /// None after an error.
    file: Option<File>,
}

/// What goes to the file with one write, so that a record is there as a whole or not at all.
#[derive(Default)]
struct Record(Vec<u8>);

impl PcapSink for Record {
    fn write(&mut self, data: &[u8]) {
        self.0.extend_from_slice(data);
    }
}

impl Capture {
    /// Records what goes over `wire` into a new file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(wire: impl Wire + 'static, path: &Path) -> io::Result<Self> {
        let mut file = File::create(path)?;
        let mut header = Record::default();
        header.global_header(PcapLinkType::Ethernet);
        file.write_all(&header.0)?;
        Ok(Capture {
            wire: Box::new(wire),
            name: path.display().to_string(),
            file: Some(file),
        })
    }

    fn record(&mut self, frame: &[u8], now: u64) {
        let Some(file) = &mut self.file else { return };
        let mut record = Record::default();
        record.packet(Instant::from_micros((now / 1000) as i64), frame);
        if let Err(error) = file.write_all(&record.0) {
            eprintln!(
                "cheri-machine: capture {}: {error}; nothing more is recorded",
                self.name
            );
            self.file = None;
        }
    }
}

impl Wire for Capture {
    fn send(&mut self, frame: &[u8], now: u64) {
        self.record(frame, now);
        self.wire.send(frame, now);
    }

    fn receive(&mut self, now: u64) -> Option<Vec<u8>> {
        let frame = self.wire.receive(now)?;
        self.record(&frame, now);
        Some(frame)
    }

    fn next_event(&mut self, now: u64) -> Option<u64> {
        self.wire.next_event(now)
    }

    fn interests(&self) -> Vec<Interest<'_>> {
        self.wire.interests()
    }
}
