/**
 * A guest changes its page tables with mmu_update, mmuext_op and update_va_mapping: what is allowed happens, what is not
 * gets the errno that the real Xen gives (guests/pagetables runs the same cases there), and no reference is ever lost.
 */
import t from 'tap';
import { descriptorTables, mapLdtOnFault, setGdt } from '../../emulator/memory/descriptor_mapping.ts';
import { findWritableL1, writeL1Entry } from '../../emulator/memory/page_table_update.ts';
import { PGT_seg_desc_page } from '../../emulator/memory/page_type.ts';
import { pvCr3 } from '../../emulator/memory/pv_cr3.ts';
import { decreaseReservation, exchange, increaseReservation, isOrderAllowed, populatePhysmap } from '../../emulator/memory/reservation.ts';
import { sanitizeDescriptor } from '../../emulator/memory/segment_descriptor.ts';
import type { ErrnoName } from '../../hypercalls/abi/errno.ts';
import { mmuextCmds as ext } from '../../hypercalls/abi/mmu.ts';
import { balanced, DATA, DOMID_IO, DOMID_XEN, DONE, expectErrno, Guest, REQUESTS, RO, RW, SELF, UNMAPPED } from '../support/mmu_guest.ts';

t.test('update_va_mapping', async (t) => {
  const guest = new Guest({ others: 1 });
  const { tables } = guest;
  const va = guest.vaddrOf(DATA);
  const frame = guest.maddrOf(DATA);
  const foreign = BigInt(guest.memory.owner.indexOf(2)) << 12n;
  const free = BigInt(guest.memory.owner.lastIndexOf(-1)) << 12n;
  // biome-ignore format: one case a line
  const cases: [claim: string, va: bigint, val: bigint, flags: bigint | number, expected: ErrnoName | 0, access?: string][] = [
    ['read-only',                          va, frame | RO,                    2, 0, 'read'],
    ['not present, with a garbage frame',  va, 0x3f_ffff_f000n,               2, 0, 'no'],
    ['writable again',                     va, frame | RW,                    2, 0, 'write'],
    ['without US',                         va, frame | 3n,                    2, 0, 'write'],
    ['a page table, writable',             va, guest.maddrOf(tables.l2) | RW, 2, 'EBUSY', 'write'],
    ['a page table, read-only',            va, guest.maddrOf(tables.l2) | RO, 2, 0, 'read'],
    ['back',                               va, frame | RW,                    6, 0, 'write'],
    ['a frame that does not exist',        va, (1n << 39n) | RW,              0, 'EPERM', 'write'],
    ['frame 2^40-1, Xen\'s invalid one',   va, 0xf_ffff_ffff_f000n | RW,      0, 'EINVAL'],
    ['I/O memory',                         va, 0xb8000n | RW,                 0, 'EPERM'],
    ['a frame of another domain',          va, foreign | RO,                  0, 'EBUSY', 'write'],
    ['a free frame',                       va, free | RO,                     0, 'EBUSY'],
    ["the m2p's frame",                    va, (BigInt(guest.memory.m2pMfn) << 12n) | RO, 0, 'EBUSY'],
    ['write-through',                      va, frame | RW | 8n,               0, 'EINVAL'],
    ['uncached',                           va, frame | RW | 16n,              0, 'EINVAL'],
    ['PAT',                                va, frame | RW | 128n,             0, 'EINVAL'],
    ['no-execute and software bits',       va, frame | RW | 0xfff0_0000_0000_0e00n, 2, 0, 'write'],
    ['at an address without an L1',        0x1234_5000n, frame | RW,          0, 'EINVAL'],
    ["in ring -1's range",                 0xffff_8300_0000_0000n, frame | RW, 0, 'EINVAL'],
    ['in the m2p',                         0xffff_8000_0000_0000n, frame | RW, 0, 'EINVAL'],
    ['at a non-canonical address',         0x8000_0000_0000n, frame | RW,     0, 'EINVAL'],
    ['a mask of vCPUs that is none',       va, frame | RW,                    UNMAPPED | 1n, 'EFAULT'],
    ['flush type 3',                       va, frame | RW,                    3, 0],
  ];
  for (const [claim, at, val, flags, expected, access] of cases) {
    expectErrno(t, guest.uvm(at, val, flags), expected, claim);
    if (access !== undefined) t.equal(guest.access(va), access, `${claim}: the guest may ${access}`);
    balanced(t, guest);
  }
  const other = (domid: number) => guest.call(22, va, frame | RW, 0, domid);
  expectErrno(t, other(SELF), 0, 'otherdomain: itself');
  expectErrno(t, other(999), 'ESRCH', 'otherdomain: none');
  expectErrno(t, other(1), 'ESRCH', 'otherdomain: itself by number');
  expectErrno(t, other(2), 'EPERM', 'otherdomain: another, unprivileged');
});

