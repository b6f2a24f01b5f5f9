// `npm start`: the host of demo.toml for some 20 seconds, what its domains say meanwhile, and what the other commands show.
import { spawn, spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const SECONDS = 20;
const beneath = fileURLToPath(new URL('../dist/beneath.mjs', import.meta.url));
const hostFile = fileURLToPath(new URL('demo.toml', import.meta.url));
const name = `demo-${process.pid}`;

function show(...words) {
  console.log(`\n$ beneath ${words.join(' ')}`);
  spawnSync(process.execPath, [beneath, ...words, '--host', name], { stdio: 'inherit' });
}

console.log('$ beneath host examples/demo.toml');
const host = spawn(process.execPath, [beneath, 'host', hostFile, '--name', name], { stdio: ['ignore', 'inherit', 'inherit'] });
const ended = new Promise((resolve) => host.on('exit', (status, signal) => resolve(signal === null ? status : 1)));
const isEarly = await Promise.race([sleep(SECONDS * 500, false), ended.then(() => true)]);
if (!isEarly) {
  show('top', '-b', '-i', '2', '-d', '2');
  await sleep(SECONDS * 500 - 4000);
  show('vcpu-list');
  show('list');
  show('sched-credit2');
  console.log();
  host.kill('SIGINT');
}
process.exitCode = await ended;
