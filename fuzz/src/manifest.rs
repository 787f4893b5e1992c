//! Manifests, and the YAML files that they are made from.

use std::path::Path;

use abi::Hostcall;
use abi::manifest::MEMBER;
use tools::archive::Member;
use tools::manifest::{BufferSpec, Manifest, Plan};

/// The monitor and the tools make the same of a manifest, or both refuse it.
pub fn manifest(bytes: &[u8]) {
    let members = [
        Member::new(MEMBER, bytes),
        Member::new("program", *b"p"),
        Member::new("a", *b"a"),
    ];
    plans(&tools::archive::write(&members).expect("a plain archive"));
}

/// The monitor and the tools make the same plan of an archive, with the same programs, or both refuse it. Whether they
/// accept it.
pub(crate) fn plans(archive: &[u8]) -> bool {
    let monitor = kernel::fuzz::plan(archive);
    let members = tools::archive::read(archive).map_err(|error| error.to_string());
    let tools = members.and_then(|members| {
        let plan = tools::manifest::plan_of(&members).map_err(|error| error.to_string())?;
        Ok((members, plan))
    });
    match (monitor, tools) {
        (Ok(monitor), Ok((members, plan))) => {
            assert_eq!(monitor, lines(&members, &plan));
            true
        }
        (Err(_), Err(_)) => false,
        (Ok(plan), Err(error)) => panic!("the tools refuse what the monitor accepts: {error}: {plan:?}"),
        (Err(error), Ok((_, plan))) => panic!("the monitor refuses what the tools accept: {error}: {plan:?}"),
    }
}

/// A plan as [`kernel::fuzz::plan`] shows it.
fn lines(members: &[Member], plan: &Plan) -> Vec<(String, Vec<u8>)> {
    let cvms = plan.cvms.iter().map(|cvm| {
        let strings = (&cvm.name, &cvm.runtime, &cvm.args, &cvm.env);
        let memory = (cvm.isolation_base, cvm.isolation_size, cvm.numbers());
        let restart = (
            cvm.restart.policy.name(),
            cvm.restart.limit,
            cvm.restart.delay,
            cvm.wait,
        );
        let server = cvm.is_served().then_some(cvm.callback_out.as_str());
        let others = (server, cvm.within.as_deref(), &cvm.devices);
        let allowed = Hostcall::ALL.map(|hostcall| cvm.allows(hostcall.family()));
        let line = format!("{strings:?} {memory:?} {restart:?} {others:?} {allowed:?}");
        let program = members.iter().find(|member| member.name == cvm.runtime);
        (line, program.map_or(Vec::new(), |member| member.data.clone()))
    });
    let buffers = plan.buffers.iter().map(|buffer| {
        let may = [&buffer.readers, &buffer.writers].map(|list| {
            let named = plan.cvms.iter().filter(|cvm| BufferSpec::names(list, &cvm.name));
            named.map(|cvm| cvm.name.as_str()).collect::<Vec<_>>()
        });
        let owner = buffer.owner.as_deref();
        let line = format!("{:?} {} {owner:?} {may:?}", buffer.name, buffer.size);
        let data = members.iter().find(|member| Some(&member.name) == buffer.data.as_ref());
        (line, data.map_or(Vec::new(), |member| member.data.clone()))
    });
    cvms.chain(buffers).collect()
}

/// What the tools make of a file that they accept, the monitor accepts.
pub fn yaml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let config = tools::config::parse(Path::new("fuzz.yaml"), text);
    for diagnostic in &config.diagnostics {
        let _ = diagnostic.to_string();
    }
    if config.has_errors() {
        return;
    }
    let mut cvms: Vec<_> = config.cvms.into_iter().map(|cvm| cvm.spec).collect();
    for cvm in &mut cvms {
        // Whatever the path, packing gives the program a name of its own in the archive.
        cvm.runtime = "program".to_owned();
    }
    let buffers: Vec<BufferSpec> = config.buffers.into_iter().map(|buffer| buffer.spec).collect();
    // One that is as large as a file has no size before the file is read.
    let buffers: Vec<BufferSpec> = buffers.into_iter().filter(|buffer| buffer.size > 0).collect();
    let manifest = Manifest::new(&cvms).with_buffers(&buffers).encode();
    let manifest = manifest.expect("an accepted file can be encoded");
    let read = tools::manifest::decode(&manifest).expect("what was encoded");
    assert_eq!((&read.cvms, &read.buffers), (&cvms, &buffers));
    let archive = tools::archive::write(&[Member::new(MEMBER, manifest), Member::new("program", *b"p")]);
    let accepted = plans(&archive.expect("a plain archive"));
    assert!(accepted, "the monitor refuses what the tools accept");
}
