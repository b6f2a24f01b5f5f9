/**
 * What the host injects at an instruction boundary: interrupts, exceptions and NMIs, when they may be taken, and the
 * time-stamp counter's offset and scale. In both tiers; a loop that is translated is interrupted at the exact instruction.
 */

import t from 'tap';
import type { Exit } from '../../emulator/cpu/exit.ts';
import { type CpuCore, type EngineKind, engineKinds } from '../../emulator/cpu/index.ts';
import { RAX, RCX, RDX, RSP } from '../../emulator/cpu/interface.ts';
import { loadCode, makeBareCpu } from '../support/bare_cpu.ts';
import { CODE, HANDLERS, protectedCpu, realCpu, STACK } from '../support/legacy_cpu.ts';
import { gate, write64 } from '../support/tables.ts';

const NMI = 2,
  GP = 13,
  PF = 14;
const IF = 0x200n;

const show = (exit: Exit | undefined): string | undefined =>
  exit?.kind === 'exception' ? `#${exit.vector}(${exit.errorCode ?? ''})` : exit?.kind;
const frame = (cpu: CpuCore, words: number): number[] =>
  Array.from({ length: words }, (_, i) => cpu.memory.view.getUint32(Number(cpu.gpr[RSP]) + 4 * i, true));

/** 32-bit protected mode that delivers everything; handlers are one HLT each. */
function quietCpu(engine: EngineKind, cpl: 0 | 3 = 0): CpuCore {
  const cpu = protectedCpu(engine, cpl);
  cpu.intercepts.exceptions = 0;
  return cpu;
}

// Bytes
const NOP = 0x90,
  HLT = 0xf4,
  STI = 0xfb,
  CLI = 0xfa,
  IRET = 0xcf,
  POPF = 0x9d,
  MOV_SS_AX = [0x8e, 0xd0];

t.test('an injected interrupt is delivered at RIP, whatever IF says', (t) => {
  for (const engine of engineKinds) {
    const cpu = quietCpu(engine);
    cpu.rflags = 2n | IF;
    loadCode(cpu, [NOP, NOP], CODE);
    cpu.run(1);
    const { instructions } = cpu;
    t.equal(cpu.injectInterrupt(0x41), undefined, engine);
    t.same(
      [cpu.rip, frame(cpu, 3), cpu.rflags & IF],
      [BigInt(HANDLERS + 0x41), [CODE + 1, 8, 0x202], 0n],
      `${engine}: its frame, and IF clear`,
    );
    t.equal(cpu.instructions, instructions, `${engine}: no instruction retired`);
    t.equal(show(cpu.run(5)), 'halt', `${engine}: the handler runs`);

    const halted = quietCpu(engine);
    loadCode(halted, [STI, HLT, NOP], CODE);
    halted.memory.bytes[HANDLERS + 0x20] = IRET;
    t.equal(show(halted.run(9)), 'halt', `${engine}: HLT under the shadow of STI`);
    t.ok(halted.canTakeInterrupt, `${engine}: has no shadow`);
    halted.injectInterrupt(0x20);
    t.same([show(halted.run(1)), halted.rip], ['budget', BigInt(CODE + 2)], `${engine}: an interrupt wakes it, and IRET goes behind HLT`);

    const user = quietCpu(engine, 3);
    loadCode(user, [NOP], CODE);
    user.injectInterrupt(0x21);
    t.same([user.cpl, user.gpr[RSP], frame(user, 5)], [0, 0x6000n - 20n, [CODE, 0x1b, 2, STACK, 0x23]], `${engine}: on ring 0's stack`);

    const absent = protectedCpu(engine);
    loadCode(absent, [NOP], CODE);
    absent.idtr = { ...absent.idtr, limit: 0x20 * 8 - 1 };
    t.equal(show(absent.injectInterrupt(0x41)), '#13(523)', `${engine}: what goes wrong is an exception, with EXT`);
    absent.intercepts.exceptions = 0;
    t.equal(absent.injectInterrupt(0x41), undefined);
    t.equal(absent.rip, BigInt(HANDLERS + GP), `${engine}: delivered in its place`);
    absent.idtr = { base: 0n, limit: 0 };
    t.equal(show(absent.injectInterrupt(0x41)), 'shutdown', `${engine}: or the end`);

    const real = realCpu(engine);
    real.memory.view.setUint32(8 * 4, 0x0900_0004, true);
    loadCode(real, [NOP], CODE);
    real.injectInterrupt(8);
    t.same(
      [real.rip, real.getSegment('cs').base, real.gpr[RSP]],
      [4n, 0x9000n, BigInt(STACK - 6)],
      `${engine}: real mode, vector 8 is no double fault`,
    );
  }
  t.end();
});

