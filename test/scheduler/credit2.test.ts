/** Each rule of Credit2, claim by claim (xen:common/sched/credit2.c). */
import t from 'tap';
import { CpuMask } from '../../emulator/scheduler/credit2/cpu_mask.ts';
import { burnCredits } from '../../emulator/scheduler/credit2/credit.ts';
import { MS, ScriptedHost, US } from './scripted_host.ts';

t.test('a set of cpus', (t) => {
  const mask = new CpuMask(70, [0, 1, 2, 31, 32, 69]);
  t.equal(mask.toList(), '0-2,31-32,69');
  t.equal(mask.toHex(), '20,00000001,80000007', 'as Xen prints bitmaps: words of 32 bits');
  t.equal(new CpuMask(4, [1, 2]).toHex(), '6');
  t.equal(new CpuMask(32, [31]).toHex(), '80000000');
  t.equal(new CpuMask(9).toHex(), '000');
  t.same(
    [2, 31, 68, 69].map((cpu) => mask.cycle(cpu)),
    [31, 32, 69, 0],
    'cycling',
  );
  t.equal(new CpuMask(4, [2]).cycle(2), 2, 'back to itself');
  t.equal(new CpuMask(4).cycle(2), -1, 'nothing to cycle through');
  t.equal(mask.count, 6);
  t.end();
});

t.test('burning', (t) => {
  const host = new ScriptedHost(1);
  const heavy = host.unit('heavy', { weight: 512 });
  const light = host.unit('light', { weight: 300 });
  const runqueue = host.credit2.runqueues[0]!;
  t.equal(runqueue.maxWeight, 512);
  burnCredits(runqueue, heavy, 1000);
  t.equal(heavy.credit, 10 * MS - 1000, 'the greatest weight burns a credit a nanosecond');
  burnCredits(runqueue, light, 1000);
  t.equal(light.credit, 10 * MS - Math.floor((1000 * 512) / 300), 'a smaller one burns faster');
  t.equal(light.residual, (1000 * 512) % 300, 'the rest of the division is kept');
  for (let now = 1001; now <= 4000; now++) burnCredits(runqueue, light, now);
  t.equal(light.credit, 10 * MS - Math.floor((4000 * 512) / 300), 'so that many short turns cost what a long one costs');
  burnCredits(runqueue, light, 3000);
  t.equal(light.startTime, 4000, 'time that goes back costs nothing');
  burnCredits(runqueue, light, 4000 + 50 * MS);
  t.equal(light.credit, -10 * MS, 'nobody falls below -10 ms');
  light.startTime = 0;
  light.residual = 7;
  const long = 2 ** 37 + 12345;
  burnCredits(runqueue, light, long);
  t.equal(light.residual, Number((BigInt(long) * 512n + 7n) % 300n), 'the rest is exact after two minutes too');
  t.end();
});

t.test('the greatest weight of a runqueue', (t) => {
  const host = new ScriptedHost(1);
  const { credit2 } = host;
  const max = () => credit2.runqueues[0]!.maxWeight;
  t.equal(max(), 1, 'of none');
  const [a, b] = [host.unit('a', { weight: 256 }), host.unit('b', { weight: 1000 })];
  t.equal(max(), 1000);
  credit2.adjust(a.domain, { weight: 2000 });
  t.equal(max(), 2000, 'a weight rises');
  credit2.adjust(a.domain, { weight: 100 });
  t.equal(max(), 1000, 'and falls');
  credit2.removeUnit(b);
  t.equal(max(), 100, 'a unit goes');
  t.end();
});

t.test('the queue', (t) => {
  const host = new ScriptedHost(1);
  const busy = host.unit('busy', { credit: 10 * MS });
  host.wake(busy);
  t.equal(host.schedule(), 'busy');
  host.wake(...[5, 7, 5, 9, 7].map((credit, i) => host.unit(`${'abcde'[i]}`, { credit: credit * MS })));
  t.same(host.queue(), ['d', 'b', 'e', 'a', 'c'], 'most credit first; who comes later stands behind equals');
  t.end();
});

