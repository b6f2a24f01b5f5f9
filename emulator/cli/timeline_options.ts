/** `--timeline FILE` and `--timeline-hash`: records a machine from its start, for all commands that make one. */
import { type Command, Option } from 'commander';
import type { Machine } from '../machine.ts';
import { startRecording } from '../timeline/recording.ts';
import { TraceHash } from '../timeline/trace_hash.ts';
import { TraceFile } from './trace_file.ts';

export interface TimelineOptions {
  readonly timeline?: string;
  readonly timelineHash?: boolean;
}

export interface MachineTimeline {
  /** What was recorded is in the file. */
  flush(): void;
  close(): void;
}

export function addTimelineOptions(command: Command): Command {
  return command
    .addOption(new Option('--timeline <file>', 'record what every vCPU does when, for beneath plot and ui.perfetto.dev'))
    .addOption(new Option('--timeline-hash', 'say at the end a hash of all that: equal runs have equal ones'));
}

/** `seconds` of virtual time, then calls `ended`; default: until it is closed. */
export function recordTimeline(
  machine: Machine,
  { timeline, timelineHash }: TimelineOptions,
  seconds?: number,
  ended?: () => void,
): MachineTimeline {
  const file = timeline === undefined ? undefined : new TraceFile(timeline);
  const hash = timelineHash ? new TraceHash() : undefined;
  const watchers = [file?.write, hash?.add].filter((watcher) => watcher !== undefined);
  const write = (text: string): void => {
    for (const watcher of watchers) watcher(text);
  };
  const recording =
    watchers.length === 0
      ? undefined
      : startRecording(machine, {
          write,
          ...(seconds !== undefined && { duration: seconds * 1e9 }),
          ...(ended && { ended }),
        });
  if (recording === undefined && seconds !== undefined && ended) machine.timers.set(machine.clock.ns + seconds * 1e9, ended);
  return {
    flush: () => file?.flush(),
    close() {
      recording?.stop();
      file?.close();
      if (hash) process.stderr.write(`beneath: the timeline's hash is ${hash.text}\n`);
    },
  };
}
