/** The second tier's life: what is translated, when it arrives, how it goes, and what it may take. */
import t from 'tap';
import type { CpuCore } from '../../emulator/cpu/index.ts';
import { type BareOptions, loadCode, makeBareCpu } from '../support/bare_cpu.ts';

/** A loop of `count` rounds that sums up RCX in RAX, then HLT. */
const sumLoop = (count: number): number[] => [
  ...[0xb9, ...new Uint8Array(Uint32Array.of(count).buffer)], // mov ecx, count
  ...[0x31, 0xc0], // xor eax, eax
  ...[0x01, 0xc8], // add eax, ecx
  ...[0x83, 0xe9, 0x01], // sub ecx, 1
  ...[0x75, 0xf9], // jnz back to add
  0xf4,
];
const ROUNDS = 50_000;
const SUM = BigInt((ROUNDS * (ROUNDS + 1)) / 2) & 0xffff_ffffn;

function runSum(options: BareOptions, prepare: (cpu: CpuCore) => void = () => {}): CpuCore {
  const cpu = makeBareCpu({ cpl: 0, ...options });
  prepare(cpu);
  loadCode(cpu, sumLoop(ROUNDS));
  return cpu;
}

const aMoment = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 10));

t.test('flat 32-bit code is translated', (t) => {
  const cpu = runSum({ engine: 'translate' }, (cpu) => {
    cpu.cr0 = 0x33n;
    cpu.efer = 0n;
    cpu.setSegment('cs', { selector: 8, base: 0n, limit: 0xffff_ffff, attributes: 0xc09b });
  });
  t.equal(cpu.run(1e6).kind, 'halt');
  t.equal(cpu.gpr[0], SUM);
  t.ok(cpu.statistics().translatedInstructions > 100_000n, `${cpu.statistics().translatedInstructions} instructions`);
  t.end();
});

t.test('compiled in the background, it comes between two runs', async (t) => {
  const cpu = runSum({ engine: 'translate', asyncCompilation: true });
  t.equal(cpu.run(100_000).kind, 'budget');
  t.equal(cpu.statistics().translatedInstructions, 0n, 'interpreted until then');
  while (cpu.statistics().translations === 0) await aMoment();
  t.equal(cpu.run(1e6).kind, 'halt');
  t.equal(cpu.gpr[0], SUM);
  t.ok(cpu.statistics().translatedInstructions > 0n, 'translated then');
});

t.test('code that changed while it was compiled stays away', async (t) => {
  const cpu = runSum({ engine: 'translate', asyncCompilation: true });
  cpu.run(100_000);
  loadCode(cpu, sumLoop(ROUNDS).with(11, 2)); // sub ecx, 2 by the time that the old loop is ready
  for (let i = 0; i < 10; i++) await aMoment();
  t.equal(cpu.run(1e6).kind, 'halt');
  t.equal(cpu.gpr[0], BigInt((ROUNDS / 2) * (ROUNDS / 2 + 1)) & 0xffff_ffffn);
});

t.test('more hot code than may live at once: the oldest goes, all of it runs', (t) => {
  const PAGES = 900;
  const cpu = makeBareCpu({ cpl: 0, engine: 'translate', hotness: 100 });
  const loop = sumLoop(400);
  const wrong: number[] = [];
  for (let page = 0; page < PAGES; page++) {
    loadCode(cpu, loop, 0x100000 + page * 4096);
    if (cpu.run(1e6).kind !== 'halt' || cpu.gpr[0] !== 80_200n) wrong.push(page);
  }
  t.same(wrong, []);
  const { translations, liveRegions } = cpu.statistics();
  t.equal(translations, PAGES);
  t.ok(liveRegions <= 512, `${liveRegions} regions`);
  t.end();
});

/** `body` in a loop whose RDI goes up by 8 a round, until it comes to a page that is absent. */
function walkUntilFault(engine: 'interpret' | 'translate', body: readonly number[]): { stops: string[]; translated: bigint } {
  const cpu = makeBareCpu({ cpl: 0, engine });
  const absent = 0x400000n;
  const table = Number(cpu.cr3) + 0x2000;
  cpu.memory.view.setBigUint64(table + 8 * Number(absent >> 21n), 0n, true);
  const round = [...body, 0x48, 0x83, 0xc7, 0x08]; // add rdi, 8
  loadCode(cpu, [...round, 0xeb, 256 - round.length - 2]); // jmp back
  cpu.gpr[0] = 0x7fff_ffff_ffff_f000n;
  cpu.gpr[1] = 0x8000_0000n;
  cpu.gpr[7] = absent - 8n * 30_000n;
  const stops: string[] = [];
  for (let kind = 'budget'; kind === 'budget'; ) {
    kind = cpu.run(stops.length % 2 === 0 ? 9001 : 13).kind;
    const registers = [0, 1, 2, 7].map((number) => cpu.gpr[number]!.toString(16));
    stops.push(`${kind} at ${cpu.rip.toString(16)} after ${cpu.instructions}: flags ${cpu.rflags.toString(16)}, ${registers}`);
  }
  return { stops, translated: cpu.statistics().translatedInstructions };
}

