//! Images for the measurements.

use std::collections::BTreeSet;

use abi::manifest::MEMBER;
use tests::artifacts::built;
use tools::archive::{self, Member};
use tools::manifest::{BufferSpec, CvmSpec, Manifest, encode};
use tools::run::Isa;
use tools::workspace::Workspace;
use tools::{Architecture, image, pack};

use crate::Result;
use crate::platform::{Machine, Platform, Workload};

/// What is booted.
pub(crate) struct Setup {
    archive: Vec<u8>,
    append: String,
}

impl Setup {
    /// These cVMs. A runtime that is not among `programs` is one of the workspace's.
    ///
    /// # Errors
    /// Manifest or archive cannot be written.
    pub(crate) fn new(arch: Architecture, cvms: &[CvmSpec], programs: &[(String, Vec<u8>)]) -> Result<Setup> {
        let mut members = vec![Member::new(MEMBER, encode(cvms)?)];
        members.extend(programs.iter().map(|(name, bytes)| Member::new(name, bytes.clone())));
        for cvm in cvms {
            if members.iter().all(|member| member.name != cvm.runtime) {
                members.push(Member::new(&cvm.runtime, built(arch).program(&cvm.runtime)));
            }
        }
        Ok(Setup {
            archive: archive::write(&members)?,
            append: String::new(),
        })
    }

    /// These cVMs, of the workspace's programs, and the buffers that they share.
    ///
    /// # Errors
    /// Manifest or archive cannot be written.
    pub(crate) fn with_buffers(arch: Architecture, cvms: &[CvmSpec], buffers: &[BufferSpec]) -> Result<Setup> {
        let mut members = vec![Member::new(MEMBER, Manifest::new(cvms).with_buffers(buffers).encode()?)];
        let programs: BTreeSet<&str> = cvms.iter().map(|cvm| cvm.runtime.as_str()).collect();
        members.extend(
            programs
                .into_iter()
                .map(|name| Member::new(name, built(arch).program(name))),
        );
        Ok(Setup {
            archive: archive::write(&members)?,
            append: String::new(),
        })
    }

    /// An example, as `intravisor build` packs it.
    ///
    /// # Errors
    /// It is not there, or `pack` refuses it.
    pub(crate) fn example(arch: Architecture, name: &str) -> Result<Setup> {
        built(arch);
        let workspace = Workspace::locate()?;
        let (yaml, _) = workspace.example(name)?;
        Ok(Setup {
            archive: pack::pack(&yaml, arch, &[workspace.programs(arch)])?.archive,
            append: String::new(),
        })
    }

    /// The same with a kernel command line.
    pub(crate) fn append(self, text: &str) -> Setup {
        Setup {
            append: text.to_owned(),
            ..self
        }
    }

    /// The whole image.
    ///
    /// # Errors
    /// The monitor cannot be laid out.
    pub(crate) fn image(&self, arch: Architecture) -> Result<Vec<u8>> {
        Ok(image::build(&built(arch).monitor, arch, Some(&self.archive))?)
    }

    /// The board with the image.
    ///
    /// # Errors
    /// The image does not fit the board.
    pub(crate) fn board(&self, platform: &dyn Platform) -> Result<Box<dyn Machine>> {
        let workload = Workload {
            image: self.image(platform.arch())?,
            isa: Isa::V9,
        };
        platform.board(workload, &self.append)
    }
}

/// A cVM that runs one of the workspace's programs with these arguments.
pub(crate) fn cvm(name: &str, program: &str, args: &[&str]) -> CvmSpec {
    CvmSpec {
        args: args.iter().map(|argument| (*argument).to_owned()).collect(),
        ..CvmSpec::new(name, program)
    }
}

/// The image without an archive.
///
/// # Errors
/// The monitor cannot be laid out.
pub(crate) fn bare_image(arch: Architecture) -> Result<Vec<u8>> {
    Ok(image::build(&built(arch).monitor, arch, None)?)
}
