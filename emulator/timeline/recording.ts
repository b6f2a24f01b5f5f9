/** A recorder at work on a machine: from now until it is stopped, or until a moment of virtual time. */
import type { Machine } from '../machine.ts';
import { Recorder } from './recorder.ts';

export interface RecordingOptions {
  /** Nanoseconds of virtual time; default: until it is stopped. */
  readonly duration?: number;
  /** Gets trace text, which belongs between TRACE_HEAD and TRACE_END. */
  readonly write: (text: string) => void;
  /** Nothing more is written. */
  readonly ended?: () => void;
}

export interface Recording {
  /** Harmless when it has ended. */
  stop(): void;
}

/** Undefined: somebody records this machine already. */
export function startRecording(machine: Machine, { duration, write, ended }: RecordingOptions): Recording | undefined {
  if (machine.timeline !== undefined) return undefined;
  const recorder = new Recorder(machine, machine.cores.list.length, write);
  machine.timeline = recorder;
  // The timer is due at the same point of every run, however its driver slices it.
  const timer = duration === undefined ? undefined : machine.timers.set(machine.clock.ns + duration, stop);
  return { stop };

  function stop(): void {
    if (machine.timeline !== recorder) return;
    machine.timeline = undefined;
    if (timer !== undefined) machine.timers.cancel(timer);
    recorder.finish();
    ended?.();
  }
}
