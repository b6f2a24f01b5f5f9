/** Lays a random program out in memory, runs it in two worlds in lockstep and says where they part. */
import { isDeepStrictEqual } from 'node:util';
import type { Exit } from '../../../emulator/cpu/exit.ts';
import * as L from '../../../emulator/cpu/layout.ts';
import { makeRandom } from '../vectors.ts';
import { le, type Target } from './encode.ts';
import { type Phase, type Program, TARGETS } from './program.ts';
import {
  CODE,
  CODE_ALIAS,
  CODE_SIZE,
  entryOf,
  INT_RETURN,
  OTHER_CODE,
  resetWorld,
  retired,
  WINDOW,
  WINDOW_FRAMES,
  type World,
} from './world.ts';

/** Exits of a program after which it is given up. */
const MAX_EXITS = 200;

export interface Layout {
  /** Of the code pages. */
  readonly image: Uint8Array;
  readonly resume: Uint16Array;
  /** Offset and size of every piece, in order. */
  readonly pieces: readonly { label: number; offset: number; size: number }[];
  resolve(target: Target): number;
}

export function layOut(program: Program): Layout {
  const image = new Uint8Array(CODE_SIZE).fill(0xcc);
  const places: { label: number; offset: number; size: number }[] = [];
  const pieces: { label: number; offset: number; size: number }[] = [];
  const jumps: number[] = [];
  const code = program.blocks.reduce((sum, { pieces }) => sum + pieces.reduce((size, { bytes }) => size + bytes.length, 0) + 5, 0);
  let offset = 0;
  let spare = CODE_SIZE - code - 16;
  for (const block of program.blocks) {
    const gap = block.gap <= spare ? block.gap : 0;
    spare -= gap;
    if (gap > 5) {
      jumps.push(offset);
      image.set([0xe9, ...le(gap - 5, 4)], offset);
    } else image.fill(0x90, offset, offset + gap);
    offset += gap;
    places.push({ label: block.label, offset, size: 0 });
    for (const { label, bytes } of block.pieces) {
      const place = { label, offset, size: bytes.length };
      places.push(place);
      pieces.push(place);
      offset += bytes.length;
    }
  }
  // Who falls out of the last function begins again.
  image.set([0xe9, ...le(-(offset + 5), 4)], offset);
  const resolve = (target: Target): number =>
    typeof target === 'number' ? target : CODE + (places.find(({ label }) => label >= target.label)?.offset ?? 0) + target.add;
  let index = 0;
  for (const { pieces: list } of program.blocks) {
    for (const { bytes, fixes } of list) {
      const at = pieces[index++]!.offset;
      image.set(bytes, at);
      for (const { at: fixAt, size, from, to } of fixes)
        image.set(le(from === undefined ? resolve(to) : resolve(to) - (CODE + at + from), size), at + fixAt);
    }
  }
  const resume = new Uint16Array(CODE_SIZE);
  for (const { offset: start, size } of pieces) resume.fill(start + size, start, start + size);
  return { image, resume, pieces, resolve };
}

/** What software could see, without what the engines keep for themselves. */
const VISIBLE: readonly (readonly [number, number])[] = [
  [L.GPR, L.STATE],
  [L.RIP, L.RIP + 8],
  [L.FLAGS_REST, L.FLAGS_REST + 4],
  [L.MXCSR, L.CPL + 4],
  [L.SEG_BASE, L.ARGS],
  [L.FIP_SELECTOR, L.ACTIVITY + 4],
  [L.SYSTEM, L.CONTEXT_END],
];

function isSameState(first: World, second: World): boolean {
  const { cpu: a } = first;
  const { cpu: b } = second;
  const [x, y] = [a, b].map(({ state }) => Buffer.from(state.view.buffer, 0, L.CONTEXT_END)) as [Buffer, Buffer];
  return (
    VISIBLE.every(([start, end]) => x.compare(y, start, end, start, end) === 0) &&
    a.rflags === b.rflags &&
    retired(first) === retired(second)
  );
}

