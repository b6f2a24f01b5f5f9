/** README's own guest does what README says. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { GuestRun } from './support/guest_run.ts';

const hasAssembler = spawnSync('as', ['--version']).status === 0 && process.arch === 'x64';

t.test('a guest of your own', { skip: hasAssembler ? false : 'as is not installed: install the Debian package binutils' }, (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'beneath-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const readme = readFileSync('README.md', 'utf8');
  writeFileSync(join(folder, 'first.s'), /```asm\n(.*?)```/s.exec(readme)![1]!);
  for (const line of readme.match(/^ {4}(?:as|ld) .*first\.o.*$/gm)!) {
    const [command, ...args] = line.trim().split(' ');
    const { status, stderr } = spawnSync(command!, args, { cwd: folder, encoding: 'utf8' });
    t.equal(status, 0, `${line.trim()}\n${stderr}`);
  }
  const run = GuestRun.bootFile(join(folder, 'first.elf'), { as: 'dom0' });
  run.run();
  t.equal(run.console, 'hello from a guest of my own\n');
  t.equal(run.shutdownReason, 0);
  t.end();
});
