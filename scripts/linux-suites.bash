# Sourced by scripts/setup-linux: what others have written to test or measure C libraries, kernels and interpreters with, built
# for both architectures. Its architectures, functions and flags are used here.
#
# What no distribution packages is left out, without a word, unless a variable names the directory with its source:
#
#   INTRAVISOR_LIBC_TEST    musl's libc-test: target/linux/ARCH/libc-test/PART-NAME, for the parts functional and regression
#   INTRAVISOR_LUA_TESTS    the folder testes of Lua's repository, of the version that is built: target/linux/lua-tests

# The directory that variable $1 names, in which $2 has to be; nothing when it names none: the tests say then what they leave out.
named_source() {
    local variable=$1 proof=$2 directory=${!1-}
    [[ -n $directory ]] || return 0
    [[ -f $directory/$proof ]] || fail "$variable: $directory/$proof is missing, expected the source of that suite"
    (cd "$directory" && pwd)
}

# Runs the compiler of architecture $1 once for each line of arguments, two at a time; the log is called $2.
compile_lines() {
    step "$1.$2" xargs -P 2 -L 1 "$work/cc-$1" -O2 -w "${@:3}"
}

# Builds libc-test from directory $2 for architecture $1: each test is a program of its own, which says what is wrong and
# returns how much.
build_libc_test() {
    local architecture=$1 source=$2/src to=$work/$1/libc-test file part name extra
    # As libc-test's own makefile has them: without -fno-builtin a compiler leaves allocations out that are to fail.
    local flags=(-std=c99 -D_POSIX_C_SOURCE=200809L -fno-builtin -frounding-math "-I$source/common")
    [[ ! -d $to || $work/cc-$architecture -nt $to ]] || return 0
    say "$architecture: building libc-test"
    rm -rf "$to" "$to.new" && mkdir -p "$to.new/common"
    for name in fdfill memfill mtest path print rand setrlim utf8 vmfill; do
        echo "-c -o $to.new/common/$name.o $source/common/$name.c"
    done | compile_lines "$architecture" libc-test-common "${flags[@]}"
    step "$architecture.libc-test-archive" llvm-ar rcs "$to.new/libtest.a" "$to.new"/common/*.o
    for file in "$source"/{functional,regression}/*.c; do
        part=$(basename "$(dirname "$file")")
        name=$(basename "$file" .c)
        extra=
        # Files with this ending are parts of others; the one that is linked in without a dynamic linker, too, is not a library then.
        [[ $name != *_dso ]] || continue
        [[ $name != tls_align ]] || extra=${file%.c}_dso.c
        echo "-s -o $to.new/$part-$name $file $extra $to.new/libtest.a"
    done | compile_lines "$architecture" libc-test "${flags[@]}"
    rm -r "$to.new/common" "$to.new/libtest.a"
    mv "$to.new" "$to"
}

libc_test=$(named_source INTRAVISOR_LIBC_TEST src/common/runtest.c)
lua_tests=$(named_source INTRAVISOR_LUA_TESTS all.lua)
[[ -z $lua_tests ]] || ln -sfn "$lua_tests" "$work/lua-tests"

if [[ ! -f $work/source/speedtest1.c ]]; then
    source_package sqlite3
    # The rest of it is large, and here as one file already.
    cp "$work/source/sqlite3/test/speedtest1.c" "$work/source/speedtest1.c"
    rm -rf "$work/source/sqlite3"
fi
for architecture in "${architectures[@]}"; do
    build "$architecture" speedtest1 -w -I"$work/source/libsqlite3-sys/sqlite3" "$work/source/speedtest1.c" \
        "$work/$architecture/sqlite3.o"
    [[ -z $libc_test ]] || build_libc_test "$architecture" "$libc_test"
done
