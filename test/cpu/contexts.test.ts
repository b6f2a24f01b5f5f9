/**
 * Contexts that take turns on one CPU: each is a processor with a TLB of its own, whatever happens while it is not on. What
 * an access may meet is what its page's entry has said since the processor last flushed it (SDM 3A 4.10.4).
 */
import t from 'tap';
import type { CpuCore } from '../../emulator/cpu/index.ts';
import { type CpuContext, R8, RAX, RBX } from '../../emulator/cpu/interface.ts';
import { PLACE_COUNT } from '../../emulator/cpu/layout.ts';
import { freshBareCpu, loadCode, makeBareCpu } from '../support/bare_cpu.ts';
import { G, P, PS, RW, read64, US, write64 } from '../support/tables.ts';
import { makeRandom } from '../support/vectors.ts';

const LOAD8 = [0x8a, 0x03], // mov al, [rbx]
  STORE8 = [0x88, 0x03];
const MOV_AL = 0xb0;
const engines = ['interpret', 'translate'] as const;

/** Of each processor: its L4, three more tables behind it. */
const ROOTS = [0x40_0000, 0x41_0000, 0x42_0000];
const WINDOW = 0x80_0000_0000;
const PAGES = 6;
/** Each begins with MOV AL, number; stores go to its upper half. */
const FRAMES = [0, 1, 2, 3, 4].map((i) => 0x60_0000 + i * 4096);
const STORES = 0x800;

class Processors {
  readonly cpu: CpuCore;
  readonly contexts: CpuContext[];
  on = 0;

  constructor(engine: (typeof engines)[number]) {
    const cpu = freshBareCpu(3, { engine });
    this.cpu = cpu;
    const identity = read64(cpu, Number(cpu.cr3));
    for (const root of ROOTS) {
      write64(cpu, root, identity, BigInt(root + 0x1000) | P | RW | US);
      write64(cpu, root + 0x1000, BigInt(root + 0x2000) | P | RW | US);
      write64(cpu, root + 0x2000, BigInt(root + 0x3000) | P | RW | US);
    }
    for (const [i, frame] of FRAMES.entries()) this.number(frame, i + 1);
    this.contexts = ROOTS.map((root) => {
      cpu.cr3 = BigInt(root);
      return cpu.saveContext();
    });
    cpu.loadContext(this.contexts[0]!);
  }

  /** The frame's first instruction says so. */
  number(frame: number, number: number): void {
    this.cpu.memory.bytes.set([MOV_AL, number], frame);
    this.cpu.memory.written(frame, 2);
  }

  turnTo(processor: number): this {
    if (processor !== this.on) this.cpu.switchContext(this.contexts[this.on]!, this.contexts[processor]!);
    this.on = processor;
    return this;
  }

  /** Instead of the one that is on, whose registers are lost. */
  load(processor: number): void {
    this.cpu.loadContext(this.contexts[processor]!);
    this.on = processor;
  }

  flushFrame(frame: number): this {
    this.cpu.flushTlbFrame(frame / 4096);
    return this;
  }

  /** The first one does something, and the second one is on again. */
  visit(act: (cpu: CpuCore) => void): void {
    act(this.turnTo(0).cpu);
    this.turnTo(1);
  }

  /** An entry of the processor's window, in memory alone. */
  map(processor: number, page: number, entry: bigint): this {
    this.cpu.memory.view.setBigUint64(ROOTS[processor]! + 0x3000 + 8 * page, entry, true);
    return this;
  }

  #access(code: readonly number[], page: number, offset: number): string | number {
    const { cpu } = this;
    loadCode(cpu, code);
    cpu.gpr[RBX] = BigInt(WINDOW + page * 4096 + offset);
    return this.#step();
  }

  #step(): string | number {
    const exit = this.cpu.run(1);
    return exit.kind === 'exception' ? `#${exit.vector}` : Number(this.cpu.gpr[RAX]! & 0xffn);
  }

  read(page: number): string | number {
    return this.#access(LOAD8, page, 1);
  }

  /** The last access once more, of code that is decoded. */
  again(): string | number {
    this.cpu.rip -= 2n;
    return this.#step();
  }

  execute(page: number): string | number {
    this.cpu.rip = BigInt(WINDOW + page * 4096);
    return this.#step();
  }

  /** The number of the frame that it reached. */
  store(page: number): string | number {
    const { cpu } = this;
    cpu.gpr[RAX] = 0xffn;
    const result = this.#access(STORE8, page, STORES);
    const reached = FRAMES.find((frame) => cpu.memory.bytes[frame + STORES] === 0xff);
    if (reached === undefined) return result;
    cpu.memory.bytes[reached + STORES] = 0;
    return cpu.memory.bytes[reached + 1]!;
  }
}

