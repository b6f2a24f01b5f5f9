/**
 * Segmentation outside 64-bit code: limits, expand-down segments, rights, wrapping stacks and addresses, CS's limit, real
 * mode. What QEMU does not check is checked here by the manuals (SDM 3A 5.3-5.5, 21.1; 2A-2B).
 */
import t from 'tap';
import type { Exit } from '../../emulator/cpu/exit.ts';
import { type CpuCore, engineKinds } from '../../emulator/cpu/index.ts';
import { loadCode } from '../support/bare_cpu.ts';
import {
  CODE,
  change,
  code3,
  DATA,
  data3,
  HANDLERS,
  IDT,
  otherTss,
  protectedCpu,
  realCpu,
  STACK,
  taskGate,
} from '../support/legacy_cpu.ts';

const RAX = 0,
  RBX = 3,
  RSP = 4,
  RBP = 5,
  RSI = 6,
  RDI = 7;
const DF = 8,
  GP = 13;

const show = (exit: Exit): string => (exit.kind === 'exception' ? `#${exit.vector}(${exit.errorCode ?? ''})` : exit.kind);

// Bytes
const LOAD8 = [0x8a, 0x03],
  LOAD16 = [0x66, 0x8b, 0x03],
  LOAD32 = [0x8b, 0x03],
  STORE32 = [0x89, 0x03],
  ADD32 = [0x01, 0x03],
  MOVUPS = [0x0f, 0x10, 0x03],
  LOAD_SS = [0x36, 0x8b, 0x03],
  LOAD_CS = [0x2e, 0x8b, 0x03],
  STORE_CS = [0x2e, 0x89, 0x03],
  LOAD_BP = [0x8b, 0x45, 0x00],
  LGDT = [0x0f, 0x01, 0x13],
  MOVSD = [0xa5],
  PUSH = [0x50],
  POP = [0x58],
  PUSHA = [0x60],
  CALL = [0xe8, 0, 0, 0, 0],
  ENTER = [0xc8, 0x10, 0, 0],
  POPF = [0x9d];

// Attributes of data: type, S, P, DPL 0, D/B
const RW = 0x4093,
  RO = 0x4091,
  DOWN = 0x4097,
  DOWN16 = 0x0097,
  CODE_READABLE = 0x409b,
  CODE_ONLY = 0x4099;

