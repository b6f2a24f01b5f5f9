/** Credit2 at work on a simulated host: who gets how much, who waits how long, and that nobody is lost whatever happens. */
import t from 'tap';
import { CpuMask } from '../../emulator/scheduler/credit2/cpu_mask.ts';
import type { Arrangement } from '../../emulator/scheduler/credit2/parameters.ts';
import { quickOr } from '../support/thorough.ts';
import { untold, violations } from './invariants.ts';
import { BUSY, interactive, MS, SECOND, Simulator, type Task, US, type Work } from './simulator.ts';

t.setTimeout(240_000);

/** What each weight deserves of so many cpus, nobody more than one. */
function fairShares(weights: readonly number[], cpus: number): number[] {
  const shares = weights.map(() => 0);
  const open = new Set(weights.keys());
  for (let left = cpus; open.size > 0; ) {
    const total = [...open].reduce((sum, i) => sum + weights[i]!, 0);
    const satisfied = [...open].filter((i) => (weights[i]! * left) / total >= 1);
    for (const i of satisfied.length > 0 ? satisfied : open) shares[i] = Math.min((weights[i]! * left) / total, 1);
    if (satisfied.length === 0) break;
    for (const i of satisfied) open.delete(i);
    left -= satisfied.length;
  }
  return shares;
}

const random = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let x = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
  return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
};

t.test('busy units get what their weights say, within 1 % of a cpu over 10 s', (t) => {
  for (const cpus of [1, 2, 4, 8]) {
    for (const count of [2, 3, 5, 8, 16, 33, 64]) {
      for (const [name, weights] of Object.entries({ equal: [256], various: [256, 512, 128, 1024, 300] })) {
        const own = Array.from({ length: count }, (_, i) => weights[i % weights.length]!);
        const fair = fairShares(own, cpus);
        // Who deserves more than a cpu can give lets the others' credits go to waste: nothing is promised to them then.
        if (name === 'various' && fair.some((share) => share === 1) && count > cpus) continue;
        const simulator = new Simulator({ sockets: 1, coresPerSocket: cpus });
        const domains = own.map((weight) => simulator.addDomain({ weight, work: [BUSY] }));
        simulator.run(10 * SECOND);
        const worst = Math.max(...domains.map((domain, i) => Math.abs(simulator.ran(domain) / (10 * SECOND) - fair[i]!)));
        t.ok(worst <= 0.01, `${count} units of ${name} weights on ${cpus} cpus: ${(100 * worst).toFixed(2)} % off`);
      }
    }
  }
  t.end();
});

t.test('a capped domain gets its cap, within 1 %', (t) => {
  const rows: readonly [what: string, cpus: number, cap: number, units: number, others: number][] = [
    ['alone', 1, 25, 1, 0],
    ['alone, little', 1, 5, 1, 0],
    ['beside a busy one', 1, 30, 1, 1],
    ['of several units', 4, 150, 4, 0],
    ['of several units beside busy ones', 4, 120, 3, 5],
    ['of more units than cpus', 2, 50, 6, 1],
    ['in two runqueues', 2, 130, 2, 0],
  ];
  for (const [what, cpus, cap, units, others] of rows) {
    const simulator = new Simulator({
      sockets: what === 'in two runqueues' ? 2 : 1,
      coresPerSocket: what === 'in two runqueues' ? 1 : cpus,
    });
    const capped = simulator.addDomain({ cap, work: Array<Work>(units).fill(BUSY) });
    for (let i = 0; i < others; i++) simulator.addDomain({ work: [BUSY] });
    simulator.run(10 * SECOND);
    const percent = (100 * simulator.ran(capped)) / (10 * SECOND);
    t.ok(Math.abs(percent - cap) <= 1, `${what}: ${percent.toFixed(2)} % of ${cap} %`);
  }
  const simulator = new Simulator({ sockets: 1, coresPerSocket: 1 });
  simulator.addDomain({ cap: 40, work: Array<Work>(6).fill(BUSY) });
  const other = simulator.addDomain({ work: [BUSY] });
  simulator.run(10 * SECOND);
  const percent = (100 * simulator.ran(other)) / (10 * SECOND);
  t.ok(Math.abs(percent - 60) <= 1, `what six vCPUs may not use is there for another domain: ${percent.toFixed(2)} % of 60 %`);
  t.end();
});

