#!/bin/sh
# Runs guests on the real Xen and records what they print: as domU (one boot for all) in NAME/expected.txt, as dom0 (one
# boot each), only where it differs, in NAME/expected-dom0.txt, both with as many vCPUs as NAME/vcpus.txt says, and, where there is a NAME/input.txt, as domU with those
# keys typed at its console in NAME/expected-input.txt. No other source may write these files.
#
#     record-xen.sh [--check] [NAME...]       all guests when none is named
#
# --check writes nothing: it shows the difference to what is committed and exits 1 when there is one.
# REAL_XEN names the oracle's real-xen command; by default ../shared/oracle/real-xen beside the repository.
set -eu
cd "$(dirname "$0")/.."                 # so that a relative REAL_XEN is relative to the repository
REAL_XEN=$(realpath "${REAL_XEN:-../shared/oracle/real-xen}")
TIMEOUT=${TIMEOUT:-120}
cd guests

check=no
if [ "${1:-}" = --check ]; then
    check=yes
    shift
fi
if [ $# -eq 0 ]; then
    # spin has nothing to say, network and instructions have a record.sh of their own
    set -- $(for elf in */*.elf; do basename "$elf" .elf; done | while read -r name; do [ ! -d "$name" ] || echo "$name"; done | grep -vx -e spin -e network -e instructions)
fi

elfs=
several=                                # guests with a number of vCPUs of their own
for name in "$@"; do
    if [ -f "$name/vcpus.txt" ]; then
        several="$several $name"
    else
        elfs="$elfs $name/$name.elf"
    fi
done

out=$(mktemp -d)
trap 'rm -r "$out"' EXIT

# What a run is expected to print goes to $out/NAME/, under the names of the files that keep it.
run() {
    [ -z "$elfs" ] || "$REAL_XEN" run --as "$1" --timeout "$TIMEOUT" --out "$out/$1" $elfs >&2
    for name in $several; do
        "$REAL_XEN" run --as "$1" --vcpus "$(cat "$name/vcpus.txt")" --timeout "$TIMEOUT" --out "$out/$1" "$name/$name.elf" >&2
    done
}

run_with_input() {
    cat > "$out/type.sh" <<'SCRIPT'
name=$(basename *.elf .elf)
xl create /dev/null "name='$name'" "type='pv'" "kernel='/guest/$name.elf'" "memory=128" "extra='wait'" >/dev/null
sleep 2
cat input.txt > "$(xenstore-read /local/domain/1/console/tty)"
while xl domid "$name" >/dev/null 2>&1; do sleep 1; done
cat "/var/log/xen/console/guest-$name.log"
SCRIPT
    "$REAL_XEN" dom0-shell "$out/type.sh" "$1/$1.elf" "$1/input.txt" | grep -v '^Parsing config'
}

run domU
run dom0
for name in "$@"; do
    mkdir "$out/$name"
    cp "$out/domU/$name.txt" "$out/$name/expected.txt"
    cmp -s "$out/domU/$name.txt" "$out/dom0/$name.txt" || cp "$out/dom0/$name.txt" "$out/$name/expected-dom0.txt"
    [ ! -f "$name/input.txt" ] || run_with_input "$name" > "$out/$name/expected-input.txt"
done

differ=0
for name in "$@"; do
    for file in expected.txt expected-dom0.txt expected-input.txt; do
        new=$out/$name/$file
        old=$name/$file
        if [ $check = no ]; then
            rm -f "$old"
            [ ! -f "$new" ] || cp "$new" "$old"
        elif [ -f "$new" ] || [ -f "$old" ]; then
            diff -uN "$old" "$new" || differ=1
        fi
    done
done
exit $differ