t.test('a reset', (t) => {
  const host = new ScriptedHost(1);
  const [a, b, sleeper] = [host.unit('a', { credit: 2 * MS }), host.unit('b', { credit: -1 * MS }), host.unit('s', { credit: 8 * MS })];
  host.wake(a, b);
  host.schedule(0, 0);
  t.equal(host.schedule(0, 2 * MS), 'a', 'it is the first to have no credit left and still has most');
  t.equal(a.credit, 10 * MS, 'who runs gets 10 ms');
  t.equal(b.credit, 9 * MS, 'who waits too');
  t.equal(sleeper.credit, 10.5 * MS, 'of what was saved half a millisecond is kept');

  const late = new ScriptedHost(1);
  const [c, d] = [late.unit('c', { credit: 1 * MS }), late.unit('d', { credit: -10 * MS })];
  late.wake(c, d);
  late.schedule(0, 0);
  t.equal(late.schedule(0, 40 * MS), 'c');
  t.equal(c.credit, 10 * MS, 'one at the very bottom gets 20 ms');
  t.equal(d.credit, 10 * MS, 'as does everybody then');
  t.end();
});

t.test('the rate limit', (t) => {
  for (const [ratelimitUs, at, expected] of [
    [1000, 999 * US, 'a'],
    [1000, 1000 * US, 'b'],
    [5000, 4999 * US, 'a'],
    [0, 1 * US, 'b'],
  ] as const) {
    const host = new ScriptedHost(1, { ratelimitUs });
    const [a, b] = [host.unit('a', { credit: 9 * MS }), host.unit('b', { credit: 10 * MS })];
    host.wake(a);
    host.schedule();
    host.wake(b);
    t.equal(host.schedule(0, at), expected, `limit ${ratelimitUs} us, after ${at / US} us: ${expected}`);
  }
  const host = new ScriptedHost(1);
  for (const [us, result] of [
    [0, undefined],
    [99, 'EINVAL'],
    [100, undefined],
    [500_000, undefined],
    [500_001, 'EINVAL'],
  ] as const) {
    t.equal(host.credit2.setRatelimit(us), result, `setRatelimit ${us}: ${result ?? 'ok'}`);
  }
  t.equal(host.credit2.ratelimitUs, 500_000);
  t.end();
});

t.test('how long a decision holds', (t) => {
  const rows: readonly [what: string, run: { credit: number; weight?: number }, waits: number | undefined, expected: number][] = [
    ['alone: until the credit is used', { credit: 3 * MS }, undefined, 3 * MS],
    ['at most 10 ms', { credit: 10.5 * MS }, undefined, 10 * MS],
    ['until another has as much', { credit: 9 * MS }, 5 * MS, 4 * MS],
    ['at least the rate limit', { credit: 9 * MS }, 8.9 * MS, 1 * MS],
    ['who waits without credit does not count', { credit: 4 * MS }, -5 * MS, 4 * MS],
    ['in time, not in credits: a light unit burns faster', { credit: 8 * MS, weight: 128 }, 4 * MS, 2 * MS],
  ];
  for (const [what, { credit, weight = 256 }, waits, expected] of rows) {
    const host = new ScriptedHost(1);
    host.unit('max', { weight: 256 });
    const run = host.unit('run', { credit, weight });
    host.wake(run);
    if (waits !== undefined) host.wake(host.unit('waits', { credit: waits }));
    t.same(host.decide(), { unit: 'run', time: expected, migrated: false }, what);
  }
  const host = new ScriptedHost(1, { ratelimitUs: 0 });
  t.same(host.decide(), { unit: undefined, time: -1, migrated: false }, 'an idle cpu waits for ever');
  const [a, b] = [host.unit('a', { credit: 9 * MS }), host.unit('b', { credit: 8.9 * MS })];
  host.wake(a, b);
  t.equal(host.decide().time, 500 * US, 'without a rate limit at least 500 us');
  host.credit2.setRatelimit(1000);
  t.equal(host.decide(0, 200 * US).time, 800 * US, 'the limit counts from when it began to run');

  const inflight = new ScriptedHost(1, { ratelimitUs: 0 });
  const c = inflight.unit('c', { credit: 7 * MS });
  inflight.wake(c);
  inflight.schedule();
  inflight.wake(inflight.unit('d', { credit: 9 * MS }));
  t.equal(inflight.decide().time, 2 * MS, 'who is just taken off the cpu counts as waiting');
  t.end();
});