t.test('who wakes', (t) => {
  for (const [cpus, busy] of [
    [1, 8],
    [2, 16],
    [4, 8],
    [4, 32],
  ] as const) {
    const next = random(cpus * 100 + busy);
    const simulator = new Simulator({ sockets: 1, coresPerSocket: cpus });
    for (let i = 0; i < busy; i++) simulator.addDomain({ work: [BUSY] });
    const work = { runFor: () => 50 * US + Math.floor(next() * 100 * US), sleepFor: () => 2 * MS + Math.floor(next() * 6 * MS) };
    const waker = simulator.addDomain({ work: [work] });
    simulator.run(10 * SECOND);
    // The first time everybody begins with the same credit, and it stands last.
    const latencies = simulator.tasksOf(waker)[0]!.latencies.slice(1);
    const worst = Math.max(...latencies);
    t.ok(
      worst <= 1 * MS,
      `among ${busy} busy ones on ${cpus} cpus runs within the rate limit: ${latencies.length} times, ${worst / US} us at most`,
    );
  }
  const turns = (sleepFor: number) => {
    const simulator = new Simulator({ sockets: 1, coresPerSocket: 1 });
    simulator.addDomain({ work: [BUSY] });
    const waker = simulator.addDomain({ work: [interactive(100 * US, sleepFor)] });
    simulator.run(SECOND);
    return simulator.tasksOf(waker)[0]!.latencies.slice(1);
  };
  t.same(new Set(turns(1000 * US)), new Set([0]), 'when the other has run for the rate limit: at once');
  t.same(new Set(turns(960 * US)), new Set([500 * US]), 'when it has run for nearly that: after the shortest turn');
  t.ok(Math.max(...turns(900 * US)) > 5 * MS, 'earlier: after all of its turn, which nobody cuts short, as in Xen');
  t.end();
});

t.test('cpus that run in slices, some ahead of others, share the same', (t) => {
  const simulator = new Simulator({ sockets: 1, coresPerSocket: 4 }, {}, 37 * US);
  const weights = [256, 512, 256, 512, 256, 512, 256, 512];
  const domains = weights.map((weight) => simulator.addDomain({ weight, work: [BUSY] }));
  const sleeper = simulator.addDomain({ work: [interactive(200 * US, 5 * MS)] });
  simulator.run(10 * SECOND);
  const left = 4 - simulator.ran(sleeper) / (10 * SECOND);
  const fair = fairShares(weights, left);
  for (const [i, domain] of domains.entries()) {
    const share = simulator.ran(domain) / (10 * SECOND);
    t.ok(Math.abs(share - fair[i]!) <= 0.015, `weight ${weights[i]}: ${(100 * share).toFixed(2)} % of ${(100 * fair[i]!).toFixed(2)} %`);
  }
  t.end();
});

t.test('two sockets even out', (t) => {
  const simulator = new Simulator({ sockets: 2, coresPerSocket: 2 });
  const domains = Array.from({ length: 8 }, () => simulator.addDomain({ work: [BUSY] }));
  // All on one side, as if the others had just ended.
  const everywhere = CpuMask.all(4);
  for (const task of simulator.tasks) simulator.scheduler.setAffinity(task.unit, { hard: new CpuMask(4, [0, 1]) });
  simulator.run(SECOND);
  t.same(
    simulator.scheduler.runqueues.map(({ units }) => units.length),
    [8, 0],
  );
  for (const task of simulator.tasks) task.unit.hardAffinity.copy(everywhere);
  simulator.run(3 * SECOND);
  t.same(
    simulator.scheduler.runqueues.map(({ units }) => units.length),
    [4, 4],
    'balancing alone moves them',
  );
  const before = domains.map((domain) => simulator.ran(domain));
  simulator.run(13 * SECOND);
  const shares = domains.map((domain, i) => (simulator.ran(domain) - before[i]!) / (10 * SECOND));
  t.ok(
    shares.every((share) => Math.abs(share - 0.5) < 0.01),
    `and each gets half a cpu: ${shares.map((share) => share.toFixed(3)).join(' ')}`,
  );
  t.end();
});

