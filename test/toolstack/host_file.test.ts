/** Host files: what is read, and what is said about what is wrong. */
import t from 'tap';
import { formatCpuList, parseCpuList } from '../../emulator/toolstack/cpu_list.ts';
import { readDomainFile, readHostFile } from '../../emulator/toolstack/host_file.ts';

const MIB = 1024 * 1024;

const example = `
[host]
memory = "512M"
topology = { sockets = 1, cores_per_socket = 2 }
[[domain]]
name = "web"
kernel = "guests/spin/spin.elf"   # paths are relative to the file
type = "pv"
memory = "32M"
maxmem = "64M"
vcpus = 2
weight = 512
cap = 0
cpus = "all"
disk = ["web.img,rw", "data.img,raw,xvdc,ro"]
vif = ["mac=00:16:3E:01:02:03,bridge=lan", ""]
[[domain]]
name = "db"
kernel = "db.elf"
memory = 16
on_crash = "coredump-restart"
`;

t.test('a host and its domains', (t) => {
  const { memory, topology, domains } = readHostFile('h.toml', example);
  t.equal(memory, 512 * MIB);
  t.match(topology, { sockets: 1, cores_per_socket: 2, threads_per_core: 1 });
  const [web, db] = domains;
  t.match(web, { name: 'web', memory: 32 * MIB, maxmem: 64 * MIB, vcpus: 2, weight: 512, cap: 0, cpus: 'all', on_reboot: 'restart' });
  t.same(web!.disk, [
    { path: 'web.img', name: 'xvda', isReadonly: false },
    { path: 'data.img', name: 'xvdc', isReadonly: true },
  ]);
  t.same(web!.vif, [
    { mac: '00:16:3e:01:02:03', bridge: 'lan', pcap: undefined },
    { mac: undefined, bridge: 'xenbr0', pcap: undefined },
  ]);
  t.match(db, { memory: 16 * MIB, weight: 256, vcpus: 1, on_crash: 'coredump-restart', on_poweroff: 'destroy', cmdline: '' });
  t.end();
});

const domain = '[[domain]]\nname = "a"\nkernel = "k"\n';