t.test('a data segment has a limit, a direction and rights', (t) => {
  const max = 0xffff_ffff;
  // segment's name, attributes, limit, offset, instruction, what happens
  // biome-ignore format: one case a line
  const rows: [string, 'ds' | 'ss' | 'cs', number, number, number, number[], string][] = [
    ['byte at the limit',                'ds', RW, 0xfff, 0xfff,  LOAD8,    'budget'],
    ['byte behind the limit',            'ds', RW, 0xfff, 0x1000, LOAD8,    '#13(0)'],
    ['word over the limit',              'ds', RW, 0xfff, 0xfff,  LOAD16,   '#13(0)'],
    ['dword below the limit',            'ds', RW, 0xfff, 0xffc,  LOAD32,   'budget'],
    ['dword over the limit',             'ds', RW, 0xfff, 0xffd,  LOAD32,   '#13(0)'],
    ['16 bytes over the limit',          'ds', RW, 0xfff, 0xff1,  MOVUPS,   '#13(0)'],
    ['16 bytes below the limit',         'ds', RW, 0xfff, 0xff0,  MOVUPS,   'budget'],
    ['store over the limit',             'ds', RW, 0xfff, 0xffd,  STORE32,  '#13(0)'],
    ['add over the limit',               'ds', RW, 0xfff, 0xffd,  ADD32,    '#13(0)'],
    ['LGDT over the limit',              'ds', RW, 0xfff, 0xffb,  LGDT,     '#13(0)'],
    ['a segment of one byte',            'ds', RW, 0,     0,      LOAD8,    'budget'],
    ['the stack segment, over the limit', 'ss', RW, 0xfff, 0xffd,  LOAD_SS,  '#12(0)'],
    ['by EBP',                           'ss', RW, 0xfff, 0xffd,  LOAD_BP,  '#12(0)'],
    ['down: at the limit',               'ds', DOWN, 0xfff, 0xfff,  LOAD8,    '#13(0)'],
    ['down: behind the limit',           'ds', DOWN, 0xfff, 0x1000, LOAD32,   'budget'],
    ['down: dword that begins below',    'ds', DOWN, 0xfff, 0xffe,  LOAD32,   '#13(0)'],
    ['down: the last byte',              'ds', DOWN, 0xfff, max,    LOAD8,    'budget'],
    ['down: over the end',               'ds', DOWN, 0xfff, max - 2, LOAD32,  '#13(0)'],
    ['down, 16 bits: the last word',     'ds', DOWN16, 0xfff, 0xfffe, LOAD16, 'budget'],
    ['down, 16 bits: over the end',      'ds', DOWN16, 0xfff, 0xffff, LOAD16, '#13(0)'],
    ['down, 16 bits: behind the end',    'ds', DOWN16, 0xfff, 0x10000, LOAD8, '#13(0)'],
    ['down: no byte is left',            'ds', DOWN, max, 0,        LOAD8,    '#13(0)'],
    ['down, 16 bits: no byte is left',   'ds', DOWN16, 0xffff, 0xffff, LOAD8, '#13(0)'],
    ['read-only: load',                  'ds', RO, 0xfff, 0,      LOAD32,   'budget'],
    ['read-only: store',                 'ds', RO, 0xfff, 0,      STORE32,  '#13(0)'],
    ['read-only: add',                   'ds', RO, 0xfff, 0,      ADD32,    '#13(0)'],
    ['readable code: load',              'ds', CODE_READABLE, 0xfff, 0, LOAD32,  'budget'],
    ['readable code: store',             'ds', CODE_READABLE, 0xfff, 0, STORE32, '#13(0)'],
    ['null',                             'ds', 0, 0, 0,           LOAD8,    '#13(0)'],
    ['null, not at 0',                   'ds', 0, 0, 1,           LOAD8,    '#13(0)'],
    ['through CS: load',                 'cs', 0xc09b, max, DATA, LOAD_CS,  'budget'],
    ['through CS: store',                'cs', 0xc09b, max, DATA, STORE_CS, '#13(0)'],
    ['through execute-only CS: load',    'cs', 0x8000 | CODE_ONLY, max, DATA, LOAD_CS, '#13(0)'],
  ];
  for (const engine of engineKinds) {
    for (const [name, segment, attributes, limit, offset, code, expected] of rows) {
      const cpu = protectedCpu(engine);
      change(cpu, segment, segment === 'cs' ? { attributes, limit } : { attributes, limit, base: BigInt(DATA) });
      cpu.gpr[RBX] = cpu.gpr[RBP] = BigInt(offset);
      cpu.cr4 |= 0x200n;
      const before = [...cpu.gpr];
      loadCode(cpu, code, CODE);
      t.equal(show(cpu.run(1)), expected, `${engine}: ${name}`);
      if (expected !== 'budget') t.same([cpu.rip, [...cpu.gpr]], [BigInt(CODE), before], `${engine}: ${name}: nothing changed`);
    }
    const cpu = protectedCpu(engine);
    change(cpu, 'ds', { base: 0xffff_f000n });
    cpu.memory.view.setUint32(0x700, 0x1234_5678, true);
    cpu.gpr[RBX] = 0x1700n;
    loadCode(cpu, LOAD32, CODE);
    cpu.run(1);
    t.equal(cpu.gpr[RAX], 0x1234_5678n, `${engine}: a linear address wraps at 4 GiB`);
    change(cpu, 'ds', { base: 0xffff_fffen });
    cpu.memory.view.setUint16(0, 0xabcd, true);
    cpu.gpr[RBX] = 0n;
    loadCode(cpu, LOAD32, CODE);
    cpu.run(1);
    t.equal(cpu.gpr[RAX]! >> 16n, 0xabcdn, `${engine}: also in the middle of an access`);
    change(cpu, 'ds', { base: 0n });
    change(cpu, 'es', { limit: 0xfff });
    cpu.gpr[RSI] = BigInt(DATA);
    cpu.gpr[RDI] = 0xffdn;
    loadCode(cpu, MOVSD, CODE);
    t.equal(show(cpu.run(1)), '#13(0)', `${engine}: MOVS stores through ES`);
    t.same([cpu.gpr[RSI], cpu.gpr[RDI]], [BigInt(DATA), 0xffdn]);
  }
  t.end();
});

