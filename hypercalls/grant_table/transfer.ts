/** GNTTABOP_transfer: a page goes to a domain that has an entry ready for it (xen:common/grant_table.c gnttab_transfer). */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import { stealPage } from '../../emulator/memory/reservation.ts';
import {
  GNTST,
  GTF_accept_transfer,
  GTF_transfer_committed,
  GTF_transfer_completed,
  grant_entry_v1,
  grant_entry_v2_full_page,
} from '../abi/grant_table.ts';
import type { Call } from '../call.ts';
import { flagsOf } from './entry_access.ts';
import { grantTable } from './table.ts';

interface TransferArgs {
  readonly mfn: bigint;
  readonly domid: number;
  readonly ref: number;
}

/** The status. A page once taken from the caller is gone, whatever else fails. */
export function transfer(call: Call, { mfn: given, domid, ref }: TransferArgs): number {
  const { host, domain } = call;
  const { memory } = host;
  const mfn = Number(given);
  if (!stealPage(memory, domain, mfn)) return GNTST.bad_page;
  const receiver = host.domains.get(domid);
  const isWelcome = receiver !== undefined && memory.pageCount(receiver.id) < receiver.maxPages && commit(host, receiver, ref, domain.id);
  if (!isWelcome) {
    memory.putPage(mfn);
    return receiver === undefined ? GNTST.bad_domain : GNTST.general_error;
  }
  memory.reassign(mfn, receiver.id);
  complete(host, receiver, ref, mfn);
  return GNTST.okay;
}

/** Whether the entry waits for a page of this domain; from then on the guest leaves it alone. */
function commit(host: Host, receiver: Domain, ref: number, domid: number): boolean {
  const { memory } = host;
  const table = grantTable(host, receiver);
  if (ref >= table.entryCount) return false;
  const maddr = table.entry(ref);
  if (flagsOf(memory, table, ref) !== GTF_accept_transfer) return false;
  if (memory.view.getUint16(maddr + grant_entry_v1.offset.domid, true) !== domid) return false;
  memory.view.setUint16(maddr + grant_entry_v1.offset.flags, GTF_accept_transfer | GTF_transfer_committed, true);
  return true;
}

/** The new page has the pfn that stood in the entry, where its mfn now is. */
function complete(host: Host, receiver: Domain, ref: number, mfn: number): void {
  const { memory } = host;
  const { view } = memory;
  const table = grantTable(host, receiver);
  const maddr = table.entry(ref);
  if (table.version === 1) {
    const frame = maddr + grant_entry_v1.offset.frame;
    memory.setM2p(mfn, BigInt(view.getUint32(frame, true)));
    view.setUint32(frame, mfn, true);
  } else {
    const frame = maddr + grant_entry_v2_full_page.offset.frame;
    memory.setM2p(mfn, view.getBigUint64(frame, true));
    view.setBigUint64(frame, BigInt(mfn), true);
  }
  view.setUint16(maddr + grant_entry_v1.offset.flags, flagsOf(memory, table, ref) | GTF_transfer_completed, true);
  memory.written(maddr, grant_entry_v2_full_page.size);
}