t.test('tickling: an idle cpu', (t) => {
  const rows: readonly [what: string, options: { hard?: number[]; soft?: number[]; cpu: number; power?: boolean }, expected: number][] = [
    ['where it ran last', { cpu: 4 }, 4],
    ['the next whole idle core, when its own is not', { cpu: 1 }, 2],
    ['round the end', { cpu: 7, hard: [1, 3, 7] }, 7],
    ['one that it may use', { cpu: 4, hard: [3, 5] }, 5],
    ['a thread of a busy core rather than none', { cpu: 1, hard: [1] }, 1],
    ['one that it prefers', { cpu: 4, soft: [6] }, 6],
    ['a preferred thread of a busy core rather than another idle core', { cpu: 4, soft: [1] }, 1],
    ['saving power: a thread of a busy core first', { cpu: 4, power: true }, 1],
  ];
  for (const [what, { hard, soft, cpu, power = false }, expected] of rows) {
    const host = new ScriptedHost({ sockets: 1, coresPerSocket: 4, threadsPerCore: 2 }, { smtPowerSavings: power });
    const busy = host.unit('busy', { hard: [0] });
    host.wake(busy);
    t.equal(host.schedule(0), 'busy');
    host.takeTickled();
    const unit = host.unit('new', { ...(hard && { hard }), ...(soft && { soft }) });
    unit.cpu = cpu;
    host.wake(unit);
    t.same(host.takeTickled(), [expected], what);
  }
  const host = new ScriptedHost(2);
  host.wake(host.unit('a'), host.unit('b'));
  t.same(host.takeTickled().sort(), [0, 1], 'one that was tickled is not idle any more');
  t.end();
});

t.test('tickling: a busy cpu', (t) => {
  const busy = (credits: readonly number[], soft?: number[]) => {
    const host = new ScriptedHost(credits.length);
    credits.forEach((credit, cpu) => {
      const unit = host.unit(`b${cpu}`, { credit, hard: [cpu], ...(soft && { soft }) });
      host.wake(unit);
      host.schedule(cpu);
    });
    host.takeTickled();
    host.now = 5 * MS;
    return host;
  };
  const rows: readonly [what: string, credits: number[], options: { credit: number; cpu: number; soft?: number[] }, expected: number[]][] =
    [
      ['its own, although another has less right', [8, 6], { credit: 4, cpu: 0 }, [0]],
      ['of others the one with the least credit', [10, 8, 7], { credit: 4, cpu: 0 }, [2]],
      ['nobody, when all have more', [9, 9], { credit: 3.9, cpu: 0 }, []],
      ['another only when it has 500 us more', [10, 9.5], { credit: 5, cpu: 0 }, []],
      ['  which it has', [10, 9.4], { credit: 5, cpu: 0 }, [1]],
      ['one that it prefers, although its own would do', [8, 8], { credit: 9, cpu: 0, soft: [1] }, [1]],
    ];
  for (const [what, credits, { credit, cpu, soft }, expected] of rows) {
    const host = busy(credits.map((ms) => ms * MS));
    const unit = host.unit('new', { credit: credit * MS, ...(soft && { soft }) });
    unit.cpu = cpu;
    host.wake(unit);
    t.same(host.takeTickled(), expected, what);
  }
  for (const [since, expected] of [
    [950 * US, []],
    [951 * US, [0]],
  ] as const) {
    const host = new ScriptedHost(1);
    host.wake(host.unit('a', { credit: 2 * MS }));
    host.schedule(0, 0);
    host.takeTickled();
    host.now = since;
    host.wake(host.unit('b', { credit: 9 * MS }));
    t.same(host.takeTickled(), expected, `who has run for ${since / US} us ${expected.length ? 'can' : 'cannot'} be preempted`);
  }
  t.end();
});

