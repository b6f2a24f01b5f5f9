/**
 * A host with many domains on the translator: how fast virtual time goes, what it costs to change vCPUs, to send events to
 * and fro, to make a domain and to keep one.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Domain } from '../../../emulator/domain.ts';
import { Machine } from '../../../emulator/machine.ts';
import { runSlice } from '../../../emulator/run.ts';
import { SHUTDOWN_poweroff } from '../../../hypercalls/abi/sched.ts';
import type { BenchOptions, Figure } from '../figure.ts';
import { inRounds, type Nanoseconds, nanosecondsEach } from '../slices.ts';

/** The argument with which the bench calls itself. */
export const DOMAIN_MEMORY_RUN = 'domain-memory-run';
const MIB = 1 << 20;
const MICROSECONDS = 1000;
const SLICE = 5_000_000;
const spin = 'guests/spin/spin.elf';
const calls = 'test/bench/guests/calls.elf';
const pingpong = 'test/bench/guests/pingpong.elf';

function makeHost(domains: number, cores: number, memorySize = 8 * MIB): Machine {
  return new Machine({
    memorySize: domains * memorySize,
    engine: 'translate',
    topology: { sockets: 1, coresPerSocket: cores },
    output: () => {},
  });
}

function addDomain(host: Machine, image: string, cmdline: string, memorySize = 8 * MIB): Domain {
  const domain = host.createPvDomain(readFileSync(image), { name: 'bench', isInitial: false, memorySize, cmdline });
  if (!(domain instanceof Domain)) throw new Error(domain.message);
  return domain;
}

function runUntil(host: Machine, isDone: () => boolean): void {
  while (!isDone()) if (runSlice(host, SLICE).kind !== 'running') return;
}

/** How many milliseconds `work` takes. */
function time(work: () => void): number {
  const start = performance.now();
  work();
  return performance.now() - start;
}

/** Virtual seconds in a real one, with domains that work 2 of every 10 milliseconds. */
function speed(domains: number): number {
  const host = makeHost(domains, 4);
  for (let i = 0; i < domains; i++) addDomain(host, spin, 'work=2000 sleep=8000');
  runUntil(host, () => host.clock.ns > 0.2e9);
  const start = host.clock.ns;
  const ms = time(() => runUntil(host, () => host.clock.ns > start + 1e9));
  return (host.clock.ns - start) / 1e6 / ms;
}

/** What domains do again and again, in a process of its own: `node bench.mjs HOST_RUN NAME`. */
export const HOST_RUN = 'host-run';
const YIELDS = 400_000;
const ROUND_TRIPS = 300_000;

interface Play {
  readonly image: string;
  /** Of each domain; when the last one is done, so are all. */
  readonly commands: readonly string[];
  readonly cores: number;
  readonly count: number;
}

const plays: Readonly<Record<string, Play>> = {
  yield: { image: calls, commands: [`yield ${YIELDS}`], cores: 1, count: YIELDS },
  switch: { image: calls, commands: [`yield ${YIELDS}`, `yield ${YIELDS}`], cores: 1, count: 2 * YIELDS },
  pingpong: { image: pingpong, commands: ['serve 2', `play 1 ${ROUND_TRIPS}`], cores: 2, count: ROUND_TRIPS },
};

export function runPlay(name: string): Nanoseconds {
  const { image, commands, cores, count } = plays[name]!;
  const host = makeHost(commands.length, cores);
  const domains = commands.map((command) => addDomain(host, image, command));
  const ns = nanosecondsEach(host, count);
  if (domains.at(-1)!.shutdownReason !== SHUTDOWN_poweroff) throw new Error('bug: the bench guest does not end as it should');
  return ns;
}

const inOwnProcess = (...args: readonly string[]): string =>
  execFileSync(process.execPath, [fileURLToPath(import.meta.url), ...args], { encoding: 'utf8' });

const play = (name: string): Nanoseconds => JSON.parse(inOwnProcess(HOST_RUN, name)) as Nanoseconds;

function switching(): Nanoseconds {
  const [both, alone] = [play('switch'), play('yield')];
  return { median: both.median - alone.median, quietest: both.quietest - alone.quietest };
}

function creation(): number {
  const host = makeHost(2, 1, 32 * MIB);
  return time(() => addDomain(host, spin, '', 32 * MIB));
}

/** KiB of the host beside guest RAM, in a process of its own. */
export function memoryOfDomain(): number {
  const DOMAINS = 32;
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const inUse = (): number => {
    collect();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  const host = makeHost(DOMAINS, 4);
  const before = inUse();
  for (let i = 0; i < DOMAINS; i++) addDomain(host, spin, 'work=2000 sleep=8000');
  runUntil(host, () => host.clock.ns > 0.1e9);
  return (inUse() - before) / DOMAINS / 1024;
}

export async function benchHost({ rounds }: BenchOptions): Promise<Figure[]> {
  const repeat = <T>(measure: () => T): T[] => Array.from({ length: rounds }, measure);
  return [
    ...[1, 8, 64].map((domains) => ({
      name: `${domains} domain${domains === 1 ? '' : 's'} on 4 cores, each busy for a fifth: virtual time per real time`,
      unit: 'x',
      values: repeat(() => speed(domains)),
    })),
    {
      name: 'a vCPU switch: yield to another domain, less a yield to nobody',
      unit: 'ns',
      ...inRounds(repeat(switching)),
      goal: MICROSECONDS,
    },
    {
      name: 'event-channel ping-pong of two domains on two cores, round trip',
      unit: 'ns',
      ...inRounds(repeat(() => play('pingpong'))),
      goal: 3 * MICROSECONDS,
    },
    { name: 'creation of a domain of 32 MiB', unit: 'ms', values: repeat(creation), goal: 20 },
    {
      name: 'memory of the host for a domain, beside its RAM',
      unit: 'KiB',
      values: repeat(() => Number(inOwnProcess(DOMAIN_MEMORY_RUN))),
      goal: 2048,
    },
  ];
}
