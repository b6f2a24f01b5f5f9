/**
 * Grants between domains. What one domain alone can see is compared with the real Xen by guests/grants; here are the
 * cases that take two or three, and the ends of domains; grant_random.test.ts has random calls.
 */
import t, { type Test } from 'tap';
import { checkInvariants } from '../../emulator/memory/invariants.ts';
import { OWNER_FREE } from '../../emulator/memory/machine_memory.ts';
import * as abi from '../../hypercalls/abi/grant_table.ts';
import { gnttab_cache_flush, gnttab_query_size, gnttab_transfer } from '../../hypercalls/abi/grant_table.ts';
import { releaseDomain } from '../../hypercalls/domain_release.ts';
import { bind, connect, initControl, isUsable, portsOf, send } from '../../hypercalls/event_channel/ports.ts';
import { checkGrants } from '../../hypercalls/grant_table/check.ts';
import { maptrack } from '../../hypercalls/grant_table/maptrack.ts';
import { grantTable } from '../../hypercalls/grant_table/table.ts';
import { moveVcpuInfo } from '../../hypercalls/vcpu/info.ts';
import { type GrantGuest, makeGuests } from '../support/grant_guest.ts';

const { GNTST, GNTMAP_device_map: DEVICE, GNTMAP_host_map: HOST, GNTMAP_readonly: READONLY, GNTMAP_contains_pte: PTE } = abi;
const SOURCE = abi.GNTCOPY_source_gref;
const DEST = abi.GNTCOPY_dest_gref;

function balanced(t: Test, guest: GrantGuest, claim = 'the books add up'): void {
  t.equal(checkInvariants(guest.memory) ?? checkGrants(guest.machine.host), undefined, claim);
}

t.test('a page of another domain is mapped', async (t) => {
  const [mine, yours] = makeGuests(2) as [GrantGuest, GrantGuest];
  const page = yours.page(0);
  page.bytes[7] = 42;
  yours.grant(8, mine.id, page.mfn);

  const writable = mine.map(yours.id, 8, mine.window(0), HOST);
  t.equal(writable.status, GNTST.okay);
  t.equal(writable.bus, BigInt(page.mfn) << 12n, 'its machine address is told');
  t.equal(mine.access(mine.window(0)), 'write');
  t.equal(yours.flags(8), 0x19, 'its owner sees that it is read and written');
  balanced(t, mine);

  const readonly = mine.map(yours.id, 8, mine.window(1), HOST | READONLY);
  t.equal(mine.access(mine.window(1)), 'read');
  t.equal(yours.map(yours.id, 8, yours.window(0), HOST | READONLY).status, GNTST.general_error, 'its owner is not who it is granted to');
  balanced(t, mine);

  t.equal(mine.unmap(writable.handle, mine.window(0)), GNTST.okay);
  t.equal(mine.access(mine.window(0)), 'no');
  t.equal(yours.flags(8), 9);
  t.equal(mine.unmap(readonly.handle, mine.window(1)), GNTST.okay);
  t.equal(yours.flags(8), 1);
  t.equal(yours.unmap(readonly.handle, mine.window(1)), GNTST.bad_handle, "a handle is its domain's own");
  balanced(t, mine);

  yours.grant(9, mine.id, mine.page(0).mfn);
  t.equal(mine.map(yours.id, 9, mine.window(0), HOST).status, GNTST.bad_page, 'only its own pages can be granted');
  yours.grant(9, 3, page.mfn);
  t.equal(mine.map(yours.id, 9, mine.window(0), HOST).status, GNTST.general_error, 'granted to somebody else');
  balanced(t, mine);
});

