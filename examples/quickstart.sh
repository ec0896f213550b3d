#!/usr/bin/env bash
# The main job on real parts: an XMPP server, a metadata service, a controller, and the agent beneath a scratch root,
# which contextualizes a VM and then runs a job on it.
# Installs what it needs (apt and a virtual environment), talks to loopback only, and leaves nothing running.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" -ne 0 ]; then
  echo "run this as root: the agent makes users and runs scripts beneath a scratch root" >&2
  exit 2
fi
. tests/install.sh busybox-static curl lua-sec prosody
export PATH="$PWD/.venv/bin:$PATH"

work=$(mktemp -d -t ucvm-quickstart.XXXXXX)
chmod 711 "$work" # the account of the jobs has to pass
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

title "A controller: ucvm-controller serve"
http=127.0.0.1:$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$work/controller.toml" <<TOML
state_dir = "$work/controller"
[xmpp]
jid = "controller@$domain"
password = "controller-secret"
host = "$host"
port = $port
ca_file = "$ca_file"
[http]
listen = "$http"
public_url = "http://$http"
TOML
ucvm-controller serve --config "$work/controller.toml" 2>"$work/controller.log" & controller=$!
processes+=("$controller")
curl -sf --retry 30 --retry-delay 1 --retry-connrefused "http://$http/healthz" >/dev/null
api() { curl -sSf -H "Authorization: Bearer $(cat "$work/controller/token")" "$@"; }
echo "its page: http://$http   its XMPP account: controller@$domain"

title "A job waits for a VM: examples/jobs/histogram"
job=examples/jobs/histogram/histogram.sh
sum=$(sha256sum $job | cut -d ' ' -f 1)
api -T $job "http://$http/api/v1/inputs/$sum"
api "http://$http/api/v1/jobs" --json '{"id": "histogram", "description": {"command": "histogram.sh", "arguments": "20000 7",
  "inputs": [{"name": "histogram.sh", "sha256": "'"$sum"'"}]}}' && echo

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
[jobs]
enabled = true
user = "nobody"
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

title "The daemon starts, and contextualizes"
ucvm-agent --config "$work/agent.toml" & daemon=$!
processes+=("$daemon")
agent status --wait

title "What was applied"
for file in etc/hostname etc/motd etc/analysis.conf var/log/first-boot etc/cvmfs/default.local; do
  printf -- '--- %s\n' "/$file"
  cat "$root/$file"
done
printf -- '--- /etc/passwd\n'
cat "$root/etc/passwd"

title "The job's output, as it came back"
# The log of a job begins and ends with it.
timeout 60 curl -sfN --retry 30 --retry-delay 1 --retry-all-errors -H "Authorization: Bearer $(cat "$work/controller/token")" \
  "http://$http/api/v1/jobs/histogram/log" >/dev/null
api "http://$http/api/v1/jobs/histogram/output" | tar -xzO ./stdout

title "SIGTERM: the daemon drains, tells what is left to tell, and stops"
kill -TERM "$daemon"
wait "$daemon"
agent status | head -n 1

title "What the VM has reported to the controller"
api "http://$http/api/v1/events" | python -c '
import json, sys
from tests.servers.controller import describe
from ucvm_agent.events import Event
for entry in json.load(sys.stdin)["events"]:
    print(describe(Event.model_validate(entry["event"])))
'

title "A second run changes nothing: ucvm-agent apply"
agent apply --format json >"$work/second.json"
python - "$work/second.json" <<'PYTHON'
import json, sys
applied = json.load(open(sys.argv[1]))["applied"]
print(applied)
sys.exit(applied["changed"] + applied["failed"] + applied["skipped"] > 0)
PYTHON
