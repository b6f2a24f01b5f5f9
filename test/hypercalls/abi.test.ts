/** The ABI table: it agrees with Xen's headers, its document is up to date, and no argument whatever makes a handler misbehave. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import type { Domain } from '../../emulator/domain.ts';
import { checkInvariants } from '../../emulator/memory/invariants.ts';
import { type ErrnoName, errno } from '../../hypercalls/abi/errno.ts';
import { type AnyOp, type Hypercall, hasOps, type Refused } from '../../hypercalls/abi/hypercall.ts';
import { isArgumentPointer } from '../../hypercalls/abi/types.ts';
import { implementations } from '../../hypercalls/all.ts';
import { dispatch } from '../../hypercalls/dispatch.ts';
import { connectToHost, portsOf, virqPorts } from '../../hypercalls/event_channel/ports.ts';
import { recentHypercalls } from '../../hypercalls/trace.ts';
import { checkAbi } from '../support/abi_check.ts';
import { hypercalls } from '../support/abi_table.ts';
import { ARG, DATA, FakeHost, IN_XEN, LIST, UNMAPPED } from '../support/fake_host.ts';
import { makeHypercallDocs } from '../support/hypercall_docs.ts';

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
const opsOf = ({ body }: Hypercall): readonly (AnyOp | Refused)[] => (hasOps(body) ? Object.values(body) : [body as AnyOp | Refused]);

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
    if (row.guests.pvh !== true) {
      (guest.domain as { type: string }).type = 'pvh';
      t.equal(perform(guest, row.nr, []), BigInt(-errno.ENOSYS), `${row.name}: not for PVH`);
      (guest.domain as { type: string }).type = 'pv';
    }
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

/** No port is in two states, and both ends of a channel agree. */
function checkPorts(guest: FakeHost): string | undefined {
  const isPeer = (domain: Domain, number: number, remote: Domain, remotePort: number): boolean => {
    const other = portsOf.of(remote).get(remotePort)?.binding;
    return other?.kind === 'interdomain' && other.remote === domain && other.remotePort === number;
  };
  for (const domain of guest.host.domains.values()) {
    for (const { number, binding, notifyVcpu } of portsOf.of(domain)) {
      if (binding.kind === 'interdomain' && !isPeer(domain, number, binding.remote, binding.remotePort))
        return `port ${number}: its peer disagrees`;
      if (binding.kind === 'virq' && virqPorts.of(domain.vcpus[notifyVcpu]!)[binding.virq] !== number && number !== 0)
        return `port ${number}: its VIRQ is not`;
    }
    for (const vcpu of domain.vcpus) {
      for (const [virq, number] of virqPorts.of(vcpu).entries()) {
        const binding = number === 0 ? undefined : portsOf.of(domain).get(number)?.binding;
        if (number !== 0 && (binding?.kind !== 'virq' || binding.virq !== virq)) return `VIRQ ${virq}: its port ${number} is not`;
      }
    }
  }
  return undefined;
}

const IRET = 23;
const calls = implemented.filter(({ nr }) => nr !== IRET).flatMap((row) => opsOf(row).map((op) => ({ row, op })));

/** Addresses, counts and numbers that have broken hypervisors. */
const word = (guest: FakeHost): fc.Arbitrary<bigint> =>
  fc.oneof(
    fc.constantFrom(
      0n,
      1n,
      2n,
      3n,
      7n,
      8n,
      64n,
      129n,
      1023n,
      4095n,
      4096n,
      0x7ff0n,
      0x7ff2n,
      999n,
      0x7fff_ffffn,
      0x8000_0000n,
      0xffff_ffffn,
    ),
    fc.constantFrom(1n << 32n, (1n << 52n) - 1n, 1n << 62n, 1n << 63n, (1n << 64n) - 1n, (1n << 64n) - 8n),
    fc.constantFrom(UNMAPPED, IN_XEN, 0xffff_87ff_ffff_ffffn, 0x7fff_ffff_fff8n, 0x8000_0000_0000n, 0xffff_8800_0000_0000n),
    fc.constantFrom(guest.vaddrOf(ARG), guest.vaddrOf(LIST), guest.vaddrOf(DATA), guest.vaddrOf(ARG) + 4090n, guest.vaddrOf(0x300)),
    fc.integer({ min: 0, max: guest.memory.frameCount }).map((mfn) => BigInt(mfn)),
    fc.bigInt({ min: 0n, max: 2047n }).map((pfn) => guest.maddrOf(Number(pfn)) | (pfn & 7n)),
    fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  );

interface Step {
  readonly call: (typeof calls)[number];
  readonly args: readonly bigint[];
  /** What lies in the argument pages. */
  readonly memory: readonly bigint[];
  readonly isPointed: boolean;
}

function isDeclared({ row, op }: (typeof calls)[number], result: bigint): boolean {
  // A debug register holds what the guest put there, be it like an errno.
  const isValue = op.kind === 'op' && op.returns === 'value' && (op.errnos.length === 0 || row.name === 'get_debugreg');
  if (result >= 0n || isValue) return true;
  const allowed: ErrnoName[] = ['EFAULT', 'ENOSYS', ...row.before, ...(op.kind === 'refused' ? [op.errno] : op.errnos)];
  return allowed.some((name) => BigInt(-errno[name]) === result);
}

t.test('random arguments: no throw, only declared errnos, no port in two states, no frame lost', (t) => {
  const template = new FakeHost();
  const values = word(template);
  const step: fc.Arbitrary<Step> = fc.record({
    call: fc.constantFrom(...calls),
    args: fc.array(values, { minLength: 6, maxLength: 6 }),
    memory: fc.array(values, { minLength: 24, maxLength: 24 }),
    isPointed: fc.boolean(),
  });
  const seed = Number(process.env.FUZZ_SEED ?? 20261122);
  t.comment(`seed ${seed} (FUZZ_SEED=${seed} repeats it)`);
  const property = fc.property(fc.array(step, { minLength: 40, maxLength: 120 }), (steps) => {
    const guest = new FakeHost();
    for (let i = 0; i < 2; i++) connectToHost(guest.host, guest.domain, () => {});
    for (const { call, args, memory, isPointed } of steps) {
      const registers = [...args];
      const { row, op } = call;
      for (const [i, [name, type]] of Object.entries(row.params).entries()) {
        if (name === 'cmd') registers[i] = BigInt(op.cmd);
        else if (isPointed && isArgumentPointer(type)) registers[i] = guest.vaddrOf(ARG);
      }
      if (guest.access(guest.vaddrOf(ARG)) === 'write') guest.poke(ARG, ...memory);
      const result = perform(guest, row.nr, registers);
      if (result !== undefined && !isDeclared(call, result)) throw new Error(`undeclared: ${recentHypercalls(guest.vcpu).at(-1)}`);
      const wrong = checkPorts(guest);
      if (wrong !== undefined) throw new Error(`${wrong} after ${recentHypercalls(guest.vcpu).at(-1)}`);
    }
    guest.advance(1_000_000_000n);
    const wrong = checkInvariants(guest.memory);
    if (wrong !== undefined) throw new Error(wrong);
  });
  fc.assert(property, { seed, numRuns: Number(process.env.FUZZ_RUNS ?? 40), endOnFailure: true });
  t.pass();
  t.end();
});
