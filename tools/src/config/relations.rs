//! What the cVMs of a file say about each other: who serves whose hostcalls, who lies within whom, who waits for whom.

use abi::hostcall::Family;
use abi::manifest::{self as names, Effect};

use super::cvm::key_of;
use super::reader::Reader;
use super::{Draft, Reference, gate, isolation};
use crate::diagnostic::{Position, did_you_mean};

/// A problem of one cVM, said later: the cVMs are borrowed while it is found.
pub(super) struct Complaint {
    pub(super) cvm: usize,
    pub(super) position: Position,
    pub(super) key: String,
    pub(super) value: Option<String>,
    pub(super) problem: String,
    pub(super) fatal: bool,
}

/// Looks up the cVMs that others name and checks what follows from it.
pub(super) fn relate(reader: &mut Reader<'_>, cvms: &mut [Draft]) {
    let mut complaints = Vec::new();
    let servers: Vec<Option<usize>> = (0..cvms.len())
        .map(|index| server(cvms, index, &mut complaints))
        .collect();
    let outers: Vec<Option<usize>> = (0..cvms.len())
        .map(|index| outer(cvms, index, &mut complaints))
        .collect();
    if complaints.is_empty() {
        let callback = |cvm: &Draft| cvm.config.callback_position;
        let within = |cvm: &Draft| cvm.config.within_position;
        circles(cvms, &servers, "callback_out", callback, &mut complaints);
        circles(cvms, &outers, "within", within, &mut complaints);
    }
    if complaints.is_empty() {
        for (index, outer) in outers.iter().enumerate() {
            check_outer(cvms, &servers, *outer, index, &mut complaints);
            check_way(cvms, &servers, &outers, index, &mut complaints);
            check_wait(cvms, &servers, index, &mut complaints);
            check_service(cvms, &servers, index, &mut complaints);
            check_callback_in(cvms, &servers, index, &mut complaints);
            check_devices(cvms, index, &mut complaints);
            gate::check(cvms, index, &mut complaints);
        }
    }
    for (index, cvm) in cvms.iter().enumerate() {
        let inner: Vec<&str> = cvms
            .iter()
            .zip(&outers)
            .filter(|(_, outer)| **outer == Some(index))
            .map(|(inner, _)| inner.name())
            .collect();
        reader.enter(cvm.name());
        isolation::explain(reader, cvm, &inner);
    }
    for complaint in complaints {
        reader.enter(cvms[complaint.cvm].name());
        let (position, key, value) = (complaint.position, complaint.key.as_str(), complaint.value.as_deref());
        if complaint.fatal {
            reader.error(Some(position), Some(key), value, complaint.problem);
        } else {
            reader.warning(position, key, value, &complaint.problem);
        }
    }
    reader.leave();
    let names: Vec<String> = cvms.iter().map(|cvm| cvm.name().to_owned()).collect();
    for ((cvm, server), outer) in cvms.iter_mut().zip(servers).zip(outers) {
        if let Some(server) = server {
            cvm.config.spec.callback_out.clone_from(&names[server]);
        }
        cvm.config.spec.within = outer.map(|outer| names[outer].clone());
    }
}

/// The cVM that a text means: by its name, or by the file name of a runtime that only one cVM has.
fn find(cvms: &[Draft], text: &str) -> Result<usize, String> {
    if let Some(named) = cvms.iter().position(|cvm| cvm.name() == text) {
        return Ok(named);
    }
    let running: Vec<usize> = (0..cvms.len()).filter(|index| cvms[*index].runtime() == text).collect();
    match running.as_slice() {
        [one] => Ok(*one),
        [] => {
            let known: Vec<&str> = cvms.iter().flat_map(|cvm| [cvm.name(), cvm.runtime()]).collect();
            Err(format!(
                "expected the name of a cVM, or the runtime of one{}",
                did_you_mean(text, &known)
            ))
        }
        several => {
            let names: Vec<&str> = several.iter().map(|index| cvms[*index].name()).collect();
            let names = names.join(", ");
            Err(format!(
                "the runtime of the cVMs {names}: expected the name of one of them"
            ))
        }
    }
}

fn look_up(
    cvms: &[Draft],
    index: usize,
    key: &'static str,
    reference: &Reference,
    fatal: bool,
    complaints: &mut Vec<Complaint>,
) -> Option<usize> {
    let mut complain = |problem: String| {
        complaints.push(Complaint {
            cvm: index,
            position: reference.position,
            key: key.to_owned(),
            value: Some(reference.text.clone()),
            problem,
            fatal,
        });
    };
    match find(cvms, &reference.text) {
        Ok(found) if found == index => {
            complain("the cVM itself, expected another one".to_owned());
            None
        }
        Ok(found) => Some(found),
        Err(problem) => {
            complain(problem);
            None
        }
    }
}

fn server(cvms: &[Draft], index: usize, complaints: &mut Vec<Complaint>) -> Option<usize> {
    let reference = cvms[index].callback_out.as_ref()?;
    if reference.text == names::CALLBACK_MONITOR {
        return None;
    }
    look_up(cvms, index, "callback_out", reference, true, complaints)
}

