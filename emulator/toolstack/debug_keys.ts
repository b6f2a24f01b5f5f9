/** Debug keys: what each writes into ring -1's messages, as Xen does (xen:common/keyhandler.c). */

import { grant_entry_v1, grant_entry_v2_full_page } from '../../hypercalls/abi/grant_table.ts';
import type { Binding } from '../../hypercalls/event_channel/port.ts';
import { portsOf } from '../../hypercalls/event_channel/ports.ts';
import { maptrack } from '../../hypercalls/grant_table/maptrack.ts';
import { grantTable } from '../../hypercalls/grant_table/table.ts';
import { isUpcallPending, upcallMask } from '../../hypercalls/pv_cpu/vcpu_info.ts';
import type { Domain } from '../domain.ts';
import { formatCpuList } from './cpu_list.ts';
import { domainInfo, vcpuInfo } from './domain_info.ts';
import type { Toolstack } from './toolstack.ts';

interface DebugKey {
  readonly description: string;
  readonly lines: (toolstack: Toolstack) => readonly string[];
}

const debugKeys: Readonly<Record<string, DebugKey>> = {
  e: { description: 'dump evtchn info', lines: dumpEventChannels },
  g: { description: 'print grant table usage', lines: dumpGrants },
  h: { description: 'show this message', lines: help },
  q: { description: 'dump domain (and guest debug) info', lines: dumpDomains },
  r: { description: 'dump run queues', lines: ({ scheduling }) => scheduling.dump() },
};

/** Keys that mean nothing do nothing. */
export function pressDebugKeys(toolstack: Toolstack, keys: string): void {
  for (const key of keys) {
    const known = Object.hasOwn(debugKeys, key) ? debugKeys[key] : undefined;
    if (known !== undefined) toolstack.log.write(known.lines(toolstack).join('\n'));
  }
}

function help(): string[] {
  const keys = Object.entries(debugKeys).map(
    ([key, { description }]) => ` key '${key}' (ascii '${key.charCodeAt(0).toString(16)}') => ${description}`,
  );
  return ["'h' pressed -> showing installed handlers", ...keys];
}

/** ECS_*, and what Xen shows of a port of each kind. */
function describeBinding(binding: Binding): readonly [state: number, more: string] {
  switch (binding.kind) {
    case 'free':
      return [0, ''];
    case 'reserved':
      return [1, ''];
    case 'unbound':
      return [2, ` d=${binding.remoteDomid}`];
    case 'interdomain':
      return [3, ` d=${binding.remote.id} p=${binding.remotePort}`];
    case 'virq':
      return [5, ` v=${binding.virq}`];
    case 'ipi':
      return [6, ''];
  }
}

function dumpEventChannels({ machine, records }: Toolstack): string[] {
  const dumpPorts = (domain: Domain): string[] => {
    const ports = portsOf.of(domain);
    const used = [...ports].filter(({ binding }) => binding.kind !== 'free' && binding.kind !== 'reserved');
    const lines = used.map((port) => {
      const [state, more] = describeBinding(port.binding);
      const pending = Number(ports.abi.isPending(machine, domain, port));
      const masked = Number(ports.abi.isMasked(machine, domain, port));
      const number = String(port.number).padStart(4);
      return `    ${number} [${pending}/${masked}/${ports.abi.describe(machine, domain, port)}]: s=${state} n=${port.notifyVcpu} x=${port.onEvent ? 1 : 0}${more}`;
    });
    return [`Event channel information for domain ${domain.id}:`, '    port [p/m/s]', ...lines];
  };
  return ["'e' pressed -> dumping event-channel info", ...records.flatMap(({ domain }) => dumpPorts(domain))];
}

const hex = (value: number, digits: number): string => `0x${value.toString(16).padStart(digits, '0')}`;

function dumpGrants({ machine, records }: Toolstack): string[] {
  const { view } = machine.memory;
  const dumpTable = (domain: Domain): string[] => {
    const table = grantTable(machine, domain);
    const mapped = maptrack.of(domain);
    const pinned = [...table.pinned()].map(([ref, active]) => {
      const maddr = table.entry(ref);
      const { domid, frame } = table.version === 1 ? grant_entry_v1.read(view, maddr) : grant_entry_v2_full_page.read(view, maddr);
      const pin = (active.deviceReads << 24) | (active.deviceWrites << 16) | (active.hostReads << 8) | active.hostWrites;
      const shared = `${String(domid).padStart(5)} ${hex(Number(frame), 6)} ${hex(view.getUint16(table.status(ref), true), 2)}`;
      return `[${hex(ref, 3)}]  ${String(active.domid).padStart(5)} ${hex(active.page.mfn, 5)} ${hex(pin >>> 0, 8)}      ${shared}`;
    });
    return [
      '      -------- active --------       -------- shared --------',
      '[ref] localdom mfn      pin          localdom gmfn     flags',
      `grant-table for remote d${domain.id} (v${table.version})`,
      `  ${table.frames.length} frames (${table.maxFrames} max), ${mapped.frameCount} maptrack frames (${mapped.maxFrames} max)`,
      ...(pinned.length > 0 ? pinned : ['no active grant table entries']),
    ];
  };
  return [
    "gnttab_usage_print_all [ key 'g' pressed",
    ...records.flatMap(({ domain }) => dumpTable(domain)),
    'gnttab_usage_print_all ] done',
  ];
}

function dumpDomains(toolstack: Toolstack): string[] {
  const { machine, records } = toolstack;
  return [
    `'q' pressed -> dumping domain info (now = ${machine.clock.now()})`,
    ...records.flatMap(({ domain }) => dumpDomain(toolstack, domain)),
  ];
}

function dumpDomain(toolstack: Toolstack, domain: Domain): string[] {
  const { machine, scheduling } = toolstack;
  const { id } = domain;
  const info = domainInfo(machine, domain);
  const uuid = machine.xenstore.read(`/local/domain/${id}/vm`)?.slice('/vm/'.length);
  const affinity = (cpus: readonly number[]): string => (cpus.length === 0 ? '' : rangesOf(cpus));
  return [
    `General information for domain ${id}:`,
    `    dying=${domain.isDying ? 2 : 0} pause_count=${domain.pauseCount}`,
    `    nr_pages=${info.memory_kib / 4} max_pages=${domain.maxPages}`,
    `    handle=${uuid} vm_assist=${domain.vmAssist.toString(16).padStart(8, '0')}`,
    `VCPU information and callbacks for domain ${id}:`,
    ...domain.vcpus.flatMap((vcpu) => {
      const { hard, soft } = scheduling.affinityOf(vcpu);
      const has = vcpuInfo(machine, vcpu).running ? 'T' : 'F';
      const pending = Number(isUpcallPending(machine, vcpu));
      const mask = Number(upcallMask(machine, vcpu));
      return [
        `  UNIT${vcpu.id} affinities: hard={${affinity(hard)}} soft={${affinity(soft)}}`,
        `    VCPU${vcpu.id}: CPU${scheduling.cpuOf(vcpu)} [has=${has}] poll=0 upcall_pend=0${pending} upcall_mask=0${mask} `,
        `    pause_count=0 pause_flags=${(vcpu.isBlocked ? 1 : 0) | (vcpu.isUp ? 0 : 2)}`,
      ];
    }),
  ];
}

const rangesOf = (cpus: readonly number[]): string => formatCpuList(cpus, Number.POSITIVE_INFINITY);
