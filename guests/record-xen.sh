#!/bin/sh
# Runs guests on the real Xen, as domU (one boot for all) and as dom0 (one boot each), and records what they print as
# NAME/expected.txt and, only where dom0's differs, NAME/expected-dom0.txt. No other source may write these files.
#
#     record-xen.sh [--check] [NAME...]       all guests when none is named
#
# --check writes nothing: it shows the difference to what is committed and exits 1 when there is one.
# REAL_XEN names the oracle's real-xen command; by default ../shared/oracle/real-xen beside the repository.
set -eu
cd "$(dirname "$0")/.."                 # so that a relative REAL_XEN is relative to the repository
REAL_XEN=$(realpath "${REAL_XEN:-../shared/oracle/real-xen}")
cd guests
TIMEOUT=${TIMEOUT:-120}

check=no
if [ "${1:-}" = --check ]; then
    check=yes
    shift
fi
if [ $# -eq 0 ]; then
    set -- $(for elf in */*.elf; do dirname "$elf"; done)
fi

elfs=
for name in "$@"; do
    elfs="$elfs $name/$name.elf"
done

out=$(mktemp -d)
trap 'rm -r "$out"' EXIT
"$REAL_XEN" run --as domU --timeout "$TIMEOUT" --out "$out/domU" $elfs
"$REAL_XEN" run --as dom0 --timeout "$TIMEOUT" --out "$out/dom0" $elfs

if [ $check = no ]; then
    for name in "$@"; do
        cp "$out/domU/$name.txt" "$name/expected.txt"
        rm -f "$name/expected-dom0.txt"
        cmp -s "$out/domU/$name.txt" "$out/dom0/$name.txt" || cp "$out/dom0/$name.txt" "$name/expected-dom0.txt"
    done
    exit 0
fi

differ=0
for name in "$@"; do
    dom0=$name/expected-dom0.txt
    [ -f "$dom0" ] || dom0=$name/expected.txt
    diff -u "$name/expected.txt" "$out/domU/$name.txt" || differ=1
    diff -u "$dom0" "$out/dom0/$name.txt" || differ=1
done
exit $differ
