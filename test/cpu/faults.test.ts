/** Every fault that an address can raise (fault_world.ts says what must be exact); segment_faults.test.ts has the segments'. */

import t from 'tap';
import { RAX, RCX, RDI, RSI, RSP } from '../../emulator/cpu/interface.ts';
import { loadCode } from '../support/bare_cpu.ts';
import {
  AC,
  CODE,
  eFetch,
  ePresent,
  eReserved,
  eUser,
  eWrite,
  execute,
  executed,
  expectFault,
  FRAME,
  GP,
  makeWorld,
  NEXT,
  NEXT_FRAME,
  PAGE,
  PF,
  SS,
  show,
  testBoth,
  UD,
  type World,
} from '../support/fault_world.ts';
import { A, D, NX, P, PS, RW, US, write64 } from '../support/tables.ts';

/** Accesses at [rdi], by bytes. */
const READ = [0x48, 0x8b, 0x07],
  WRITE = [0x48, 0x89, 0x07],
  ADD = [0x48, 0x01, 0x07],
  JUMP = [0xff, 0xe7];
/** Error code bits. */

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
    expectFault(t, name, world, code, { vector: PF, code: eUser | bits, cr2 });
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
  t.ok(executed.translated > 0.9 * executed.runs, `${executed.translated} of ${executed.runs}`);
  t.end();
});
