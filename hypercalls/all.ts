/** Every hypercall that is there, by number: each family exports its implementations, this file lists the families. */
import { consoleFamily } from './console/io.ts';
import { eventChannel } from './event_channel/op.ts';
import { grantTableFamily } from './grant_table/op.ts';
import { hvmFamily } from './hvm/op.ts';
import type { Implementation } from './implement.ts';
import { memoryFamily } from './memory/op.ts';
import { compatFamily } from './misc/compat.ts';
import { miscFamily } from './misc/op.ts';
import { privilegedFamily } from './misc/privileged.ts';
import { mmu } from './mmu/op.ts';
import { physdevFamily } from './physdev/op.ts';
import { pvCpu } from './pv_cpu/op.ts';
import { schedFamily } from './sched/op.ts';
import { vcpuFamily } from './vcpu/op.ts';
import { versionFamily } from './version/op.ts';

const families: readonly (readonly Implementation[])[] = [
  compatFamily,
  consoleFamily,
  eventChannel,
  grantTableFamily,
  hvmFamily,
  memoryFamily,
  miscFamily,
  mmu,
  physdevFamily,
  privilegedFamily,
  pvCpu,
  schedFamily,
  vcpuFamily,
  versionFamily,
];

export const implementations: readonly (Implementation | undefined)[] = byNumber(families.flat());

function byNumber(list: readonly Implementation[]): (Implementation | undefined)[] {
  const table = new Array<Implementation | undefined>(64).fill(undefined);
  for (const implementation of list) {
    const { nr, name } = implementation.row;
    if (table[nr] !== undefined) throw new Error(`bug: ${name} and ${table[nr].row.name} are both hypercall ${nr}`);
    table[nr] = implementation;
  }
  return table;
}
