/** A recorded timeline: the same run gives the same one on both engines; it is a trace file, and says what happened. */
import t from 'tap';
import { TraceHash } from '../../emulator/timeline/trace_hash.ts';
import { type Guest, TracedHost } from './traced_host.ts';

const MS = 1_000_000;

const guests: readonly Guest[] = [
  { guest: 'spin', name: 'web', vcpus: 2, weight: 512, cmdline: 'work=300 sleep=1700' },
  { guest: 'spin', name: 'batch', cmdline: 'work=900 sleep=2100 tell=1' },
  { guest: 'patience', name: 'watch', cmdline: 'watch' },
  { guest: 'events', name: 'events' },
];

t.test('the same host gives the same timeline, whatever executes it and in whatever slices', (t) => {
  const runs = (['translate', 'interpret', 'translate'] as const).map((engine, i) => {
    const host = new TracedHost(2, guests, { engine });
    host.record(1000 * MS);
    host.run(200_000 - 77_777 * i);
    return host;
  });
  const [first, ...others] = runs;
  t.equal(first!.text.length > 100_000, true);
  for (const each of others) {
    const a = first!.text.split('\n');
    const b = each.text.split('\n');
    const differs = a.findIndex((line, i) => line !== b[i]);
    if (differs >= 0) t.same(b.slice(differs - 3, differs + 5), a.slice(differs - 3, differs + 5), `from line ${differs} of ${a.length}`);
    t.equal(each.hash.text, first!.hash.text);
  }
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
