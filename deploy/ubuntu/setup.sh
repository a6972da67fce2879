#!/usr/bin/env bash
# Takes a plain Ubuntu 22.04 or 24.04 host to a passing `deployctl doctor`: Docker with Compose,
# the NVIDIA driver and container toolkit, Python with venv, and deployctl itself.
#
# Run it as often as you like: what is already right is left alone, and it says so.
# docs/guides/ubuntu.md explains the choices.

set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: sudo ./setup.sh [options]

  --cpu                 No GPU: leave out the driver and the container toolkit.
  --user NAME           Who may talk to Docker. [default: who called sudo]
  --driver BRANCH       NVIDIA driver branch to install when there is none, or an older one.
                        [default: 580, the oldest that runs CUDA 13]
  --toolkit-repo URL    Apt repository of the NVIDIA container toolkit, for a release of Ubuntu
                        that does not carry it. It is the address up to the architecture; NVIDIA's
                        installation guide of the toolkit names it, and so may your own mirror.
  --toolkit-key KEY     The key that signs that repository: a file or an address.
  --deployctl SOURCE    What pip installs: a checkout, a wheel, the address of a wheel with its hash
                        (https://…#sha256=…), or git+https://…@COMMIT. Never a name: nobody owns
                        the name deployctl on the package index yet. [default: this checkout]
  --pip-index URL       One more package index for pip. With --cpu: where the CPU build of torch
                        comes from, which PyTorch's installation page names.
  --no-deployctl        Leave deployctl itself to me.
  --dry-run             Say what would be done, and do nothing.
  -h, --help            This text.
TEXT
}

# ROOT is for building an image from outside, and for tests; on a running host it stays empty.
ROOT=${SETUP_ROOT:-}
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VENV=/opt/deployctl
LINK=/usr/local/bin/deployctl
KEYRING=/etc/apt/keyrings/nvidia-container-toolkit.asc
LIST=/etc/apt/sources.list.d/nvidia-container-toolkit.list

cpu=false dry_run=false install_deployctl=true
user=${SUDO_USER:-} branch=580 toolkit_repo='' toolkit_key='' source_='' pip_index=''
version='' python='' changes=0 reboot=false apt_fresh=false docker_changed=false

say() { printf '%s\n' "$*"; }
ok() { say "ok    $*"; }
die() {
    printf 'error: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf ' hint: %s\n' "$2" >&2
    exit 1
}

# Runs a command that changes the host, or only says so.
change() {
    changes=$((changes + 1))
    if "$dry_run"; then
        say "would $*"
    else
        say "do    $*"
        "$@"
    fi
}

value() { [ $# -ge 2 ] && [ -n "$2" ] || die "$1 wants a value" "./setup.sh --help"; }

while [ $# -gt 0 ]; do
    case $1 in
        --cpu) cpu=true ;;
        --dry-run) dry_run=true ;;
        --no-deployctl) install_deployctl=false ;;
        --user) value "$@"; user=$2; shift ;;
        --driver) value "$@"; branch=$2; shift ;;
        --toolkit-repo) value "$@"; toolkit_repo=$2; shift ;;
        --toolkit-key) value "$@"; toolkit_key=$2; shift ;;
        --deployctl) value "$@"; source_=$2; shift ;;
        --pip-index) value "$@"; pip_index=$2; shift ;;
        -h | --help) usage; exit 0 ;;
        *) die "there is no option $1" "./setup.sh --help" ;;
    esac
    shift
done
[[ $branch =~ ^[0-9]{3}$ ]] || die "$branch is not a driver branch" "for example --driver 580"

# --- What is there ---------------------------------------------------------------------------

installed() { [ "$(dpkg-query -W -f='${db:Status-Abbrev}' "$1" 2>/dev/null)" = "ii " ]; }

refresh_apt() {
    "$apt_fresh" && return
    change apt-get -o DPkg::Lock::Timeout=600 -q update
    changes=$((changes - 1)) # reading the package lists is not a change to the host
    apt_fresh=true
}