/** Accesses of the first page's byte with the number. */
function watch(cpu: CpuCore): void {
  cpu.setDr(0, BigInt(WINDOW + 1));
  cpu.setDr(7, 0x30003n);
}

const entry = (frame: number, flags = P | RW | US): bigint => BigInt(FRAMES[frame]!) | flags;
const ACCESSES = ['read', 'store', 'execute'] as const;

t.test('a frame that was flushed is gone for who decodes nothing anew', (t) => {
  for (const engine of engines) {
    const processors = new Processors(engine).map(0, 0, entry(0));
    t.same([processors.read(0), processors.again()], [1, 1]);
    processors.turnTo(1).map(0, 0, entry(1)).turnTo(0);
    t.equal(processors.again(), 1, `${engine}: without a flush it may be there yet`);
    processors.turnTo(1).flushFrame(FRAMES[0]!).turnTo(0);
    t.equal(processors.again(), 2, `${engine}: the entry of now`);
  }
  t.end();
});

t.test('what a processor finds when it is on again', (t) => {
  const rootOf = (processor: number): bigint => BigInt(ROOTS[processor]!);
  // name, what happens while it is not on (or at its end), and whether the translation of before may be used
  const rows: [string, (processors: Processors) => unknown, boolean][] = [
    ['its entry changed, and nobody flushed', () => {}, true],
    ['the other flushed its own', ({ cpu }) => cpu.flushTlb({ global: true }), true],
    ['the other loaded CR3', ({ cpu }) => (cpu.cr3 = rootOf(1)), true],
    ['the other flushed the page', ({ cpu }) => cpu.flushTlbPage(BigInt(WINDOW)), true],
    ['the other flushed another frame', ({ cpu }) => cpu.flushTlbFrame(FRAMES[3]! / 4096), true],
    ['the other flushed everything', ({ cpu }) => cpu.flushAllTlbs(), false],
    ['the other flushed the page everywhere', ({ cpu }) => cpu.flushTlbPage(BigInt(WINDOW), true), false],
    ['the other flushed its frame', ({ cpu }) => cpu.flushTlbFrame(FRAMES[0]! / 4096), false],
    ['a snapshot was loaded', ({ cpu }) => cpu.restore(cpu.snapshot()), false],
    ['it flushed its own itself', (p) => p.turnTo(0).cpu.flushTlb(), false],
    ['it did, and left once more', (p) => p.visit((cpu) => cpu.flushTlb()), false],
    ['it flushed the page, and left once more', (p) => p.visit((cpu) => cpu.flushTlbPage(BigInt(WINDOW))), false],
    ['it flushed the frame, and left once more', (p) => p.visit((cpu) => cpu.flushTlbFrame(FRAMES[0]! / 4096)), false],
    ['its frame was flushed, and it came and left once more', (p) => p.flushFrame(FRAMES[0]!).visit(() => {}), false],
    ['it loaded CR3 itself', (p) => (p.turnTo(0).cpu.cr3 = rootOf(0)), false],
    ['its registers were loaded anew', (p) => p.load(0), false],
    [
      'they were, and it was on by that and flushed',
      (p) => {
        p.cpu.loadContext(p.contexts[0]!);
        p.cpu.loadContext(p.contexts[1]!);
      },
      false,
    ],
    ['it is another with the same registers', (p) => (p.contexts[0] = { bytes: p.contexts[0]!.bytes.slice() }), false],
    ['the other watches a page', ({ cpu }) => watch(cpu), true],
    ['a third was on, too', (p) => p.turnTo(2), true],
  ];
  for (const engine of engines) {
    for (const [name, happens, mayStay] of rows) {
      for (const access of ACCESSES) {
        const processors = new Processors(engine);
        processors.map(0, 0, entry(0)).map(1, 0, entry(3));
        t.equal(processors[access](0), 1, `${engine}: ${name}: at first`);
        t.equal(processors.turnTo(1)[access](0), 4, `${engine}: ${name}: the other has its own`);
        processors.map(0, 0, entry(1));
        happens(processors);
        const found = processors.turnTo(0)[access](0);
        if (mayStay) t.ok(found === 1 || found === 2, `${engine}: ${name}: ${access} meets either`);
        else t.equal(found, 2, `${engine}: ${name}: ${access} meets the new one`);
      }
    }
  }
  t.end();
});

