#!/bin/sh
# Runs the guest on the real Xen with two interfaces on a bridge of Linux, both Debian's, and records what it prints.
#
#     record.sh [--check]
#
# --check writes nothing: it shows the difference to what is committed and exits 1 when there is one. REAL_XEN is as in
# guests/record-xen.sh. The back end and the bridge are modules of the kernel that the oracle's dom0 runs; its package is
# fetched for them.
set -eu
cd "$(dirname "$0")/../.."              # so that a relative REAL_XEN is relative to the repository
REAL_XEN=$(realpath "${REAL_XEN:-../shared/oracle/real-xen}")
REAL_XEN_HOME=${REAL_XEN_HOME:-$HOME/.cache/real-xen}
cd guests/network
here=$PWD

work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
package=$(sed -n 's/^\(linux-image-[0-9a-z.-]*\)_.*/\1/p' "$REAL_XEN_HOME/packages.txt")
cd "$work"
apt-get download "$package" >&2
dpkg-deb --fsys-tarfile "$package"_*.deb | tar x --wildcards '*/llc.ko' '*/stp.ko' '*/bridge.ko' '*/xen-netback.ko'
find lib -name '*.ko' -exec mv {} . ';'

cat > vif-bridge <<'SCRIPT'
#!/bin/sh
[ "$1" = online ] || exit 0
PATH=/bin:/sbin:/usr/bin:/usr/sbin
brctl addif "$(xenstore-read "$XENBUS_PATH/bridge")" "$vif"
ip link set "$vif" up
xenstore-write "$XENBUS_PATH/hotplug-status" connected
SCRIPT

cat > run.sh <<'SCRIPT'
for module in llc stp bridge xen-netback; do insmod /guest/$module.ko; done
[ ! -e /proc/sys/net/ipv6 ] || echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
brctl addbr xenbr0
echo 0 > /sys/class/net/xenbr0/bridge/multicast_snooping        # it would ask around on its own
ip link set xenbr0 up
mkdir -p /etc/xen/scripts
cp /guest/vif-bridge /etc/xen/scripts/
chmod +x /etc/xen/scripts/vif-bridge
xl create /dev/null "name='network'" "type='pv'" "kernel='/guest/network.elf'" "memory=128" \
    "vif=['mac=00:16:3e:00:00:01,bridge=xenbr0', 'mac=00:16:3e:00:00:02,bridge=xenbr0']" >/dev/null 2>&1
while xl domid network >/dev/null 2>&1; do sleep 1; done
cat /var/log/xen/console/guest-network.log
SCRIPT

"$REAL_XEN" dom0-shell --timeout 180 run.sh *.ko vif-bridge "$here/network.elf" > console
grep -qx 'network: done' console || { cat console >&2; echo "network: it did not come to its end" >&2; exit 3; }
if [ "${1:-}" = --check ]; then
    diff -u "$here/expected-network.txt" console
else
    cp console "$here/expected-network.txt"
fi
