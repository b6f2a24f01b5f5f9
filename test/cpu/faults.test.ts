// Every fault that an address or a segment can raise: vector, error code, CR2 and RIP exact, no register and no byte of
// memory changed.
import t, { type Test } from 'tap';
import type { Exit } from '../../emulator/cpu/exit.ts';
import type { CpuCore } from '../../emulator/cpu/index.ts';
import { freshBareCpu, loadCode } from '../support/bare_cpu.ts';
import { EAGER_BLOCKS, loadTranslated, ranTranslated } from '../support/hot_code.ts';
import { A, D, descriptor, NX, P, PageTables, PS, RW, US, write64 } from '../support/tables.ts';

const CODE = 0x10010;
/** Two neighbouring pages and what backs them. */
const PAGE = 0x7123_4567_8000n,
  NEXT = PAGE + 4096n;
const FRAME = 0x20_0000,
  NEXT_FRAME = 0x20_1000;
const RSP = 4,
  RSI = 6,
  RDI = 7,
  RCX = 1,
  RAX = 0;
const GP = 13,
  SS = 12,
  PF = 14,
  AC = 17,
  UD = 6,
  NP = 11;

interface World {
  cpu: CpuCore;
  tables: PageTables;
}

/** The engine of the worlds that are made. */
let engine: Parameters<typeof freshBareCpu>[1] = {};
/** Runs of code by `execute`, and those of them that ran translated code. */
let runs = 0;
let translatedRuns = 0;

/** The claim for the interpreter, and for code that has been translated before it runs. */
function testBoth(name: string, body: (t: Test) => void): void {
  t.test(name, body);
  t.test(`${name}, translated`, (t) => {
    engine = EAGER_BLOCKS;
    try {
      body(t);
    } finally {
      engine = {};
    }
  });
}

/** Loads code and runs it for so many instructions. */
function execute(cpu: CpuCore, code: readonly number[], budget: number): Exit {
  const before = loadTranslated(cpu, code, CODE);
  let exit: Exit | undefined;
  if (cpu.engine === 'translate') runs++;
  const wasTranslated = ranTranslated(cpu, () => {
    exit = cpu.run(before + budget);
  });
  if (wasTranslated) translatedRuns++;
  return exit!;
}

function makeWorld(cpl: 0 | 3): World {
  const cpu = freshBareCpu(cpl, engine);
  const tables = new PageTables(cpu);
  tables.map(PAGE, FRAME);
  tables.map(NEXT, NEXT_FRAME);
  for (let i = 0; i < 8192; i++) cpu.memory.bytes[FRAME + i] = (i * 7) & 0xff;
  for (let i = 0; i < 16; i++) cpu.gpr[i] = i === RSP ? cpu.gpr[RSP]! : 0x0101_0101_0101_0100n + BigInt(i);
  return { cpu, tables };
}

const show = (exit: Exit): object =>
  exit.kind === 'exception' ? { vector: exit.vector, code: exit.errorCode, cr2: exit.cr2?.toString(16) } : exit;

/** Runs `code`, whose last instruction faults at `rip`; nothing else may have changed. */
function expectFault(
  t: Test,
  name: string,
  { cpu }: World,
  code: number[],
  expected: { vector: number; code?: number | undefined; cr2?: bigint; rip?: bigint },
): void {
  const registers = [...cpu.gpr];
  const { rflags, cr2 } = cpu;
  const memory = cpu.memory.bytes.slice(FRAME, FRAME + 8192);
  const exit = execute(cpu, code, 10);
  t.same(show(exit), { vector: expected.vector, code: expected.code, cr2: expected.cr2?.toString(16) }, name);
  const changed = [...cpu.gpr].findIndex((value, i) => value !== registers[i]);
  const isUntouched =
    changed < 0 && cpu.rflags === rflags && cpu.cr2 === cr2 && Buffer.compare(memory, cpu.memory.bytes.subarray(FRAME, FRAME + 8192)) === 0;
  if (!isUntouched) t.fail(`${name}: changed ${changed < 0 ? 'flags, CR2 or memory' : `register ${changed}`}`);
  t.equal(cpu.rip, expected.rip ?? BigInt(CODE), `${name}: RIP`);
}

/** Accesses at [rdi], by bytes. */
const READ = [0x48, 0x8b, 0x07],
  WRITE = [0x48, 0x89, 0x07],
  ADD = [0x48, 0x01, 0x07],
  JUMP = [0xff, 0xe7];
/** Error code bits. */
const ePresent = 1,
  eWrite = 2,
  eUser = 4,
  eReserved = 8,
  eFetch = 16;

