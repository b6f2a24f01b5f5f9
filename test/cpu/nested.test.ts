// Nested translation, watched pages and host breakpoints: what a host that owns guest-physical memory sees of a guest.
import t, { type Test } from 'tap';
import {
  type CpuCore,
  createCpu,
  type EngineKind,
  engineKinds,
  type MemoryAccess,
  type NestedPage,
  RAX,
  RBX,
  RCX,
  RDI,
  RSI,
  RSP,
} from '../../emulator/cpu/index.ts';

interface World {
  cpu: CpuCore;
  pages: Map<number, NestedPage>;
  accesses: MemoryAccess[];
  map(gpa: bigint, frame: number, rights?: string): void;
  /** Puts code at a guest-physical address that is mapped, and RIP there. */
  load(gpa: bigint, code: number[]): void;
  listener: (access: MemoryAccess) => boolean | undefined;
}

/** Long mode at CPL 0 without paging of the guest's own. Frames are named by number; 0x10 is the first that holds code. */
function makeWorld(engine: EngineKind): World {
  const pages = new Map<number, NestedPage>();
  const accesses: MemoryAccess[] = [];
  const cpu = createCpu({
    memorySize: 4 << 20,
    host: { cpuid: () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 }), readTsc: (instructions) => instructions },
    intercepts: { exceptions: 0xffff_ffff, softwareInterrupts: true, syscall: true, instructions: new Set() },
    engine,
    nested: { translate: (gfn) => pages.get(gfn) },
    onAccess: (access) => {
      accesses.push(access);
      return world.listener(access);
    },
  });
  cpu.cr0 = 0x33n;
  cpu.cr4 = 0x620n;
  cpu.efer = 0x500n;
  cpu.setSegment('cs', { selector: 0x10, base: 0n, limit: 0xffff_ffff, attributes: 0xa09b });
  for (const name of ['ss', 'ds', 'es', 'fs', 'gs'] as const)
    cpu.setSegment(name, { selector: 0x18, base: 0n, limit: 0xffff_ffff, attributes: 0xc093 });
  const world: World = {
    cpu,
    pages,
    accesses,
    map: (gpa, frame, rights = 'rwx') => {
      pages.set(Number(gpa >> 12n), {
        frame,
        read: rights.includes('r'),
        write: rights.includes('w'),
        execute: rights.includes('x'),
        watched: rights.includes('!'),
      });
      cpu.flushTlb({ global: true });
    },
    load: (gpa, code) => {
      const maddr = pages.get(Number(gpa >> 12n))!.frame * 4096 + Number(gpa & 0xfffn);
      cpu.memory.bytes.set(code, maddr);
      cpu.memory.written(maddr, code.length);
      cpu.rip = gpa;
    },
    listener: () => undefined,
  };
  return world;
}

function inBoth(name: string, body: (t: Test, world: World) => void): void {
  t.test(name, (t) => {
    for (const engine of engineKinds)
      t.test(engine, (t) => {
        body(t, makeWorld(engine));
        t.end();
      });
    t.end();
  });
}

const CODE = 0x40_0000n;
const FAR = 0xffff_8123_4567_8000n;
const SELF = [0xeb, 0xfe];
const LOAD = [0x48, 0x8b, 0x07], // mov rax, [rdi]
  STORE = [0x48, 0x89, 0x07], // mov [rdi], rax
  ADD = [0x48, 0x01, 0x07], // add [rdi], rax
  PUSH = [0x50],
  MOVSQ = [0x48, 0xa5],
  JUMP = [0xff, 0xe7]; // jmp rdi

/** rbx = sum of the words at [rsi], rcx of them: hot in no time. */
const SUM = [0x31, 0xdb, 0x48, 0x03, 0x1c, 0xce, 0xe2, 0xfa, ...SELF];

