//! The page about the trusted computing base is what the work tree makes.

use std::fs;

use tests::tcb;
use tools::workspace::Workspace;

#[test]
fn the_page_is_what_the_work_tree_makes() {
    let path = Workspace::locate().expect("the work tree").root.join(tcb::PATH);
    let page = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let made = tcb::page().unwrap_or_else(|error| panic!("{error}"));
    if let Some(difference) = tcb::unlike(&page, &made) {
        panic!("{difference}");
    }
}
