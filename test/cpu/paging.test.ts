/**
 * Paging beside the faults of faults.test.ts: what control registers refuse, PAE's top entries, large and global pages and
 * what drops their translations, PCIDs and INVPCID, SMAP and its implicit accesses (SDM 3A 2.5, 4; 2A INVPCID).
 */

import t from 'tap';
import type { Exit } from '../../emulator/cpu/exit.ts';
import { type CpuCore, type EngineKind, engineKinds } from '../../emulator/cpu/index.ts';
import { RAX, RBX, RCX } from '../../emulator/cpu/interface.ts';
import { loadCode, makeBareCpu } from '../support/bare_cpu.ts';
import { CODE, change, DATA, protectedCpu } from '../support/legacy_cpu.ts';
import { gate, P, PageTables, PS, RW, read64, US, write64 } from '../support/tables.ts';

const show = (exit: Exit): string =>
  exit.kind === 'exception'
    ? `#${exit.vector}(${exit.errorCode ?? ''})${exit.cr2 === undefined ? '' : ` ${exit.cr2.toString(16)}`}`
    : exit.kind;

// Bytes, of 32- and 64-bit code alike
const TO_CR0 = [0x0f, 0x22, 0xc0],
  TO_CR3 = [0x0f, 0x22, 0xd8],
  TO_CR4 = [0x0f, 0x22, 0xe0],
  LOAD8 = [0x8a, 0x03], // mov al, [rbx]
  STORE8 = [0x88, 0x03],
  INVLPG = [0x0f, 0x01, 0x3b],
  INVPCID = [0x66, 0x0f, 0x38, 0x82, 0x03], // invpcid rax, [rbx]
  STAC = [0x0f, 0x01, 0xcb],
  CLAC = [0x0f, 0x01, 0xca];

const PE = 1n,
  PG = 1n << 31n,
  PSE = 0x10n,
  PAE = 0x20n,
  PGE = 0x80n,
  PCIDE = 1n << 17n,
  SMEP = 1n << 20n,
  SMAP = 1n << 21n;
const LME = 0x100n;
const CR3 = 0x10_8000;

/** Runs one instruction with RAX as its operand. */
function run(cpu: CpuCore, code: readonly number[], rax: bigint): string {
  cpu.gpr[RAX] = rax;
  const at = cpu.efer & 0x400n ? 0x10000 : CODE;
  loadCode(cpu, code, at);
  return show(cpu.run(1));
}