/// The cVM in which number `index` lies: as it says itself, or as the reach of another one says.
fn outer(cvms: &[Draft], index: usize, complaints: &mut Vec<Complaint>) -> Option<usize> {
    let reference = cvms[index].within.as_ref();
    let said = reference.map(|reference| look_up(cvms, index, "within", reference, true, complaints));
    let (whole, partial) = isolation::outers(cvms, index);
    let mut complain = |position, key: &str, value: Option<&str>, problem: String| {
        complaints.push(Complaint {
            cvm: index,
            position,
            key: key.to_owned(),
            value: value.map(str::to_owned),
            problem,
            fatal: true,
        });
    };
    if let Some(partial) = partial.first() {
        let problem = format!(
            "cVM {} reaches a part of it by begin and end, expected all or nothing",
            cvms[*partial].name()
        );
        complain(cvms[index].config.isolation_position, "isolation", None, problem);
    }
    let reached = whole.first().copied();
    let Some(said) = said else { return reached };
    if let (Some(said), Some(reached), Some(reference)) = (said, reached, reference)
        && said != reached
    {
        let name = cvms[reached].name();
        let problem = format!("it lies within {name}, whose begin and end say so; expected {name}");
        complain(reference.position, "within", Some(&reference.text), problem);
    }
    reached.or(said)
}

/// The cVMs on the way from a cVM along a relation, without itself. The relation has no circles.
fn way(next: &[Option<usize>], start: usize) -> Vec<usize> {
    std::iter::successors(next[start], |at| next[*at]).collect()
}

/// Refuses every circle once, at its member that comes first in the file.
fn circles(
    cvms: &[Draft],
    next: &[Option<usize>],
    key: &'static str,
    position: impl Fn(&Draft) -> Position,
    complaints: &mut Vec<Complaint>,
) {
    for start in 0..cvms.len() {
        let mut circle = vec![start];
        let mut at = start;
        while let Some(to) = next[at].filter(|to| *to == start || !circle.contains(to)) {
            circle.push(to);
            at = to;
            if to == start {
                break;
            }
        }
        let closed = circle.len() > 1 && circle.last() == Some(&start);
        if !closed || circle.iter().any(|member| *member < start) {
            continue;
        }
        let names: Vec<&str> = circle.iter().map(|member| cvms[*member].name()).collect();
        complaints.push(Complaint {
            cvm: start,
            position: position(&cvms[start]),
            key: key.to_owned(),
            value: None,
            problem: format!("a circle: {}; expected an end", names.join(" -> ")),
            fatal: true,
        });
    }
}

fn check_outer(
    cvms: &[Draft],
    servers: &[Option<usize>],
    outer: Option<usize>,
    index: usize,
    complaints: &mut Vec<Complaint>,
) {
    let Some(outer) = outer.filter(|outer| !way(servers, index).contains(outer)) else {
        return;
    };
    let (cvm, outer) = (&cvms[index], cvms[outer].name());
    let served = servers[index].map_or(names::CALLBACK_MONITOR, |server| cvms[server].name());
    complaints.push(Complaint {
        cvm: index,
        position: cvm.config.callback_position,
        key: "callback_out".to_owned(),
        value: Some(served.to_owned()),
        problem: format!("it lies within {outer}; expected {outer}, or a cVM whose own hostcalls lead to {outer}"),
        fatal: true,
    });
}

/// The servers on the way from a cVM: not too many. And who reaches a server's memory reaches what the server is lent, and
/// could keep it: it has to reach the lender's memory anyway.
fn check_way(
    cvms: &[Draft],
    servers: &[Option<usize>],
    outers: &[Option<usize>],
    index: usize,
    complaints: &mut Vec<Complaint>,
) {
    let around = way(outers, index);
    let through = way(servers, index).len();
    if through > names::SERVER_LIMIT {
        complaints.push(Complaint {
            cvm: index,
            position: cvms[index].config.callback_position,
            key: "callback_out".to_owned(),
            value: servers[index].map(|served| cvms[served].name().to_owned()),
            problem: format!("leads through {through} cVMs, expected {} at most", names::SERVER_LIMIT),
            fatal: true,
        });
    }
    for server in way(servers, index) {
        let mut reaching = way(outers, server).into_iter();
        let Some(stranger) = reaching.find(|outer| *outer != index && !around.contains(outer)) else {
            continue;
        };
        let (server, outer) = (cvms[server].name(), cvms[stranger].name());
        complaints.push(Complaint {
            cvm: index,
            position: cvms[index].config.callback_position,
            key: "callback_out".to_owned(),
            value: servers[index].map(|served| cvms[served].name().to_owned()),
            problem: format!("leads to {server}, which lies within {outer}; expected the same of this cVM"),
            fatal: true,
        });
    }
}

