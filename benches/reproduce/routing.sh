#!/usr/bin/env bash
# MMLU by subject: what `route.tag` gains over a coin at 10, 25, 50 and 75 % of calls to the strong model (seconds).
# Usage: benches/reproduce/routing.sh [FOLDER of the evaluation data]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cargo run --release --quiet --package anabranch-benches --bin routing -- --data "${1:-../shared/data}"
