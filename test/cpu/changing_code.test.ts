/** Code that changes while it runs, by whatever way: the next time it is met it is what it has become. */
import t, { type Test } from 'tap';
import { type CpuCore, type EngineKind, engineKinds } from '../../emulator/cpu/index.ts';
import { freshBareCpu } from '../support/bare_cpu.ts';
import { EAGER_BLOCKS, loadTranslated, ranTranslated } from '../support/hot_code.ts';
import { le } from '../support/random/encode.ts';
import { A, ENOUGH, HALT, mapPage, movEax, NOP, PAGE, runToHalt, splitFirstPages, storeByte } from '../support/short_code.ts';

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
