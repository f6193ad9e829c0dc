# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154 # DIR, DECIDED, SETS and so on are of scripts/stack
# The settings, tokens and stack.json that scripts/stack writes. Source it; it runs nothing.

# 32 random bytes each.
make_tokens() {
  local account
  mkdir -p -- "$DIR/tokens"
  for account in "${ACCOUNTS[@]}"; do
    [[ ! -s $DIR/tokens/$account ]] || continue
    od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n' >"$DIR/tokens/$account.new"
    mv -- "$DIR/tokens/$account.new" "$DIR/tokens/$account"
  done
}

# What differs from the file in config/, which has all keys. JSON's strings are TOML's, too.
config_of() {
  local service=$1 account role input
  printf '# Written by scripts/stack up. Every other key is as in config/%s.toml.\n' "$service"
  case $service in
    admin-api)
      printf 'bootstrap_tokens = [\n'
      for account in "${ACCOUNTS[@]}"; do
        role=${ROLES[$account]:-$account}
        printf '  { account = "%s", roles = ["%s"], token_file = %s },\n' "$account" "${role//,/\", \"}" \
          "$(json_string "$DIR/tokens/$account")"
      done
      printf ']\n'
      ;;
    consumer-api)
      printf 'destinations = ["127.0.0.1:*", "localhost:*", "[::1]:*"]\n'
      printf 'secrets_dir = %s\n' "$(json_string "$DIR/consumer-api/secrets")"
      ;;
  esac
  printf '\n[http]\nlisten = "127.0.0.1:%s"\n' "${DECIDED[$service]}"
  printf '\n[kafka]\nbootstrap = %s\n' "$(json_string "$BOOTSTRAP")"
  if [[ $service != admin-api ]]; then
    printf '\n[admin_api]\nurl = %s\ntoken_file = %s\n' "$(json_string "$(url admin-api)")" \
      "$(json_string "$DIR/tokens/$service")"
  fi
  if [[ $service != producer ]]; then
    printf '\n[database]\npath = %s\n' "$(json_string "$DIR/$service/data/$service.db")"
  fi
  case $service in
    producer)
      printf '\n[spool]\ndir = %s\n' "$(json_string "$DIR/producer/data/spool")"
      printf '\n[inputs.tcp]\nlisten = "127.0.0.1:%s"\n' "${DECIDED[producer-tcp]}"
      printf '\n[inputs.unix]\nenabled = true\npath = %s\n' "$(json_string "${DECIDED[unix]}")"
      for input in syslog_tcp syslog_udp; do
        [[ $(setting producer "inputs.$input.enabled" false) == true ]] || continue
        printf '\n[inputs.%s]\nlisten = "127.0.0.1:%s"\n' "$input" "${DECIDED[$input]}"
      done
      ;;
    consumer-api)
      printf '\n[files]\nroots = [%s]\n' "$(json_string "$DIR/consumer-api/data/files")"
      ;;
  esac
}

