/**
 * `beneath run`: builds the machine, then alternates slices of the guest with looks at the keyboard, the clock and the
 * limits, until the guest ends or a limit does.
 */
import { parse, resolve } from 'node:path';
import { ImageError } from '../../firmware/image_error.ts';
import { SHUTDOWN_poweroff, SHUTDOWN_reboot, SHUTDOWN_suspend } from '../../hypercalls/abi/sched.ts';
import { Checker } from '../check/checker.ts';
import type { Domain } from '../domain.ts';
import { Machine, type MachineOptions } from '../machine.ts';
import { runSlice, type Slice } from '../run.ts';
import { refusalToShare } from '../toolstack/disk_sharing.ts';
import type { DiskDescription } from '../toolstack/disk_spec.ts';
import { withMac } from '../toolstack/net_spec.ts';
import { endWhenNobodyReads } from './broken_pipe.ts';
import { bugReport, crashReport } from './crash_report.ts';
import { DETERMINISTIC_SLICE, EPOCH_NS } from './deterministic.ts';
import { DiskFile } from './disk_file.ts';
import { type Keyboard, openKeyboard, readWholeInput } from './keyboard.ts';
import type { RunOptions, TraceKind } from './options.ts';
import { PcapFile } from './pcap_file.ts';
import { readUserFile } from './read_file.ts';
import { statisticsReport } from './statistics.ts';
import { recordTimeline } from './timeline_options.ts';
import { TraceWriter } from './trace_writer.ts';
import { UserError } from './user_error.ts';

const EXIT_POWEROFF = 0;
const EXIT_CRASH = 3;
const EXIT_LIMIT = 4;
const EXIT_MISTAKES = 5;
const EXIT_BUG = 70;

/** Instructions of a slice, where the run need not be repeatable: fitted to what takes about 8 ms. */
const FIRST_SLICE = 50_000;
const MAX_SLICE = 50_000_000;
const SLICE_MS = 8;

/** The exit status. */
export async function runCommand(kernelPath: string, options: RunOptions): Promise<number> {
  endWhenNobodyReads();
  const image = readUserFile(kernelPath, 'kernel');
  const ramdisk = options.ramdisk === undefined ? undefined : readUserFile(options.ramdisk, 'ramdisk');
  if (options.disk.length > 0 && options.as === 'dom0')
    throw new UserError('--disk: an initial domain has no virtual disks; leave --as dom0 out');
  if (options.net.length > 0 && options.as === 'dom0')
    throw new UserError('--net: an initial domain has no virtual interfaces; leave --as dom0 out');
  const files = openDisks(options.disk);
  const captures = options.net.map(({ pcap }) => (pcap === undefined ? undefined : new PcapFile(pcap)));
  const trace = options.trace && new TraceWriter(options.trace);
  const traced = (kind: TraceKind) => (trace && options.trace?.kinds.has(kind) ? trace.line : undefined);
  const checker = options.check ? new Checker(image) : undefined;
  const followsWall = !options.deterministic && process.stdin.isTTY === true;
  const machine = makeMachine(options.memory, {
    wallClockAtStart: options.deterministic ? EPOCH_NS : BigInt(Date.now()) * 1_000_000n,
    verboseDebug: options.verboseDebug ?? false,
    topology: { sockets: 1, coresPerSocket: options.vcpus },
    engine: options.engine,
    output: (_domain, bytes) => void process.stdout.write(bytes),
    consoleIoRefused: () =>
      process.stderr.write('beneath: console_io of a domU answers -EPERM as on a stock Xen; --verbose-debug lets it print\n'),
    ...(options.stats && { statisticsClock: () => performance.now() }),
    ...(followsWall && { hostNs: () => process.hrtime.bigint() }),
    ...optional('observer', checker),
    ...optional('traceHypercall', traced('hypercalls')),
    ...optional('traceTrap', traced('traps')),
    ...optional('traceExit', traced('exits')),
  });
  const timeline = recordTimeline(machine, options);
  const domain = machine.createPvDomain(image, {
    name: parse(kernelPath).name,
    isInitial: options.as === 'dom0',
    memorySize: options.memory,
    vcpus: options.vcpus,
    cmdline: options.cmdline,
    kernelPath,
    ...(ramdisk && { ramdisk }),
    ...(options.ramdisk !== undefined && { ramdiskPath: options.ramdisk }),
    disks: options.disk.map(({ name, path }, i) => ({ name, path: resolve(path), disk: files[i]! })),
    interfaces: options.net.map((net, i) => ({ ...withMac(net, parse(kernelPath).name, i), capture: captures[i]?.capture })),
  });
  if (domain instanceof ImageError) throw new UserError(`${kernelPath}: ${domain.message}`);

  const console = machine.consoles.get(domain.id)!;
  const input = options.deterministic ? await readWholeInput() : undefined;
  if (input !== undefined && input.length > 0) console.input(input);
  const keyboard = input === undefined ? openKeyboard((bytes) => console.input(bytes)) : undefined;
  try {
    const { status, ms } = await drive(machine, domain, options, keyboard, () => {
      trace?.flush();
      timeline.flush();
    });
    const ended = status ?? (await end(machine, domain));
    if (options.stats) process.stderr.write(statisticsReport(machine, ms));
    if (checker) process.stderr.write(checker.finish(machine, domain));
    return checker?.hasFindings ? EXIT_MISTAKES : ended;
  } catch (error) {
    trace?.flush();
    process.stderr.write(await bugReport(machine, error));
    return EXIT_BUG;
  } finally {
    keyboard?.close();
    trace?.close();
    timeline.close();
    for (const file of [...files, ...captures]) file?.close();
  }
}

