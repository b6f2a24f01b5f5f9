/**
 * Whole programs: random ones that the real CPU has run, in one go and cut anywhere; exact budgets and counts; and code that
 * changes while it runs, by whatever way.
 */
import { readFileSync } from 'node:fs';
import { inspect, isDeepStrictEqual } from 'node:util';
import t, { type Test } from 'tap';
import { type CpuCore, type EngineKind, engineKinds } from '../../emulator/cpu/index.ts';
import { HANDLER_ENTER, R_HANDLER, RECORD_SIZE, RECORDS } from '../../emulator/cpu/layout.ts';
import { freshBareCpu, loadCode, makeBareCpu } from '../support/bare_cpu.ts';
import { EAGER_BLOCKS, loadTranslated, ranTranslated } from '../support/hot_code.ts';
import { loadState, saveState } from '../support/machine_state.ts';
import { hashesOf, type Program, programInput, readPrograms } from '../support/programs.ts';
import { CODE_ADDRESS, type MachineState, makeRandom } from '../support/vectors.ts';

const UD2 = [0x0f, 0x0b];
const ENOUGH = 100_000;
/** Enough for the second tier to have found and translated a loop. */
const WARM_UP = 40_000;

/** Little-endian bytes. */
const le = (value: number, size: number): number[] => Array.from({ length: size }, (_, i) => Math.floor(value / 2 ** (8 * i)) & 0xff);

/** What differs from the real CPU, or ''. `budgets`: what each `run` may take. */
function replay(cpu: CpuCore, program: Program, budgets: () => number): string {
  loadState(cpu, programInput(program.seed));
  loadCode(cpu, [...program.code, ...UD2], CODE_ADDRESS);
  const before = cpu.instructions;
  let exit: ReturnType<CpuCore['run']>;
  do {
    const start = cpu.instructions;
    const budget = budgets();
    exit = cpu.run(budget);
    if (exit.kind === 'budget' && cpu.instructions - start !== BigInt(budget))
      return `${cpu.instructions - start} of ${budget} instructions`;
  } while (exit.kind === 'budget' && cpu.instructions - before < ENOUGH);
  const state = saveState(cpu);
  const end = BigInt(CODE_ADDRESS + program.code.length);
  if (exit.kind !== 'exception' || exit.vector !== 6 || cpu.rip !== end) return `${JSON.stringify(exit)} at ${cpu.rip.toString(16)}`;
  const count = Number(cpu.instructions - before);
  return count === program.count ? differences(state, program) : `${count} instructions instead of ${program.count}`;
}

function differences(state: MachineState, program: Program): string {
  if (state.flags !== program.flags) return `flags ${state.flags.toString(16)} instead of ${program.flags.toString(16)}`;
  return hashesOf(state)
    .flatMap((hash, i) => (hash === program.hashes[i] ? [] : [['general registers', 'vector registers', 'memory'][i]]))
    .join(', ');
}

t.test('random programs end as on the real CPU', (t) => {
  const programs = readPrograms(readFileSync(new URL('../../../test/cpu/vectors/programs.gz', import.meta.url)));
  const cpu = makeBareCpu();
  const random = makeRandom(99);
  const ways: [string, number, () => number][] = [
    ['in one run', 2, () => ENOUGH],
    ['an instruction at a time', 9, () => 1],
    ['cut at random', 7, () => 1 + (random() % 9)],
  ];
  for (const [name, step, budgets] of ways) {
    const chosen = programs.filter((_, i) => i % step === 0);
    const failures = chosen.flatMap((program) => {
      const difference = replay(cpu, program, budgets);
      return difference === '' ? [] : [`seed ${program.seed}: ${difference} ${Buffer.from(program.code).toString('hex')}`];
    });
    t.equal(failures.length, 0, `${chosen.length} programs ${name}`, { failures: failures.slice(0, 4) });
  }
  t.end();
});

const movEax = (value: number): number[] => [0xb8, ...le(value, 4)];
/** MOV BYTE [absolute], imm8. */
const storeByte = (address: number, value: number): number[] => [0xc6, 0x04, 0x25, ...le(address, 4), value];
const NOP = 0x90,
  HALT = UD2;
const PAGE = 0x1000;
const A = 0x10000;

/** Runs to the UD2 that ends the code; EAX then. */
function runToHalt(cpu: CpuCore): number {
  const exit = cpu.run(ENOUGH);
  if (exit.kind !== 'exception' || exit.vector !== 6) throw new Error(`${JSON.stringify(exit)} at ${cpu.rip.toString(16)}`);
  return Number(cpu.gpr[0]! & 0xffff_ffffn);
}

