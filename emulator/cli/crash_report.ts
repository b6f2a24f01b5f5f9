/**
 * What is left of a vCPU, for a person to read: why it stopped, registers, the code around RIP, the page walk of the address
 * that mattered, the last hypercalls. Also printed when the emulator itself has a bug.
 */
import { SHUTDOWN_crash, SHUTDOWN_watchdog } from '../../hypercalls/abi/sched.ts';
import { pvVcpu } from '../../hypercalls/pv_cpu/state.ts';
import { isUpcallPending, upcallMask } from '../../hypercalls/pv_cpu/vcpu_info.ts';
import { recentHypercalls } from '../../hypercalls/trace.ts';
import { type Cpu, RSP, type SegmentName } from '../cpu/interface.ts';
import type { Domain } from '../domain.ts';
import type { Machine } from '../machine.ts';
import type { Vcpu } from '../vcpu.ts';
import { disassembleAround } from './disassembly.ts';

const hex = (value: number | bigint, digits = 16): string => BigInt(value).toString(16).padStart(digits, '0');

const GPR_NAMES = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'];
const SEGMENTS: readonly SegmentName[] = ['cs', 'ss', 'ds', 'es', 'fs', 'gs', 'ldtr', 'tr'];
// biome-ignore format: by bit
const FLAGS: ReadonlyArray<readonly [bit: number, name: string]> = [
  [0, 'CF'], [2, 'PF'], [4, 'AF'], [6, 'ZF'], [7, 'SF'], [8, 'TF'], [9, 'IF'], [10, 'DF'], [11, 'OF'], [14, 'NT'], [16, 'RF'], [18, 'AC'], [21, 'ID'],
];
const REASONS = ['poweroff', 'reboot', 'suspend', 'crash', 'watchdog', 'soft reset'];

/** The report on a domain that crashed or ended in another way that nobody asked for. */
export async function crashReport(machine: Machine, domain: Domain): Promise<string> {
  const reason = domain.shutdownReason!;
  const crash = machine.crashes.get(domain);
  const asked = `it asked for it: SCHEDOP_shutdown(${REASONS[reason] ?? reason})`;
  const why = crash?.why ?? (reason === SHUTDOWN_watchdog ? 'a watchdog timer that it had set ran out' : asked);
  const verb = reason === SHUTDOWN_crash ? 'crashed' : `was shut down (${REASONS[reason] ?? `reason ${reason}`})`;
  const vcpu = crash?.vcpu ?? (machine.current.domain === domain ? machine.current : domain.vcpus[0]!);
  return `\nbeneath: ${domain.name} ${verb}: ${why}\n${await describeVcpu(machine, vcpu, crash?.vaddr)}`;
}

/** The report on a bug of the emulator. */
export async function bugReport(machine: Machine, error: unknown): Promise<string> {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `\nbeneath: this is a bug in beneath itself, not in the guest: ${text}\n${await describeVcpu(machine, machine.current, undefined)}`;
}

async function describeVcpu(machine: Machine, vcpu: Vcpu, vaddr: bigint | undefined): Promise<string> {
  const { cpu } = machine;
  machine.switchTo(vcpu);
  const pv = pvVcpu.of(vcpu);
  const walked = vaddr ?? (pv.cr2 === 0n ? undefined : pv.cr2);
  return [
    `vCPU ${vcpu.name} in guest ${pv.inKernelMode ? 'kernel' : 'user'} mode, ${cpu.instructions} instructions after the start`,
    ...generalRegisters(cpu),
    ...controlRegisters(machine, vcpu),
    ...SEGMENTS.map((name) => segment(cpu, name)),
    'code:',
    ...(await disassembleAround(cpu, machine.memory.bytes)).map((line) => `  ${line}`),
    ...(walked === undefined ? [] : pageWalk(cpu, walked, vaddr === undefined ? 'the last page fault' : 'the fault')),
    'last hypercalls, the latest last:',
    ...withFallback(
      recentHypercalls(vcpu).map((line) => `  ${line}`),
      '  none',
    ),
    ...otherVcpus(machine, vcpu),
    '',
  ].join('\n');
}

/** Where the domain's other vCPUs are. */
function otherVcpus(machine: Machine, vcpu: Vcpu): string[] {
  const others = vcpu.domain.vcpus.filter((other) => other !== vcpu && other.isInitialised);
  const lines = others.map((other) => {
    machine.switchTo(other);
    const state = other.isUp ? (other.isBlocked ? 'blocked' : 'can run') : 'down';
    return `  ${other.name} rip ${hex(machine.cpu.rip)} rsp ${hex(machine.cpu.gpr[RSP]!)} ${state}`;
  });
  machine.switchTo(vcpu);
  return lines.length > 0 ? ['other vCPUs:', ...lines] : [];
}

const withFallback = (lines: string[], fallback: string): string[] => (lines.length > 0 ? lines : [fallback]);

function generalRegisters(cpu: Cpu): string[] {
  const names = FLAGS.filter(([bit]) => (cpu.rflags >> BigInt(bit)) & 1n).map(([, name]) => name);
  const cells = GPR_NAMES.map((name, i) => `${name.padEnd(3)} ${hex(cpu.gpr[i]!)}`);
  const lines = [`rip ${hex(cpu.rip)}  rflags ${hex(cpu.rflags)} [${names.join(' ')}]`];
  for (let i = 0; i < cells.length; i += 4) lines.push(cells.slice(i, i + 4).join('  '));
  return lines;
}

function controlRegisters(machine: Machine, vcpu: Vcpu): string[] {
  const { cpu } = machine;
  const pv = pvVcpu.of(vcpu);
  const events =
    vcpu.vcpuInfoMaddr < 0
      ? []
      : [`events ${upcallMask(machine, vcpu) ? 'masked' : 'unmasked'}${isUpcallPending(machine, vcpu) ? ', pending' : ''}`];
  return [
    `cr0 ${hex(cpu.cr0)}  cr2 ${hex(pv.cr2)}  cr3 ${hex(cpu.cr3)}  cr4 ${hex(cpu.cr4)}  efer ${hex(cpu.efer, 4)}`,
    [`kernel stack ${hex(pv.kernelSp)}`, `virtual IOPL ${pv.iopl >> 12}`, ...events].join('  '),
  ];
}

function segment(cpu: Cpu, name: SegmentName): string {
  const { selector, base, limit, attributes } = cpu.getSegment(name);
  return `${name.padEnd(4)} ${hex(selector, 4)}  base ${hex(base)}  limit ${hex(limit, 8)}  attributes ${hex(attributes, 4)}`;
}

function pageWalk(cpu: Cpu, vaddr: bigint, what: string): string[] {
  const steps = cpu
    .walk(vaddr)
    .map(
      ({ level, index, entryMaddr, entry }) =>
        `  L${level}[${index}] at ${hex(entryMaddr, 10)} = ${hex(entry)}${entry & 1n ? '' : ' not present'}`,
    );
  return [`page walk of ${hex(vaddr)} (${what}):`, ...withFallback(steps, '  no page tables')];
}
