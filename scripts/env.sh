# shellcheck shell=bash
# Makes and finds the environment that ./quickstart and ./test use, and the Python of .ci/helm.
# Sourced, not run.
#
#   check_machine           says in a line each what would stop the installation; exit 2
#   make_environment cpu    makes .venv and installs ".[cpu]" into it, unless that was done already
#   show COMMAND...         prints a command as one would type it, then runs it
#
# DEPLOYCTL_TORCH_INDEX=URL   where PyTorch's CPU build comes from; empty to use pip's own sources

TORCH_INDEX=${DEPLOYCTL_TORCH_INDEX-https://download.pytorch.org/whl/cpu}
# What is installed, each file of it by its hash; scripts/requirements.py writes them.
REQUIREMENTS=docker/requirements.txt
VENV=.venv
NO_PYTHON="no Python from 3.11 to 3.13"
PYTHON_HINT="apt install python3.12 python3.12-venv; on a system that has newer ones alone: uv python install 3.13"
# An installed environment is 3.7 GB, pip unpacks beside it, the checkpoints are 0.3 GB.
DISK_GIB=6
# vLLM, its KV cache of 1 GiB, the model and the load generator; measured: 3.4 GiB.
MEMORY_GIB=4
# Without the bytecode of what is imported, every command and every engine starts seconds later.
unset PYTHONDONTWRITEBYTECODE

if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then
  BOLD=$'\e[1m' RED=$'\e[31m' GREEN=$'\e[32m' DIM=$'\e[2m' PLAIN=$'\e[0m'
else
  BOLD='' RED='' GREEN='' DIM='' PLAIN=''
fi

say() { printf '%s\n' "$*" >&2; }
step() { printf '\n%s== %s%s\n' "$BOLD" "$*" "$PLAIN" >&2; }
die() {
  printf '%serror:%s %s\n' "$RED" "$PLAIN" "$1" >&2
  [ -z "${2:-}" ] || printf ' hint: %s\n' "$2" >&2
  exit "${3:-1}"
}

show() {
  printf '\n%s$ %s%s\n' "$BOLD" "$(typed "$@")" "$PLAIN" >&2
  "$@"
}

typed() { # quotes only the words that need it
  local word line=''
  for word in "$@"; do
    case $word in
      '' | *[!A-Za-z0-9_./:=,@%+-]*) line+=" '${word//\'/\'\\\'\'}'" ;;
      *) line+=" $word" ;;
    esac
  done
  printf '%s' "${line:1}"
}

check_machine() {
  local failed=0
  good() { printf '  %sok%s    %s\n' "$GREEN" "$PLAIN" "$1" >&2; }
  bad() {
    printf '  %sno%s    %s; %s\n' "$RED" "$PLAIN" "$1" "$2" >&2
    failed=1
  }
  step "checking this machine"
  check_platform
  check_python
  check_cpu
  check_libnuma
  check_memory
  check_disk
  [ $failed = 0 ] || die "this machine is not ready; nothing was downloaded" \
    "fix the lines marked 'no' and run this again" 2
}

check_platform() {
  local kind
  kind="$(uname -s) $(uname -m)"
  if [ "$kind" = "Linux x86_64" ]; then
    good "$kind"
  else
    bad "$kind" "the CPU build of vLLM is for Linux on x86_64: use such a machine, or a container"
  fi
}

check_python() {
  find_python
  if [ -z "$PYTHON" ]; then
    bad "$NO_PYTHON" "$PYTHON_HINT"
    return
  fi
  good "Python $PYTHON_VERSION ($PYTHON)"
  if "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null; then
    good "its venv module"
  else
    bad "Python $PYTHON_VERSION has no venv module" "sudo apt install python$PYTHON_VERSION-venv"
  fi
}

check_cpu() {
  if grep -qw avx2 /proc/cpuinfo 2>/dev/null; then
    good "CPU with AVX2"
  else
    bad "the CPU has no AVX2, which vLLM needs" \
      "use a machine from 2015 or later; in a virtual machine pass the host's CPU through"
  fi
}

check_libnuma() { # the one system library that vLLM's CPU build is linked to
  [ -n "$PYTHON" ] || return 0
  if "$PYTHON" -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2>/dev/null; then
    good "libnuma"
  else
    bad "libnuma.so.1 is not installed" "sudo apt install libnuma1"
  fi
}