t.test('a mapping is its own kind of page-table entry', async (t) => {
  const [mine, yours] = makeGuests(2) as [GrantGuest, GrantGuest];
  const { mfn } = yours.page(0);
  const frame = BigInt(mfn) << 12n;
  const window = mine.window(0);
  yours.grant(8, mine.id, mfn);
  const { handle } = mine.map(yours.id, 8, window, HOST | READONLY);
  t.equal(mine.updateVa(window, frame | 5n), 0, 'bits that change no rights may change');
  t.equal(mine.updateVa(window, frame | 7n), -16, 'it cannot be made writable');
  t.equal(mine.updateVa(mine.window(1), frame | 5n), -16, 'nor mapped elsewhere');
  t.equal(mine.access(window), 'read');
  balanced(t, mine);

  t.equal(mine.updateVa(window, 0n), 0, 'it can be taken away');
  t.equal(mine.access(window), 'no');
  t.equal(yours.flags(8), 9, 'but is used as before,');
  t.equal(mine.unmap(handle, window), GNTST.general_error, 'and cannot be unmapped');
  t.equal(mine.updateVa(window, frame | 5n), -16, 'nor put back');
  balanced(t, mine);
  t.equal(yours.decreaseReservation(mfn), 1);
  t.equal(yours.memory.owner[mfn], yours.id, 'while its owner maps it, it stays');
  yours.updateVa(yours.page(0).vaddr, 0n);
  t.equal(yours.memory.owner[mfn], OWNER_FREE, 'then it is free');
  t.equal(mine.map(yours.id, 8, window, HOST | READONLY).status, GNTST.general_error, 'the reference still leads there, and to nothing');
  t.equal(mine.copy({ u: 8n, domid: yours.id }, { u: BigInt(mine.page(0).mfn) }, 8, SOURCE), GNTST.bad_domain);
  balanced(t, mine);
});

t.test('domains end', async (t) => {
  await t.test('the granter: what is mapped stays until it is unmapped', async (t) => {
    const [mine, yours] = makeGuests(2) as [GrantGuest, GrantGuest];
    const { memory, host } = mine.machine;
    const { mfn, bytes } = yours.page(0);
    bytes[0] = 7;
    yours.grant(8, mine.id, mfn);
    const forHost = mine.map(yours.id, 8, mine.window(0), HOST);
    const forDevice = mine.map(yours.id, 8, 0n, DEVICE | READONLY);
    const before = memory.freeCount + memory.pageCount(yours.id);
    releaseDomain(host, yours.domain);
    t.ok(memory.freeCount > before, 'all else is free');
    t.equal(memory.pageCount(yours.id), 1);
    t.equal(mine.access(mine.window(0)), 'write');
    t.equal(bytes[0], 7);
    balanced(t, mine);
    t.equal(mine.map(yours.id, 8, mine.window(1), HOST).status, GNTST.bad_gntref, 'no more mappings');
    t.equal(mine.unmap(forHost.handle, mine.window(0)), GNTST.okay);
    t.equal(memory.owner[mfn], yours.id);
    t.equal(mine.unmap(forDevice.handle, 0n, forDevice.bus), GNTST.okay);
    t.equal(memory.owner[mfn], OWNER_FREE);
    balanced(t, mine);
  });

  await t.test('the mapper: its mappings are gone', async (t) => {
    const [mine, yours] = makeGuests(2) as [GrantGuest, GrantGuest];
    yours.grant(8, mine.id, yours.page(0).mfn);
    yours.grant(9, mine.id, yours.page(1).mfn);
    mine.map(yours.id, 8, mine.window(0), HOST | DEVICE);
    mine.map(yours.id, 8, mine.window(1), HOST | READONLY);
    mine.map(yours.id, 9, 0n, DEVICE | READONLY);
    const clobbered = mine.map(yours.id, 9, mine.window(2), HOST);
    mine.updateVa(mine.window(2), 0n);
    t.equal(clobbered.status, 0);
    yours.enter();
    releaseDomain(mine.machine.host, mine.domain);
    t.same([yours.flags(8), yours.flags(9)], [1, 1]);
    balanced(t, yours);
    t.equal(yours.decreaseReservation(yours.page(0).mfn), 1);
    yours.updateVa(yours.page(0).vaddr, 0n);
    t.equal(yours.memory.owner[yours.page(0).mfn], OWNER_FREE, 'nobody holds it any more');
  });

  await t.test('its event channels: the other ends wait for it, and events are lost', async (t) => {
    const [mine, yours] = makeGuests(2) as [GrantGuest, GrantGuest];
    const { host, memory } = mine.machine;
    const freePort = ({ domain }: GrantGuest) => portsOf.of(domain).findFree(host, domain)!;
    const near = freePort(mine);
    connect(yours.domain, freePort(yours), mine.domain, near);
    bind(freePort(yours), { kind: 'ipi' });
    yours.enter();
    t.equal(initControl(host, yours.vcpu, BigInt(yours.page(2).mfn), 0), undefined, 'with FIFO queues');
    releaseDomain(host, yours.domain);
    t.same(near.binding, { kind: 'unbound', remoteDomid: yours.id });
    t.equal(send(host, mine.domain, near), undefined);
    t.notOk([...portsOf.of(yours.domain)].some(isUsable), 'its own ports are closed');
    t.equal(memory.pageCount(yours.id), 0);
    balanced(t, mine);
  });

  await t.test('both: no frame is left', async (t) => {
    const guests = makeGuests(2);
    const [mine, yours] = guests as [GrantGuest, GrantGuest];
    const { memory, host } = mine.machine;
    yours.grant(8, mine.id, yours.page(0).mfn);
    mine.grant(8, yours.id, mine.page(0).mfn);
    mine.map(yours.id, 8, mine.window(0), HOST);
    yours.map(mine.id, 8, yours.window(0), HOST | DEVICE);
    yours.setVersion(2);
    yours.enter();
    t.equal(moveVcpuInfo(host, yours.vcpu, BigInt(yours.page(2).mfn), 0), undefined);
    t.equal(yours.call(33, 28, yours.vaddrOf(0x200)), -22, 'no frame for pirq_eoi_gmfn');
    memory.view.setBigUint64(yours.p2m[0x200]! * 4096, BigInt(yours.page(3).mfn), true);
    t.equal(yours.call(33, 28, yours.vaddrOf(0x200)), 0);
    balanced(t, mine);
    for (const { domain } of guests) releaseDomain(host, domain);
    for (const { id } of guests) {
      t.equal(memory.pageCount(id), 0);
      t.notOk(memory.owner.includes(id));
    }
    balanced(t, mine);
  });
});

