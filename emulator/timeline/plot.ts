/**
 * Draws a trace for a person: a lane for each vCPU with its runstates over time, and how long those who were woken waited for
 * a core. A lane is as many columns as the drawing has pixels; in a column that saw several states each has its share of
 * the height, so that a drawing stays small whatever was recorded.
 */
import { type Delays, delaysOf } from './percentile.ts';
import type { Span, Trace, TracedDomain } from './read_trace.ts';
import { runstateNames } from './trace_text.ts';

/** By RUNSTATE_*: told apart by the colour-blind, too. */
const COLOURS = ['#009e73', '#d55e00', '#b8c9dc', '#eeeeee'];
const MEANINGS = ['on a core', 'ready, waits for a core', 'waits for an event', 'down, paused or parked'];
const INK = '#222';
const PALE = '#777';

const WIDTH = 1200;
const LEFT = 150;
const RIGHT = 170;
const COLUMNS = WIDTH - LEFT - RIGHT;
const LANE = 16;
const LANE_GAP = 4;
const LANES_TOP = 96;

export function plot(trace: Trace, title: string): string {
  const lanes = trace.domains.reduce((sum, domain) => sum + domain.lanes.length, 0);
  const lanesEnd = LANES_TOP + lanes * (LANE + LANE_GAP) + trace.domains.length * LANE_GAP;
  const delaysTop = lanesEnd + 80;
  const height = delaysTop + 60 + trace.domains.length * 24 + 30;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12" fill="${INK}">`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    text(LEFT, 28, `Runstates of ${lanes} vCPUs: ${title}`, 'font-size="18"'),
    legend(),
    text(WIDTH - RIGHT + 12, LANES_TOP - 10, 'running'),
    text(WIDTH - RIGHT + 92, LANES_TOP - 10, 'runnable'),
    ...lanesOf(trace),
    ...axis(trace, lanesEnd),
    ...delaysChart(trace.domains, delaysTop),
    '</svg>\n',
  ].join('\n');
}

const escaped = (given: string): string => given.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);

function text(x: number, y: number, given: string, attributes = ''): string {
  return `<text x="${x}" y="${y}"${attributes && ` ${attributes}`}>${escaped(given)}</text>`;
}

function legend(): string {
  return runstateNames
    .map((name, state) => {
      const x = LEFT + state * 225;
      const box = `<rect x="${x}" y="46" width="14" height="14" fill="${COLOURS[state]}" stroke="${PALE}" stroke-width="0.5"/>`;
      return `${box}<text x="${x + 20}" y="58">${name}<tspan dx="5" fill="${PALE}">${MEANINGS[state]}</tspan></text>`;
    })
    .join('');
}

function lanesOf(trace: Trace): string[] {
  const { begin, end } = trace;
  const drawn: string[] = [];
  let y = LANES_TOP;
  for (const domain of trace.domains) {
    drawn.push(text(12, y + 12, shortened(domain.name), 'font-weight="bold"'));
    for (const lane of domain.lanes) {
      drawn.push(text(LEFT - 10, y + 12, lane.name, 'text-anchor="end"'));
      drawn.push(`<g transform="translate(${LEFT} ${y})">${laneShapes(lane.spans, begin, end)}</g>`);
      const [running, runnable] = shares(lane.spans, end - begin);
      drawn.push(text(WIDTH - RIGHT + 12, y + 12, running!), text(WIDTH - RIGHT + 92, y + 12, runnable!));
      y += LANE + LANE_GAP;
    }
    y += LANE_GAP;
  }
  return drawn;
}

const shortened = (name: string): string => (name.length > 17 ? `${name.slice(0, 16)}…` : name);

/** Of the whole time, in percent: by state. */
function shares(spans: readonly Span[], whole: number): string[] {
  const sums = runstateNames.map(() => 0);
  for (const { state, begin, end } of spans) sums[state]! += end - begin;
  return sums.map((sum) => `${(whole > 0 ? (sum * 100) / whole : 0).toFixed(2)} %`);
}

/** One path for each state. */
function laneShapes(spans: readonly Span[], begin: number, end: number): string {
  const perColumn = Math.max(1, end - begin) / COLUMNS;
  const inColumn = new Float64Array(COLUMNS * 4);
  for (const span of spans) {
    const from = (span.begin - begin) / perColumn;
    const to = (span.end - begin) / perColumn;
    for (let column = Math.floor(from); column < to && column < COLUMNS; column++) {
      inColumn[column * 4 + span.state]! += Math.min(to, column + 1) - Math.max(from, column);
    }
  }
  const paths = COLOURS.map(() => '');
  let first = 0;
  for (let column = 1; column <= COLUMNS; column++) {
    if (column < COLUMNS && isAlike(inColumn, first, column)) continue;
    let bottom = LANE;
    for (let state = 0; state < 4; state++) {
      const height = Math.round(inColumn[first * 4 + state]! * LANE * 4) / 4;
      if (height <= 0) continue;
      bottom -= height;
      paths[state] += `M${first} ${bottom}h${column - first}v${height}h${first - column}z`;
    }
    first = column;
  }
  return paths.map((path, state) => (path === '' ? '' : `<path fill="${COLOURS[state]}" d="${path}"/>`)).join('');
}

function isAlike(inColumn: Float64Array, a: number, b: number): boolean {
  for (let state = 0; state < 4; state++) if (Math.abs(inColumn[a * 4 + state]! - inColumn[b * 4 + state]!) > 0.01) return false;
  return true;
}