check_memory() {
  local free
  free=$(awk '/^MemAvailable:/ {print int($2 / 1048576)}' /proc/meminfo 2>/dev/null)
  if [ "${free:-0}" -ge $MEMORY_GIB ] || serves_already; then
    good "memory: ${free:-?} GiB available"
  else
    bad "only ${free:-0} GiB of memory available" "free some: $MEMORY_GIB GiB are needed"
  fi
}

check_disk() {
  local free need=$DISK_GIB
  [ -e "$VENV/.installed-cpu" ] && need=1
  free=$(df -Pk . | awk 'NR == 2 {print int($4 / 1048576)}')
  if [ "$free" -ge $need ]; then
    good "disk: $free GiB free here"
  else
    bad "only $free GiB of disk free in $PWD" "free some: $need GiB are needed"
  fi
}

# Whether a service of ours holds the memory that a new one would need.
serves_already() { [ -x "$VENV/bin/deployctl" ] && "$VENV/bin/deployctl" status >/dev/null 2>&1; }

# The version of a Python for which requirements/ has hashes; of any other it fails.
fitting() { # PATH
  local version
  version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || return 1
  case $version in 3.11 | 3.12 | 3.13) echo "$version" ;; *) return 1 ;; esac
}

# Sets PYTHON and PYTHON_VERSION. Where a local folder offers PyTorch's CPU build, a Python that
# it fits comes first; otherwise the newest.
find_python() {
  local name path version
  PYTHON='' PYTHON_VERSION=''
  for name in python3.13 python3.12 python3.11 python3; do
    path=$(type -P "$name") || continue
    version=$(fitting "$path") || continue
    if [ -z "$PYTHON" ] || { has_local_torch "$version" && ! has_local_torch "$PYTHON_VERSION"; }; then
      PYTHON=$path PYTHON_VERSION=$version
    fi
  done
}

# Whether pip's own sources hold a CPU build of torch for a Python version, such as 3.11.
has_local_torch() {
  local folder file
  while read -r folder; do
    for file in "$folder"/torch-*+cpu-cp"${1/./}"-*.whl; do
      [ -e "$file" ] && return 0
    done
  done < <(find_links)
  return 1
}

find_links() { # the folders in PIP_FIND_LINKS and pip's configuration files, one a line
  {
    printf '%s\n' "${PIP_FIND_LINKS:-}"
    sed -n 's/^ *find-links *= *//p' /etc/pip.conf "${HOME:-/nonexistent}/.pip/pip.conf" \
      "${XDG_CONFIG_HOME:-${HOME:-/nonexistent}/.config}/pip/pip.conf" "${PIP_CONFIG_FILE:-/dev/null}" 2>/dev/null
  } | tr ' ' '\n' | sed 's|^file://||; /^$/d'
}

# make_environment EXTRAS: e.g. cpu, or cpu,dev. Puts .venv/bin first on PATH.
make_environment() {
  local extras=$1 log=$VENV/install.log key
  [ -n "${PYTHON:-}" ] || find_python
  [ -n "$PYTHON" ] || die "$NO_PYTHON" "$PYTHON_HINT" 2
  key=$(environment_key)
  if ! installed "$extras" "$key"; then
    wait_for_turn
    if ! installed "$extras" "$key"; then
      install "$extras" "$key" "$log"
    fi
    exec 9>&-
  fi
  # shellcheck disable=SC1091
  . "$VENV/bin/activate"
}