t.test('transitive grants', async (t) => {
  const [a, b, c] = makeGuests(3) as [GrantGuest, GrantGuest, GrantGuest];
  const target = c.page(0);
  const into = { u: BigInt(target.mfn) };
  const from = (ref: number, offset = 0) => ({ u: BigInt(ref), domid: b.id, offset });
  for (let i = 0; i < 64; i++) a.page(0).bytes[i] = i + 1;
  t.equal(b.setVersion(2), 0);
  t.equal(a.setVersion(2), 0);
  a.grant(8, b.id, a.page(0).mfn);
  a.subPage(9, b.id, a.page(0).mfn, 16, 16);
  a.grant(10, b.id, a.page(0).mfn, abi.GTF_permit_access | abi.GTF_readonly);
  a.grant(11, c.id, a.page(0).mfn);
  a.transitive(12, b.id, c.id, 8);
  b.transitive(8, c.id, a.id, 8);
  b.transitive(9, c.id, a.id, 9);
  b.transitive(10, c.id, a.id, 10);
  b.transitive(11, c.id, a.id, 11);
  b.transitive(12, c.id, a.id, 12);
  b.transitive(13, c.id, a.id, 0xffff);
  b.transitive(14, a.id, a.id, 8);
  t.equal(c.copy(from(8), into, 64, SOURCE), GNTST.okay);
  t.same(target.bytes.subarray(0, 64), a.page(0).bytes.subarray(0, 64), 'the bytes of the domain behind');
  target.bytes[100] = 99;
  t.equal(c.copy({ ...into, offset: 100 }, from(8, 5), 1, DEST), GNTST.okay, 'and the other way');
  t.equal(a.page(0).bytes[5], 99);
  t.equal(c.copy(from(9, 16), into, 16, SOURCE), GNTST.okay, 'within a part');
  t.equal(c.copy(from(9, 15), into, 16, SOURCE), GNTST.general_error, 'and not beyond');
  t.equal(c.copy(from(10), into, 8, SOURCE), GNTST.okay);
  t.equal(c.copy(into, from(10), 8, DEST), GNTST.general_error, 'the grant behind is read-only');
  t.equal(c.copy(from(11), into, 8, SOURCE), GNTST.general_error, 'the grant behind is not for the domain between');
  t.equal(c.copy(from(12), into, 8, SOURCE), GNTST.general_error, 'two steps are too many');
  t.equal(c.copy(from(13), into, 8, SOURCE), GNTST.bad_gntref);
  t.equal(c.copy(from(14), into, 8, SOURCE), GNTST.general_error, 'for another domain');
  t.equal(c.map(b.id, 8, c.window(0), HOST).status, GNTST.general_error, 'never mapped');
  t.equal(a.copy({ u: 14n, domid: b.id }, { u: BigInt(a.page(1).mfn) }, 8, SOURCE), GNTST.okay, 'back to where it comes from');
  b.grant(15, c.id, b.page(0).mfn);
  const { handle } = c.map(b.id, 15, c.window(0), HOST | READONLY);
  b.transitive(15, c.id, a.id, 8);
  let tries = 0;
  c.onAgain = () => {
    if (++tries === 3) b.grant(15, c.id, b.page(0).mfn);
  };
  t.equal(c.copy(from(15), into, 8, SOURCE), GNTST.okay, 'a mapped grant that becomes transitive is tried as long as it is one');
  t.equal(tries, 3);
  c.onAgain = () => {};
  t.equal(c.unmap(handle, c.window(0)), GNTST.okay);
  for (const ref of [8, 9, 10, 11, 12, 13]) t.equal(b.flags(ref), abi.GTF_transitive);
  balanced(t, a);
});

