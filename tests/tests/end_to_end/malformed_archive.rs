//! Archives that are damaged: the monitor says where, and powers off with a failing status.

use tests::{Outcome, Platform, Scenario, cvm, on_every_platform};
use tools::archive::{self, Member};

on_every_platform!(
    a_truncated_archive_is_refused,
    a_damaged_header_is_refused,
    an_archive_without_manifest_is_refused,
    no_archive_at_all_is_refused,
    what_is_no_regular_file_is_no_member,
    a_link_for_a_manifest_is_refused_by_the_audit_too,
    a_second_archive_overrides_the_first,
    an_initrd_without_bytes_does_not_boot_the_image_s_own_archive,
    a_compressed_initrd_is_named,
);

/// Bytes of a header.
const HEADER: usize = 110;
/// Offset in a header of the member's size.
const SIZE: usize = 54;
/// Offset in a header of the size of its name.
const NAME_SIZE: usize = 94;
/// Offset in a header of the mode.
const MODE: usize = 14;

fn good(platform: Platform) -> Vec<u8> {
    Scenario::new([cvm("hello", "hello", &[])]).archive(platform)
}

fn boot(platform: Platform, archive: &[u8]) -> Outcome {
    Scenario::with_archive(archive).boot(platform)
}

fn assert_refused(platform: Platform, archive: &[u8], message: &str) {
    let outcome = boot(platform, archive);
    outcome.assert_status(1);
    assert_eq!(
        outcome.monitor().last(),
        Some(&format!("error: {message}").as_str()),
        "{outcome}"
    );
}

/// Offset of the header of the `index`th entry, the trailer included.
fn header(archive: &[u8], index: usize) -> usize {
    let starts = archive
        .windows(6)
        .enumerate()
        .filter(|(at, bytes)| at % 4 == 0 && *bytes == b"070701");
    starts.map(|(at, _)| at).nth(index).expect("so many entries")
}

/// Offset of the data of the `index`th entry.
fn data(archive: &[u8], index: usize) -> usize {
    let start = header(archive, index);
    let digits = std::str::from_utf8(&archive[start + NAME_SIZE..start + NAME_SIZE + 8]).unwrap();
    (start + HEADER + usize::from_str_radix(digits, 16).unwrap()).next_multiple_of(4)
}

fn a_truncated_archive_is_refused(platform: Platform) {
    let archive = good(platform);
    let (program, trailer) = (header(&archive, 1), header(&archive, 2));
    let cut = |length: usize, message: &str| assert_refused(platform, &archive[..length], message);
    let missing = |at: usize| format!("archive: at offset {at:#x}: expected a header of 110 bytes or the trailer");
    cut(1, &missing(0));
    cut(HEADER - 1, &missing(0));
    cut(HEADER, "archive: at offset 0x6e: expected a name within the archive");
    let cut_in_data = |length: usize, index: usize| {
        let start = data(&archive, index);
        let message = format!("archive: at offset {start:#x}: expected the whole data of a member");
        cut(length, &message);
    };
    cut_in_data(data(&archive, 0) + 1, 0);
    cut(program + 20, &missing(program));
    cut_in_data(trailer - 4, 1);
    // The trailer is what says that nothing is missing.
    cut(trailer, &missing(trailer));
    cut(trailer + HEADER - 1, &missing(trailer));
    // The last padding is nobody's.
    boot(platform, &archive[..trailer + HEADER + "TRAILER!!!".len() + 1]).assert_status(0);
}

fn a_damaged_header_is_refused(platform: Platform) {
    let archive = good(platform);
    let program = header(&archive, 1);
    let manifest = data(&archive, 0);
    let patched = |offset: usize, bytes: &[u8], message: &str| {
        let mut archive = archive.clone();
        archive[offset..offset + bytes.len()].copy_from_slice(bytes);
        assert_refused(platform, &archive, &format!("archive: at offset {message}"));
    };
    let magic = "expected the magic number 070701 or 070702 of a newc archive, at a multiple of 4";
    patched(0, b"070707", &format!("0x0: {magic}"));
    patched(program, b"X", &format!("{program:#x}: {magic}"));
    patched(
        0,
        b"070702",
        &format!("{manifest:#x}: manifest.dtb: expected data whose bytes add up to the checksum"),
    );
    patched(SIZE, b"0000000g", "0x36: expected eight hexadecimal digits");
    patched(SIZE, b"+0000001", "0x36: expected eight hexadecimal digits");
    patched(SIZE, &[0xff; 8], "0x36: expected eight hexadecimal digits");
    patched(MODE, b" 00081a4", "0xe: expected eight hexadecimal digits");
    patched(
        SIZE,
        b"ffffffff",
        &format!("{manifest:#x}: expected the whole data of a member"),
    );
    patched(
        SIZE,
        b"7fffffff",
        &format!("{manifest:#x}: expected the whole data of a member"),
    );
    patched(NAME_SIZE, b"ffffffff", "0x6e: expected a name within the archive");
    patched(
        NAME_SIZE,
        b"00000000",
        "0x6e: expected a name of at most 4095 bytes that ends with NUL",
    );
    patched(
        NAME_SIZE,
        b"00000005",
        "0x6e: expected a name of at most 4095 bytes that ends with NUL",
    );
    patched(HEADER, &[0xff], "0x6e: expected a name in UTF-8");
}

