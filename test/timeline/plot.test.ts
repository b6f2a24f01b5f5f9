/** A drawing of a timeline shows what is in it; what is no timeline gets a sentence. */
import t from 'tap';
import { delaysOf } from '../../emulator/timeline/percentile.ts';
import { duration, plot } from '../../emulator/timeline/plot.ts';
import { readTrace } from '../../emulator/timeline/read_trace.ts';
import {
  CATEGORY_RUNSTATE,
  DOMAIN_PID,
  nameProcess,
  nameThread,
  runstateNames,
  runstateTid,
  span,
  TRACE_END,
  TRACE_HEAD,
} from '../../emulator/timeline/trace_text.ts';

const thread = { pid: DOMAIN_PID + 1, tid: runstateTid(0) };
const names = nameProcess(thread.pid, 'd1 a<b') + nameThread(thread, 'v0');
const spanAt = (state: number, begin: number, end: number, wait?: number): string =>
  span(runstateNames[state]!, CATEGORY_RUNSTATE, thread, begin, end, wait === undefined ? '' : `"wake_to_run_ns":${wait}`);
const file = (events: string): string => TRACE_HEAD + names + events + TRACE_END;

t.test('a trace is read back to the nanosecond', (t) => {
  const trace = readTrace(
    file(spanAt(2, 5, 1_000_000_007) + spanAt(1, 1_000_000_007, 1_000_000_010) + spanAt(0, 1_000_000_010, 1_000_000_011, 3)),
  );
  t.same(trace, {
    begin: 5,
    end: 1_000_000_011,
    domains: [
      {
        name: 'd1 a<b',
        lanes: [
          {
            name: 'v0',
            spans: [
              { state: 2, begin: 5, end: 1_000_000_007 },
              { state: 1, begin: 1_000_000_007, end: 1_000_000_010 },
              { state: 0, begin: 1_000_000_010, end: 1_000_000_011 },
            ],
          },
        ],
        delays: [3],
      },
    ],
  });
  t.end();
});

t.test('percentiles are values that occurred', (t) => {
  const values = Array.from({ length: 1000 }, (_, i) => 1000 - i);
  t.same(delaysOf(values), { count: 1000, p50: 500, p99: 990, p999: 999, max: 1000 });
  t.same(delaysOf([7]), { count: 1, p50: 7, p99: 7, p999: 7, max: 7 });
  t.end();
});

t.test('times are told with three digits and a unit', (t) => {
  const rows = { 0: '0 ns', 10: '10 ns', 1234: '1.23 µs', 999500000: '1000 ms', 2000000000: '2 s' };
  for (const [ns, expected] of Object.entries(rows)) t.equal(duration(Number(ns)), expected);
  t.end();
});

t.test('the drawing', (t) => {
  const text = file(spanAt(0, 0, 250_000_000, 1500) + spanAt(1, 250_000_000, 375_000_000) + spanAt(2, 375_000_000, 1_000_000_000));
  const svg = plot(readTrace(text), 'x & y.json');
  for (const shown of [
    '25.00 %',
    '12.50 %',
    'd1 a&#60;b',
    'x &#38; y.json',
    'v0',
    'virtual time in ms',
    '1.5 µs',
    'p99.9',
    ...runstateNames,
  ])
    t.ok(svg.includes(shown), shown);
  t.notMatch(svg, /NaN|undefined|Infinity/);
  t.notMatch(svg, /<[^>]* (\S+)="[^"]*"[^>]* \1="/, 'no attribute twice');
  t.match(svg, /^<svg .*<\/svg>\n$/s);
  t.end();
});

t.test('a moment, and a domain that was never woken, can be drawn', (t) => {
  const svg = plot(readTrace(file(spanAt(3, 77, 77))), 'x');
  t.match(svg, /never woken/);
  t.notMatch(svg, /NaN|undefined|Infinity/);
  t.end();
});

t.test('a drawing is small, however much was recorded', (t) => {
  let events = '';
  for (let i = 0; i < 100_000; i++) events += spanAt(i % 3, i * 7919, (i + 1) * 7919, i % 3 === 0 ? i : undefined);
  t.ok(plot(readTrace(file(events)), 'x').length < 200_000);
  t.end();
});

// biome-ignore format: a table
const mistakes: readonly (readonly [text: string, message: RegExp])[] = [
  ['',                                                      /^it is no JSON: /],
  ['[host]\nmemory',                                        /^it is no JSON: [^\n]*$/],
  ['7',                                                     /^it is JSON, but no trace: it has no traceEvents$/],
  ['null',                                                  /it has no traceEvents$/],
  ['{"traceEvents":7}',                                     /it has no traceEvents$/],
  ['[]',                                                    /^there are no runstates in it; record it with beneath trace or --timeline$/],
  ['{"traceEvents":[{},7]}',                                /^traceEvents\[1\] is no event$/],
  ['[{"ph":"X","cat":"runstate","name":"idle","ts":1,"dur":1}]',     /^'idle' is no runstate$/],
  ['[{"ph":"X","cat":"runstate","name":"running","ts":"1","dur":1}]', /^a runstate has ts 1 and dur 1; both must be microseconds$/],
  ['[{"ph":"X","cat":"runstate","name":"running","ts":1,"dur":-1}]', /both must be microseconds$/],
];

t.test('what is no timeline gets a sentence', (t) => {
  for (const [text, message] of mistakes) t.throws(() => readTrace(text), { message }, text);
  t.end();
});
