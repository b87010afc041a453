#!/usr/bin/env bash
# The Snakefile on a real Slurm cluster of one node: success, failure, kill and restart, each against the plain loop.
#
#     make test-slurm    # 10 to 15 minutes on two cores
#
# It installs nothing, and says what is missing. Only as root in a throw-away container: it writes
# /etc/slurm/slurm.conf and starts daemons.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${1:-.venv/bin/python}
lacking=()
for program in slurmctld slurmd munged srun; do
    command -v "$program" > /dev/null || lacking+=("$program, of Debian's packages slurm-wlm and munge: apt-get install -y slurm-wlm munge")
done
"$PYTHON" -c "import papermill, snakemake_executor_plugin_slurm" 2> /dev/null ||
    lacking+=("$PYTHON with papermill and Snakemake's Slurm plugin: make book, then .venv/bin/pip install -e '.[slurm]'")
[ "$(id -u)" = 0 ] || lacking+=("root, in a container that may be thrown away")
if [ ${#lacking[@]} -gt 0 ]; then
    printf 'This test needs %s.\n' "${lacking[@]}" >&2
    exit 2
fi
WORK=$(mktemp -d)
export OMP_NUM_THREADS=1 # in the loop as in the jobs, or the last digits differ
SNAKEMAKE=("$PYTHON" -m snakemake --executor slurm --jobs 4 --keep-going --retries 1 --slurm-no-account
    --slurm-status-command squeue --slurm-init-seconds-before-status-checks 5)
FEW=(profile=smoke tables=attention_types train_images=64)

say() { echo "== $(date +%T) $*"; }
loop() { "$PYTHON" -m ran.cli run "$@" >> "$WORK/loop.log"; }
same() { # the records below two folders are equal but for when they were made and how long that took
    "$PYTHON" - "$@" << 'EOF'
import json, sys
from pathlib import Path

from ran.runs import reproducible

def records(folder):
    return {path.parent.name: reproducible(json.loads(path.read_text())) for path in Path(folder).glob("*/record.json")}

first, second = map(records, sys.argv[1:])
assert first and first == second, "the records differ"
print(f"{len(first)} records are the same")
EOF
}

say "cluster in $WORK"
mkdir -p "$WORK"/{ctld,d} /run/munge
chown munge: /run/munge
pgrep -x munged > /dev/null || runuser -u munge -- munged
sed -e "s|@HOST@|$(hostname -s)|; s|@STATE@|$WORK|; s|@CPUS@|$(getconf _NPROCESSORS_ONLN)|" \
    -e "s|@MEMORY@|$(awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo)|" tests/slurm/slurm.conf \
    > /etc/slurm/slurm.conf # not in SLURM_CONF: the plugin's inner srun drops it
slurmctld && slurmd
trap 'kill $(cat "$WORK"/ctld.pid "$WORK"/d.pid)' EXIT
timeout 60 srun -n1 true

say "success: a table"
"${SNAKEMAKE[@]}" --config "${FEW[@]}" results="$WORK/slurm" &> "$WORK/success.log"
loop --table attention_types --profile smoke --train-images 64 --results "$WORK/loop"
same "$WORK/slurm" "$WORK/loop"

say "failure: another run's checkpoint lies in the way of one cell"
cell=$(basename "$WORK"/loop/*-spatial-*/)
mkdir -p "$WORK/broken/$cell"
"$PYTHON" - "$WORK/broken/$cell/checkpoint.pt" << 'EOF'
import sys
from pathlib import Path

from ran.training import Checkpoint

Checkpoint(Path(sys.argv[1]), "another").write({}, [], [])
EOF
! "${SNAKEMAKE[@]}" --config "${FEW[@]}" results="$WORK/broken" &> "$WORK/failure.log"
grep "Trying to restart" "$WORK/failure.log"
grep -q "belongs to the run 'another'" "$WORK/broken/$cell.ipynb"
sums=$(md5sum "$WORK"/broken/*/record.json)
[ "$(wc -l <<< "$sums")" = 2 ] # the others went on
rm "$WORK/broken/$cell/checkpoint.pt"
"${SNAKEMAKE[@]}" --config "${FEW[@]}" results="$WORK/broken" &> "$WORK/repaired.log"
grep -E "^run +1$" "$WORK/repaired.log" # the one job that was missing
md5sum --quiet -c <<< "$sums"
same "$WORK/broken" "$WORK/loop"

say "kill: Snakemake and its jobs end in the midst of training, and are started again"
LONG=(profile=study tables=mask_structures seed=5 train_images=1000 results="$WORK/killed")
"${SNAKEMAKE[@]}" --config "${LONG[@]}" &> "$WORK/killed.log" &
until [ "$(find "$WORK/killed" -name checkpoint.pt 2> /dev/null | wc -l)" = 2 ]; do sleep 1; done
kill -9 $!
scancel --name="$(sed -n 's/^SLURM run ID: //p' "$WORK/killed.log")"
"$PYTHON" -m snakemake --unlock &> /dev/null
"${SNAKEMAKE[@]}" --config "${LONG[@]}" &> "$WORK/again.log"
grep -ho "continued after epoch [0-9]*" "$WORK"/killed/*.ipynb
loop --table mask_structures --profile study --seed 5 --train-images 1000 --results "$WORK/uninterrupted"
same "$WORK/killed" "$WORK/uninterrupted"
say "all is well"
