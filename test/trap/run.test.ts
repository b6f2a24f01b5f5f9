/** The run loop: exact instruction counts, virtual time, turns, idle vCPUs, and a crash that stays in its domain. */
import t from 'tap';
import type { Domain } from '../../emulator/domain.ts';
import { guestNow, guestNs, setGuestTimer } from '../../emulator/guest_time.ts';
import { Machine, type MachineOptions } from '../../emulator/machine.ts';
import { pvCr3 } from '../../emulator/memory/pv_cr3.ts';
import { runSlice } from '../../emulator/run.ts';
import { InstructionClock, WallClock } from '../../emulator/scheduler/clock.ts';
import { STRIDE_NS } from '../../emulator/scheduler/cores.ts';
import { TimerQueue } from '../../emulator/scheduler/timers.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import { ImageError } from '../../firmware/image_error.ts';
import { readRunstate, runningTime } from '../../hypercalls/vcpu/runstate.ts';
import { makeImage } from '../support/elf_image.ts';

const MIB = 1024 * 1024;

function boot(machine: Machine, code: readonly number[], isInitial = false): Domain {
  const domain = machine.createPvDomain(makeImage({ code: Buffer.from(code) }), { name: 'test', isInitial, memorySize: 8 * MIB });
  if (domain instanceof ImageError) throw new Error(domain.message);
  return domain;
}

const makeMachine = (options: Partial<MachineOptions> = {}): Machine => new Machine({ memorySize: 32 * MIB, output: () => {}, ...options });

const LOOP = [0xeb, 0xfe]; // jmp self
// mov al, [rsp - 8]; jmp back
const READ_LOOP = [0x8a, 0x44, 0x24, 0xf8, 0xeb, 0xfa];
const COUNT = [0x48, 0xff, 0xc0]; // inc rax
const UD2 = [0x0f, 0x0b];
// mov eax, 29 (sched_op); mov edi, 1 (block); syscall; jmp self
const BLOCK = [0xb8, 29, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xfe];
// push 0 (poweroff); mov eax, 29; mov edi, 2; mov rsi, rsp; syscall
const POWEROFF = [0x6a, 0, 0xb8, 29, 0, 0, 0, 0xbf, 2, 0, 0, 0, 0x48, 0x89, 0xe6, 0x0f, 0x05];

t.test('a vCPU that is back finds the TLB as it left it, unless all are flushed', async (t) => {
  const machine = makeMachine();
  const { cpu } = machine;
  const image = makeImage({ code: Buffer.from(READ_LOOP) });
  const [first, second] = [1, 2].map((vcpus) => {
    const domain = machine.createPvDomain(image, { name: 'test', isInitial: false, memorySize: 8 * MIB, vcpus });
    if (domain instanceof ImageError) throw new Error(domain.message);
    return domain;
  }) as [Domain, Domain];
  const [a, b] = second.vcpus as [Vcpu, Vcpu];
  const tablesOf = (vcpu: Vcpu) => BigInt(pvCr3.of(vcpu).kernelMfn) << 12n;
  machine.withRegisters(b, () => {
    cpu.cr3 = tablesOf(a);
  });
  const missesOf = (vcpu: Vcpu, from: Vcpu, isFlushed = false) => {
    machine.switchTo(a);
    cpu.run(100);
    const before = cpu.statistics().tlbMisses;
    machine.switchTo(from);
    if (isFlushed) machine.memory.flushTlbs();
    machine.switchTo(vcpu);
    cpu.run(100);
    return cpu.statistics().tlbMisses - before;
  };
  t.equal(missesOf(a, b), 0);
  t.equal(missesOf(a, first.vcpus[0]!), 0);
  t.ok(missesOf(a, first.vcpus[0]!, true) > 0);
  t.equal(cpu.cr3, tablesOf(a));
  machine.switchTo(first.vcpus[0]!);
  t.equal(cpu.cr3, tablesOf(first.vcpus[0]!));
});

t.test('two cores run two that never stop at the same time, never more than a stride apart', async (t) => {
  const machine = makeMachine({ topology: { sockets: 1, coresPerSocket: 2 } });
  boot(machine, LOOP);
  boot(machine, LOOP);
  runSlice(machine, 3_000_000);
  const { list, active } = machine.cores;
  const [first, second] = list.map((core) => (core === active ? machine.clock.ns : core.ns)) as [number, number];
  t.equal(first + second, 30_000_000, 'together they have run all the instructions');
  t.ok(Math.abs(first - second) <= 2 * STRIDE_NS, `${first} ns and ${second} ns`);
  t.same(list.map(({ running }) => running?.owner.name).sort(), ['d1v0', 'd2v0']);
});

