//! What a manifest may say, judged as the monitor judges it: what one of the two refuses, the other refuses. The YAML reader
//! judges the same of a file, with better words; here it is somebody else's `manifest.dtb`.

use abi::manifest as names;

use super::{BufferSpec, CvmSpec, DecodeError, Plan, decode, threads};
use crate::archive::Member;
use crate::elf::PAGE;

/// Why an archive has no plan that the monitor would carry out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// There is no manifest.
    #[error("not in the archive")]
    Missing,
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
    /// It says something that the monitor refuses.
    #[error("{what}: {problem}")]
    Refused {
        /// The cVM or buffer, or the list.
        what: String,
        /// Key, value and what was expected.
        problem: String,
    },
}

/// The plan of an archive, as the monitor would carry it out.
///
/// # Errors
/// The monitor would refuse it.
pub fn plan_of(members: &[Member]) -> Result<Plan, PlanError> {
    let find = |name: &str| members.iter().find(|member| member.name == name);
    let plan = decode(&find(names::MEMBER).ok_or(PlanError::Missing)?.data)?;
    for (list, count, limit) in [
        (names::CVMS, plan.cvms.len(), names::CVM_LIMIT),
        (names::BUFFERS, plan.buffers.len(), names::BUFFER_LIMIT),
    ] {
        if count > limit {
            return Err(refused(list, format!("{count} of them, expected at most {limit}")));
        }
    }
    if plan.cvms.is_empty() {
        return Err(refused(names::CVMS, "none, expected at least one"));
    }
    for (index, cvm) in plan.cvms.iter().enumerate() {
        judge_name("cVM", &cvm.name, plan.cvms[..index].iter().map(|other| &other.name))?;
        judge_cvm(cvm)?;
        if find(&cvm.runtime).is_none() {
            let problem = format!("runtime {:?} is not in the archive", cvm.runtime);
            return Err(refused(format!("cVM {}", cvm.name), problem));
        }
    }
    judge_relations(&plan.cvms)?;
    let (threads, limit) = (threads(&plan.cvms), names::THREAD_LIMIT);
    if threads > limit {
        let problem = format!("{threads} threads and handlers, expected at most {limit} of all cVMs");
        return Err(refused(names::CVMS, problem));
    }
    judge_devices(&plan.cvms)?;
    judge_gates(&plan.cvms)?;
    for (index, buffer) in plan.buffers.iter().enumerate() {
        let others = plan.buffers[..index].iter().map(|other| &other.name);
        judge_name("buffer", &buffer.name, others)?;
        let refuse = |problem: String| Err(refused(format!("buffer {}", buffer.name), problem));
        let (size, limit) = (buffer.size, names::BUFFER_SIZE_LIMIT);
        if size == 0 || size > limit {
            return refuse(format!("size {size:#x}, expected 1 to {limit:#x}"));
        }
        let BufferSpec { readers, writers, .. } = buffer;
        let named = readers.iter().chain(writers).filter(|name| *name != names::EVERYBODY);
        let mut named = buffer.owner.iter().chain(named);
        if let Some(name) = named.find(|name| !plan.cvms.iter().any(|cvm| cvm.name == **name)) {
            return refuse(format!("{name:?}, expected the name of a cVM"));
        }
        if let Some(member) = &buffer.data {
            match find(member) {
                None => return refuse(format!("data {member:?} is not in the archive")),
                Some(found) if found.data.len() as u64 > size => {
                    let bytes = found.data.len();
                    return refuse(format!("data {member:?} of {bytes} bytes, expected at most {size}"));
                }
                Some(_) => {}
            }
        }
    }
    Ok(plan)
}

fn refused(what: impl Into<String>, problem: impl Into<String>) -> PlanError {
    PlanError::Refused {
        what: what.into(),
        problem: problem.into(),
    }
}

fn judge_name<'a>(kind: &str, name: &str, others: impl IntoIterator<Item = &'a String>) -> Result<(), PlanError> {
    if !names::valid_name(name) {
        return Err(refused(
            kind,
            format!("name {name:?}, expected {}", names::NAME_EXPECTED),
        ));
    }
    if others.into_iter().any(|other| other == name) {
        return Err(refused(format!("{kind} {name}"), "this name stands twice"));
    }
    Ok(())
}

fn judge_cvm(cvm: &CvmSpec) -> Result<(), PlanError> {
    let refuse = |problem: String| Err(refused(format!("cVM {}", cvm.name), problem));
    let bytes: usize = cvm.args.iter().chain(&cvm.env).map(|text| text.len() + 1).sum();
    if bytes > names::STRINGS_LIMIT {
        return refuse(format!(
            "{bytes} bytes of args and env, expected at most {}",
            names::STRINGS_LIMIT
        ));
    }
    let assigns = |entry: &&String| entry.split_once('=').is_some_and(|(key, _)| !key.is_empty());
    if let Some(entry) = cvm.env.iter().find(|entry| !assigns(entry)) {
        return refuse(format!("env {entry:?}, expected KEY=value"));
    }
    if let Some(base) = cvm.isolation_base.filter(|base| !base.is_multiple_of(PAGE)) {
        return refuse(format!("isolation-base {base:#x}, expected a multiple of {PAGE}"));
    }
    for (value, number) in cvm.numbers().into_iter().zip(&names::NUMBERS) {
        if !(number.least..=number.most).contains(&value) {
            let (name, least, most) = (number.name, number.least, number.most);
            return refuse(format!("{name} {value}, expected {least} to {most}"));
        }
    }
    Ok(())
}