interface PagingCase {
  what: string;
  prepare(world: World, level: number): void;
  levels?: number[];
  /** Added error code bits per access; undefined: the access is allowed. */
  read: number | undefined;
  write: number | undefined;
  fetch: number | undefined;
  cpls?: (0 | 3)[];
}

const RESERVED_40 = 1n << 40n;

// biome-ignore format: one case a line
const pagingCases: PagingCase[] = [
  { what: 'not present',            prepare: ({ tables }, l) => tables.change(PAGE, l, P, 0n),  read: 0, write: 0, fetch: 0 },
  { what: 'read-only, WP',          prepare: ({ tables }, l) => tables.change(PAGE, l, RW, 0n), read: undefined, write: ePresent, fetch: undefined },
  { what: 'read-only, no WP',       prepare: ({ tables, cpu }, l) => { tables.change(PAGE, l, RW, 0n); cpu.cr0 &= ~0x10000n; }, read: undefined, write: ePresent, fetch: undefined, cpls: [3] },
  { what: 'supervisor page',        prepare: ({ tables }, l) => tables.change(PAGE, l, US, 0n), read: ePresent, write: ePresent, fetch: ePresent, cpls: [3] },
  { what: 'NX',                     prepare: ({ tables }, l) => tables.change(PAGE, l, 0n, NX), read: undefined, write: undefined, fetch: ePresent },
  { what: 'bit 63 without NXE',     prepare: ({ tables, cpu }, l) => { tables.change(PAGE, l, 0n, NX); cpu.efer &= ~0x800n; }, read: ePresent | eReserved, write: ePresent | eReserved, fetch: ePresent | eReserved },
  { what: 'beyond MAXPHYADDR',      prepare: ({ tables }, l) => tables.change(PAGE, l, 0n, RESERVED_40), read: ePresent | eReserved, write: ePresent | eReserved, fetch: ePresent | eReserved },
  { what: 'PS in the top level',    prepare: ({ tables }) => tables.change(PAGE, 4, 0n, PS), levels: [4], read: ePresent | eReserved, write: ePresent | eReserved, fetch: ePresent | eReserved },
  { what: '2 MiB page, low bit',    prepare: ({ tables }) => tables.change(PAGE, 2, ~0n, 0x20_2000n | PS | P | RW | US), levels: [2], read: ePresent | eReserved, write: ePresent | eReserved, fetch: ePresent | eReserved },
  { what: '1 GiB page, low bit',    prepare: ({ tables }) => tables.change(PAGE, 3, ~0n, 0x20_0000n | PS | P | RW | US), levels: [3], read: ePresent | eReserved, write: ePresent | eReserved, fetch: ePresent | eReserved },
  { what: 'SMEP',                   prepare: ({ cpu, tables }) => { cpu.cr4 |= 1n << 20n; tables.map(0x10000n, 0x10000, P); }, levels: [1], read: undefined, write: undefined, fetch: ePresent, cpls: [0] },
];

testBoth('a page fault tells its reason, at every level of the tables', (t) => {
  for (const { what, prepare, levels = [4, 3, 2, 1], cpls = [0, 3], ...accesses } of pagingCases) {
    for (const level of levels) {
      for (const cpl of cpls as (0 | 3)[]) {
        for (const [access, code, bits] of [
          ['read', READ, 0],
          ['write', WRITE, eWrite],
          ['write', ADD, eWrite],
          ['fetch', JUMP, eFetch],
        ] as const) {
          const world = makeWorld(cpl);
          const { cpu } = world;
          prepare(world, level);
          const name = `${what}, level ${level}, CPL ${cpl}, ${code === ADD ? 'add' : access}`;
          cpu.gpr[RDI] = PAGE;
          const added = accesses[access];
          if (added === undefined) {
            cpu.memory.bytes[FRAME] = 0x90;
            t.same(execute(cpu, code, 1), { kind: 'budget' }, `${name} is allowed`);
            if (access === 'fetch') t.same(cpu.run(1), { kind: 'budget' }, `${name} is allowed`);
            continue;
          }
          const isFetchBitKnown = (cpu.efer & 0x800n) !== 0n || bits !== eFetch;
          const errorCode = added | (isFetchBitKnown ? bits : 0) | (cpl === 3 ? eUser : 0);
          expectFault(t, name, world, [...code], { vector: PF, code: errorCode, cr2: PAGE, rip: access === 'fetch' ? PAGE : BigInt(CODE) });
        }
      }
    }
  }
  const world = makeWorld(0);
  world.tables.change(PAGE, 1, RW, 0n);
  world.cpu.cr0 &= ~0x10000n;
  world.cpu.gpr[RDI] = PAGE;
  t.same(execute(world.cpu, WRITE, 1), { kind: 'budget' }, 'the supervisor writes a read-only page without WP');
  t.end();
});