t.test('flags of an L1 entry as they read back', async (t) => {
  const guest = new Guest();
  const entry = (flags: bigint) => {
    guest.remap(DATA, flags);
    return guest.memory.view.getBigUint64(Number(guest.l1Maddr(DATA)), true) & 0xfff0_0000_0000_0fffn;
  };
  t.equal(entry(7n), 0x107n, 'a user page is global');
  t.equal(entry(3n), 0x0010_0000_0000_0007n, 'a kernel page is marked in bit 52');
  t.equal(entry(0x0010_0000_0000_0007n), 0x0010_0000_0000_0007n, 'and keeps that when written back');
  t.equal(entry(0x103n), 0x0010_0000_0000_0107n, 'G stays as written');
  for (const bit of [5, 6, 9, 10, 11, 53, 62, 63])
    t.equal(entry(5n | (1n << BigInt(bit))), 0x105n | (1n << BigInt(bit)), `bit ${bit} is the guest's`);
});

t.test('mmu_update', async (t) => {
  const guest = new Guest();
  const { tables } = guest;
  const l1e = guest.l1Maddr(DATA);
  const frame = guest.maddrOf(DATA);
  const one = (ptr: bigint, val: bigint, foreigndom?: number) => guest.mmuUpdate([[ptr, val]], foreigndom);
  // biome-ignore format: one case a line
  const cases: [claim: string, ptr: bigint, val: bigint, expected: ErrnoName | 0, foreigndom?: number][] = [
    ['an L1 entry',                         l1e, frame | RO,                                   0],
    ['command 3',                           l1e | 3n, frame | RO,                              0],
    ['command 4',                           l1e | 4n, frame | RO,                              'ENOSYS'],
    ['an L2 entry that is a large page',    guest.maddrOf(tables.l2) + 0x800n, frame | RW | 128n, 'EINVAL'],
    ['a data page as L1',                   guest.maddrOf(tables.l2) + 0x800n, guest.maddrOf(DATA + 1) | RW, 'EINVAL'],
    ['an L2 as L1, writable',               guest.maddrOf(tables.l2) + 0x800n, guest.maddrOf(tables.l2) | RW, 'EINVAL'],
    ['no frame as L1',                      guest.maddrOf(tables.l2) + 0x800n, (1n << 39n) | RW, 'EINVAL'],
    ['an L1 as L2',                         guest.maddrOf(tables.l3), guest.maddrOf(tables.l1) | RW, 'EINVAL'],
    ['L4 slot 255',                         guest.maddrOf(tables.l4) + 255n * 8n, 0n,          0],
    ['L4 slot 256',                         guest.maddrOf(tables.l4) + 256n * 8n, 0n,          'EINVAL'],
    ['L4 slot 271',                         guest.maddrOf(tables.l4) + 271n * 8n, 0n,          'EINVAL'],
    ['L4 slot 272',                         guest.maddrOf(tables.l4) + 272n * 8n, 0n,          0],
    ['a data page, which is just written',  guest.maddrOf(DATA + 1) + 8n, 0x1234n,             0],
    ['no frame as table',                   1n << 39n, 0n,                                     'EINVAL'],
    ['frame 0 as table',                    0n, 0n,                                            'EINVAL'],
    ['an m2p entry',                        frame | 1n, 0x777n,                                0],
    ['the m2p entry of no frame',           (1n << 39n) | 1n, 1n,                              'EINVAL'],
    ['of nobody',                           l1e, frame | RO,                                   'ESRCH', 999],
    ['of itself by number',                 l1e, frame | RO,                                   'ESRCH', 1],
    ['of DOMID_XEN',                        l1e, frame | RO,                                   'EPERM', DOMID_XEN],
    ['of DOMID_IO, a page already there',   l1e, frame | RO,                                   0, DOMID_IO],
    ['tables of nobody',                    l1e, frame | RO,                                   'ESRCH', (1000 << 16) | SELF],
  ];
  for (const [claim, ptr, val, expected, foreigndom] of cases) {
    expectErrno(t, one(ptr, val, foreigndom), expected, claim);
    balanced(t, guest);
  }
  t.equal(guest.peek(DATA + 1, 1), 0x1234n);
  t.equal(guest.memory.getM2p(guest.p2m[DATA]!), 0x777n);

  guest.mmuUpdate([[l1e, frame | RW | 0x60n]]);
  guest.mmuUpdate([[l1e | 2n, frame | RO]]);
  t.equal(guest.memory.view.getBigUint64(Number(l1e), true) & 0x60n, 0x60n, 'PRESERVE_AD keeps A and D');
  expectErrno(
    t,
    guest.mmuUpdate([
      [l1e, frame | RO],
      [l1e, (1n << 39n) | RO],
      [l1e, 0n],
    ]),
    'EPERM',
    'the second of three is bad',
  );
  t.equal(guest.done, 1, 'one was done');
  t.equal(guest.access(guest.vaddrOf(DATA)), 'read', 'the third was not');
  guest.poke(DONE, 99);
  expectErrno(t, guest.mmuUpdate([]), 0, 'nothing to do');
  t.equal(guest.done, 0);
  expectErrno(t, guest.call(1, UNMAPPED, 1, 0, SELF), 'EFAULT', 'requests at an unmapped address');
  expectErrno(t, guest.call(1, 0xffff_8300_0000_0000n, 1, 0, SELF), 'EFAULT', "requests in ring -1's memory");
  expectErrno(t, guest.call(1, guest.vaddrOf(REQUESTS), 0, UNMAPPED, SELF), 0, 'a wild done pointer is ignored');
});

