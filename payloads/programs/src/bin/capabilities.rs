//! Uses memory through capabilities of its own, as a hybrid program: prints one line a check, the exit code is the number of
//! failures.
//!
//! It expects a heap of 4096 bytes, the capfiles `fixed` (32 bytes, beginning with `text`, to read) and `shared` (64 bytes, to
//! write), and no capfile `none`.

#![no_std]
#![no_main]

use core::{fmt::Debug, pin::pin};

use rt::{CapBuffer, Errno, hostcall};

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

    let mut fixed = pin!(CapBuffer::new());
    let size = hostcall::capfile("fixed", fixed.as_mut());
    check("capfile to read", &size, size == Ok(32));
    let read = fixed.read(0, &mut bytes);
    check("its text", &bytes, read == Ok(()) && bytes == *b"text");
    let written = fixed.write(0, b"!");
    check("write to it", &written, written == Err(Errno::EFAULT));

    let mut shared = pin!(CapBuffer::new());
    let size = hostcall::capfile("shared", shared.as_mut());
    check("capfile to write", &size, size == Ok(64));
    let written = shared.write(60, b"here").and_then(|()| shared.read(60, &mut bytes));
    check("what was written", &bytes, written == Ok(()) && bytes == *b"here");

    let mut none = pin!(CapBuffer::new());
    for (name, errno) in [
        ("none", Errno::ENOENT),
        ("", Errno::EINVAL),
        ("a-name-that-no-capfile-can-have-as-it-is-too-long", Errno::EINVAL),
    ] {
        let refused = hostcall::capfile(name, none.as_mut());
        check(name, &refused, refused == Err(errno));
    }
    failures
}
