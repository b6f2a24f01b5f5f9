/**
 * `npm run hot-templates`: samples which templates guests and the kernels execute and compiled code consists of, one after
 * another, and writes emulator/cpu/hot_keys.ts: the SINGLES most frequent ones, of those the PAIRS that save most steps,
 * and the BRANCHES pairs of one with any conditional branch that save most of the rest.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { Decoder } from '../../emulator/cpu/decoder.ts';
import { emitHandler } from '../../emulator/cpu/handlers.ts';
import type { CpuCore } from '../../emulator/cpu/index.ts';
import type { Op } from '../../emulator/cpu/ir.ts';
import { rows } from '../../emulator/cpu/rows/index.ts';
import { type Shape, shapeBits, shapeKey } from '../../emulator/cpu/shape.ts';
import { lower } from '../../emulator/cpu/templates.ts';
import { Domain } from '../../emulator/domain.ts';
import { Machine } from '../../emulator/machine.ts';
import { runSlice } from '../../emulator/run.ts';
import { makeBareCpu } from '../support/bare_cpu.ts';
import { loadSegments } from './load_segments.ts';

/**
 * Together few enough for V8's better register allocator, which is for functions of up to 8192 values: 350 cases fit, 400
 * do not, and run a third slower.
 */
const SINGLES = 200;
const PAIRS = 110;
const BRANCHES = 36;
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

function sampleKernel(elf: Uint8Array, number: number): void {
  const program = new Program();
  const cpu = makeBareCpu({ cpl: 0, memorySize: 32 << 20 });
  cpu.rip = loadSegments(elf, cpu.memory.bytes);
  cpu.gpr[7] = BigInt(number);
  cpu.gpr[6] = 1n;
  for (let i = 0; i < 20_000 && cpu.run(STEP).kind === 'budget'; i++) sample(cpu, program);
  program.finish(1);
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

const isHot = new Set<Template>();
/** Tiles runs with the chosen pairs, from the left; adds up the weights of neighbours that are left single. */
function neighbours(chosen: ReadonlySet<string>): Map<string, { first: Template; second: Template; weight: number }> {
  const found = new Map<string, { first: Template; second: Template; weight: number }>();
  for (const { templates, weight } of runs.values()) {
    for (let i = 0; i + 1 < templates.length; i++) {
      const [first, second] = [templates[i]!, templates[i + 1]!];
      const key = `${shapeKey(first.shape)} ${shapeKey(second.shape)}`;
      if (chosen.has(key)) i++;
      else if (isHot.has(first) && isHot.has(second) && first.isStraight) {
        const entry = found.get(key) ?? { first, second, weight: 0 };
        found.set(key, entry);
        entry.weight += weight;
      }
    }
  }
  return found;
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
for (let number = 0; number < 6; number++) sampleKernel(kernels, number);

const hot = [...byCode.values()]
  .filter(({ isFit }) => isFit)
  .sort((a, b) => b.weight - a.weight)
  .slice(0, SINGLES);
for (const template of hot) isHot.add(template);
const pairs: [Template, Template][] = [];
const chosen = new Set<string>();
while (pairs.length < PAIRS) {
  const best = [...neighbours(chosen)].sort((a, b) => b[1].weight - a[1].weight).slice(0, 4);
  for (const [key, { first, second }] of best) {
    chosen.add(key);
    pairs.push([first, second]);
  }
}

const isConditional = ({ shape }: Template): boolean => shape.row.opcode.includes('+cc') && shape.row.mnemonic === 'j';
const beforeBranches = new Map<Template, number>();
for (const { first, second, weight } of neighbours(chosen).values())
  if (isConditional(second)) beforeBranches.set(first, (beforeBranches.get(first) ?? 0) + weight);
const branches = [...beforeBranches]
  .sort((a, b) => b[1] - a[1])
  .slice(0, BRANCHES)
  .map(([first]) => first);

const byRow = new Map<string, Template[]>();
for (const template of hot) byRow.set(template.name, [...(byRow.get(template.name) ?? []), template]);
const order = [...byRow.values()].flat();
const lines = [...byRow].map(([name, templates]) => `  ['${name}', ${templates.map(({ shape }) => shapeBits(shape)).join(', ')}],`);
const places = [
  ...pairs.map(([first, second]) => `[${order.indexOf(first)}, ${order.indexOf(second)}],`),
  ...branches.map((first) => `[${order.indexOf(first)}, -1],`),
];
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
const left = [...neighbours(chosen).values()].length;
console.log(
  `${hot.length} templates of ${byCode.size}: ${((covered / total) * 100).toFixed(1)} %; ${pairs.length} pairs of ${left + pairs.length}`,
);