t.test('a page is transferred', async (t) => {
  const [mine, yours] = makeGuests(2) as [GrantGuest, GrantGuest];
  const { memory } = mine;
  const give = (i: number, ref: number, domid = yours.id) => {
    const { mfn, vaddr } = mine.page(i);
    mine.updateVa(vaddr, 0n);
    return mine.status(4, gnttab_transfer, { mfn: BigInt(mfn), domid, ref });
  };
  const { mfn } = mine.page(0);
  mine.page(0).bytes[9] = 77;
  yours.grant(8, mine.id, 0x4567, abi.GTF_accept_transfer);
  t.equal(mine.status(4, gnttab_transfer, { mfn: BigInt(mfn), domid: yours.id, ref: 8 }), GNTST.bad_page, 'not while it is mapped');
  t.equal(give(0, 8), GNTST.general_error, 'the receiver may not have more pages');
  t.equal(memory.owner[mfn], OWNER_FREE, 'it is gone');
  yours.domain.maxPages++;
  const second = mine.page(1).mfn;
  mine.page(1).bytes[9] = 77;
  const pages = [memory.pageCount(mine.id), memory.pageCount(yours.id)];
  t.equal(give(1, 8), GNTST.okay);
  t.same([memory.pageCount(mine.id), memory.pageCount(yours.id)], [pages[0]! - 1, pages[1]! + 1]);
  t.equal(memory.owner[second], yours.id);
  t.equal(memory.frameBytes(second)[9], 77, 'with its content');
  t.equal(memory.getM2p(second), 0x4567n, 'under the number that the receiver gave');
  t.equal(yours.flags(8), abi.GTF_accept_transfer | abi.GTF_transfer_committed | abi.GTF_transfer_completed);
  t.equal(memory.view.getUint32(yours.entry(8) + 4, true), second, 'and the receiver is told the frame');
  balanced(t, mine);
  yours.grant(9, mine.id, yours.page(0).mfn);
  const third = mine.page(2).mfn;
  mine.grant(9, yours.id, third);
  const { handle } = yours.map(mine.id, 9, yours.window(0), HOST | READONLY);
  yours.domain.maxPages++;
  yours.grant(10, mine.id, 0, abi.GTF_accept_transfer);
  t.equal(give(2, 10), GNTST.bad_page, 'not while another domain maps it');
  t.equal(yours.unmap(handle, yours.window(0)), GNTST.okay);
  t.equal(give(2, 10), GNTST.okay);
  balanced(t, mine);
});

t.test('an entry that was used in another layout is used where it lies now', async (t) => {
  const [mine, yours] = makeGuests(2) as [GrantGuest, GrantGuest];
  const { memory, host } = mine.machine;
  const table = grantTable(host, yours.domain);
  const ref = 300;
  const use = (claim: string) => {
    yours.grant(ref, mine.id, yours.page(0).mfn);
    const { status, handle } = mine.map(yours.id, ref, mine.window(0), HOST);
    t.equal(status, GNTST.okay, claim);
    t.equal(memory.view.getUint16(table.status(ref), true) & 0x18, 0x18, 'it is marked');
    t.equal(mine.unmap(handle, mine.window(0)), GNTST.okay);
    t.equal(memory.view.getUint16(table.status(ref), true) & 0x18, 0, 'and no more');
    balanced(t, mine);
  };
  use('version 1');
  yours.setVersion(2);
  t.equal(mine.map(yours.id, ref, mine.window(0), HOST).status, GNTST.bad_gntref, 'there are fewer in a frame');
  yours.setupTable(2);
  use('version 2, with another frame');
  yours.setVersion(1);
  use('version 1 again');
});