fn an_archive_without_manifest_is_refused(platform: Platform) {
    let message = "manifest.dtb: not in the archive";
    assert_refused(platform, &archive::write(&[]).unwrap(), message);
    assert_refused(
        platform,
        &archive::write(&[Member::new("hello", [1, 2, 3])]).unwrap(),
        message,
    );
    assert_refused(
        platform,
        &archive::write(&[Member::new("Manifest.dtb", [1, 2, 3])]).unwrap(),
        message,
    );
}

fn no_archive_at_all_is_refused(platform: Platform) {
    assert_refused(
        platform,
        &[],
        "archive: at offset 0x0: expected a header of 110 bytes or the trailer",
    );
}

fn what_is_no_regular_file_is_no_member(platform: Platform) {
    let mut archive = good(platform);
    // A directory with the name of the program.
    let mode = header(&archive, 1) + MODE;
    archive[mode..mode + 8].copy_from_slice(b"000041ed");
    assert_refused(
        platform,
        &archive,
        "manifest.dtb: cVM hello: runtime \"hello\" is not in the archive",
    );
}

fn a_link_for_a_manifest_is_refused_by_the_audit_too(platform: Platform) {
    // In front of the manifest that boots stands a harmless one that the monitor once skipped, and the audit did not.
    let harmless = Scenario::new([cvm("harmless", "hello", &[])]).archive(platform);
    let mut link = harmless[..header(&harmless, 1)].to_vec();
    link[MODE..MODE + 8].copy_from_slice(b"0000a1ff");
    let archive = [link, good(platform)].concat();
    assert_refused(
        platform,
        &archive,
        "archive: at offset 0x0: manifest.dtb: expected files and directories, not a symbolic link",
    );
    let audit = tools::audit::audit(&archive, tools::run::Isa::V9)
        .unwrap_err()
        .to_string();
    assert!(audit.contains("a symbolic link, expected regular files"), "{audit}");
}

fn a_second_archive_overrides_the_first(platform: Platform) {
    let first = Scenario::new([cvm("first", "hello", &[])]).archive(platform);
    let second = Scenario::new([cvm("second", "hello", &[])]).archive(platform);
    let archive = [first, vec![0; 512], second].concat();
    let outcome = boot(platform, &archive);
    outcome.assert_status(0);
    assert_eq!(outcome.of("second").first(), Some(&"hello from second"), "{outcome}");
    assert!(outcome.of("first").is_empty(), "{outcome}");
    let audit = tools::audit::audit(&archive, tools::run::Isa::V9).unwrap();
    assert_eq!(audit.cvms.iter().map(|cvm| &cvm.name).collect::<Vec<_>>(), ["second"]);
}

fn an_initrd_without_bytes_does_not_boot_the_image_s_own_archive(platform: Platform) {
    let image = Scenario::new([cvm("hello", "hello", &[])]);
    let empty = Scenario::with_archive([]);
    let outcome = image.initrd(platform, &empty).boot(platform);
    // QEMU's loader for Arm says nothing in the tree of a file without bytes: there is no initrd then.
    if platform == Platform::QemuMorello {
        outcome.assert_status(0);
        return;
    }
    outcome.assert_status(1);
    let message = "error: archive: at offset 0x0: expected a header of 110 bytes or the trailer";
    assert_eq!(outcome.monitor().last(), Some(&message), "{outcome}");
}

fn a_compressed_initrd_is_named(platform: Platform) {
    let message = "archive: at offset 0x0: expected an archive as it is, not one compressed by gzip";
    assert_refused(platform, b"\x1f\x8b\x08\0\0\0\0\0", message);
}
