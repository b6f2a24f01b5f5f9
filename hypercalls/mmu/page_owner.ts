/** Whose frames a call may name: `foreigndom` and Xen's default rules of who may act on whom (xen:include/xsm/dummy.h). */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import { DOMID_IO, DOMID_SELF, DOMID_XEN } from '../abi/xen.ts';

/** The domid that owns the frames; undefined: no such domain (naming oneself by number is none either). */
export function findPageOwner(host: Host, caller: Domain, domid: number): number | undefined {
  if (domid === DOMID_SELF) return caller.id;
  if (domid === caller.id) return undefined;
  return domid === DOMID_IO || domid === DOMID_XEN || host.domains.has(domid) ? domid : undefined;
}

/** XSM_TARGET: itself, or the initial domain. */
export function mayActOn(caller: Domain, domid: number): boolean {
  return domid === caller.id || caller.isInitial;
}

/** Anybody may try to map I/O memory: another check is on the frame. */
export function mayMapFrom(caller: Domain, domid: number): boolean {
  return domid === DOMID_IO || mayActOn(caller, domid);
}