t.test('who may see whose table', async (t) => {
  const [initial, other] = makeGuests(2, true) as [GrantGuest, GrantGuest];
  t.equal(other.setupTable(1, 0), GNTST.permission_denied);
  t.equal(initial.setupTable(3, other.id), GNTST.okay, 'the initial domain may grow any');
  t.equal(initial.status(6, gnttab_query_size, { dom: other.id }), GNTST.okay);
  t.equal(other.setupTable(1), GNTST.okay);
  balanced(t, initial);
});

t.test('caches of a mapped page', async (t) => {
  const [mine, yours] = makeGuests(2) as [GrantGuest, GrantGuest];
  const { mfn } = yours.page(0);
  const flush = (op: number, cmd = 12) => mine.op(cmd, gnttab_cache_flush, [{ a: BigInt(mfn) << 12n, length: 64, op }]).answer;
  yours.grant(600, mine.id, mfn);
  t.equal(yours.setupTable(2), GNTST.okay);
  yours.grant(600, mine.id, mfn);
  t.equal(flush(abi.GNTTAB_CACHE_CLEAN), -22, 'not mapped');
  mine.map(yours.id, 600, mine.window(0), HOST);
  t.equal(flush(abi.GNTTAB_CACHE_CLEAN), 0);
  t.equal(flush(abi.GNTTAB_CACHE_INVAL), -95);
  t.equal(flush(abi.GNTTAB_CACHE_CLEAN, 0x100c), -22, 'the search begins behind it');
});

t.test('limits', async (t) => {
  const [mine, yours] = makeGuests(2) as [GrantGuest, GrantGuest];
  const { memory } = mine;
  await t.test('handles: a vCPU takes from another when no more are made', async (t) => {
    const mappings = maptrack.of(mine.domain);
    mappings.maxFrames = 1;
    const taken: number[] = [];
    for (let handle = mappings.take(0); handle >= 0; handle = mappings.take(0)) taken.push(handle);
    t.same(taken, [...Array(255).keys()], 'from 0 on, the last stays');
    t.equal(mine.map(yours.id, 0, mine.window(0), HOST).status, GNTST.no_space);
    for (const handle of [5, 3, 4]) mappings.put(handle);
    t.equal(mappings.take(1), 5, 'the second vCPU needs one for itself, and gets the next');
    t.equal(mappings.take(1), 3);
    t.equal(mappings.take(1), -1, 'each keeps one');
    t.equal(mappings.take(0), -1);
  });
  await t.test('memory: a table grows wholly or not at all', async (t) => {
    yours.setupTable(1);
    const taken: number[] = [];
    while (memory.freeCount > 2) taken.push(memory.allocate(-2));
    t.equal(yours.setupTable(4), GNTST.general_error);
    t.equal(memory.freeCount, 2);
    t.equal(yours.setupTable(3), GNTST.okay);
    t.equal(yours.setVersion(2), -12, 'no frame for status words');
    t.equal(yours.setupTable(3), GNTST.okay, 'version 1 as before');
    for (const mfn of taken) memory.putPage(mfn);
    t.equal(yours.setVersion(2), 0);
  });
});

t.test('a PVH guest has the operations that are no PV affair', async (t) => {
  const [mine, yours] = makeGuests(2) as [GrantGuest, GrantGuest];
  mine.enter();
  Object.assign(mine.domain, { type: 'pvh', isPv: false });
  for (const cmd of [3, 4, 7, 9, 12, 13, 0x100c]) t.equal(mine.call(20, cmd, mine.vaddrOf(0x200), 1), -38, `operation ${cmd}`);
  for (const cmd of [0, 1, 5, 11]) t.equal(mine.call(20, cmd, mine.vaddrOf(0x200), 0), 0, `operation ${cmd}`);
  yours.grant(8, mine.id, yours.page(0).mfn);
  for (const flags of [DEVICE, HOST | abi.GNTMAP_application_map, HOST | PTE]) {
    t.equal(mine.map(yours.id, 8, 0n, flags).status, GNTST.general_error, `no mapping with flags ${flags}`);
  }
  t.equal(yours.flags(8), 1);
});
