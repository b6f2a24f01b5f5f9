/**
 * What must hold whichever engine runs: changed translations count from the flush on, in the middle of hot loops; and a
 * snapshot goes on the same way on any CPU with any engine.
 */
import t, { type Test } from 'tap';
import type { Exit } from '../../emulator/cpu/exit.ts';
import { type CpuCore, type CpuSnapshot, createCpu, type EngineKind, engineKinds } from '../../emulator/cpu/index.ts';
import { loadCode, makeBareCpu } from '../support/bare_cpu.ts';
import { makeProgram } from '../support/random/generate.ts';
import { differences, layOut, Run } from '../support/random/run.ts';
import { makeWorld } from '../support/random/world.ts';
import { A, D, G, NX, P, PageTables, RW, US } from '../support/tables.ts';
import { quickOr } from '../support/thorough.ts';

const HOTNESS = 50;

// Translations

const PAGE = 0x7000_0000_0000n;
const FRAMES = [0x20_0000, 0x20_1000] as const;
const ROUND = 300;
const ALL = P | RW | US | A | D;

/** Access at [rdi] by what it does to RBX, or to memory. */
const accesses = {
  read: [0x48, 0x03, 0x1f], // ADD RBX, [RDI]
  write: [0x48, 0x01, 0x0f], // ADD [RDI], RCX
  fetch: [0xff, 0xd7], // CALL RDI: INC RBX or DEC RBX; RET
};
const flushes = {
  none: [],
  invlpg: [0x0f, 0x01, 0x3f],
  'mov cr3': [0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8],
  'cr4.pge': [
    ...[0x0f, 0x20, 0xe0],
    ...[0x48, 0x35, 0x80, 0, 0, 0],
    ...[0x0f, 0x22, 0xe0],
    ...[0x48, 0x35, 0x80, 0, 0, 0],
    ...[0x0f, 0x22, 0xe0],
  ],
};

/** Two rounds of ROUND accesses, and between them a new last-level entry and a flush; then #UD. */
function makeTwoRounds(cpu: CpuCore, access: keyof typeof accesses, flush: keyof typeof flushes, before: bigint, after: bigint): void {
  const tables = new PageTables(cpu);
  tables.map(PAGE, FRAMES[0], before);
  const inner = [...accesses[access], 0xff, 0xc9]; // DEC ECX
  const round = [0xb9, ROUND & 0xff, ROUND >> 8, 0, 0, ...inner, 0x75, -(inner.length + 2) & 0xff];
  const change = [0x48, 0x89, 0x16, ...flushes[flush], 0xff, 0xcd]; // MOV [RSI], RDX; flush; DEC EBP
  const size = round.length + change.length + 2;
  loadCode(cpu, [0xbd, 2, 0, 0, 0, ...round, ...change, 0x75, -size & 0xff, 0x0f, 0x0b]);
  const isCode = access === 'fetch';
  FRAMES.forEach((frame, i) => {
    cpu.memory.bytes.set(isCode ? [0x48, 0xff, i === 0 ? 0xc3 : 0xcb, 0xc3] : [i === 0 ? 1 : 100], frame);
  });
  cpu.gpr[3] = 0n;
  cpu.gpr[6] = BigInt(tables.entry(PAGE, 1));
  cpu.gpr[7] = PAGE;
  cpu.gpr[2] = after;
}

const SUM = (ROUND * (ROUND + 1)) / 2;
type Outcome = 'old' | 'new' | 'either' | number;

