#!/usr/bin/env bash
# Runs one stage of metricgate as an action, in its own environment: run.sh STAGE. Every action calls this and nothing else.
# `run.sh setup` only makes the environment.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
if ! command -v python3 > /dev/null; then
  echo "::error title=metricgate could not be set up::There is no python3 on this runner; add actions/setup-python before this step"
  exit 5
fi
if [ "${1:-}" = setup ]; then
  exec python3 -I "$here/environment.py" setup
fi
python=$(python3 -I "$here/environment.py" "${1:-}")
# -I: neither PYTHON* variables nor modules that lie in the checkout can replace ours. -u: live output. utf8: whatever the locale.
exec "$python" -I -u -X utf8 -m metricgate action "$@"
