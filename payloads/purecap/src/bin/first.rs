//! A server. Its main thread serves until nobody is left; its handler prints `hello first(syscall-handler)` for every
//! `write` of a cVM that it serves and passes the caller's buffer on to the monitor, as the capability that it is lent. All
//! else is delegated.

#![no_std]
#![no_main]

purecap::program!("first.s");