t.test('how a run is cut into slices changes nothing', async (t) => {
  const endOf = (sizes: readonly number[]) => {
    const machine = makeMachine({ topology: { sockets: 1, coresPerSocket: 2 } });
    for (let i = 0; i < 3; i++) boot(machine, [...COUNT, ...LOOP]);
    for (let i = 0, left = 2_000_000; left > 0; i++) {
      const size = Math.min(left, sizes[i % sizes.length]!);
      runSlice(machine, size);
      left -= size;
    }
    const times = [...machine.domains.values()].flatMap(({ vcpus }) => vcpus.map((vcpu) => runningTime(machine, vcpu)));
    return { times, who: machine.current.name, rax: machine.cpu.gpr[0], ns: machine.clock.ns };
  };
  const whole = endOf([2_000_000]);
  for (const sizes of [[1000], [7, 99_999, 12_345]]) t.same(endOf(sizes), whole, `slices of ${sizes}`);
});

t.test('a guest cannot tell that it was paused: its clock, timers and runstates stand still', async (t) => {
  const machine = makeMachine();
  const domain = boot(machine, LOOP);
  const other = boot(machine, LOOP);
  const [vcpu] = domain.vcpus as [Vcpu];
  const fired: number[] = [];
  setGuestTimer(machine, domain, 3_000_000n, () => fired.push(guestNs(machine, domain)));
  runSlice(machine, 200_000);
  machine.pause(domain);
  machine.pause(domain);
  const before = { ns: guestNs(machine, domain), runstate: readRunstate(machine, vcpu) };
  runSlice(machine, 500_000);
  machine.unpause(domain);
  runSlice(machine, 500_000);
  t.equal(guestNs(machine, domain), before.ns, 'pauses are counted');
  t.same(readRunstate(machine, vcpu).time, before.runstate.time);
  t.equal(machine.current.domain, other);
  machine.unpause(domain);
  t.same(fired, []);
  runSlice(machine, 200_000);
  t.same(fired, [3_000_000]);
  t.equal(machine.clock.ns - guestNs(machine, domain), 10_000_000);
  t.equal(
    readRunstate(machine, vcpu).time.reduce((sum, ns) => sum + ns),
    guestNow(machine, domain),
    'the runstates add up',
  );
});

t.test('a domain that is paused while its core is ahead has seen no time that comes again', async (t) => {
  const machine = makeMachine({ topology: { sockets: 1, coresPerSocket: 2 } });
  const { cores, clock } = machine;
  const [domain] = [boot(machine, LOOP), boot(machine, LOOP)] as const;
  const unit = domain.vcpus[0]!.unit!;
  const isAhead = () => (cores.coreOf(unit)?.ns ?? 0) > clock.ns && cores.active.running !== unit;
  while (!isAhead()) runSlice(machine, 1000);
  const seen = cores.coreOf(unit)!.ns;
  machine.pause(domain);
  runSlice(machine, 500_000);
  machine.unpause(domain);
  while (cores.active.running !== unit) runSlice(machine, 1000);
  t.ok(guestNs(machine, domain) >= seen, `${seen}, then ${guestNs(machine, domain)}`);
});

t.test('a slice runs exactly as many instructions as it may', async (t) => {
  const machine = makeMachine();
  boot(machine, LOOP);
  for (const budget of [1, 999, 123_456]) {
    const before = machine.cpu.instructions;
    t.same(runSlice(machine, budget), { kind: 'running' });
    t.equal(machine.cpu.instructions - before, BigInt(budget));
  }
});

t.test('virtual time is the number of instructions', async (t) => {
  const machine = makeMachine();
  boot(machine, LOOP);
  runSlice(machine, 100_000);
  t.equal(machine.clock.now(), 1_000_000n, '10 ns each');
  t.equal(machine.clock.tscAt(1_000_000), 2_000_000, 'a TSC of 2 GHz');
});

t.test('timers fire at their instruction', async (t) => {
  const machine = makeMachine();
  boot(machine, LOOP);
  const fired: bigint[] = [];
  for (const ns of [5_000n, 20_000n, 5_000n]) machine.timers.set(ns, () => fired.push(machine.cpu.instructions));
  runSlice(machine, 10_000);
  t.same(fired, [500n, 500n, 2000n]);
});

t.test('when all are idle, time jumps to the next timer, or waits for whoever may bring input', async (t) => {
  const machine = makeMachine();
  const domain = boot(machine, BLOCK);
  const deadline = 7_000_000_000n;
  machine.timers.set(deadline, () => machine.shutdown(domain, 0));
  t.match(runSlice(machine, 1000, false), { kind: 'idle' });
  t.ok(machine.clock.now() < deadline);
  t.same(runSlice(machine, 1000), { kind: 'over' });
  t.equal(machine.clock.now(), deadline);
});

t.test('a driver that waits itself finds the timer fired when its time is there', async (t) => {
  const machine = makeMachine();
  const domain = boot(machine, BLOCK);
  machine.timers.set(5_000_000n, () => machine.shutdown(domain, 0));
  t.match(runSlice(machine, 1000, false), { kind: 'idle', deadline: 5_000_000 });
  machine.clock.idleUntil(4_000_000);
  t.match(runSlice(machine, 1000, false), { kind: 'idle' }, 'not before');
  machine.clock.idleUntil(5_000_000);
  t.same(runSlice(machine, 1000, false), { kind: 'over' });
});