inBoth('code and data run where the nested tables put them', (t, { cpu, map, load }) => {
  map(CODE, 0x10);
  map(FAR, 0x20);
  map(FAR + 4096n, 0x18);
  load(CODE, [...STORE, ...LOAD, ...SELF]);
  cpu.gpr[RDI] = FAR + 0xffcn;
  cpu.gpr[RAX] = 0x1122_3344_5566_7788n;
  t.same(cpu.run(2), { kind: 'budget' });
  t.equal(cpu.memory.view.getUint32(0x20ffc, true), 0x5566_7788);
  t.equal(cpu.memory.view.getUint32(0x18000, true), 0x1122_3344);
  t.equal(cpu.gpr[RAX], 0x1122_3344_5566_7788n);
});

inBoth('a missing page or right exits with nothing changed, and can be mended', (t, world) => {
  const { cpu, map, load, pages } = world;
  map(CODE, 0x10);
  // biome-ignore format: one case a line
  const cases: { what: string; code: number[]; rights: string; access: string; offset?: bigint; at?: bigint; size?: number }[] = [
    { what: 'load',           code: LOAD,  rights: '',   access: 'read' },
    { what: 'load, no right', code: LOAD,  rights: 'w',  access: 'read' },
    { what: 'store',          code: STORE, rights: '',   access: 'write' },
    { what: 'store, no right', code: STORE, rights: 'rx', access: 'write' },
    { what: 'rmw, no right',  code: ADD,   rights: 'r',  access: 'write' },
    { what: 'push',           code: PUSH,  rights: 'r',  access: 'write', offset: 8n, at: 0n },
    { what: 'fetch',          code: JUMP,  rights: '',   access: 'execute', size: 1 },
    { what: 'fetch, no right', code: JUMP, rights: 'rw', access: 'execute', size: 1 },
    { what: 'second page',    code: LOAD,  rights: '',   access: 'read', offset: -3n, at: 0n, size: 5 },
    { what: 'second page, w', code: STORE, rights: 'r',  access: 'write', offset: -3n, at: 0n, size: 5 },
  ];
  map(FAR - 4096n, 0x1f);
  for (const { what, code, rights, access, offset = 0n, at = offset, size = 8 } of cases) {
    if (rights === '') pages.delete(Number(BigInt.asUintN(64, FAR) >> 12n));
    else map(FAR, 0x20, rights);
    cpu.flushTlb({ global: true });
    load(CODE, code);
    cpu.memory.bytes.set(SELF, 0x20000);
    cpu.memory.written(0x20000, 2);
    cpu.gpr[RDI] = FAR + offset;
    cpu.gpr[RSP] = FAR + offset;
    const before = cpu.instructions;
    const isFetch = access === 'execute';
    const exit = cpu.run(2);
    t.same(exit, { kind: 'nestedFault', gpa: FAR + at, vaddr: FAR + at, access, size, present: rights !== '', isWalk: false }, what);
    t.equal(cpu.rip, isFetch ? FAR : CODE, `${what}: RIP`);
    t.equal(cpu.instructions - before, isFetch ? 1n : 0n, `${what}: retired`);
    map(FAR, 0x20);
    t.same(cpu.run(1), { kind: 'budget' }, `${what}: mended`);
  }
});

