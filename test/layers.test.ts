import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join } from 'node:path';
import t from 'tap';

/** From the bottom up: the files of a layer, and the layers whose files they may import besides their own. */
const CORE = ['bytes', 'slot', 'cpu', 'memory', 'scheduler', 'core'];
// biome-ignore format: a table
const LAYERS: readonly { name: string; files: RegExp; mayImport: readonly string[]; mayUseNode?: boolean }[] = [
  { name: 'bytes',     files: /^emulator\/bytes\.ts$/,                 mayImport: [] },
  { name: 'slot',      files: /^emulator\/slot\.ts$/,                  mayImport: [] },
  { name: 'cpu',       files: /^emulator\/cpu\//,                     mayImport: [] },
  { name: 'unicorn',   files: /^emulator\/unicorn\//,                 mayImport: ['cpu'] },
  { name: 'memory',    files: /^emulator\/memory\//,                  mayImport: ['slot', 'cpu'] },
  { name: 'scheduler', files: /^emulator\/scheduler\//,               mayImport: [] },
  { name: 'abi',       files: /^hypercalls\/abi\//,                   mayImport: [] },
  { name: 'core',      files: /^emulator\/(domain|vcpu|host|guest_time|timeline\/timeline)\.ts$/, mayImport: ['slot', 'cpu', 'memory', 'scheduler'] },
  { name: 'hypercalls', files: /^hypercalls\//,                       mayImport: ['abi', ...CORE] },
  { name: 'firmware',  files: /^firmware\//,                          mayImport: ['abi', ...CORE] },
  { name: 'trap',      files: /^emulator\/trap\//,                    mayImport: ['abi', 'hypercalls', ...CORE] },
  { name: 'machine',   files: /^emulator\/[a-z_]+\.ts$/,              mayImport: ['abi', 'hypercalls', 'firmware', 'trap', ...CORE] },
  { name: 'check',     files: /^emulator\/check\//,                   mayImport: ['abi', 'hypercalls', 'firmware', ...CORE] },
  { name: 'timeline',  files: /^emulator\/timeline\//,                  mayImport: ['abi', 'hypercalls', 'machine', ...CORE] },
  { name: 'toolstack', files: /^emulator\/toolstack\/(?!socket)/,    mayImport: ['abi', 'hypercalls', 'firmware', 'machine', 'timeline', ...CORE] },
  { name: 'socket',    files: /^emulator\/toolstack\/socket/,        mayImport: ['machine', 'timeline', 'toolstack'], mayUseNode: true },
  { name: 'cli',       files: /^emulator\/cli\//,                     mayImport: ['abi', 'hypercalls', 'firmware', 'trap', 'machine', 'check', 'timeline', 'toolstack', 'socket', ...CORE], mayUseNode: true },
];

const layerOf = (path: string) => LAYERS.find(({ files }) => files.test(path));

function* sources(folder: string): Generator<string> {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) yield* sources(path);
    else if (/(?<!\.d)\.ts$/.test(path)) yield path;
  }
}

const importsOf = (text: string): string[] =>
  [...text.matchAll(/^(?:import|export)\b[^'";]*?(?:from )?'([^']+)';?$/gm)].map(([, target]) => target!);

const withoutComments = (text: string): string => text.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '');

const FILES = ['emulator', 'hypercalls', 'firmware'].flatMap((folder) => [...sources(folder)]);

t.test('every file is in a layer', (t) => {
  t.same(
    FILES.filter((path) => layerOf(path) === undefined),
    [],
  );
  t.end();
});

t.test('imports only go down', (t) => {
  for (const { name, mayImport } of LAYERS) {
    const upward = FILES.filter((path) => layerOf(path)?.name === name).flatMap((path) =>
      importsOf(readFileSync(path, 'utf8'))
        .filter((target) => target.startsWith('.'))
        .map((target) => join(dirname(path), target))
        .filter((target) => ![name, ...mayImport].includes(layerOf(target)?.name ?? 'no layer'))
        .map((target) => `${path} -> ${target}`),
    );
    t.same(upward, [], name);
  }
  t.end();
});

t.test('only the command line knows Node; nothing knows a browser', (t) => {
  const globals =
    /(?<![.\w'"`$])(?:(?:process|Buffer|console|window|document|navigator)\.\w|(?:require|setTimeout|setInterval|setImmediate|queueMicrotask|fetch)\(|new Text(?:En|De)coder|__(?:dir|file)name)/;
  for (const { name } of LAYERS.filter(({ mayUseNode }) => !mayUseNode)) {
    const users = FILES.filter((path) => layerOf(path)?.name === name).filter((path) => {
      const text = readFileSync(path, 'utf8');
      return (
        importsOf(text).some((target) => target.startsWith('node:') || builtinModules.includes(target)) ||
        globals.test(withoutComments(text))
      );
    });
    t.same(users, [], name);
  }
  t.end();
});
