/** README's own guest does what README says; the examples of the CPU print what stands below them. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
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

for (const file of ['README.md', 'docs/cpu.md']) {
  t.test(`the examples of ${file} are a program that prints what stands there`, async (t) => {
    const blocks = [...readFileSync(file, 'utf8').matchAll(/```(js|text)\n(.*?)```/gs)];
    const textOf = (kind: string): string => blocks.flatMap(([, language, text]) => (language === kind ? [text!] : [])).join('');
    const { outputFiles } = await build({
      stdin: { contents: textOf('js'), resolveDir: process.cwd() },
      bundle: true,
      write: false,
      format: 'esm',
      target: 'node20',
      alias: { 'beneath/cpu': './emulator/cpu/index.ts' },
    });
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-'], { input: outputFiles[0]!.text, encoding: 'utf8' });
    t.equal(stderr, '');
    t.equal(stdout, textOf('text'));
    t.end();
  });
}