t.test('control registers outside long mode', (t) => {
  // name, preparation, instruction, operand, what happens
  // biome-ignore format: one case a line
  const rows: [string, (cpu: CpuCore) => void, number[], bigint, string][] = [
    ['PG without PE',                    () => {},                                        TO_CR0, PG | 0x10n,              '#13(0)'],
    ['PE off, PG on',                    (cpu) => page32(cpu),                            TO_CR0, PG | 0x10n,              '#13(0)'],
    ['NW without CD',                    () => {},                                        TO_CR0, 0x2000_0011n,            '#13(0)'],
    ['CD without NW',                    () => {},                                        TO_CR0, 0x4000_0011n,            'budget'],
    ['32-bit paging',                    (cpu) => { page32(cpu); cpu.cr0 = 0x11n; },      TO_CR0, PG | 0x11n,              'budget'],
    ['long mode without PAE',            (cpu) => { cpu.efer = LME; },                    TO_CR0, PG | 0x11n,              '#13(0)'],
    ['long mode from CS.L',              (cpu) => { cpu.efer = LME; cpu.cr4 = PAE; change(cpu, 'cs', { attributes: 0xe09b }); }, TO_CR0, PG | 0x11n, '#13(0)'],
    ['long mode with a 16-bit TSS',      (cpu) => { cpu.efer = LME; cpu.cr4 = PAE; change(cpu, 'tr', { attributes: 0x83 }); },   TO_CR0, PG | 0x11n, '#13(0)'],
    ['PAE paging with good entries',     (cpu) => { cpu.cr4 = PAE; cpu.cr3 = BigInt(CR3); },   TO_CR0, PG | 0x11n,         'budget'],
    ['PAE paging, a reserved bit',       (cpu) => { cpu.cr4 = PAE; cpu.cr3 = BigInt(CR3); write64(cpu, CR3 + 24, P | RW); }, TO_CR0, PG | 0x11n, '#13(0)'],
    ['PAE paging, a high reserved bit',  (cpu) => { cpu.cr4 = PAE; cpu.cr3 = BigInt(CR3); write64(cpu, CR3 + 8, P | (1n << 60n)); }, TO_CR0, PG | 0x11n, '#13(0)'],
    ['an absent entry may hold anything', (cpu) => { cpu.cr4 = PAE; cpu.cr3 = BigInt(CR3); write64(cpu, CR3 + 8, ~P); }, TO_CR0, PG | 0x11n, 'budget'],
    ['MOV CR3 loads the entries',        (cpu) => { pae(cpu); write64(cpu, CR3 + 0x100, P | US); }, TO_CR3, BigInt(CR3 + 0x100), '#13(0)'],
    ['MOV CR4 that changes PGE, too',    (cpu) => { pae(cpu); write64(cpu, CR3, P | US); }, TO_CR4, PAE | PGE,              '#13(0)'],
    ['MOV CR4 that changes DE does not', (cpu) => { pae(cpu); write64(cpu, CR3, P | US); }, TO_CR4, PAE | 8n,               'budget'],
    ['MOV CR4 that sets PAE',            (cpu) => { page32(cpu); cpu.cr3 = BigInt(CR3 + 0x1000); write64(cpu, CR3 + 0x1000, 0xe7n); }, TO_CR4, PAE | PSE, '#13(0)'],
    ['CR4: PCIDE outside long mode',     () => {},                                        TO_CR4, PCIDE,                   '#13(0)'],
    ['CR4: LA57',                        () => {},                                        TO_CR4, 1n << 12n,               '#13(0)'],
    ['CR4: SMEP and SMAP',               () => {},                                        TO_CR4, SMEP | SMAP,             'budget'],
    ['CR4: bit 31',                      () => {},                                        TO_CR4, 1n << 31n,               '#13(0)'],
    ['CR3: any 32 bits',                 () => {},                                        TO_CR3, 0xffff_ffffn,            'budget'],
  ];
  for (const engine of engineKinds) {
    for (const [name, prepare, code, value, expected] of rows) {
      const cpu = protectedCpu(engine);
      write64(cpu, CR3, BigInt(CR3 + 0x2000) | P, 0n, 0n, 0n);
      write64(cpu, CR3 + 0x2000, P | RW | PS, 0x20_0000n | P | RW | PS);
      prepare(cpu);
      const before = [cpu.cr0, cpu.cr3, cpu.cr4, cpu.efer];
      t.equal(run(cpu, code, value), expected, `${engine}: ${name}`);
      if (expected !== 'budget')
        t.same([cpu.cr0, cpu.cr3, cpu.cr4, cpu.efer, cpu.rip], [...before, BigInt(CODE)], `${engine}: ${name}: unchanged`);
    }
  }
  t.end();
});

/** 32-bit paging: identity by one 4 MiB page. */
function page32(cpu: CpuCore): void {
  cpu.memory.view.setUint32(CR3 + 0x1000, 0x87, true);
  cpu.cr4 = PSE;
  cpu.cr3 = BigInt(CR3 + 0x1000);
  cpu.cr0 = PG | PE | 0x30n;
}

/** PAE paging by the tables that are there. */
function pae(cpu: CpuCore): void {
  cpu.cr4 = PAE;
  cpu.cr3 = BigInt(CR3);
  cpu.cr0 = PG | PE | 0x30n;
}