t.test('migration', (t) => {
  const waiting = (credit: number) => {
    const host = new ScriptedHost(2);
    const [a, b] = [host.unit('a', { hard: [0], credit: 5 * MS }), host.unit('b', { hard: [1], credit: 9 * MS })];
    host.wake(a, b);
    host.schedule(0);
    host.schedule(1);
    const moves = host.unit('moves', { credit });
    moves.cpu = 1;
    host.wake(moves);
    moves.tickledCpu = -1;
    return { host, moves, a };
  };
  t.equal(waiting(5.4 * MS).host.schedule(0, MS), 'moves', "the cpu's own unit has burnt a millisecond");
  t.equal(waiting(4.49 * MS).host.schedule(0, MS), 'a', 'less than 500 us more: it stays where it ran');
  const { host, moves } = waiting(4.5 * MS);
  t.same(host.decide(0, MS).migrated, true, '500 us more: it moves');
  t.equal(moves.credit, 4.55 * MS, 'and gets 50 us for it');
  t.equal(moves.cpu, 0);

  const deferred = new ScriptedHost(2);
  const one = deferred.unit('one');
  deferred.wake(one);
  t.same(deferred.takeTickled(), [one.cpu]);
  t.equal(deferred.schedule(1 - one.cpu), undefined, 'who was tickled for it gets it');
  t.equal(deferred.schedule(one.cpu), 'one');
  t.end();
});

t.test('yielding', (t) => {
  const host = new ScriptedHost(1);
  const [a, b] = [host.unit('a', { credit: 9 * MS }), host.unit('b', { credit: 2 * MS })];
  host.wake(a, b);
  host.schedule();
  t.equal(host.schedule(0, 100 * US), 'a');
  host.credit2.yield(a);
  t.equal(host.schedule(0, 200 * US), 'b', 'lets another go first, whatever credit and rate limit say');
  t.equal(host.schedule(0, 2 * MS), 'a', 'once');
  t.end();
});

t.test('affinity', (t) => {
  const host = new ScriptedHost(2);
  const [a, b] = [host.unit('a', { hard: [0] }), host.unit('b', { hard: [0] })];
  host.wake(a, b);
  t.equal(host.schedule(1), undefined, 'hard: it waits rather than run elsewhere');
  t.equal(host.schedule(0), 'a');
  host.takeTickled();
  t.equal(host.credit2.setAffinity(a, { hard: host.mask([1]) }), undefined);
  t.same(host.takeTickled(), [0], 'changed while it runs: its cpu decides anew');
  t.equal(host.schedule(0, 1 * US), 'b');
  t.same([a.cpu, a.isQueued], [1, true], 'and it waits where it may run');
  t.equal(host.schedule(1), 'a');
  t.equal(host.credit2.setAffinity(a, { hard: host.mask([]) }), 'EINVAL', 'nowhere');

  const soft = new ScriptedHost(2);
  const [c, d] = [soft.unit('c', { soft: [1] }), soft.unit('d')];
  d.cpu = 1;
  soft.wake(d);
  soft.schedule(1);
  c.cpu = 0;
  soft.wake(c);
  t.equal(soft.schedule(0), 'c', 'soft: it runs elsewhere rather than wait');
  soft.credit2.block(d);
  soft.schedule(1, 2 * MS);
  soft.takeTickled();
  t.equal(soft.schedule(0, 3 * MS), undefined, 'until what it prefers is idle');
  t.same(soft.takeTickled(), [1]);
  t.equal(soft.schedule(1), 'c');
  t.end();
});

