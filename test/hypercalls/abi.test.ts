/** The ABI table: it agrees with Xen's headers, its document is up to date, and no argument whatever makes a handler misbehave. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { errno } from '../../hypercalls/abi/errno.ts';
import { hasOps } from '../../hypercalls/abi/hypercall.ts';
import { isArgumentPointer } from '../../hypercalls/abi/types.ts';
import { implementations } from '../../hypercalls/all.ts';
import { dispatch } from '../../hypercalls/dispatch.ts';
import { checkAbi } from '../support/abi_check.ts';
import { hypercalls } from '../support/abi_table.ts';
import { ARG, FakeHost, IN_XEN, UNMAPPED } from '../support/fake_host.ts';
import { makeHypercallDocs } from '../support/hypercall_docs.ts';
import { fuzzHypercalls, opsOf } from '../support/hypercall_fuzz.ts';
import { quickOr } from '../support/thorough.ts';

t.test("structs and numbers are those of Xen's headers", (t) => {
  const { skipped, facts, differences } = checkAbi();
  if (skipped !== undefined) {
    t.pass(skipped, { skip: skipped });
  } else {
    t.same(differences, []);
    t.ok(facts > 500, `${facts} facts`);
  }
  t.end();
});

t.test('docs/hypercalls.md is what `npm run docs` makes', (t) => {
  t.equal(readFileSync('docs/hypercalls.md', 'utf8'), makeHypercallDocs());
  t.end();
});

const implemented = hypercalls.filter(({ nr }) => implementations[nr] !== undefined);

/** Sets the registers and makes the call, at most so many slices of it; RAX, or undefined when it is not over. */
function perform(guest: FakeHost, nr: number, args: readonly bigint[], slices = 8): bigint | undefined {
  const { gpr } = guest.cpu;
  gpr[0] = BigInt(nr);
  for (const [i, register] of [7, 6, 2, 10, 8, 9].entries()) gpr[register] = BigInt.asUintN(64, args[i] ?? 0n);
  for (let i = 0; i < slices; i++) if (dispatch(guest.host, guest.vcpu) === 'done') return BigInt.asIntN(64, gpr[0]!);
  return undefined;
}

t.test('what every row gets for free', (t) => {
  t.same(
    hypercalls.filter(({ nr }) => implementations[nr] === undefined).map(({ name }) => name),
    [],
    'every declared hypercall is there',
  );
  const guest = new FakeHost();
  const pvh = new FakeHost();
  Object.assign(pvh.domain, { type: 'pvh', isPv: false });
  for (const row of implemented) {
    const argument = Object.values(row.params).findIndex((type) => isArgumentPointer(type));
    const cmd = Object.keys(row.params).indexOf('cmd');
    if (cmd >= 0 && hasOps(row.body)) {
      const args = [0n, 0n, 0n, 1n];
      args[cmd] = BigInt(row.cmdMask & 61);
      const result = perform(guest, row.nr, args);
      const declared = [errno.ENOSYS, ...row.before.map((name) => errno[name])];
      t.ok(declared.includes(-Number(result) as 38), `${row.name}: an unknown op is -ENOSYS`);
    }
    if (row.guests.pvh !== true) t.equal(perform(pvh, row.nr, []), BigInt(-errno.ENOSYS), `${row.name}: not for PVH`);
    if (argument < 0) continue;
    for (const op of opsOf(row)) {
      if (op.kind !== 'op' || op.arg === null || !op.arg.hasIn) continue;
      for (const pointer of [8n, IN_XEN, UNMAPPED, guest.vaddrOf(ARG + 1) - 1n]) {
        const args = [0n, 0n, 0n, 0n, 0n, 0n];
        args[argument] = pointer;
        if (cmd >= 0) args[cmd] = BigInt(op.cmd);
        if (op.count !== undefined) args[Object.keys(row.params).indexOf(op.count)] = 1n;
        if (Object.keys(row.params).includes('foreigndom')) args[3] = 0x7ff0n;
        if (pointer > UNMAPPED) guest.call(14, guest.vaddrOf(ARG + 1), 0, 2);
        const result = perform(guest, row.nr, args);
        const isBefore = row.before.some((name) => BigInt(-errno[name]) === result);
        t.ok(isBefore || result === BigInt(-errno.EFAULT), `${row.name} ${op.cmd}: 0x${pointer.toString(16)} is -EFAULT, not ${result}`);
      }
    }
  }
  t.end();
});

/** `npm run soak` goes on where this ends. */
const CALLS = quickOr(100_000, 1_000_000);
const SECONDS = quickOr(10, Number.POSITIVE_INFINITY);

t.test('hostile calls of two domains: no throw, only declared errnos, and the books add up after each thousand', (t) => {
  const seed = Number(process.env.FUZZ_SEED ?? 20261122);
  t.comment(`seed ${seed} (FUZZ_SEED=${seed} repeats it)`);
  const { calls, wrong } = fuzzHypercalls(seed, Number(process.env.FUZZ_CALLS ?? CALLS), SECONDS);
  t.comment(`${calls} calls`);
  t.equal(wrong, undefined);
  t.end();
});