/// A cVM that the rest of the list waits for must be able to end before the rest is started.
fn check_wait(cvms: &[Draft], servers: &[Option<usize>], index: usize, complaints: &mut Vec<Complaint>) {
    let cvm = &cvms[index];
    let later = (index + 1..cvms.len()).find(|later| way(servers, *later).contains(&index));
    let mut complain = |problem: String, fatal| {
        complaints.push(Complaint {
            cvm: index,
            position: cvm.given("wait").unwrap_or(cvm.position),
            key: "wait".to_owned(),
            value: Some(cvm.config.spec.wait.to_string()),
            problem,
            fatal,
        });
    };
    if let (0, Some(client)) = (cvm.config.spec.wait, later) {
        let client = cvms[client].name();
        return complain(
            format!(
                "would wait for ever: it serves {client}, which starts only when it has ended; expected -1 or seconds"
            ),
            true,
        );
    }
    let waits = cvm.config.spec.wait == 0;
    if let Some(server) = way(servers, index).into_iter().find(|server| waits && *server > index) {
        let server = cvms[server].name();
        complain(
            format!("its hostcalls are served by {server}, which starts only when it has ended"),
            false,
        );
    }
    let last = index + 1 == cvms.len();
    let differs = cvm.config.spec.wait == -1 && !cvm.at_once;
    if cvm.isolation.foreign && cvm.given("wait").is_some() && differs && !last {
        let meaning = "here the next cVM starts at once, in the Intravisor when the first thread of this one has ended";
        complain(meaning.to_owned(), false);
    }
}

/// Keys about service that have no effect or forbid it.
fn check_service(cvms: &[Draft], servers: &[Option<usize>], index: usize, complaints: &mut Vec<Complaint>) {
    let cvm = &cvms[index];
    let client = servers.iter().position(|server| *server == Some(index));
    let mut complain = |position: Option<Position>, key: &str, problem: String, fatal| {
        complaints.push(Complaint {
            cvm: index,
            position: position.unwrap_or(cvm.position),
            key: key.to_owned(),
            value: None,
            problem,
            fatal,
        });
    };
    if let Some(client) = client.filter(|_| !cvm.config.spec.allows(Family::Service)) {
        let client = cvms[client].name();
        let problem = format!("it serves {client}, expected the family service among the others");
        complain(cvm.given("hostcalls"), "hostcalls", problem, true);
    }
    if cvm.config.spec.raw != 0 && servers[index].is_none() {
        let problem = "the monitor serves its hostcalls, expected a cVM that understands them".to_owned();
        complain(cvm.given("raw"), "raw", problem, true);
    }
    for number in &names::NUMBERS {
        let problem = match number.effect {
            Effect::Server if client.is_none() => "no effect: it serves no other cVM",
            // What a call by a gate may take, too.
            Effect::Client if number.name == names::CALL_BUDGET && !cvm.config.spec.calls.is_empty() => continue,
            Effect::Client if servers[index].is_none() => "no effect: the monitor serves its hostcalls",
            _ => continue,
        };
        let key = key_of(number);
        if let Some(position) = cvm.given(&key) {
            complain(Some(position), &key, problem.to_owned(), false);
        }
    }
}

/// A device has one driver, which may use it.
fn check_devices(cvms: &[Draft], index: usize, complaints: &mut Vec<Complaint>) {
    let cvm = &cvms[index];
    let mut complain = |key: &str, value: Option<&String>, problem: String| {
        complaints.push(Complaint {
            cvm: index,
            position: cvm.given(key).unwrap_or(cvm.position),
            key: key.to_owned(),
            value: value.cloned(),
            problem,
            fatal: true,
        });
    };
    let spec = &cvm.config.spec;
    for device in &spec.devices {
        let driver = cvms[..index]
            .iter()
            .find(|other| other.config.spec.devices.contains(device));
        if let Some(driver) = driver {
            let problem = format!("{} drives it, expected a device that has no driver yet", driver.name());
            complain("devices", Some(device), problem);
        }
    }
    if !spec.devices.is_empty() && !spec.allows(Family::Device) {
        let problem = "it has devices, expected the family device among the others";
        complain("hostcalls", None, problem.to_owned());
    }
}

/// `callback_in` says again what the other cVM's `callback_out` says.
fn check_callback_in(cvms: &[Draft], servers: &[Option<usize>], index: usize, complaints: &mut Vec<Complaint>) {
    let Some(reference) = &cvms[index].callback_in else {
        return;
    };
    let Some(client) = look_up(cvms, index, "callback_in", reference, false, complaints) else {
        return;
    };
    if servers[client] != Some(index) {
        let served = servers[client].map_or(names::CALLBACK_MONITOR, |server| cvms[server].name());
        let problem = format!(
            "no effect: callback_out of {} says that {served} serves it",
            cvms[client].name()
        );
        complaints.push(Complaint {
            cvm: index,
            position: reference.position,
            key: "callback_in".to_owned(),
            value: Some(reference.text.clone()),
            problem,
            fatal: false,
        });
    }
}
