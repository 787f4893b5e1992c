# Sourced by scripts/setup and scripts/setup-linux: packages of the distribution, by lists and a cache of their own, so that
# the system's stay as they are. The system's apt configuration is only read, to learn which mirror to ask.

# Runs an apt command with lists and cache in directory $1; its sources.list is the caller's to write.
apt_in() {
    local directory=$1 command=$2
    shift 2
    "$command" -o Dir::Etc::SourceList="$directory/sources.list" -o Dir::Etc::SourceParts=- \
        -o Dir::State="$directory/state" -o Dir::State::status="$directory/status" -o Dir::Cache="$directory/cache" \
        -o APT::Sandbox::User="$(id -un)" -o APT::Get::List-Cleanup=1 "$@"
}

# The mirrors that the system's own distribution is configured to come from, one URI a line.
apt_mirrors() {
    local codename
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
    # shellcheck disable=SC2016 # apt substitutes these
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' |
        awk -v codename="$codename" '
            $3 == "main" && ($2 == codename || $2 ~ /^(old)?(stable|testing|unstable|sid)$/) && !seen[$1]++ { print $1 }'
}

# The option that names Debian's keys, or nothing.
apt_keys() {
    local keyring
    for keyring in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
        [[ ! -r $keyring ]] || { echo "[signed-by=$keyring] "; return; }
    done
}

# Lets directory $1 know packages of kind $2 (deb, deb-src) of release $3, without it of the distribution's own.
apt_lists() {
    local directory=$1 kind=$2 mirror codename
    codename=${3-$(. /etc/os-release && echo "${VERSION_CODENAME-stable}")}
    [[ ! -f $directory/$kind.ready ]] || return 0
    command -v apt-get >/dev/null || { echo "there is no apt-get"; return 1; }
    mkdir -p "$directory"/{state/lists/partial,cache/archives/partial}
    : >"$directory/status"
    for mirror in $(apt_mirrors); do
        echo "$kind $(apt_keys)$mirror $codename main"
    done >"$directory/sources.list"
    apt_in "$directory" apt-get -qq update && touch "$directory/$kind.ready"
}

# Fetches the source package $3 into directory $2 and unpacks it there, with lists in directory $1.
private_source() {
    local directory=$1/source to=$2 package=$3
    apt_lists "$directory" deb-src || return 1
    (cd "$to" && apt_in "$directory" apt-get -qq source --download-only "$package") || return 1
    command -v dpkg-source >/dev/null || { echo "dpkg-source is missing: on Debian as root: apt install dpkg-dev"; return 1; }
    (cd "$to" && dpkg-source --no-check --skip-patches -x ./*.dsc unpacked)
}

# Fetches the upstream archive of source package $3 of release $4 into directory $2 and unpacks it there, with lists in directory $1.
private_upstream() {
    local directory=$1/source-$4 to=$2 package=$3 file
    apt_lists "$directory" deb-src "$4" || return 1
    (cd "$to" && apt_in "$directory" apt-get -qq source --download-only --tar-only "$package") || return 1
    for file in "$to"/*.orig.tar.*; do tar -x -f "$file" -C "$to" || return 1; done
}

# Fetches package $3 and unpacks it into directory $2, with lists in directory $1; of release $4, without it of the distribution's own.
private_package() {
    local directory=$1/binary${4:+-$4} to=$2 package=$3 file
    apt_lists "$directory" deb ${4:+"$4"} || return 1
    mkdir -p "$to" || return 1
    (cd "$to" && apt_in "$directory" apt-get -qq download "$package") || return 1
    for file in "$to"/*.deb; do dpkg-deb -x "$file" "$to" || return 1; done
}
