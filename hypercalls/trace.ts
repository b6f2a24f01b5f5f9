/**
 * One strace-like line for one CallRecord, derived from the rows of the ABI table:
 *
 *     event_channel_op.alloc_unbound({dom=DOMID_SELF remote_dom=0}) = 0 {port=3}
 *
 * The dispatcher's trace prints it as calls end; a crash report prints a vCPU's last 16.
 */
import type { Vcpu } from '../emulator/vcpu.ts';
import { errnoName } from './abi/errno.ts';
import { hex, isArgumentPointer } from './abi/types.ts';
import { implementations } from './all.ts';
import { type CallRecord, callRing, MADE_AGAIN } from './call.ts';
import type { Implementation } from './implement.ts';

/** Of its hypercall and operation. */
export function nameOfCall(record: CallRecord, implementation: Implementation | undefined): string {
  if (implementation === undefined) return `hypercall ${record.nr}`;
  return implementation.opOf(record.words)?.name ?? implementation.row.name;
}

/** The call without its vCPU's name. */
export function formatCall(record: CallRecord, implementation: Implementation | undefined): string {
  if (implementation === undefined) return `hypercall ${record.nr}(${[...record.args].map(hex).join(', ')})${resultOf(record, '')}`;
  const { row } = implementation;
  const op = implementation.opOf(record.words);
  const struct = record.hasStruct ? (op?.struct ?? null) : null;
  const isBatch = op?.batch !== undefined;
  const shown: string[] = [];
  Object.entries(row.params).forEach(([name, type], index) => {
    if (name === 'cmd' && op !== undefined) return;
    const value = type.read(record.argView, index * 8);
    if (!isArgumentPointer(type)) shown.push(type.format(value));
    else if (struct?.hasIn)
      shown.push(formatFirst(struct.formatIn(struct.read(record.view, 0)), isBatch ? op.countOf(record.words) : undefined));
    else if (op === undefined || op.struct?.hasIn || op.follows) shown.push(type.format(value));
  });
  const isDone = typeof record.result === 'number' && record.result >= 0;
  const out =
    struct?.hasOut && isDone && !(isBatch && op.countOf(record.words) === 0) ? ` ${struct.formatOut(struct.read(record.view, 0))}` : '';
  return `${op?.name ?? row.name}(${shown.join(', ')})${resultOf(record, out)}`;
}

function formatFirst(first: string, count: number | undefined): string {
  if (count === undefined) return first;
  const more = count - 1;
  return more > 0 ? `[${first} and ${more} more]` : `[${first}]`;
}

function resultOf(record: CallRecord, out: string): string {
  const { result } = record;
  if (result === MADE_AGAIN) return ' = (again)';
  if (result === undefined) return ' = ?';
  const name = typeof result === 'number' && result < 0 ? errnoName(-result) : undefined;
  return ` = ${result}${name === undefined ? '' : ` (${name})`}${out}`;
}

/** A vCPU's last hypercalls, oldest first, for its crash report. */
export function recentHypercalls(vcpu: Vcpu): string[] {
  return [...callRing.of(vcpu)].map((record) => formatCall(record, implementations[record.nr]));
}