t.test('32-bit and PAE paging', (t) => {
  for (const engine of engineKinds) {
    const claim = (name: string): string => `${engine}: ${name}`;
    const cpu = protectedCpu(engine);
    page32(cpu);
    const { view, bytes } = cpu.memory;
    bytes[DATA] = 0x11;
    bytes[DATA + 4096] = 0x22;
    view.setUint32(CR3 + 0x1000 + 4, (CR3 + 0x2000) | 7, true);
    view.setUint32(CR3 + 0x2000, DATA | 7, true);
    cpu.gpr[RBX] = 0x40_0000n;
    t.same([run(cpu, LOAD8, 0n), cpu.gpr[RAX]], ['budget', 0x11n], claim('a 4 KiB page'));
    view.setUint32(CR3 + 0x1000 + 8, 0x87 | (1 << 13), true);
    cpu.gpr[RBX] = 0x80_0000n;
    t.same([run(cpu, LOAD8, 0n), cpu.gpr[RAX]], ['budget', 0xffn], claim('a 4 MiB page above 4 GiB: no memory is there'));
    view.setUint32(CR3 + 0x1000 + 8, 0x87 | (1 << 21), true);
    t.equal(run(cpu, INVLPG, 0n), 'budget');
    t.equal(run(cpu, LOAD8, 0n), '#14(9) 800000', claim('bit 21 of its entry is reserved'));
    view.setUint32(CR3 + 0x1000, (CR3 + 0x3000) | 7, true);
    for (let i = 0; i < 1024; i++) view.setUint32(CR3 + 0x3000 + i * 4, (i << 12) | 7, true);
    view.setUint32(CR3 + 0x1000 + 8, (CR3 + 0x2000) | 0x87, true);
    t.equal(run(cpu, TO_CR4, 0n), 'budget');
    t.same([run(cpu, LOAD8, 0n), cpu.gpr[RAX]], ['budget', 0x11n], claim('without CR4.PSE bit 7 means nothing'));
    t.same(
      cpu.walk(0x80_0000n).map(({ level, entryMaddr }) => [level, entryMaddr]),
      [
        [2, CR3 + 0x1008],
        [1, CR3 + 0x2000],
      ],
      claim('the walk for reports'),
    );

    const wide = protectedCpu(engine);
    write64(wide, CR3, BigInt(CR3 + 0x2000) | P, 0n, 0n, 0n);
    write64(wide, CR3 + 0x2000, P | RW | PS);
    write64(wide, CR3 + 0x2000 + 8, BigInt(CR3 + 0x4000) | P | RW);
    write64(wide, CR3 + 0x4000, BigInt(DATA) | P);
    wide.memory.bytes[DATA] = 0x33;
    pae(wide);
    wide.gpr[RBX] = 0x20_0000n;
    t.same([run(wide, LOAD8, 0n), wide.gpr[RAX]], ['budget', 0x33n], claim('PAE: a 4 KiB page'));
    write64(wide, CR3 + 8, BigInt(CR3 + 0x2000) | P);
    wide.gpr[RBX] = 0x4020_0000n;
    t.equal(run(wide, LOAD8, 0n), '#14(0) 40200000', claim('PAE: the top entries are those that MOV CR3 loaded'));
    t.equal(run(wide, TO_CR3, BigInt(CR3)), 'budget');
    t.equal(run(wide, LOAD8, 0n), 'budget', claim('PAE: until it loads them again'));
    t.same(
      wide.walk(0x4020_0000n).map(({ level }) => level),
      [3, 2, 1],
      claim('PAE: the walk for reports'),
    );
    write64(wide, CR3 + 0x4000, BigInt(DATA) | P | (1n << 52n));
    run(wide, INVLPG, 0n);
    t.equal(run(wide, LOAD8, 0n), '#14(9) 40200000', claim('PAE: bits 52-62 are reserved'));
  }
  t.end();
});

/** Long mode at CPL 0; PAGE is mapped as a test likes. */
const PAGE = 0x7000_0000_0000n,
  FRAME = 0x20_0000,
  NEW_TABLE = 0x68_0000;

function longCpu(engine: EngineKind, cpl: 0 | 3 = 0): { cpu: CpuCore; tables: PageTables } {
  const cpu = makeBareCpu({ engine, cpl, memorySize: 8 << 20 });
  const tables = new PageTables(cpu);
  for (let i = 0; i < 4; i++) cpu.memory.bytes[FRAME + i * 4096] = i + 1;
  cpu.gpr[RBX] = PAGE;
  return { cpu, tables };
}

/** AL after a load at RBX. */
const load = (cpu: CpuCore): bigint | string => {
  const result = run(cpu, LOAD8, 0n);
  return result === 'budget' ? cpu.gpr[RAX]! & 0xffn : result;
};

