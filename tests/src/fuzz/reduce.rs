//! Makes a case that shows something as short as it can be, and still show it.

use tools::Architecture;

use super::case::{Case, nop};

/// Most attempts.
const ATTEMPTS: usize = 4000;

/// The shortest case that can be had from `case` by taking things out, for which `shows` still holds.
pub(super) fn reduce(case: &Case, arch: Architecture, mut shows: impl FnMut(&Case) -> bool) -> Case {
    let mut attempts = 0;
    let mut best = case.clone();
    let mut better = |best: &mut Case, candidate: Case| {
        attempts += 1;
        let is_better = attempts <= ATTEMPTS && candidate != *best && shows(&candidate);
        if is_better {
            *best = candidate;
        }
        is_better
    };
    loop {
        let before = best.clone();
        // Instructions: first without moving the others, then altogether.
        let mut size = best.words.len().next_power_of_two();
        while size > 0 {
            for start in (0..best.words.len()).step_by(size) {
                let end = (start + size).min(best.words.len());
                let mut candidate = best.clone();
                candidate.words[start..end].fill(nop(arch));
                better(&mut best, candidate);
            }
            size /= 2;
        }
        for index in (0..best.words.len()).rev() {
            let mut candidate = best.clone();
            candidate.words.remove(index);
            better(&mut best, candidate);
        }
        shorten(&mut best, |case| &mut case.registers, &mut better);
        shorten(&mut best, |case| &mut case.memory, &mut better);
        let plainer: [fn(&mut Case); 3] = [
            |case| case.passed = 0,
            |case| case.restarts = false,
            |case| (case.handled, case.restarts) = (false, false),
        ];
        for change in plainer {
            let mut candidate = best.clone();
            change(&mut candidate);
            better(&mut best, candidate);
        }
        if best == before {
            return best;
        }
    }
}

/// Takes parts out of a list, halves first.
fn shorten<T: Clone>(
    best: &mut Case,
    list: impl Fn(&mut Case) -> &mut Vec<T>,
    better: &mut impl FnMut(&mut Case, Case) -> bool,
) {
    let mut size = list(best).len().next_power_of_two();
    while size > 0 {
        let mut start = 0;
        while start < list(best).len() {
            let mut candidate = best.clone();
            let whole = list(&mut candidate);
            whole.drain(start..(start + size).min(whole.len()));
            if !better(best, candidate) {
                start += size;
            }
        }
        size /= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::Mode;

    #[test]
    fn what_does_not_matter_is_taken_out() {
        let value = (7, 0, false);
        let case = Case {
            mode: Mode::Capability,
            words: (100..160).collect(),
            registers: (1..32).map(|number| (number, value)).collect(),
            memory: (0..9).map(|place| (place * 16, value)).collect(),
            passed: 5,
            handled: true,
            restarts: true,
        };
        // Two instructions in this order, and one register, make it.
        let shows = |case: &Case| {
            let place = |word: u32| case.words.iter().position(|found| *found == word);
            let registers = case.registers.iter().any(|(number, _)| *number == 17);
            registers && matches!((place(117), place(151)), (Some(first), Some(second)) if first < second)
        };
        let reduced = reduce(&case, Architecture::CheriRiscv, shows);
        assert_eq!(reduced.words, [117, 151]);
        assert_eq!(reduced.registers, [(17, value)]);
        assert_eq!((reduced.memory.len(), reduced.passed, reduced.restarts), (0, 0, false));
    }
}
