//! The structured target does what it is for without libFuzzer, too: a good part of what it makes up is accepted by both
//! sides, so that it compares plans and not only refusals.

#[test]
fn a_good_part_of_the_archives_is_accepted_by_monitor_and_tools() {
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    let accepted = (0..4000)
        .filter(|_| {
            let choices: Vec<u8> = (0..1500).map(|_| byte()).collect();
            fuzz::image(&choices)
        })
        .count();
    assert!((400..3600).contains(&accepted), "{accepted} of 4000");
}
