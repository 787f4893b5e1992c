//! What devices have to say: to who waits for it.

use crate::run::length;
use crate::run::monitor::Monitor;
use abi::Errno;
use abi::hostcall::TRANSFER_LIMIT;
use arch::{Frame, user};

/// Bytes that cross at a time, through a buffer on the monitor's stack.
const CHUNK: usize = 256;
/// End of input, as a terminal sends it (EOT, Ctrl-D).
const END_OF_INPUT: u8 = 4;

impl Monitor {
    /// Takes what devices have to say: console input, and that the driver of a device should look. Whoever waits wakes.
    pub(crate) fn service_devices(&mut self) {
        let Monitor { input, devices, .. } = self;
        let mut interrupted = None;
        arch::interrupts::service(|number| {
            if number.is_some() {
                let mut devices = devices.iter_mut();
                if let Some(device) = devices.find(|device| Some(device.found.interrupt) == number) {
                    device.acknowledge();
                    interrupted = Some(arch::physical(&*device));
                }
                return;
            }
            while !input.is_full() {
                match arch::console::get() {
                    // There is room: this cannot fail.
                    Some(byte) => drop(input.push_back(byte)),
                    None => return,
                }
            }
            // What does not fit stays in the device until somebody has read: `take_input` lets it interrupt again.
            arch::console::set_interrupt(false);
        });
        // The interrupt is closed now, until somebody waits again.
        if let Some(device) = interrupted {
            self.scheduler.wake_waiters(device, u64::MAX);
        }
        self.serve_readers();
    }

    /// The next byte of console input, without taking it.
    fn peek_input(&self) -> Option<u8> {
        self.input.front().copied()
    }

    /// Takes a byte of console input.
    fn take_input(&mut self) {
        if self.input.is_full() {
            arch::console::set_interrupt(true);
        }
        self.input.pop_front();
    }

    /// Moves input to a reader: up to `length` bytes, none for the end of input.
    pub(crate) fn deliver_input(&mut self, frame: &Frame, length: usize) -> Result<u64, Errno> {
        let mut buffer = [0; CHUNK];
        let mut count = 0;
        while count < length.min(CHUNK) {
            match self.peek_input() {
                Some(END_OF_INPUT) if count > 0 => break,
                Some(END_OF_INPUT) => {
                    self.take_input();
                    break;
                }
                Some(byte) => {
                    self.take_input();
                    buffer[count] = byte;
                    count += 1;
                }
                None => break,
            }
        }
        let (authority, address) = frame.pointer(1);
        user::copy_out(&buffer[..count], authority, address).map_err(|_| Errno::EFAULT)?;
        Ok(count as u64)
    }

    /// Gives waiting input to the threads that wait for it.
    fn serve_readers(&mut self) {
        while let Some(id) = self.scheduler.reader().filter(|_| !self.input.is_empty()) {
            let frame = self.scheduler[id].frame;
            // Its arguments are still in its frame.
            let result =
                length(frame.argument(2)).and_then(|length| self.deliver_input(frame, length.min(TRANSFER_LIMIT)));
            frame.set_result(result.unwrap_or_else(Errno::to_result));
            self.scheduler.wake_reader();
        }
    }
}