# The assignments of a service with those of the command line: a key that is there already gets the new value.
assignments_of() {
  local service=$1 line assignment key
  local -a lines=()
  [[ ! -f $DIR/set/$service ]] || mapfile -t lines <"$DIR/set/$service"
  for assignment in ${SETS[@]+"${SETS[@]}"}; do
    [[ $assignment == "$service."* ]] || continue
    assignment=${assignment#"$service."}
    key=${assignment%%=*}
    local -a kept=()
    for line in ${lines[@]+"${lines[@]}"}; do [[ $line == "$key="* ]] || kept+=("$line"); done
    lines=(${kept[@]+"${kept[@]}"} "$assignment")
  done
  ((${#lines[@]} == 0)) || printf '%s\n' "${lines[@]}"
}

# Sets FLAGS to the flags of a service.
flags_of() {
  local line
  FLAGS=(--config "$DIR/$1/config.toml")
  [[ -f $DIR/set/$1 ]] || return 0
  while IFS= read -r line; do FLAGS+=(--set "$line"); done <"$DIR/set/$1"
}

# configure SERVICE: writes its settings, and sets CHANGED[SERVICE] if they differ from those that were there. Settings that
# the service refuses are not kept.
configure() {
  local service=$1 dir=$DIR/$1 sets=$DIR/set/$1
  mkdir -p -- "$dir/data" "$DIR/set"
  cp -- "$sets" "$sets.old" 2>/dev/null || : >"$sets.old"
  cp -- "$dir/config.toml" "$dir/config.toml.old" 2>/dev/null || : >"$dir/config.toml.old"
  assignments_of "$service" >"$sets.new"
  mv -- "$sets.new" "$sets"
  config_of "$service" >"$dir/config.toml"
  flags_of "$service"
  if ! (cd "$dir" && "$BINARIES/sluice-$service" "${FLAGS[@]}" --check-config) >"$dir/check.log" 2>&1 </dev/null; then
    cat -- "$dir/check.log" >&2
    mv -- "$sets.old" "$sets"
    mv -- "$dir/config.toml.old" "$dir/config.toml"
    die "$service refuses its settings (see above)"
  fi
  if ! cmp -s -- "$sets" "$sets.old" || ! cmp -s -- "$dir/config.toml" "$dir/config.toml.old"; then
    CHANGED["$service"]=1
  fi
  rm -f -- "$sets.old" "$dir/config.toml.old" "$dir/check.log"
}

# The inputs that are on, beside TCP and Unix, as members of stack.json.
inputs_json() {
  local input
  for input in syslog_tcp syslog_udp; do
    [[ $(setting producer "inputs.$input.enabled" false) != true ]] \
      || printf ', "%s": "%s"' "$input" "$(setting producer "inputs.$input.listen" "127.0.0.1:${DECIDED[$input]}")"
  done
  [[ $(setting producer inputs.otlp.enabled false) != true ]] || printf ', "otlp": "%s/v1/logs"' "$(url producer)"
  # A list of strings is written in JSON as in TOML.
  [[ $(setting producer inputs.tail.enabled false) != true ]] \
    || printf ', "tail": %s' "$(setting producer inputs.tail.paths '[]')"
  [[ $(setting producer inputs.host.enabled false) != true ]] \
    || printf ', "host": %s' "$(json_string "$(setting producer inputs.host.topic host_metrics)")"
  [[ $(setting producer inputs.generator.enabled false) != true ]] || printf ', "generator": "sample_*"'
}

write_stack_json() {
  local home json account tokens=''
  json=$(kafka status --json)
  home=${json#*\"home\":}
  home=${home%%,\"external\"*}
  for account in "${ACCOUNTS[@]}"; do
    [[ $account == consumer-api ]] || tokens+=", \"$account\": \"$(<"$DIR/tokens/$account")\""
  done
  cat >"$DIR/stack.json.new" <<JSON
{"kafka": {"bootstrap": $(json_string "$BOOTSTRAP"), "home": $home},
 "admin_api": {"url": "$(url admin-api)", "pid": $(service_pid admin-api || echo null), "log": $(json_string "$DIR/admin-api.log")},
 "producer": {"http": "$(url producer)",
              "tcp": "$(setting producer inputs.tcp.listen "127.0.0.1:${DECIDED[producer-tcp]}")",
              "unix": $(json_string "$(setting producer inputs.unix.path "${DECIDED[unix]}")"),
              "pid": $(service_pid producer || echo null), "log": $(json_string "$DIR/producer.log"),
              "spool": $(json_string "$(setting producer spool.dir "$DIR/producer/data/spool")")$(inputs_json)},
 "consumer_api": {"url": "$(url consumer-api)", "pid": $(service_pid consumer-api || echo null),
                  "log": $(json_string "$DIR/consumer-api.log"), "files": $(json_string "$DIR/consumer-api/data/files")},
 "tokens": {${tokens#, }}}
JSON
  mv -- "$DIR/stack.json.new" "$DIR/stack.json"
}