testBoth('accesses mark the tables', (t) => {
  for (const [name, code, leaf] of [
    ['read', READ, A],
    ['write', WRITE, A | D],
    ['add', ADD, A | D],
  ] as const) {
    const { cpu, tables } = makeWorld(3);
    cpu.gpr[RDI] = PAGE;
    execute(cpu, code, 1);
    for (const level of [4, 3, 2])
      t.equal(cpu.memory.view.getBigUint64(tables.entry(PAGE, level), true) & (A | D), A, `${name}, level ${level}`);
    t.equal(cpu.memory.view.getBigUint64(tables.entry(PAGE, 1), true) & (A | D), leaf, `${name}, leaf`);
  }
  const { cpu, tables } = makeWorld(3);
  cpu.gpr[RDI] = PAGE;
  execute(cpu, [...READ, ...WRITE], 2);
  t.equal(cpu.memory.view.getBigUint64(tables.entry(PAGE, 1), true) & D, D, 'a write after a read marks D');
  t.end();
});

testBoth('an access that crosses a page reports the page that is at fault, and changes neither', (t) => {
  const last = PAGE + 4096n - 3n;
  const accesses: [string, number[], number][] = [
    ['mov load', READ, 0],
    ['mov store', WRITE, eWrite],
    ['add', ADD, eWrite],
    ['xchg', [0x48, 0x87, 0x07], eWrite],
    ['cmpxchg', [0xf0, 0x48, 0x0f, 0xb1, 0x07], eWrite],
    ['inc', [0x48, 0xff, 0x07], eWrite],
    ['movups load', [0x0f, 0x10, 0x07], 0],
    ['movups store', [0x0f, 0x11, 0x07], eWrite],
    ['push [rdi]', [0xff, 0x37], 0],
  ];
  for (const [name, code, bits] of accesses) {
    for (const [which, page, cr2] of [
      ['first', PAGE, last],
      ['second', NEXT, NEXT],
    ] as const) {
      const world = makeWorld(3);
      world.tables.change(page, 1, P, 0n);
      world.cpu.gpr[RDI] = last;
      expectFault(t, `${name}, ${which} page absent`, world, code, { vector: PF, code: eUser | bits, cr2 });
    }
    const world = makeWorld(3);
    world.tables.change(PAGE, 1, P, 0n);
    world.tables.change(NEXT, 1, P, 0n);
    world.cpu.gpr[RDI] = last;
    expectFault(t, `${name}, both absent`, world, code, { vector: PF, code: eUser | bits, cr2: last });
    if (bits === 0) continue;
    const readOnly = makeWorld(3);
    readOnly.tables.change(NEXT, 1, RW, 0n);
    readOnly.cpu.gpr[RDI] = last;
    expectFault(t, `${name}, second page read-only`, readOnly, code, { vector: PF, code: eUser | eWrite | ePresent, cr2: NEXT });
  }
  const { cpu } = makeWorld(3);
  cpu.gpr[RDI] = last;
  cpu.gpr[RAX] = 0x8877_6655_4433_2211n;
  execute(cpu, [...WRITE, ...ADD, 0x48, 0x8b, 0x1f], 3);
  t.equal(cpu.gpr[3], 0x10eeccaa88664422n, 'stores, sums and loads across pages that are there work');
  t.end();
});

testBoth('the stack faults at its own address, and RSP stays', (t) => {
  const cases: [string, number[], number, bigint][] = [
    ['push', [0x50], eWrite, PAGE - 8n],
    ['pop', [0x58], 0, PAGE],
    ['call', [0xe8, 0, 0, 0, 0], eWrite, PAGE - 8n],
    ['ret', [0xc3], 0, PAGE],
    ['pushf', [0x9c], eWrite, PAGE - 8n],
    ['popf', [0x9d], 0, PAGE],
    ['iret', [0x48, 0xcf], 0, PAGE],
    ['retf', [0x48, 0xcb], 0, PAGE],
    ['push fs', [0x0f, 0xa0], eWrite, PAGE - 8n],
    ['leave', [0xc9], 0, PAGE],
  ];
  for (const [name, code, bits, cr2] of cases) {
    const world = makeWorld(3);
    world.tables.change(PAGE, 1, P, 0n);
    world.cpu.gpr[RSP] = PAGE;
    world.cpu.gpr[5] = PAGE;
    expectFault(t, name, world, code, { vector: PF, code: eUser | bits, cr2: cr2 < PAGE ? cr2 : PAGE });
  }
  t.end();
});