/** Makes the 2 MiB that hold [0, 2 MiB) pages of 4 KiB, identical, in a table below the others; returns its address. */
function splitFirstPages(cpu: CpuCore): number {
  const { view } = cpu.memory;
  const table = 0xe00000;
  const root = Number(cpu.cr3);
  for (let i = 0; i < 512; i++) view.setBigUint64(table + i * 8, (BigInt(i) << 12n) | 7n, true);
  view.setBigUint64(root + 0x2000, BigInt(table) | 7n, true);
  cpu.flushTlb({ global: true });
  return table;
}

function mapPage(cpu: CpuCore, table: number, vaddr: number, maddr: number): void {
  cpu.memory.view.setBigUint64(table + (vaddr >> 12) * 8, BigInt(maddr) | 7n, true);
  cpu.flushTlbPage(BigInt(vaddr));
}

/** Whether a record among the first enters a region. */
function isTranslated({ state: { view } }: CpuCore): boolean {
  for (let record = RECORDS; record < RECORDS + 1000 * RECORD_SIZE; record += RECORD_SIZE) {
    if (view.getUint16(record + R_HANDLER, true) === HANDLER_ENTER) return true;
  }
  return false;
}

/** The program again and again from where it ended, until it is translated; then once from its input. */
function replayHot(translating: CpuCore, interpreting: CpuCore, program: Program, budgets: () => number): string {
  const again = [0xe9, ...le(-program.code.length - 5, 4)];
  const warm = [translating, interpreting].map((cpu) => {
    loadState(cpu, programInput(program.seed));
    loadCode(cpu, [...program.code, ...again], CODE_ADDRESS);
    const before = cpu.instructions;
    const exit = cpu.run(WARM_UP);
    return { exit, count: cpu.instructions - before, rip: cpu.rip, state: saveState(cpu) };
  });
  const [ours, theirs] = warm.map(({ exit, count, rip, state }) => ({ ...exit, count, rip, flags: state.flags, hashes: hashesOf(state) }));
  if (!isDeepStrictEqual(ours, theirs)) return `after ${theirs!.count} instructions: ${inspect(ours)} instead of ${inspect(theirs)}`;
  loadState(translating, programInput(program.seed));
  for (let left = program.count; left > 0; ) {
    const budget = Math.min(left, budgets());
    translating.run(budget);
    left -= budget;
  }
  if (translating.rip !== BigInt(CODE_ADDRESS + program.code.length)) return `ends at ${translating.rip.toString(16)}`;
  return differences(saveState(translating), program);
}

t.test('hot programs end as on the real CPU, and go on as interpreted ones', (t) => {
  const programs = readPrograms(readFileSync(new URL('../../../test/cpu/vectors/programs.gz', import.meta.url)));
  const translating = makeBareCpu({ engine: 'translate' });
  const interpreting = makeBareCpu();
  const fresh = translating.saveContext();
  const random = makeRandom(98);
  let translated = 0;
  for (const [name, first, budgets] of [
    ['in one run', 0, () => ENOUGH],
    ['cut at random', 4, () => 1 + (random() % 9)],
  ] as const) {
    const chosen = programs.filter((_, i) => i % 32 === first);
    const failures = chosen.flatMap((program) => {
      translating.reset();
      translating.loadContext(fresh);
      const difference = replayHot(translating, interpreting, program, budgets);
      if (isTranslated(translating)) translated++;
      return difference === '' ? [] : [`seed ${program.seed}: ${difference} ${Buffer.from(program.code).toString('hex')}`];
    });
    t.equal(failures.length, 0, `${chosen.length} programs ${name}`, { failures: failures.slice(0, 4) });
  }
  t.ok(translated > 25, `${translated} of them were translated`);
  t.end();
});

for (const engine of engineKinds) t.test(`code that changes while it runs, ${engine}`, (t) => testChangingCode(t, engine));

