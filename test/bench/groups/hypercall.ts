/**
 * Hypercalls of a PV64 guest on the translator, from its SYSCALL to the instruction behind: nanoseconds each, of the
 * difference of a long and a short run of guests/calls.c.
 */
import { readFileSync } from 'node:fs';
import { Domain } from '../../../emulator/domain.ts';
import { Machine } from '../../../emulator/machine.ts';
import { runSlice } from '../../../emulator/run.ts';
import { SHUTDOWN_poweroff } from '../../../hypercalls/abi/sched.ts';
import type { BenchOptions, Figure } from '../figure.ts';

interface Kind {
  /** As calls.c names it. */
  readonly call: string;
  readonly name: string;
  readonly goal?: number;
  readonly floor?: number;
  /** Calls of the short run; the long one makes five times as many. */
  readonly count: number;
}

const ROUND_TRIP = { goal: 100, floor: 300 };

// biome-ignore format: one a line
const kinds: readonly Kind[] = [
  { call: 'version',         name: 'xen_version.version, in a register',     count: 100_000, ...ROUND_TRIP },
  { call: 'send_closed',     name: 'event_channel_op.send, port closed',     count: 100_000, ...ROUND_TRIP },
  { call: 'status',          name: 'event_channel_op.status, struct in, out', count: 100_000, ...ROUND_TRIP },
  { call: 'yield',           name: 'sched_op.yield',                         count: 100_000 },
  { call: 'send_self',       name: 'event_channel_op.send to self',          count: 100_000, goal: 300 },
  { call: 'update_entry',    name: 'mmu_update of one entry',                count: 100_000, goal: 500 },
  { call: 'multicall',       name: 'multicall of 32 entries',                count: 10_000,  goal: 3000 },
  { call: 'grant_map_unmap', name: 'grant map and unmap',                    count: 50_000,  goal: 1000 },
  { call: 'grant_copy',      name: 'grant copy of 4 KiB',                    count: 50_000,  goal: 1000 },
];

const guest = 'test/bench/guests/calls.elf';

/** Seconds; undefined when a call did not answer as it should. */
export function runCalls(call: string, count: number): number | undefined {
  const machine = new Machine({ memorySize: 16 << 20, engine: 'translate', output: () => {} });
  const spec = { name: 'calls', isInitial: false, memorySize: 16 << 20, cmdline: `${call} ${count}` };
  const domain = machine.createPvDomain(readFileSync(guest), spec);
  if (!(domain instanceof Domain)) throw new Error(domain.message);
  const start = performance.now();
  while (runSlice(machine, 10_000_000).kind === 'running');
  const seconds = (performance.now() - start) / 1000;
  return domain.shutdownReason === SHUTDOWN_poweroff ? seconds : undefined;
}

export async function benchHypercall({ rounds, note }: BenchOptions): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const { call, name, count, ...bounds } of kinds) {
    const values: number[] = [];
    for (let i = 0; i < rounds; i++) {
      const [short, long] = [runCalls(call, count), runCalls(call, count * 5)];
      if (short !== undefined && long !== undefined) values.push(((long - short) / (count * 4)) * 1e9);
    }
    if (values.length > 0) figures.push({ name, unit: 'ns', values, ...bounds });
    else note(`${name} is refused`);
  }
  return figures;
}