inBoth("the guest's own tables lie in guest-physical memory", (t, { cpu, map, load, pages }) => {
  const ROOT = 0x7_0000_0000n;
  map(CODE, 0x10);
  for (let i = 0; i < 4; i++) map(ROOT + BigInt(i * 4096), 0x20 + 3 * i);
  map(0x5000n, 0x18);
  const { view } = cpu.memory;
  const table = (i: number): number => (0x20 + 3 * i) * 4096;
  // CODE is 2 MiB-mapped; page 0x123000 is mapped to gpa 0x5000.
  for (let i = 0; i < 2; i++) view.setBigUint64(table(i), (ROOT + BigInt((i + 1) * 4096)) | 7n, true);
  view.setBigUint64(table(2), (ROOT + 0x3000n) | 7n, true);
  view.setBigUint64(table(2) + 16, CODE | 0x87n, true);
  view.setBigUint64(table(3) + 0x123 * 8, 0x5007n, true);
  cpu.cr4 = 0x6a0n;
  cpu.cr3 = ROOT;
  cpu.cr0 = 0x8005_0033n;
  load(CODE, [...LOAD, ...STORE, ...SELF]);
  view.setBigUint64(0x18008, 77n, true);
  cpu.gpr[RDI] = 0x12_3008n;
  t.same(cpu.run(1), { kind: 'budget' });
  t.equal(cpu.gpr[RAX], 77n);
  t.equal(view.getUint8(table(3) + 0x123 * 8), 0x27, 'A is set');
  map(ROOT + 0x3000n, 0x29, 'r');
  const entry = ROOT + 0x3000n + 0x123n * 8n;
  const fault = { kind: 'nestedFault', vaddr: 0x12_3008n, size: 8, isWalk: true };
  t.same(cpu.run(1), { ...fault, gpa: entry, access: 'write', present: true }, 'setting D wants the right to write');
  map(ROOT + 0x3000n, 0x29, 'rw');
  t.same(cpu.run(1), { kind: 'budget' });
  t.equal(view.getUint8(table(3) + 0x123 * 8), 0x67, 'D is set');
  pages.delete(Number((ROOT + 0x3000n) >> 12n));
  cpu.flushTlb({ global: true });
  cpu.rip = CODE;
  t.same(cpu.run(1), { ...fault, gpa: entry, access: 'read', present: false }, 'a table is missing');
  t.same(cpu.translate(0x12_3008n, 'read'), { ok: false, errorCode: 0 }, 'a question is no access');
});

inBoth('code is seen to change through any alias of its frame', (t, { cpu, map, load }) => {
  map(CODE, 0x10, 'rx');
  map(FAR, 0x10, 'rw');
  // inc dword [rdi]: the immediate of the mov at CODE + 2; 3000 rounds make it hot.
  const code = [0xff, 0x07, 0xb8, 0, 0, 0, 0, 0x01, 0xc3, 0xe2, 0xf5, ...SELF];
  load(CODE, code);
  cpu.gpr[RDI] = FAR + 3n;
  cpu.gpr[RCX] = 3000n;
  cpu.run(3000 * 4 + 5);
  t.equal(cpu.gpr[RBX], BigInt((3000 * 3001) / 2));
});

inBoth('a page is remapped under hot code', (t, { cpu, map, load }) => {
  map(CODE, 0x10);
  map(FAR, 0x20);
  load(CODE, SUM);
  for (const [frame, value] of [
    [0x20, 1n],
    [0x21, 5n],
    [0x20, 1n],
  ] as const) {
    for (let i = 0; i < 512; i++) cpu.memory.view.setBigUint64(frame * 4096 + i * 8, value, true);
    map(FAR, frame);
    for (let round = 0; round < 60; round++) {
      cpu.rip = CODE;
      cpu.gpr[RSI] = FAR;
      cpu.gpr[RCX] = 511n;
      cpu.run(2000);
    }
    t.equal(cpu.gpr[RBX], 511n * value);
  }
});

const shown = ({ kind, vaddr, size, bytes }: MemoryAccess): string => {
  const value = kind === 'read' ? '' : size > 16 ? ' *' : ` ${Buffer.from(bytes).toString('hex')}`;
  return `${kind} ${(vaddr - FAR).toString(16)} ${size}${value}`;
};