t.test('a long batch goes on where it stopped, and counts it all', async (t) => {
  const guest = new Guest();
  const count = 1500;
  for (let i = 0; i < count; i++) guest.poke(0x220 + (i >> 8), ...[]);
  const requests = 0x220;
  for (let i = 0; i < count; i++) {
    const at = guest.p2m[requests + (i >> 8)]! * 4096 + (i & 255) * 16;
    guest.memory.view.setBigUint64(at, guest.maddrOf(DATA) | 1n, true);
    guest.memory.view.setBigUint64(at + 8, BigInt(i), true);
  }
  expectErrno(t, guest.call(1, guest.vaddrOf(requests), count, guest.vaddrOf(DONE), SELF), 0, `${count} updates`);
  t.equal(guest.done, count);
  t.equal(guest.memory.getM2p(guest.p2m[DATA]!), BigInt(count - 1));
});

t.test('tables are linked, pinned, switched to and given up', async (t) => {
  const guest = new Guest();
  const { memory } = guest;
  const mfn = (pfn: number) => guest.p2m[pfn]!;
  const slot1 = guest.maddrOf(guest.tables.l4) + 8n;
  const chain = { l4: 0x300, l3: 0x301, l2: 0x302, l1: 0x303 };
  guest.poke(chain.l3, guest.maddrOf(chain.l2) | RW);
  guest.poke(chain.l2, guest.maddrOf(chain.l1) | RW);
  guest.poke(chain.l1, guest.maddrOf(DATA) | RW);
  expectErrno(t, guest.mmuUpdate([[slot1, guest.maddrOf(chain.l3) | RW]]), 'EINVAL', 'an L3 that is mapped writable');
  guest.remap(chain.l3, RO);
  expectErrno(t, guest.mmuUpdate([[slot1, guest.maddrOf(chain.l3) | RW]]), 'EINVAL', 'an L3 whose L2 is mapped writable');
  balanced(t, guest);
  const made = guest.chain(chain.l4);
  expectErrno(t, guest.mmuUpdate([[slot1, guest.maddrOf(chain.l3) | RW]]), 0, 'all read-only');
  t.equal(guest.access(1n << 39n), 'write', 'the data page is there');
  for (const pfn of [made.l3, made.l2, made.l1])
    expectErrno(t, guest.remap(pfn, RW), 'EBUSY', `table ${pfn.toString(16)} cannot be mapped writable`);
  expectErrno(t, guest.mmuext([[ext.MMUEXT_CLEAR_PAGE, mfn(made.l1)]]), 'EINVAL', 'nor cleared');
  expectErrno(t, guest.mmuext([[ext.MMUEXT_COPY_PAGE, mfn(made.l1), mfn(DATA)]]), 'EINVAL', 'nor copied over');
  balanced(t, guest);

  expectErrno(t, guest.mmuext([[ext.MMUEXT_PIN_L4_TABLE, mfn(made.l4)]]), 0, 'pin an L4');
  t.equal(guest.peek(made.l4, 256), 0n, 'it has no m2p yet');
  t.not(guest.peek(made.l4, 260), 0n, "but ring -1's other slots");
  expectErrno(t, guest.mmuext([[ext.MMUEXT_PIN_L4_TABLE, mfn(made.l4)]]), 'EINVAL', 'pin it twice');
  expectErrno(t, guest.mmuext([[ext.MMUEXT_PIN_L3_TABLE, mfn(made.l4)]]), 'EINVAL', 'pin it as an L3');
  expectErrno(t, guest.mmuext([[ext.MMUEXT_UNPIN_TABLE, mfn(made.l3)]]), 'EINVAL', 'unpin what is not pinned');
  expectErrno(t, guest.mmuext([[ext.MMUEXT_PIN_L1_TABLE, 0]]), 'EINVAL', 'pin frame 0');
  expectErrno(t, guest.mmuext([[ext.MMUEXT_NEW_BASEPTR, mfn(made.l3)]]), 'EINVAL', 'switch to an L3');
  expectErrno(t, guest.mmuext([[ext.MMUEXT_NEW_BASEPTR, 0]]), 'EINVAL', 'switch to frame 0');
  expectErrno(t, guest.mmuext([[ext.MMUEXT_NEW_BASEPTR, 1n << 50n]]), 'EINVAL', 'switch to no frame');

  // The kernel itself must be in the new L4, or its requests could not be read.
  guest.mmuUpdate([[guest.maddrOf(made.l4) + 511n * 8n, guest.peek(guest.tables.l4, 511)]]);
  expectErrno(t, guest.mmuext([[ext.MMUEXT_NEW_BASEPTR, mfn(made.l4)]]), 0, 'switch to it');
  t.equal(guest.cpu.cr3, BigInt(mfn(made.l4)) << 12n);
  t.not(guest.peek(made.l4, 256), 0n, 'now it has the m2p');
  t.equal(guest.access(0n), 'write', 'the data page is at 0');
  expectErrno(t, guest.mmuext([[ext.MMUEXT_UNPIN_TABLE, mfn(made.l4)]]), 0, 'unpin it in use');
  expectErrno(t, guest.remap(made.l4, RW), 'EBUSY', 'in use it stays a table');
  balanced(t, guest);
  expectErrno(
    t,
    guest.mmuext([
      [ext.MMUEXT_NEW_USER_BASEPTR, mfn(made.l4)],
      [ext.MMUEXT_NEW_BASEPTR, guest.boot.l4Mfn],
    ]),
    0,
    'user tables, and back',
  );
  t.same({ ...pvCr3.of(guest.vcpu) }, { kernelMfn: guest.boot.l4Mfn, userMfn: mfn(made.l4) });
  balanced(t, guest);
  expectErrno(t, guest.mmuext([[ext.MMUEXT_NEW_USER_BASEPTR, 0]]), 0, 'no user tables');
  expectErrno(t, guest.mmuUpdate([[slot1, 0n]]), 0, 'unlink');
  for (const pfn of Object.values(made)) expectErrno(t, guest.remap(pfn, RW), 0, 'all are ordinary pages again');
  t.equal(memory.typeCount[mfn(made.l4)], 1);
  balanced(t, guest);
});

