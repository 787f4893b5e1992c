# Sourced by scripts/setup-linux: programs of Rust's standard library, for the musl targets that everybody has.
#
# aarch64: the library that rustup has ready. riscv64gc: the same way where rustup has it; else it is built from its source, the
# component rust-src, with what that needs from crates.io.

declare -A rust_program=([cheri-riscv]=riscv64gc-unknown-linux-musl [morello]=aarch64-unknown-linux-musl)
declare -A rust_linker=([cheri-riscv]=cc-cheri-riscv-float [morello]=cc-morello)

# Whether the standard library of architecture $1 is there or can be built; sets `std` to the options for that.
has_standard_library() {
    local target=${rust_program[$1]} log=$work/log/$1.std
    std=()
    [[ ! -d $sysroot/$target/lib ]] || return 0
    rustup target add "$target" >"$log" 2>&1 && return 0
    [[ -f $sysroot/src/rust/library/Cargo.lock ]] || rustup component add rust-src >>"$log" 2>&1 || return 1
    std=(-Zbuild-std=std,panic_abort)
}

# Unwinding is never done by a program that aborts; the library's backtraces name these all the same.
write_unwinder() {
    local architecture=$1 to=$work/$2 name
    [[ ! -f $to/libunwind.a ]] || return 0
    for name in Backtrace GetIP GetIPInfo GetLanguageSpecificData GetRegionStart GetTextRelBase GetDataRelBase SetGR SetIP \
        GetCFA FindEnclosingFunction RaiseException Resume DeleteException; do
        echo "long _Unwind_$name(void) { return 0; }"
    done >"$to/unwind.c"
    step "$architecture.unwind" "$work/${rust_linker[$architecture]}" -O2 -c -o "$to/unwind.o" "$to/unwind.c"
    llvm-ar rcs "$to/libunwind.a" "$to/unwind.o"
}

# Builds payloads/linux/$2.rs as rust-$2 for architecture $1, unless it is there and newer.
build_rust() {
    local architecture=$1 name=rust-$2 source=$root/payloads/linux/$2.rs target=${rust_program[$1]} package=$work/rust/$1 std
    local program=$work/$architecture/$name libraries=${rust_linker[$1]#cc-}
    [[ ! -f $program || $source -nt $program ]] || return 0
    [[ -x $work/${rust_linker[$architecture]} ]] || { say "left out: $name for $architecture: no C library for it"; return 0; }
    has_standard_library "$architecture" || {
        say "left out: $name for $architecture: neither rustup's $target nor its rust-src: see $work/log/$architecture.std"
        return 0
    }
    say "$architecture: building $name"
    mkdir -p "$package"
    write_unwinder "$architecture" "$libraries"
    printf '[package]\nname = "%s"\nversion = "0.0.0"\nedition = "2024"\n[[bin]]\nname = "%s"\npath = "%s"\n[workspace]\n[profile.release]\npanic = "abort"\nstrip = true\n' \
        "$name" "$name" "$source" >"$package/Cargo.toml"
    step "$architecture.$name" env RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$package/target" \
        RUSTFLAGS="-Clinker=$work/${rust_linker[$architecture]} -Ctarget-feature=+crt-static -Crelocation-model=pic -Clink-self-contained=no -Lnative=$work/$libraries -Lnative=$work/$libraries/musl/lib" \
        cargo build --release --manifest-path "$package/Cargo.toml" --target "$target" "${std[@]}"
    cp "$package/target/$target/release/$name" "$program"
}

for architecture in "${architectures[@]}"; do build_rust "$architecture" http; done