t.test('an injected exception is as if the instruction had raised it', (t) => {
  for (const engine of engineKinds) {
    const cpu = quietCpu(engine);
    loadCode(cpu, [NOP], CODE);
    cpu.cr2 = 0x1234n;
    cpu.injectException(PF, 6);
    t.same(
      [cpu.rip, frame(cpu, 4), cpu.cr2],
      [BigInt(HANDLERS + PF), [6, CODE, 8, 0x1_0002], 0x1234n],
      `${engine}: #PF with its code, RF in the frame`,
    );
    const plain = quietCpu(engine);
    loadCode(plain, [NOP], CODE);
    plain.injectException(6);
    t.same([plain.rip, frame(plain, 3)], [BigInt(HANDLERS + 6), [CODE, 8, 0x1_0002]], `${engine}: #UD without one`);
    const intercepting = protectedCpu(engine);
    loadCode(intercepting, [NOP], CODE);
    t.equal(intercepting.injectException(GP), undefined, `${engine}: an intercept does not see it`);
    t.same(frame(intercepting, 2), [0, CODE], `${engine}: the error code is 0 when none is given`);
    const gone = quietCpu(engine);
    gone.idtr = { base: 0n, limit: 0 };
    t.equal(show(gone.injectException(GP, 0)), 'shutdown', engine);
  }
  t.end();
});

t.test('the window opens at the first boundary where an interrupt can be taken', (t) => {
  // code, RFLAGS at the start, instructions until the window opens
  // biome-ignore format: one case a line
  const rows: [string, number[], bigint, number][] = [
    ['at once',                                 [NOP, NOP],                              IF, 0],
    ['STI: behind the next instruction',        [NOP, STI, NOP, NOP],                    0n, 3],
    ['STI with IF set makes no shadow',         [CLI, STI, STI, NOP, NOP],               0n, 3],
    ['STI, CLI: not at all, then',              [STI, CLI, STI, NOP, NOP],               0n, 4],
    ['POPF: at once',                           [0x68, 2, 2, 0, 0, POPF, NOP, NOP],      0n, 2],
    ['POPF under MOV SS',                       [0x68, 2, 2, 0, 0, ...MOV_SS_AX, POPF, NOP], 0n, 3],
    ['STI, MOV SS: one more',                   [STI, ...MOV_SS_AX, NOP, NOP],           0n, 3],
    ['IRET: at once',                           [0x68, 2, 2, 0, 0, 0x6a, 8, 0x68, 0x20, 0x80, 0, 0, IRET], 0n, 4],
  ];
  for (const engine of engineKinds) {
    for (const budget of [1000, 1]) {
      for (const [name, code, flags, count] of rows) {
        const cpu = quietCpu(engine);
        loadCode(cpu, [...code, ...new Array<number>(0x40).fill(NOP)], CODE);
        cpu.gpr[RAX] = 0x10n;
        cpu.rflags = 2n | flags;
        cpu.requestInterruptWindow();
        const { instructions } = cpu;
        let exit = cpu.run(budget);
        for (let i = 0; i < 20 && exit.kind === 'budget'; i++) exit = cpu.run(budget);
        t.same([exit.kind, cpu.instructions - instructions], ['interruptWindow', BigInt(count)], `${engine}, ${budget} at a time: ${name}`);
        t.ok(cpu.canTakeInterrupt);
        t.equal(show(cpu.run(3)), 'budget', 'once');
      }
    }
    const cpu = quietCpu(engine);
    loadCode(cpu, [STI, NOP, NOP], CODE);
    cpu.run(1);
    t.same([cpu.canTakeInterrupt, cpu.isShadowed], [false, true], `${engine}: the shadow is kept over the end of a run`);
    const saved = cpu.saveContext();
    cpu.run(1);
    t.ok(cpu.canTakeInterrupt, `${engine}: one instruction long`);
    cpu.loadContext(saved);
    t.notOk(cpu.canTakeInterrupt, `${engine}: and is part of a context`);
    cpu.advance(1);
    t.ok(cpu.canTakeInterrupt, `${engine}: an instruction that the host performs ends it`);
    cpu.requestInterruptWindow(false);
    cpu.rip = BigInt(CODE + 1);
    t.equal(show(cpu.run(2)), 'budget', `${engine}: a request can be taken back`);
  }
  t.end();
});

t.test('one NMI at a time, until IRET', (t) => {
  for (const engine of engineKinds) {
    const cpu = quietCpu(engine);
    loadCode(cpu, [...MOV_SS_AX, NOP, NOP, NOP], CODE);
    cpu.gpr[RAX] = 0x10n;
    cpu.memory.bytes.set([NOP, IRET], HANDLERS + NMI);
    cpu.memory.written(HANDLERS, 16);
    t.equal(cpu.injectNmi(), undefined);
    t.equal(cpu.rip, BigInt(HANDLERS + NMI), `${engine}: with IF clear, too`);
    cpu.injectNmi();
    cpu.injectNmi();
    t.equal(cpu.rip, BigInt(HANDLERS + NMI), `${engine}: the next one waits`);
    t.same(
      [show(cpu.run(2)), cpu.rip, frame(cpu, 1)],
      ['budget', BigInt(HANDLERS + NMI), [CODE]],
      `${engine}: until IRET, and is delivered there`,
    );
    cpu.run(1);
    t.same([show(cpu.run(1)), cpu.rip], ['budget', BigInt(CODE)], `${engine}: the third was lost`);
    cpu.run(1);
    cpu.injectNmi();
    t.equal(cpu.rip, BigInt(CODE + 2), `${engine}: MOV SS holds it back`);
    t.same(
      [show(cpu.run(2)), cpu.rip, frame(cpu, 1)],
      ['budget', BigInt(HANDLERS + NMI + 1), [CODE + 3]],
      `${engine}: for one instruction`,
    );
    const interrupted = quietCpu(engine);
    loadCode(interrupted, [STI, NOP], CODE);
    interrupted.run(1);
    interrupted.injectNmi();
    t.equal(interrupted.rip, BigInt(HANDLERS + NMI), `${engine}: STI does not`);
  }
  t.end();
});

