# Shared by run and encoder/build: Debian's kernels, downloaded and unpacked once.

. "$(dirname "${BASH_SOURCE[0]}")/../support/steps.sh"

# The folder of a release of Debian.
cache_of() {
    echo "${BALLCAST_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ballcast/kernel}/$1"
}

# lists SUITE FOLDER: package lists of a release, from the archives that this machine takes its own packages from.
lists() {
    local site release
    mkdir -p "$2/lists/partial" "$2/archives/partial"
    apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 2>/dev/null | sort -u |
        while read -r site release; do
            case $release in
            *-security) release=$1-security ;;
            *-updates | *-backports) continue ;;
            *) release=$1 ;;
            esac
            echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site $release main"
        done | sort -u >"$2/sources.list"
    apt_in "$2" apt-get update
}

# apt_in FOLDER COMMAND...: one of apt's commands on the package lists there.
apt_in() {
    "${@:2}" -qq -o Dir::Etc::sourcelist="$1/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o APT::Sandbox::User="$(id -un)" -o Dir::State::Lists="$1/lists" -o Dir::Cache="$1" -o Acquire::Languages=none
}

# download FOLDER PACKAGE...: into that folder.
download() {
    (cd "$1" && apt_in "$1" apt-get download "${@:2}")
}

# unpacked SUITE: the kernel of that release, in its folder: vmlinux, root/lib/modules, and its name in the file
# release.
unpacked() {
    local cache part package release
    cache=$(cache_of "$1")
    [ ! -e "$cache/release" ] || return 0
    part=$cache.$$
    mkdir -p "$part"
    lists "$1" "$part/apt"
    package=$(apt_in "$part/apt" apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -1)
    [ -n "$package" ] || fail "there is no kernel package of $1"
    download "$part/apt" "$package"
    dpkg -x "$part"/apt/linux-image-*.deb "$part/root"
    rm -rf "$part/apt"
    # Below /usr where the distribution has merged the two.
    if [ ! -e "$part/root/lib/modules" ]; then
        mkdir -p "$part/root/lib"
        mv "$part/root/usr/lib/modules" "$part/root/lib/"
    fi
    release=$(ls "$part/root/lib/modules")
    depmod -b "$part/root" "$release"
    vmlinux "$part"/root/boot/vmlinuz-* "$part/vmlinux"
    echo "$release" >"$part/release"
    mkdir -p "$cache"
    mv "$part"/* "$cache/"
    rmdir "$part"
}

# vmlinux FROM TO: the kernel in a bzImage as an ELF file, which qemu starts by PVH. In an emulated processor, unpacking
# takes longer than the whole boot.
vmlinux() {
    python3 - "$@" <<'PYTHON'
import lzma, subprocess, sys

data = open(sys.argv[1], "rb").read()
xz, zstd = data.find(b"\xfd7zXZ\0"), data.find(b"\x28\xb5\x2f\xfd")
if xz > 0:
    elf = lzma.LZMADecompressor().decompress(data[xz:])
else:
    elf = subprocess.run(["zstd", "-dcq"], input=data[zstd:], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
assert elf[:4] == b"\x7fELF"
open(sys.argv[2], "wb").write(elf)
PYTHON
}
