/** A recorded timeline: the same run gives the same one on both engines; it is a trace file, and says what happened. */
import t from 'tap';
import { startRecording } from '../../emulator/timeline/recording.ts';
import { TraceHash } from '../../emulator/timeline/trace_hash.ts';
import { CORES_PID, DOMAIN_PID, runstateNames, runstateTid } from '../../emulator/timeline/trace_text.ts';
import { quickOr } from '../support/thorough.ts';
import { type Guest, TracedHost } from './traced_host.ts';

const MS = 1_000_000;

t.setTimeout(300_000);

const guests: readonly Guest[] = [
  { guest: 'spin', name: 'web', vcpus: 2, weight: 512, cmdline: 'work=300 sleep=1700' },
  { guest: 'spin', name: 'batch', cmdline: 'work=900 sleep=2100 tell=1' },
  { guest: 'patience', name: 'watch', cmdline: 'watch' },
  { guest: 'events', name: 'events' },
];

t.test('the same host gives the same timeline, whatever executes it and in whatever slices', (t) => {
  const runs = (['translate', 'interpret', 'translate'] as const).map((engine, i) => {
    const host = new TracedHost(2, guests, { engine });
    host.record(quickOr(200, 400) * MS);
    host.run(200_000 - 77_777 * i);
    return host;
  });
  const [first, ...others] = runs;
  const lines = first!.text.split('\n');
  t.ok(lines.length > 2000, `${lines.length} events`);
  for (const each of others) {
    const differs = each.text.split('\n').findIndex((line, i) => line !== lines[i]);
    t.equal(differs, -1, 'the first line that differs');
    t.equal(each.hash.text, first!.hash.text);
  }
  const other = new TracedHost(2, guests.slice(1));
  other.record(20 * MS);
  other.run(200_000);
  t.not(other.hash.text, first!.hash.text, 'another host has another hash');
  t.end();
});

t.test('the hash is FNV-1a', (t) => {
  const rows = { '': 'cbf29ce484222325', a: 'af63dc4c8601ec8c', foobar: '85944171f73967e8' };
  for (const [text, expected] of Object.entries(rows)) {
    const hash = new TraceHash();
    for (const char of text) hash.add(char);
    t.equal(hash.text, expected);
  }
  t.end();
});

interface Event {
  readonly ph: string;
  readonly name: string;
  readonly cat?: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly dur: number;
  readonly id?: number;
  readonly s?: string;
  readonly bp?: string;
  readonly args: Readonly<Record<string, unknown>>;
}

const ns = (us: number): number => Math.round(us * 1000);
const end = ({ ts, dur }: Event): number => ns(ts) + ns(dur);

/** By thread, in the order of their beginnings. */
function threadsOf(events: readonly Event[], category: string): Map<string, Event[]> {
  const threads = new Map<string, Event[]>();
  for (const event of events) {
    if (event.ph !== 'X' || event.cat !== category) continue;
    const key = `${event.pid}.${event.tid}`;
    const list = threads.get(key);
    if (list) list.push(event);
    else threads.set(key, [event]);
  }
  for (const list of threads.values()) list.sort((a, b) => a.ts - b.ts || a.dur - b.dur);
  return threads;
}

/** What the Trace Event Format demands of an event, by phase. */
const isTime = (us: number): boolean => Number.isFinite(us) && us >= 0;
const demands: Readonly<Record<string, (event: Event) => boolean>> = {
  M: ({ name, args }) => ['process_name', 'thread_name'].includes(name) && typeof args.name === 'string',
  X: ({ ts, dur, args }) => isTime(ts) && isTime(dur) && typeof args === 'object',
  i: ({ ts, s, args }) => isTime(ts) && s === 't' && typeof args === 'object',
  s: ({ ts, id, cat }) => isTime(ts) && Number.isInteger(id) && cat === 'wake',
  f: ({ ts, id, cat, bp }) => isTime(ts) && Number.isInteger(id) && cat === 'wake' && bp === 'e',
};