t.test('a running loop is interrupted at the exact instruction, and goes on as if nothing was', (t) => {
  const IDT = 0x32_0000,
    GDT = 0x31_0000;
  const runs = engineKinds.map((engine) => {
    const cpu = makeBareCpu({ engine, cpl: 0, ...(engine === 'translate' ? { hotness: 100 } : {}) });
    cpu.intercepts.exceptions = 0;
    write64(cpu, GDT, 0n, 0n, 0x00af_9a00_0000_ffffn, 0x00cf_9200_0000_ffffn);
    cpu.gdtr = { base: BigInt(GDT), limit: 31 };
    write64(cpu, IDT + 0x40 * 16, ...gate(14, 0, 0x10, 0x2_0000n));
    cpu.idtr = { base: BigInt(IDT), limit: 0xfff };
    // inc rdx; iretq
    cpu.memory.bytes.set([0x48, 0xff, 0xc2, 0x48, 0xcf], 0x2_0000);
    // again: add rax, rcx; imul rax, rax, 13; dec rcx; jnz again; hlt
    loadCode(cpu, [0x48, 0x01, 0xc8, 0x48, 0x6b, 0xc0, 13, 0x48, 0xff, 0xc9, 0x75, 0xf4, 0xf4]);
    cpu.gpr.set([1n, 20_000n, 0n]);
    cpu.rflags = 0x202n;
    const trace: bigint[] = [];
    let count = 0n;
    for (let i = 0; ; i++) {
      const exit = cpu.run(97 + (i % 1000));
      if (exit.kind === 'halt') break;
      if (exit.kind === 'interruptWindow') cpu.injectInterrupt(0x40);
      else {
        trace.push(cpu.rip, cpu.gpr[RAX]!, cpu.rflags);
        count++;
        cpu.requestInterruptWindow();
      }
    }
    t.same([cpu.gpr[RDX], cpu.gpr[RCX]], [count, 0n], `${engine}: each one was handled`);
    return { trace, end: [...cpu.gpr], instructions: cpu.instructions };
  });
  t.same(runs[0], runs[1], 'both engines saw the same');
  t.end();
});

t.test('the time-stamp counter has an offset and a scale', (t) => {
  for (const engine of engineKinds) {
    const cpu = quietCpu(engine);
    // rdtsc; rdtscp
    loadCode(cpu, [0x0f, 0x31, 0x0f, 0x01, 0xf9], CODE);
    cpu.tscScale = 3n << 31n;
    cpu.tscOffset = 1n << 33n;
    const start = cpu.instructions;
    cpu.run(1);
    t.same([cpu.gpr[RDX], cpu.gpr[RAX]], [2n, (start * 3n) / 2n], `${engine}: RDTSC`);
    cpu.writeMsr(0xc0000103, 9n);
    cpu.run(1);
    t.same([cpu.gpr[RDX], cpu.gpr[RAX], cpu.gpr[RCX]], [2n, ((start + 1n) * 3n) / 2n, 9n], `${engine}: RDTSCP`);
    t.equal(cpu.readMsr(0x10), (1n << 33n) + ((start + 2n) * 3n) / 2n, `${engine}: the MSR`);
    cpu.tscOffset = -1n << 40n;
    t.equal(cpu.readMsr(0x10), BigInt.asUintN(64, (-1n << 40n) + ((start + 2n) * 3n) / 2n), `${engine}: an offset may be negative`);
    cpu.gpr.set([5n, 0x10n, 1n]);
    loadCode(cpu, [0x0f, 0x30, 0x0f, 0x31], CODE); // wrmsr; rdtsc
    cpu.run(2);
    const value = (cpu.gpr[RDX]! << 32n) | cpu.gpr[RAX]!;
    t.ok(value >= 0x1_0000_0005n && value < 0x1_0000_0009n, `${engine}: WRMSR sets it, and it goes on from there`);
    const user = protectedCpu(engine, 3);
    user.cr4 |= 4n;
    loadCode(user, [0x0f, 0x31], CODE);
    t.equal(show(user.run(1)), '#13(0)', `${engine}: CR4.TSD keeps it from ring 3`);
  }
  t.end();
});