t.test('flags are right wherever they can be seen, also those that nothing in the region reads', (t) => {
  for (const [what, body] of Object.entries({
    'an access between two additions': [0x01, 0xc8, 0x8b, 0x17, 0x01, 0xc1], // add eax, ecx; mov edx, [rdi]; add ecx, eax
    'replaced before the access': [0x48, 0x01, 0xc8, 0x31, 0xca, 0x8b, 0x17], // add rax, rcx; xor edx, ecx; mov edx, [rdi]
    'replaced behind what leaves them alone': [0x29, 0xc1, 0x8d, 0x50, 0x01, 0x66, 0x01, 0xc8, 0x8b, 0x17], // sub; lea; add ax, cx; mov
    'an addition from memory': [0x01, 0xc8, 0x03, 0x0f, 0x31, 0xd2], // add eax, ecx; add ecx, [rdi]; xor edx, edx
    'a carry that INC keeps': [0x48, 0x01, 0xc0, 0xff, 0xc1, 0x8b, 0x17, 0xff, 0xc9], // add rax, rax; inc ecx; mov edx, [rdi]; dec ecx
    'a shift by CL, which may be 0': [0x01, 0xc8, 0xd3, 0xe2, 0x8b, 0x17, 0x28, 0xe1], // add eax, ecx; shl edx, cl; mov; sub cl, ah
    'a shift by 1 that a comparison replaces': [0xd1, 0xe0, 0x39, 0xc8, 0x8a, 0x17, 0x83, 0xd0, 0x00], // shl; cmp; mov dl; adc eax, 0
    'operands that are also the result': [0x01, 0xc0, 0x8b, 0x17, 0xf7, 0xd9, 0x8b, 0x17], // add eax, eax; mov; neg ecx; mov
  })) {
    const expected = walkUntilFault('interpret', body);
    const { stops, translated } = walkUntilFault('translate', body);
    t.strictSame(stops, expected.stops, what);
    t.ok(translated > 50_000n, `${what}: ${translated} instructions translated`);
  }
  t.end();
});

const LOOP = 0x10000,
  STUB = 0x28000;
/** RBX counts, then a SYSCALL and what comes behind it. */
const around = [
  ...[0x53, 0x51], // push rbx; push rcx
  ...[0x48, 0xff, 0xc3], // inc rbx
  ...[0x0f, 0x05], // syscall
  ...[0x48, 0x83, 0xc2, 0x01], // add rdx, 1
  ...[0x59, 0x58], // pop rcx; pop rax
];
const ADDED = 10;
/** A loop around a SYSCALL; and some that call a function for it. */
const callers = {
  'in its loop': { parts: [{ at: LOOP, code: [...around, 0xeb, 0xf1] }], added: LOOP + ADDED },
  'on the same page': {
    parts: [
      { at: LOOP + 0x800, code: [...around, 0xc3] },
      { at: LOOP, code: [0xe8, 0xfb, 0x07, 0x00, 0x00, 0x48, 0xff, 0xc6, 0xeb, 0xf6] }, // call; inc rsi; jmp to the call
    ],
    added: LOOP + 0x800 + ADDED,
  },
  'on another page': {
    parts: [
      { at: STUB, code: [...around, 0xc3] },
      { at: LOOP, code: [0xe8, 0xfb, 0x7f, 0x01, 0x00, 0x48, 0xff, 0xc6, 0xeb, 0xf6] }, // call; inc rsi; jmp to the call
    ],
    added: STUB + ADDED,
  },
};
type Caller = (typeof callers)[keyof typeof callers];

/** What a host that does something else now and then, and its runs, see of a caller. */
function callHost(engine: 'interpret' | 'translate', caller: Caller, now: Now): { seen: string[]; translated: bigint } {
  const seen: string[] = [];
  let calls = 0;
  const state = (): string => `${cpu.rip.toString(16)} ${[...cpu.gpr].map((value) => value.toString(16))} ${cpu.rflags.toString(16)}`;
  const cpu: CpuCore = makeBareCpu({
    cpl: 0,
    engine,
    hotness: 100,
    host: {
      syscall() {
        calls++;
        if (calls % 97 < 3) seen.push(`call ${calls} at ${cpu.instructionCount}: ${state()}`);
        now(cpu, calls, caller.added);
      },
    },
  });
  for (const { at, code } of caller.parts) loadCode(cpu, code, at);
  while (calls < 3000) seen.push(`${cpu.run(seen.length % 2 === 0 ? 6001 : 17).kind} ${cpu.instructions} ${state()}`);
  return { seen, translated: cpu.statistics().translatedInstructions };
}

