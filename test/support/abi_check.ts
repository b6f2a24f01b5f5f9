/**
 * The ABI table against Debian's Xen headers (libxen-dev): a generated C program prints the size of every struct, offset
 * and size of every field, and the number of every hypercall, sub-operation and errno that the headers name.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errno } from '../../hypercalls/abi/errno.ts';
import { hasOps } from '../../hypercalls/abi/hypercall.ts';
import { hypercalls, structs } from './abi_table.ts';

export interface AbiCheck {
  /** Why nothing was checked. */
  readonly skipped?: string;
  readonly facts: number;
  readonly differences: readonly string[];
}

const HEADERS = [
  'xen.h',
  'event_channel.h',
  'sched.h',
  'vcpu.h',
  'version.h',
  'memory.h',
  'grant_table.h',
  'physdev.h',
  'callback.h',
  'nmi.h',
  'errno.h',
  'hvm/hvm_op.h',
  'hvm/params.h',
  'io/blkif.h',
  'io/console.h',
  'io/netif.h',
  'io/xs_wire.h',
].map((header) => `/usr/include/xen/${header}`);

/** What the names of a hypercall's sub-operations begin with in the headers. */
const PREFIX: Readonly<Record<string, string>> = {
  event_channel_op: 'EVTCHNOP_',
  sched_op: 'SCHEDOP_',
  vcpu_op: 'VCPUOP_',
  xen_version: 'XENVER_',
  memory_op: 'XENMEM_',
  grant_table_op: 'GNTTABOP_',
  physdev_op: 'PHYSDEVOP_',
  hvm_op: 'HVMOP_',
  console_io: 'CONSOLEIO_',
  vm_assist: 'VMASST_CMD_',
  callback_op: 'CALLBACKOP_',
  nmi_op: 'XENNMI_',
};

/** Ours alone: the common head of three structs, and parts of unions that have no name in C. */
const isNamedInC = (name: string): boolean => name !== 'privileged_op' && name !== 'domain_op' && !name.includes('.');

function* factLines(): Generator<string> {
  for (const struct of structs.filter(({ name }) => isNamedInC(name))) {
    const cName = struct.name.endsWith('_t') ? struct.name : `struct ${struct.name}`;
    yield `F("${struct.name}", sizeof(${cName}), ${struct.size});`;
    if (struct.name.endsWith('_t')) continue;
    for (const field of struct.fields.filter(({ direction }) => direction !== 'pad')) {
      yield `F("${struct.name}.${field.name}", offsetof(${cName}, ${field.name}), ${field.offset});`;
      yield `F("sizeof ${struct.name}.${field.name}", sizeof(((${cName} *)0)->${field.name}), ${field.type.size});`;
    }
  }
  for (const { name, nr, body } of hypercalls) {
    yield* ifDefined(`__HYPERVISOR_${name}`, nr);
    const prefix = PREFIX[name];
    if (prefix !== undefined && hasOps(body)) for (const [op, { cmd }] of Object.entries(body)) yield* ifDefined(`${prefix}${op}`, cmd);
  }
  for (const [name, value] of Object.entries(errno)) yield `F("${name}", XEN_${name}, ${value});`;
}

function* ifDefined(macro: string, value: number): Generator<string> {
  yield `#ifdef ${macro}`;
  yield `F("${macro}", ${macro}, ${value});`;
  yield '#endif';
}

export function checkAbi(): AbiCheck {
  const missing = HEADERS.find((header) => !existsSync(header));
  if (missing !== undefined) return { skipped: `${missing} is not there (Debian: libxen-dev)`, facts: 0, differences: [] };
  try {
    execFileSync('gcc', ['--version'], { stdio: 'ignore' });
  } catch {
    return { skipped: 'there is no gcc', facts: 0, differences: [] };
  }
  const source = [
    '#define __XEN_INTERFACE_VERSION__ __XEN_LATEST_INTERFACE_VERSION__\n#define __XEN_TOOLS__ 1',
    '#define __XEN_TOOLS__',
    '#include <stdio.h>\n#include <stddef.h>\n#include <stdint.h>',
    ...HEADERS.map((header) => `#include "${header}"`),
    '#define F(name, theirs, ours) (facts++, (long)(theirs) != (ours) ? printf("%s: %ld in the headers, %ld here\\n", name, (long)(theirs), (long)(ours)) : 0)',
    'int main(void) { int facts = 0;',
    ...factLines(),
    'printf("%d", facts); return 0; }',
  ].join('\n');
  const folder = mkdtempSync(join(tmpdir(), 'abi-'));
  try {
    writeFileSync(join(folder, 'facts.c'), source);
    execFileSync('gcc', ['-w', '-o', join(folder, 'facts'), join(folder, 'facts.c')]);
    const lines = execFileSync(join(folder, 'facts'), { encoding: 'utf8' }).split('\n');
    return { facts: Number(lines.pop()), differences: lines };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