testBoth('addresses that are not canonical', (t) => {
  const bad = 0x8000_0000_0000n;
  const cases: [string, number[], number, number][] = [
    ['mov rax, [rdi]', READ, GP, RDI],
    ['mov [rdi], rax', WRITE, GP, RDI],
    ['mov rax, [rsp]', [0x48, 0x8b, 0x04, 0x24], SS, RSP],
    ['mov rax, [rbp]', [0x48, 0x8b, 0x45, 0], SS, 5],
    ['mov rax, fs:[rbp]', [0x64, 0x48, 0x8b, 0x45, 0], GP, 5],
    ['push', [0x50], SS, RSP],
    ['pop', [0x58], SS, RSP],
    ['ret', [0xc3], SS, RSP],
    ['call', [0xe8, 0, 0, 0, 0], SS, RSP],
    ['popf', [0x9d], SS, RSP],
    ['iretq', [0x48, 0xcf], SS, RSP],
    ['jmp rdi', JUMP, GP, RDI],
    ['call rdi', [0xff, 0xd7], GP, RDI],
    ['rep stosb', [0xf3, 0xaa], GP, RDI],
  ];
  for (const [name, code, vector, register] of cases) {
    for (const address of [bad + 64n, 0xffff_7fff_ffff_ff00n, 0x1234_0000_0000_0000n]) {
      const world = makeWorld(3);
      world.cpu.gpr[register] = address;
      expectFault(t, `${name}, ${address.toString(16)}`, world, code, { vector, code: 0 });
    }
  }
  const world = makeWorld(3);
  world.cpu.gpr[RDI] = bad - 4n;
  world.tables.map(bad - 4096n, FRAME);
  expectFault(t, 'a load over the end of the lower half', world, READ, { vector: GP, code: 0 });
  const returning = makeWorld(3);
  const rsp = returning.cpu.gpr[RSP]!;
  write64(returning.cpu, Number(rsp), bad);
  expectFault(t, 'ret to an address that is not canonical', returning, [0xc3], { vector: GP, code: 0 });
  t.end();
});

t.test('fetching: an instruction that reaches into a bad page', (t) => {
  const rows: [string, (world: World) => void, number][] = [
    ['absent', ({ tables }) => tables.change(NEXT, 1, P, 0n), eUser | eFetch],
    ['NX', ({ tables }) => tables.change(NEXT, 1, 0n, NX), eUser | eFetch | ePresent],
    ['supervisor', ({ tables }) => tables.change(NEXT, 1, US, 0n), eUser | eFetch | ePresent],
  ];
  for (const [name, prepare, code] of rows) {
    const world = makeWorld(3);
    const { cpu } = world;
    prepare(world);
    // nop; mov eax, imm32 with two bytes in the first page
    cpu.memory.bytes.set([0x90, 0xb8, 0x78], FRAME + 4093);
    cpu.rip = PAGE + 4093n;
    const before = cpu.instructions;
    t.same(show(cpu.run(10)), { vector: PF, code, cr2: NEXT.toString(16) }, `mov into a page that is ${name}`);
    t.equal(cpu.rip, PAGE + 4094n);
    t.equal(cpu.instructions - before, 1n, 'the nop before it retired');
    t.equal(cpu.gpr[RAX], 0x0101_0101_0101_0100n);
    // The same without an instruction that crosses
    cpu.memory.bytes.set([0x90, 0x90, 0x90], FRAME + 4093);
    cpu.memory.written(FRAME + 4093, 3);
    cpu.rip = PAGE + 4093n;
    t.same(show(cpu.run(10)), { vector: PF, code, cr2: NEXT.toString(16) }, `falling into a page that is ${name}`);
    t.equal(cpu.rip, NEXT);
  }
  const { cpu } = makeWorld(3);
  cpu.memory.bytes.set([0xb8, 0x78], FRAME + 4094);
  cpu.memory.bytes.set([0x56, 0x34, 0x12, 0xb8], NEXT_FRAME);
  cpu.rip = PAGE + 4094n;
  cpu.run(1);
  t.equal(cpu.gpr[RAX], 0x12345678n, 'the bytes of both pages make one instruction');
  cpu.memory.bytes[NEXT_FRAME] = 0x57;
  cpu.memory.written(NEXT_FRAME, 1);
  cpu.rip = PAGE + 4094n;
  cpu.run(1);
  t.equal(cpu.gpr[RAX], 0x12345778n, 'a change in the second page is seen');
  const long = makeWorld(3);
  expectFault(t, 'more than 15 bytes', long, [...Array<number>(15).fill(0x66), 0x90], { vector: GP, code: 0 });
  expectFault(t, 'LOCK on a register', makeWorld(3), [0xf0, 0x90], { vector: UD });
  t.end();
});

