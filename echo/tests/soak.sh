#!/usr/bin/env bash
# Runs the soak for so many seconds (180 by default) and prints its table.
set -euo pipefail
cd "$(dirname "$0")/../.."
SOAK_SECONDS=${1:-180} cargo test --locked --release -p readinto-echo --test soak -- \
    --ignored --nocapture | grep -F '|'