t.test('what drops a translation', (t) => {
  const cr3 = (cpu: CpuCore): bigint => cpu.cr3;
  // name, flags of the page, CR4's bits, instruction and operand, whether it must be gone (undefined: still there)
  // biome-ignore format: one case a line
  const rows: [string, bigint, bigint, (cpu: CpuCore) => string, boolean][] = [
    ['MOV CR3',                          0n,     0n,    (cpu) => run(cpu, TO_CR3, cr3(cpu)),                  true],
    ['MOV CR3, a global page',           0x100n, PGE,   (cpu) => run(cpu, TO_CR3, cr3(cpu)),                  false],
    ['MOV CR3, a global page without PGE', 0x100n, 0n,  (cpu) => run(cpu, TO_CR3, cr3(cpu)),                  true],
    ['INVLPG',                           0n,     0n,    (cpu) => run(cpu, INVLPG, 0n),                        true],
    ['INVLPG, a global page',            0x100n, PGE,   (cpu) => run(cpu, INVLPG, 0n),                        true],
    ['MOV CR4 that changes PGE',         0x100n, PGE,   (cpu) => run(cpu, TO_CR4, cpu.cr4 & ~PGE),            true],
    ['MOV CR4 that changes PSE',         0n,     0n,    (cpu) => run(cpu, TO_CR4, cpu.cr4 ^ PSE),             true],
    ['MOV CR0 that changes WP',          0n,     0n,    (cpu) => run(cpu, TO_CR0, cpu.cr0 ^ 0x10000n),        true],
    ['MOV CR3, PCID',                    0n,     PCIDE, (cpu) => run(cpu, TO_CR3, cr3(cpu)),                  true],
    ['MOV CR3, bit 63',                  0n,     PCIDE, (cpu) => run(cpu, TO_CR3, cr3(cpu) | (1n << 63n)),    false],
    ['MOV CR3, another PCID and back',   0n,     PCIDE, (cpu) => run(cpu, TO_CR3, cr3(cpu) | 5n) + run(cpu, TO_CR3, cr3(cpu) & ~5n), true],
    ['INVPCID 0',                        0n,     PCIDE, (cpu) => invpcid(cpu, 0n, 0n, PAGE),                  true],
    ['INVPCID 1',                        0n,     PCIDE, (cpu) => invpcid(cpu, 1n, 0n, 0n),                    true],
    ['INVPCID 2',                        0x100n, PCIDE | PGE, (cpu) => invpcid(cpu, 2n, 0n, 0n),              true],
    ['INVPCID 3',                        0n,     PCIDE, (cpu) => invpcid(cpu, 3n, 0n, 0n),                    true],
    ['INVPCID 3, a global page',         0x100n, PCIDE | PGE, (cpu) => invpcid(cpu, 3n, 0n, 0n),              false],
    ['INVPCID 0 without PCIDE',          0n,     0n,    (cpu) => invpcid(cpu, 0n, 0n, PAGE),                  true],
    ['INVPCID 0 of another PCID',        0n,     PCIDE, (cpu) => invpcid(cpu, 0n, 7n, PAGE),                  false],
  ];
  for (const engine of engineKinds) {
    for (const [name, flags, cr4, drop, isGone] of rows) {
      for (const level of [1, 2]) {
        const { cpu, tables } = longCpu(engine);
        tables.map(PAGE, FRAME, P | RW | flags);
        cpu.cr4 = (cpu.cr4 & ~PGE) | cr4;
        t.equal(load(cpu), 1n);
        const leaf = BigInt(FRAME + 4096) | P | RW | flags;
        write64(cpu, NEW_TABLE, leaf);
        write64(cpu, tables.entry(PAGE, level), level === 1 ? leaf : BigInt(NEW_TABLE) | P | RW);
        t.match(drop(cpu), /^(budget)+$/, `${engine}: ${name}`);
        cpu.gpr[RBX] = PAGE;
        const claim = `${engine}: ${name}: ${isGone ? 'the new translation' : 'the old one may stay'}, level ${level}`;
        t.equal(load(cpu), isGone ? 2n : 1n, claim);
      }
    }
    for (const [level, size] of [
      [2, 0x20_0000n],
      [3, 0x4000_0000n],
    ] as const) {
      const { cpu, tables } = longCpu(engine);
      tables.map(PAGE, FRAME);
      write64(cpu, tables.entry(PAGE, level), P | RW | PS);
      cpu.flushTlb({ global: true });
      cpu.gpr[RBX] = PAGE + (0x20_0000n % size);
      const first = load(cpu);
      cpu.gpr[RBX] += 4096n;
      load(cpu);
      t.equal(first, level === 3 ? 1n : BigInt(cpu.memory.bytes[0]!), `${engine}: a page of ${size} bytes`);
      write64(cpu, tables.entry(PAGE, level), (level === 2 ? 0x20_0000n : 0n) | (level === 3 ? US : 0n) | P | RW | PS);
      cpu.memory.bytes[FRAME + 4096] = 0x77;
      cpu.gpr[RBX] = PAGE + size - 1n;
      t.equal(run(cpu, INVLPG, 0n), 'budget');
      cpu.gpr[RBX] = level === 2 ? PAGE + 4096n : PAGE + 0x20_1000n;
      t.equal(load(cpu), 0x77n, `${engine}: INVLPG of any address drops all of it`);
      t.equal(read64(cpu, tables.entry(PAGE, level)) & 0x20n, 0x20n, `${engine}: for it is walked anew`);
    }
  }
  t.end();
});

