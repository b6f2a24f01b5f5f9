/** `beneath plot FILE`: a drawing of a timeline. */
import { writeFileSync } from 'node:fs';
import { basename, format, parse } from 'node:path';
import { type Command, Option } from 'commander';
import { plot } from '../timeline/plot.ts';
import { readTrace, TraceError } from '../timeline/read_trace.ts';
import { readUserFile, reasonOf } from './read_file.ts';
import { UserError } from './user_error.ts';

/** More is longer than a string of V8's. */
const MAX_SIZE = 0x1fff_ffe8;

export function addPlotCommand(program: Command): Command {
  return program
    .command('plot')
    .argument('<file>', 'a timeline: of beneath trace, or of --timeline')
    .description('draw a timeline: the runstates of every vCPU, and how long those who were woken waited for a core')
    .addOption(new Option('--out <file>', 'the drawing, an SVG').default(undefined, 'FILE with the ending .svg'))
    .action((file: string, { out = withEnding(file, '.svg') }: { readonly out?: string }) => {
      write(out, draw(file));
      process.stdout.write(`${out}\n`);
    });
}

function withEnding(path: string, ext: string): string {
  const { dir, name } = parse(path);
  return format({ dir, name, ext });
}

function draw(file: string): string {
  const bytes = readUserFile(file, 'timeline');
  if (bytes.length > MAX_SIZE)
    throw new UserError(`${file}: it has ${bytes.length} bytes, which is too much to draw; record less with --seconds`);
  try {
    return plot(readTrace(Buffer.from(bytes).toString()), basename(file));
  } catch (error) {
    if (error instanceof TraceError) throw new UserError(`${file}: ${error.message}`);
    throw error;
  }
}

function write(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    throw new UserError(`--out ${path}: the drawing cannot be written: ${reasonOf(error)}; name a file that can`);
  }
}
