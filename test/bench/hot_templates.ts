/**
 * `npm run hot-templates`: samples which templates guests, the kernels and a mix execute and compiled code consists of, one
 * after another, and writes emulator/cpu/hot_keys.ts: the SINGLES most frequent ones, and of pairs of them, also of one with
 * any conditional branch, those that save most steps for their code, as many as fit into the loop.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { Decoder } from '../../emulator/cpu/decoder.ts';
import { emitHandler, type Lowered } from '../../emulator/cpu/handlers.ts';
import { anyConditional } from '../../emulator/cpu/hot.ts';
import type { CpuCore } from '../../emulator/cpu/index.ts';
import { type HotTemplate, hotFunction } from '../../emulator/cpu/interpreter.ts';
import type { Op } from '../../emulator/cpu/ir.ts';
import { rows } from '../../emulator/cpu/rows/index.ts';
import { type Shape, shapeBits, shapeKey } from '../../emulator/cpu/shape.ts';
import { lower } from '../../emulator/cpu/templates.ts';
import { Domain } from '../../emulator/domain.ts';
import { Machine } from '../../emulator/machine.ts';
import { runSlice } from '../../emulator/run.ts';
import { makeBareCpu } from '../support/bare_cpu.ts';
import { makeColdMix } from './cold_mix.ts';
import { loadSegments } from './load_segments.ts';

const SINGLES = 200;
/**
 * Bytes of WebAssembly of all cases: few enough for V8's better register allocator, which is for functions of up to 8192
 * values. A loop that is too large for it runs a third slower.
 */
const LOOP_SIZE = 44_500;
/** Instructions between samples: a prime. */
const STEP = 997;
const LONGEST = 40;
const mode = { code: 64, stackSize: 8, alignCheck: false } as const;

/** A template as far as the loop can tell one from another, by the code of its handler. */
interface Template {
  readonly name: string;
  readonly shape: Shape;
  /** Runs in the loop at all, and goes on to the next instruction whatever happens. */
  readonly isFit: boolean;
  readonly isStraight: boolean;
  weight: number;
}
/** Straight runs of templates that were executed or stand in a row, to the next branch; with weights. */
const runs = new Map<string, { templates: readonly Template[]; weight: number }>();
const byCode = new Map<string, Template>();
const byShape = new Map<number, Template>();
const decoder = new Decoder(rows);

const has = (ops: readonly Op[], kinds: string): boolean =>
  ops.some((op) => kinds.split(' ').includes(op.k) || (op.k === 'if' && (has(op.ifTrue, kinds) || has(op.ifFalse, kinds))));

function templateOf(shape: Shape): Template {
  let template = byShape.get(shapeKey(shape));
  if (template) return template;
  const ops = lower(shape);
  const code = String.fromCharCode(...emitHandler(shape, ops).encode());
  template = byCode.get(code);
  if (!template) {
    const isFit = !ops.some((op) => op.k === 'call' || op.k === 'system') && !shape.row.attributes.has('x87');
    const name = `${shape.row.opcode}|${shape.row.operands}`;
    template = { name, shape, isFit, isStraight: !has(ops, 'jump branch'), weight: 0 };
    byCode.set(code, template);
  }
  byShape.set(shapeKey(shape), template);
  return template;
}

/** The instructions from a place on, to the next that branches. */
function runAt(bytes: Uint8Array, start: number): { templates: Template[]; end: number } {
  const templates: Template[] = [];
  let at = start;
  while (templates.length < LONGEST) {
    const insn = decoder.decode(bytes, at, 0n, mode);
    if (typeof insn === 'string') return { templates, end: at + 1 };
    at += insn.length;
    const template = templateOf(insn.shape);
    templates.push(template);
    if (!template.isStraight || insn.row.attributes.has('system')) break;
  }
  return { templates, end: at };
}

/** Runs are counted for one program, whose total is `weight` in the end. */
class Program {
  readonly #found = new Map<string, { templates: Template[]; count: number }>();
  #total = 0;

  add(templates: Template[]): void {
    const key = templates.map(({ shape }) => shapeKey(shape)).join();
    const run = this.#found.get(key) ?? { templates, count: 0 };
    this.#found.set(key, run);
    run.count++;
    this.#total += templates.length;
  }