/// Every device that a cVM drives has a name of one, and no other driver.
fn judge_devices(cvms: &[CvmSpec]) -> Result<(), PlanError> {
    let mut driven: Vec<&str> = Vec::new();
    for cvm in cvms {
        let refuse = |problem: String| Err(refused(format!("cVM {}", cvm.name), problem));
        let (count, limit) = (cvm.devices.len(), names::DEVICE_LIMIT);
        if count > limit {
            return refuse(format!("{count} devices, expected at most {limit}"));
        }
        for device in &cvm.devices {
            if names::device(device).is_none() {
                return refuse(format!("devices {device:?}, expected {}", names::DEVICE_EXPECTED));
            }
            if driven.contains(&device.as_str()) {
                return refuse(format!("devices {device:?}, expected a device that has no driver yet"));
            }
            driven.push(device);
        }
    }
    Ok(())
}

/// Every gate is described as it has to be, and every one that is called exists.
fn judge_gates(cvms: &[CvmSpec]) -> Result<(), PlanError> {
    let function = |text: &String| names::Gate::parse(text).map(|gate| gate.function.to_owned());
    for cvm in cvms {
        let refuse = |problem: String| Err(refused(format!("cVM {}", cvm.name), problem));
        for (key, texts) in [(names::GATES, &cvm.gates), (names::CALLS, &cvm.calls)] {
            if texts.len() > names::GATE_LIMIT {
                let (count, limit) = (texts.len(), names::GATE_LIMIT);
                return refuse(format!("{key}: {count} gates, expected at most {limit}"));
            }
            if cvm.raw != 0 && !texts.is_empty() {
                return refuse(format!("{key}, expected none: it is a raw client"));
            }
        }
        for (index, text) in cvm.gates.iter().enumerate() {
            let found = function(text);
            if found.is_none() || cvm.gates[..index].iter().any(|other| function(other) == found) {
                return refuse(format!("gates {text:?}, expected {}", names::GATE_EXPECTED));
            }
        }
        for (index, text) in cvm.calls.iter().enumerate() {
            let offers = |other: &&CvmSpec, wanted: &str| {
                let mut gates = other.gates.iter().filter_map(function);
                other.name != cvm.name && gates.any(|gate| gate == wanted)
            };
            let found = names::call(text).filter(|(server, wanted)| {
                let server = cvms.iter().find(|other| other.name == *server);
                server.is_some_and(|server| offers(&server, wanted))
            });
            if found.is_none() || cvm.calls[..index].contains(text) {
                return refuse(format!(
                    "calls {text:?}, expected a gate of another cVM, once, as cVM.function"
                ));
            }
        }
        if !cvm.agrees_on_vectors(cvms) {
            return refuse("gates and calls, expected all of them with vector, or none".to_owned());
        }
    }
    Ok(())
}

/// Who serves whom and who lies within whom: both have an end, an outer cVM is among the servers, and who reaches a server's
/// memory reaches that of its clients.
fn judge_relations(cvms: &[CvmSpec]) -> Result<(), PlanError> {
    let look_up = |cvm: &CvmSpec, key: &str, name: &str| {
        let found = cvms.iter().position(|other| other.name == name);
        found.ok_or_else(|| {
            let problem = format!("{key} {name:?}, expected the name of a cVM");
            refused(format!("cVM {}", cvm.name), problem)
        })
    };
    let mut servers = Vec::new();
    let mut outers = Vec::new();
    for cvm in cvms {
        let server = cvm.is_served().then_some(&cvm.callback_out);
        servers.push(server.map(|name| look_up(cvm, names::CALLBACK_OUT, name)).transpose()?);
        let outer = cvm.within.as_ref();
        outers.push(outer.map(|name| look_up(cvm, names::WITHIN, name)).transpose()?);
    }
    for (index, cvm) in cvms.iter().enumerate() {
        let refuse = |problem: String| refused(format!("cVM {}", cvm.name), problem);
        let circle = |key: &str| refuse(format!("{key} leads back to cVMs on its own way"));
        let through = way(&servers, index).ok_or_else(|| circle(names::CALLBACK_OUT))?;
        let around = way(&outers, index).ok_or_else(|| circle(names::WITHIN))?;
        if through.len() > names::SERVER_LIMIT {
            let (count, limit) = (through.len(), names::SERVER_LIMIT);
            let problem = format!("callback-out leads through {count} cVMs, expected {limit} at most");
            return Err(refuse(problem));
        }
        if let Some(outer) = outers[index].filter(|outer| !through.contains(outer)) {
            let outer = &cvms[outer].name;
            let problem = format!("within {outer}, expected a cVM that serves its hostcalls, directly or by others");
            return Err(refuse(problem));
        }
        for server in through {
            let reaching = way(&outers, server).ok_or_else(|| circle(names::WITHIN))?;
            if let Some(stranger) = reaching
                .iter()
                .find(|outer| **outer != index && !around.contains(outer))
            {
                let (server, stranger) = (&cvms[server].name, &cvms[*stranger].name);
                let problem =
                    format!("callback-out leads to {server}, which lies within {stranger}: expected the same of it");
                return Err(refuse(problem));
            }
        }
    }
    Ok(())
}

/// The cVMs on the way from one along a relation; `None` when the way has no end.
fn way(next: &[Option<usize>], start: usize) -> Option<Vec<usize>> {
    let mut way: Vec<usize> = Vec::new();
    let mut at = next[start];
    while let Some(step) = at {
        if way.len() == next.len() {
            return None;
        }
        way.push(step);
        at = next[step];
    }
    Some(way)
}