function openDisks(descriptions: readonly DiskDescription[]): DiskFile[] {
  const disks: DiskFile[] = [];
  for (const description of descriptions) {
    const disk = new DiskFile(description);
    for (const other of disks) {
      const refusal = refusalToShare(disk, other, 'the same domain');
      if (refusal !== undefined) throw new UserError(refusal);
    }
    disks.push(disk);
  }
  return disks;
}

function makeMachine(memorySize: number, options: Omit<MachineOptions, 'memorySize'>): Machine {
  try {
    return new Machine({ memorySize, ...options });
  } catch (error) {
    if (error instanceof RangeError)
      throw new UserError(`--memory ${memorySize / 1024 / 1024}M: this computer does not give so much; ask for less`);
    throw error;
  }
}

function optional<K extends string, V>(key: K, value: V | undefined): Partial<Record<K, V>> {
  return value === undefined ? {} : ({ [key]: value } as Partial<Record<K, V>>);
}

/** Runs until the guest has ended (no status), or answers the exit status of what ended it; and how long the machine ran. */
async function drive(
  machine: Machine,
  domain: Domain,
  options: RunOptions,
  keyboard: Keyboard | undefined,
  flush: () => void,
): Promise<{ status?: number; ms: number }> {
  const { cpu } = machine;
  const isFixed = keyboard === undefined;
  const started = performance.now();
  const endsAt = options.timeout === undefined ? Number.POSITIVE_INFINITY : started + options.timeout * 1000;
  let size = isFixed ? DETERMINISTIC_SLICE : FIRST_SLICE;
  let ms = 0;
  for (;;) {
    const left = options.maxInstructions === undefined ? Number.POSITIVE_INFINITY : options.maxInstructions - Number(cpu.instructions);
    const before = performance.now();
    // While keys may still come, an idle guest waits for them in real time; after that its timers come at once.
    const slice = runSlice(machine, Math.min(size, left), keyboard?.isOver ?? true);
    const after = performance.now();
    ms += after - before;
    flush();
    if (slice.kind === 'over') return { ms };
    if (Number(cpu.instructions) >= (options.maxInstructions ?? Number.POSITIVE_INFINITY)) {
      return { status: limit(domain, `--max-instructions ${options.maxInstructions} is reached`), ms };
    }
    if (after >= endsAt) return { status: limit(domain, `--timeout ${options.timeout} is over`), ms };
    if (keyboard?.wantsToLeave) return { status: leave(domain), ms };
    if (slice.kind === 'idle') {
      if (slice.deadline === Number.POSITIVE_INFINITY && (keyboard?.isOver ?? true)) {
        return { status: limit(domain, 'it waits for an event that cannot come: no timer is set and the input has ended'), ms };
      }
      await keyboard?.wait(idleMs(machine, slice, endsAt - after));
      passTime(machine, slice.deadline, performance.now() - after);
    } else {
      if (!isFixed) size = fit(size, after - before);
      await new Promise(setImmediate);
    }
  }
}

/** The size of the next slice, after one that took `ms`. */
function fit(size: number, ms: number): number {
  if (ms > SLICE_MS * 1.25) return Math.max(1000, Math.floor(size * Math.max(0.25, SLICE_MS / ms)));
  return ms < SLICE_MS * 0.75 ? Math.min(MAX_SLICE, size * 2) : size;
}

function idleMs(machine: Machine, slice: Slice & { kind: 'idle' }, left: number): number | undefined {
  const ms = Math.min(left, (slice.deadline - machine.clock.ns) / 1e6);
  return ms === Number.POSITIVE_INFINITY ? undefined : Math.min(Math.max(0, Math.ceil(ms)), 0x7fff_ffff);
}

/** What the host waited passes for the guest too, up to its next timer. */
function passTime({ clock }: Machine, deadline: number, ms: number): void {
  clock.idleUntil(Math.min(deadline, clock.ns + Math.ceil(ms * 1e6)));
}

function limit(domain: Domain, why: string): number {
  process.stderr.write(`beneath: ${domain.name} was stopped: ${why}\n`);
  return EXIT_LIMIT;
}

function leave(domain: Domain): number {
  process.stderr.write(`\nbeneath: left ${domain.name}, which is gone\n`);
  return EXIT_POWEROFF;
}

/** What the domain's shutdown reason means for whoever started it. */
async function end(machine: Machine, domain: Domain): Promise<number> {
  switch (domain.shutdownReason) {
    case SHUTDOWN_poweroff:
      return EXIT_POWEROFF;
    case SHUTDOWN_reboot:
      process.stderr.write(`beneath: ${domain.name} asks for a reboot; start it again\n`);
      return EXIT_POWEROFF;
    case SHUTDOWN_suspend:
      process.stderr.write(`beneath: ${domain.name} suspended itself; there is nothing that could resume it\n`);
      return EXIT_POWEROFF;
    default:
      process.stderr.write(await crashReport(machine, domain));
      return EXIT_CRASH;
  }
}
