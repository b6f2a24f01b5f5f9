// Bundles the command, the library entries, the benches and every test into dist/ with esbuild.
// `--only FILE...` bundles just those; `--outdir DIR` puts them elsewhere.
import { chmodSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { keepConst } from './scripts/keep_const.mjs';
import { plainFields } from './scripts/plain_fields.mjs';

const root = dirname(fileURLToPath(import.meta.url));
process.chdir(root);
const args = process.argv.slice(2);
const outdir = args.includes('--outdir') ? args[args.indexOf('--outdir') + 1] : 'dist';
const only = args.includes('--only')
  ? args.slice(args.indexOf('--only') + 1).filter((a, i, all) => !a.startsWith('--') && all[i - 1] !== '--outdir')
  : [];

function* filesBelow(folder, ending) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* filesBelow(path, ending);
    else if (entry.name.endsWith(ending)) yield path;
  }
}

const command = { in: 'emulator/cli/beneath.ts', out: 'beneath' };
const products = {
  'index.ts': 'index',
  'emulator/cpu/index.ts': 'cpu',
  'emulator/unicorn/index.ts': 'unicorn',
  'hypercalls/abi/index.ts': 'abi',
  'test/bench/bench.ts': 'bench',
  'test/bench/hot_templates.ts': 'hot_templates',
  'test/cpu/record/record.ts': 'record_cpu',
};
const entries =
  only.length > 0
    ? only.map((path) => ({ in: path, out: path.replace(/\.ts$/, '') }))
    : [
        ...Object.entries(products)
          .filter(([path]) => existsSync(path))
          .map(([path, out]) => ({ in: path, out })),
        ...[...filesBelow('test', '.test.ts')].map((path) => ({ in: path, out: path.replace(/\.ts$/, '') })),
      ];

const options = {
  outdir,
  outExtension: { '.js': '.mjs' },
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  external: ['tap', 'fast-check', 'esbuild', 'capstone-wasm'],
  define: { global: 'globalThis' },
  sourcemap: true,
  logLevel: 'warning',
};
await build({ ...options, external: [...options.external, 'commander'], entryPoints: entries });
if (only.length === 0 && existsSync(command.in)) {
  // Commander is CommonJS and asks for Node's own modules with require.
  const js = "#!/usr/bin/env node\nimport { createRequire } from 'node:module';\nconst require = createRequire(import.meta.url);";
  await build({ ...options, entryPoints: [command], banner: { js } });
  chmodSync(join(outdir, 'beneath.mjs'), 0o755);
}
// What users run, and what is measured.
if (only.length === 0) {
  for (const name of ['beneath', 'bench', 'index', 'cpu', 'unicorn']) {
    const path = join(outdir, `${name}.mjs`);
    if (existsSync(path)) writeFileSync(path, keepConst(plainFields(readFileSync(path, 'utf8'))));
  }
}
