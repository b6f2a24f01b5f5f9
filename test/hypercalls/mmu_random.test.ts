/** Random changes of page tables: whatever a guest asks, no reference is lost (mmu.test.ts has what the answers are). */
import fc from 'fast-check';
import t from 'tap';
import { mapLdtOnFault, setGdt } from '../../emulator/memory/descriptor_mapping.ts';
import { checkInvariants } from '../../emulator/memory/invariants.ts';
import { decreaseReservation, populatePhysmap } from '../../emulator/memory/reservation.ts';
import { errno } from '../../hypercalls/abi/errno.ts';
import { mmuextCmds as ext } from '../../hypercalls/abi/mmu.ts';
import { DOMID_IO, DOMID_XEN, Guest, RO, RW, SELF } from '../support/mmu_guest.ts';

t.test('whatever a guest asks, the books add up and only declared errnos come back', async (t) => {
  const seed = Number(process.env.FUZZ_SEED ?? 20240607);
  t.comment(`FUZZ_SEED=${seed}`);
  const results = new Map<number, number>();
  const declared = new Set([
    0,
    ...(['EINVAL', 'EPERM', 'EBUSY', 'EACCES', 'ENOMEM', 'ESRCH', 'ENOSYS', 'EFAULT', 'EOPNOTSUPP'] as const).map((name) => -errno[name]),
  ]);
  let guest = new Guest({ others: 1 });
  let lives = 0;
  const { memory: first, tables } = guest;
  const pages = Array.from({ length: 12 }, (_, i) => 0x300 + i);
  const shared = guest.domains[0]!.sharedInfoMfn;
  // Every machine is built alike, so frames have the same numbers in all of them.
  const scratch = pages.map((pfn) => guest.p2m[pfn]!);
  const builders = [tables.l4, tables.l3, tables.l2].map((pfn) => guest.p2m[pfn]!);
  const oddFrames = [0, 1, first.m2pMfn, shared, first.owner.indexOf(2), first.owner.lastIndexOf(-1), 2 ** 28, 2 ** 40 - 1];
  const frame = fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(...scratch) },
    { weight: 1, arbitrary: fc.constantFrom(...builders) },
    { weight: 1, arbitrary: fc.constantFrom(...oddFrames) },
  );
  const flags = fc.oneof({ weight: 5, arbitrary: fc.constantFrom(0n, 1n, RO, 3n, RW) }, { weight: 1, arbitrary: fc.bigInt(0n, 0xfffn) });
  const entry = fc.tuple(frame, flags).map(([mfn, bits]) => (BigInt(mfn) << 12n) | bits);
  const slot = fc.oneof(
    { weight: 5, arbitrary: fc.integer({ min: 0, max: 3 }) },
    { weight: 1, arbitrary: fc.constantFrom(255, 256, 260, 272, 400) },
  );
  const domid = fc.oneof(
    { weight: 9, arbitrary: fc.constant(SELF) },
    { weight: 1, arbitrary: fc.constantFrom(0, 1, 2, DOMID_IO, DOMID_XEN, 0x3_7ff0) },
  );
  const update = fc.tuple(frame, slot, fc.constantFrom(0, 0, 0, 2, 3, 1, 7), entry).map(([mfn, at, cmd, val]) => {
    // Slots 2 and 3 of the builder's tables are free: the guest shall not saw off its own branch.
    const place = builders.includes(mfn) && at < 256 ? 2 + (at & 1) : at;
    return [(BigInt(mfn) << 12n) | BigInt(place * 8 + cmd), val] as const;
  });
  const extOp = fc
    .tuple(fc.integer({ min: 0, max: 21 }), frame, fc.oneof(frame, fc.constant(16)))
    .filter(([cmd]) => cmd !== ext.MMUEXT_NEW_BASEPTR);
  const step = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.tuple(fc.array(update, { minLength: 1, maxLength: 4 }), domid).map(
        ([updates, dom]) =>
          () =>
            guest.mmuUpdate(updates, dom),
      ),
    },
    {
      weight: 6,
      arbitrary: fc.tuple(fc.array(extOp, { minLength: 1, maxLength: 3 }), domid).map(
        ([ops, dom]) =>
          () =>
            guest.mmuext(ops, dom),
      ),
    },
    {
      weight: 6,
      arbitrary: fc.tuple(fc.constantFrom(...pages), entry).map(
        ([pfn, val]) =>
          () =>
            guest.uvm(guest.vaddrOf(pfn), val, 2),
      ),
    },
    {
      weight: 3,
      arbitrary: fc.tuple(fc.constantFrom(...pages), fc.constantFrom(0n, RO)).map(
        ([pfn, bits]) =>
          () =>
            guest.remap(pfn, bits),
      ),
    },
    {
      weight: 2,
      arbitrary: frame.map((mfn) => () => Number(!builders.includes(mfn) && decreaseReservation(guest.memory, guest.domains[0]!, mfn)) * 0),
    },
    {
      weight: 1,
      arbitrary: fc
        .constantFrom(...pages)
        .map((pfn) => () => Math.min(0, populatePhysmap(guest.memory, guest.domains[0]!, BigInt(pfn), 0) * 0)),
    },
    {
      weight: 1,
      arbitrary: fc
        .array(frame, { maxLength: 2 })
        .map((frames) => () => (setGdt(guest.memory, guest.vcpu, frames, frames.length * 512) === undefined ? 0 : -22)),
    },
    {
      weight: 1,
      arbitrary: fc.integer({ min: 0, max: 0xffff }).map((offset) => () => Number(mapLdtOnFault(guest.memory, guest.vcpu, offset)) * 0),
    },
    // The guest scribbles on what it may write, so that tables of any content get validated.
    {
      weight: 4,
      arbitrary: fc.tuple(fc.constantFrom(...pages), slot, entry).map(([pfn, at, val]) => () => {
        const place = guest.cpu.translate(guest.vaddrOf(pfn) + BigInt(at * 8), 'write', true);
        if (place.ok && place.maddr >> 12 !== shared) guest.memory.view.setBigUint64(place.maddr, val, true);
        return 0;
      }),
    },
  );
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 60 }), (steps) => {
      if (lives++ % 20 === 0) guest = new Guest({ others: 1 });
      for (const run of steps) {
        const result = run();
        if (!declared.has(result)) throw new Error(`undeclared result ${result}`);
        results.set(result, (results.get(result) ?? 0) + 1);
      }
      const wrong = checkInvariants(guest.memory);
      if (wrong !== undefined) throw new Error(wrong);
      for (const pfn of Object.values(tables))
        if (guest.access(guest.vaddrOf(pfn)) === 'write') throw new Error('a page table became writable');
    }),
    { seed, numRuns: 300, endOnFailure: true },
  );
  t.comment([...results].map(([result, count]) => `${result}: ${count}`).join(', '));
  t.ok((results.get(-errno.EFAULT) ?? 0) < 100, 'the guest lived on');
});