t.test('a slice ends with a domain, if its driver wants to act then', async (t) => {
  const machine = makeMachine({ pausesAtEnds: true });
  const domain = boot(machine, [...COUNT, ...POWEROFF]);
  boot(machine, LOOP);
  runSlice(machine, 1_000_000);
  t.equal(domain.shutdownReason, 0);
  t.ok(machine.clock.ns < 1_000_000, 'most of the slice is left');
});

t.test('idle without a timer', async (t) => {
  const machine = makeMachine();
  boot(machine, BLOCK);
  t.same(runSlice(machine, 1000), { kind: 'idle', deadline: Number.POSITIVE_INFINITY });
});

t.test('a domain powers off; another crashes; a third does not notice and has the core to itself', async (t) => {
  const machine = makeMachine();
  const off = boot(machine, POWEROFF);
  const crashed = boot(machine, UD2);
  const lives = boot(machine, LOOP);
  runSlice(machine, 10_000);
  t.same(
    [off, crashed, lives].map(({ shutdownReason }) => shutdownReason),
    [0, 3, undefined],
  );
  t.match(machine.crashes.get(crashed)?.why, /unhandled #UD at 0xffffffff80100000/);
  t.equal(machine.crashes.get(crashed)?.vcpu.name, 'd2v0');
});

t.test('two that never stop take turns', async (t) => {
  const machine = makeMachine();
  boot(machine, LOOP);
  boot(machine, [0xff, 0xc0, ...LOOP]); // inc eax first
  const turns = new Set<string>();
  for (let i = 0; i < 8; i++) {
    runSlice(machine, 500_000);
    turns.add(machine.current.name);
  }
  t.same([...turns].sort(), ['d1v0', 'd2v0']);
});

t.test('console_io of a domU is refused, told once; of the initial domain it is the console', async (t) => {
  // mov eax, 18 (console_io); xor edi, edi; mov esi, 2; lea rdx, [rip - 15]; syscall; twice; then power off
  const write = [0xb8, 18, 0, 0, 0, 0x31, 0xff, 0xbe, 2, 0, 0, 0, 0x48, 0x8d, 0x15, 0, 0, 0, 0, 0x0f, 0x05];
  for (const [isInitial, verboseDebug, output, refusals] of [
    [false, false, '', 1],
    [false, true, '\x0f\x05\x0f\x05', 0],
    [true, false, '\x0f\x05\x0f\x05', 0],
  ] as const) {
    let written = '';
    let refused = 0;
    const machine = makeMachine({
      verboseDebug,
      output: (_domain, bytes) => {
        written += Buffer.from(bytes).toString('latin1');
      },
      consoleIoRefused: () => refused++,
    });
    boot(machine, [...write, ...write, ...POWEROFF], isInitial);
    t.same(runSlice(machine, 1000), { kind: 'over' });
    t.same([written, refused], [output, refusals], isInitial ? 'dom0' : verboseDebug ? 'domU, verbose debug' : 'domU');
  }
});

t.test('the instruction clock tells how many instructions take a time, rounded up', async (t) => {
  const cpu = { instructionCount: 0 };
  const clock = new InstructionClock(cpu, 5n);
  // biome-ignore format: one time a line
  for (const [ns, count] of [[1, 1], [10, 1], [11, 2], [0, 1], [2 ** 60, 0x7fff_ffff]] as const) {
    t.equal(clock.instructionsFor(ns), count, `${ns} ns`);
  }
  cpu.instructionCount = 3;
  t.equal(clock.nowAt(5), 50);
  t.ok(clock.idleUntil(1000));
  t.equal(clock.now(), 1000n);
  t.ok(clock.idleUntil(10), 'a deadline that is over does not turn time back');
  t.equal(clock.now(), 1000n);
  t.equal(clock.wallClockAtStart, 5n);
  clock.turnTo(400);
  t.equal(clock.ns, 400, 'another core acts');
  cpu.instructionCount = 4;
  t.equal(clock.now(), 410n);
});

t.test("the wall clock follows the host's", async (t) => {
  let host = 1_000n;
  const clock = new WallClock(() => host, 0n);
  t.equal(clock.now(), 0n);
  host += 500n;
  t.equal(clock.now(), 500n);
  t.notOk(clock.idleUntil(501), 'the host must wait itself');
  host += 1n;
  t.ok(clock.idleUntil(501));
});

t.test('timers fire in order, the cancelled never', async (t) => {
  const timers = new TimerQueue();
  const fired: number[] = [];
  const set = (deadline: bigint, id: number) => timers.set(deadline, () => fired.push(id));
  set(30n, 1);
  const cancelled = set(10n, 2);
  set(20n, 3);
  set(20n, 4);
  timers.set(5n, () => set(6n, 5));
  timers.cancel(cancelled);
  t.equal(timers.next(), 5);
  timers.fireDue(20);
  t.same(fired, [5, 3, 4]);
  t.equal(timers.next(), 30);
});
