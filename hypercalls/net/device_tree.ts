/** The nodes that xl 4.17 makes for each network interface of a domain; read off a real one (`xenstore-ls -fp`). */
import { type DevicePaths, devicePaths, populateDevice } from '../xenbus/device_nodes.ts';
import type { XenStore } from '../xenstore/store.ts';

export interface InterfaceNodes {
  /** From 0. */
  readonly handle: number;
  /** `00:16:3e:00:00:01` */
  readonly mac: string;
  /** What it is plugged into, as a name. */
  readonly bridge: string;
}

/** Makes the nodes before the domain runs; where the two ends have theirs. */
export function populateInterface(store: XenStore, domid: number, { handle, mac, bridge }: InterfaceNodes): DevicePaths {
  return populateDevice(store, domid, 'vif', handle, {
    frontend: { handle, mac, trusted: 1 },
    unchangeable: { mtu: 1500 },
    backend: { script: '/etc/xen/scripts/vif-bridge', mac, bridge, handle, type: 'vif', 'hotplug-status': '' },
  });
}

/** Where the two ends of an interface have their nodes. */
export const pathsOfInterface = (domid: number, handle: number): DevicePaths => devicePaths(domid, 'vif', handle);