t.test('a page fault drops what is known of its page (SDM 3A 4.10.4.1)', (t) => {
  const fault = `#14(7) ${PAGE.toString(16)}`;
  for (const engine of engineKinds) {
    const claim = (name: string): string => `${engine}: ${name}`;
    const { cpu, tables } = longCpu(engine, 3);
    const runAt = (rip: bigint): bigint => {
      cpu.rip = rip;
      t.same(cpu.run(1), { kind: 'budget' });
      return cpu.gpr[RAX]! & 0xffn;
    };
    for (const number of [1, 2]) cpu.memory.bytes.set([0xb0, number], FRAME + (number - 1) * 4096); // mov al, number
    tables.map(PAGE, FRAME, P | US);
    t.same([load(cpu), runAt(PAGE)], [0xb0n, 1n]);
    write64(cpu, tables.entry(PAGE, 1), BigInt(FRAME + 4096) | P | US);
    t.equal(run(cpu, STORE8, 0n), fault);
    t.equal(runAt(PAGE), 2n, claim('a store: fetches'));
    cpu.gpr[RBX] = PAGE + 1n;
    t.equal(load(cpu), 2n, claim('a store: loads'));
    cpu.gpr[RBX] = PAGE;

    tables.change(PAGE, 2, RW, 0n);
    write64(cpu, tables.entry(PAGE, 1), BigInt(FRAME) | P | RW | US);
    t.equal(load(cpu), 0xb0n);
    t.equal(run(cpu, STORE8, 0n), fault);
    write64(cpu, tables.entry(PAGE, 2), read64(cpu, tables.entry(PAGE, 2)) | RW);
    run(cpu, STORE8, 0n);
    t.equal(run(cpu, STORE8, 9n), 'budget', claim('what tables above it said does not make the fault come again'));
  }
  t.end();
});

/** INVPCID with its descriptor in RAM. */
function invpcid(cpu: CpuCore, type: bigint, pcid: bigint, vaddr: bigint): string {
  write64(cpu, 0x6_0000, pcid, vaddr);
  cpu.gpr[RBX] = 0x6_0000n;
  return run(cpu, INVPCID, type);
}

