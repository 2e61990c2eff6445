#!/usr/bin/env bash
# 23,852 recorded plans of Chameleon: each is checked and run, none executes a program before it was generated (a minute).
# Usage: benches/reproduce/planner.sh [FOLDER of the evaluation data]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cargo run --release --quiet --package anabranch-benches --bin planner -- --data "${1:-../shared/data}"
