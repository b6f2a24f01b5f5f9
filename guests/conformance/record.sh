#!/bin/sh
# Runs the conformance suite on the real Xen and records what it prints: as domU in NAME.domU.tap, as dom0 in NAME.dom0.tap.
# No other source may write these files.
#
#     record.sh [--check] [NAME...]           the whole suite when none is named
#
# --check writes nothing: it shows the difference to what is committed and exits 1 when there is one.
# REAL_XEN names the command that runs guests on a real Xen 4.17: `$REAL_XEN run --as domU|dom0 --timeout SECONDS --out DIR GUEST...`
# boots each GUEST (a PV64 kernel, 128 MiB, one vCPU) and leaves its console in DIR/NAME.txt; with `--vcpus N` before the
# GUEST it has as many, which is asked for where there is a NAME.vcpus. By default that is ../shared/oracle/real-xen beside
# the repository.
set -eu
cd "$(dirname "$0")/../.."              # so that a relative REAL_XEN is relative to the repository
REAL_XEN=$(realpath "${REAL_XEN:-../shared/oracle/real-xen}")
TIMEOUT=${TIMEOUT:-120}
cd guests/conformance

check=no
if [ "${1:-}" = --check ]; then
    check=yes
    shift
fi
if [ $# -eq 0 ]; then
    set -- $(for elf in *.elf; do basename "$elf" .elf; done) pvh
fi

elfs=
several=                                # programs with a number of vCPUs of their own
names=
pvh=no                                  # the one of pvh/, which is a domU only
for name in "$@"; do
    if [ "$name" = pvh ]; then
        pvh=yes
        continue
    fi
    names="$names $name"
    if [ -f "$name.vcpus" ]; then
        several="$several $name"
    else
        elfs="$elfs $name.elf"
    fi
done

out=$(mktemp -d)
trap 'rm -r "$out"' EXIT

differ=0
# NAME KIND FILE: what it printed goes to FILE, or is compared with it
keep() {
    new=$out/$2/$1.txt
    tail -n 1 "$new" | grep -q '^1\.\.[0-9]' || { echo "$1 as $2: it did not come to its end" >&2; exit 3; }
    if [ $check = no ]; then
        cp "$new" "$3"
    else
        diff -u "$3" "$new" || differ=1
    fi
}

for as in domU dom0; do
    [ -z "$elfs" ] || "$REAL_XEN" run --as $as --timeout "$TIMEOUT" --out "$out/$as" $elfs >&2
    for name in $several; do
        "$REAL_XEN" run --as $as --vcpus "$(cat "$name.vcpus")" --cpus 2 --timeout "$TIMEOUT" --out "$out/$as" "$name.elf" >&2
    done
    for name in $names; do
        keep "$name" $as "$name.$as.tap"
    done
done
if [ $pvh = yes ]; then
    "$REAL_XEN" run --as domU --vcpus "$(cat pvh/pvh.vcpus)" --cpus 1 --timeout "$TIMEOUT" --out "$out/domU" pvh/pvh.elf >&2
    keep pvh domU pvh/pvh.domU.tap
fi
exit $differ
