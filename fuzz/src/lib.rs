//! What the fuzz targets run: connections in memory, driven by a program, under invariants.

mod callbacks;
mod contexts;
mod end;
mod program;
mod random;
mod run;
mod wire;

pub use program::Program;
pub use run::run;