# Whether apt knows a version of the package that it could install.
available() { apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [^(]'; }

# Installs those of the packages that are missing.
packages() {
    local missing=() package
    for package in "$@"; do
        installed "$package" || missing+=("$package")
    done
    if [ ${#missing[@]} -eq 0 ]; then
        ok "installed: $*"
        return
    fi
    refresh_apt
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a change \
        apt-get -o DPkg::Lock::Timeout=600 -q -y --no-install-recommends install "${missing[@]}"
}

check_host() {
    local id=''
    if [ -r "$ROOT/etc/os-release" ]; then
        id=$(sed -n 's/^ID=//p' "$ROOT/etc/os-release" | tr -d '"')
        version=$(sed -n 's/^VERSION_ID=//p' "$ROOT/etc/os-release" | tr -d '"')
    fi
    case "$id $version" in
        "ubuntu 22.04") python=python3.11 ;; # its own python3 is 3.10, too old
        "ubuntu 24.04") python=python3 ;;
        *) die "this is ${id:-an unknown system} $version" "Ubuntu 22.04 and 24.04 are supported" ;;
    esac
    ok "Ubuntu $version"
    "$dry_run" || [ "$(id -u)" -eq 0 ] || die "this must run as root" "sudo $0"
    if ! "$cpu" && ! nvidia_card; then
        die "there is no NVIDIA card on the PCI bus" "for a host without a GPU: $0 --cpu"
    fi
}

nvidia_card() { grep -qsx 0x10de "$ROOT"/sys/bus/pci/devices/*/vendor; }

# NVSwitch: a bridge of NVIDIA's (class 0x0680) on boards of eight A100 or H100.
nvswitch() {
    local device
    for device in "$ROOT"/sys/bus/pci/devices/*; do
        if grep -qsx 0x10de "$device/vendor" && grep -qs '^0x0680' "$device/class"; then
            return 0
        fi
    done
    return 1
}

# --- Steps -----------------------------------------------------------------------------------

setup_python() {
    local wanted=(ca-certificates "$python" "$python-venv")
    # vLLM compiles the model for the processor it runs on; in a container it brings its own.
    if "$cpu"; then wanted+=(g++ "$python-dev" libnuma1); fi
    packages "${wanted[@]}"
}

setup_docker() {
    # Docker's own packages conflict with Ubuntu's: whoever has them keeps them.
    if installed docker-ce; then
        packages docker-ce docker-compose-plugin
    else
        packages docker.io docker-compose-v2
    fi
    if systemctl is-enabled -q docker 2>/dev/null && systemctl is-active -q docker 2>/dev/null; then
        ok "docker runs, now and after a reboot"
    else
        change systemctl enable --now docker
    fi
    if [ -z "$user" ] || [ "$user" = root ]; then
        ok "no --user: only root may talk to Docker"
    elif ! id "$user" >/dev/null 2>&1; then
        die "there is no user $user" "name another with --user"
    elif id -nG "$user" | tr ' ' '\n' | grep -qx docker; then
        ok "$user may talk to Docker"
    else
        change usermod -aG docker "$user"
        say "      $user logs in again for that to hold"
    fi
}

driver_branch() {
    local version=''
    version=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -n 1) || true
    [[ $version =~ ^([0-9]+)\. ]] && printf '%s' "${BASH_REMATCH[1]}"
    return 0
}

# Ubuntu builds and signs the module for its own kernels: that loads under Secure Boot, and follows
# kernel updates. For another kernel, DKMS builds it.
driver_modules() {
    local kernel flavour prefix="linux-modules-nvidia-$branch-server-open" found=1 name
    kernel=$(uname -r)
    flavour=${kernel#*-*-} # 6.8.0-1046-aws: aws
    if installed "linux-image-$flavour-hwe-$version"; then flavour="$flavour-hwe-$version"; fi
    for name in "$prefix-$kernel" "$prefix-$flavour"; do
        if available "$name"; then
            printf '%s\n' "$name"
            found=0
        fi
    done
    [ "$found" -eq 0 ] || printf '%s\n' "nvidia-dkms-$branch-server-open" "linux-headers-$kernel"
}

setup_driver() {
    local found modules
    found=$(driver_branch)
    if [ -n "$found" ] && [ "$found" -ge "$branch" ]; then
        ok "NVIDIA driver $found"
    elif installed "nvidia-headless-no-dkms-$branch-server-open"; then
        ok "NVIDIA driver $branch is installed, and not loaded"
        reboot=true
    else
        refresh_apt
        mapfile -t modules < <(driver_modules)
        packages "${modules[@]}" \
            "nvidia-headless-no-dkms-$branch-server-open" "nvidia-utils-$branch-server"
        reboot=true
    fi
    if nvswitch; then
        if [ -z "$found" ] || [ "$found" -lt "$branch" ]; then
            packages "nvidia-fabricmanager-$branch"
        fi
        enable_if_there nvidia-fabricmanager
    fi
    enable_if_there nvidia-persistenced
}

enable_if_there() {
    if ! systemctl cat "$1" >/dev/null 2>&1; then
        ok "no service $1 yet"
    elif systemctl is-active -q "$1" 2>/dev/null; then
        ok "$1 runs"
    elif "$reboot"; then
        ok "$1 starts with the driver, after the reboot"
    else
        change systemctl start "$1"
    fi
}

setup_toolkit() {
    if command -v nvidia-ctk >/dev/null 2>&1; then
        ok "NVIDIA container toolkit"
    else
        refresh_apt
        if ! available nvidia-container-toolkit; then add_toolkit_repo; fi
        packages nvidia-container-toolkit
    fi
    if grep -qs '"nvidia"' "$ROOT/etc/docker/daemon.json"; then
        ok "Docker knows the runtime nvidia"
    else
        change nvidia-ctk runtime configure --runtime=docker --config="$ROOT/etc/docker/daemon.json"
        docker_changed=true
    fi
}

# Said before anything is installed, not after the driver.
check_toolkit() {
    if command -v nvidia-ctk >/dev/null 2>&1; then return; fi
    if [ -n "$toolkit_repo" ] && [ -n "$toolkit_key" ]; then return; fi
    refresh_apt
    available nvidia-container-toolkit || die \
        "this Ubuntu does not carry nvidia-container-toolkit" \
        "name its repository and key: --toolkit-repo URL --toolkit-key KEY (docs/guides/ubuntu.md)"
}

add_toolkit_repo() {
    local architecture
    architecture=$(dpkg --print-architecture)
    change install -d -m 0755 "$ROOT/etc/apt/keyrings" "$ROOT/etc/apt/sources.list.d"
    case $toolkit_key in
        http://* | https://*)
            packages curl
            change curl -fsSL --retry 3 -o "$ROOT$KEYRING" "$toolkit_key"
            ;;
        *) change install -m 0644 "$toolkit_key" "$ROOT$KEYRING" ;;
    esac
    change write "$ROOT$LIST" "deb [signed-by=$KEYRING] ${toolkit_repo%/}/$architecture /"
    apt_fresh=false
    refresh_apt
}

write() { printf '%s\n' "$2" >"$1"; }

# What pip is told to install: never a name, which a stranger may claim, nor what may change.
pip_source() {
    local extra=''
    if "$cpu"; then extra='[cpu]'; fi
    case $source_ in
        http://* | https://* | git+*) printf 'deployctl%s @ %s' "$extra" "$source_" ;;
        *) printf '%s%s' "$source_" "$extra" ;;
    esac
}

# Said before anything is installed.
check_source() {
    if "$ROOT$VENV/bin/deployctl" --version >/dev/null 2>&1; then return; fi
    if [ -z "$source_" ] && [ -f "$HERE/../../pyproject.toml" ]; then
        source_=$(cd "$HERE/../.." && pwd)
    fi
    local hash='#sha256=[0-9a-f]{64}$' commit='@[0-9a-f]{40}$'
    case $source_ in
        '') die "where deployctl comes from is not said" "--deployctl SOURCE; ./setup.sh --help lists them" ;;
        git+https://* | git+ssh://* | git+file://*)
            [[ $source_ =~ $commit ]] || die "$source_ names no commit" "end it with @ and all 40 digits"
            ;;
        http://* | https://*)
            [[ $source_ =~ $hash ]] || die "$source_ has no hash" "end it with #sha256= and what sha256sum says"
            ;;
        *)
            [ -e "$source_" ] || die "$source_ is no file and no folder" \
                "a name is not taken: nobody owns deployctl on the package index yet"
            source_=$(realpath "$source_")
            ;;
    esac
}

setup_deployctl() {
    local source index=()
    [ -z "$pip_index" ] || index=(--extra-index-url "$pip_index")
    if "$ROOT$VENV/bin/deployctl" --version >/dev/null 2>&1; then
        ok "$("$ROOT$VENV/bin/deployctl" --version) in $VENV"
    else
        source=$(pip_source)
        change "$python" -m venv "$ROOT$VENV"
        # The pip that comes with the venv is old: it does not use the system's certificates.
        change "$ROOT$VENV/bin/pip" install --quiet --upgrade pip
        change "$ROOT$VENV/bin/pip" install --quiet "${index[@]}" "$source"
    fi
    if [ "$(readlink "$ROOT$LINK" 2>/dev/null)" = "$VENV/bin/deployctl" ]; then
        ok "$LINK"
    else
        change ln -sfn "$VENV/bin/deployctl" "$ROOT$LINK"
    fi
}

# --- The whole -------------------------------------------------------------------------------

check_host
if ! "$cpu"; then check_toolkit; fi
if "$install_deployctl"; then check_source; fi
setup_python
setup_docker
if ! "$cpu"; then
    setup_driver
    setup_toolkit
fi
if "$docker_changed"; then change systemctl restart docker; fi
if "$install_deployctl"; then setup_deployctl; fi

say ""
if [ "$changes" -eq 0 ]; then
    say "Nothing to change."
elif "$dry_run"; then
    say "$changes changes would be made."
else
    say "$changes changes made."
fi
if "$reboot"; then
    # Gone after the restart; cloud-init.yaml restarts when it is there.
    "$dry_run" || touch "$ROOT/run/deployctl-reboot"
    say "The driver is loaded at the next start: reboot, then run deployctl doctor."
elif "$cpu"; then
    say "Next: deployctl doctor --gpu cpu"
else
    say "Next: deployctl doctor"
fi
