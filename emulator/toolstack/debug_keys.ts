/** Debug keys: what each writes into ring -1's messages, as Xen does (xen:common/keyhandler.c). */
import { grant_entry_v1, grant_entry_v2_full_page } from '../../hypercalls/abi/grant_table.ts';
import { VIRQ_DEBUG } from '../../hypercalls/abi/xen.ts';
import { polledPort } from '../../hypercalls/event_channel/poll.ts';
import type { Binding } from '../../hypercalls/event_channel/port.ts';
import { portsOf, raiseVirq, virqPorts } from '../../hypercalls/event_channel/ports.ts';
import { maptrack } from '../../hypercalls/grant_table/maptrack.ts';
import { grantTable } from '../../hypercalls/grant_table/table.ts';
import { isUpcallPending, upcallMask } from '../../hypercalls/pv_cpu/vcpu_info.ts';
import { periodOf } from '../../hypercalls/vcpu/timers.ts';
import type { Domain } from '../domain.ts';
import type { Vcpu } from '../vcpu.ts';
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
    const pollers = domain.vcpus.filter((vcpu) => polledPort(vcpu) !== 0).map(({ id }) => id);
    return [`Event channel information for domain ${domain.id}:`, `Polling vCPUs: {${rangesOf(pollers)}}`, '    port [p/m/s]', ...lines];
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
      const shared = `${String(domid).padStart(5)} ${hex(Number(frame), 6)} ${hex(view.getUint16(table.status(ref), true), 2)}`;
      return `[${hex(ref, 3)}]  ${String(active.domid).padStart(5)} ${hex(active.mfn, 5)} ${hex(active.pins >>> 0, 8)}      ${shared}`;
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

/** As in Xen each guest is told, too, if it has bound VIRQ_DEBUG. */
function dumpDomains(toolstack: Toolstack): string[] {
  const { machine, records } = toolstack;
  const notify = (vcpu: Vcpu): string => {
    raiseVirq(machine, vcpu, VIRQ_DEBUG);
    return `Notifying guest ${vcpu.domain.id}:${vcpu.id} (virq ${VIRQ_DEBUG}, port ${virqPorts.of(vcpu)[VIRQ_DEBUG]})`;
  };
  return [
    `'q' pressed -> dumping domain info (now = ${machine.clock.now()})`,
    ...records.flatMap(({ domain }) => dumpDomain(toolstack, domain)),
    ...records.flatMap(({ domain }) => domain.vcpus.map(notify)),
  ];
}

function dumpDomain(toolstack: Toolstack, domain: Domain): string[] {
  const { machine, scheduling } = toolstack;
  const { id } = domain;
  const info = domainInfo(machine, domain);
  const uuid = machine.xenstore.read(`/local/domain/${id}/vm`)?.slice('/vm/'.length);
  const running = domain.vcpus.filter((vcpu) => scheduling.isRunning(vcpu)).map((vcpu) => scheduling.cpuOf(vcpu));
  const heapPages = 1 + grantTable(machine, domain).frames.length;
  return [
    `General information for domain ${id}:`,
    `    dying=${domain.isDying ? 2 : 0} pause_count=${domain.pauseCount}`,
    `    nr_pages=${info.memory_kib / 4} xenheap_pages=${heapPages} dirty_cpus={${rangesOf(running)}} max_pages=${domain.maxPages}`,
    `    handle=${uuid} vm_assist=${domain.vmAssist.toString(16).padStart(8, '0')}`,
    `Rangesets belonging to domain ${id}:`,
    ...['Interrupts', 'I/O Memory', 'I/O Ports ', 'log-dirty '].map((kind) => `    ${kind} { }`),
    `NODE affinity for domain ${id}: [0]`,
    `VCPU information and callbacks for domain ${id}:`,
    ...domain.vcpus.flatMap((vcpu) => dumpVcpu(toolstack, vcpu)),
  ];
}

function dumpVcpu({ machine, scheduling }: Toolstack, vcpu: Vcpu): string[] {
  const { id } = vcpu;
  const { hard, soft } = scheduling.affinityOf(vcpu);
  const cpu = scheduling.cpuOf(vcpu);
  const has = vcpuInfo(machine, vcpu).running ? 'T' : 'F';
  const pending = Number(isUpcallPending(machine, vcpu));
  const mask = Number(upcallMask(machine, vcpu));
  const dirty = scheduling.isRunning(vcpu) ? `dirty_cpu=${cpu}` : '';
  const period = periodOf(vcpu);
  return [
    `  UNIT${id} affinities: hard={${rangesOf(hard)}} soft={${rangesOf(soft)}}`,
    `    VCPU${id}: CPU${cpu} [has=${has}] poll=${polledPort(vcpu)} upcall_pend=0${pending} upcall_mask=0${mask} ${dirty}`,
    `    pause_count=0 pause_flags=${vcpu.pauseFlags}`,
    period === 0 ? 'No periodic timer' : `${Math.floor(1e9 / period)} Hz periodic timer (period ${Math.floor(period / 1e6)} ms)`,
  ];
}

const rangesOf = (cpus: readonly number[]): string =>
  cpus.length === 0
    ? ''
    : formatCpuList(
        [...cpus].sort((a, b) => a - b),
        Number.POSITIVE_INFINITY,
      );
