//! The file system on a disk: random operations against a model, with the host's `e2fsck` as the judge; losses of power at
//! random instants; images that are damaged, full, made by others.

#[path = "ext4/host.rs"]
mod host;
#[path = "ext4/model.rs"]
mod model;

use host::{Event, Memory, check, check_after_replay, has_tools, make, run};
use library_os::Error;
use library_os::ext4::{Name, Problem, ROOT, SECTOR};
use model::{Model, Random};

const SECOND: u64 = 1_000_000_000;
/// What file systems are made with: as by default, the smallest blocks, without checksums, without 64-bit numbers.
const KINDS: [&[&str]; 4] = [
    &["-b", "4096"],
    &["-b", "1024"],
    &["-b", "4096", "-O", "^metadata_csum"],
    &["-b", "2048", "-O", "^64bit", "-I", "128"],
];

#[test]
fn random_operations_do_what_the_model_does_and_the_host_finds_everything_in_order() {
    if !has_tools() {
        return;
    }
    for (seed, kind) in (1..).zip(KINDS.iter().cycle().take(8)) {
        let disk = Memory::new(make(24 * 1024, kind));
        let (mut mounted, _) = disk.mount().unwrap();
        let mut random = Random::new(seed);
        let mut model = Model::of(&mut mounted).unwrap();
        for step in 0..1_500 {
            model.step(
                &mut mounted,
                &mut random,
                if seed < 4 { 60 } else { 900 },
                step * SECOND,
            );
        }
        let when = format!("seed {seed}, {kind:?}");
        assert!(Model::of(&mut mounted).unwrap() == model.named(), "{when}");
        model.close(&mut mounted, 0);
        mounted.finish(0).unwrap();
        drop(mounted);
        check(&disk.bytes(), &when);
        let (mut again, replayed) = disk.mount().unwrap();
        assert!(!replayed, "{when}");
        assert!(Model::of(&mut again).unwrap() == model, "{when}");
    }
}

/// What is on a disk when the power goes after so many events: what was flushed, some of the rest, and a part of the last write.
fn after_loss(image: &[u8], log: &[Event], random: &mut Random, orderly: bool) -> Vec<u8> {
    let mut bytes = image.to_vec();
    let flushed = log.iter().rposition(|event| matches!(event, Event::Flush)).unwrap_or(0);
    for (index, event) in log.iter().enumerate() {
        let Event::Write(sector, written) = event else { continue };
        for (offset, part) in written.chunks(SECTOR).enumerate() {
            if index < flushed || orderly || random.below(2) == 0 {
                let at = (*sector as usize + offset) * SECTOR;
                bytes[at..at + SECTOR].copy_from_slice(part);
            }
        }
    }
    bytes
}

