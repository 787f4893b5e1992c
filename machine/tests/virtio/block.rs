//! Disks: requests and their statuses, files and who else has them, storage that fails.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use machine::virtio::{Block, DiskError, Storage};

use crate::boards::ALL;
use crate::driver::{Driver, register};

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;

const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

const FEATURE_READ_ONLY: u64 = 1 << 5;
const FEATURE_FLUSH: u64 = 1 << 9;

/// Numbers the bytes so that no two sectors are alike.
fn contents(sectors: usize) -> Vec<u8> {
    (0..sectors * 512)
        .map(|index| (index / 512 * 31 + index) as u8)
        .collect()
}

/// A disk and requests to it.
struct Disk {
    driver: Driver,
}

impl Disk {
    fn new(board: (crate::boards::Kind, machine::virtio::Version), block: Block, features: u64) -> Self {
        Disk {
            driver: Driver::new(board, block, 1, features),
        }
    }

    /// A request with `out` for the device and `room` bytes from it, in one descriptor each: status and what came.
    fn request(&mut self, kind: u32, sector: u64, out: &[u8], room: u32) -> (u8, Vec<u8>) {
        let driver = &mut self.driver;
        let (header, data, status) = (driver.buffer(0), driver.buffer(0x1000), driver.buffer(0x9000));
        driver.poke(
            header,
            &[&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat(),
        );
        driver.poke(data, &vec![0xee; room.max(out.len() as u32) as usize]);
        driver.poke(data, out);
        driver.poke(status, &[0xff]);
        let mut buffers = vec![(header, 16, false)];
        if !out.is_empty() {
            buffers.push((data, out.len() as u32, false));
        }
        if room > 0 {
            buffers.push((data, room, true));
        }
        buffers.push((status, 1, true));
        assert_eq!(driver.submit(0, &buffers), Some(room + 1));
        assert_eq!(driver.interrupted(), 1);
        (driver.peek(status, 1)[0], driver.peek(data, room as usize))
    }

    fn status(&mut self, kind: u32, sector: u64, out: &[u8], room: u32) -> u8 {
        self.request(kind, sector, out, room).0
    }
}

#[test]
fn the_configuration_tells_size_and_limits() {
    for board in ALL {
        let mut disk = Disk::new(board, Block::new(contents(9)).read_only(), 0);
        let driver = &mut disk.driver;
        assert_eq!(driver.read(register::DEVICE), 2);
        let word = |driver: &mut Driver, offset| driver.read(register::CONFIGURATION + offset);
        assert_eq!((word(driver, 0), word(driver, 4)), (9, 0));
        assert_eq!(word(driver, 12), 254, "segments");
        assert_eq!(word(driver, 20), 512, "bytes in a block");
        assert_eq!(word(driver, 0x7c), 0);
        assert_ne!(driver.features() & FEATURE_READ_ONLY, 0);
        assert_ne!(driver.features() & FEATURE_FLUSH, 0);
    }
}

#[test]
fn what_was_written_is_read_again() {
    for board in ALL {
        let mut disk = Disk::new(board, Block::new(contents(16)), FEATURE_FLUSH);
        assert_eq!(
            disk.request(IN, 3, &[], 1024),
            (OK, contents(16)[3 * 512..5 * 512].to_vec())
        );
        let new: Vec<u8> = (0..1536).map(|index| (index * 7) as u8).collect();
        assert_eq!(disk.status(OUT, 13, &new, 0), OK);
        assert_eq!(disk.request(IN, 13, &[], 1536), (OK, new));
        assert_eq!(disk.request(IN, 12, &[], 512).1, contents(16)[12 * 512..13 * 512]);
        assert_eq!(disk.status(FLUSH, 0, &[], 0), OK);
    }
}

#[test]
fn data_may_lie_in_any_number_of_pieces() {
    for board in ALL {
        let mut disk = Disk::new(board, Block::new(contents(4)), 0);
        let driver = &mut disk.driver;
        let (header, data) = (driver.buffer(0), driver.buffer(0x1001));
        // The header in two parts, sector 1 and 2 in three, and the status behind the last of them.
        driver.poke(header + 8, &1u64.to_le_bytes());
        let buffers = [
            (header, 5, false),
            (header + 5, 11, false),
            (data, 3, true),
            (data + 3, 1000, true),
            (data + 1003, 22, true),
        ];
        driver.poke(data + 1024, &[0xff]);
        assert_eq!(driver.submit(0, &buffers), Some(1025));
        let expected = [&contents(4)[512..3 * 512], &[OK]].concat();
        assert_eq!(driver.peek(data, 1025), expected);
        // The header together with what is to be written.
        driver.poke(header, &[&OUT.to_le_bytes()[..], &[0; 12], &[9; 512]].concat());
        assert_eq!(driver.submit(0, &[(header, 528, false), (data, 1, true)]), Some(1));
        assert_eq!(disk.request(IN, 0, &[], 512), (OK, vec![9; 512]));
    }
}

#[test]
fn a_request_that_the_disk_cannot_serve_fails_and_changes_nothing() {
    for board in ALL {
        let mut disk = Disk::new(board, Block::new(contents(4)), 0);
        for (kind, sector, out, room) in [
            (IN, 4, 0, 512),
            (IN, 3, 0, 1024),
            (IN, u64::MAX, 0, 512),
            (IN, u64::MAX / 512, 0, 512),
            (IN, 0, 0, 511),
            (OUT, 4, 512, 0),
            (OUT, 3, 1024, 0),
            (OUT, 0, 100, 0),
        ] {
            let (status, read) = disk.request(kind, sector, &vec![0xaa; out], room);
            assert_eq!(status, IO_ERROR, "{kind} at {sector}, {out} out, {room} in");
            assert_eq!(read, vec![0; room as usize], "nothing of anybody's memory");
        }
        assert_eq!(disk.request(17, 0, &[], 8), (UNSUPPORTED, vec![0; 8]));
        assert_eq!(disk.request(IN, 0, &[], 2048), (OK, contents(4)));
    }
}

#[test]
fn a_serial_tells_disks_apart() {
    for board in ALL {
        let mut disk = Disk::new(board, Block::new(contents(1)).with_serial("twenty bytes of name!!!"), 0);
        assert_eq!(disk.request(GET_ID, 0, &[], 20), (OK, b"twenty bytes of name".to_vec()));
        assert_eq!(disk.request(GET_ID, 0, &[], 24).1, b"twenty bytes of name\0\0\0\0");
        assert_eq!(disk.request(GET_ID, 0, &[], 6).1, b"twenty");
        let mut disk = Disk::new(board, Block::new(contents(1)), 0);
        assert_eq!(disk.request(GET_ID, 0, &[], 20).1, [0; 20]);
    }
}

#[test]
fn a_read_only_disk_cannot_be_written() {
    for board in ALL {
        let mut disk = Disk::new(board, Block::new(contents(2)).read_only(), FEATURE_FLUSH);
        assert_eq!(disk.status(OUT, 0, &[1; 512], 0), IO_ERROR);
        assert_eq!(disk.request(IN, 0, &[], 1024), (OK, contents(2)));
        assert_eq!(disk.status(FLUSH, 0, &[], 0), OK);
    }
}

/// What a test sees of a storage that remembers and fails.
#[derive(Default)]
struct Record {
    log: Vec<String>,
    bytes: Vec<u8>,
    /// Fails from this operation on.
    fails_after: Option<usize>,
}

#[derive(Clone)]
struct Recorded(Arc<Mutex<Record>>);

impl Recorded {
    fn new(sectors: usize) -> Self {
        let record = Record {
            bytes: contents(sectors),
            ..Record::default()
        };
        Recorded(Arc::new(Mutex::new(record)))
    }