function testChangingCode(t: Test, engine: EngineKind): void {
  const options = engine === 'interpret' ? {} : EAGER_BLOCKS;
  /** Runs, and those of them that ran translated code. */
  let runs = 0;
  let translated = 0;
  const runToEnd = (cpu: CpuCore): number => {
    let result = 0;
    runs++;
    const wasTranslated = ranTranslated(cpu, () => {
      result = runToHalt(cpu);
    });
    if (wasTranslated) translated++;
    return result;
  };

  t.test('a store into the next instruction is seen by it', (t) => {
    const cpu = freshBareCpu(3, options);
    loadTranslated(cpu, [...storeByte(A + 9, 2), ...movEax(1), ...HALT], A);
    t.equal(runToEnd(cpu), 2);
    t.end();
  });

  t.test('a store into an instruction further on in the same block', (t) => {
    const cpu = freshBareCpu(3, options);
    loadTranslated(cpu, [...storeByte(A + 8 + 10 + 1, 3), ...new Array(10).fill(NOP), ...movEax(1), ...HALT], A);
    t.equal(runToEnd(cpu), 3);
    t.end();
  });

  t.test('a store that turns the next instruction into a longer one', (t) => {
    const cpu = freshBareCpu(3, options);
    loadTranslated(cpu, [...storeByte(A + 8, 0xb8), NOP, 0x0f, 0x0b, 0, 0, ...HALT], A);
    t.equal(runToEnd(cpu), 0x0b0f);
    t.end();
  });

  t.test('a store into an instruction that has run, seen when it runs again', (t) => {
    const cpu = freshBareCpu(3, options);
    // L: MOV EAX, n; ADD EBX, EAX; INC BYTE [L + 1]; DEC ECX; JNZ L
    const body = [...movEax(1), 0x01, 0xc3, 0xfe, 0x04, 0x25, ...le(A + 1, 4), 0xff, 0xc9];
    loadTranslated(cpu, [...body, 0x75, -(body.length + 2) & 0xff, ...HALT], A);
    cpu.gpr[1] = 100n;
    runToEnd(cpu);
    t.equal(cpu.gpr[3], 5050n);
    t.end();
  });

  t.test('a store over a block that follows through a linked branch', (t) => {
    const cpu = freshBareCpu(3, options);
    // The target is run twice, the second time changed; the branch to it is linked by then.
    const target = A + 0x40;
    const code = [0xe9, ...le(target - A - 5, 4)];
    loadTranslated(
      cpu,
      [
        ...code,
        ...new Array(0x40 - code.length).fill(NOP),
        ...movEax(1),
        0x01,
        0xc3,
        ...storeByte(target + 1, 7),
        0xff,
        0xc9,
        0x0f,
        0x85,
        ...le(A - (target + 23), 4),
        ...HALT,
      ],
      A,
    );
    cpu.gpr[1] = 3n;
    runToEnd(cpu);
    t.equal(cpu.gpr[3], 15n);
    t.end();
  });

  t.test('a store across a page changes the second page only where it reaches', (t) => {
    const cpu = freshBareCpu(3, options);
    const next = A + PAGE;
    // MOV QWORD [next - 4], RDX: its last four bytes become MOV EAX's first four.
    loadTranslated(cpu, [...movEax(1), ...HALT], next);
    loadTranslated(cpu, [0xe8, ...le(next - A - 5, 4)], A);
    runToEnd(cpu);
    loadTranslated(cpu, [0x48, 0x89, 0x14, 0x25, ...le(next - 4, 4), 0xe9, ...le(next - A - 13, 4)], A);
    cpu.gpr[2] = 0x0003_02b8_9090_9090n;
    t.equal(runToEnd(cpu), 0x302);
    t.end();
  });

  t.test('a store through another mapping of the frame', (t) => {
    const cpu = freshBareCpu(3, options);
    const table = splitFirstPages(cpu);
    mapPage(cpu, table, 0x50000, A);
    for (const value of [2, 3]) {
      loadTranslated(cpu, [...storeByte(0x50000 + 9, value), ...movEax(1), ...HALT], A);
      t.equal(runToEnd(cpu), value);
    }
    t.end();
  });

  t.test('a store to the frame under one name, code run under two', (t) => {
    const cpu = freshBareCpu(3, options);
    const table = splitFirstPages(cpu);
    const alias = 0x50000;
    mapPage(cpu, table, alias, A);
    loadTranslated(cpu, [...movEax(1), ...HALT], A + 0x100);
    for (const value of [1, 5, 6]) {
      loadTranslated(cpu, [...storeByte(A + 0x101, value), ...HALT], 0x20000);
      runToEnd(cpu);
      for (const at of [A, alias]) {
        cpu.rip = BigInt(at + 0x100);
        t.equal(runToEnd(cpu), value, `${value} at ${at.toString(16)}`);
        t.equal(Number(cpu.rip), at + 0x105, 'RIP is the one that ran');
      }
    }
    t.end();
  });

  t.test('RIP-relative operands of code under two addresses', (t) => {
    const cpu = freshBareCpu(3, options);
    const table = splitFirstPages(cpu);
    mapPage(cpu, table, 0x50000, A);
    loadTranslated(cpu, [0x48, 0x8d, 0x05, 0, 0, 0, 0, ...HALT], A); // LEA RAX, [RIP]
    for (const at of [A, 0x50000, A]) {
      cpu.rip = BigInt(at);
      t.equal(runToEnd(cpu), at + 7);
    }
    t.end();
  });

  t.test('what the host writes, told by memory.written', (t) => {
    const cpu = freshBareCpu(3, options);
    loadTranslated(cpu, [...movEax(1), ...HALT], A);
    for (const value of [1, 9, 10]) {
      cpu.memory.bytes[A + 1] = value;
      cpu.memory.written(A + 1, 1);
      cpu.rip = BigInt(A);
      t.equal(runToEnd(cpu), value);
    }
    t.end();
  });

  t.test('a branch behind a comparison, whether or not something branches between them', (t) => {
    const cpu = freshBareCpu(3, options);
    const branch = A + 7;
    loadTranslated(cpu, [...movEax(1), 0x39, 0xc0, 0x74, 5, ...movEax(2), ...HALT], A); // CMP EAX, EAX; JZ to the end
    const runWith = (opcode: number): number => {
      cpu.memory.bytes[branch] = opcode;
      cpu.memory.written(branch, 1);
      cpu.rip = BigInt(A);
      return runToEnd(cpu);
    };
    t.same([runWith(0x75), runWith(0x74)], [2, 1], 'JNZ, JZ');
    loadTranslated(cpu, [0xe9, ...le(branch - 0x20005, 4)], 0x20000);
    t.equal(runToEnd(cpu), 1, 'JMP to the branch');
    t.same([runWith(0x75), runWith(0x74)], [2, 1], 'JNZ, JZ');
    for (let budget = 1; budget <= 3; budget++) {
      cpu.rip = BigInt(A);
      t.equal(cpu.run(budget).kind, 'budget');
      t.equal(Number(cpu.rip), [A + 5, branch, A + 14][budget - 1], `RIP after ${budget}`);
    }
    t.end();
  });

  t.test('what the host writes in the middle of a run, from an exit', (t) => {
    const cpu = freshBareCpu(3, options);
    loadTranslated(cpu, [0x0f, 0x05, ...movEax(1), ...HALT], A); // SYSCALL leaves
    const exit = cpu.run(ENOUGH);
    t.equal(exit.kind, 'syscall');
    cpu.memory.bytes[A + 3] = 4;
    cpu.memory.written(A + 3, 1);
    cpu.advance(2);
    t.equal(runToEnd(cpu), 4);
    t.end();
  });

  t.test('an instruction over two pages follows the mapping of the second', (t) => {
    const cpu = freshBareCpu(3, options);
    const table = splitFirstPages(cpu);
    const next = A + PAGE;
    const other = 0x30000;
    const code = [...movEax(0x01020304), ...HALT];
    for (let before = 1; before <= 4; before++) {
      mapPage(cpu, table, next, next);
      loadTranslated(cpu, code, next - before);
      t.equal(runToEnd(cpu), 0x01020304, `${before} bytes before the page`);
      cpu.memory.bytes.set([...le(0x0a0b0c0d, 4), ...HALT].slice(before - 1), other);
      cpu.memory.written(other, 16);
      cpu.memory.view.setBigUint64(table + (next >> 12) * 8, BigInt(other) | 7n, true);
      cpu.flushTlbPage(BigInt(next));
      cpu.rip = BigInt(next - before);
      const low = 8 * (before - 1);
      const kept = 2 ** low;
      t.equal(runToEnd(cpu), Math.floor(0x0a0b0c0d / kept) * kept + (0x01020304 % kept), 'remapped');
      cpu.memory.bytes[other] = 0x77;
      cpu.memory.written(other, 1);
      cpu.rip = BigInt(next - before);
      t.equal((runToEnd(cpu) >>> low) & 0xff, 0x77, 'and changed there');
      cpu.memory.view.setBigUint64(table + (next >> 12) * 8, 0n, true);
      cpu.flushTlbPage(BigInt(next));
      cpu.rip = BigInt(next - before);
      const exit = cpu.run(ENOUGH);
      t.match(exit, { kind: 'exception', vector: 14, errorCode: 0x14, cr2: BigInt(next) }, 'and gone');
    }
    t.end();
  });

  t.test('REP MOVSB over its own code', (t) => {
    const cpu = freshBareCpu(3, options);
    // The bytes of MOV EAX behind it are replaced; itself is copied onto itself.
    const patch = [0xf3, 0xa4, ...movEax(6), ...HALT];
    cpu.memory.bytes.set(patch, 0x20000);
    loadTranslated(cpu, [0xf3, 0xa4, ...movEax(1), ...HALT], A);
    cpu.gpr[6] = 0x20000n;
    cpu.gpr[7] = BigInt(A);
    cpu.gpr[1] = BigInt(patch.length);
    t.equal(runToEnd(cpu), 6);
    t.end();
  });

  t.test('REP STOSB that overwrites itself stops being one', (t) => {
    const cpu = freshBareCpu(3, options);
    loadTranslated(cpu, [0xf3, 0xaa, NOP, NOP, NOP, ...HALT], A);
    cpu.gpr.set([BigInt(NOP), 5n], 0);
    cpu.gpr[7] = BigInt(A);
    runToEnd(cpu);
    // Hardware shows this when an interrupt comes between the iterations; uninterrupted it finishes them first.
    t.equal(cpu.gpr[1], 4n);
    t.end();
  });
  if (engine === 'translate')
    t.test('most of it was translated', (t) => {
      t.ok(translated > 15, `${translated} of ${runs} runs`);
      t.end();
    });
  t.end();
}