t.test('a stack has a size, and a limit', (t) => {
  // SS's attributes and limit, ESP, instruction, what happens, ESP then
  // biome-ignore format: one case a line
  const rows: [string, number, number, bigint, number[], string, bigint][] = [
    ['push at the bottom',            RW, 0xfff, 4n,             PUSH,  'budget', 0n],
    ['push below the bottom',         RW, 0xfff, 2n,             PUSH,  '#12(0)', 2n],
    ['push beyond the limit',         RW, 0xfff, 0x1004n,        PUSH,  '#12(0)', 0x1004n],
    ['pop at the limit',              RW, 0xfff, 0xffcn,         POP,   'budget', 0x1000n],
    ['pop over the limit',            RW, 0xfff, 0xffdn,         POP,   '#12(0)', 0xffdn],
    ['popf over the limit',           RW, 0xfff, 0xffdn,         POPF,  '#12(0)', 0xffdn],
    ['down: push at the limit',       DOWN, 0xfff, 0x1004n,      PUSH,  'budget', 0x1000n],
    ['down: push below',              DOWN, 0xfff, 0x1003n,      PUSH,  '#12(0)', 0x1003n],
    ['call below the bottom',         RW, 0xfff, 2n,             CALL,  '#12(0)', 2n],
    ['enter below the bottom',        RW, 0xfff, 0x8n,           ENTER, '#12(0)', 8n],
    ['pusha below the bottom',        RW, 0xfff, 0x1cn,          PUSHA, '#12(0)', 0x1cn],
    ['16 bits: only SP counts',       0x93, 0xffff, 0x5555_0100n, PUSH, 'budget', 0x5555_00fcn],
    ['16 bits: wraps',                0x93, 0xffff, 0x5555_0000n, PUSH, 'budget', 0x5555_fffcn],
    ['16 bits: push over the end',    0x93, 0xffff, 0x5555_0002n, PUSH, '#12(0)', 0x5555_0002n],
    ['16 bits: pusha that wraps',     0x93, 0xffff, 0x5555_0008n, PUSHA, 'budget', 0x5555_ffe8n],
    ['16 bits: pusha over the end',   0x93, 0xffff, 0x5555_0006n, PUSHA, '#12(0)', 0x5555_0006n],
    ['16 bits: pop wraps',            0x93, 0xffff, 0x5555_fffcn, POP,  'budget', 0x5555_0000n],
  ];
  for (const engine of engineKinds) {
    for (const [name, attributes, limit, esp, code, expected, after] of rows) {
      const cpu = protectedCpu(engine);
      change(cpu, 'ss', { attributes, limit, base: BigInt(DATA) });
      cpu.gpr[RSP] = esp;
      cpu.gpr[RAX] = 0x89ab_cdefn;
      cpu.memory.view.setUint32(DATA + 0xfffc, 0xcafe, true);
      loadCode(cpu, code, CODE);
      t.equal(show(cpu.run(1)), expected, `${engine}: ${name}`);
      t.equal(cpu.gpr[RSP], after, `${engine}: ${name}: ESP`);
    }
  }
  t.end();
});