inBoth('each access to a watched page is told, and nothing else', (t, world) => {
  const { cpu, map, load, accesses } = world;
  map(CODE, 0x10);
  map(FAR - 4096n, 0x1f);
  map(FAR, 0x20, 'rw!');
  // biome-ignore format: one case a line
  const cases: [string, number[], bigint, string[]][] = [
    ['load',            LOAD, 16n, ['read 10 8', 'readAfter 10 8 0807060504030201']],
    ['store',           STORE, 16n, ['write 10 8 efcdab8967452301']],
    ['read and write',  ADD, 16n, ['read 10 8', 'readAfter 10 8 0807060504030201', 'write 10 8 f7d4b18e6b482502']],
    ['crossing into',   LOAD, -3n, ['read -3 8', 'readAfter -3 8 0000000000000000']],
    ['crossing, store', STORE, -3n, ['write -3 8 efcdab8967452301']],
    ['another page',    LOAD, -8n, []],
    ['push',            PUSH, 24n, ['write 10 8 efcdab8967452301']],
    ['movsq',           MOVSQ, 32n, ['read 10 8', 'readAfter 10 8 0807060504030201', 'write 20 8 0807060504030201']],
    ['fxsave',          [0x48, 0x0f, 0xae, 0x07], 512n, ['write 200 416 *']],
    ['fstp',            [0xd9, 0xe8, 0xdb, 0x3f], 64n, ['write 40 10 0000000000000080ff3f']],
    ['cmpxchg16b',      [0x48, 0x0f, 0xc7, 0x0f], 16n, ['read 10 16', 'readAfter 10 16 08070605040302010000000000000000', 'write 10 16 08070605040302010000000000000000']],
    ['pushf; popf',     [0x9c, 0x9d], 24n, ['write 10 8 0200000000000000', 'read 10 8', 'readAfter 10 8 0200000000000000']],
  ];
  for (const [what, code, offset, expected] of cases) {
    accesses.length = 0;
    cpu.memory.bytes.fill(0, 0x1f000, 0x21000);
    cpu.memory.view.setBigUint64(0x20010, 0x0102_0304_0506_0708n, true);
    load(CODE, [...code, ...SELF]);
    cpu.rflags = 2n;
    cpu.gpr[RAX] = 0x0123_4567_89ab_cdefn;
    cpu.gpr[RDI] = cpu.gpr[RSP] = FAR + offset;
    cpu.gpr[RSI] = FAR + 16n;
    cpu.gpr[RCX] = 0n;
    world.listener = (access) => {
      t.ok(cpu.rip === CODE || (cpu.rip < CODE + 3n && code.length < 5), `${what}: RIP is the instruction's`);
      if (access.kind !== 'write') return undefined;
      const at = 0x20000 + Number(access.vaddr - FAR);
      const isUnchanged = access.bytes.some((byte, i) => byte !== cpu.memory.bytes[at + i]);
      t.equal(isUnchanged, what !== 'cmpxchg16b', `${what}: memory has not changed yet`);
      return undefined;
    };
    t.same(cpu.run(3), { kind: 'budget' }, what);
    t.same(accesses.map(shown), expected, what);
  }
});

inBoth('a listener may change what a load finds, refuse a store, or stop the run', (t, world) => {
  const { cpu, map, load } = world;
  map(CODE, 0x10);
  map(FAR, 0x20, 'rw!');
  load(CODE, [...STORE, ...LOAD, 0x90, ...SELF]);
  cpu.gpr[RDI] = FAR;
  cpu.gpr[RAX] = 5n;
  world.listener = ({ kind }) => {
    if (kind === 'read') {
      cpu.memory.bytes[0x20000]! += 9;
      cpu.requestStop();
    }
    return kind !== 'write';
  };
  t.same(cpu.run(100), { kind: 'stopped' });
  t.equal(cpu.rip, CODE + 6n, 'behind the instruction');
  t.equal(cpu.instructions, 2n);
  t.equal(cpu.gpr[RAX], 9n);
  t.same(cpu.run(1), { kind: 'budget' }, 'a stop holds for its run only');
});

inBoth('a listener may end the run before a load is done', (t, world) => {
  const { cpu, map, load, accesses } = world;
  map(CODE, 0x10);
  map(FAR, 0x20, 'rw!');
  for (const kind of ['read', 'readAfter']) {
    accesses.length = 0;
    load(CODE, [0x90, ...LOAD, ...SELF]);
    cpu.gpr[RDI] = FAR;
    cpu.gpr[RAX] = 5n;
    world.listener = (access) => access.kind !== kind;
    t.same(cpu.run(100), { kind: 'stopped' });
    t.equal(cpu.rip, CODE + 1n, 'at the instruction');
    t.equal(cpu.gpr[RAX], 5n);
    t.equal(accesses.at(-1)!.kind, kind);
  }
});

