/** Debug keys: what each writes into ring -1's messages, as Xen does (xen:common/keyhandler.c). */
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
