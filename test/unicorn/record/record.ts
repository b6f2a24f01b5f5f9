/**
 * Plays scenarios.txt on the C library of Unicorn (Debian: libunicorn-dev) and records what it said:
 *   node build.mjs --only test/unicorn/record/record.ts && node dist/test/unicorn/record/record.mjs [FILE]
 * With a FILE, its scenarios are played and printed, and nothing is recorded. UNICORN names the folder of another installation.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const here = new URL('../../../../test/unicorn/record/', import.meta.url);
const folder = mkdtempSync(join(tmpdir(), 'unicorn-'));

function build(): string {
  const judge = join(folder, 'judge');
  const prefix = process.env.UNICORN;
  const lib = prefix && `${prefix}/lib/x86_64-linux-gnu`;
  const flags = lib ? [`-I${prefix}/include`, `-L${lib}`, `-Wl,-rpath,${lib}`] : [];
  execFileSync('gcc', ['-O1', '-w', new URL('judge.c', here).pathname, '-o', judge, ...flags, '-lunicorn']);
  return judge;
}

/** `asm ADDRESS BITS INSTRUCTION; INSTRUCTION...` becomes `write ADDRESS BYTES`. */
function assemble(line: string): string {
  const found = /^asm (\S+) (16|32|64) (.*)$/.exec(line);
  if (!found) return line;
  const [, address, bits, code] = found;
  const source = join(folder, 'code.s');
  writeFileSync(source, `.intel_syntax noprefix\n.code${bits}\n.org 0\n${code!.replaceAll(';', '\n')}\n`);
  execFileSync('as', ['-o', join(folder, 'code.o'), source]);
  execFileSync('objcopy', ['-O', 'binary', '-j', '.text', join(folder, 'code.o'), join(folder, 'code.bin')]);
  return `write ${address} ${readFileSync(join(folder, 'code.bin')).toString('hex')}`;
}

const file = process.argv[2];
const text = readFileSync(file ?? new URL('scenarios.txt', here), 'utf8');
const judge = build();
const recorded = text
  .split(/^== /m)
  .slice(1)
  .map((part) => {
    const [name, ...commands] = part.split('\n');
    const script = commands.filter((line) => line !== '' && !line.startsWith(';')).map(assemble);
    const answers = execFileSync(judge, { input: `${script.join('\n')}\n`, timeout: 20_000 })
      .toString()
      .trim()
      .split('\n');
    const transcript = answers.map((line) => line.replace(/ +/g, ' ').trimEnd());
    return { name: name!, script, transcript };
  });
rmSync(folder, { recursive: true });
if (file) for (const { name, transcript } of recorded) console.log(`== ${name}\n${transcript.join('\n')}\n`);
else writeFileSync(new URL('../../golden/unicorn/scenarios.json', here), `${JSON.stringify(recorded, null, 1)}\n`);