function describeState(world: World): Record<string, string> {
  const { cpu } = world;
  const names = 'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15'.split(' ');
  const out: Record<string, string> = { instructions: `${retired(world)}`, rip: cpu.rip.toString(16), rflags: cpu.rflags.toString(16) };
  names.forEach((name, i) => {
    out[name] = cpu.gpr[i]!.toString(16);
  });
  const raw = Buffer.from(cpu.state.view.buffer);
  for (let i = 0; i < 16; i++) out[`xmm${i}`] = raw.subarray(L.XMM + i * 16, L.XMM + i * 16 + 16).toString('hex');
  for (let i = 0; i < 8; i++) out[`st${i}`] = raw.subarray(L.ST + i * 16, L.ST + i * 16 + 16).toString('hex');
  out.fpu = raw.subarray(L.MXCSR, L.CPL).toString('hex');
  out.segments = raw.subarray(L.SEG_BASE, L.ARGS).toString('hex');
  out.system = Array.from({ length: L.SYS_COUNT }, (_, i) => cpu.state.sys[i]!.toString(16)).join(' ');
  out.activity = `${cpu.state.activity}`;
  return out;
}

/** What differs between two CPUs and their memories; nothing when they agree. */
export function differences(a: World, b: World): string[] {
  const out: string[] = [];
  if (!isSameState(a, b)) {
    const [x, y] = [describeState(a), describeState(b)];
    for (const name of Object.keys(x)) if (x[name] !== y[name]) out.push(`${name} ${x[name]} / ${y[name]}`);
  }
  const [m, n] = [a.cpu.memory.bytes, b.cpu.memory.bytes];
  if (Buffer.compare(m, n) !== 0) {
    for (let i = 0, shown = 0; i < m.length && shown < 6; i++) {
      if (m[i] === n[i]) continue;
      out.push(`memory ${i.toString(16)}: ${m[i]!.toString(16)} / ${n[i]!.toString(16)}`);
      shown++;
    }
  }
  return out;
}

/** One program in one world. */
export class Run {
  readonly world: World;
  readonly log: string[] = [];
  readonly #layout: Layout;
  #isOver = false;

  constructor(world: World, program: Program, layout: Layout) {
    this.world = world;
    this.#layout = layout;
    const { cpu } = world;
    const { memory } = cpu;
    resetWorld(world, program.setting, layout.resume);
    for (let i = 0; i < 0x8000; i++) memory.bytes[0x2_0000 + i] = (i * 167 + (i >> 5)) & 0xff;
    memory.bytes.set(layout.image, CODE);
    memory.bytes.set(layout.image.subarray(0x3000), OTHER_CODE);
    // The other code page differs in what its pieces compute.
    for (const { offset, size } of layout.pieces)
      if (offset >= 0x3000 && size >= 3) memory.bytes[OTHER_CODE + offset + size - 0x3001]! ^= 1;
    program.targets.forEach((target, i) => {
      memory.view.setBigUint64(TARGETS + 8 * i, BigInt(layout.resolve(target)), true);
    });
    memory.written(0, memory.size);
    cpu.gpr.set(program.gpr);
    new Uint8Array(cpu.state.view.buffer).set(program.xmm, L.XMM);
    cpu.rip = BigInt(CODE);
  }

  /** Runs a phase and lets the host act; false when nothing can follow. */
  phase(phase: Phase, budget: () => number): boolean {
    const { cpu } = this.world;
    for (let left = phase.count; left > 0 && !this.#isOver; ) {
      const before = cpu.instructions;
      const given = Math.min(left, budget());
      const exit = cpu.run(given);
      if (exit.kind !== 'budget') this.#handle(exit);
      const used = Number(cpu.instructions - before);
      left -= used;
      if (exit.kind === 'budget' && used !== given) this.#end(`${used} of ${given} instructions`);
    }
    if (!this.#isOver && phase.action) this.#act(phase.action);
    return !this.#isOver;
  }

  #end(why: string): void {
    this.log.push(why);
    this.#isOver = true;
  }

