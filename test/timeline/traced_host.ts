/** A machine in this process whose timeline is kept: its text, its hash, and its runstates. */
import { readFileSync } from 'node:fs';
import { Domain } from '../../emulator/domain.ts';
import { type DomainSpec, Machine, type MachineOptions } from '../../emulator/machine.ts';
import { runSlice } from '../../emulator/run.ts';
import { startRecording } from '../../emulator/timeline/recording.ts';
import { TraceHash } from '../../emulator/timeline/trace_hash.ts';
import { TRACE_END, TRACE_HEAD } from '../../emulator/timeline/trace_text.ts';
import { guestKernel } from '../support/guest_run.ts';

const MIB = 1024 * 1024;

export interface Guest extends Partial<DomainSpec> {
  /** The folder in guests/. */
  readonly guest: string;
}

export class TracedHost {
  readonly machine: Machine;
  readonly hash = new TraceHash();
  text = TRACE_HEAD;
  isOver = false;

  constructor(cores: number, guests: readonly Guest[], options: Partial<MachineOptions> = {}) {
    this.machine = new Machine({
      memorySize: (guests.length + 2) * 8 * MIB,
      topology: { sockets: 1, coresPerSocket: cores },
      output: () => {},
      ...options,
    });
    for (const guest of guests) this.add(guest);
  }

  add({ guest, ...spec }: Guest): Domain {
    const image = readFileSync(guestKernel(guest));
    const domain = this.machine.createPvDomain(image, { name: guest, isInitial: false, memorySize: 8 * MIB, ...spec });
    if (!(domain instanceof Domain)) throw new Error(domain.message);
    return domain;
  }

  /** Records the next so many virtual nanoseconds. */
  record(duration: number): void {
    startRecording(this.machine, {
      duration,
      write: (text) => {
        this.text += text;
        this.hash.add(text);
      },
      ended: () => {
        this.isOver = true;
      },
    });
  }

  /** Until the recording is over. */
  run(sliceSize: number): void {
    while (!this.isOver) if (runSlice(this.machine, sliceSize).kind !== 'running') throw new Error('the machine has stopped');
  }

  get file(): string {
    return this.text + TRACE_END;
  }
}
