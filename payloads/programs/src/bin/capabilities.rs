//! Uses memory through capabilities of its own, as a hybrid program: prints one line a check, the exit code is the number of
//! failures.
//!
//! It expects a heap of 4096 bytes, a local area, the capfiles `fixed` (32 bytes, beginning with `text`, to read) and `shared` (64 bytes, to
//! write), and no capfile `none`.

#![no_std]
#![no_main]

use core::{fmt::Debug, pin::pin};

use rt::{Buffer, CapBuffer, Errno, hostcall};

rt::entry!(main);

fn main() -> i32 {
    let mut failures = 0;
    let mut check = |what: &str, found: &dyn Debug, expected: bool| {
        rt::println!("{}: {what}: {found:?}", if expected { "ok" } else { "FAILED" });
        failures += i32::from(!expected);
    };

    let mut heap = pin!(CapBuffer::new());
    check("size before", &heap.size(), heap.size() == 0);
    let empty = heap.read(0, &mut [0]);
    check("read of nothing", &empty, empty == Err(Errno::EFAULT));
    let size = hostcall::heap(heap.as_mut());
    check("heap", &size, size == Ok(4096));
    let mut bytes = [0; 4];
    let last = heap.write(4092, b"last").and_then(|()| heap.read(4092, &mut bytes));
    check("last bytes", &bytes, last == Ok(()) && bytes == *b"last");
    let beyond = heap.write(4093, b"last");
    check("one byte beyond", &beyond, beyond == Err(Errno::EFAULT));
    let wrapped = heap.read(u64::MAX, &mut bytes);
    check("the end of all addresses", &wrapped, wrapped == Err(Errno::EFAULT));

    let fixed = Buffer::capfile("fixed");
    let size = fixed.as_ref().map(Buffer::size);
    check("capfile to read", &size, size == Ok(32));
    let fixed = fixed.ok();
    let read = fixed.as_ref().map(|file| file.read(0, &mut bytes));
    check("its text", &bytes, read == Some(Ok(())) && bytes == *b"text");
    let written = fixed.as_ref().map(|file| file.write(0, b"!"));
    check("write to it", &written, written == Some(Err(Errno::EFAULT)));

    let shared = Buffer::capfile("shared");
    let size = shared.as_ref().map(Buffer::size);
    check("capfile to write", &size, size == Ok(64));
    let written = shared.and_then(|file| file.write(60, b"here").and_then(|()| file.read(60, &mut bytes)));
    check("what was written", &bytes, written == Ok(()) && bytes == *b"here");

    for (name, errno) in [
        ("none", Errno::ENOENT),
        ("", Errno::EINVAL),
        ("a-name-that-no-capfile-can-have-as-it-is-too-long", Errno::EINVAL),
    ] {
        let refused = Buffer::capfile(name).map(|file| file.size());
        check(name, &refused, refused == Err(errno));
    }
    failures
}