t.test('code ends at the limit of CS', (t) => {
  // code, its place, CS's limit, what happens after how many instructions, RIP then
  // biome-ignore format: one case a line
  const rows: [string, number[], number, string, bigint, bigint][] = [
    ['straight on',               [0x90, 0x90],       CODE,      '#13(0)', 1n, BigInt(CODE + 1)],
    ['an instruction over it',    [0x90, 0x66, 0x90], CODE + 1,  '#13(0)', 1n, BigInt(CODE + 1)],
    ['jmp short',                 [0xeb, 0x20],       CODE + 16, '#13(0)', 0n, BigInt(CODE)],
    ['jmp near',                  [0xe9, 0, 1, 0, 0], CODE + 16, '#13(0)', 0n, BigInt(CODE)],
    ['jmp indirect',              [0xff, 0xe3],       CODE + 16, '#13(0)', 0n, BigInt(CODE)],
    ['jz, taken',                 [0x31, 0xc9, 0x74, 0x20], CODE + 16, '#13(0)', 1n, BigInt(CODE + 2)],
    ['jnz, not taken',            [0x31, 0xc9, 0x75, 0x20], CODE + 16, 'budget', 2n, BigInt(CODE + 4)],
    ['loop, taken',               [0xe2, 0x20],       CODE + 16, '#13(0)', 0n, BigInt(CODE)],
    ['jecxz, taken',              [0x31, 0xc9, 0xe3, 0x20], CODE + 16, '#13(0)', 1n, BigInt(CODE + 2)],
    ['call',                      [0xe8, 0, 1, 0, 0], CODE + 16, '#13(0)', 0n, BigInt(CODE)],
    ['call indirect',             [0xff, 0xd3],       CODE + 16, '#13(0)', 0n, BigInt(CODE)],
    ['ret',                       [0xc3],             CODE + 16, '#13(0)', 0n, BigInt(CODE)],
    ['far jmp',                   [0xea, 0, 0, 0, 0, 0x18, 0], CODE + 16, '#13(24)', 0n, BigInt(CODE)],
    ['jmp of 16 bits is cut',     [0x66, 0xe9, 0xfc, 0x7f], 0xffff, 'budget', 2n, 1n],
  ];
  for (const engine of engineKinds) {
    for (const [name, code, limit, expected, count, rip] of rows) {
      const cpu = protectedCpu(engine);
      change(cpu, 'cs', { limit });
      cpu.gpr[RBX] = 0x10_0000n;
      cpu.gpr[1] = 0x10n;
      cpu.memory.view.setUint32(STACK, 0x10_0000, true);
      cpu.memory.bytes[0] = 0x90;
      const { instructions } = cpu;
      loadCode(cpu, code, CODE);
      t.equal(show(cpu.run(2)), expected, `${engine}: ${name}`);
      t.same(
        [cpu.instructions - instructions, cpu.rip, cpu.gpr[RSP]],
        [count, rip, BigInt(STACK)],
        `${engine}: ${name}: RIP, and nothing pushed`,
      );
    }
  }
  t.end();
});

