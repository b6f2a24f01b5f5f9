/**
 * The soak: pairs of the same guest, one interpreted in whole slices, the other under random budgets and with engines that
 * change in mid-run. Both see the same slices and keys, so they must agree on every hypercall, trap and exit, on what they
 * print and on their last state. One pair runs GRUB for ever; our own guests run beside it, one after the other. Between them
 * two domains make hostile hypercalls (hypercall_fuzz.ts).
 */
import { createHash } from 'node:crypto';
import type { CpuCore } from '../../emulator/cpu/index.ts';
import * as L from '../../emulator/cpu/layout.ts';
import { runSlice } from '../../emulator/run.ts';
import { GRUB, grubIsMissing } from './grub.ts';
import { GuestRun, guestKernel, guestNames } from './guest_run.ts';
import { fuzzHypercalls } from './hypercall_fuzz.ts';
import { makeRandom } from './vectors.ts';

type Random = () => number;

/** Up to 2^`bits`, each size as likely as its double. */
const spread = (random: Random, bits: number): number => 1 + Math.floor(2 ** ((random() / 2 ** 32) * bits));

/** From here on `run` goes in random pieces, of either engine, and returns where it would have returned. */
function disturb(cpu: CpuCore, random: Random): void {
  const run = cpu.run.bind(cpu);
  cpu.run = (budget) => {
    for (let left = budget; ; ) {
      // Long stretches of one engine, so that code gets hot, and flurries of changes.
      if (random() % 8 === 0) cpu.engine = random() % 3 === 0 ? 'interpret' : 'translate';
      const piece = Math.min(left, spread(random, 20));
      const before = cpu.instructionCount;
      const exit = run(piece);
      left -= cpu.instructionCount - before;
      if (exit.kind !== 'budget' || left <= 0) return exit;
    }
  };
}

function digest(run: GuestRun, withMemory: boolean): string {
  const cpu = run.machine.cpu as CpuCore;
  const bytes = new Uint8Array(cpu.state.view.buffer);
  const hash = createHash('sha1');
  // All registers but RFLAGS, of which the tiers may keep different halves of the truth, and what stopped the loop.
  hash.update(bytes.subarray(L.GPR, L.STATE));
  hash.update(bytes.subarray(L.SYSTEM, L.CONTEXT_END));
  hash.update(`${cpu.rip} ${cpu.rflags} ${cpu.instructionCount} ${run.shutdownReason}`);
  if (withMemory) hash.update(cpu.memory.bytes);
  return hash.digest('hex');
}

export class Pair {
  readonly name: string;
  readonly #random: Random;
  readonly #reference: GuestRun;
  readonly #disturbed: GuestRun;

  constructor(name: string, path: string, seed: number, memorySize: number) {
    this.name = name;
    this.#random = makeRandom(seed);
    this.#reference = GuestRun.bootFile(path, { memorySize });
    this.#disturbed = GuestRun.bootFile(path, { memorySize, engine: 'translate' });
    disturb(this.#disturbed.machine.cpu as CpuCore, makeRandom(seed ^ 0x5eed));
  }

  get isOver(): boolean {
    return this.#reference.shutdownReason !== undefined;
  }

  type(keys: string): void {
    for (const run of [this.#reference, this.#disturbed]) run.type(keys);
  }

  /** Both run a number of slices; what differs then, if anything. */
  step(slices: number): string | undefined {
    for (let i = 0; i < slices && !this.isOver; i++) {
      const size = spread(this.#random, 20);
      const [one, other] = [this.#reference, this.#disturbed].map(({ machine }) => runSlice(machine, size).kind);
      const difference = this.#difference();
      if (difference !== undefined) return difference;
      if (one !== other) return `a slice ends '${one}' and '${other}'`;
      if (one !== 'running') break;
    }
    return this.compare(this.isOver);
  }

  compare(withMemory: boolean): string | undefined {
    const isSame = digest(this.#reference, withMemory) === digest(this.#disturbed, withMemory);
    return isSame ? undefined : `${this.#where()}: registers or memory differ`;
  }

  #difference(): string | undefined {
    const [one, other] = [this.#reference, this.#disturbed];
    const at = one.trace.findIndex((line, i) => line !== other.trace[i]);
    if (at >= 0 || one.trace.length !== other.trace.length) {
      const index = at < 0 ? one.trace.length : at;
      return `${this.#where()}: '${one.trace[index]}' and '${other.trace[index]}' after '${one.trace[index - 1]}'`;
    }
    if (one.console !== other.console) return `${this.#where()}: the consoles differ`;
    if (one.instructions !== other.instructions) return `${this.#where()}: ${other.instructions} instructions`;
    for (const run of [one, other]) {
      run.trace.length = 0;
      run.console = '';
    }
    return undefined;
  }

  #where(): string {
    return `${this.name} after ${this.#reference.instructions} instructions`;
  }
}

/** What a person types at GRUB. */
const typed = [
  'help\n',
  'ls\n',
  'set\n',
  'echo hello\n',
  'set x=1; echo $x\n',
  'cat (memdisk)/nothing\n',
  'if true; then echo y; fi\n',
  'x\x7f\t',
];

const MIB = 1024 * 1024;
/** Of two hostile domains, in each round. */
const HOSTILE_CALLS = 5000;

export interface SoakOptions {
  readonly seed: number;
  readonly seconds: number;
  readonly say?: (line: string) => void;
}

export interface SoakResult {
  readonly rounds: number;
  /** The first difference, with the seed that shows it. */
  readonly difference: string | undefined;
  /** Bytes in use after the first third, and at the end; undefined when there were too few rounds to tell. */
  readonly growth: { readonly early: number; readonly late: number } | undefined;
}

/** `collect` returns the bytes in use after a garbage collection, where that can be had. */
export function soak({ seed, seconds, say }: SoakOptions, collect?: () => number): SoakResult {
  const random = makeRandom(seed);
  const end = performance.now() + seconds * 1000;
  const grub = grubIsMissing ? undefined : new Pair('GRUB', GRUB, seed, 32 * MIB);
  if (grubIsMissing) say?.(`${grubIsMissing}; our own guests run alone`);
  const used: number[] = [];
  let rounds = 0;
  for (; rounds === 0 || performance.now() < end; rounds++) {
    const name = guestNames[random() % guestNames.length]!;
    const own = new Pair(name, guestKernel(name), random(), 32 * MIB);
    let difference: string | undefined;
    for (let i = 0; i < 20 && !own.isOver && difference === undefined; i++) difference = own.step(50);
    if (difference === undefined && grub !== undefined) {
      grub.type(typed[random() % typed.length]!);
      difference = grub.step(20) ?? (rounds % 16 === 15 ? grub.compare(true) : undefined);
    }
    difference ??= fuzzHypercalls(random(), HOSTILE_CALLS).wrong;
    if (difference !== undefined) return { rounds, difference: `seed ${seed}: ${difference}`, growth: undefined };
    if (collect) used.push(collect());
    if (rounds % 20 === 19) say?.(`${rounds + 1} rounds, ${(used.at(-1) ?? 0) >> 20} MiB in use`);
  }
  const third = Math.floor(used.length / 3);
  const most = (values: readonly number[]): number => Math.max(...values);
  return {
    rounds,
    difference: undefined,
    growth: third < 3 ? undefined : { early: most(used.slice(0, third)), late: most(used.slice(-third)) },
  };
}