/** Spans of one thread that overlap without one being inside the other, which no viewer can stack. */
function crossings(spans: readonly Event[]): Event[] {
  const open: Event[] = [];
  return [...spans]
    .sort((a, b) => ns(a.ts) - ns(b.ts) || ns(b.dur) - ns(a.dur))
    .filter((span) => {
      while (open.length > 0 && end(open.at(-1)!) <= ns(span.ts)) open.pop();
      const crosses = open.length > 0 && end(span) > end(open.at(-1)!);
      open.push(span);
      return crosses;
    });
}

t.test('what a timeline says', async (t) => {
  const host = new TracedHost(2, [
    { guest: 'smp', vcpus: 4 },
    { guest: 'spin', name: 'web', cmdline: 'work=300 sleep=700' },
  ]);
  host.record(60 * MS);
  host.run(200_000);
  const { displayTimeUnit, traceEvents: events } = JSON.parse(host.file) as { displayTimeUnit: string; traceEvents: Event[] };
  const runstates = threadsOf(events, 'runstate');

  t.test('it is what Chrome and Perfetto read', (t) => {
    t.equal(displayTimeUnit, 'ns');
    const isPlaced = ({ name, pid, tid }: Event): boolean => name !== '' && Number.isInteger(pid) && Number.isInteger(tid);
    t.same(
      events.filter((event) => !isPlaced(event) || !demands[event.ph]?.(event)),
      [],
      `${events.length} events are well formed`,
    );
    const named = new Set(events.filter(({ ph }) => ph === 'M').map(({ name, pid, tid }) => `${name} ${pid}.${tid}`));
    const threads = new Map(events.filter(({ ph }) => ph !== 'M').map(({ pid, tid }) => [`${pid}.${tid}`, pid]));
    for (const [thread, pid] of threads)
      t.ok(named.has(`thread_name ${thread}`) && named.has(`process_name ${pid}.0`), `${thread} has a name`);
    for (const category of ['runstate', 'core', 'hypercall'])
      for (const [thread, spans] of threadsOf(events, category)) t.same(crossings(spans), [], `${thread}: ${category} spans nest`);
    const ids = (phase: string): number[] => events.filter(({ ph }) => ph === phase).map(({ id }) => id!);
    for (const phase of ['s', 'f']) t.equal(new Set(ids(phase)).size, ids(phase).length, `${phase}: an arrow has one of each end`);
    t.end();
  });

  t.test('every vCPU is in one runstate at every time', (t) => {
    t.equal(runstates.size, 5);
    for (const [thread, spans] of runstates) {
      const gaps = spans.filter((span, i) => ns(span.ts) !== (i === 0 ? 0 : end(spans[i - 1]!)));
      t.same(gaps, [], thread);
      t.ok(end(spans.at(-1)!) >= 60 * MS, `${thread} lasts until the end`);
      t.same(
        spans.filter(({ name }) => !(runstateNames as readonly string[]).includes(name)),
        [],
      );
    }
    t.end();
  });

  t.test('a core runs one vCPU at a time', (t) => {
    const cores = threadsOf(events, 'core');
    t.same([...cores.keys()].sort(), [`${CORES_PID}.1`, `${CORES_PID}.2`]);
    for (const [core, spans] of cores)
      t.same(
        spans.filter((span, i) => i > 0 && ns(span.ts) < end(spans[i - 1]!)),
        [],
        core,
      );
    const running = [...runstates.values()].flat().filter(({ name }) => name === 'running');
    t.equal([...cores.values()].flat().length, running.length, 'and what runs, runs on a core');
    t.end();
  });

  t.test('hypercalls have a result; those that sleep last until their vCPU runs again', (t) => {
    const calls = events.filter(({ cat }) => cat === 'hypercall');
    const up = calls.filter(({ name }) => name === 'vcpu_op.up');
    t.equal(up.filter(({ pid, args }) => pid === DOMAIN_PID + 1 && args.result === 0).length, 3, 'three siblings came up');
    t.match(up.find(({ args }) => args.result !== 0)?.args, { result: -22, errno: 'EINVAL' });
    const sleeps = calls.filter(({ name, pid }) => pid === DOMAIN_PID + 2 && name.startsWith('sched_op.'));
    const woken = sleeps.filter(({ dur }) => dur > 500);
    t.ok(woken.length > 20, `${woken.length} sleeps`);
    t.match(sleeps[0], { args: { result: 0 } });
    const runs = runstates.get(`${DOMAIN_PID + 2}.${runstateTid(0)}`)!.filter(({ name }) => name === 'running');
    for (const sleep of woken.slice(0, -1))
      if (!runs.some(({ ts }) => ns(ts) === end(sleep))) t.fail(`nothing runs at the end of ${sleep.ts}`);
    t.end();
  });

  t.test('a vCPU that was woken says how long it waited, and an arrow comes from who woke it', (t) => {
    const waits = [...runstates.values()].flat().filter(({ args }) => args.wake_to_run_ns !== undefined);
    t.ok(waits.length > 20, `${waits.length} runs after a wake-up`);
    const wakes = events.filter(({ ph, name }) => ph === 'i' && name === 'wake');
    for (const { ts, pid, tid, args } of waits) {
      const at = ns(ts) - Number(args.wake_to_run_ns);
      if (!wakes.some((wake) => ns(wake.ts) === at && wake.pid === pid && wake.tid === tid + 1)) t.fail(`no wake-up at ${at}`);
    }
    const starts = new Map(events.filter(({ ph }) => ph === 's').map((event) => [event.id, event]));
    const ends = events.filter(({ ph }) => ph === 'f');
    t.ok(ends.length > 0, `${ends.length} arrows`);
    const isIn = ({ pid, tid, ts }: Event): boolean =>
      runstates.get(`${pid}.${tid}`)!.some((span) => span.name === 'running' && span.ts <= ts && ns(ts) <= end(span));
    t.same(
      ends.filter((arrow) => !starts.has(arrow.id) || starts.get(arrow.id)!.ts > arrow.ts || !isIn(starts.get(arrow.id)!) || !isIn(arrow)),
      [],
      'each from a running vCPU to a running one',
    );
    t.ok(events.some(({ name, args }) => name.startsWith('event ') && args.source === 'ipi' && args.from !== undefined));
    t.ok(events.some(({ name, args }) => name.startsWith('event ') && args.source === 'VIRQ_TIMER' && args.from === undefined));
    t.ok(events.some(({ name }) => name === 'upcall'));
    t.end();
  });
});

