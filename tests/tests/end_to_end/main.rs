//! Boots images and looks at what happens. One module for each promise of the monitor.

mod audit;
mod authority;
mod boot;
mod buffers;
mod c_programs;
mod confinement;
mod console;
mod demo;
mod failure;
mod firmware;
mod hostcalls;
mod leftovers;
mod malformed_archive;
mod malformed_elf;
mod malformed_manifest;
mod malformed_purecap;
mod measured;
mod purecap;
mod relocations;
mod reserved;
mod restart;
mod schedule;
mod servers;
mod service;
mod threads;
mod vectors;