testBoth('a repeated string instruction stops at the element that faults', (t) => {
  const rows: [string, number[], number, number, boolean, boolean][] = [
    ['rep movsb', [0xf3, 0xa4], 1, eUser | eWrite, true, true],
    ['rep movsq', [0xf3, 0x48, 0xa5], 8, eUser | eWrite, true, true],
    ['rep stosd', [0xf3, 0xab], 4, eUser | eWrite, false, true],
    ['rep lodsb', [0xf3, 0xac], 1, eUser, true, false],
  ];
  for (const [name, code, size, errorCode, movesSource, movesDestination] of rows) {
    const world = makeWorld(3);
    const { cpu, tables } = world;
    tables.change(NEXT, 1, P, 0n);
    const start = NEXT - BigInt(3 * size);
    cpu.gpr[RCX] = 10n;
    cpu.gpr[RSI] = movesDestination ? BigInt(CODE + 0x100) : start;
    cpu.gpr[RDI] = start;
    const source = cpu.gpr[RSI]!;
    t.same(show(execute(cpu, code, 100)), { vector: PF, code: errorCode, cr2: NEXT.toString(16) }, name);
    t.equal(cpu.rip, BigInt(CODE), `${name}: RIP`);
    t.equal(cpu.gpr[RCX], 7n, `${name}: RCX`);
    t.equal(cpu.gpr[RSI]! - source, BigInt(movesSource ? 3 * size : 0), `${name}: RSI`);
    t.equal(cpu.gpr[RDI]! - start, BigInt(movesDestination ? 3 * size : 0), `${name}: RDI`);
  }
  t.end();
});

testBoth('alignment is checked where CR0.AM, RFLAGS.AC and CPL 3 say so', (t) => {
  for (const [name, cpl, am, ac, isFault] of [
    ['on', 3, true, true, true],
    ['CPL 0', 0, true, true, false],
    ['no AM', 3, false, true, false],
    ['no AC', 3, true, false, false],
  ] as const) {
    const world = makeWorld(cpl);
    const { cpu } = world;
    cpu.cr0 = am ? cpu.cr0 | 0x40000n : cpu.cr0 & ~0x40000n;
    cpu.rflags = ac ? 0x40002n : 2n;
    cpu.gpr[RDI] = PAGE + 1n;
    for (const [what, code] of [
      ['load', READ],
      ['store', WRITE],
      ['add', ADD],
    ] as const) {
      if (isFault) expectFault(t, `${name}, ${what}`, world, [...code], { vector: AC, code: 0 });
      else {
        t.same(execute(cpu, code, 1), { kind: 'budget' }, `${name}, ${what}`);
      }
    }
    t.same(execute(cpu, [0x8a, 0x07], 1), { kind: 'budget' }, `${name}, a byte`);
  }
  const popped = makeWorld(3);
  popped.cpu.cr0 |= 0x40000n;
  popped.cpu.rflags = 0x2n;
  write64(popped.cpu, Number(popped.cpu.gpr[RSP]), 0x40202n);
  popped.cpu.gpr[RDI] = PAGE + 1n;
  loadCode(popped.cpu, [0x9d, ...READ], CODE);
  t.same(show(popped.cpu.run(2)), { vector: AC, code: 0, cr2: undefined }, 'POPF turns it on for the next instruction');
  const aligned = makeWorld(3);
  aligned.cpu.gpr[RDI] = PAGE + 8n;
  expectFault(t, 'movaps off 16 bytes', aligned, [0x0f, 0x28, 0x07], { vector: GP, code: 0 });
  t.end();
});

t.test('what was to run translated did', (t) => {
  t.ok(translatedRuns > 0.9 * runs, `${translatedRuns} of ${runs}`);
  t.end();
});

// Segmentation

const GDT = 0x30_0000;
const LDT = 0x31_0000;
const DATA = 2,
  READ_ONLY = 0,
  CODE_TYPE = 8,
  READABLE = 2,
  CONFORMING = 4,
  DOWN = 4,
  ACCESSED = 1;