// biome-ignore format: one case a line
const changes: [what: string, access: keyof typeof accesses, flush: keyof typeof flushes, before: bigint, after: bigint, Outcome][] = [
  ['another frame',                 'read',  'invlpg',  ALL,      BigInt(FRAMES[1]) | ALL,            'new'],
  ['another frame',                 'read',  'mov cr3', ALL,      BigInt(FRAMES[1]) | ALL,            'new'],
  ['another frame',                 'read',  'none',    ALL,      BigInt(FRAMES[1]) | ALL,            'either'],
  ['another frame',                 'write', 'invlpg',  ALL,      BigInt(FRAMES[1]) | ALL,            'new'],
  ['another frame',                 'write', 'mov cr3', ALL,      BigInt(FRAMES[1]) | ALL,            'new'],
  ['another frame',                 'write', 'none',    ALL,      BigInt(FRAMES[1]) | ALL,            'either'],
  ['another frame',                 'fetch', 'invlpg',  ALL,      BigInt(FRAMES[1]) | ALL,            'new'],
  ['another frame',                 'fetch', 'mov cr3', ALL,      BigInt(FRAMES[1]) | ALL,            'new'],
  ['another frame',                 'fetch', 'none',    ALL,      BigInt(FRAMES[1]) | ALL,            'either'],
  ['a global page, another frame',  'read',  'invlpg',  ALL | G,  BigInt(FRAMES[1]) | ALL | G,        'new'],
  ['a global page, another frame',  'read',  'mov cr3', ALL | G,  BigInt(FRAMES[1]) | ALL | G,        'old'],
  ['a global page, another frame',  'write', 'mov cr3', ALL | G,  BigInt(FRAMES[1]) | ALL | G,        'old'],
  ['a global page, another frame',  'read',  'cr4.pge', ALL | G,  BigInt(FRAMES[1]) | ALL | G,        'new'],
  ['a global page, another frame',  'fetch', 'cr4.pge', ALL | G,  BigInt(FRAMES[1]) | ALL | G,        'new'],
  ['absent',                        'read',  'invlpg',  ALL,      0n,                                 0],
  ['absent',                        'write', 'invlpg',  ALL,      0n,                                 2],
  ['absent',                        'fetch', 'mov cr3', ALL,      0n,                                 16],
  ['read-only',                     'read',  'invlpg',  ALL,      BigInt(FRAMES[1]) | (ALL & ~RW),    'new'],
  ['read-only',                     'write', 'invlpg',  ALL,      BigInt(FRAMES[1]) | (ALL & ~RW),    3],
  ['read-only',                     'write', 'mov cr3', ALL,      BigInt(FRAMES[0]) | (ALL & ~RW),    3],
  ['NX',                            'fetch', 'invlpg',  ALL,      BigInt(FRAMES[0]) | ALL | NX,       17],
];

function testTranslations(t: Test, engine: EngineKind, budget: number): void {
  let translated = 0n;
  for (const [what, access, flush, before, after, expected] of changes) {
    const cpu = makeBareCpu({ cpl: 0, engine, hotness: HOTNESS });
    makeTwoRounds(cpu, access, flush, before, after);
    const name = `${what}, ${access}, ${flush}`;
    let exit: Exit;
    do exit = cpu.run(budget);
    while (exit.kind === 'budget');
    if (typeof expected === 'number') {
      t.match(exit, { kind: 'exception', vector: 14, errorCode: expected, cr2: PAGE }, name);
      t.equal(Number(cpu.gpr[1]), ROUND, `${name}: at the first access of the second round`);
    } else {
      t.match(exit, { kind: 'exception', vector: 6 }, name);
      const [one, two] = FRAMES.map((frame) => Number(cpu.memory.view.getBigUint64(frame, true)));
      const result = { read: Number(cpu.gpr[3]), write: two! - 100, fetch: Number(cpu.gpr[3]) }[access];
      const old = { read: 2 * ROUND, write: 0, fetch: 2 * ROUND }[access];
      const fresh = { read: ROUND + 100 * ROUND, write: SUM, fetch: 0 }[access];
      if (access === 'write') t.equal(one! + two!, 101 + 2 * SUM, `${name}: no store is lost`);
      t.ok((expected !== 'new' && result === old) || (expected !== 'old' && result === fresh), `${name}: ${result} is ${expected}`);
    }
    translated += cpu.statistics().translatedInstructions;
  }
  if (engine === 'translate') t.ok(translated > 5000n, `${translated} instructions were translated code`);
  t.end();
}

for (const engine of engineKinds) {
  t.test(`a changed translation counts from the flush on, ${engine}`, (t) => testTranslations(t, engine, 1_000_000));
  t.test(`a changed translation counts from the flush on, ${engine}, in short runs`, (t) => testTranslations(t, engine, 37));
}

t.test('bytes that are code in two ways change in both', (t) => {
  const HEAD = 0x1_0000n;
  const TWICE = 0x1_0040;
  const ends = engineKinds.map((engine) => {
    const cpu = makeBareCpu({ engine, hotness: HOTNESS });
    // MOV EAX, imm32; INC EAX; JMP RBX, where the immediate is JMP RBX, too
    loadCode(cpu, [0xb8, 0xff, 0xe3, 0x90, 0x90, 0xff, 0xc0, 0xff, 0xe3], TWICE);
    // INC R8D; XOR EDX, 1; JMP RDX: to the MOV and into it in turn
    loadCode(cpu, [0x41, 0xff, 0xc0, 0x83, 0xf2, 1, 0xff, 0xe2], Number(HEAD));
    cpu.gpr[2] = BigInt(TWICE);
    cpu.gpr[3] = HEAD;
    for (const [offset, value] of [
      [4, 0x91],
      [2, 0xe3],
      [1, 0xff],
      [4, 0x92],
    ] as const) {
      cpu.run(3001);
      cpu.memory.bytes[TWICE + offset] = value;
      cpu.memory.written(TWICE + offset, 1);
    }
    cpu.run(3000);
    if (engine === 'translate') t.ok(cpu.statistics().translatedInstructions > 1000n);
    return { gpr: [...cpu.gpr], rip: cpu.rip, rflags: cpu.rflags };
  });
  t.strictSame(ends[1], ends[0]);
  t.equal(ends[0]!.gpr[0], 0x9290_e400n);
  t.end();
});

