#!/usr/bin/env bash
# How many instructions of the host a hypercall takes, by those that calls.c knows: what another user of the processor does
# changes times, and not these. Two runs of different lengths are compared, so start and translation do not count.
#
#   npm run build && test/bench/host_instructions/count.sh [CALL]...
#
# It takes qemu-x86_64 with plugins (Debian: qemu-user) and a C compiler.
set -euo pipefail
cd "$(dirname "$0")/../../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cc -O2 -shared -fPIC -o "$work/plugin.so" test/bench/host_instructions/plugin.c

# run CALL COUNT
run() {
    qemu-x86_64 -cpu max -plugin "$work/plugin.so" "$(command -v node)" dist/bench.mjs hypercall-run "$1" "$2" 2>&1 >"$work/out" | tail -1
    [ -s "$work/out" ] || { echo "count.sh: there is no call '$1'" >&2; exit 1; }
}

[ $# -gt 0 ] || set -- version send_closed status yield send_self update_entry multicall grant_map_unmap grant_copy
for call; do
    few=50000 many=150000
    if [ "$call" = multicall ]; then few=5000 many=15000; fi
    short=$(run "$call" "$few")
    long=$(run "$call" "$many")
    printf '%-16s %6d\n' "$call" $(((long - short) / (many - few)))
done