t.test('whatever is done to it', (t) => {
  const shapes = [
    { sockets: 1, coresPerSocket: 1 },
    { sockets: 1, coresPerSocket: 3 },
    { sockets: 2, coresPerSocket: 2, threadsPerCore: 2 },
    { sockets: 3, coresPerSocket: 12, nodes: 3 },
  ];
  const arrangements: readonly Arrangement[] = ['socket', 'cpu', 'core', 'node', 'all'];
  for (let seed = 1; seed <= quickOr(12, 24); seed++) {
    const next = random(seed);
    const below = (n: number) => Math.floor(next() * n);
    const shape = shapes[seed % shapes.length]!;
    const slice = seed % 3 === 0 ? 50 * US : Number.POSITIVE_INFINITY;
    const ratelimitUs = seed % 5 === 0 ? 0 : 1000;
    const simulator = new Simulator(shape, { runqueue: arrangements[seed % 5]!, ratelimitUs, smtPowerSavings: seed % 7 === 0 }, slice);
    const { scheduler } = simulator;
    const { cpuCount } = scheduler.topology;
    const work = (): Work =>
      next() < 0.3 ? BUSY : { runFor: () => 1 + below(3 * MS), sleepFor: () => 1 + below(next() < 0.2 ? 2 * SECOND : 10 * MS) };
    const someCpus = () => new CpuMask(cpuCount, [below(cpuCount), ...Array.from({ length: below(cpuCount) }, () => below(cpuCount))]);
    const anyTask = (): Task | undefined => simulator.tasks[below(simulator.tasks.length)];
    const operations: readonly ((task: Task) => void)[] = [
      () =>
        simulator.tasks.length < 60 &&
        simulator.addDomain({
          weight: 1 + below(1000),
          cap: next() < 0.3 ? 1 + below(100) : 0,
          work: Array.from({ length: 1 + below(4) }, work),
        }),
      ({ unit }) => scheduler.adjust(unit.domain, { weight: 1 + below(next() < 0.1 ? 65535 : 1000) }),
      ({ unit }) => scheduler.adjust(unit.domain, { cap: next() < 0.4 ? 0 : 1 + below(100 * unit.domain.units.length) }),
      ({ unit }) => scheduler.setAffinity(unit, { hard: someCpus() }),
      ({ unit }) => scheduler.setAffinity(unit, { soft: someCpus() }),
      ({ unit }) => scheduler.setAffinity(unit, { hard: CpuMask.all(cpuCount), soft: CpuMask.all(cpuCount) }),
      (task) => !task.isPaused && simulator.pause(task),
      (task) => task.isPaused && simulator.unpause(task),
      (task) => task.isPaused && simulator.unpause(task),
      (task) => task.state === 'running' && simulator.yield(task),
      ({ unit: { domain } }) => {
        const tasks = simulator.tasksOf(domain);
        if (tasks.every(({ isPaused, unit }) => isPaused && !unit.isRunning)) simulator.removeDomain(domain);
        else for (const task of tasks) if (!task.isPaused && next() < 0.5) simulator.pause(task);
      },
      () => next() < 0.1 && scheduler.setRatelimit(next() < 0.3 ? 0 : 100 + below(5000)),
    ];
    for (let i = 0; i < 4; i++) simulator.addDomain({ work: [work(), work()] });
    let first: string | undefined;
    let steps = 0;
    const check = () => {
      steps++;
      first ??= violations(simulator)[0];
    };
    for (let operation = 0; operation < 120 && first === undefined; operation++) {
      const task = anyTask();
      if (task === undefined) simulator.addDomain({ work: [work()] });
      else operations[below(operations.length)]!(task);
      check();
      simulator.run(simulator.now + (next() < 0.1 ? 0 : below(8 * MS)), check);
    }
    t.equal(first, undefined, `seed ${seed}: nothing is broken in ${steps} steps`);
    t.same(
      simulator.tasks.map((task) => untold(task)).filter((time) => time !== 0),
      [],
      '  the four runstates are all the time',
    );
  }
  t.end();
});
