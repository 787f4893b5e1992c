# Sourced by scripts/setup-linux: a compiler that links programs with glibc, static and position-independent, for each architecture:
# target/linux/cc-ARCH-glibc. The C library is Debian's, of a release whose RISC-V has `rcrt1.o`; its programs use floating-point
# registers on both. They are not distributed with anything.

declare -A glibc_target=([cheri-riscv]=riscv64-linux-gnu [morello]=aarch64-linux-gnu)
declare -A glibc_debian=([cheri-riscv]=riscv64 [morello]=arm64)
declare -A glibc_flags=([cheri-riscv]="-march=rv64gc -mabi=lp64d -mno-relax" [morello]="")
glibc_release=trixie
glibc_compiler=14

# Fetches the C library for architecture $1 and writes its compiler.
build_glibc() {
    local architecture=$1 package target=${glibc_target[$1]} debian=${glibc_debian[$1]} place=$work/$1/glibc
    local log=$work/log/$1.glibc
    if [[ ! -f $place/ready ]]; then
        say "$architecture: fetching glibc"
        rm -rf "$place" && mkdir -p "$place"
        for package in "libc6-dev-$debian-cross" "linux-libc-dev-$debian-cross" "libgcc-$glibc_compiler-dev-$debian-cross"; do
            rm -f "$place"/*.deb
            private_package "$work/apt" "$place" "$package" "$glibc_release" >"$log" 2>&1 ||
                lacks "the package $package of $glibc_release cannot be fetched" "$(tail -n 1 "$log")"
        done
        rm -f "$place"/*.deb
        touch "$place/ready"
    fi
    local libc=$place/usr/$target gcc=$place/usr/lib/gcc-cross/$target/$glibc_compiler
    cat >"$work/cc-$architecture-glibc.new" <<END
#!/usr/bin/env bash
# Made by scripts/setup --linux.
set -euo pipefail
compile=(clang --target=$target ${glibc_flags[$architecture]} -fPIE -nostdinc -isystem "$(clang -print-resource-dir)/include"
    -isystem "$libc/include")
for argument in "\$@"; do
    case \$argument in -c | -E | -S | -M | -MM) exec "\${compile[@]}" "\$@" ;; esac
done
exec "\${compile[@]}" -static-pie -nostartfiles -nodefaultlibs -nostdlib --ld-path="$work/ld.lld" -Wl,--sysroot="$place" -Wl,-z,noexecstack \\
    "$libc/lib/rcrt1.o" "$libc/lib/crti.o" "$gcc/crtbeginS.o" "\$@" -L"$libc/lib" -L"$gcc" \\
    -Wl,--start-group -lm -lc -lgcc -lgcc_eh -Wl,--end-group "$gcc/crtendS.o" "$libc/lib/crtn.o"
END
    chmod +x "$work/cc-$architecture-glibc.new"
    if cmp -s "$work/cc-$architecture-glibc.new" "$work/cc-$architecture-glibc"; then
        rm "$work/cc-$architecture-glibc.new"
    else
        mv "$work/cc-$architecture-glibc.new" "$work/cc-$architecture-glibc"
    fi
}

for architecture in "${architectures[@]}"; do
    build_glibc "$architecture"
    mkdir -p "$work/$architecture-glibc"
    build "$architecture-glibc" linux-start payloads/linux/start.c
    ln -sfn "../$architecture-glibc/linux-start" "$work/$architecture/linux-start-glibc"
done
