/** GNTTABOP_set_version: another layout for a table that is not in use, but for its first entries, which are kept. */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import { type MachineMemory, PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { placeOf, unplaceFrame } from '../../emulator/memory/p2m.ts';
import {
  GNTTAB_NR_RESERVED_ENTRIES,
  GTF_permit_access,
  GTF_reading,
  GTF_transitive,
  GTF_type_mask,
  GTF_writing,
  grant_entry_v1,
  grant_entry_v2_full_page,
} from '../abi/grant_table.ts';
import { flagsOf, namedFrame } from './entry_access.ts';
import { type GrantTable, grantTable } from './table.ts';

/** An entry in either layout; the flags with the reading and writing bits. */
interface KeptEntry {
  readonly flags: number;
  readonly domid: number;
  readonly frame: number;
}

const IN_USE = GTF_reading | GTF_writing;
const NO_ENTRY: KeptEntry = { flags: 0, domid: 0, frame: 0 };

type VersionErrno = 'EINVAL' | 'EBUSY' | 'ERANGE' | 'ENOMEM' | 'ENOSYS';

export function setVersion(host: Host, domain: Domain, version: number): VersionErrno | undefined {
  const { memory } = host;
  const table = grantTable(host, domain);
  if (version !== 1 && version !== 2) return 'EINVAL';
  if (version > table.maxVersion) return 'ENOSYS';
  if (version === table.version) return undefined;
  for (const [ref] of table.pinned()) if (ref >= GNTTAB_NR_RESERVED_ENTRIES) return 'EBUSY';
  if (version === 1 && !isRepresentable(memory, table)) return 'ERANGE';
  const kept = table.version === 1 ? readEntries(memory, table) : readEntries(memory, table).map(onlyGrants);
  if (version === 2 && !table.addStatusFrames(memory, domain.id)) return 'ENOMEM';
  if (version === 1) {
    // A translated guest loses them wherever they are.
    for (const mfn of table.statusFrames) unplaceFrame(memory, domain, placeOf(memory, domain, mfn));
    if (!table.removeStatusFrames(memory)) return 'EBUSY';
  }
  for (const mfn of table.frames) {
    memory.frameBytes(mfn).fill(0);
    memory.written(mfn * PAGE_SIZE, PAGE_SIZE);
  }
  table.version = version;
  for (const [ref, entry] of kept.entries()) writeEntry(memory, table, ref, entry);
  return undefined;
}

/** Whether the first entries fit into version 1, whatever the others are. */
function isRepresentable(memory: MachineMemory, table: GrantTable): boolean {
  for (let ref = 0; ref < GNTTAB_NR_RESERVED_ENTRIES; ref++) {
    const type = flagsOf(memory, table, ref) & GTF_type_mask;
    if (type === GTF_transitive) return false;
    if (type === GTF_permit_access && namedFrame(memory, table, table.active(ref)) >= 2 ** 32) return false;
  }
  return true;
}

const onlyGrants = (entry: KeptEntry): KeptEntry => ((entry.flags & GTF_type_mask) === GTF_permit_access ? entry : NO_ENTRY);

function readEntries(memory: MachineMemory, table: GrantTable): KeptEntry[] {
  return Array.from({ length: GNTTAB_NR_RESERVED_ENTRIES }, (_, ref) => ({
    flags: flagsOf(memory, table, ref) | (table.version === 1 ? 0 : memory.view.getUint16(table.status(ref), true)),
    domid: memory.view.getUint16(table.entry(ref) + grant_entry_v1.offset.domid, true),
    frame: namedFrame(memory, table, table.active(ref)),
  }));
}

function writeEntry(memory: MachineMemory, table: GrantTable, ref: number, { flags, domid, frame }: KeptEntry): void {
  const maddr = table.entry(ref);
  if (table.version === 1) {
    grant_entry_v1.write(memory.view, maddr, { flags, domid, frame });
    return;
  }
  grant_entry_v2_full_page.write(memory.view, maddr, { flags: flags & ~IN_USE, domid, frame: BigInt(frame) });
  memory.view.setUint16(table.status(ref), flags & IN_USE, true);
}
