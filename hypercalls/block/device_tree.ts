/**
 * The nodes that xl 4.17 makes for each disk of a domain, and the number that stands for a disk's name (xen:tools/libs/light/libxl_disk.c, xen:docs/man/xen-vbd-interface.7).
 */
import { XEN_IO_PROTO_ABI_NATIVE } from '../abi/blkif.ts';
import { type DevicePaths, devicePaths, populateDevice } from '../xenbus/device_nodes.ts';
import type { XenStore } from '../xenstore/store.ts';

export interface DiskNodes {
  /** As the guest shall call it: `xvda`. */
  readonly name: string;
  /** What the disk is made of, for `params`. */
  readonly path: string;
  readonly isReadonly: boolean;
}

const MAX_DISK = 2 ** 20 - 1;
const MAX_PARTITION = 255;
/** Of disks beyond xvdp and partitions beyond 15. */
const EXTENDED = 2 ** 28;
const XVD_MAJOR = 202;

/** 51712 for `xvda`, 51729 for `xvdb1`; undefined: the name is no disk's. */
export function virtualDevice(name: string): number | undefined {
  const [, letters, digits = '0'] = /^xvd([a-z]{1,4})([1-9]\d{0,2})?$/.exec(name) ?? [];
  if (letters === undefined) return undefined;
  const disk = [...letters].reduce((sum, letter) => sum * 26 + letter.charCodeAt(0) - 0x60, 0) - 1;
  const partition = Number(digits);
  if (disk > MAX_DISK || partition > MAX_PARTITION) return undefined;
  return disk < 16 && partition < 16 ? XVD_MAJOR * 256 + disk * 16 + partition : EXTENDED + disk * 256 + partition;
}

/** The name of the disk with that index: `xvda` for 0, `xvdaa` for 26. */
export function diskName(index: number): string {
  let letters = '';
  for (let rest = index + 1; rest > 0; rest = Math.floor((rest - 1) / 26))
    letters = String.fromCharCode(0x61 + ((rest - 1) % 26)) + letters;
  return `xvd${letters}`;
}

/** Of a disk whose nodes are there. */
export const pathsOfDisk = (domid: number, name: string): DevicePaths => devicePaths(domid, 'vbd', virtualDevice(name)!);

/** Makes the nodes before the domain runs; where the two ends have theirs. */
export function populateDisk(store: XenStore, domid: number, { name, path, isReadonly }: DiskNodes): DevicePaths {
  const number = virtualDevice(name);
  if (number === undefined) throw new Error(`bug: ${name} is no name of a disk`);
  return populateDevice(store, domid, 'vbd', number, {
    frontend: { 'virtual-device': number, 'device-type': 'disk', trusted: 1, protocol: XEN_IO_PROTO_ABI_NATIVE },
    backend: {
      params: `aio:${path}`,
      removable: 0,
      bootable: 1,
      dev: name,
      type: 'qdisk',
      mode: isReadonly ? 'r' : 'w',
      'device-type': 'disk',
      'discard-enable': 1,
      specification: 'xen',
    },
  });
}
