//! Archives and device trees.

use tools::archive::Member;

/// The regular files that the monitor finds are those that the tools find, where both read the archive.
pub fn archive(bytes: &[u8]) {
    let monitor = kernel::fuzz::archive(bytes);
    let tools = tools::archive::read(bytes);
    if let (Some(monitor), Ok(tools)) = (&monitor, &tools) {
        let mut tools = tools.iter();
        for (name, data) in monitor {
            // The tools list directories and links as well.
            let same = |member: &&Member| member.name.split('\0').next() == Some(name.as_str()) && member.data == *data;
            assert!(
                tools.any(|member| same(&member)),
                "the tools do not find {name:?} in its place"
            );
        }
    }
    // What the tools write of it, both read as it was.
    let Ok(members) = tools else { return };
    if let Ok(written) = tools::archive::write(&members) {
        assert_eq!(tools::archive::read(&written).ok().as_ref(), Some(&members));
        let read = kernel::fuzz::archive(&written).expect("the monitor reads what the tools write");
        assert!(
            read.iter().map(|(name, data)| (name.as_str(), *data)).eq(members
                .iter()
                .map(|member| (member.name.as_str(), member.data.as_slice())))
        );
    }
}

/// A platform's device tree: whatever it says, reading it ends.
pub fn tree(bytes: &[u8]) {
    kernel::fuzz::tree(bytes);
}