t.test('a refused table leaves nothing behind', async (t) => {
  const guest = new Guest();
  // biome-ignore format: one case a line
  const cases: [claim: string, entry: (l1: number) => bigint, expected: ErrnoName | 0][] = [
    ['no frame',            () => (1n << 39n) | RO,             'EPERM'],
    ['itself, writable',    (l1) => guest.maddrOf(l1) | RW,     'EBUSY'],
    ['itself, read-only',   (l1) => guest.maddrOf(l1) | RO,     0],
    ['a reserved bit',      () => guest.maddrOf(DATA) | 0x85n,  'EINVAL'],
  ];
  for (const [claim, entry, expected] of cases) {
    const l1 = 0x300;
    guest.remap(l1, RW);
    guest.poke(l1, guest.maddrOf(DATA) | RW, guest.maddrOf(DATA + 1) | RO, entry(l1));
    guest.remap(l1, RO);
    expectErrno(t, guest.mmuext([[ext.MMUEXT_PIN_L1_TABLE, guest.p2m[l1]!]]), expected, `an L1 with an entry to ${claim}`);
    balanced(t, guest);
    if (expected === 0) guest.mmuext([[ext.MMUEXT_UNPIN_TABLE, guest.p2m[l1]!]]);
  }
});

t.test('linear page tables', async (t) => {
  const guest = new Guest();
  const l4 = guest.maddrOf(guest.tables.l4);
  expectErrno(t, guest.mmuUpdate([[l4 + 16n, l4 | RW]]), 'EINVAL', 'an L4 in itself, writable');
  expectErrno(t, guest.mmuUpdate([[l4 + 16n, l4 | RO]]), 0, 'an L4 in itself, read-only');
  const own = (2n << 39n) | (511n << 30n) | (510n << 21n) | (BigInt(DATA >> 9) << 12n) | BigInt((DATA & 511) * 8);
  const seen = guest.cpu.translate(own, 'read', true);
  t.ok(seen.ok && seen.maddr === Number(guest.l1Maddr(DATA)), 'its L1 entries are seen there');
  t.equal(guest.access(own), 'read');
  const other = guest.chain(0x300);
  guest.mmuext([[ext.MMUEXT_PIN_L4_TABLE, guest.p2m[other.l4]!]]);
  const otherL4 = guest.maddrOf(other.l4);
  expectErrno(t, guest.mmuUpdate([[l4 + 24n, otherL4 | RO]]), 0, 'another L4, read-only');
  expectErrno(t, guest.mmuUpdate([[otherL4 + 24n, l4 | RO]]), 'EINVAL', 'not back again: a linear table has no linear entries');
  balanced(t, guest);
  expectErrno(t, guest.mmuext([[ext.MMUEXT_UNPIN_TABLE, guest.p2m[other.l4]!]]), 0, 'unpinned while linked');
  expectErrno(
    t,
    guest.mmuUpdate([
      [l4 + 24n, 0n],
      [l4 + 16n, 0n],
    ]),
    0,
    'unlinked',
  );
  expectErrno(t, guest.remap(other.l4, RW), 0, 'it is a page again');
  balanced(t, guest);
});