t.test('PCID and INVPCID refuse', (t) => {
  for (const engine of engineKinds) {
    const claim = (name: string): string => `${engine}: ${name}`;
    const { cpu } = longCpu(engine);
    t.equal(invpcid(cpu, 0n, 1n, 0n), '#13(0)', claim('a PCID without CR4.PCIDE'));
    t.equal(invpcid(cpu, 1n, 1n, 0n), '#13(0)', claim('a PCID without CR4.PCIDE, type 1'));
    t.equal(run(cpu, TO_CR3, cpu.cr3 | 8n), 'budget');
    t.equal(run(cpu, TO_CR4, cpu.cr4 | PCIDE), '#13(0)', claim('CR4.PCIDE while CR3 has low bits'));
    t.equal(run(cpu, TO_CR3, cpu.cr3 | (1n << 63n)), '#13(0)', claim('bit 63 of CR3 without PCIDE'));
    t.equal(run(cpu, TO_CR3, cpu.cr3 & ~0xfffn), 'budget');
    t.equal(run(cpu, TO_CR4, cpu.cr4 | PCIDE), 'budget', claim('CR4.PCIDE'));
    t.equal(invpcid(cpu, 4n, 0n, 0n), '#13(0)', claim('type 4'));
    t.equal(invpcid(cpu, 2n, 0x1000n, 0n), '#13(0)', claim('a reserved bit of the descriptor'));
    t.equal(invpcid(cpu, 0n, 0n, 1n << 47n), '#13(0)', claim('an address that is not canonical'));
    t.equal(invpcid(cpu, 1n, 0n, 1n << 47n), 'budget', claim('which other types ignore'));
    t.equal(run(cpu, TO_CR3, (1n << 62n) | cpu.cr3), '#13(0)', claim('bit 62 of CR3'));
    t.equal(run(cpu, TO_CR3, (1n << 63n) | cpu.cr3 | 5n), 'budget');
    t.equal(run(cpu, [0x0f, 0x20, 0xd8], 0n), 'budget');
    t.equal(cpu.gpr[RAX]! >> 63n, 0n, claim('bit 63 does not read back'));
    t.equal(cpu.gpr[RAX]! & 0xfffn, 5n, claim('the PCID does'));
    change(cpu, 'cs', { attributes: 0xc09b });
    loadCode(cpu, TO_CR0, 0x10000);
    cpu.gpr[RAX] = cpu.cr0 & ~PG;
    t.equal(show(cpu.run(1)), '#13(0)', claim('paging stays on while there are PCIDs'));
    const user = longCpu(engine, 3).cpu;
    t.equal(invpcid(user, 0n, 0n, 0n), '#13(0)', claim('INVPCID at CPL 3'));
  }
  t.end();
});

t.test('SMAP', (t) => {
  const ac = 1n << 18n;
  for (const engine of engineKinds) {
    const claim = (name: string): string => `${engine}: ${name}`;
    const { cpu, tables } = longCpu(engine);
    tables.map(PAGE, FRAME);
    tables.map(0x10000n, 0x10000, P | RW);
    cpu.cr4 |= SMAP;
    t.equal(load(cpu), `#14(1) ${PAGE.toString(16)}`, claim('a user page is closed'));
    t.equal(run(cpu, STAC, 0n), 'budget');
    t.equal(cpu.rflags & ac, ac);
    t.equal(load(cpu), 1n, claim('STAC opens it'));
    t.equal(run(cpu, STORE8, 9n), 'budget');
    t.equal(run(cpu, CLAC, 0n), 'budget');
    t.equal(load(cpu), `#14(1) ${PAGE.toString(16)}`, claim('CLAC closes it: no translation is left over'));
    t.equal(run(cpu, STORE8, 0n), `#14(3) ${PAGE.toString(16)}`, claim('nor one for stores'));
    // again: stac; mov al, [rbx]; clac; dec ecx; jnz again; mov al, [rbx]
    loadCode(cpu, [...STAC, ...LOAD8, ...CLAC, 0xff, 0xc9, 0x75, 0xf4, ...LOAD8], 0x10000);
    cpu.gpr[RCX] = 50_000n;
    t.equal(show(cpu.run(1_000_000)), `#14(1) ${PAGE.toString(16)}`, claim('in a hot loop, too'));
    t.same([cpu.gpr[RCX], cpu.rip], [0n, 0x1000cn]);
    cpu.cr4 &= ~SMAP;
    t.equal(load(cpu), 9n, claim('without SMAP it is open'));

    const user = longCpu(engine, 3);
    t.equal(run(user.cpu, STAC, 0n), '#6()', claim('STAC at CPL 3'));
    t.equal(run(user.cpu, CLAC, 0n), '#6()', claim('CLAC at CPL 3'));
    user.tables.map(PAGE, FRAME);
    write64(user.cpu, FRAME + 0x80 * 16, ...gate(14, 3, 0x10, 0x2_0000n));
    user.cpu.idtr = { base: PAGE, limit: 0xfff };
    user.cpu.intercepts.softwareInterrupts = false;
    user.cpu.cr4 |= SMAP;
    user.cpu.rflags = 2n | ac;
    t.equal(
      run(user.cpu, [0xcd, 0x80], 0n),
      `#14(1) ${(PAGE + 0x800n).toString(16)}`,
      claim("the CPU's own access on behalf of CPL 3 is closed, AC or not"),
    );
    user.cpu.gpr[RBX] = PAGE;
    t.equal(load(user.cpu), 1n, claim('what CPL 3 does itself is not'));
  }
  t.end();
});