  finish(weight: number): void {
    for (const [key, { templates, count }] of this.#found) {
      const run = runs.get(key) ?? { templates, weight: 0 };
      runs.set(key, run);
      run.weight += (count / this.#total) * weight;
      for (const template of templates) template.weight += (count / this.#total) * weight;
    }
  }
}

/** Steps to where a branch went, and takes the run from there. */
function sample(cpu: CpuCore, program: Program): void {
  for (let i = 0; i < LONGEST; i++) {
    const translation = cpu.translate(cpu.rip, 'execute');
    if (!translation.ok) return;
    const bytes = cpu.memory.bytes.subarray(0, Math.ceil((translation.maddr + 1) / 4096) * 4096);
    const insn = decoder.decode(bytes, translation.maddr, cpu.rip, mode);
    if (typeof insn === 'string' || insn.row.attributes.has('system')) return;
    const isBranch = !templateOf(insn.shape).isStraight;
    if (cpu.run(1).kind !== 'budget') return;
    if (!isBranch) continue;
    const target = cpu.translate(cpu.rip, 'execute');
    if (target.ok) program.add(runAt(cpu.memory.bytes.subarray(0, Math.ceil((target.maddr + 1) / 4096) * 4096), target.maddr).templates);
    return;
  }
}

function makeKernel(elf: Uint8Array, number: number): CpuCore {
  const cpu = makeBareCpu({ cpl: 0, memorySize: 32 << 20 });
  cpu.rip = loadSegments(elf, cpu.memory.bytes);
  cpu.gpr[7] = BigInt(number);
  cpu.gpr[6] = 1n;
  return cpu;
}

function sampleRun(cpu: CpuCore, weight: number): void {
  const program = new Program();
  for (let i = 0; i < 20_000 && cpu.run(STEP).kind === 'budget'; i++) sample(cpu, program);
  program.finish(weight);
}

/** Boots a guest of ours, or GRUB where it is installed (its image is not part of this repository). */
function sampleGuest(path: string, keys: string, weight: number): void {
  const program = new Program();
  const machine = new Machine({ memorySize: 128 << 20, output: () => {} });
  const { cpu } = machine;
  const run = cpu.run.bind(cpu);
  cpu.run = (budget) => {
    for (let left = budget; ; left -= STEP) {
      const exit = run(Math.min(left, STEP));
      if (exit.kind !== 'budget' || left <= STEP) return exit;
      const translation = cpu.translate(cpu.rip, 'execute');
      if (translation.ok) program.add(runAt(cpu.memory.bytes, translation.maddr).templates);
    }
  };
  const domain = machine.createPvDomain(readFileSync(path), { name: 'hot', isInitial: false, memorySize: 128 << 20 });
  if (!(domain instanceof Domain)) throw new Error(`${path}: ${domain.message}`);
  for (let i = 0; i < 400; i++) {
    if (i === 200) machine.consoles.get(domain.id)!.input(new TextEncoder().encode(keys));
    if (runSlice(machine, 500_000).kind === 'over') break;
  }
  program.finish(weight);
}

/** What a compiler makes of C, read from start to end: code that runs once. */
function sampleText(path: string, weight: number): void {
  const program = new Program();
  const elf = readFileSync(path);
  const headers = Number(elf.readBigUInt64LE(32));
  for (let i = 0; i < elf.readUInt16LE(56); i++) {
    const header = headers + 56 * i;
    if (elf.readUInt32LE(header) !== 1 || (elf.readUInt32LE(header + 4) & 1) === 0) continue;
    const start = Number(elf.readBigUInt64LE(header + 8));
    const end = start + Number(elf.readBigUInt64LE(header + 32));
    for (let at = start; at < end - 16; ) {
      const { templates, end: next } = runAt(elf, at);
      if (templates.length > 0) program.add(templates);
      at = next;
    }
  }
  program.finish(weight);
}

const isConditional = ({ shape }: Template): boolean => shape.row.opcode.includes('+cc') && shape.row.mnemonic === 'j';
const lowered = ({ shape }: Template): Lowered => ({ shape, ops: lower(shape) });
const emptySize = hotFunction([]).encode().length;
/** Of a case of the loop, about. */
const sizeOf = (hot: HotTemplate): number => hotFunction([hot]).encode().length - emptySize;

/** Two templates to run as one; without a second, the first with any conditional branch. */
interface Pair {
  readonly first: Template;
  readonly second: Template | undefined;
  readonly size: number;
  weight: number;
}
const isHot = new Set<Template>();
const pairs = new Map<string, Pair>();
const keyOf = (first: Template, second: Template | undefined): string => `${shapeKey(first.shape)} ${second ? shapeKey(second.shape) : ''}`;

function pairOf(first: Template, second: Template | undefined): Pair {
  const key = keyOf(first, second);
  let pair = pairs.get(key);
  if (!pair) {
    pair = { first, second, size: sizeOf([lowered(first), second ? lowered(second) : anyBranch]), weight: 0 };
    pairs.set(key, pair);
  }
  return pair;
}

/** Tiles runs with the chosen pairs, from the left; adds up the weights of neighbours that are left single. */
function weighPairs(chosen: ReadonlySet<Pair>): void {
  for (const pair of pairs.values()) pair.weight = 0;
  const isChosen = (first: Template, second: Template | undefined): boolean => {
    const pair = pairs.get(keyOf(first, second));
    return pair !== undefined && chosen.has(pair);
  };
  for (const { templates, weight } of runs.values()) {
    for (let i = 0; i + 1 < templates.length; i++) {
      const [first, second] = [templates[i]!, templates[i + 1]!];
      if (isChosen(first, second) || (isConditional(second) && isChosen(first, undefined))) i++;
      else if (isHot.has(first) && isHot.has(second) && first.isStraight) {
        pairOf(first, second).weight += weight;
        if (isConditional(second)) pairOf(first, undefined).weight += weight;
      }
    }
  }
}

for (const name of ['hello', 'traps', 'rings', 'pagetables', 'clock'])
  sampleGuest(new URL(`../guests/${name}/${name}.elf`, import.meta.url).pathname, '', 0.2);
const grub = '/usr/lib/grub-xen/grub-x86_64-xen.bin';
if (existsSync(grub)) sampleGuest(grub, 'echo hello\rhelp\r', 2);
else console.log('Debian package grub-xen-host is not installed: GRUB is not sampled');
const libc = '/lib/x86_64-linux-gnu/libc.so.6';
if (existsSync(libc)) sampleText(libc, 6);
else console.log(`there is no ${libc}: no compiled code is sampled`);
const kernels = readFileSync(new URL('../test/bench/kernels/kernels.elf', import.meta.url));
for (let number = 0; number < 6; number++) sampleRun(makeKernel(kernels, number), 1);
// A mix, but not the one that the bench runs.
sampleRun(makeColdMix(20_000, 2), 2);

const hot = [...byCode.values()]
  .filter(({ isFit }) => isFit)
  .sort((a, b) => b.weight - a.weight)
  .slice(0, SINGLES);
for (const template of hot) isHot.add(template);
const anyBranch = anyConditional(hot.map(lowered));
const chosen = new Set<Pair>();
let size = hot.reduce((sum, template) => sum + sizeOf([lowered(template)]), 0);
for (let isFull = false; !isFull; ) {
  weighPairs(chosen);
  const best = [...pairs.values()].filter((pair) => !chosen.has(pair)).sort((a, b) => b.weight / b.size - a.weight / a.size);
  for (const pair of best.slice(0, 4)) {
    isFull ||= size + pair.size > LOOP_SIZE;
    if (isFull) break;
    chosen.add(pair);
    size += pair.size;
  }
}

const byRow = new Map<string, Template[]>();
for (const template of hot) byRow.set(template.name, [...(byRow.get(template.name) ?? []), template]);
const order = [...byRow.values()].flat();
const lines = [...byRow].map(([name, templates]) => `  ['${name}', ${templates.map(({ shape }) => shapeBits(shape)).join(', ')}],`);
const ordered = [...chosen].sort((a, b) => Number(a.second === undefined) - Number(b.second === undefined));
const places = ordered.map(({ first, second }) => `[${order.indexOf(first)}, ${second ? order.indexOf(second) : -1}],`);
const pairLines: string[] = [];
for (let i = 0; i < places.length; i += 10) pairLines.push(`  ${places.slice(i, i + 10).join(' ')}`);
writeFileSync(
  new URL('../emulator/cpu/hot_keys.ts', import.meta.url),
  `/** Generated by \`npm run hot-templates\`: rows ("opcode|operands") with the bits of their hot shapes. */
// biome-ignore format: generated
export const hotKeys: readonly (readonly [string, ...number[]])[] = [
${lines.join('\n')}
];
/** Templates that run as one with the next, by their places above; -1: with any conditional branch. */
// biome-ignore format: generated
export const hotPairs: readonly (readonly [number, number])[] = [
${pairLines.join('\n')}
];
`,
);
const total = [...byCode.values()].reduce((sum, { weight }) => sum + weight, 0);
const covered = hot.reduce((sum, { weight }) => sum + weight, 0);
weighPairs(chosen);
const single = [...pairs.values()].reduce((sum, { second, weight }) => sum + (second ? weight : 0), 0);
console.log(`${hot.length} templates of ${byCode.size}: ${((covered / total) * 100).toFixed(1)} %`);
console.log(`${chosen.size} pairs of ${pairs.size}; left single: ${((single / total) * 100).toFixed(1)} %`);