t.test('mmuext_op', async (t) => {
  for (const isInitial of [false, true]) {
    const guest = new Guest({ isInitial, others: 1 });
    const who = isInitial ? 'dom0' : 'domU';
    // biome-ignore format: one case a line
    const cases: [claim: string, op: [number, (bigint | number)?, (bigint | number)?], expected: ErrnoName | 0, foreigndom?: number][] = [
      ['flush',                          [ext.MMUEXT_TLB_FLUSH_LOCAL],              0],
      ['flush all',                      [ext.MMUEXT_TLB_FLUSH_ALL],                0],
      ['flush a page',                   [ext.MMUEXT_INVLPG_LOCAL, 0x1000n],        0],
      ['flush a page everywhere',        [ext.MMUEXT_INVLPG_ALL, 1n << 63n],        0],
      ['flush on vCPUs of a null mask',  [ext.MMUEXT_TLB_FLUSH_MULTI],              'EINVAL'],
      ['flush on vCPUs',                 [ext.MMUEXT_TLB_FLUSH_MULTI, 0, guest.vaddrOf(DATA)], 0],
      ['flush a page on vCPUs',          [ext.MMUEXT_INVLPG_MULTI, 0x1000n, UNMAPPED], 'EINVAL'],
      ['flush the cache',                [ext.MMUEXT_FLUSH_CACHE],                  isInitial ? 0 : 'EACCES'],
      ['flush every cache',              [ext.MMUEXT_FLUSH_CACHE_GLOBAL],           isInitial ? 0 : 'EINVAL'],
      ['command 14',                     [14],                                      'ENOSYS'],
      ['command 99',                     [99],                                      'ENOSYS'],
      ['mark a superpage',               [ext.MMUEXT_MARK_SUPER],                   'EOPNOTSUPP'],
      ['an LDT',                         [ext.MMUEXT_SET_LDT, guest.vaddrOf(DATA), 16], 0],
      ['an LDT off a page',              [ext.MMUEXT_SET_LDT, guest.vaddrOf(DATA) + 8n, 16], 'EINVAL'],
      ['an LDT of 8193 entries',         [ext.MMUEXT_SET_LDT, guest.vaddrOf(DATA), 8193], 'EINVAL'],
      ["an LDT in ring -1's memory",     [ext.MMUEXT_SET_LDT, 0xffff_8300_0000_0000n, 16], 'EINVAL'],
      ['no LDT, anywhere',               [ext.MMUEXT_SET_LDT, 0x123n, 0],           0],
      ['clear a page',                   [ext.MMUEXT_CLEAR_PAGE, guest.p2m[DATA]!], 0],
      ['clear no page',                  [ext.MMUEXT_CLEAR_PAGE, 1n << 39n],        'EINVAL'],
      ['copy no page',                   [ext.MMUEXT_COPY_PAGE, guest.p2m[DATA]!, 1n << 39n], 'EINVAL'],
      ['of nobody',                      [ext.MMUEXT_TLB_FLUSH_LOCAL],              'ESRCH', 999],
      ['of another',                     [ext.MMUEXT_TLB_FLUSH_LOCAL],              'EPERM', 2],
      ['of DOMID_XEN',                   [ext.MMUEXT_PIN_L1_TABLE, guest.memory.m2pMfn], isInitial ? 'EINVAL' : 'EPERM', DOMID_XEN],
    ];
    for (const [claim, op, expected, foreigndom] of cases) expectErrno(t, guest.mmuext([op], foreigndom), expected, `${who}: ${claim}`);
    balanced(t, guest);
    guest.poke(DATA, 0x1111n);
    guest.mmuext([
      [ext.MMUEXT_COPY_PAGE, guest.p2m[DATA + 1]!, guest.p2m[DATA]!],
      [ext.MMUEXT_CLEAR_PAGE, guest.p2m[DATA]!],
    ]);
    t.same([guest.peek(DATA), guest.peek(DATA + 1), guest.done], [0n, 0x1111n, 2], 'copied, then cleared');
  }
});