# Everything that decides what an environment holds: its Python, what we ask for, and where it is.
environment_key() {
  { cat pyproject.toml scripts/env.sh "$REQUIREMENTS" requirements/*.txt && "$PYTHON" -VV && pwd; } | sha256sum | cut -d' ' -f1
}

installed() { # EXTRAS KEY: cpu,dev counts for cpu too
  local stamp
  for stamp in "$VENV/.installed-$1" "$VENV/.installed-$1,dev"; do
    [ "$(cat "$stamp" 2>/dev/null)" = "$2" ] && "$VENV/bin/python" -c '' 2>/dev/null && return 0
  done
  return 1
}

wait_for_turn() { # two at once would install over each other
  command -v flock >/dev/null || return 0
  exec 9>"$VENV.lock"
  flock -n 9 || { say "another ./quickstart or ./test installs here; waiting for it" && flock 9; }
}

install() { # EXTRAS KEY LOG
  local extras=$1 key=$2 log=$3 sources=()
  step "installing deployctl[$extras] into $VENV (about 500 MB to download, 3.7 GB on disk)"
  if ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || ! same_python; then
    make_venv
  fi
  rm -f "$VENV"/.installed-*
  if has_local_torch "$PYTHON_VERSION"; then
    say "PyTorch's CPU build: from a local folder"
  elif [ -n "$TORCH_INDEX" ]; then
    say "PyTorch's CPU build: from $TORCH_INDEX"
    sources=(--extra-index-url "$TORCH_INDEX")
  fi
  : >"$log"
  # Compiling 20,000 modules, of which few are ever imported, takes longer than all the rest:
  # a module is compiled when it is first imported, and what that made is kept.
  local pip=("$VENV/bin/python" -m pip install --no-compile --progress-bar off)
  local files=(-r "$REQUIREMENTS") extra
  for extra in ${extras//,/ }; do files+=(-r "requirements/$extra.txt"); done
  watched "$log" "${pip[@]}" "${sources[@]}" --no-deps --require-hashes "${files[@]}"
  watched "$log" "${pip[@]}" --no-deps --no-build-isolation -e .
  printf '%s\n' "$key" >"$VENV/.installed-$extras"
}

# torch.compile calls the C++ compiler and the loader with paths into the environment, unquoted:
# where the checkout's path has a space, the environment is elsewhere and .venv a link to it.
make_venv() {
  local place=$PWD/$VENV
  rm -rf "$VENV"
  case $place in
    *[[:space:]]*)
      place=/var/tmp/deployctl-$(id -u)-$(printf %s "$PWD" | sha256sum | cut -c1-12)
      if ! (umask 077 && mkdir -p "$place") || [ ! -O "$place" ]; then
        die "cannot use $place" "move this folder to a path without spaces"
      fi
      ln -s "$place" "$VENV"
      say "this path has a space, which torch.compile cannot take: $VENV is a link to $place"
      ;;
  esac
  "$PYTHON" -m venv --clear "$place" || die "cannot make $place" "look at the lines above"
}

# Whether what is there was made by this Python and for this place, not copied or moved here.
same_python() {
  [ "$("$VENV/bin/python" -VV 2>/dev/null)" = "$("$PYTHON" -VV)" ] &&
    head -n 1 "$VENV/bin/pip" | grep -qF "$(readlink -f "$VENV")/"
}

# Runs a command with its output in LOG, and says how it goes: a line that changes on a terminal,
# a line now and then elsewhere.
watched() { # LOG COMMAND...
  local log=$1 pid code started=$SECONDS told=-15 now
  shift
  "$@" >>"$log" 2>&1 </dev/null & # with the lock: should we be killed, the next run waits for it
  pid=$!
  # Nothing may go on behind the back of someone who stopped us.
  trap 'kill "$pid" 2>/dev/null; wait "$pid" 2>/dev/null' EXIT
  trap 'exit 130' INT TERM
  while kill -0 "$pid" 2>/dev/null; do
    now=$(grep -aE '^(  )?(Collecting|Downloading|Building|Installing)' "$log" | tail -n 1 | cut -c1-70) || now=''
    case $now in Installing*) now="Installing what was downloaded" ;; esac
    if [ -t 2 ]; then
      printf '\r\e[K%s%4d s  %s%s' "$DIM" $((SECONDS - started)) "${now# *}" "$PLAIN" >&2
    elif [ $((SECONDS - told)) -ge 15 ]; then
      told=$SECONDS
      say "$(printf '%4d s' $((SECONDS - started)))  ${now#  }"
    fi
    sleep 0.5
  done
  [ ! -t 2 ] || printf '\r\e[K' >&2
  code=0
  wait "$pid" || code=$?
  trap - EXIT INT TERM
  [ $code = 0 ] && return
  tail -n 12 "$log" | sed 's/^/     | /' >&2
  if grep -q 'torch==.*+cpu' "$log" && grep -qE 'No matching distribution|Could not find a version' "$log"; then
    die "PyTorch's CPU build was not found for Python $PYTHON_VERSION" \
      "let pip reach $TORCH_INDEX, name another with DEPLOYCTL_TORCH_INDEX, or set PIP_FIND_LINKS to a folder with its wheels" 4
  fi
  if grep -q 'DO NOT MATCH THE HASHES' "$log"; then
    die "a download is not what requirements/ says" "the log above names it: a mirror or a proxy may have changed it" 4
  fi
  if grep -q 'No space left' "$log"; then
    die "the disk is full" "free some in $PWD or in ${TMPDIR:-/tmp}, where pip unpacks" 4
  fi
  die "the installation failed" "the whole log is $PWD/$log; what is installed is kept, so run this again" 4
}
