/** Faults of segments outside 64-bit code, of loading segment registers, and of descriptor tables themselves. */

import t from 'tap';
import type { CpuCore } from '../../emulator/cpu/index.ts';
import { RAX } from '../../emulator/cpu/interface.ts';
import { loadCode } from '../support/bare_cpu.ts';
import {
  CODE,
  ePresent,
  eWrite,
  expectFault,
  GP,
  makeWorld,
  NEXT,
  NEXT_FRAME,
  NP,
  PF,
  SS,
  show,
  UD,
  type World,
} from '../support/fault_world.ts';
import { descriptor, P, RW, US, write64 } from '../support/tables.ts';

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
