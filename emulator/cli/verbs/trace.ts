/** `beneath trace`: what a running host does from now on, as a timeline in a file. */
import { ToolstackError } from '../../toolstack/toolstack_error.ts';
import { TraceFile } from '../trace_file.ts';
import { UserError } from '../user_error.ts';
import type { Verb } from './verb.ts';

const DEFAULT_FILE = 'trace.json';

function secondsOf(given: string | boolean | undefined): number | undefined {
  if (given === undefined) return undefined;
  const seconds = Number(given);
  if (!(seconds > 0 && seconds <= 1e6)) throw new ToolstackError(`--seconds ${given}: give seconds, such as 10 or 0.5`);
  return seconds;
}

function openFile(path: string): TraceFile {
  try {
    return new TraceFile(path);
  } catch (error) {
    throw error instanceof UserError ? new ToolstackError(error.message) : error;
  }
}

export const traceVerbs: readonly Verb[] = [
  {
    name: 'trace',
    parameters: '',
    description: 'record what every vCPU does when, for beneath plot and ui.perfetto.dev (Ctrl-C ends it)',
    flags: [
      ['--out <file>', `where to; default ${DEFAULT_FILE}`],
      ['--seconds <count>', 'of virtual time; default until Ctrl-C'],
    ],
    async run(client, _parameters, { out = DEFAULT_FILE, seconds }) {
      const path = String(out);
      const given = secondsOf(seconds);
      let file: TraceFile | undefined;
      let events = 0;
      let failure: unknown;
      const take = (text: string): void => {
        events += text.split('\n').length - 1;
        file ??= openFile(path);
        file.write(text);
        file.flush();
      };
      const recording = await client.record(given, (text) => {
        if (failure !== undefined) return;
        try {
          take(text);
        } catch (error) {
          failure = error;
          client.close();
        }
      });
      const stop = (): void => recording.stop();
      process.on('SIGINT', stop);
      process.on('SIGTERM', stop);
      try {
        const isWhole = await recording.ended;
        if (failure !== undefined) throw failure;
        file ??= openFile(path);
        if (!isWhole) process.stderr.write(`the host went faster than ${path} could be written: it ends early\n`);
        const isWritten = file.close();
        return {
          data: { file: path, events, complete: isWhole && isWritten },
          text: `${path}: ${events} events; see it with beneath plot ${path}, or open it in ui.perfetto.dev\n`,
          status: isWhole && isWritten ? 0 : 1,
        };
      } finally {
        process.off('SIGINT', stop);
        process.off('SIGTERM', stop);
      }
    },
  },
];
