/** Where Credit2 has units run: loads, runqueues, placement and balancing, claim by claim (xen:common/sched/credit2.c). */
import fc from 'fast-check';
import t from 'tap';
import { arrangeRunqueues } from '../../emulator/scheduler/credit2/arrangement.ts';
import { loadTime, updateRunqueueLoad, updateUnitLoad } from '../../emulator/scheduler/credit2/load.ts';
import { completeParameters } from '../../emulator/scheduler/credit2/parameters.ts';
import type { Runqueue } from '../../emulator/scheduler/credit2/runqueue.ts';
import { createState } from '../../emulator/scheduler/credit2/state.ts';
import { Topology } from '../../emulator/scheduler/credit2/topology.ts';
import type { Unit } from '../../emulator/scheduler/credit2/unit.ts';
import { ScriptedHost } from './scripted_host.ts';

t.test('loads, against the same in unlimited integers', (t) => {
  const still = { now: () => 0, tickle: () => {}, setTimer: () => ({ deadline: 0 }), cancelTimer: () => {} };
  const state = createState(still, new Topology({ sockets: 1, coresPerSocket: 1 }), {}, arrangeRunqueues);
  const average = (before: bigint, sample: bigint, span: bigint) =>
    span > 1n << 20n ? sample : span <= 0n ? before : before + ((span * sample) >> 20n) - ((span * before) >> 20n);
  const host = new ScriptedHost(1);
  const unit = host.unit('u');
  const steps = fc.array(fc.tuple(fc.integer({ min: 0, max: 3_000_000_000 }), fc.integer({ min: 0, max: 2048 })), { maxLength: 40 });
  fc.assert(
    fc.property(steps, (steps) => {
      const runqueue = arrangeRunqueues(state.topology, state.parameters)[0]!;
      let now = 0;
      let expected = 0n;
      let last = 0n;
      for (const [span, load] of steps) {
        now += span;
        const time = BigInt(now) >> 10n;
        expected = average(expected, BigInt(runqueue.load) << 18n, time - last);
        last = time;
        updateRunqueueLoad(state, runqueue, load - runqueue.load, loadTime(now));
        if (BigInt(runqueue.avgload) !== expected || BigInt(runqueue.balanceAvgload) !== expected) return false;
      }
      return true;
    }),
  );
  unit.avgload = 2 ** 17;
  unit.loadLastUpdate = 0;
  updateUnitLoad(state, unit, -1, loadTime(2 ** 29));
  t.equal(unit.avgload, 2 ** 17 + 2 ** 16, 'half a window of running: half way up to 100 %');
  updateUnitLoad(state, unit, 1, loadTime(2 ** 30));
  t.equal(unit.avgload, (2 ** 17 + 2 ** 16) / 2, 'half a window asleep: half of it');
  updateUnitLoad(state, unit, -1, loadTime(2 ** 32));
  t.equal(unit.avgload, 2 ** 18, 'more than a window: only that counts');
  t.end();
});

t.test('which cpus share a runqueue', (t) => {
  const arranged = (shape: ConstructorParameters<typeof Topology>[0], given: Parameters<typeof completeParameters>[0]) =>
    arrangeRunqueues(new Topology(shape), completeParameters(given)).map(({ active }) => active.toList());
  const host = { sockets: 2, coresPerSocket: 2, threadsPerCore: 2, nodes: 1 };
  t.same(arranged(host, { runqueue: 'cpu' }), ['0', '1', '2', '3', '4', '5', '6', '7']);
  t.same(arranged(host, { runqueue: 'core' }), ['0-1', '2-3', '4-5', '6-7']);
  t.same(arranged(host, { runqueue: 'socket' }), ['0-3', '4-7']);
  t.same(arranged(host, { runqueue: 'node' }), ['0-7']);
  t.same(arranged({ ...host, nodes: 2 }, { runqueue: 'node' }), ['0-3', '4-7']);
  t.same(arranged(host, { runqueue: 'all' }), ['0-7']);
  t.same(arranged({ sockets: 1, coresPerSocket: 24 }, {}), ['0-11', '12-23'], 'more than 16 are spread evenly');
  t.same(
    arranged({ sockets: 1, coresPerSocket: 5, threadsPerCore: 2 }, { maxCpusRunqueue: 5 }),
    ['0-3', '4-7', '8-9'],
    'cores are not split',
  );
  t.same(arranged({ sockets: 1, coresPerSocket: 2, threadsPerCore: 4 }, { maxCpusRunqueue: 2 }), ['0-3', '4-7'], 'even above the number');
  t.end();
});

t.test('placement', (t) => {
  const host = new ScriptedHost({ sockets: 2, coresPerSocket: 2 });
  const places = ['a', 'b', 'c', 'd', 'e'].map((name) => host.unit(name).cpu);
  t.same(places, [1, 3, 0, 2, 1], 'the least loaded runqueue, and there the cpu after the last one');
  const biased = new ScriptedHost({ sockets: 2, coresPerSocket: 2 });
  biased.unit('a');
  t.equal(biased.unit('soft', { soft: [0, 1] }).cpu, 0, 'one that prefers the more loaded runqueue goes there');
  t.equal(biased.credit2.runqueues[1]!.pickBias, 0, 'and leaves its cpu as the bias of the other one, as Xen does');
  t.equal(new ScriptedHost({ sockets: 2, coresPerSocket: 2 }).unit('hard', { hard: [3] }).cpu, 3);
  t.end();
});

t.test('balancing', (t) => {
  const rows: readonly [what: string, own: number[], other: number[], ownAfter: number[]][] = [
    ['below full use a difference of less than one is left alone', [0.9, 0.9], [0.9], [0.9, 0.9]],
    ['  of more is not: two are swapped', [0.9, 0.9], [0.1], [0.1, 0.9]],
    ['  or one is given', [0.9, 0.7], [], [0.7]],
    ['  or taken', [0.4], [0.6, 0.5, 0.5], [0.4, 0.6]],
    ['above full use an eighth is enough', [1, 1, 1, 0.2], [1, 1, 0.8], [0.2, 0.8, 1, 1]],
    ['  less is not', [1, 1, 1, 0.1], [1, 1, 1], [0.1, 1, 1, 1]],
  ];
  for (const [what, own, other, ownAfter] of rows) {
    const host = new ScriptedHost({ sockets: 2, coresPerSocket: 2 });
    const everywhere = host.mask([0, 1, 2, 3]);
    const names = new Map<string, number>();
    [own, other].forEach((loads, socket) => {
      for (const load of loads) {
        const unit = host.unit(`${socket}.${names.size}`, { hard: [2 * socket, 2 * socket + 1], credit: -1 });
        unit.hardAffinity.copy(everywhere);
        unit.avgload = Math.round(load * 2 ** 18);
        names.set(unit.owner, load);
      }
    });
    const [here, there] = host.credit2.runqueues as [Runqueue, Runqueue];
    for (const runqueue of [here, there]) runqueue.balanceAvgload = runqueue.units.reduce((sum, { avgload }) => sum + avgload, 0);
    const runs = here.units[0]! as Unit<string>;
    runs.cpu = 0;
    host.wake(runs);
    host.schedule(0);
    if (runs.isMigrating) host.schedule(0);
    t.same(here.units.map(({ owner }) => names.get(owner as string)).sort(), ownAfter, what);
  }
  t.end();
});