t.test('caps', (t) => {
  const host = new ScriptedHost(1);
  const { credit2 } = host;
  const unit = host.unit('capped');
  t.equal(credit2.adjust(unit.domain, { cap: 101 }), 'EINVAL', 'more than all its units can use');
  t.equal(credit2.adjust(unit.domain, { cap: 25 }), undefined);
  t.equal(unit.budgetQuota, 2.5 * MS, 'a quarter of 10 ms');
  host.wake(unit);
  t.same(host.decide(), { unit: 'capped', time: 2.5 * MS, migrated: false }, 'it decides anew when the budget is used');
  t.same(host.decide(0, 2.6 * MS), { unit: undefined, time: -1, migrated: false }, 'then it is parked');
  t.same([unit.isParked, unit.isRunnable, unit.domain.budget], [true, false, -0.1 * MS], 'and what it ran too long is owed');
  host.fireTimers(10 * MS);
  t.same([unit.isParked, unit.isQueued, unit.domain.budget], [false, true, 2.4 * MS], 'the next period pays that back');
  t.same(host.takeTickled().at(-1), 0);
  t.equal(host.decide(0, 10 * MS).time, 2.4 * MS);
  credit2.block(unit);
  t.equal(host.schedule(0, 11 * MS), undefined);
  t.same([unit.budget, unit.domain.budget], [0, 1.4 * MS], 'who blocks gives back what is left');
  host.fireTimers(45 * MS);
  t.equal(unit.domain.budget, 2.5 * MS, 'missed periods do not add up');
  t.equal([...host.timers][0]!.deadline, 50 * MS, 'nor does the clock of periods shift');
  credit2.wake(unit);
  host.schedule();
  host.schedule(0, 48 * MS);
  t.equal(unit.isParked, true);
  t.equal(credit2.adjust(unit.domain, { cap: 0 }), undefined);
  t.same([unit.isParked, unit.isQueued, host.timers.size], [false, true, 0], 'without its cap it is free at once');

  const pool = new ScriptedHost(2);
  const domain = pool.credit2.addDomain(1);
  const units = ['x', 'y', 'z'].map((name, id) => pool.credit2.addUnit(domain, id, name));
  pool.credit2.adjust(domain, { cap: 3 });
  t.same(
    units.map(({ budgetQuota }) => budgetQuota),
    [500 * US, 500 * US, 500 * US],
    'a portion is at least 500 us',
  );
  pool.wake(...units);
  t.same([pool.schedule(0), pool.schedule(1)].filter(Boolean).length, 1, 'whose pool is empty after one: the next is parked');

  const passed = new ScriptedHost(1);
  const [poor, free] = [passed.unit('poor', { cap: 10, credit: 9 * MS }), passed.unit('free', { credit: 5 * MS })];
  poor.domain.budget = 0;
  passed.wake(poor, free);
  t.same([passed.schedule(), poor.isParked], ['free', true], 'one without budget is passed over, and the next has the cpu');

  const running = new ScriptedHost(1);
  const late = running.unit('late');
  running.wake(late);
  running.schedule();
  running.takeTickled();
  running.now = 5 * MS;
  running.credit2.adjust(late.domain, { cap: 10 });
  t.same([running.takeTickled(), late.budget], [[0], 0], 'a cap given to one that runs does not charge what it ran before');
  t.equal(running.decide().time, 1 * MS);
  t.end();
});

t.test('sleeping', (t) => {
  const host = new ScriptedHost(1);
  const [a, b] = [host.unit('a'), host.unit('b')];
  host.wake(a, b);
  host.schedule();
  const [runs, waits] = host.credit2.current(0) === a ? [a, b] : [b, a];
  host.takeTickled();
  host.credit2.sleep(waits);
  t.same([waits.isQueued, host.takeTickled()], [false, []], 'who waits leaves the queue');
  host.credit2.sleep(runs);
  t.same(host.takeTickled(), [0], 'the cpu of who runs decides anew');
  t.equal(host.schedule(), undefined);
  t.equal(host.credit2.runqueues[0]!.load, 0);
  t.throws(() => host.credit2.removeDomain(runs.domain), /bug/);
  for (const unit of [a, b]) {
    host.credit2.removeUnit(unit);
    host.credit2.removeDomain(unit.domain);
  }
  t.match(host.credit2.dump().join('\n'), /max_weight += 1\n/);
  t.end();
});