t.test('the initial domain maps what a domU may not', async (t) => {
  const guest = new Guest({ isInitial: true, others: 1 });
  const foreign = BigInt(guest.memory.owner.indexOf(2)) << 12n;
  const va = guest.vaddrOf(DATA);
  expectErrno(t, guest.uvm(va, foreign | RW), 'EBUSY', "a domU's page without naming the domU");
  expectErrno(t, guest.call(22, va, foreign | RW, 2, 2), 0, "a domU's page");
  balanced(t, guest);
  expectErrno(t, guest.uvm(va, 0xb8000n | RW, 2), 0, 'video memory');
  t.equal(guest.memory.view.getBigUint64(Number(guest.l1Maddr(DATA)), true) & 0x18n, 0x18n, 'which becomes uncached');
  expectErrno(t, guest.uvm(va, 0xfee0_0000n | RW, 2), 0, 'what is no RAM');
  expectErrno(t, guest.uvm(va, (1n << 41n) | RW, 2), 'EPERM', 'beyond physical addresses');
  expectErrno(t, guest.uvm(va, guest.maddrOf(DATA) | RW | 0x18n, 2), 0, 'its own memory uncached');
  balanced(t, guest);
});

t.test('descriptor tables', async (t) => {
  const guest = new Guest();
  const { memory, vcpu } = guest;
  const frame = guest.p2m[DATA]!;
  const code = 0x00af_9b00_0000_ffffn;
  guest.poke(DATA, 0, code);
  t.equal(setGdt(memory, vcpu, [frame], 2), 'EINVAL', 'a GDT that is mapped writable');
  guest.remap(DATA, RO);
  t.equal(setGdt(memory, vcpu, [frame, 0], 513), 'EINVAL', 'a GDT of which one frame is bad');
  balanced(t, guest);
  t.equal(setGdt(memory, vcpu, [frame], 14 * 512 + 1), 'EINVAL', 'a GDT of too many entries');
  t.equal(setGdt(memory, vcpu, [frame], 2), undefined, 'a GDT');
  t.equal(guest.peek(DATA, 1), code | (3n << 45n), 'its code segment is ring 3 now');
  t.equal(memory.type[frame], PGT_seg_desc_page);
  const seen = guest.cpu.translate(0xffff_8200_0000_0008n, 'read', false);
  t.ok(seen.ok && seen.maddr === frame * 4096 + 8, 'the CPU finds it');
  expectErrno(t, guest.remap(DATA, RW), 'EBUSY', 'it cannot be mapped writable');
  balanced(t, guest);
  t.equal(setGdt(memory, vcpu, [], 0), undefined, 'no GDT');
  expectErrno(t, guest.remap(DATA, RW), 0, 'then it can');

  guest.remap(DATA, RO);
  expectErrno(t, guest.mmuext([[ext.MMUEXT_SET_LDT, guest.vaddrOf(DATA), 4]]), 0, 'an LDT');
  t.equal(guest.cpu.getSegment('ldtr').base, 0xffff_8200_0001_0000n);
  t.notOk(mapLdtOnFault(memory, vcpu, 4 * 8), 'beyond its limit nothing is mapped');
  t.ok(mapLdtOnFault(memory, vcpu, 8), 'its page comes with the first access');
  t.same(descriptorTables.of(vcpu).ldtFrames[0], frame);
  balanced(t, guest);
  expectErrno(t, guest.remap(DATA, RW), 'EBUSY', 'it cannot be mapped writable while its read-only mapping stands');
  expectErrno(t, guest.remap(DATA, 0n), 0, 'unmapping it');
  t.equal(descriptorTables.of(vcpu).ldtFrames[0], -1, 'takes it out of the LDT');
  balanced(t, guest);

  // biome-ignore format: one descriptor a line
  const descriptors: [claim: string, descriptor: bigint, expected: bigint | undefined][] = [
    ['not present',                     0x0000_1234_5678_9abcn, 0x0000_1234_5678_9abcn],
    ['code of ring 0',                  0x00af_9b00_0000_ffffn, 0x00af_fb00_0000_ffffn],
    ['data of ring 3',                  0x00cf_f300_0000_ffffn, 0x00cf_f300_0000_ffffn],
    ['type 0',                          0x0000_8000_0000_0001n, 0x0000_8000_0000_0001n],
    ['a TSS',                           0x0000_8900_0000_0067n, undefined],
    ['an interrupt gate',               0x0000_8e00_0008_0000n, undefined],
    ['a call gate to the guest',        0x0000_ec00_0008_1234n, 0x0000_8c00_000b_1234n],
    ['a call gate to ring -1',          0x0000_ec00_e008_1234n, undefined],
    ['a call gate with a word count',   0x0000_ec01_0008_1234n, undefined],
  ];
  for (const [claim, descriptor, expected] of descriptors) t.equal(sanitizeDescriptor(descriptor), expected, claim);
});

