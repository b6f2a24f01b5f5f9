/** A kernel booted in this process: types at its console, gathers what it prints and what is traced. Virtual time only. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type { Domain } from '../../emulator/domain.ts';
import type { DiskSpec, InterfaceSpec } from '../../emulator/host_ends.ts';
import { Machine, type MachineOptions } from '../../emulator/machine.ts';
import { runSlice } from '../../emulator/run.ts';
import { ImageError } from '../../firmware/image_error.ts';

export type Kind = 'domU' | 'dom0';
export const kinds: readonly Kind[] = ['domU', 'dom0'];

export interface GuestOptions {
  readonly as?: Kind;
  readonly memorySize?: number;
  readonly cmdline?: string;
  readonly engine?: MachineOptions['engine'];
  readonly vcpus?: number;
  readonly disks?: readonly DiskSpec[];
  readonly interfaces?: readonly InterfaceSpec[];
  /** Default true. What nobody watches takes shorter ways: system calls do not leave the CPU. */
  readonly isTraced?: boolean;
}

interface Stop {
  /** Instructions from here on. */
  readonly limit?: number;
  /** Instructions of a slice. */
  readonly size?: number;
  readonly isDone?: () => boolean;
}

const MIB = 1024 * 1024;
const WALL_CLOCK_NS = 1_704_067_200_000_000_000n;

export class GuestRun {
  readonly machine: Machine;
  readonly domain: Domain;
  readonly trace: string[] = [];
  /** Bytes as characters. */
  console = '';

  private constructor(machine: Machine, domain: Domain) {
    this.machine = machine;
    this.domain = domain;
  }

  static boot(
    image: Uint8Array,
    { as = 'domU', memorySize = 128 * MIB, engine = 'interpret', vcpus = 1, isTraced = true, ...given }: GuestOptions = {},
  ): GuestRun | ImageError {
    let run: GuestRun | undefined;
    const trace = (line: string): void => void run?.trace.push(line);
    const machine = new Machine({
      memorySize,
      engine,
      wallClockAtStart: WALL_CLOCK_NS,
      topology: { sockets: 1, coresPerSocket: vcpus },
      output: (_domain, bytes) => {
        if (run) run.console += Buffer.from(bytes).toString('latin1');
      },
      ...(isTraced && { traceHypercall: trace, traceTrap: trace, traceExit: trace }),
    });
    const domain = machine.createPvDomain(image, { name: 'guest', isInitial: as === 'dom0', memorySize, vcpus, ...given });
    if (domain instanceof ImageError) return domain;
    run = new GuestRun(machine, domain);
    return run;
  }

  /** Boots a file that is known to be a kernel. */
  static bootFile(path: string, options?: GuestOptions): GuestRun {
    const run = GuestRun.boot(readFileSync(path), options);
    if (run instanceof ImageError) throw new Error(`${path}: ${run.message}`);
    return run;
  }

  get instructions(): number {
    return Number(this.machine.cpu.instructions);
  }

  get shutdownReason(): number | undefined {
    return this.domain.shutdownReason;
  }

  type(keys: string | Uint8Array): void {
    this.machine.consoles.get(this.domain.id)!.input(typeof keys === 'string' ? Buffer.from(keys, 'latin1') : keys);
  }

  /** Until it has ended, waits for what cannot come, is done, or has used up the limit. */
  run({ limit = 200_000_000, size = 200_000, isDone = () => false }: Stop = {}): void {
    const end = this.instructions + limit;
    while (!isDone() && this.instructions < end) {
      if (runSlice(this.machine, Math.min(size, end - this.instructions)).kind !== 'running') return;
    }
  }
}

/** One of ours, with the vCPUs that it wants. */
export function bootGuest(name: string, options: GuestOptions = {}): GuestRun {
  return GuestRun.bootFile(guestKernel(name), { vcpus: guestVcpus(name), ...options });
}

/** The guests of ours that end by themselves, having printed what was recorded. */
export const guestNames: readonly string[] = readdirSync('guests')
  .filter((name) => existsSync(guestFile(name, 'expected.txt')))
  .sort();

export function guestFile(name: string, file: string): string {
  return `guests/${name}/${file}`;
}

/** With how many vCPUs it shall run. */
export function guestVcpus(name: string): number {
  const file = guestFile(name, 'vcpus.txt');
  return existsSync(file) ? Number(readFileSync(file, 'latin1')) : 1;
}

/** Of the guest `network`. */
export const guestInterfaces: readonly InterfaceSpec[] = ['00:16:3e:00:00:01', '00:16:3e:00:00:02'].map((mac) => ({
  mac,
  bridge: 'xenbr0',
}));

export const guestKernel = (name: string): string => guestFile(name, `${name}.elf`);

/** What the real Xen lets a guest print. */
export function expectedConsole(name: string, as: Kind): string {
  const own = guestFile(name, 'expected-dom0.txt');
  return readFileSync(as === 'dom0' && existsSync(own) ? own : guestFile(name, 'expected.txt'), 'latin1');
}
