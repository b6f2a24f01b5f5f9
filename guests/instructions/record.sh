#!/bin/sh
# Records what the guest prints on the real Xen for some seeds: seeds/domU-SEED.txt (all in one boot) and seeds/dom0-SEED.txt (one
# boot each). No other source may write these files. Each begins with its seed and its number of steps.
#
#     record.sh [--check] [domU|dom0 STEPS SEED...]     what there is, when nothing is named
#
# --check writes nothing: it shows the difference to what is committed and exits 1 when there is one.
# The CPU has the features that beneath's has: those that instructions show would differ.
# REAL_XEN names the command that runs a guest on a real Xen 4.17; by default ../shared/oracle/real-xen beside the repository.
set -eu
cd "$(dirname "$0")/../.."              # so that a relative REAL_XEN is relative to the repository
REAL_XEN=$(realpath "${REAL_XEN:-../shared/oracle/real-xen}")
cd guests/instructions
CPU=max,-svm,-xsave,-fsgsbase,-monitor,-umip

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
            "$REAL_XEN" run --as dom0 --cpu $CPU --cmdline "$seed $steps" instructions.elf > "$out/dom0-$seed.txt"
        done
        return
    fi
    cat > "$out/script.sh" <<SCRIPT
for seed in $*; do
    xl create -q /dev/null "name='instructions\$seed'" "type='pv'" "kernel='/guest/instructions.elf'" "memory=128" "extra='\$seed $steps'"
    while xl domid "instructions\$seed" >/dev/null 2>&1; do sleep 0.3; done
    echo "===== \$seed"
    cat "/var/log/xen/console/guest-instructions\$seed.log"
done
SCRIPT
    "$REAL_XEN" dom0-shell --cpu $CPU --timeout 600 "$out/script.sh" instructions.elf > "$out/all"
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