// Snapshots

t.test('a restored snapshot goes on as the CPU it was taken of, whatever the engines', (t) => {
  const worlds = engineKinds.map((engine) => makeWorld({ engine, hotness: HOTNESS }));
  const failures: string[] = [];
  let programs = 0;
  for (let seed = 1; programs < quickOr(20, 40); seed++) {
    const program = makeProgram(seed);
    if (!program.setting.hasIdt) continue;
    const [from, to] = programs % 2 ? [worlds[0]!, worlds[1]!] : [worlds[1]!, worlds[0]!];
    const layout = layOut(program);
    const original = new Run(from, program, layout);
    // What is there before must not matter.
    const other = makeProgram(seed + 1);
    new Run(to, other, layOut(other)).phase(other.phases[0]!, () => 1000);
    original.phase({ count: 1000 + seed, cut: 1 }, () => 100_000);
    const copy = new Run(to, program, layout);
    to.cpu.restore(structuredClone(from.cpu.snapshot()));
    to.start = from.start;
    const rest = { count: 3000, cut: 1 };
    original.phase(rest, () => 100_000);
    copy.phase(rest, () => 1 + (seed % 50));
    const what = differences(from, to);
    if (what.length > 0) failures.push(`seed ${seed}: ${what.join(', ')}`);
    programs++;
  }
  t.strictSame(failures, [], `${programs} programs`);
  t.end();
});

t.test('a snapshot is whole and small', (t) => {
  const cpu = makeBareCpu();
  // STI; INC RAX; at CPL 3 with IOPL 3
  loadCode(cpu, [0xfb, 0x48, 0xff, 0xc0, 0xeb, 0xfe]);
  cpu.rflags = 0x3002n;
  cpu.run(1);
  t.ok(cpu.isShadowed);
  cpu.requestInterruptWindow();
  const snapshot: CpuSnapshot = cpu.snapshot();
  t.ok(snapshot.memory.bytes.length < 64 * 1024, `${snapshot.memory.bytes.length} bytes of ${cpu.memory.size}`);
  cpu.run(100);
  const other = makeBareCpu({ engine: 'translate' });
  other.memory.bytes.fill(0x55, 0x40_0000, 0x50_0000);
  for (const target of [cpu, other]) {
    target.restore(snapshot);
    t.ok(target.isShadowed, 'the shadow of STI');
    t.equal(target.instructions, 1n, 'the count of instructions');
    t.equal(target.memory.bytes[0x40_0000], 0);
    t.strictSame(target.run(100), { kind: 'interruptWindow' });
    t.equal(target.gpr[0], 1n, 'which opens behind the next instruction');
  }
  t.end();
});

t.test('code of before is forgotten when a snapshot is restored', (t) => {
  for (const engine of engineKinds) {
    const cpu = makeBareCpu({ engine, hotness: HOTNESS });
    const loop = (value: number): number[] => [0xb8, value, 0, 0, 0, 0xeb, 0xf9];
    loadCode(cpu, loop(1));
    cpu.run(1000);
    const snapshot = cpu.snapshot();
    loadCode(cpu, loop(2));
    cpu.run(1000);
    t.equal(cpu.gpr[0], 2n);
    cpu.restore(snapshot);
    cpu.run(1000);
    t.equal(cpu.gpr[0], 1n, engine);
  }
  t.end();
});

t.test('a snapshot of another size of memory is refused', (t) => {
  const host = { cpuid: () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 }), readTsc: () => 0 };
  const intercepts = { exceptions: 0, softwareInterrupts: false, syscall: false, instructions: new Set<string>() };
  const small = createCpu({ memorySize: 0x1_0000, host, intercepts });
  t.throws(
    () => small.restore(makeBareCpu().snapshot()),
    new RangeError('a snapshot of 16777216 bytes of RAM does not fit a CPU with 65536'),
  );
  t.end();
});
