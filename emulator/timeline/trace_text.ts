/**
 * A timeline as text: the JSON of Chrome's tracing and of Perfetto ("Trace Event Format"), an event a line, so that it can be
 * written as it comes. TRACE_HEAD, any number of events and TRACE_END are a valid file. Virtual nanoseconds become the
 * format's microseconds with three decimals.
 */

/** The process whose threads are the cores; a domain's is DOMAIN_PID + its id. */
export const CORES_PID = 1;
export const DOMAIN_PID = 1000;

/** A vCPU has two threads: what it does, and what it asks of ring -1. */
export const runstateTid = (vcpu: number): number => 2 * vcpu + 1;
export const callsTid = (vcpu: number): number => 2 * vcpu + 2;
export const coreTid = (core: number): number => core + 1;

export const CATEGORY_RUNSTATE = 'runstate';
export const CATEGORY_CORE = 'core';

/** By RUNSTATE_*. */
export const runstateNames = ['running', 'runnable', 'blocked', 'offline'] as const;

export const TRACE_HEAD = `{"displayTimeUnit":"ns","traceEvents":[\n${nameText('process_name', CORES_PID, 0, 'cores')}`;
export const TRACE_END = '\n]}\n';

/** What an event happens to: a thread of a process. */
export interface Thread {
  readonly pid: number;
  readonly tid: number;
}

function nameText(kind: string, pid: number, tid: number, name: string): string {
  return `{"ph":"M","name":"${kind}","pid":${pid},"tid":${tid},"args":{"name":${JSON.stringify(name)}}}`;
}

const us = (ns: number): string => (ns / 1000).toFixed(3);

/** `args`: the inside of a JSON object. */
const event = (phase: string, name: string, category: string, { pid, tid }: Thread, ns: number, rest: string): string =>
  `,\n{"ph":"${phase}","name":"${name}","cat":"${category}","pid":${pid},"tid":${tid},"ts":${us(ns)}${rest}}`;

export function nameThread({ pid, tid }: Thread, name: string): string {
  return `,\n${nameText('thread_name', pid, tid, name)}`;
}

export function nameProcess(pid: number, name: string): string {
  return `,\n${nameText('process_name', pid, 0, name)}`;
}

/** Something that lasted from `begin` to `end`. */
export function span(name: string, category: string, thread: Thread, begin: number, end: number, args: string): string {
  return event('X', name, category, thread, begin, `,"dur":${us(end - begin)},"args":{${args}}`);
}

export function instant(name: string, category: string, thread: Thread, ns: number, args: string): string {
  return event('i', name, category, thread, ns, `,"s":"t","args":{${args}}`);
}

/** An arrow's two ends, between the spans that are there at these times. */
export function arrowStart(id: number, thread: Thread, ns: number): string {
  return event('s', 'wake', 'wake', thread, ns, `,"id":${id}`);
}

export function arrowEnd(id: number, thread: Thread, ns: number): string {
  return event('f', 'wake', 'wake', thread, ns, `,"id":${id},"bp":"e"`);
}