t.test('real mode', (t) => {
  for (const engine of engineKinds) {
    const claim = (name: string): string => `${engine}: ${name}`;
    const cpu = realCpu(engine);
    const { view, bytes } = cpu.memory;
    const deliver = (): void => void Object.assign(cpu.intercepts, { exceptions: 0 });
    const vector = (n: number, segment: number, offset: number): void => view.setUint32(n * 4, (segment << 16) | offset, true);
    vector(GP, 0x900, 0x10);
    bytes[0x9010] = 0xf4;
    deliver();
    cpu.gpr[RBX] = 0xffffn;
    loadCode(cpu, [0x8b, 0x07], CODE); // mov ax, [bx]
    t.equal(show(cpu.run(5)), 'halt', claim('a word at offset 0xffff is #GP'));
    t.same(
      [cpu.rip, cpu.getSegment('cs').base, view.getUint16(STACK - 2, true), view.getUint16(STACK - 6, true), cpu.gpr[RSP]],
      [0x11n, 0x9000n, 2, CODE, BigInt(STACK - 6)],
      claim('FLAGS, CS and IP are pushed, and no error code'),
    );
    loadCode(cpu, [0x8e, 0xd8, 0xa0, 0x10, 0x00], 0x9100); // mov ds, ax; mov al, [0x10]
    cpu.rip = 0x100n;
    cpu.gpr[RAX] = 0xffffn;
    bytes[0x10_0000] = 0x5a;
    cpu.run(2);
    t.equal(cpu.gpr[RAX]! & 0xffn, 0x5an, claim('FFFF:0010 is 1 MiB'));

    const idt = realCpu(engine);
    Object.assign(idt.intercepts, { exceptions: 0 });
    idt.idtr = { base: 0n, limit: 13 * 4 + 2 };
    loadCode(idt, [0x0f, 0x0b], CODE);
    idt.memory.view.setUint32(6 * 4, 0x0900_0000, true);
    idt.memory.bytes[0x9000] = 0xf4;
    t.equal(show(idt.run(5)), 'halt', claim('a vector within the limit of the table'));
    idt.idtr = { base: 0n, limit: 6 * 4 + 2 };
    idt.setSegment('cs', { ...idt.getSegment('cs'), selector: 0, base: 0n });
    idt.rip = BigInt(CODE);
    t.equal(show(idt.run(5)), 'shutdown', claim('one beyond it: #GP, #DF, shutdown'));

    const big = realCpu(engine);
    change(big, 'ds', { limit: 0xffff_ffff, attributes: 0xc093 });
    big.memory.view.setUint32(0x20_0000, 0x1122_3344, true);
    big.gpr[RBX] = 0x1f_fff0n;
    loadCode(big, [0x66, 0x67, 0x8b, 0x03, 0xb8, 0x01, 0x00, 0x8e, 0xd8, 0x66, 0x67, 0x8b, 0x03], CODE);
    big.run(4);
    t.equal(big.gpr[RAX], 0x1122_3344n, claim('a limit from protected mode stays when a selector is loaded'));
    t.equal(big.getSegment('ds').base, 0x10n);

    const lmsw = realCpu(engine);
    lmsw.gdtr = { base: 0x1000n, limit: 0x2f };
    lmsw.memory.view.setBigUint64(0x1008, 0x00cf_9a00_0000_ffffn, true);
    lmsw.gpr[RAX] = 1n;
    loadCode(lmsw, [0x0f, 0x01, 0xf0, 0xea, 0x00, 0x90, 0x08, 0x00], CODE); // lmsw ax; jmp 8:0x9000
    lmsw.memory.bytes.set([0xb8, 0x78, 0x56, 0x34, 0x12], 0x9000);
    t.equal(show(lmsw.run(3)), 'budget', claim('LMSW enters protected mode'));
    t.same([lmsw.gpr[RAX], lmsw.cpl], [0x1234_5678n, 0], claim('and 32-bit code runs'));
  }
  t.end();
});

t.test('task switches and virtual-8086 mode are reported, and nothing changes', (t) => {
  // biome-ignore format: one case a line
  const rows: [string, number[], (cpu: CpuCore) => void, 0 | 3, string][] = [
    ['INT through a task gate',   [0xcd, 0x80], (cpu) => cpu.memory.view.setBigUint64(IDT + 0x80 * 8, 0x0000_e500_0030_0000n, true), 0, 'task switch'],
    ['an exception through one',  [0x0f, 0x0b], (cpu) => cpu.memory.view.setBigUint64(IDT + 6 * 8, 0x0000_8500_0030_0000n, true), 3, 'task switch'],
    ['far jmp to a TSS',          [0xea, 0, 0, 0, 0, otherTss, 0], () => {}, 0, 'task switch'],
    ['far call to a task gate',   [0x9a, 0, 0, 0, 0, taskGate, 0], () => {}, 3, 'task switch'],
    ['IRET with NT',              [0xcf], (cpu) => { cpu.rflags = 0x4002n; }, 0, 'task switch'],
    ['IRET with VM',              [0xcf], (cpu) => { cpu.memory.view.setUint32(STACK + 4, 8, true); cpu.memory.view.setUint32(STACK + 8, 0x2_0002, true); }, 0, 'virtual-8086 mode'],
  ];
  for (const engine of engineKinds) {
    for (const [name, code, prepare, cpl, what] of rows) {
      const cpu = protectedCpu(engine, cpl);
      cpu.intercepts.exceptions = 0;
      prepare(cpu);
      loadCode(cpu, code, CODE);
      const before = [...cpu.gpr, cpu.rflags];
      for (let i = 0; i < 2; i++) t.same(cpu.run(5), { kind: 'unsupported', what }, `${engine}: ${name}`);
      t.same([cpu.rip, ...cpu.gpr, cpu.rflags], [BigInt(CODE), ...before], `${engine}: ${name}: unchanged`);
    }
    const jump = protectedCpu(engine, 3);
    loadCode(jump, [0xea, 0, 0, 0, 0, 0x28, 0], CODE);
    t.equal(show(jump.run(1)), `#${GP}(40)`, `${engine}: a TSS of ring 0 is refused to ring 3 before that`);
  }
  t.end();
});

