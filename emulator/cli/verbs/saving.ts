/** The verbs that keep a domain in a file and let it go on from there (xen:tools/xl/xl_saverestore.c), with their progress. */
import { resolve } from 'node:path';
import { VERSION } from '../../../hypercalls/version/op.ts';
import { SAVE_VERSION } from '../../toolstack/save_file.ts';
import type { Restored, SaveProgress } from '../../toolstack/saving.ts';
import type { ListedDomain } from '../../toolstack/top_info.ts';
import { pad, type Verb } from './verb.ts';

const say = (line: string): void => void process.stderr.write(`${line}\n`);
const FORMAT = `beneath format, version ${SAVE_VERSION}`;

/** A percentage is told again when it has grown by so much, or is all. */
const STEP = 5;

/** In libxc's words (xen:tools/libs/toollog/xtl_logger_stdio.c): a line that grows on a terminal, else a line a step. */
class ProgressLines {
  #last = 0;

  tell(what: string, { done, total }: SaveProgress): void {
    const percent = total === 0 ? 0 : Math.floor((100 * done) / total);
    const isOver = done === total;
    if (!isOver && percent >= this.#last && percent < this.#last + STEP) return;
    this.#last = percent;
    const text = `${what}: ${done}/${total}  ${pad(percent, 3)}%`;
    if (process.stderr.isTTY) process.stderr.write(`\rxc: ${text}${isOver ? '\n' : ''}`);
    else say(`xc: progress: ${text}`);
  }
}

const save: Verb = {
  name: 'save',
  parameters: '<domain> <file>',
  description: 'keep a domain in a file, and end it',
  flags: [
    ['-c', 'let it run on'],
    ['-p', 'leave it paused'],
    ['-D', 'with its domid, as always'],
  ],
  async run(client, [domain, file], flags) {
    const afterwards = flags.p === true ? 'pause' : flags.c === true ? 'run' : 'destroy';
    const [{ domid }] = (await client.ask('list', { domain })) as [ListedDomain];
    say(`Saving to ${file} (${FORMAT})`);
    say(`xc: info: Saving domain ${domid}, type x86 PV`);
    const lines = new ProgressLines();
    const data = await client.ask('save', { domain, file: resolve(file!), afterwards }, (progress) =>
      lines.tell('Frames', progress as SaveProgress),
    );
    lines.tell('End of stream', { done: 0, total: 0 });
    return { data };
  },
};

const restore: Verb = {
  name: 'restore',
  parameters: '<file>',
  description: 'let a saved domain go on, in this host or another',
  flags: [
    ['-p', 'leave it paused'],
    ['-e', 'leave it as it is when it ends'],
  ],
  async run(client, [file], flags) {
    say(`Loading save file ${file} (${FORMAT})`);
    const given = { file: resolve(file!), paused: flags.p === true, preserved: flags.e === true };
    const data = (await client.ask('restore', given)) as Omit<Restored, 'domain'>;
    say(`xc: info: Found x86 PV domain from Xen ${VERSION >> 16}.${VERSION & 0xffff}`);
    say('xc: info: Restore successful');
    for (const [name, { mfn, port }] of [
      ['XenStore', data.store],
      ['Console', data.console],
    ] as const)
      say(`xc: info: ${name}: mfn 0x${mfn.toString(16)}, dom 0, evt ${port}`);
    return { data };
  },
};

export const savingVerbs: readonly Verb[] = [save, restore];