  #handle(exit: Exit): void {
    const { cpu } = this.world;
    this.log.push(
      `${Object.values(exit).map((value) => (typeof value === 'bigint' ? value.toString(16) : `${value}`))} at ${cpu.rip.toString(16)} after ${retired(this.world)}`,
    );
    if (this.log.length > MAX_EXITS) return this.#end('too many exits');
    switch (exit.kind) {
      case 'exception':
        if (exit.vector === 1) {
          // Every third time stepping ends.
          if (this.log.length % 3 === 0) cpu.rflags &= ~0x100n;
          if (cpu.getDr(7) !== 0x400n) cpu.rflags |= 0x1_0000n;
          return;
        }
        if (exit.vector === 14 && Number(exit.cr2! >> 12n) === WINDOW >> 12 && !(exit.errorCode! & 1)) return this.#repair();
        return this.#resume();
      case 'softwareInterrupt':
      case 'syscall':
        return cpu.advance(exit.length);
      case 'halt':
        return;
      default:
        return this.#end(exit.kind);
    }
  }

  /** Maps the window again, as a host that pages lazily; the instruction runs again. */
  #repair(): void {
    const { cpu } = this.world;
    const { memory } = cpu;
    memory.view.setBigUint64(entryOf(Number(cpu.cr3), WINDOW), BigInt(WINDOW_FRAMES[this.log.length & 1] as number) | 0x67n, true);
    memory.written(entryOf(Number(cpu.cr3), WINDOW), 8);
    cpu.flushTlbPage(BigInt(WINDOW));
  }

  /** Goes on behind the piece, or from the start where RIP is in no code. */
  #resume(): void {
    const { cpu } = this.world;
    const { rip } = cpu;
    const offset = Number(rip & 0x3fffn);
    const base = Number(rip & 0xffff_c000n);
    const isCode = base === CODE || base === CODE + CODE_ALIAS;
    const next = this.#layout.resume[offset]!;
    cpu.rip = isCode && next !== 0 ? rip - BigInt(offset) + BigInt(next) : BigInt(CODE);
    cpu.rflags &= ~0x1_0000n;
  }

  #act(action: NonNullable<Phase['action']>): void {
    const { cpu } = this.world;
    const { memory } = cpu;
    cpu.setDr(7, 0x400n);
    switch (action.kind) {
      case 'patch': {
        const at = this.#layout.resolve(action.target);
        memory.bytes[at] = action.value;
        memory.written(at, 1);
        return;
      }
      case 'entry': {
        const at = entryOf(action.root, action.vaddr);
        memory.view.setBigUint64(at, action.entry, true);
        memory.written(at, 8);
        return cpu.flushTlbPage(BigInt(action.vaddr));
      }
      case 'root':
        cpu.cr3 = BigInt(action.root);
        return;
      case 'context': {
        const context = cpu.saveContext();
        cpu.gpr.fill(0n);
        cpu.loadContext(context);
        return;
      }
      case 'snapshot': {
        const snapshot = cpu.snapshot();
        memory.bytes.fill(0x90);
        cpu.gpr.fill(0n);
        return cpu.restore(snapshot);
      }
      case 'switch':
        cpu.engine = cpu.engine === 'translate' ? 'interpret' : 'translate';
        return;
      case 'interrupt': {
        const exit = cpu.canTakeInterrupt ? cpu.injectInterrupt(INT_RETURN) : undefined;
        return exit && this.#handle(exit);
      }
      case 'flags':
        cpu.rflags |= BigInt(action.set);
        return;
      case 'register':
        cpu.gpr[action.index] = action.value;
        return;
      case 'jump':
        cpu.rip = BigInt(this.#layout.resolve(action.target));
        return;
      case 'watch':
        cpu.setDr(0, BigInt(this.#layout.resolve(action.target)));
        cpu.setDr(7, action.isData ? 0xf_0401n : 0x401n);
        return;
      case 'flush':
        return cpu.flushTlb({ global: true });
    }
  }
}

/** Where two runs of a program part. */
export interface Divergence {
  readonly phase: number;
  readonly what: readonly string[];
}

/** Runs a program in both worlds; `cuts` make the budgets of each. */
export function compare(
  program: Program,
  a: World,
  b: World,
  cuts: (phase: Phase) => number = (phase) => phase.cut,
): Divergence | undefined {
  const layout = layOut(program);
  const random = makeRandom(program.seed ^ 0xc07);
  const [first, second] = [new Run(a, program, layout), new Run(b, program, layout)];
  for (const [i, phase] of program.phases.entries()) {
    const cut = cuts(phase);
    const goesOn = [first.phase(phase, () => 1_000_000), second.phase(phase, () => 1 + (random() % cut))];
    const what = differences(a, b);
    if (!isDeepStrictEqual(first.log, second.log)) {
      const at = first.log.findIndex((line, n) => line !== second.log[n]);
      const n = at < 0 ? first.log.length : at;
      what.push(`exit ${n}: ${first.log[n]} / ${second.log[n]}`);
    }
    if (what.length > 0) return { phase: i, what };
    if (!goesOn[0]) return undefined;
  }
  return undefined;
}