/** Recorded on a host of two sockets with two cores, but for `idlers: 2`: there dom0's second cpu was at work in Xen itself. */
const RECORDED = `sched_smt_power_savings: disabled
NOW=4894178710
Online Cpus: 0-3
Cpupool 0:
Cpus: 0-3
Scheduling granularity: cpu, 1 CPU per sched-resource
Scheduler: SMP Credit Scheduler rev2 (credit2)
Active queues: 2
	default-weight     = 256
Runqueue 0:
	ncpus              = 2
	cpus               = 0-1
	max_weight         = 1
	pick_bias          = 0
	instload           = 0
	aveload            = 0 (~0%)
	idlers: 3
	tickled: 0
	fully idle cores: 3
Runqueue 1:
	ncpus              = 2
	cpus               = 2-3
	max_weight         = 256
	pick_bias          = 2
	instload           = 1
	aveload            = 253871 (~96%)
	idlers: 4
	tickled: 0
	fully idle cores: 4
Domain info:
	Domain: 0 w 256 c 0 v 2
	  1: [0.0] flags=2 cpu=3 credit=9983664 [w=256] load=257934 (~98%)
	  2: [0.1] flags=0 cpu=2 credit=10500000 [w=256] load=131072 (~50%)
Runqueue 0:
CPU[00] runq=0, sibling={0}, core={0-1}
CPU[01] runq=0, sibling={1}, core={0-1}
RUNQ:
Runqueue 1:
CPU[02] runq=1, sibling={2}, core={2-3}
CPU[03] runq=1, sibling={3}, core={2-3}
	run: [0.0] flags=2 cpu=3 credit=9983664 [w=256] load=257934 (~98%)
RUNQ:
CPUs info:
CPU[00] current=d[IDLE]v0, curr=d[IDLE]v0, prev=NULL
CPU[01] current=d[IDLE]v1, curr=d[IDLE]v1, prev=NULL
CPU[02] current=d[IDLE]v2, curr=d[IDLE]v2, prev=NULL
CPU[03] current=d0v0, curr=d0v0, prev=NULL`;

t.test('debug key r prints what the real Xen prints', (t) => {
  const host = new ScriptedHost({ sockets: 2, coresPerSocket: 2 });
  host.now = 4894178710;
  const domain = host.credit2.addDomain(0);
  const [first, second] = [0, 1].map((id) => host.credit2.addUnit(domain, id, `d0v${id}`, { hard: host.mask([2, 3]) }));
  host.credit2.setAffinity(first!, { hard: host.mask([0, 1, 2, 3]) });
  host.credit2.setAffinity(second!, { hard: host.mask([0, 1, 2, 3]) });
  // Brought to the moment of the recording.
  const runqueue = host.credit2.runqueues[1]!;
  for (const unit of [first!, second!]) {
    if (unit.runqueue === runqueue) continue;
    unit.runqueue!.deassign(unit);
    runqueue.assign(unit);
  }
  Object.assign(first!, { cpu: 3 });
  Object.assign(second!, { cpu: 2, credit: 10_500_000, avgload: 131_072 });
  host.wake(first!);
  host.schedule(3);
  runqueue.tickled.copy(host.mask([]));
  Object.assign(first!, { credit: 9_983_664, avgload: 257_934 });
  Object.assign(runqueue, { avgload: 253_871, pickBias: 2 });
  Object.assign(host.credit2.runqueues[0]!, { pickBias: 0 });
  t.same(host.credit2.dump(), RECORDED.split('\n'));
  t.end();
});