/** `added`: where the number is that is added behind the SYSCALL. */
type Now = (cpu: CpuCore, call: number, added: number) => void;

function change(cpu: CpuCore, at: number, byte: number): void {
  cpu.memory.bytes[at] = byte;
  cpu.memory.written(at, 1);
}

t.test('behind a SYSCALL that the host performs a region goes on with what the host has left', (t) => {
  const nows: Record<string, Now> = {
    nothing: () => {},
    registers: (cpu, call) => {
      if (call % 7 === 0) cpu.gpr[2] = cpu.gpr[11]! + 5n;
    },
    flags: (cpu, call) => {
      if (call % 5 === 0) cpu.rflags = 0x8d7n;
    },
    RIP: (cpu, call) => {
      if (call % 11 === 0) cpu.rip += 4n;
    },
    'a request to stop': (cpu, call) => {
      if (call % 13 === 0) cpu.requestStop();
    },
    'code behind it that changed': (cpu, call, added) => {
      if (call % 500 === 0) change(cpu, added, call / 500);
    },
    'code before it that changed': (cpu, call, added) => {
      if (call % 500 === 0) change(cpu, added - 6, call % 1000 === 0 ? 0xc3 : 0xc7); // inc rbx; inc rdi
    },
    'a mapping that was flushed': (cpu, call) => {
      if (call % 100 === 0) cpu.flushTlb();
    },
    'another place to return to': (cpu, call) => {
      const stack = Number(cpu.gpr[4]!) + 16;
      if (call % 17 === 0 && cpu.memory.view.getUint32(stack, true) === LOOP + 5) cpu.memory.view.setUint32(stack, LOOP + 8, true);
    },
    'a breakpoint that came and went': (cpu, call, added) => {
      const at = BigInt(added - 3);
      if (call % 300 === 0) cpu.setBreakpoints(call % 600 === 0 ? [[at, at]] : []);
    },
  };
  for (const [where, caller] of Object.entries(callers)) {
    for (const [what, now] of Object.entries(nows)) {
      const { seen, translated } = callHost('translate', caller, now);
      t.strictSame(seen, callHost('interpret', caller, now).seen, `${what}, ${where}`);
      t.ok(translated > 5000n, `${what}, ${where}: ${translated} instructions translated`);
    }
  }
  t.end();
});

t.test('accesses that ask the TLB together fault where each would alone', (t) => {
  for (const [what, body] of Object.entries({
    'up from a register': [0x8b, 0x17, 0x03, 0x4f, 0x10, 0x48, 0x03, 0x47, 0x38], // mov edx, [rdi]; add ecx, [rdi+16]; add rax, [rdi+56]
    'down from it': [0x8b, 0x17, 0x03, 0x4f, 0xf0, 0x0f, 0xb6, 0x47, 0xe3], // mov edx, [rdi]; add ecx, [rdi-16]; movzx eax, byte [rdi-29]
    'writes between': [0x89, 0x17, 0x01, 0x4f, 0x0c, 0x03, 0x4f, 0x0c, 0x88, 0x47, 0x21, 0x8b, 0x57, 0x21], // mov, add, add, mov, mov
    'a register that changes between': [0x8b, 0x17, 0x48, 0x83, 0xc7, 0x10, 0x03, 0x0f, 0x48, 0x83, 0xef, 0x10, 0x03, 0x57, 0x04],
    'farther apart than what is asked for': [0x8b, 0x17, 0x03, 0x8f, 0x00, 0x01, 0x00, 0x00, 0x03, 0x57, 0x08], // [rdi], [rdi+256], [rdi+8]
    'one after another, through a register of their own': [0x48, 0x8b, 0x17, 0x48, 0x8b, 0x4f, 0x08, 0x48, 0x8b, 0x57, 0x05],
    // mov rsp, rdi; then push rax; push rcx; pop rdx; pop rax; and pop, pop, push, push
    'pushes and pops': [0x48, 0x89, 0xfc, 0x50, 0x51, 0x5a, 0x58],
    'pops and pushes': [0x48, 0x89, 0xfc, 0x58, 0x59, 0x50, 0x51],
    'a pop into RSP': [0x48, 0x89, 0xfc, 0x54, 0x5c, 0x58, 0x51], // mov rsp, rdi; push rsp; pop rsp; pop rax; push rcx
    'accesses through RSP between pushes': [0x48, 0x89, 0xfc, 0x50, 0x48, 0x8b, 0x54, 0x24, 0x08, 0x51, 0x03, 0x4c, 0x24, 0x14],
  })) {
    const expected = walkUntilFault('interpret', body);
    const { stops, translated } = walkUntilFault('translate', body);
    t.strictSame(stops, expected.stops, what);
    t.ok(translated > 50_000n, `${what}: ${translated} instructions translated`);
  }
  t.end();
});
