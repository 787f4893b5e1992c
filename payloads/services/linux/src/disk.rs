//! The disk that the manifest gives, as the file system sees it.

use library_os::Error;
use library_os::ext4::Disk as Sectors;
use rt::alloc::boxed::Box;
use rt::disk::Disk;

struct Given(Disk);

/// A disk for the file system.
pub(crate) fn new(disk: Disk) -> Box<dyn Sectors + Send> {
    Box::new(Given(disk))
}

impl Sectors for Given {
    fn sectors(&self) -> u64 {
        self.0.sectors()
    }

    fn is_read_only(&self) -> bool {
        self.0.is_read_only()
    }

    fn read(&mut self, sector: u64, to: &mut [u8]) -> Result<(), Error> {
        self.0.read(sector, to).map_err(|_| Error::EIO)
    }

    fn write(&mut self, sector: u64, from: &[u8]) -> Result<(), Error> {
        self.0.write(sector, from).map_err(|_| Error::EIO)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.0.flush().map_err(|_| Error::EIO)
    }
}