/** A step of 1, 2 or 5 times a power of ten, so that about `count` fit. */
function stepOf(range: number, count: number): number {
  const least = Math.max(1, range / count);
  const power = 10 ** Math.floor(Math.log10(least));
  return power * ([1, 2, 5, 10].find((times) => times * power >= least) ?? 10);
}

const UNITS = [
  [1e9, 's'],
  [1e6, 'ms'],
  [1e3, 'µs'],
  [1, 'ns'],
] as const;

/** With three digits that mean something. */
export function duration(ns: number): string {
  const [size, unit] = UNITS.find(([size]) => ns >= size) ?? UNITS[3];
  return `${Number((ns / size).toPrecision(3))} ${unit}`;
}

function axis({ begin, end }: Trace, y: number): string[] {
  const step = stepOf(end - begin, 10);
  const [size, unit] = UNITS.find(([size]) => step >= size) ?? UNITS[3];
  const drawn = [`<path d="M${LEFT} ${y}h${COLUMNS}" stroke="${PALE}"/>`];
  for (let ns = Math.ceil(begin / step) * step; ns <= end; ns += step) {
    const x = LEFT + ((ns - begin) * COLUMNS) / Math.max(1, end - begin);
    drawn.push(`<path d="M${x.toFixed(1)} ${y}v5" stroke="${PALE}"/>`);
    drawn.push(text(Number(x.toFixed(1)), y + 18, `${Number((ns / size).toFixed(3))}`, 'text-anchor="middle"'));
  }
  drawn.push(text(LEFT + COLUMNS / 2, y + 36, `virtual time in ${unit}`, `text-anchor="middle" font-style="italic"`));
  return drawn;
}

const TABLE = ['wake-ups', 'p50', 'p99', 'p99.9', 'longest'];
const TABLE_LEFT = LEFT + 60;
const TABLE_STEP = 78;
const CHART_LEFT = TABLE_LEFT + TABLE.length * TABLE_STEP;
const CHART_WIDTH = WIDTH - CHART_LEFT - 40;

/** A row for each domain: the table, and its percentiles on an axis of powers of ten. */
function delaysChart(domains: readonly TracedDomain[], top: number): string[] {
  const all = domains.map(({ name, delays }) => ({ name, delays: delays.length === 0 ? undefined : delaysOf(delays) }));
  const longest = Math.max(1000, ...all.map(({ delays }) => delays?.max ?? 0));
  const powers = Math.ceil(Math.log10(longest) - 1e-9) - 2;
  // From below 100 ns, which counts as nothing, up to the power of ten above the longest.
  const xOf = (ns: number): number => CHART_LEFT + (Math.max(0, Math.log10(Math.max(ns, 100)) - 2) * CHART_WIDTH) / powers;
  const bottom = top + 44 + domains.length * 24;
  const drawn = [
    text(LEFT, top, 'From being woken to running', 'font-size="18"'),
    ...TABLE.map((head, i) => text(TABLE_LEFT + i * TABLE_STEP, top + 30, head, 'text-anchor="end" font-weight="bold"')),
  ];
  for (let power = 0; power <= powers; power++) {
    const x = xOf(10 ** (power + 2)).toFixed(1);
    drawn.push(`<path d="M${x} ${top + 38}V${bottom}" stroke="#ddd"/>`);
    drawn.push(text(Number(x), bottom + 16, duration(10 ** (power + 2)), 'text-anchor="middle"'));
  }
  drawn.push(...marks(top + 26));
  all.forEach(({ name, delays }, i) => {
    drawn.push(...delayRow(shortened(name), delays, top + 44 + i * 24, xOf));
  });
  return drawn;
}

const MARKS = [
  ['p50', '#9ecae1', 5],
  ['p99', '#4292c6', 4],
  ['p99.9', '#084594', 3],
] as const;

function marks(y: number): string[] {
  return MARKS.map(([name, colour], i) => {
    const x = CHART_LEFT + i * 70;
    return `<rect x="${x}" y="${y - 9}" width="12" height="10" fill="${colour}"/>${text(x + 17, y, name)}`;
  });
}

function delayRow(name: string, delays: Delays | undefined, y: number, xOf: (ns: number) => number): string[] {
  const label = text(12, y + 12, name, 'font-weight="bold"');
  if (delays === undefined) return [label, text(TABLE_LEFT, y + 12, 'never woken', `text-anchor="end" fill="${PALE}"`)];
  const { count, p50, p99, p999, max } = delays;
  const cells = [String(count), ...[p50, p99, p999, max].map(duration)];
  const row = cells.map((cell, i) => text(TABLE_LEFT + i * TABLE_STEP, y + 12, cell, 'text-anchor="end"'));
  // The longer ones first: the shorter lie upon them.
  const bars = [p999, p99, p50].map((ns, i) => {
    const [, colour, inset] = MARKS[2 - i]!;
    const width = Math.max(2, xOf(ns) - CHART_LEFT);
    return `<rect x="${CHART_LEFT}" y="${y + 6 - inset}" width="${width.toFixed(1)}" height="${inset * 2}" fill="${colour}"/>`;
  });
  const x = xOf(max).toFixed(1);
  return [label, ...row, ...bars, `<path d="M${x} ${y}v12" stroke="${INK}"/>`];
}
