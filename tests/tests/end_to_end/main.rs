//! Boots images and looks at what happens. One module for each promise of the monitor.

mod demo;