t.test('domains that come and go are in it, and nothing is kept of them', (t) => {
  const host = new TracedHost(1, [{ guest: 'spin', name: 'stays', cmdline: 'work=100 sleep=900' }]);
  const { machine } = host;
  host.record(30 * MS);
  machine.timers.set(10 * MS, () => host.add({ guest: 'spin', name: 'comes "and" goes' }));
  machine.timers.set(20 * MS, () => machine.destroy(machine.domains.get(2)!));
  host.run(100_000);
  const { traceEvents: events } = JSON.parse(host.file) as { traceEvents: Event[] };
  t.match(
    events.find(({ ph, name, pid }) => ph === 'M' && name === 'process_name' && pid === DOMAIN_PID + 2),
    { args: { name: 'd2 comes "and" goes' } },
  );
  const spans = threadsOf(events, 'runstate').get(`${DOMAIN_PID + 2}.${runstateTid(0)}`)!;
  t.ok(Math.abs(ns(spans[0]!.ts) - 10 * MS) < MS);
  t.ok(Math.abs(end(spans.at(-1)!) - 20 * MS) < MS);
  t.end();
});

t.test('a machine has one recording at a time, and runs on without it', (t) => {
  const host = new TracedHost(1, guests.slice(0, 1));
  host.record(MS);
  t.equal(startRecording(host.machine, { write() {} }), undefined);
  host.run(10_000);
  const { length } = host.text;
  t.equal(host.machine.timeline, undefined);
  const again = startRecording(host.machine, { write() {} });
  t.ok(again);
  again!.stop();
  again!.stop();
  t.equal(host.text.length, length);
  t.end();
});