    fn operation(&self, what: String) -> io::Result<()> {
        let mut record = self.0.lock().unwrap();
        record.log.push(what);
        match record.fails_after {
            Some(number) if record.log.len() > number => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().log)
    }
}

impl Storage for Recorded {
    fn size(&self) -> u64 {
        self.0.lock().unwrap().bytes.len() as u64
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.operation(format!("read {}", bytes.len()))?;
        self.0.lock().unwrap().bytes.read(offset, bytes)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.operation(format!("write {}", bytes.len()))?;
        self.0.lock().unwrap().bytes.write(offset, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.operation("flush".to_owned())
    }
}

#[test]
fn a_flush_reaches_the_storage_and_without_flushes_every_write_does() {
    for board in ALL {
        let storage = Recorded::new(8);
        let mut disk = Disk::new(board, Block::new(storage.clone()), FEATURE_FLUSH);
        disk.status(OUT, 0, &[1; 1024], 0);
        assert_eq!(storage.log(), ["write 1024"]);
        disk.status(FLUSH, 0, &[], 0);
        assert_eq!(storage.log(), ["flush"]);
        disk.driver.start(1, 8, 0);
        disk.status(OUT, 0, &[1; 1024], 0);
        assert_eq!(storage.log(), ["write 1024", "flush"]);
    }
}

#[test]
fn an_error_of_the_storage_is_an_error_of_the_request() {
    for board in ALL {
        let storage = Recorded::new(400);
        storage.0.lock().unwrap().fails_after = Some(1);
        let mut disk = Disk::new(board, Block::new(storage.clone()), FEATURE_FLUSH);
        let driver = &mut disk.driver;
        let (header, data) = (driver.buffer(0), driver.buffer(0x1000));
        driver.poke(data, &vec![0xee; 0x1_8001]);
        let read = [(header, 16, false), (data, 0x1_8000, true), (data + 0x1_8000, 1, true)];
        assert_eq!(driver.submit(0, &read), Some(0x1_8001));
        let mut expected = vec![0; 0x1_8000];
        expected.push(IO_ERROR);
        assert_eq!(
            driver.peek(data, 0x1_8001),
            expected,
            "half of it was read before the error"
        );
        assert_eq!(storage.log(), ["read 65536", "read 32768"]);
        storage.0.lock().unwrap().fails_after = Some(0);
        assert_eq!(driver.interrupted(), 1);
        assert_eq!(disk.status(OUT, 0, &[1; 512], 0), IO_ERROR);
        assert_eq!(disk.status(FLUSH, 0, &[], 0), IO_ERROR);
        storage.0.lock().unwrap().fails_after = None;
        assert_eq!(disk.status(OUT, 0, &[1; 512], 0), OK);
    }
}

fn file(name: &str, bytes: &[u8]) -> std::path::PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, bytes).expect("a file");
    path
}

