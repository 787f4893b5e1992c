//! Links the program as a cVM: `rt` says how.

fn main() {
    // On the host, where only the library is of use, there is no runtime.
    for argument in std::env::var("DEP_CVM_LINK_ARGS").unwrap_or_default().split('\u{1f}') {
        if !argument.is_empty() {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}
