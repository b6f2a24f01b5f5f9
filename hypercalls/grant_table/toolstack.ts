/** What the toolstack and the daemons of domain 0 do with a guest's grant table: console and xenstore are granted and mapped. */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import { holdOwnFrame } from '../../emulator/memory/held_frames.ts';
import { GNTMAP_host_map, GTF_permit_access, grant_entry_v1 } from '../abi/grant_table.ts';
import { admit } from './entry_access.ts';
import { maptrack } from './maptrack.ts';
import { grantTable } from './table.ts';

/** Before the domain starts: entry `ref` grants `mfn` to `mapper`, who maps it for as long as the domain lives. */
export function seedGrant(host: Host, domain: Domain, ref: number, mapper: Domain, mfn: number): void {
  const { memory } = host;
  const table = grantTable(host, domain);
  const active = table.active(ref);
  const maddr = table.entry(ref);
  grant_entry_v1.write(memory.view, maddr, { flags: GTF_permit_access, domid: mapper.id, frame: mfn });
  memory.written(maddr, grant_entry_v1.size);
  const isMapped =
    admit(memory, table, ref, active, { domid: mapper.id, isReadonly: false, isMapping: true }) &&
    holdOwnFrame(memory, domain, mfn) === undefined;
  if (!isMapped) throw new Error(`bug: frame 0x${mfn.toString(16)} cannot be granted to domain ${mapper.id}`);
  active.domid = mapper.id;
  active.page = { mfn, start: 0, length: 4096, isSubPage: false, through: undefined };
  active.pin(GNTMAP_host_map, 1);
  const mappings = maptrack.of(mapper);
  mappings.set(mappings.take(0), { granter: domain, ref, flags: GNTMAP_host_map });
}