#[test]
fn a_file_is_written_where_the_guest_writes_and_keeps_its_size() {
    let path = file("written.img", &contents(8));
    for board in ALL {
        std::fs::write(&path, contents(8)).unwrap();
        let mut disk = Disk::new(board, Block::open(&path, false).unwrap(), FEATURE_FLUSH);
        assert_eq!(disk.status(OUT, 2, &[0x77; 512], 0), OK);
        assert_eq!(disk.status(FLUSH, 0, &[], 0), OK);
        let mut expected = contents(8);
        expected[1024..1536].fill(0x77);
        assert_eq!(std::fs::read(&path).unwrap(), expected);
        assert_eq!(disk.request(IN, 0, &[], 4096), (OK, expected));
    }
}

#[test]
fn a_file_that_became_shorter_is_an_error_of_the_request() {
    let path = file("shorter.img", &contents(8));
    let mut disk = Disk::new(ALL[0], Block::open(&path, false).unwrap(), 0);
    std::fs::write(&path, contents(1)).unwrap();
    assert_eq!(disk.status(IN, 4, &[], 512), IO_ERROR);
    assert_eq!(disk.status(IN, 0, &[], 512), OK);
}

#[test]
fn a_disk_has_one_writer_or_any_number_of_readers() {
    let path = file("locked.img", &contents(1));
    let in_use = |read_only| {
        let error = Block::open(&path, read_only).err().expect("a lock");
        assert!(matches!(error, DiskError::InUse { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("locked.img") && text.contains("in use"), "{text}");
    };
    let writer = Block::open(&path, false).unwrap();
    in_use(false);
    in_use(true);
    drop(writer);
    let readers = [Block::open(&path, true).unwrap(), Block::open(&path, true).unwrap()];
    in_use(false);
    drop(readers);
    Block::open(&path, false).unwrap();
}

#[test]
fn a_file_that_is_no_disk_says_why() {
    let error = |path: &Path| Block::open(path, true).err().expect("an error").to_string();
    assert!(error(&file("odd.img", &[0; 513])).ends_with("odd.img: 513 bytes; expected a multiple of 512, not 0"));
    assert!(error(&file("empty.img", &[])).contains("0 bytes"));
    assert!(error(Path::new("/no/such/disk")).starts_with("disk /no/such/disk: No such file"));
    let path = file("read-only.img", &contents(1));
    let mut disk = Disk::new(ALL[0], Block::open(&path, true).unwrap(), 0);
    assert_eq!(disk.status(OUT, 0, &[1; 512], 0), IO_ERROR);
    assert_eq!(std::fs::read(&path).unwrap(), contents(1));
}
