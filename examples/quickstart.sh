#!/usr/bin/env bash
# The main job on real parts: an XMPP server, a metadata service, a controller, and the agent beneath a scratch root.
# Installs what it needs (apt and a virtual environment), talks to loopback only, and leaves nothing running.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" -ne 0 ]; then
  echo "run this as root: the agent makes users and runs scripts beneath a scratch root" >&2
  exit 2
fi
. tests/install.sh busybox-static lua-sec prosody
export PATH="$PWD/.venv/bin:$PATH"

work=$(mktemp -d -t ucvm-quickstart.XXXXXX)
root=$work/root
processes=()
finish() {
  local code=$?
  [ "${#processes[@]}" -eq 0 ] || kill "${processes[@]}" 2>/dev/null || true
  [ "$code" -eq 0 ] || tail -n 20 "$work"/*.log >&2
  rm -rf "$work"
}
trap finish EXIT

title() { printf '\n=== %s\n' "$*"; }
start() { # NAME COMMAND…: start a server, and return with its first line in $line when it is ready
  local name=$1 output
  shift
  exec {output}< <(exec "$@" 2>"$work/$name.log")
  processes+=($!)
  read -r line <&"$output" || { echo "$name did not start" >&2; exit 1; }
}

title "A metadata service that speaks IMDSv2, and an XMPP server with TLS"
start imds python -m tests.servers.imds --port 0 --user-data examples/contexts/mixed.context
metadata=$line
start prosody python -m tests.servers.prosody --dir "$work/prosody" --accounts agent:agent-secret,controller:controller-secret
eval "$line" # host= port= domain= ca_file=
echo "metadata: $metadata   xmpp: $host:$port"

cat >"$work/agent.toml" <<TOML
root = "$root"
[log]
file = "$work/agent.log"
[sources]
names = ["ec2"]
ec2.endpoints = ["$metadata"]
[xmpp]
jid = "agent@$domain"
password = "agent-secret"
host = "$host"
port = $port
ca_file = "$ca_file"
controllers = ["controller@$domain"]
TOML
agent() { ucvm-agent "$@" --config "$work/agent.toml"; }

# A root file system that is just large enough to run a shell script.
mkdir -p "$root"/{bin,etc,tmp,var/log}
cp /bin/busybox "$root/bin/"
chroot "$root" /bin/busybox --install -s /bin

title "The context, as the metadata service hands it out"
cat examples/contexts/mixed.context

title "What it would do: ucvm-agent --dry-run"
agent --dry-run

title "The daemon starts; the controller prints what the VM reports"
ucvm-agent --config "$work/agent.toml" & daemon=$!
processes+=("$daemon")
timeout 60 python -m tests.servers.controller --jid "controller@$domain" --password controller-secret \
  --host "$host" --port "$port" --ca-file "$ca_file" --until-state ready

title "What was applied"
for file in etc/hostname etc/motd etc/analysis.conf var/log/first-boot etc/cvmfs/default.local; do
  printf -- '--- %s\n' "/$file"
  cat "$root/$file"
done
printf -- '--- /etc/passwd\n'
cat "$root/etc/passwd"

title "ucvm-agent status"
agent status

title "SIGTERM: the daemon drains and stops"
kill -TERM "$daemon"
wait "$daemon"
agent status | head -n 1

title "A second run changes nothing: ucvm-agent apply"
agent apply --format json >"$work/second.json"
python - "$work/second.json" <<'PYTHON'
import json, sys
applied = json.load(open(sys.argv[1]))["applied"]
print(applied)
sys.exit(applied["changed"] + applied["failed"] + applied["skipped"] > 0)
PYTHON
