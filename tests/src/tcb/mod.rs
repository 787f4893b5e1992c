//! `docs/tcb.md`: what must be right for the monitor's promises, counted. The page is made by `scripts/tcb`, from the sources, from
//! the debug information of the image, and from the judgements in [`parts`] and [`libraries`].

mod libraries;
mod others;
mod page;
mod parts;
mod reached;

use std::error::Error;

pub use libraries::{Library, libraries};
pub use page::{PATH, page, unlike};

type Result<T> = std::result::Result<T, Box<dyn Error>>;