// biome-ignore format: one file a line
const mistakes: readonly (readonly [claim: string, text: string, message: RegExp])[] = [
  ['no TOML',                      '[host]\nmemory = \n',                  /^h\.toml:2: this is no TOML: /],
  ['a key twice',                  '[host]\ncores = 1\ncores = 2\n',       /^h\.toml:3: this is no TOML: Can't redefine existing key/],
  ['an unknown table',             '[hots]\n',                             /^h\.toml:1: there is no table \[hots\] here; a host file has \[host\] and \[\[domain\]\]/],
  ['a key outside',                'name = "a"\n',                         /^h\.toml:1: there is no key 'name' here/],
  ['one table of a domain',        '[domain]\n',                           /^h\.toml:1: domain is a list of tables; write \[\[domain\]\] before each/],
  ['a misspelt key',               `${domain}memroy = 64\n`,               /^h\.toml:4: there is no key 'memroy'; do you mean memory\?$/],
  ['a key far from all',           `${domain}colour = 64\n`,               /^h\.toml:4: there is no key 'colour'; there are name, kernel, /],
  ['a misspelt key of the host',   '[host]\ncore = 2\n',                   /^h\.toml:2: there is no key 'core'; do you mean cores\?$/],
  ['no kernel',                    '[[domain]]\nname = "a"\n',             /^h\.toml:1: kernel is missing; write kernel = "FILE"$/],
  ['no name, in the second',       `${domain}\n[[domain]]\nkernel = "k"`,  /^h\.toml:5: name is missing; write name = "web"$/],
  ['a size that is none',          `${domain}memory = "lots"\n`,           /^h\.toml:4: memory = "lots": write a size such as 128M or 1G/],
  ['a size that is a list',        `${domain}memory = [1]\n`,              /^h\.toml:4: memory = \[1\]: write a size such as "128M", or a number of MiB$/],
  ['too small',                    `${domain}memory = "1M"\n`,             /^h\.toml:4: memory = "1M": give from 4M to 3G$/],
  ['a weight of 0',                `${domain}weight = 0\n`,                /^h\.toml:4: weight = 0: give a whole number from 1 to 65535$/],
  ['a weight of text',             `${domain}weight = "512"\n`,            /^h\.toml:4: weight = "512": give a whole number/],
  ['half a vCPU',                  `${domain}vcpus = 1.5\n`,               /^h\.toml:4: vcpus = 1\.5: give a whole number from 1 to 128$/],
  ['a huge number',                `${domain}vcpus = 9007199254740993\n`, /^h\.toml:4: vcpus = 9007199254740993: give a whole number/],
  ['another kind',                 `${domain}type = "hvm"\n`,              /^h\.toml:4: type = "hvm": choose of pv/],
  ['an action that is none',       `${domain}on_crash = "explode"\n`,      /^h\.toml:4: on_crash = "explode": choose of destroy, restart, preserve, coredump-destroy, coredump-restart$/],
  ['cpus that are none',           `${domain}cpus = "two"\n`,              /^h\.toml:4: cpus = "two": write CPUs as "all", "0-3"/],
  ['a disk that is none',          `${domain}disk = ["a,qcow2"]\n`,        /^h\.toml:4: disk = \["a,qcow2"\]: 'qcow2' is none of ro, rw, raw, or a name such as xvda$/],
  ['a disk outside a list',        `${domain}disk = "a"\n`,                /^h\.toml:4: disk = "a": write a list such as \["web\.img,rw"\]$/],
  ['a network that is none',       `${domain}vif = ["tap0"]\n`,            /^h\.toml:4: vif = \["tap0"\]: 'tap0' is none of mac=/],
  ['a network that is captured',   `${domain}vif = ["pcap=x"]\n`,          /^h\.toml:4: vif = \["pcap=x"\]: pcap= is for beneath run --net; leave it out$/],
  ['a network outside a list',     `${domain}vif = "bridge=lan"\n`,        /^h\.toml:4: vif = "bridge=lan": write a list such as \["bridge=xenbr0"\]$/],
  ['a name of digits',             '[[domain]]\nname = "7"\n',             /^h\.toml:2: name = "7": a number alone is a domid; put a letter into it$/],
  ['a name that breaks tables',    '[[domain]]\nname = "a b"\n',           /^h\.toml:2: name = "a b": a name is made of letters/],
  ['a name twice',                 `${domain}${domain}`,                   /^h\.toml:5: name = "a": another domain has it; give each its own$/],
  ['less at most than at first',   `${domain}memory = 64\nmaxmem = 32\n`,  /^h\.toml:5: maxmem is less than memory/],
  ['more memory than the host',    `[host]\nmemory = "64M"\n${domain}memory = "65M"\n`, /^h\.toml:6: memory: up to here the domains have 65M, and \[host\] memory is 64M; give the host more$/],
  ['cores and topology',           '[host]\ncores = 2\ntopology = { sockets = 2 }\n', /^h\.toml:2: cores and topology say the same; leave one of them out$/],
  ['a topology that is none',      '[host]\ntopology = { socket = 1 }\n',  /^h\.toml:2: topology = .*: write \{ sockets = 1/],
  ['fewer vCPUs at most',          `${domain}vcpus = 4\nmaxvcpus = 2\n`,    /^h\.toml:5: maxvcpus = 2: it has 4 vcpus; give at least so many$/],
  ['a cap above its vCPUs',        `${domain}cap = 101\n`,                 /^h\.toml:4: cap = 101: give at most 100, 100 for each vCPU$/],
  ['text with a NUL',              `${domain}cmdline = "\\u0000"\n`,       /^h\.toml:4: cmdline = "\\u0000": leave out the character of code 0$/],
  ['a table within a line',        'host = { memory = 1 }\n',              /^h\.toml:1: memory = 1: give from 4M to 3G$/],
  ['a key with dots',              '\nhost.cores = 0\n',                   /^h\.toml:2: cores = 0: give/],
  ['a table within a table',       '[host]\n[host.topology]\nsockets = 0', /^h\.toml:2: topology = \{"sockets":0\}: write/],
  ['domains within a list',        'domain = [\n{ name = "a", kernel = "k" }, # ]\n{ name = "b",\tkernel = "k", cap = -1 }]', /^h\.toml:3: cap = -1: give/],
  ['a key behind a long text',     `${domain}cmdline = """\ncap = -1\n"""\n'cap' = -1\n`, /^h\.toml:7: cap = -1: give/],
  ['headers of another kind',      '[[host]]\n',                           /^h\.toml:1: host is a table; write \[host\]/],
];

t.test('a mistake is told with file, line, key, value and what to do', (t) => {
  for (const [claim, text, message] of mistakes) t.throws(() => readHostFile('h.toml', text), { message }, claim);
  t.end();
});

t.test('one domain', (t) => {
  const keys = 'name = "a"\nkernel = "k"\nmemory = 32\n';
  t.match(readDomainFile('a.cfg', keys), { name: 'a', memory: 32 * MIB }, 'keys without a table, as in xl.cfg');
  t.match(readDomainFile('a.toml', `[[domain]]\n${keys}`), { name: 'a', kernel: 'k' }, 'or a [[domain]]');
  t.match(
    readDomainFile('a.cfg', keys, ['memory=64', "name='b'", 'kernel=x', 'extra="spin"']),
    { name: 'b', memory: 64 * MIB, kernel: 'x', cmdline: 'spin' },
    'settings go before',
  );
  t.throws(() => readDomainFile('a.cfg', keys, ['memory']), { message: /^memory: this is no setting; write key=value$/ });
  t.throws(() => readDomainFile('a.cfg', keys, ['memroy=1']), { message: /^memroy=1:1: there is no key 'memroy'; do you mean memory\?$/ });
  t.throws(() => readDomainFile('/dev/null', ''), { message: /^\/dev\/null: name is missing/ });
  t.throws(() => readDomainFile('a.toml', example), { message: /^a\.toml:17: it has 2 domains; a new one is made from a file of one$/ });
  t.end();
});

// biome-ignore format: a table
const lists: readonly (readonly [text: string, cpus: readonly number[] | undefined, shown?: string])[] = [
  ['all',      [0, 1, 2, 3], 'all'],
  ['2',        [2],          '2'],
  ['0-2',      [0, 1, 2],    '0-2'],
  ['0,2-3',    [0, 2, 3],    '0,2-3'],
  ['all,^1',   [0, 2, 3],    '0,2-3'],
  ['^0',       [],           'none'],
  ['nodes:0',  [0, 1, 2, 3], 'all'],
  ['nodes:1',  [],           'none'],
  ['7',        [7],          '7'],
  ['1-0',      undefined],
  ['0-',       undefined],
  ['abc',      undefined],
  ['',         [],           'none'],
  ['0,',       [0],          '0'],
];

t.test('lists of CPUs', (t) => {
  for (const [text, cpus, shown] of lists) {
    t.same(parseCpuList(text, 4), cpus, `"${text}"`);
    if (cpus !== undefined) t.equal(formatCpuList(cpus, 4), shown, `"${text}" is shown`);
  }
  t.end();
});
