//! Archives and device trees.

/// The monitor and the tools find the same files, or both refuse the archive.
pub fn archive(bytes: &[u8]) {
    let monitor = kernel::fuzz::archive(bytes);
    let tools = tools::archive::read(bytes);
    match (&monitor, &tools) {
        (Some(monitor), Ok(tools)) => {
            let mut tools: Vec<_> = tools
                .iter()
                .map(|member| (member.name.clone(), member.data.clone()))
                .collect();
            tools.sort();
            assert_eq!(*monitor, tools);
        }
        (None, Err(_)) => {}
        (Some(_), Err(error)) => panic!("the tools refuse what the monitor accepts: {error}"),
        (None, Ok(_)) => panic!("the monitor refuses what the tools accept"),
    }
    // What the tools write of it, both read as it was.
    let Ok(members) = tools else { return };
    if let Ok(written) = tools::archive::write(&members) {
        assert_eq!(tools::archive::read(&written).ok().as_ref(), Some(&members));
        let read = kernel::fuzz::archive(&written).expect("the monitor reads what the tools write");
        assert_eq!(read.len(), members.len());
    }
}

/// A platform's device tree: whatever it says, reading it ends.
pub fn tree(bytes: &[u8]) {
    kernel::fuzz::tree(bytes);
}