const LONG = 2,
  BIG = 4,
  PAGES = 8;

/** Puts descriptors into the GDT from index 1 on. */
function setGdt(cpu: CpuCore, descriptors: bigint[]): void {
  write64(cpu, GDT, 0n, ...descriptors);
  cpu.gdtr = { base: BigInt(GDT), limit: 8 * (descriptors.length + 1) - 1 };
}

/** 32-bit code and flat data, selectors 8 and 16 plus `cpl`. */
function enterCompatibility({ cpu }: World): void {
  const { cpl } = cpu;
  cpu.setSegment('cs', { selector: 8 | cpl, base: 0n, limit: 0xffff_ffff, attributes: 0xc09b | (cpl << 5) });
  for (const name of ['ss', 'ds', 'es'] as const)
    cpu.setSegment(name, { selector: 16 | cpl, base: 0n, limit: 0xffff_ffff, attributes: 0xc093 | (cpl << 5) });
}

t.test('32-bit code lives under the limits and rights of its segments', (t) => {
  const at = (address: number): number[] => [0x05, address & 0xff, (address >> 8) & 0xff, (address >> 16) & 0xff, address >>> 24];
  const load = (address: number, prefix: number[] = []): number[] => [...prefix, 0x8b, ...at(address)];
  const store = (address: number, prefix: number[] = []): number[] => [...prefix, 0x89, ...at(address)];
  const overSs = [0x36];
  // name, segment, its type and limit, code, vector or undefined when allowed
  const rows: [string, 'ds' | 'ss' | 'es', number, number, number[], number | undefined][] = [
    ['last dword', 'ds', DATA, 0xffff, load(0xfffc), undefined],
    ['one byte over', 'ds', DATA, 0xffff, load(0xfffd), GP],
    ['far over', 'ds', DATA, 0xffff, store(0x2_0000), GP],
    ['end of the address space', 'ds', DATA, 0xffff_ffff, load(0xffff_fffe), GP],
    ['SS over its limit', 'ss', DATA, 0xffff, load(0x1_0000, overSs), SS],
    ['write to read-only data', 'ds', READ_ONLY, 0xffff_ffff, store(0x2000), GP],
    ['read of read-only data', 'ds', READ_ONLY, 0xffff_ffff, load(0x2000), undefined],
    ['add to read-only data', 'ds', READ_ONLY, 0xffff_ffff, [0x01, ...at(0x2000)], GP],
    ['read of readable code', 'ds', CODE_TYPE | READABLE, 0xffff_ffff, load(0x2000), undefined],
    ['write to readable code', 'ds', CODE_TYPE | READABLE, 0xffff_ffff, store(0x2000), GP],
    ['read of execute-only code', 'ds', CODE_TYPE, 0xffff_ffff, load(0x2000), GP],
    ['expand-down, above the limit', 'ds', DATA | DOWN, 0xffff, load(0x1_0000), undefined],
    ['expand-down, at the limit', 'ds', DATA | DOWN, 0xffff, load(0xffff), GP],
  ];
  for (const [name, segment, type, limit, code, vector] of rows) {
    const world = makeWorld(3);
    const { cpu } = world;
    enterCompatibility(world);
    cpu.setSegment(segment, { selector: 0x23, base: 0n, limit, attributes: 0xc0f0 | type | ACCESSED });
    if (vector !== undefined) expectFault(t, name, world, code, { vector, code: 0 });
    else {
      loadCode(cpu, code, CODE);
      t.same(cpu.run(1), { kind: 'budget' }, name);
    }
  }
  const nullDs = makeWorld(3);
  enterCompatibility(nullDs);
  nullDs.cpu.setSegment('ds', { selector: 0, base: 0n, limit: 0, attributes: 0 });
  expectFault(t, 'a null DS', nullDs, load(0x2000), { vector: GP, code: 0 });

  const based = makeWorld(3);
  enterCompatibility(based);
  based.cpu.setSegment('ds', { selector: 0x23, base: 0x1_0000n, limit: 0xffff, attributes: 0x40f3 });
  based.cpu.memory.view.setUint32(0x1_2000, 0xcafe, true);
  loadCode(based.cpu, load(0x2000), 0x5000);
  based.cpu.run(1);
  t.equal(based.cpu.gpr[RAX], 0xcafen, 'the base counts');
  t.end();
});

