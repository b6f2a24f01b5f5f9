/** Reads a trace file back: when each vCPU was in which runstate, and how long those who woke waited for a core. */
import { CATEGORY_RUNSTATE, DOMAIN_PID, runstateNames } from './trace_text.ts';

export interface Span {
  /** RUNSTATE_*. */
  readonly state: number;
  /** Virtual nanoseconds. */
  readonly begin: number;
  readonly end: number;
}

export interface Lane {
  readonly name: string;
  readonly spans: readonly Span[];
}

export interface TracedDomain {
  readonly name: string;
  /** By vCPU. */
  readonly lanes: readonly Lane[];
  /** Nanoseconds from being woken to running. */
  readonly delays: readonly number[];
}

export interface Trace {
  readonly begin: number;
  readonly end: number;
  readonly domains: readonly TracedDomain[];
}

/** What is wrong with the file, a part of a sentence behind its name. */
export class TraceError extends Error {}

type Row = Readonly<Record<string, unknown>>;

interface Gathered {
  name: string;
  readonly lanes: Map<number, { name: string; readonly spans: Span[] }>;
  readonly delays: number[];
}

export function readTrace(text: string): Trace {
  const domains = new Map<number, Gathered>();
  let begin = Number.POSITIVE_INFINITY;
  let end = Number.NEGATIVE_INFINITY;
  for (const row of eventsOf(text)) {
    const pid = Number(row.pid);
    if (row.ph === 'M') {
      name(domains, row, pid);
      continue;
    }
    if (row.ph !== 'X' || row.cat !== CATEGORY_RUNSTATE) continue;
    const span = spanOf(row);
    const domain = domainOf(domains, pid);
    laneOf(domain, row).spans.push(span);
    const delay = argsOf(row).wake_to_run_ns;
    if (typeof delay === 'number' && delay >= 0) domain.delays.push(delay);
    begin = Math.min(begin, span.begin);
    end = Math.max(end, span.end);
  }
  const read = [...domains.entries()]
    .sort(([a], [b]) => a - b)
    .map(([, domain]) => finished(domain))
    .filter(({ lanes }) => lanes.length > 0);
  if (read.length === 0) throw new TraceError('there are no runstates in it; record it with beneath trace or --timeline');
  return { begin, end, domains: read };
}

function eventsOf(text: string): readonly Row[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new TraceError(`it is no JSON: ${(error as Error).message.replace(/\s+/g, ' ')}`);
  }
  const events = Array.isArray(value) ? value : (value as { traceEvents?: unknown } | null)?.traceEvents;
  if (!Array.isArray(events)) throw new TraceError('it is JSON, but no trace: it has no traceEvents');
  const wrong = events.findIndex((event) => typeof event !== 'object' || event === null);
  if (wrong >= 0) throw new TraceError(`traceEvents[${wrong}] is no event`);
  return events as Row[];
}

const argsOf = ({ args }: Row): Row => (typeof args === 'object' && args !== null ? (args as Row) : {});

function spanOf(row: Row): Span {
  const { ts, dur } = row;
  const state = runstateNames.indexOf(row.name as (typeof runstateNames)[number]);
  if (state < 0) throw new TraceError(`'${row.name}' is no runstate`);
  if (!Number.isFinite(ts) || !Number.isFinite(dur) || (dur as number) < 0)
    throw new TraceError(`a runstate has ts ${ts} and dur ${dur}; both must be microseconds`);
  const begin = Math.round((ts as number) * 1000);
  return { state, begin, end: begin + Math.round((dur as number) * 1000) };
}

function domainOf(domains: Map<number, Gathered>, pid: number): Gathered {
  const domain = domains.get(pid) ?? { name: `d${pid - DOMAIN_PID}`, lanes: new Map(), delays: [] };
  domains.set(pid, domain);
  return domain;
}

function laneOf(domain: Gathered, { tid }: Row): { name: string; readonly spans: Span[] } {
  const lane = domain.lanes.get(Number(tid)) ?? { name: '', spans: [] };
  domain.lanes.set(Number(tid), lane);
  return lane;
}

function name(domains: Map<number, Gathered>, row: Row, pid: number): void {
  const given = String(argsOf(row).name);
  if (row.name === 'process_name') domainOf(domains, pid).name = given;
  else if (row.name === 'thread_name') laneOf(domainOf(domains, pid), row).name = given;
}

function finished({ name, lanes, delays }: Gathered): TracedDomain {
  const read = [...lanes.entries()]
    .sort(([a], [b]) => a - b)
    .map(([, { name, spans }]) => ({ name, spans: spans.sort((a, b) => a.begin - b.begin) }))
    .filter(({ spans }) => spans.length > 0);
  return { name, lanes: read, delays };
}
