//! Links the programs as cVMs: `rt` says how.

fn main() -> Result<(), std::env::VarError> {
    for argument in std::env::var("DEP_CVM_LINK_ARGS")?.split('\u{1f}') {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    Ok(())
}