t.test('protected mode: what goes wrong on the way to a handler', (t) => {
  // what is wrong, how, what INT 0x80 raises from ring 3
  // biome-ignore format: one case a line
  const rows: [string, (cpu: CpuCore) => void, string][] = [
    ['SS0 null',                   (cpu) => cpu.memory.view.setUint32(0x3008, 0, true),     '#10(0)'],
    ['SS0 of ring 3',              (cpu) => cpu.memory.view.setUint32(0x3008, data3, true), '#10(32)'],
    ['SS0 is code',                (cpu) => cpu.memory.view.setUint32(0x3008, 8, true),     '#10(8)'],
    ['SS0 beyond the GDT',         (cpu) => cpu.memory.view.setUint32(0x3008, 0x1000, true), '#10(4096)'],
    ['SS0 absent',                 (cpu) => cpu.memory.view.setUint8(0x1015, 0x13),         '#12(16)'],
    ['no room on it',              (cpu) => cpu.memory.view.setBigUint64(0x1010, 0x0040_9200_0000_0fffn, true), '#12(16)'],
    ['TSS too short',              (cpu) => change(cpu, 'tr', { limit: 8 }),                '#10(40)'],
    ['target beyond the limit',    (cpu) => cpu.memory.view.setBigUint64(0x1008, 0x0040_9a00_0000_00ffn, true), '#13(0)'],
    ['a trap gate of a kind that is none', (cpu) => cpu.memory.view.setUint8(IDT + 0x80 * 8 + 5, 0xe8), '#13(1026)'],
    ['all is well',                () => {},                                               'halt'],
  ];
  for (const engine of engineKinds) {
    for (const [name, spoil, expected] of rows) {
      const cpu = protectedCpu(engine, 3);
      spoil(cpu);
      loadCode(cpu, [0xcd, 0x80], CODE);
      t.equal(show(cpu.run(2)), expected, `${engine}: ${name}`);
      t.equal(cpu.cpl, expected === 'halt' ? 0 : 3, `${engine}: ${name}: CPL`);
    }
    const double = protectedCpu(engine, 3);
    double.intercepts.exceptions = 0;
    double.memory.view.setUint8(IDT + GP * 8 + 5, 0x6e);
    loadCode(double, [0xfa], CODE);
    t.same([show(double.run(2)), double.rip], ['halt', BigInt(HANDLERS + DF + 1)], `${engine}: #GP with an absent gate is #DF`);
    t.equal(double.memory.view.getUint32(0x6000 - 24, true), 0, `${engine}: with error code 0`);
    t.equal(double.memory.view.getUint32(0x6000 - 16, true), code3);
  }
  t.end();
});

t.test('long mode without paging, as only a host can make it: 64-bit addresses are physical', (t) => {
  for (const engine of engineKinds) {
    const cpu = realCpu(engine);
    cpu.cr0 = 0x31n;
    cpu.efer = 0x500n;
    change(cpu, 'cs', { attributes: 0xa09b, limit: 0xffff_ffff });
    cpu.memory.view.setBigUint64(DATA, 0x1234_5678_9abc_def0n, true);
    cpu.gpr[RBX] = BigInt(DATA);
    loadCode(cpu, [0x48, 0x8b, 0x03, 0x48, 0xff, 0xc0, 0x48, 0x89, 0x43, 0x08, 0x50, 0x5a], CODE);
    t.equal(show(cpu.run(5)), 'budget', engine);
    t.same([cpu.memory.view.getBigUint64(DATA + 8, true), cpu.gpr[2]], [0x1234_5678_9abc_def1n, 0x1234_5678_9abc_def1n]);
    cpu.gpr[RBX] = 0x1234_5678_0000_0000n;
    loadCode(cpu, [0x48, 0x8b, 0x03], CODE);
    t.equal(show(cpu.run(1)), 'budget', `${engine}: no address is not canonical`);
    t.equal(cpu.gpr[RAX], 0xffff_ffff_ffff_ffffn, `${engine}: there is no memory`);
  }
  t.end();
});
