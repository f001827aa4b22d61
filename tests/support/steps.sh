# Shared by the scripts that build and test: they name each step, and install what is missing.

# fail WORDS...: why this script cannot go on.
fail() {
    echo "$0: $*" >&2
    exit 1
}

step() {
    printf '\n== %s\n' "$*"
    "$@"
}

# need COMMAND PACKAGE: the command, from that Debian or Ubuntu package if it is missing.
need() {
    command -v "$1" >/dev/null || provide "$1" "$2"
}

# provide WHAT PACKAGE: what is missing, from that package.
provide() {
    local install=(apt-get install -y --no-install-recommends "$2")
    if [ "$(id -u)" -ne 0 ]; then
        install=(sudo -n "${install[@]}")
    fi
    if ! command -v apt-get >/dev/null; then
        fail "'$1' is missing. Install it and run this again."
    fi
    echo "== installing $2"
    if [ "$(id -u)" -eq 0 ]; then apt-get update -q; else sudo -n apt-get update -q || true; fi
    if ! "${install[@]}"; then
        fail "'$1' is missing. Run: sudo apt-get install $2"
    fi
}

# need_venv: python3, with the module that makes virtual environments.
need_venv() {
    need python3 python3
    python3 -c 'import ensurepip' 2>/dev/null || provide "python3 -m venv" python3-venv
}

need_rust() {
    command -v cargo >/dev/null || fail "there is no Rust toolchain. Install one with rustup."
}

# need_target TRIPLE: Rust's standard library for it.
need_target() {
    [ -d "$(rustc --print target-libdir --target "$1")" ] && return
    if ! command -v rustup >/dev/null; then
        fail "there is no Rust standard library for $1, and no rustup to add it with."
    fi
    step rustup target add "$1"
}

# need_kernel: what boots a kernel in an emulator, and what runs in it.
need_kernel() {
    # Programs of the system administrator are not in everybody's path.
    PATH=$PATH:/usr/sbin:/sbin
    need qemu-system-x86_64 qemu-system-x86
    need busybox busybox-static
    need cpio cpio
    need depmod kmod
    need zstd zstd
    need xz xz-utils
    need gcc gcc
    need make make
    need v4l2-ctl v4l-utils
    need udevadm udev
    need python3 python3
}