t.test('a page that became code while its processor was not on is not written unseen', (t) => {
  for (const engine of engines) {
    const processors = new Processors(engine).map(0, 0, entry(0)).map(1, 0, entry(0));
    t.equal(processors.store(0), 1);
    t.equal(processors.turnTo(1).execute(0), 1);
    const { cpu } = processors.turnTo(0);
    cpu.gpr[RAX] = 9n;
    cpu.gpr[RBX] = BigInt(WINDOW + 1);
    loadCode(cpu, STORE8);
    t.equal(cpu.run(1).kind, 'budget');
    t.equal(processors.turnTo(1).execute(0), 9, `${engine}: the new instruction runs`);
  }
  t.end();
});

t.test('large pages are known as such again', (t) => {
  for (const engine of engines) {
    const processors = new Processors(engine);
    const { cpu } = processors;
    const at = ROOTS[0]! + 0x2000;
    write64(cpu, at, BigInt(FRAMES[0]!) | P | RW | US | PS);
    t.equal(processors.read(1), 2);
    processors.turnTo(1).turnTo(0);
    write64(cpu, at, BigInt(ROOTS[0]! + 0x3000) | P | RW | US);
    processors.map(0, 1, entry(4));
    cpu.flushTlbPage(BigInt(WINDOW + 5 * 4096));
    t.equal(processors.read(1), 5, `${engine}: a flush anywhere in it drops all of it`);
  }
  t.end();
});

t.test('a breakpoint of its own is met, whatever was known before', (t) => {
  for (const engine of engines) {
    const processors = new Processors(engine).map(0, 0, entry(0));
    const { cpu } = processors;
    t.equal(processors.read(0), 1);
    watch(cpu);
    processors.turnTo(1);
    t.equal(cpu.getDr(7), 0x400n);
    processors.turnTo(0);
    t.equal(processors.read(0), '#1', `${engine}: after a while off`);
  }
  t.end();
});

t.test('more processors than have places keep their registers, and find what their tables say', (t) => {
  const processors = new Processors('translate').map(0, 0, entry(0));
  const { cpu } = processors;
  const many = Array.from({ length: PLACE_COUNT + 20 }, (_, i) => {
    cpu.gpr[R8] = BigInt(i);
    return cpu.saveContext();
  });
  const wrong: string[] = [];
  let on = many.length - 1;
  for (const round of [1, 2]) {
    processors.map(0, 0, entry(round));
    for (const [i, context] of many.entries()) {
      cpu.switchContext(many[on]!, context);
      on = i;
      const found = processors.read(0);
      // A few still have their places, and what they knew.
      const isRight = found === round + 1 || (round === 2 && found === 2);
      if (!isRight || cpu.gpr[R8] !== BigInt(i)) wrong.push(`round ${round}: ${i} met ${found} with the registers of ${cpu.gpr[R8]}`);
    }
  }
  t.same(wrong, []);
  t.end();
});

t.test("registers are a context's own, whoever had been on in its place", (t) => {
  const processors = new Processors('translate');
  const { cpu } = processors;
  const [first, second, third] = processors.contexts;
  const has = (value: bigint, what: string): void => void t.equal(cpu.gpr[R8], value, what);
  cpu.gpr[R8] = 1n;
  cpu.switchContext(first!, second!);
  cpu.gpr[R8] = 2n;
  cpu.switchContext(second!, first!);
  has(1n, 'a switch and back');
  cpu.switchContext(first!, second!);
  has(2n, 'and the other');
  cpu.gpr[R8] = 20n;
  cpu.loadContext(first!);
  has(1n, 'loaded over the second one');
  cpu.switchContext(first!, third!);
  cpu.loadContext(second!);
  has(2n, 'the second one is as it was when it left last');
  cpu.switchContext(second!, first!);
  has(1n, 'the first one, too');
  t.end();
});

/** Two processors, each of which the other follows at its system calls; one run goes on with the next, or ends there. */
function takingTurns(engine: (typeof engines)[number], isOneRun: boolean, budget: number, flags = 2n): string {
  let on = 0;
  const end = () => start + budget;
  const cpu = makeBareCpu({
    engine,
    hotness: 20,
    host: {
      syscall() {
        cpu.switchContext(contexts[on]!, contexts[1 - on]!);
        on = 1 - on;
        const left = end() - cpu.instructionCount;
        if (isOneRun && left > 0) cpu.proceed(left);
        else cpu.requestStop();
      },
    },
  });
  const TURNS = [
    // inc rax; syscall; jmp to the start
    [0x48, 0xff, 0xc0, 0x0f, 0x05, 0xeb, 0xf9],
    // inc rax; inc rax; nop; syscall; jmp to the start
    [0x48, 0xff, 0xc0, 0x48, 0xff, 0xc0, 0x90, 0x0f, 0x05, 0xeb, 0xf5],
  ];
  const contexts = TURNS.map((code, i) => {
    loadCode(cpu, code, 0x10000 + i * 0x10000);
    cpu.rflags = i === 1 ? flags : 2n;
    return cpu.saveContext();
  });
  const start = cpu.instructionCount;
  cpu.loadContext(contexts[0]!);
  let runs = 0;
  let exit = '';
  while (cpu.instructionCount < end()) {
    runs++;
    exit = cpu.run(end() - cpu.instructionCount).kind;
    if (exit !== 'stopped') break;
  }
  if (isOneRun && flags === 2n && runs > 2 + budget / 10) return `it took ${runs} runs`;
  const counts = [cpu.gpr[RAX]];
  cpu.switchContext(contexts[on]!, contexts[1 - on]!);
  return `${exit === 'exception'} ${on} ${cpu.instructionCount - start} ${counts} ${cpu.gpr[RAX]} ${cpu.rip}`;
}

