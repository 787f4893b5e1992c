//! Virtio devices and clocks of both boards, through a driver that lives in the test: registers are reached by loads and
//! stores that the board executes, rings are written as a driver would.

mod block;
mod boards;
mod clocks;
mod driver;
mod entropy;
mod network;
mod qemu;
mod queues;
mod stack;
mod transport;
mod user_network;
mod wires;
