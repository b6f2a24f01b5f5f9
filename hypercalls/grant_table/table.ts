/** A domain's grant table: its frames, which it maps itself, in layout version 1 (xen:common/grant_table.c). */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import { defineSlot } from '../../emulator/slot.ts';
import { GTF_permit_access, grant_entry_v1 } from '../abi/grant_table.ts';

/** xl's and Xen's default. */
export const MAX_GRANT_FRAMES = 64;
/** The entries that a toolstack fills before the domain starts. */
export const GNTTAB_RESERVED_CONSOLE = 0;
export const GNTTAB_RESERVED_XENSTORE = 1;
const ENTRIES_PER_FRAME = 4096 / grant_entry_v1.size;

const framesOf = defineSlot<Domain, number[]>(() => []);

/** The table's machine frames; it begins with one. */
export function grantFrames(host: Host, domain: Domain): readonly number[] {
  const frames = framesOf.of(domain);
  if (frames.length === 0) growTo(host, domain, 1);
  return frames;
}

/** False when the machine has no memory left. */
export function growTo(host: Host, domain: Domain, count: number): boolean {
  const frames = framesOf.of(domain);
  while (frames.length < count) {
    const mfn = host.memory.allocateShared(domain.id);
    if (mfn < 0) return false;
    frames.push(mfn);
  }
  return true;
}

/** Machine address of entry `ref`, undefined beyond the table. */
export function entryMaddr(host: Host, domain: Domain, ref: number): number | undefined {
  const mfn = grantFrames(host, domain)[Math.floor(ref / ENTRIES_PER_FRAME)];
  return mfn === undefined ? undefined : mfn * 4096 + (ref % ENTRIES_PER_FRAME) * grant_entry_v1.size;
}

/** What the toolstack does for console and xenstore before the domain starts: entry `ref` grants `frame` to `domid`. */
export function seedGrant(host: Host, domain: Domain, ref: number, domid: number, frame: number): void {
  const maddr = entryMaddr(host, domain, ref);
  if (maddr === undefined) throw new Error(`bug: grant reference ${ref} is beyond the table`);
  grant_entry_v1.write(host.memory.view, maddr, { flags: GTF_permit_access, domid, frame });
  host.memory.written(maddr, grant_entry_v1.size);
}