#[test]
fn after_a_loss_of_power_all_that_was_synced_is_there_and_nothing_is_half_done() {
    if !has_tools() {
        return;
    }
    for (seed, kind) in (1..).zip(KINDS) {
        let image = make(16 * 1024, kind);
        let disk = Memory::logging(image.clone());
        let (mut mounted, _) = disk.mount().unwrap();
        let mut random = Random::new(seed);
        let mut model = Model::of(&mut mounted).unwrap();
        // What there was after each operation, and how much had been done to the disk by the end of each sync.
        let mut states = vec![model.hash_of_named()];
        let mut synced = vec![(0, 0)];
        for step in 0..250 {
            model.step(&mut mounted, &mut random, 80, step * SECOND / 10);
            states.push(model.hash_of_named());
            if random.below(8) == 0 {
                mounted.commit(step).unwrap();
                let events = disk.0.lock().unwrap().log.as_ref().unwrap().len();
                synced.push((events, states.len() - 1));
            }
        }
        let log = disk.0.lock().unwrap().log.take().unwrap();
        for turn in 0..16 {
            let end = random.below(log.len() as u64 + 1) as usize;
            let bytes = after_loss(&image, &log[..end], &mut random, turn % 4 == 0);
            let when = format!("seed {seed}, {kind:?}, after {end} of {} events", log.len());
            let left = Memory::new(bytes.clone());
            let (mut mounted, _) = left.mount().unwrap_or_else(|problem| panic!("{when}: {problem}"));
            let found = Model::of(&mut mounted).unwrap().hash_of_named();
            let (_, least) = synced.iter().rev().find(|(events, _)| *events <= end).unwrap();
            assert!(
                states[*least..].contains(&found),
                "{when}: not a state since the last sync"
            );
            mounted.finish(0).unwrap();
            check(&left.bytes(), &when);
            if turn % 4 == 0 {
                check_after_replay(&bytes, &when);
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_what_has_no_room_and_stays_in_order() {
    if !has_tools() {
        return;
    }
    let disk = Memory::new(make(6 * 1024, &["-b", "1024"]));
    let (mut mounted, _) = disk.mount().unwrap();
    let place = Name {
        folder: ROOT,
        name: b"large",
    };
    let file = mounted.make(place, 0o100_644, b"", 1).unwrap();
    let mut written = 0_u64;
    let full = loop {
        match mounted.write(file, written, &[7; 8192], 1) {
            Ok(()) => written += 8192,
            Err(error) => break error,
        }
    };
    assert_eq!(full, Error::ENOSPC);
    assert_eq!(mounted.facts(file).unwrap().size, written);
    assert!(written > 1 << 20);
    mounted.remove(place, false, false, 1).unwrap();
    let again = mounted.make(place, 0o100_644, b"", 1).unwrap();
    mounted.write(again, 0, &vec![8; 1 << 20], 1).unwrap();
    mounted.finish(1).unwrap();
    check(&disk.bytes(), "after it was full");
}

#[test]
fn a_disk_that_fails_gives_errors_and_what_was_synced_remains() {
    if !has_tools() {
        return;
    }
    let image = make(8 * 1024, &["-b", "4096"]);
    for writes in 0..60 {
        let disk = Memory::new(image.clone());
        let (mut mounted, _) = disk.mount().unwrap();
        let place = Name {
            folder: ROOT,
            name: b"file",
        };
        let file = mounted.make(place, 0o100_644, b"", 1).unwrap();
        mounted.write(file, 0, b"first", 1).unwrap();
        mounted.commit(1).unwrap();
        disk.0.lock().unwrap().writes = Some(writes);
        let mut failed = false;
        for turn in 0..20_u64 {
            let done = mounted
                .write(file, turn * 5000, &[9; 5000], 2)
                .and_then(|()| mounted.commit(2));
            assert!(
                !failed || done.is_err(),
                "nothing is promised by a disk that has failed"
            );
            failed |= done.is_err();
            assert!(
                done.is_ok() || done == Err(Error::EIO) || done == Err(Error::EROFS),
                "{done:?}"
            );
        }
        disk.0.lock().unwrap().writes = None;
        drop(mounted);
        let (mut again, _) = disk.mount().unwrap();
        assert!(again.facts(file).unwrap().size >= 5);
        again.finish(3).unwrap();
        check(&disk.bytes(), &format!("after {writes} writes"));
    }
}

#[test]
fn what_the_host_has_written_is_found_and_folders_with_an_index_can_change() {
    if !has_tools() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("ext4-folder-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("many")).unwrap();
    for index in 0..700 {
        std::fs::write(
            folder.join("many").join(format!("file-with-a-long-name-{index}")),
            format!("{index}"),
        )
        .unwrap();
    }
    std::os::unix::fs::symlink("a/".repeat(60), folder.join("long")).unwrap();
    std::os::unix::fs::symlink("short", folder.join("link")).unwrap();
    let text = folder.to_str().unwrap();
    for kind in [&["-b", "4096", "-d", text], &["-b", "1024", "-d", text]] {
        let mut image = make(24 * 1024, kind);
        let (code, told) = run("e2fsck", &["-fyD"], &mut image);
        assert!(code <= 1, "{told}");
        let (_, told) = run("debugfs", &["-R", "htree_dump /many"], &mut image);
        assert!(told.contains("Root node dump"), "the host has made no index: {told}");
        let disk = Memory::new(image);
        let (mut mounted, _) = disk.mount().unwrap();
        let many = mounted.lookup(ROOT, b"many").unwrap().unwrap();
        for index in 0..700 {
            let name = format!("file-with-a-long-name-{index}");
            let file = mounted.lookup(many, name.as_bytes()).unwrap().unwrap();
            let mut bytes = [0; 8];
            let count = mounted.read(file, 0, &mut bytes).unwrap();
            assert_eq!(&bytes[..count], index.to_string().as_bytes());
        }
        let link = mounted.lookup(ROOT, b"link").unwrap().unwrap();
        assert_eq!(mounted.target(link).unwrap(), b"short");
        let long = mounted.lookup(ROOT, b"long").unwrap().unwrap();
        assert_eq!(mounted.target(long).unwrap(), "a/".repeat(60).as_bytes());
        for index in 0..350 {
            let name = format!("file-with-a-long-name-{}", index * 2);
            let place = Name {
                folder: many,
                name: name.as_bytes(),
            };
            mounted.remove(place, false, false, 1).unwrap();
            let name = format!("another-{index}");
            let place = Name {
                folder: many,
                name: name.as_bytes(),
            };
            mounted.make(place, 0o100_600, b"", 1).unwrap();
        }
        mounted.finish(1).unwrap();
        check(&disk.bytes(), "after names have changed");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_journal_that_another_system_has_left_is_replayed() {
    if !has_tools() {
        return;
    }
    // The old form, and the two with checksums; what is written is a block that nothing uses.
    for form in ["", "-c", "-c -v 2"] {
        let mut image = make(16 * 1024, &["-b", "1024"]);
        let text = std::env::temp_dir().join(format!("ext4-block-{}", std::process::id()));
        let mut block = vec![0x5a; 1024];
        // A block that begins as one of the journal's own is written in another way.
        block[..4].copy_from_slice(&0xc03b_3998_u32.to_be_bytes());
        std::fs::write(&text, &block).unwrap();
        let script = std::env::temp_dir().join(format!("ext4-script-{}", std::process::id()));
        let commands = format!("jo {form}\njw -b 9000 {}\njc\n", text.display());
        std::fs::write(&script, commands).unwrap();
        let (_, told) = run("debugfs", &["-w", "-f", script.to_str().unwrap()], &mut image);
        assert_ne!(&image[9000 * 1024..][..1024], block, "{told}");
        let disk = Memory::new(image);
        let (mut mounted, replayed) = disk
            .mount()
            .unwrap_or_else(|problem| panic!("{form}: {problem}; {told}"));
        assert!(replayed, "{form}: {told}");
        assert_eq!(&disk.bytes()[9000 * 1024..][..1024], block, "{form}");
        mounted.finish(1).unwrap();
        check(&disk.bytes(), form);
        for path in [text, script] {
            std::fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn damage_gives_errors_and_nothing_worse() {
    if !has_tools() {
        return;
    }
    // Without checksums damage goes deeper.
    for (kind, rounds) in [(KINDS[2], 200), (KINDS[0], 60), (KINDS[3], 60)] {
        let disk = Memory::new(make(8 * 1024, kind));
        let (mut mounted, _) = disk.mount().unwrap();
        let mut random = Random::new(7);
        let mut model = Model::of(&mut mounted).unwrap();
        (0..300).for_each(|step| model.step(&mut mounted, &mut random, 40, step));
        mounted.commit(1).unwrap();
        let sound = disk.bytes();
        // Where there is something: most of a disk is empty, and damage there tells nothing.
        let used: Vec<usize> = (0..sound.len())
            .step_by(16)
            .filter(|at| sound[*at..at + 16] != [0; 16])
            .collect();
        for _ in 0..rounds {
            let mut bytes = sound.clone();
            for _ in 0..1 + random.below(12) {
                let at = random.pick(&used).unwrap() + random.below(16) as usize;
                bytes[at] = random.next() as u8;
            }
            if random.below(3) == 0 {
                let at = 1024 + random.below(1024) as usize;
                bytes[at] = random.next() as u8;
            }
            let Ok((mut mounted, _)) = Memory::new(bytes).mount() else {
                continue;
            };
            exercise(&mut mounted, &mut random);
        }
    }
}

/// Does whatever can be done, to whatever there seems to be; errors are as good as anything.
fn exercise(disk: &mut library_os::ext4::Ext4, random: &mut Random) {
    let mut numbers = vec![ROOT];
    let mut seen = 0;
    while let Some(number) = numbers.pop() {
        let (mut from, mut entries) = (0, 0);
        let _ = disk.facts(number);
        let _ = disk.target(number);
        let _ = disk.read(number, random.below(1 << 20), &mut [0; 9000]);
        while let Ok(Some(entry)) = disk.entry(number, from) {
            assert!(entry.next > from, "no way forward");
            from = entry.next;
            entries += 1;
            if seen < 300 && entry.name != b"." && entry.name != b".." {
                numbers.push(entry.number);
                seen += 1;
            }
            let place = Name {
                folder: number,
                name: &entry.name,
            };
            match random.below(12) {
                0 => drop(disk.remove(place, random.below(2) == 0, random.below(2) == 0, 1)),
                1 => drop(disk.write(entry.number, random.below(1 << 22), &[1; 5000], 1)),
                2 => drop(disk.resize(entry.number, random.below(20_000), 1)),
                3 => drop(disk.rename(
                    place,
                    Name {
                        folder: ROOT,
                        name: b"new",
                    },
                    false,
                    false,
                    1,
                )),
                4 => drop(disk.make(
                    Name {
                        folder: number,
                        name: b"made",
                    },
                    0o040_755,
                    b"",
                    1,
                )),
                5 => drop(disk.release(entry.number, 1)),
                _ => {}
            }
            if entries > 500 {
                break;
            }
        }
    }
    let _ = disk.finish(1);
}

#[test]
fn what_is_no_file_system_is_said_to_be_none() {
    let problem = Memory::new(vec![0; 1 << 20]).mount().err();
    assert_eq!(problem, Some(Problem::None));
    assert!(problem.unwrap().to_string().contains("mke2fs"));
    assert_eq!(Memory::new(vec![0; 512]).mount().err(), Some(Problem::None));
}