t.test('32-bit code ends at the limit of CS', (t) => {
  const make = (limit: number): World => {
    const world = makeWorld(3);
    enterCompatibility(world);
    world.cpu.setSegment('cs', { selector: 11, base: 0x1_0000n, limit, attributes: 0x40fb });
    return world;
  };
  const fall = make(0x0fff);
  fall.cpu.memory.bytes.set([0x90, 0x90, 0x90], 0x1_0ffe);
  fall.cpu.rip = 0xffen;
  t.same(show(fall.cpu.run(10)), { vector: GP, code: 0, cr2: undefined }, 'falling over it');
  t.equal(fall.cpu.rip, 0x1000n);
  const crossing = make(0x0ffe);
  crossing.cpu.memory.bytes.set([0x90, 0xb8, 1, 0, 0, 0], 0x1_0ffb);
  crossing.cpu.rip = 0xffbn;
  t.same(show(crossing.cpu.run(10)), { vector: GP, code: 0, cr2: undefined }, 'an instruction over it');
  t.equal(crossing.cpu.rip, 0xffcn);
  crossing.cpu.setSegment('cs', { selector: 11, base: 0x1_0000n, limit: 0x1000, attributes: 0x40fb });
  t.same(crossing.cpu.run(1), { kind: 'budget' }, 'which fits under another limit');
  const branch = make(0x0fff);
  branch.cpu.memory.bytes.set([0xff, 0xe0], 0x1_0000);
  branch.cpu.rip = 0n;
  branch.cpu.gpr[RAX] = 0x1000n;
  t.same(show(branch.cpu.run(10)), { vector: GP, code: 0, cr2: undefined }, 'an indirect jump over it');
  t.equal(branch.cpu.rip, 0n, 'faults at the jump');
  const rebased = make(0xffff);
  rebased.cpu.memory.bytes.set([0xb8, 1, 0, 0, 0], 0x1_0000);
  rebased.cpu.memory.bytes.set([0xb8, 2, 0, 0, 0], 0x2_0000);
  rebased.cpu.rip = 0n;
  rebased.cpu.run(1);
  t.equal(rebased.cpu.gpr[RAX], 1n);
  rebased.cpu.setSegment('cs', { selector: 11, base: 0x2_0000n, limit: 0xffff, attributes: 0x40fb });
  rebased.cpu.rip = 0n;
  rebased.cpu.run(1);
  t.equal(rebased.cpu.gpr[RAX], 2n, 'another base means other code at the same EIP');
  t.end();
});

