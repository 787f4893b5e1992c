# Sourced by scripts/setup-linux: the shells and commands of the example `shell`, dash and BusyBox. BusyBox is built for machines
# without an MMU (NOMMU): then its shell `hush` makes every process by vfork, and executes itself again for pipelines and
# subshells. Nothing of them is changed.

# What of BusyBox is built: the shell, and commands for pipelines.
busybox_options() {
    local option
    for option in NOMMU BUSYBOX SHELL_HUSH HUSH HUSH_BASH_COMPAT HUSH_BRACE_EXPANSION HUSH_LINENO_VAR HUSH_IF HUSH_LOOPS HUSH_CASE \
        HUSH_FUNCTIONS HUSH_LOCAL HUSH_RANDOM_SUPPORT HUSH_EXPORT HUSH_READONLY HUSH_KILL HUSH_WAIT HUSH_COMMAND HUSH_TRAP \
        HUSH_TYPE HUSH_READ HUSH_SET HUSH_UNSET HUSH_ULIMIT HUSH_UMASK HUSH_GETOPTS HUSH_TEST HUSH_ECHO HUSH_PRINTF HUSH_INTERACTIVE HUSH_JOB \
        HUSH_TICK FEATURE_SH_MATH SH_IS_HUSH BASH_IS_NONE FEATURE_SH_NOFORK LFS STATIC SHOW_USAGE FEATURE_VERBOSE_USAGE \
        CAT ECHO LS FEATURE_LS_SORTFILES FEATURE_LS_TIMESTAMPS GREP EGREP SORT FEATURE_SORT_BIG UNIQ WC HEAD TAIL TR CUT SED SEQ SLEEP \
        KILL TRUE FALSE PRINTF TEST EXPR ENV PWD MKDIR RMDIR RM MV CP LN TOUCH TEE XARGS FIND FEATURE_FIND_TYPE FEATURE_FIND_EXEC BASENAME \
        DIRNAME YES OD SHA256SUM DATE UNAME SYNC; do
        echo "CONFIG_$option=y"
    done
}

# Builds BusyBox for architecture $1.
build_busybox() {
    local architecture=$1 source=$work/source/busybox build=$work/$1/busybox-build target=$work/$1/busybox
    [[ ! -f $target || ! $target -nt $work/cc-$architecture || ! $target -nt scripts/linux-shells.bash ]] || return 0
    say "$architecture: building busybox"
    rm -rf "$build" && mkdir -p "$build"
    cp -r "$source/." "$build"
    # Nothing but these.
    busybox_options | sed -E 's/^(CONFIG_[A-Z0-9_]+)=y$/s,^# \1 is not set$,\1=y,/' >"$build/wanted.sed"
    (
        cd "$build"
        # Its global pointers are constants that it writes to, unless it is told that the compiler minds.
        step "$architecture.busybox" make -s allnoconfig
        sed -i -f wanted.sed .config
        step "$architecture.busybox" make -s oldconfig < <(yes '')
        step "$architecture.busybox" make -s -j2 CC="$work/cc-$architecture" LD="$work/ld.lld" AR=llvm-ar STRIP=true HOSTCC=cc SKIP_STRIP=y \
            EXTRA_CFLAGS="-Wno-everything -DBB_GLOBAL_CONST=" busybox_unstripped
        step "$architecture.busybox" llvm-strip -o busybox.stripped busybox_unstripped
    )
    mv "$build/busybox.stripped" "$target"
    rm -rf "$build"
}

# Builds dash for architecture $1.
build_dash() {
    local architecture=$1 build=$work/$1/dash-build target=$work/$1/dash
    [[ ! -f $target || ! $target -nt $work/cc-$architecture ]] || return 0
    say "$architecture: building dash"
    rm -rf "$build" && mkdir -p "$build"
    # With its times, or its makefile would make itself again.
    cp -rp "$work/source/dash/." "$build"
    (
        cd "$build"
        # Its tables are made by programs for this machine.
        step "$architecture.dash" env CC="$work/cc-$architecture" CC_FOR_BUILD=cc CFLAGS="-O2 -w" \
            ./configure --host="${musl_target[$architecture]}-linux-musl" --without-libedit
        step "$architecture.dash" make -s -j2 CC_FOR_BUILD=cc
        step "$architecture.dash" llvm-strip -o dash.stripped src/dash
    )
    mv "$build/dash.stripped" "$target"
    rm -rf "$build"
}

source_package busybox trixie
source_package dash trixie
for architecture in "${architectures[@]}"; do
    build_busybox "$architecture"
    build_dash "$architecture"
done
