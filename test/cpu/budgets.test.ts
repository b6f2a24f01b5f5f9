/** Budgets and counts are exact to the instruction, wherever a run is cut. */
import t from 'tap';
import { freshBareCpu, loadCode, makeBareCpu } from '../support/bare_cpu.ts';
import { A, ENOUGH, HALT, movEax, NOP, runToHalt } from '../support/short_code.ts';
import { makeRandom } from '../support/vectors.ts';

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
    loadCode(cpu, [...movEax(1), ...HALT], A + 16);
    loadCode(cpu, [...movEax(2), ...HALT], A + 32);
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
    ['#UD', HALT, { kind: 'exception', vector: 6 }],
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
    loadCode(cpu, [0x0f, 0xa2, 0x0f, 0x31, NOP, ...HALT], A);
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
          loadCode(cpu, [...code, ...HALT], A);
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
    loadCode(cpu, [0xf3, 0xa4, ...HALT], A);
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