t.test('loading a segment register checks the selector and its descriptor', (t) => {
  // biome-ignore format: one descriptor a line
  const gdt = [
    descriptor(DATA, 0, { flags: BIG | PAGES }),                       // 08
    descriptor(DATA, 3, { flags: BIG | PAGES }),                       // 10
    descriptor(READ_ONLY, 3, { flags: BIG | PAGES }),                  // 18
    descriptor(CODE_TYPE | READABLE, 3, { flags: LONG | PAGES }),      // 20
    descriptor(CODE_TYPE, 3, { flags: LONG | PAGES }),                 // 28
    descriptor(CODE_TYPE | READABLE | CONFORMING, 0, { flags: LONG }), // 30
    descriptor(DATA, 3, { isAbsent: true }),                           // 38
    descriptor(2, 3, { isSystem: true }),                              // 40 an LDT
  ];
  const NULL = 0;
  // what, segment register (ModRM.reg), selector, CPL, 64-bit code?, fault or undefined
  // biome-ignore format: one case a line
  const rows: [string, number, number, 0 | 3, boolean, [number, number] | undefined][] = [
    ['data into DS',                  3, 0x13, 3, true,  undefined],
    ['read-only data into ES',        0, 0x1b, 3, true,  undefined],
    ['readable code into FS',         4, 0x23, 3, true,  undefined],
    ['null into DS',                  3, NULL, 3, true,  undefined],
    ['null with RPL 3 into GS',       5, 3,    3, true,  undefined],
    ['conforming code at CPL 3',      3, 0x33, 3, true,  undefined],
    ['CPL above DPL',                 3, 0x08, 3, true,  [GP, 0x08]],
    ['RPL above DPL',                 3, 0x0b, 0, true,  [GP, 0x08]],
    ['DPL 3 data at CPL 0',           3, 0x10, 0, true,  undefined],
    ['execute-only code',             3, 0x2b, 3, true,  [GP, 0x28]],
    ['a system descriptor',           3, 0x43, 3, true,  [GP, 0x40]],
    ['not present',                   3, 0x3b, 3, true,  [NP, 0x38]],
    ['beyond the GDT',                3, 0x4b, 3, true,  [GP, 0x48]],
    ['in an LDT that is not there',   3, 0x0f, 3, true,  [GP, 0x0c]],
    ['SS',                            2, 0x13, 3, true,  undefined],
    ['SS null at CPL 0, 64-bit',      2, NULL, 0, true,  undefined],
    ['SS null with RPL 3 at CPL 0',   2, 3,    0, true,  [GP, 0]],
    ['SS null at CPL 3',              2, 3,    3, true,  [GP, 0]],
    ['SS null in 32-bit code',        2, NULL, 0, false, [GP, 0]],
    ['SS read-only',                  2, 0x1b, 3, true,  [GP, 0x18]],
    ['SS code',                       2, 0x23, 3, true,  [GP, 0x20]],
    ['SS of another DPL',             2, 0x0b, 3, true,  [GP, 0x08]],
    ['SS of another RPL',             2, 0x10, 3, true,  [GP, 0x10]],
    ['SS not present',                2, 0x3b, 3, true,  [SS, 0x38]],
  ];
  for (const [name, segment, selector, cpl, isLong, fault] of rows) {
    const world = makeWorld(cpl);
    const { cpu } = world;
    if (!isLong) enterCompatibility(world);
    cpu.setSegment('ldtr', { selector: 0, base: 0n, limit: 0, attributes: 0 });
    setGdt(cpu, gdt);
    cpu.gpr[RAX] = BigInt(selector);
    const code = [0x8e, 0xc0 | (segment << 3)];
    if (fault) {
      expectFault(t, name, world, code, { vector: fault[0], code: fault[1] });
      continue;
    }
    loadCode(cpu, code, CODE);
    t.same(cpu.run(1), { kind: 'budget' }, name);
    const loaded = cpu.getSegment((['es', 'cs', 'ss', 'ds', 'fs', 'gs'] as const)[segment]!);
    t.equal(loaded.selector, selector, `${name}: selector`);
    const index = selector >> 3;
    if (index > 0) t.equal(cpu.memory.bytes[GDT + index * 8 + 5]! & 1, 1, `${name}: marked accessed`);
  }
  for (const code of [
    [0x8e, 0xc8],
    [0x8e, 0xf0],
    [0x8c, 0xf8],
  ])
    expectFault(t, `no such segment register ${code}`, makeWorld(3), code, { vector: UD });
  t.end();
});

t.test('descriptor tables are read as supervisor through the page tables', (t) => {
  const world = makeWorld(3);
  const { cpu, tables } = world;
  const gdt = NEXT;
  tables.change(NEXT, 1, US, 0n);
  write64(cpu, NEXT_FRAME + 8, descriptor(DATA | ACCESSED, 3, { flags: BIG | PAGES }), descriptor(DATA, 3, { flags: BIG | PAGES }));
  cpu.gdtr = { base: gdt, limit: 0xfff };
  cpu.gpr[RAX] = 0x0bn;
  loadCode(cpu, [0x8e, 0xd8], CODE);
  t.same(cpu.run(1), { kind: 'budget' }, 'CPL 3 loads through a GDT that only the supervisor may read');
  tables.change(NEXT, 1, RW, 0n);
  loadCode(cpu, [0x8e, 0xd8], CODE);
  t.same(cpu.run(1), { kind: 'budget' }, 'no write when it is marked accessed');
  cpu.gpr[RAX] = 0x13n;
  expectFault(t, 'marking it accessed in a read-only GDT', world, [0x8e, 0xd8], { vector: PF, code: ePresent | eWrite, cr2: gdt + 0x15n });
  tables.change(NEXT, 1, P, 0n);
  expectFault(t, 'a GDT that is not there', world, [0x8e, 0xd8], { vector: PF, code: 0, cr2: gdt + 0x10n });
  cpu.gdtr = { base: BigInt(GDT), limit: 7 };
  cpu.setSegment('ldtr', { selector: 0x28, base: BigInt(LDT), limit: 15, attributes: 0x82 });
  write64(cpu, LDT + 8, descriptor(DATA, 3, { flags: BIG | PAGES, base: 0x1234 }));
  cpu.gpr[RAX] = 0x0fn;
  loadCode(cpu, [0x8e, 0xd8], CODE);
  t.same(cpu.run(1), { kind: 'budget' }, 'from the LDT');
  t.equal(cpu.getSegment('ds').base, 0x1234n);
  cpu.gpr[RAX] = 0x17n;
  expectFault(t, 'beyond the LDT', world, [0x8e, 0xd8], { vector: GP, code: 0x14 });
  t.end();
});
