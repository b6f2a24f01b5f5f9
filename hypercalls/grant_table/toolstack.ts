/** What the toolstack and the daemons of domain 0 do with a guest's grant table: console and xenstore are granted and mapped. */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import { holdOwnFrame, noteHold } from '../../emulator/memory/held_frames.ts';
import { PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { PGT_writable_page } from '../../emulator/memory/page_type.ts';
import { getPageType, putPageType } from '../../emulator/memory/page_types.ts';
import { defineSlot } from '../../emulator/slot.ts';
import { Vcpu } from '../../emulator/vcpu.ts';
import {
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST,
  GTF_permit_access,
  GTF_sub_page,
  GTF_type_mask,
  grant_entry_v1,
} from '../abi/grant_table.ts';
import { acquireGrant, type CopyFlags, RESTART, releaseGrant, TO_READ, TO_WRITE } from './acquire.ts';
import { admit } from './entry_access.ts';
import { type Mapper, mapGrantRef, mapped } from './map.ts';
import { type Mapping, maptrack } from './maptrack.ts';
import { grantTable } from './table.ts';
import { unmap } from './unmap.ts';

/** Before the domain starts: entry `ref` grants `mfn` to `mapper`, who maps it for as long as the domain lives. */
export function seedGrant(host: Host, domain: Domain, ref: number, mapper: Domain, mfn: number): void {
  const { memory } = host;
  const table = grantTable(host, domain);
  const active = table.active(ref);
  const maddr = table.entry(ref);
  grant_entry_v1.write(memory.view, maddr, { flags: GTF_permit_access, domid: mapper.id, frame: mfn });
  memory.written(maddr, grant_entry_v1.size);
  const isMapped =
    admit(memory, active, mapper.id, GNTMAP_host_map, GTF_type_mask | GTF_sub_page) && holdOwnFrame(memory, domain, mfn) === undefined;
  if (!isMapped) throw new Error(`bug: frame 0x${mfn.toString(16)} cannot be granted to domain ${mapper.id}`);
  active.use(mapper.id, mfn);
  active.pin(GNTMAP_host_map);
  const mappings = maptrack.of(mapper);
  mappings.set(mappings.take(0), domain, ref, GNTMAP_host_map);
}

/** A page of a guest's that the host reaches. */
export interface HostMapping {
  readonly maddr: number;
  unmap(): void;
}

/** Domain 0 has no vCPU that runs; handles are given out to one. */
const hostVcpu = defineSlot<Domain, Vcpu>((domain) => new Vcpu(domain, 0), { name: 'grant_table.host_vcpu', isTransient: true });

/** Maps what a guest grants to domain 0, as for a device: the host needs no page table. undefined: it does not grant that. */
export function mapToHost(host: Host, granter: Domain, ref: number, isReadonly: boolean): HostMapping | undefined {
  const domain = host.domains.get(0)!;
  const mapper: Mapper = { host, domain, vcpu: hostVcpu.of(domain) };
  const flags = isReadonly ? GNTMAP_device_map | GNTMAP_readonly : GNTMAP_device_map;
  const status = mapGrantRef(mapper, granter.id, ref, flags, 0, 0);
  return status === GNTST.okay ? hostMapping(mapper, mapped.handle, mapped.mfn) : undefined;
}

function hostMapping(mapper: Mapper, handle: number, mfn: number): HostMapping {
  const maddr = mfn * PAGE_SIZE;
  return {
    maddr,
    unmap() {
      if (unmap(mapper, handle, 0, 0, maddr | 0, Math.floor(maddr / 2 ** 32), 0, 0) !== GNTST.okay)
        throw new Error('bug: the host lost a mapping');
    },
  };
}

/** Bytes out of what a guest grants to domain 0, as GNTTABOP_copy does it; the status. */
export function copyFromGrant(host: Host, granter: Domain, ref: number, offset: number, into: Uint8Array): number {
  return withGranted(host, granter, ref, TO_READ, offset, into.length, (maddr) => {
    into.set(host.memory.bytes.subarray(maddr, maddr + into.length));
    return GNTST.okay;
  });
}

/** Bytes into what a guest grants to domain 0; the status. */
export function copyToGrant(host: Host, granter: Domain, ref: number, offset: number, from: Uint8Array): number {
  const { memory } = host;
  return withGranted(host, granter, ref, TO_WRITE, offset, from.length, (maddr) => {
    const mfn = Math.floor(maddr / PAGE_SIZE);
    if (getPageType(memory, mfn, PGT_writable_page) !== undefined) return GNTST.general_error;
    memory.bytes.set(from, maddr);
    memory.written(maddr, from.length);
    putPageType(memory, mfn);
    return GNTST.okay;
  });
}

function withGranted(
  host: Host,
  granter: Domain,
  ref: number,
  flags: CopyFlags,
  offset: number,
  size: number,
  act: (maddr: number) => number,
): number {
  if (offset + size > PAGE_SIZE) return GNTST.bad_copy_arg;
  const page = acquireGrant(host, granter, ref, 0, flags);
  if (typeof page === 'number') return page === RESTART ? GNTST.eagain : page;
  const { mfn, start, length } = page;
  const status = offset >= start && offset + size <= start + length ? act(mfn * PAGE_SIZE + offset) : GNTST.general_error;
  releaseGrant(host, page, flags);
  host.memory.putPage(mfn);
  return status;
}

/** Mappings that no device has again yet. */
const orphans = new WeakSet<Mapping>();

/** One for a device that was there when the domain was saved, each once. undefined: there was none. */
export function findHostMapping(host: Host, granter: Domain, ref: number): HostMapping | undefined {
  const domain = host.domains.get(0)!;
  const entry = [...maptrack.of(domain)].find(
    ([, mapping]) => mapping.granter === granter && mapping.ref === ref && mapping.flags & GNTMAP_device_map && orphans.has(mapping),
  );
  if (entry === undefined) return undefined;
  orphans.delete(entry[1]);
  return hostMapping({ host, domain, vcpu: hostVcpu.of(domain) }, entry[0], grantTable(host, granter).active(ref).mfn);
}

/** What the host maps of a domain, for a saved one. */
export interface SavedHostMapping {
  readonly ref: number;
  readonly flags: number;
}

export function saveHostMappings(host: Host, granter: Domain): SavedHostMapping[] {
  const all = [...maptrack.of(host.domains.get(0)!)].map(([, mapping]) => mapping);
  return all
    .filter((mapping) => mapping.granter === granter)
    .map(({ ref, flags }) => ({ ref, flags }))
    .reverse();
}

/** The host has them again; the table's entries, and the references to the frames, were saved with the domain. */
export function loadHostMappings(host: Host, granter: Domain, saved: readonly SavedHostMapping[]): void {
  const domain = host.domains.get(0)!;
  const mappings = maptrack.of(domain);
  for (const { ref, flags } of saved) {
    const handle = mappings.take(0);
    mappings.set(handle, granter, ref, flags);
    orphans.add(mappings.get(handle)!);
    const { mfn } = grantTable(host, granter).active(ref);
    if (flags & GNTMAP_device_map) noteHold(host.memory, domain, mfn, !(flags & GNTMAP_readonly));
  }
}