t.test('writes to a read-only page table', async (t) => {
  const guest = new Guest();
  const { memory, vcpu, tables } = guest;
  const at = guest.vaddrOf(tables.l1 + (DATA >> 9)) + BigInt((DATA & 511) * 8);
  const table = findWritableL1(memory, vcpu, at);
  t.equal(table, Math.floor(Number(guest.l1Maddr(DATA)) / 4096) * 4096, 'a write to an L1 table is found');
  t.equal(findWritableL1(memory, vcpu, guest.vaddrOf(tables.l2)), -1, 'not to an L2');
  t.equal(findWritableL1(memory, vcpu, guest.vaddrOf(DATA)), -1, 'not to a data page');
  const entry = Number(guest.l1Maddr(DATA));
  t.ok(writeL1Entry(memory, entry, guest.maddrOf(DATA + 1) | RO), 'another page');
  t.ok(writeL1Entry(memory, entry, guest.maddrOf(DATA + 1) | RW), 'writable');
  t.equal(guest.access(guest.vaddrOf(DATA)), 'write');
  t.notOk(writeL1Entry(memory, entry, guest.maddrOf(tables.l2) | RW), 'a page table writable: refused');
  balanced(t, guest);
});

t.test('frames come and go', async (t) => {
  const guest = new Guest();
  const { memory } = guest;
  const domain = guest.domains[0]!;
  const mfn = guest.p2m[DATA]!;
  t.notOk(increaseReservation(memory, domain, 0) >= 0, 'not above the limit');
  t.ok(decreaseReservation(memory, domain, mfn), 'given up while mapped');
  t.equal(memory.pageCount(1), 2048, 'it counts until it is unmapped');
  t.equal(guest.access(guest.vaddrOf(DATA)), 'write');
  expectErrno(t, guest.remap(DATA, 0n), 0, 'unmapped');
  t.equal(memory.pageCount(1), 2047);
  t.notOk(decreaseReservation(memory, domain, mfn), 'not twice');
  expectErrno(t, guest.remap(DATA, RW), 'EBUSY', "it is nobody's");
  const next = populatePhysmap(memory, domain, BigInt(DATA), 0);
  t.equal(memory.getM2p(next), BigInt(DATA), 'a new page for the pfn');
  t.notOk(decreaseReservation(memory, domain, 0x7fff_ffff), 'no frame');
  t.ok(decreaseReservation(memory, domain, domain.sharedInfoMfn), 'giving up shared_info');
  t.equal(memory.owner[domain.sharedInfoMfn], 1, 'does nothing');
  balanced(t, guest);
  const given = [0x700, 0x701, 0x702, 0x703].map((pfn) => guest.p2m[pfn]!);
  const out = exchange(memory, domain, { inMfns: given, outOrder: 2, outPfns: [0x700n] });
  t.ok(Array.isArray(out) && out[0]! % 4 === 0, 'four pages for an aligned extent of four');
  t.equal(memory.pageCount(1), 2048);
  t.equal(
    exchange(memory, domain, { inMfns: [guest.p2m[DATA + 1]!], outOrder: 0, outPfns: [1n] }),
    'EINVAL',
    'a mapped page is not exchanged',
  );
  t.same([isOrderAllowed(domain, 9), isOrderAllowed(domain, 10)], [true, false]);
  balanced(t, guest);
});