t.test('budgets are exact', (t) => {
  /** L: INC EAX; ADD EBX, EAX; PUSH RAX; POP RDX; CMP EDX, EAX; JNZ to the end; JMP L */
  const loop = [0xff, 0xc0, 0x01, 0xc3, 0x50, 0x5a, 0x39, 0xc2, 0x75, 0x02, 0xeb, 0xf4, ...HALT];

  t.test('random cuts of a loop retire exactly what they were given', (t) => {
    const random = makeRandom(5);
    const whole = makeBareCpu();
    const cut = makeBareCpu();
    loadCode(whole, loop, A);
    loadCode(cut, loop, A);
    const wrong: string[] = [];
    let total = 0;
    for (let i = 0; i < 2000; i++) {
      const budget = random() % (i % 50 === 0 ? 20_000 : 40);
      const before = cut.instructions;
      const exit = cut.run(budget);
      total += budget;
      if (exit.kind !== 'budget' || cut.instructions - before !== BigInt(budget)) wrong.push(`${cut.instructions - before} of ${budget}`);
    }
    whole.run(total);
    t.strictSame(wrong, []);
    t.equal(whole.instructions, BigInt(total));
    t.equal(cut.rip, whole.rip);
    t.strictSame([...cut.gpr], [...whole.gpr]);
    t.equal(cut.rflags, whole.rflags);
    t.end();
  });

  t.test('a branch whose run ended goes to its own target when RIP was changed in between', (t) => {
    const cpu = freshBareCpu();
    loadCode(cpu, [0xeb, 0x0e], A); // JMP A + 16
    loadCode(cpu, [...movEax(1), ...UD2], A + 16);
    loadCode(cpu, [...movEax(2), ...UD2], A + 32);
    cpu.rip = BigInt(A);
    t.equal(cpu.run(1).kind, 'budget');
    t.equal(Number(cpu.rip), A + 16);
    cpu.rip = BigInt(A + 32);
    t.equal(runToHalt(cpu), 2);
    cpu.rip = BigInt(A);
    t.equal(runToHalt(cpu), 1);
    t.end();
  });

  t.test('none given, none done', (t) => {
    const cpu = freshBareCpu();
    loadCode(cpu, loop, A);
    t.strictSame(cpu.run(0), { kind: 'budget' });
    t.equal(Number(cpu.rip), A);
    t.end();
  });

  /** Code after three NOPs, and what ends the run there without counting. */
  const stops: [string, number[], object][] = [
    ['#UD', UD2, { kind: 'exception', vector: 6 }],
    ['#PF of a load', [0x8b, 0x04, 0x25, 0, 0, 0, 0x70], { kind: 'exception', vector: 14 }],
    ['#DE', [0x31, 0xc9, 0xf7, 0xf1], { kind: 'exception', vector: 0 }],
    ['#GP of a privileged instruction', [0xf4], { kind: 'exception', vector: 13 }],
    ['SYSCALL', [0x0f, 0x05], { kind: 'syscall' }],
    ['INT n', [0xcd, 0x82], { kind: 'softwareInterrupt', vector: 0x82 }],
    ['INT3', [0xcc], { kind: 'softwareInterrupt', vector: 3 }],
    ['an intercepted CPUID', [0x0f, 0xa2], { kind: 'instruction', name: 'cpuid' }],
    ['an intercepted RDTSC', [0x0f, 0x31], { kind: 'instruction', name: 'rdtsc' }],
    ['a fault of PUSH', [0x31, 0xe4, 0x50], { kind: 'exception' }],
  ];
  t.test('what faults or leaves is not counted', (t) => {
    for (const [name, code, expected] of stops) {
      for (const budget of [ENOUGH, 1]) {
        const cpu = freshBareCpu();
        cpu.intercepts.instructions = new Set(['cpuid', 'rdtsc']);
        // PUSH at 0 wraps to the top of the address space, which is not mapped.
        loadCode(cpu, [NOP, NOP, NOP, ...code], A);
        const before = cpu.instructions;
        let exit = cpu.run(budget);
        for (let i = 0; exit.kind === 'budget' && i < 10; i++) exit = cpu.run(budget);
        t.match(exit, expected, name);
        const retired = 3n + (code[0] === 0x31 ? 1n : 0n);
        t.equal(cpu.instructions - before, retired, `${name}: ${retired} retired`);
        t.equal(cpu.rip, BigInt(A) + 3n + (code[0] === 0x31 ? 2n : 0n), `${name}: RIP is at it`);
      }
    }
    t.end();
  });

  t.test('CPUID and RDTSC performed here count one each', (t) => {
    const cpu = freshBareCpu();
    loadCode(cpu, [0x0f, 0xa2, 0x0f, 0x31, NOP, ...UD2], A);
    const before = cpu.instructions;
    t.equal(cpu.run(1).kind, 'budget');
    t.equal(Number(cpu.rip), A + 2);
    t.equal(cpu.run(1).kind, 'budget');
    t.equal(Number(cpu.rip), A + 4);
    runToHalt(cpu);
    t.equal(cpu.instructions - before, 3n);
    t.end();
  });

  t.test('every iteration of a repeated instruction counts, at least one', (t) => {
    for (const [name, code] of [
      ['movs', [0xf3, 0xa4]],
      ['stos', [0xf3, 0x48, 0xab]],
      ['lods', [0xf3, 0xac]],
      ['scas', [0xf2, 0xae]],
      ['cmps', [0xf3, 0xa6]],
    ] as const) {
      for (const count of [0, 1, 2, 7]) {
        for (const budget of [1, 3, ENOUGH]) {
          const cpu = freshBareCpu();
          loadCode(cpu, [...code, ...UD2], A);
          cpu.gpr[0] = 1n; // no byte of the memory is 1
          cpu.gpr[1] = BigInt(count);
          cpu.gpr[6] = 0x30000n;
          cpu.gpr[7] = 0x38000n;
          const before = cpu.instructions;
          let exit = cpu.run(budget);
          for (let i = 0; exit.kind === 'budget' && i < 20; i++) {
            if (cpu.rip === BigInt(A)) t.equal(cpu.gpr[1], BigInt(count) - (cpu.instructions - before), `${name}: RCX between iterations`);
            exit = cpu.run(budget);
          }
          t.equal(cpu.instructions - before, BigInt(Math.max(count, 1)), `rep ${name} of ${count} in runs of ${budget}`);
          t.equal(cpu.gpr[1], 0n);
        }
      }
    }
    t.end();
  });

  t.test('a fault in the middle of a repeated instruction keeps the iterations before it', (t) => {
    const cpu = freshBareCpu();
    loadCode(cpu, [0xf3, 0xa4, ...UD2], A);
    cpu.gpr[1] = 100n;
    cpu.gpr[6] = 0x30000n;
    cpu.gpr[7] = 0x4000_0000n - 5n; // the identity map ends there
    const before = cpu.instructions;
    t.match(cpu.run(ENOUGH), { kind: 'exception', vector: 14, cr2: 0x4000_0000n });
    t.equal(cpu.instructions - before, 5n);
    t.equal(cpu.gpr[1], 95n);
    t.equal(cpu.gpr[7], 0x4000_0000n);
    t.equal(Number(cpu.rip), A);
    t.end();
  });
  t.end();
});