inBoth('a listener may remap the page that it hears of', (t, world) => {
  const { cpu, map, load } = world;
  map(CODE, 0x10);
  map(FAR, 0x20, 'rw!');
  load(CODE, [...LOAD, ...SELF]);
  cpu.gpr[RDI] = FAR;
  cpu.memory.bytes[0x21000] = 33;
  world.listener = ({ kind }) => {
    if (kind === 'read') map(FAR, 0x21);
    return undefined;
  };
  cpu.run(1);
  t.equal(cpu.gpr[RAX], 33n);
});

inBoth('a watched loop counts as an unwatched one does', (t, world) => {
  const { cpu, map, load, accesses } = world;
  map(CODE, 0x10);
  for (const rights of ['rw', 'rw!']) {
    map(FAR, 0x20, rights);
    load(CODE, SUM);
    for (let budget = 1; budget < 200; budget += 7) {
      cpu.rip = CODE;
      cpu.gpr[RSI] = FAR;
      cpu.gpr[RCX] = 511n;
      const before = cpu.instructions;
      t.same(cpu.run(budget), { kind: 'budget' });
      if (cpu.instructions - before !== BigInt(budget)) t.fail(`${rights}: ${cpu.instructions - before} of ${budget}`);
      if (cpu.gpr[RCX] !== 511n - BigInt(Math.floor((budget - 1) / 2))) t.fail(`${rights}: after ${budget}`);
    }
  }
  t.equal(accesses.filter(({ kind }) => kind === 'read').length > 1000, true);
});

inBoth('a run stops before a breakpoint, whatever way leads there', (t, { cpu, map, load }) => {
  map(CODE, 0x10);
  map(CODE + 4096n, 0x11);
  map(FAR, 0x20);
  load(CODE, SUM);
  const start = (): void => {
    cpu.rip = CODE;
    cpu.gpr[RSI] = FAR;
    cpu.gpr[RCX] = 511n;
  };
  for (let round = 0; round < 60; round++) {
    start();
    cpu.run(2000);
  }
  for (const [at, count] of [
    [0n, 0],
    [2n, 1],
    [6n, 2],
    [8n, 1 + 2 * 511],
    [3n, -1],
  ] as const) {
    cpu.setBreakpoints([[CODE + at, CODE + at]]);
    start();
    cpu.rip = CODE + 8n;
    cpu.run(1);
    start();
    const before = cpu.instructions;
    const exit = cpu.run(2000);
    if (at === 0n || count < 0) t.same(exit, { kind: 'budget' }, 'not on the first instruction, nor inside of one');
    else {
      t.same(exit, { kind: 'breakpoint' }, `${at}`);
      t.equal(cpu.rip, CODE + at);
      t.equal(cpu.instructions - before, BigInt(count), `${at}: instructions`);
    }
  }
  cpu.setBreakpoints([
    [CODE + 1n, CODE + 4n],
    [CODE + 6n, CODE + 6n],
  ]);
  start();
  const seen = [];
  for (let i = 0; i < 5; i++) {
    t.same(cpu.run(2000), { kind: 'breakpoint' });
    seen.push(cpu.rip - CODE);
  }
  t.same(seen, [2n, 6n, 2n, 6n, 2n], 'again and again');
  cpu.setBreakpoints([[CODE + 4096n, CODE + 4096n]]);
  load(CODE + 0xfffn, [0x90, 0x90, ...SELF]);
  t.same(cpu.run(10), { kind: 'breakpoint' }, 'on the next page');
  t.equal(cpu.rip, CODE + 4096n);
  load(CODE, [0xf3, 0x48, 0xa5, ...SELF]);
  cpu.setBreakpoints([[CODE, CODE]]);
  cpu.gpr[RDI] = FAR + 8n;
  cpu.gpr[RCX] = 50n;
  t.same(cpu.run(60), { kind: 'budget' }, 'a repeated instruction is one');
  cpu.setBreakpoints([]);
  start();
  load(CODE, SUM);
  t.same(cpu.run(2000), { kind: 'budget' });
});
