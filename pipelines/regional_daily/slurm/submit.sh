#!/bin/bash
# Submit one task a region, at most four at once: ./submit.sh [regions.txt]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
list=$(realpath "${1:-$here/regions.txt}")
count=$(grep -c -v -e '^#' -e '^[[:space:]]*$' "$list" || true)
if [ "$count" -eq 0 ]; then
    echo "$list names no configuration" >&2
    exit 2
fi
exec sbatch --array="0-$((count - 1))%4" "$here/nightly.sbatch" "$list"
