/**
 * Hypercalls of a PV64 guest on the translator, from one in a loop to the next: nanoseconds each, in runs of
 * guests/calls.c. Each run has a process of its own, as `beneath run` has, and its first fifth is not counted.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Domain } from '../../../emulator/domain.ts';
import { Machine } from '../../../emulator/machine.ts';
import { SHUTDOWN_poweroff } from '../../../hypercalls/abi/sched.ts';
import type { BenchOptions, Figure } from '../figure.ts';
import { inRounds, type Nanoseconds, nanosecondsEach } from '../slices.ts';

interface Kind {
  /** As calls.c names it. */
  readonly call: string;
  readonly name: string;
  readonly goal?: number;
  readonly floor?: number;
  /** Calls of a run. */
  readonly count: number;
}

/** Of the way to a handler and back, its arguments decoded; a struct in guest memory comes on top. */
const ROUND_TRIP = { goal: 100, floor: 300 };

// biome-ignore format: one a line
const kinds: readonly Kind[] = [
  { call: 'version',         name: 'xen_version.version: the round trip',    count: 1_000_000, ...ROUND_TRIP },
  { call: 'send_closed',     name: 'event_channel_op.send, port closed',     count: 1_000_000 },
  { call: 'status',          name: 'event_channel_op.status, struct in, out', count: 1_000_000 },
  { call: 'yield',           name: 'sched_op.yield',                         count: 1_000_000 },
  { call: 'send_self',       name: 'event_channel_op.send to self',          count: 1_000_000, goal: 300 },
  { call: 'update_entry',    name: 'mmu_update of one entry',                count: 1_000_000, goal: 500 },
  { call: 'multicall',       name: 'multicall of 32 entries',                count: 100_000,  goal: 3000 },
  { call: 'grant_map_unmap', name: 'grant map and unmap',                    count: 500_000,  goal: 1000 },
  { call: 'grant_copy',      name: 'grant copy of 4 KiB',                    count: 500_000,  goal: 1000 },
];

const guest = 'test/bench/guests/calls.elf';

/** A run in a process of its own: `node bench.mjs HYPERCALL_RUN CALL COUNT`. */
export const HYPERCALL_RUN = 'hypercall-run';

/** Nanoseconds a call; undefined when one did not answer as it should. */
export function runCalls(call: string, count: number): Nanoseconds | undefined {
  const machine = new Machine({ memorySize: 16 << 20, engine: 'translate', output: () => {} });
  const spec = { name: 'calls', isInitial: false, memorySize: 16 << 20, cmdline: `${call} ${count}` };
  const domain = machine.createPvDomain(readFileSync(guest), spec);
  if (!(domain instanceof Domain)) throw new Error(domain.message);
  const ns = nanosecondsEach(machine, count);
  return domain.shutdownReason === SHUTDOWN_poweroff ? ns : undefined;
}

export async function benchHypercall({ rounds, note }: BenchOptions): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const { call, name, count, ...bounds } of kinds) {
    const runs: Nanoseconds[] = [];
    for (let i = 0; i < rounds; i++) {
      const ns = execFileSync(process.execPath, [fileURLToPath(import.meta.url), HYPERCALL_RUN, call, String(count)], { encoding: 'utf8' });
      if (ns !== '') runs.push(JSON.parse(ns) as Nanoseconds);
    }
    if (runs.length > 0) figures.push({ name, unit: 'ns', ...inRounds(runs), ...bounds });
    else note(`${name} is refused`);
  }
  return figures;
}
