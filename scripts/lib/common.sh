# shellcheck shell=bash
# Helpers that the scripts share. Source it; it runs nothing.
#
# What a script tells a person goes to standard error; standard output is for what a caller reads.

# The name before every message: the script's own.
SCRIPT_NAME=${SCRIPT_NAME:-${0##*/}}

log() { printf '%s: %s\n' "$SCRIPT_NAME" "$*" >&2; }

die() {
  log "$*"
  exit 1
}

# For a wrong command line: 2, so that callers can tell it from a failure.
usage_error() {
  log "$* (see $0 --help)"
  exit 2
}

have() { command -v "$1" >/dev/null 2>&1; }

# abs_path PATH: PATH from the root, without symbolic links; it need not exist.
abs_path() { realpath -m -- "$1"; }

# json_string TEXT: TEXT as a JSON string. For paths and addresses: control characters are not expected.
json_string() {
  local text=$1
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  printf '"%s"' "$text"
}

# --- packages -------------------------------------------------------------------------------------------------------

# can_install: whether apt_install may and can work here.
can_install() {
  [[ -z ${SLUICE_NO_INSTALL:-} || ${SLUICE_NO_INSTALL:-} == 0 ]] || return 1
  have apt-get || return 1
  ((EUID == 0)) || { have sudo && sudo -n true 2>/dev/null; }
}

as_root() {
  if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi
}

# A machine that never ran it knows no packages, or old ones. Once per script.
apt_update() {
  [[ -z ${APT_UPDATED:-} ]] || return 0
  log "apt-get update"
  as_root apt-get update -qq >&2 || log "apt-get update failed; going on with the lists that are there"
  APT_UPDATED=1
}

# apt_has PACKAGE: whether apt could install it.
apt_has() { apt-cache policy "$1" 2>/dev/null | grep 'Candidate: [^(]' >/dev/null; }

# apt_install PACKAGE...: its output goes to standard error.
apt_install() {
  apt_update
  log "installing $* with apt-get"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2 \
    || die "apt-get could not install $*"
}

# need_build_tools: what cargo needs beside Rust itself: librdkafka and SQLite are built from their sources.
need_build_tools() {
  local missing=''
  # shellcheck disable=SC1091 # where rustup puts cargo; a shell that was open before does not know it yet
  have cargo || [[ ! -f ${CARGO_HOME:-$HOME/.cargo}/env ]] || . "${CARGO_HOME:-$HOME/.cargo}/env"
  if ! have cargo; then
    log "needs Rust. Install it with rustup, which later fetches the pinned toolchain by itself:"
    die "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal"
  fi
  have cc && have c++ || missing+=' build-essential'
  have make || [[ $missing == *build-essential* ]] || missing+=' make'
  have pkg-config || missing+=' pkg-config'
  [[ -n $missing ]] || return 0
  can_install || die "needs, for building:$missing (on Debian and Ubuntu: apt-get install$missing)"
  # shellcheck disable=SC2086 # a list
  apt_install $missing
}

# --- ports ----------------------------------------------------------------------------------------------------------

# port_open HOST PORT: whether something accepts connections there; 3 s at most.
port_open() {
  # A port of this machine answers or refuses at once; only another host may keep silent, which needs a limit.
  if [[ $1 == 127.* || $1 == localhost ]]; then
    (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null
  else
    # shellcheck disable=SC2016 # the inner shell expands it
    timeout 3 bash -c 'exec 3<>"/dev/tcp/$1/$2"' bash "$1" "$2" 2>/dev/null
  fi
}

# free_port [COUNT [HOST]]: the first of COUNT neighbouring ports on which nothing listens. Between 10000 and 32000: below
# the ports that the kernel gives to outgoing connections, which could take one before its server binds it.
free_port() {
  local count=${1:-1} host=${2:-127.0.0.1} port i tries
  for ((tries = 0; tries < 200; tries++)); do
    port=$((10000 + (RANDOM * 32768 + RANDOM) % (22000 - count)))
    for ((i = 0; i < count; i++)); do
      if port_open "$host" $((port + i)); then continue 2; fi
    done
    printf '%s\n' "$port"
    return 0
  done
  die "found no $count free neighbouring ports between 10000 and 32000"
}

# --- processes and locks --------------------------------------------------------------------------------------------

# process_alive PID: whether there is such a process. A zombie counts as gone: not every container's first process collects
# them.
process_alive() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # The second field, the name in parentheses, may hold anything; the state comes after it.
  [[ ${stat##*) } != [ZX]* ]]
}

# process_has PID WORD...: whether the process's command line has every WORD as an argument. A pid alone proves nothing: the
# kernel gives it to another process later.
process_has() {
  local pid=$1 word arg found tries
  local -a args=()
  shift
  [[ $pid =~ ^[1-9][0-9]*$ ]] || return 1
  # A process that is just being replaced by another program (exec) or is just ending shows no command line for a moment.
  for ((tries = 0; tries < 50; tries++)); do
    mapfile -d '' -t args 2>/dev/null <"/proc/$pid/cmdline" || return 1
    ((${#args[@]} == 0)) || break
    process_alive "$pid" || return 1
    sleep 0.01
  done
  for word in "$@"; do
    found=
    for arg in ${args[@]+"${args[@]}"}; do
      [[ $arg != "$word" ]] || found=1
    done
    [[ -n $found ]] || return 1
  done
}

# spawn LOG COMMAND...: starts COMMAND detached from us, its output appended to LOG, and sets SPAWNED to its pid.
# Its own session, so that Ctrl-C in our terminal does not reach it; standard input empty; and none of our open files, for
# who reads our output ($(...), a test's pipe) would wait for its end, and a lock of ours would be kept.
spawn() {
  local output=$1
  shift
  (
    for fd in /proc/self/fd/*; do
      fd=${fd##*/}
      ((fd <= 2)) || { exec {fd}>&-; } 2>/dev/null || true
    done
    # Not a process group's leader, so setsid does not fork: the pid stays the same, down to COMMAND's own.
    exec setsid nohup "$@" </dev/null >>"$output" 2>&1
  ) &
  # shellcheck disable=SC2034 # for the caller
  SPAWNED=$!
}

# lock_dir DIR: makes DIR and waits until this script is the only one to hold it, for as long as the script runs.
# The directory itself is locked, so no lock file is left in it; and it may have been removed while we waited.
lock_dir() {
  while :; do
    mkdir -p -- "$1"
    exec {LOCK_FD}<"$1"
    flock -n "$LOCK_FD" || {
      log "waiting for another run of a script in $1"
      flock -w 180 "$LOCK_FD" || die "another run still holds $1 after 180 s"
    }
    [[ ! $1 -ef /proc/self/fd/$LOCK_FD ]] || return 0
    exec {LOCK_FD}<&-
  done
}

unlock_dir() { exec {LOCK_FD}<&-; }
