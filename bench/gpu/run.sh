#!/bin/sh
# Runs the next slices of `tgvc bench gpu`, for less than ten minutes; call it until it says that all are done.
# Usage: bench/gpu/run.sh [FOLDER] [further options of `tgvc bench gpu`]. Works installed or from a checkout.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=${1:-$root/bench/results}
[ $# -gt 0 ] && shift
if ! command -v nvidia-smi >/dev/null 2>&1; then
    echo "run.sh: no nvidia-smi here; slices that need a GPU will say so" >&2
else
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader >&2
fi
PYTHONPATH=$root/engine:$root/kernels:$root/bench:$root/export${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
exec "${PYTHON:-python3}" -m tgvc_bench.gpu -o "$folder" "$@"
