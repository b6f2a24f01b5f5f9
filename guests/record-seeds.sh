#!/bin/sh
# Records what a guest that takes a seed and a number of steps prints on the real Xen: GUEST/seeds/domU-SEED.txt (all in one boot) and
# dom0-SEED.txt (one boot each). No other source may write these files. Each begins with its seed and its number of steps.
#
#     record-seeds.sh GUEST [--check] [domU|dom0 STEPS SEED...]     what there is, when nothing is named
#
# --check writes nothing: it shows the difference to what is committed and exits 1 when there is one.
# REAL_XEN names the command that runs a guest on a real Xen 4.17; by default ../shared/oracle/real-xen beside the repository.
set -eu
cd "$(dirname "$0")/.."                 # so that a relative REAL_XEN is relative to the repository
REAL_XEN=$(realpath "${REAL_XEN:-../shared/oracle/real-xen}")
guest=${1:-}
vcpus=1 cpu=
case $guest in
fuzz) vcpus=2 ;;
# The features that beneath's CPU has: those that instructions show would differ.
instructions) cpu='--cpu max,-svm,-xsave,-fsgsbase,-monitor,-umip' ;;
*)
    echo "record-seeds.sh: there are seeds of fuzz and instructions, not of '$guest'" >&2
    exit 1
    ;;
esac
shift
cd "guests/$guest"

check=no
if [ "${1:-}" = --check ]; then
    check=yes
    shift
fi
out=$(mktemp -d)
trap 'rm -r "$out"' EXIT

# AS STEPS SEED...: each console to $out/AS-SEED.txt
run() {
    as=$1 steps=$2
    shift 2
    if [ "$as" = dom0 ]; then
        for seed in "$@"; do
            "$REAL_XEN" run --as dom0 $cpu --vcpus $vcpus --cmdline "$seed $steps" "$guest.elf" > "$out/dom0-$seed.txt"
        done
        return
    fi
    cat > "$out/script.sh" <<SCRIPT
for seed in $*; do
    xl create -q /dev/null "name='$guest\$seed'" "type='pv'" "kernel='/guest/$guest.elf'" "memory=128" "vcpus=$vcpus" "extra='\$seed $steps'"
    while xl domid "$guest\$seed" >/dev/null 2>&1; do sleep 0.3; done
    echo "===== \$seed"
    cat "/var/log/xen/console/guest-$guest\$seed.log"
done
SCRIPT
    "$REAL_XEN" dom0-shell $cpu --timeout 600 "$out/script.sh" "$guest.elf" > "$out/all"
    awk -v out="$out" '{ sub(/\r$/, "") } /^===== / { file = out "/domU-" $2 ".txt"; next } file { print > file }' "$out/all"
}

steps_of() {
    sed -n '1s/.*, \([0-9]*\) steps$/\1/p' "$1"
}

if [ $# -gt 0 ]; then
    run "$@"
else
    for as in domU dom0; do
        for steps in $(for file in seeds/$as-*.txt; do steps_of "$file"; done | sort -nu); do
            run $as "$steps" $(for file in seeds/$as-*.txt; do [ "$(steps_of "$file")" != "$steps" ] || basename "$file" .txt | sed 's/.*-//'; done)
        done
    done
fi

differ=0
for new in "$out"/dom*-*.txt; do
    if [ $check = no ]; then
        cp "$new" seeds/
    else
        diff -u "seeds/$(basename "$new")" "$new" || differ=1
    fi
done
exit $differ