t.test('a run goes on with the processor that the host puts on in it', (t) => {
  for (const engine of engines) {
    for (const budget of [1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 100, 10_000]) {
      t.equal(takingTurns(engine, true, budget), takingTurns(engine, false, budget), `${engine}, ${budget} instructions`);
    }
    const TF = 0x102n;
    t.equal(takingTurns(engine, true, 50, TF), takingTurns(engine, false, 50, TF), `${engine}: one that is stepped stops it`);
  }
  t.end();
});

t.test('processors that do anything in any order', (t) => {
  for (const engine of engines) {
    for (let seed = 1; seed <= 8; seed++) t.equal(playAnything(engine, seed), '', `${engine}, seed ${seed}`);
  }
  t.end();
});

/** What happened that must not, or ''. */
function playAnything(engine: (typeof engines)[number], seed: number): string {
  const random = makeRandom(seed);
  const processors = new Processors(engine);
  const { cpu } = processors;
  const now = ROOTS.map(() => new Array<bigint>(PAGES).fill(0n));
  /** What each entry has said since its processor flushed it. */
  const said = now.map((entries) => entries.map((value) => new Set([value])));
  const each = (change: (processor: number, page: number) => void, only?: number): void => {
    for (const processor of now.keys())
      if (only === undefined || processor === only) for (let page = 0; page < PAGES; page++) change(processor, page);
  };
  const flushed = (isGone: (value: bigint) => boolean, only?: number): void =>
    each((processor, page) => {
      const kept = [...said[processor]![page]!].filter((value) => !isGone(value));
      said[processor]![page] = new Set([...kept, now[processor]![page]!]);
    }, only);
  let unique = FRAMES.length;

  for (let step = 0; step < 1200; step++) {
    const on = processors.on;
    const page = random() % PAGES;
    const frame = FRAMES[random() % FRAMES.length]!;
    switch (random() % 16) {
      case 0:
      case 1:
      case 2:
        processors.turnTo(random() % ROOTS.length);
        break;
      case 3:
      case 4: {
        const whose = random() % ROOTS.length;
        const value = random() % 5 === 0 ? 0n : BigInt(frame) | P | US | (random() % 2 ? RW : 0n) | (random() % 2 ? G : 0n);
        processors.map(whose, page, value);
        now[whose]![page] = value;
        said[whose]![page]!.add(value);
        break;
      }
      case 5:
        cpu.flushTlbPage(BigInt(WINDOW + page * 4096));
        said[on]![page] = new Set([now[on]![page]!]);
        break;
      case 6:
        cpu.cr3 = BigInt(ROOTS[on]!);
        flushed((value) => (value & G) === 0n, on);
        break;
      case 7:
        switch (random() % 4) {
          case 0:
            cpu.flushAllTlbs();
            flushed(() => true);
            break;
          case 1:
            cpu.flushTlb({ global: true });
            flushed(() => true, on);
            break;
          default:
            cpu.flushTlbFrame(frame / 4096);
            flushed((value) => (value & 0xf_ffff_ffff_f000n) === BigInt(frame));
        }
        break;
      case 8:
        unique = (unique % 0xf0) + 1;
        if (FRAMES.every((each) => cpu.memory.bytes[each + 1] !== unique)) processors.number(frame, unique);
        break;
      default: {
        const access = ACCESSES[random() % 3]!;
        const found = processors[access](page);
        const may = [...said[on]![page]!].filter((value) => value & P && (access !== 'store' || value & RW));
        const isFault = typeof found === 'string';
        const present = now[on]![page]!;
        const mayFault = !(present & P) || (access === 'store' && [...said[on]![page]!].some((value) => !(value & RW)));
        const isRight = isFault
          ? mayFault && found === '#14'
          : may.some((value) => cpu.memory.bytes[Number(value & 0xffff_f000n) + 1] === found);
        if (!isRight) return `step ${step}: ${access} of page ${page} by ${on} met ${found}`;
      }
    }
  }
  return '';
}
